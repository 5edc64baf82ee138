//! What steps of coalescing left when their process died, ours or XenServer's.

use uuid::Uuid;

use super::super::names::{EntryKind, ImageFormat, ImageName, classify, parent_image};
use super::super::vhd_directory::VhdDirectory;
use super::super::{Error, Result};
use super::grow::recover_grown;
use super::inner::point;
use super::journal::{self, Journal, Kind};
use super::leaf_names::{LeafNames, OLD_PREFIX};
use super::relink::{new_parent, reparent};
use crate::medium::files::Access;

/// Finishes or undoes every step that was cut off. One that cannot be is logged, keeps its journal and hides nothing else.
///
/// It may be cut off itself at any point and be begun again.
///
/// # Errors
/// When the directory cannot be listed.
pub fn recover(images: &VhdDirectory) -> Result<()> {
    for name in grown(images)? {
        note(&name.uuid.to_string(), recover_grown(images, name));
    }
    let journals = journal::list(&*images.files)?;
    // Leaves first: only then every image has the name that its children know.
    for kind in [Kind::Leaf, Kind::Relink, Kind::Coalesce] {
        for journal in journals.iter().filter(|journal| journal.kind == kind) {
            let recovered = match kind {
                Kind::Leaf => recover_leaf(images, *journal),
                Kind::Relink => recover_relink(images, *journal),
                Kind::Coalesce => journal.remove(&*images.files),
            };
            note(&format!("{kind:?} journal of {}", journal.vdi), recovered);
        }
    }
    sweep_old(images)
}

fn note(what: &str, recovered: Result<()>) {
    match recovered {
        Ok(()) => tracing::info!(what, "recovered from an interrupted coalesce"),
        Err(error) => {
            tracing::error!(what, error = %error.chain_text(), "could not recover from an interrupted coalesce; the images stay as they are");
        }
    }
}

/// Puts the names back while there is what to put back, else finishes. Source: reference 5.9.3, leaf coalesce recovery.
fn recover_leaf(images: &VhdDirectory, journal: Journal) -> Result<()> {
    let Ok(parent) = Uuid::try_parse(&journal.value(&*images.files)?) else {
        // It was not written to the end, so nothing had been done.
        return journal.remove(&*images.files);
    };
    let contains = |name: &str| {
        let found = images.files.contains(name);
        found.map_err(|source| images.io_error("look for", Some(name), source))
    };
    let child = ImageName::vhd(journal.vdi);
    let mut names = LeafNames {
        child,
        parent: ImageName::vhd(parent),
    };
    // It has its own name still, or the VDI's.
    for raw in [parent, journal.vdi].map(ImageName::raw) {
        if contains(&raw.file_name())? {
            names.parent = ImageName::raw(parent);
        }
    }
    let has_parent = contains(&names.parent.file_name())?;
    let has_old = contains(&names.old())?;
    if !has_parent && !has_old {
        // Both were renamed and the old one is gone: the parent is the image, and was unhidden before.
        point("LVHDRT_coaleaf_finish_end")?;
        return journal.remove(&*images.files);
    }
    let hidden = match has_parent {
        true => names.parent,
        false => names.taken(),
    };
    if contains(&hidden.file_name())? {
        hide(images, hidden)?;
    }
    point("LVHDRT_coaleaf_stop_after_recovery")?;
    names.undo(images)
}

fn hide(images: &VhdDirectory, name: ImageName) -> Result<()> {
    let file_name = name.file_name();
    let file = images.files.open_file(&file_name, Access::ReadWrite);
    let file = file.map_err(|source| images.io_error("open", Some(&file_name), source))?;
    if name.format == ImageFormat::Raw {
        let hidden = file.set_hidden(true);
        return hidden.map_err(|source| images.io_error("mark", Some(&file_name), source));
    }
    let hidden = vhd::image::set_hidden(&*file, true);
    hidden.map_err(|source| Error::Image {
        action: "mark",
        path: images.path_of(&file_name),
        source,
    })
}

/// Gives every child that is left the image's parent. A child whose header was torn names the image by its uuid still.
fn recover_relink(images: &VhdDirectory, journal: Journal) -> Result<()> {
    let vdi = ImageName::vhd(journal.vdi);
    let Some(info) = info(images, vdi) else {
        return journal.remove(&*images.files);
    };
    let Some(link) = &info.parent else {
        return journal.remove(&*images.files);
    };
    let parent = super::super::inspect::parent_of(link)?;
    let new = new_parent(images, parent)?;
    for entry in entries(images)? {
        let EntryKind::Image(child) = classify(&entry) else {
            continue;
        };
        let link = info_of_parent(images, child);
        let is_child = link.is_some_and(|link| {
            link.uuid == info.uuid || link.names().any(|name| parent_image(name) == Some(vdi))
        });
        if is_child && child != vdi {
            reparent(images, child, &new)?;
        }
    }
    journal.remove(&*images.files)
}

fn info(images: &VhdDirectory, name: ImageName) -> Option<vhd::ImageInfo> {
    let file = images
        .files
        .open_file(&name.file_name(), Access::Read)
        .ok()?;
    vhd::image::inspect(&*file).ok()
}

fn info_of_parent(images: &VhdDirectory, name: ImageName) -> Option<vhd::ParentLink> {
    if name.format == ImageFormat::Raw {
        return None;
    }
    info(images, name)?.parent
}

fn entries(images: &VhdDirectory) -> Result<Vec<String>> {
    let entries = images.files.entries();
    let entries = entries.map_err(|source| images.io_error("list", None, source))?;
    Ok(entries)
}

/// Images with a journal of their growth.
fn grown(images: &VhdDirectory) -> Result<Vec<ImageName>> {
    let is_uuid = |text: &String| Uuid::try_parse(text).is_ok_and(|uuid| uuid.to_string() == *text);
    let names = entries(images)?.into_iter().filter(is_uuid);
    Ok(names
        .filter_map(|name| Uuid::try_parse(&name).ok())
        .map(ImageName::vhd)
        .collect())
}

/// Removes what was the image of a VDI, once the VDI has another: its journal is gone, so the exchange was done.
fn sweep_old(images: &VhdDirectory) -> Result<()> {
    let left = journal::list(&*images.files)?;
    for entry in entries(images)? {
        let Some(name) = entry.strip_prefix(OLD_PREFIX).and_then(ImageName::parse) else {
            continue;
        };
        let is_unfinished = left
            .iter()
            .any(|journal| journal.kind == Kind::Leaf && journal.vdi == name.uuid);
        let replaced = [ImageName::vhd(name.uuid), ImageName::raw(name.uuid)]
            .into_iter()
            .any(|image| match image.format {
                ImageFormat::Vhd => info(images, image).is_some_and(|info| !info.hidden),
                ImageFormat::Raw => images
                    .files
                    .contains(&image.file_name())
                    .unwrap_or_default(),
            });
        if is_unfinished || !replaced {
            continue;
        }
        let removed = images.files.remove(&entry);
        removed.map_err(|source| images.io_error("remove", Some(&entry), source))?;
        images.sync_directory(&entry)?;
    }
    Ok(())
}
