//! The two images of a step: found in the tree, claimed, held, checked, with room for what may be written.

use std::sync::Arc;

use uuid::Uuid;
use vhd::Rule;
use vhd::check::{CheckOptions, PrimaryFooter};
use vhd::merge::Control;

use super::super::names::{ImageFormat, ImageName};
use super::super::open_images::{Hold, Use};
use super::super::tree::ImageTree;
use super::super::vhd_directory::VhdDirectory;
use super::super::{Error, Result};
use super::chains::FileChains;
use super::claims::Claim;
use crate::gc::StepError;
use crate::gc::plan::{space_needed, volume_space_needed};
use crate::io::lock::LockMode;
use crate::medium::files::{Access, MediumFile};

/// Which place in the tree the child must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Hidden, with children.
    Inner,
    /// Visible, without children.
    Leaf,
}

/// An image that is merged into its parent.
#[derive(Debug)]
pub struct Pair {
    /// Where the child is in the tree.
    pub place: Place,
    /// What is merged.
    pub child: ImageName,
    /// What it is merged into.
    pub parent: ImageName,
    /// Open for reading, with a shared flock unless a consumer has it.
    pub child_file: Arc<dyn MediumFile>,
    /// Open for writing.
    pub parent_file: Arc<dyn MediumFile>,
    /// Held by the step; none while a consumer has it.
    pub child_hold: Option<Hold>,
    /// Dropped before `claim`, so that who waits for that finds the image free.
    pub _parent_hold: Hold,
    /// Last.
    pub claim: Claim,
}

impl Pair {
    /// Lets others have the child: its flock and its hold are let go of.
    pub fn let_go_of_child(&mut self) {
        // Before the hold: who waits for that finds the file free.
        self.child_file.unlock();
        self.child_hold = None;
    }
}

/// Tells whether `tree` still has the pair as it was planned.
pub fn is_in_place(tree: &ImageTree, child: ImageName, parent: ImageName, place: Place) -> bool {
    let (Some(node), Some(below)) = (tree.nodes().get(&child), tree.nodes().get(&parent)) else {
        return false;
    };
    let has_children = tree.child_of(child).is_some();
    let child_fits = match place {
        Place::Inner => node.hidden && has_children,
        Place::Leaf => !node.hidden && !has_children,
    };
    child_fits
        && below.hidden
        && node.parent == Some(parent)
        && tree.children_of(parent).eq([child])
}

impl FileChains {
    /// Finds, claims and holds the two images; none when they are not as planned, or somebody has one of them.
    pub(super) fn pair(
        &self,
        vdi: Uuid,
        parent: Uuid,
        place: Place,
        control: &Arc<Control>,
    ) -> Result<Option<Pair>> {
        let images = self.images();
        let names = images.with_tree(|tree| {
            let child = ImageName::vhd(vdi);
            let named = tree.nodes().get(&child)?.parent?;
            (named.uuid == parent).then_some((child, named))
        })?;
        let Some((child, parent)) = names else {
            return Ok(None);
        };
        let _change = images.change(&[child])?;
        let (fits, root) = images.with_tree(|tree| {
            let fits = !tree.is_incomplete() && is_in_place(tree, child, parent, place);
            (fits, tree.root_of(child))
        })?;
        if !fits {
            return Ok(None);
        }
        let Some(claim) = self.claims.take([child, parent, root], control) else {
            return Ok(None);
        };
        let Some(parent_hold) = images.open.hold(parent, Use::Merge) else {
            return Ok(None);
        };
        let child_hold = match place {
            Place::Inner => images.open.hold(child, Use::Parent),
            Place::Leaf if images.open.of(child.uuid).is_empty() => {
                images.open.hold(child, Use::Exclusive)
            }
            Place::Leaf => None,
        };
        if child_hold.is_none() && images.open.of(child.uuid).is_empty() {
            return Ok(None);
        }
        let child_file = open_shared(images, child, Access::Read, child_hold.is_some())?;
        // Consumers that read it keep others' writers out by the same shared lock.
        let parent_file = open_shared(images, parent, Access::ReadWrite, true)?;
        let (Some(child_file), Some(parent_file)) = (child_file, parent_file) else {
            return Ok(None);
        };
        Ok(Some(Pair {
            place,
            child,
            parent,
            child_file,
            parent_file,
            child_hold,
            _parent_hold: parent_hold,
            claim,
        }))
    }

    /// Refuses a damaged image, and one for which there is no room.
    pub(super) fn require_sound(&self, pair: &Pair) -> std::result::Result<(), StepError> {
        let options = CheckOptions {
            primary_footer: PrimaryFooter::MayBeMissing,
            ..CheckOptions::default()
        };
        let files = [
            (pair.child, &pair.child_file),
            (pair.parent, &pair.parent_file),
        ];
        for (name, file) in files {
            // What a consumer writes was checked when it was opened, and is never still.
            let is_written = name == pair.child && pair.child_hold.is_none();
            if name.format == ImageFormat::Raw || is_written {
                continue;
            }
            let image = name.file_name();
            match vhd::check::check(&**file, &options) {
                Ok(defects) => {
                    // A crash while an image was marked or grown leaves an old copy of the footer, and nobody opens a
                    // parent for writing who would repair it. The footer at the end counts; merging repairs the copy.
                    let mut defects = defects.iter();
                    if let Some(defect) = defects.find(|it| it.rule != Rule::FootersDiffer) {
                        let defect = defect.to_string();
                        return Err(StepError::Damaged { image, defect });
                    }
                }
                Err(source) => return Err(self.image_error("check", name, source).into()),
            }
        }
        self.require_space(pair)
    }

    fn require_space(&self, pair: &Pair) -> std::result::Result<(), StepError> {
        let blocks = |name, file: &Arc<dyn MediumFile>| {
            vhd::image::allocated_blocks(&**file)
                .map_err(|source| self.image_error("read the table of", name, source))
        };
        let mut union = blocks(pair.child, &pair.child_file)?;
        let parent_size = match pair.parent.format {
            // A file is sparse: what the child has may all be new to it.
            ImageFormat::Raw => 0,
            ImageFormat::Vhd => {
                for (byte, other) in union
                    .iter_mut()
                    .zip(blocks(pair.parent, &pair.parent_file)?)
                {
                    *byte |= other;
                }
                let size = pair.parent_file.len();
                size.map_err(|source| self.io_error("get the length of", pair.parent, source))?
            }
        };
        let virtual_size = vhd::image::inspect(&*pair.child_file)
            .map_err(|source| self.image_error("read", pair.child, source))?
            .virtual_size;
        let count = union.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let needed = match pair.parent_file.is_volume() {
            false => space_needed(count, virtual_size, parent_size),
            true => {
                let leaf_size = (pair.place == Place::Leaf).then_some(virtual_size);
                let is_raw = pair.parent.format == ImageFormat::Raw;
                volume_space_needed(count, leaf_size, is_raw, parent_size)
            }
        };
        let space = self.images().files.space();
        let space =
            space.map_err(|source| self.io_error("get the space of", pair.parent, source))?;
        let free = space
            .physical_size
            .saturating_sub(space.physical_utilisation);
        if needed > free {
            return Err(StepError::NoSpace { needed, free });
        }
        Ok(())
    }

    pub(super) fn image_error(
        &self,
        action: &'static str,
        name: ImageName,
        source: vhd::Error,
    ) -> Error {
        Error::Image {
            action,
            path: self.images().path_of(&name.file_name()),
            source,
        }
    }

    pub(super) fn io_error(
        &self,
        action: &'static str,
        name: ImageName,
        source: std::io::Error,
    ) -> Error {
        self.images()
            .io_error(action, Some(&name.file_name()), source)
    }
}

/// Opens an image with a shared flock; none when another process excludes it.
fn open_shared(
    images: &VhdDirectory,
    name: ImageName,
    access: Access,
    locked: bool,
) -> Result<Option<Arc<dyn MediumFile>>> {
    let file_name = name.file_name();
    let file = images
        .files
        .open_file(&file_name, access)
        .map_err(|source| images.io_error("open", Some(&file_name), source))?;
    if !locked {
        return Ok(Some(file));
    }
    let taken = file.try_lock(LockMode::Shared);
    let taken = taken.map_err(|source| images.io_error("lock", Some(&file_name), source))?;
    Ok(taken.then_some(file))
}
