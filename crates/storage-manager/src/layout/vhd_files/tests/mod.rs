//! Images in a directory: what crashes, errors, damage and consumers do to them.

mod branch;
mod branch_crash;
mod create;
mod model;
mod open;
mod raw;
mod recovery;
mod remove;
mod resize;
mod scan;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nbd::Export;
use uuid::Uuid;
use vhd::check::{CheckOptions, PrimaryFooter};

use super::names::{EntryKind, ImageFormat, ImageName, classify};
use super::{Branched, Error, NewImage, SrParents, VhdDirectory};
use crate::io::fault;
use crate::medium::directory::Directory;
use crate::sr::{FoundVdi, OpenMode, SnapshotKind};

const MIB: u64 = 1 << 20;

fn open(path: &Path) -> VhdDirectory {
    VhdDirectory::new(Arc::new(Directory::open(path).unwrap())).unwrap()
}

fn new_image(n: u128, format: ImageFormat) -> NewImage {
    NewImage {
        name: ImageName {
            uuid: Uuid::from_u128(n),
            format,
        },
        virtual_size: 10 * MIB,
    }
}

fn create(images: &VhdDirectory, n: u128) -> FoundVdi {
    images.create(&new_image(n, ImageFormat::Vhd)).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn temporaries(path: &Path) -> usize {
    names(path)
        .iter()
        .filter(|name| classify(name) == EntryKind::Temporary)
        .count()
}

/// Makes a differencing image, as a snapshot would, and hides its parent.
fn create_child(path: &Path, child: u128, parent: u128, hide_parent: bool) {
    let file = |n: u128| path.join(ImageName::vhd(Uuid::from_u128(n)).file_name());
    let storage = |n| {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(file(n))
            .unwrap();
        vhd::FileStorage::new(file)
    };
    let parent_storage = storage(parent);
    let info = vhd::image::inspect(&parent_storage).unwrap();
    let link = vhd::image::NewParent {
        uuid: info.uuid,
        timestamp: 0,
        path: ImageName::vhd(Uuid::from_u128(parent)).file_name(),
    };
    let new = vhd::image::NewImage::new(info.virtual_size, Uuid::new_v4());
    vhd::image::create_differencing(&storage(child), &new, &link).unwrap();
    if hide_parent {
        vhd::image::set_hidden(&parent_storage, true).unwrap();
    }
}

/// The image of a VDI as a storage.
fn storage(path: &Path, name: ImageName) -> vhd::FileStorage {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.join(name.file_name()))
        .unwrap();
    vhd::FileStorage::new(file)
}

/// What a reader finds in a VDI.
fn content(images: &VhdDirectory, uuid: Uuid) -> Vec<u8> {
    let image = images.open(uuid, OpenMode::ReadOnly).unwrap();
    let mut bytes = vec![0; image.size() as usize];
    image.read_at(&mut bytes, 0).unwrap();
    image.close().unwrap();
    bytes
}

fn snapshot(images: &VhdDirectory, source: Uuid, new: Uuid) -> Result<Branched, Error> {
    images.snapshot(source, new, SnapshotKind::Snapshot)
}

/// Writes to a VDI that nobody has open.
fn write(images: &VhdDirectory, uuid: Uuid, data: &[u8], offset: u64) {
    let image = images.open(uuid, OpenMode::ReadWrite).unwrap();
    image.write_at(data, offset).unwrap();
    image.close().unwrap();
}

/// Every image is sound, alone and with its parents; no other file is left; hidden images have children.
fn check_directory(path: &Path, images: &VhdDirectory) {
    check_while(path, images, PrimaryFooter::Required);
}

/// The same while a consumer may have images open.
fn check_while(path: &Path, images: &VhdDirectory, primary_footer: PrimaryFooter) {
    let survey = images.survey().unwrap();
    assert!(survey.damaged.is_empty(), "{:#?}", survey.damaged);
    let files = names(path);
    let expected: Vec<String> = survey.images.keys().map(ImageName::file_name).collect();
    assert_eq!(files, expected, "something was left over");
    let resolver = SrParents::new(images.files().clone(), images.open_images().clone());
    for (name, image) in &survey.images {
        if name.format == ImageFormat::Raw {
            continue;
        }
        let has_child = survey.tree.child_of(*name).is_some();
        assert!(has_child || !image.hidden, "{name:?} is orphaned");
        assert!(!has_child || image.hidden, "{name:?} was not hidden");
        let storage = storage(path, *name);
        let options = CheckOptions {
            primary_footer,
            ..CheckOptions::default()
        };
        let defects = vhd::check::check_chain(&storage, &resolver, &options).unwrap();
        let sound = defects.iter().all(Vec::is_empty);
        assert!(sound, "{name:?}: {defects:?}");
    }
    // What is known in memory is what is on the medium.
    let known = images.with_tree(|tree| tree.nodes().clone()).unwrap();
    assert_eq!(&known, survey.tree.nodes());
}

/// A copy of a directory as a crash would leave it: with its hard links, and nobody's locks.
fn copy_directory(path: &Path) -> tempfile::TempDir {
    let copy = testkit::scratch::directory();
    let mut known: std::collections::BTreeMap<u64, PathBuf> = std::collections::BTreeMap::new();
    for name in names(path) {
        let (from, to) = (path.join(&name), copy.path().join(&name));
        match known.get(&from.metadata().unwrap().ino()) {
            Some(first) => std::fs::hard_link(first, &to).unwrap(),
            None => drop(std::fs::copy(&from, &to).unwrap()),
        }
        known.insert(from.metadata().unwrap().ino(), to);
    }
    copy
}
