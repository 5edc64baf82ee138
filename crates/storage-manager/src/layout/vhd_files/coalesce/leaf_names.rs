//! The exchange of names at the end of merging a leaf: the parent gets the VDI's.

use super::super::names::ImageName;
use super::super::vhd_directory::VhdDirectory;
use super::super::{Error, Result};
use super::inner::point;
use super::journal::{Journal, Kind};

/// Prefix of the name that the merged leaf has until it is removed. Source: XenServer's garbage collector.
pub(super) const OLD_PREFIX: &str = "OLD_";

/// The name of the journal that is there while it is not known which file is a VDI's image.
pub fn leaf_journal(vdi: uuid::Uuid) -> String {
    let kind = Kind::Leaf;
    Journal { kind, vdi }.file_name()
}

/// The names of a VDI's image and of the image that takes its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafNames {
    /// The VDI's image.
    pub child: ImageName,
    /// Its parent.
    pub parent: ImageName,
}

impl LeafNames {
    pub fn old(&self) -> String {
        format!("{OLD_PREFIX}{}", self.child.file_name())
    }

    /// The name that the parent gets: the VDI's, and a raw one stays raw.
    pub fn taken(&self) -> ImageName {
        ImageName {
            uuid: self.child.uuid,
            format: self.parent.format,
        }
    }

    fn journal(&self) -> Journal {
        Journal {
            kind: Kind::Leaf,
            vdi: self.child.uuid,
        }
    }

    /// Writes the journal. Crash from here on: the names are put back, until the journal is gone.
    pub fn begin(&self, images: &VhdDirectory) -> Result<()> {
        let value = self.parent.uuid.to_string();
        self.journal().write(&*images.files, &value)
    }

    /// Gives the images their names; the parent is no longer hidden by then.
    ///
    /// Write order: the VDI's image is renamed to `OLD_<vdi>.vhd`, the parent to the VDI's name, the directory synced.
    /// Crash in each gap: the names are put back.
    ///
    /// # Errors
    /// [`LeafNames::undo`] puts the names back.
    pub fn exchange(&self, images: &VhdDirectory) -> Result<()> {
        rename(images, &self.child.file_name(), &self.old())?;
        point("LVHDRT_coaleaf_one_renamed")?;
        let taken = self.taken().file_name();
        rename(images, &self.parent.file_name(), &taken)?;
        point("LVHDRT_coaleaf_both_renamed")?;
        images.sync_directory(&taken)
    }

    /// Makes the exchange last: the journal is removed and the directory synced. Crash before its end: the names are put
    /// back, or the parent is the VDI's image and `OLD_<vdi>.vhd` is removed. Crash then: the latter.
    ///
    /// # Errors
    /// With true when the journal may or may not be there after a crash; else [`LeafNames::undo`] puts the names back.
    pub fn settle(&self, images: &VhdDirectory) -> std::result::Result<(), (Error, bool)> {
        let before = |error| (error, false);
        point("LVHDRT_coaleaf_before_remove_j").map_err(before)?;
        let journal = self.journal().file_name();
        let removed = images.files.remove(&journal);
        removed.map_err(|source| {
            let error = images.io_error("remove", Some(&journal), source);
            (error, images.files.fails_in_doubt())
        })?;
        images
            .sync_directory(&journal)
            .map_err(|error| (error, true))
    }

    /// Puts the names back and removes the journal. What of the exchange was not done is passed over; the parent is hidden
    /// by the caller before.
    pub fn undo(&self, images: &VhdDirectory) -> Result<()> {
        let contains = |name: &str| {
            let found = images.files.contains(name);
            found.map_err(|source| images.io_error("look for", Some(name), source))
        };
        if contains(&self.old())? {
            let taken = self.taken().file_name();
            if contains(&taken)? {
                rename(images, &taken, &self.parent.file_name())?;
                point("LVHDRT_coaleaf_undo_after_rename")?;
            }
            rename(images, &self.old(), &self.child.file_name())?;
            point("LVHDRT_coaleaf_undo_after_rename2")?;
            images.sync_directory(&self.child.file_name())?;
        }
        point("LVHDRT_coaleaf_undo_end")?;
        self.journal().remove(&*images.files)
    }

    /// Removes what was the VDI's image.
    pub fn remove_old(&self, images: &VhdDirectory) -> Result<()> {
        point("LVHDRT_coaleaf_before_delete")?;
        let old = self.old();
        let removed = images.files.remove(&old);
        removed.map_err(|source| images.io_error("remove", Some(&old), source))?;
        point("LVHDRT_coaleaf_after_delete")?;
        images.sync_directory(&old)
    }
}

fn rename(images: &VhdDirectory, from: &str, to: &str) -> Result<()> {
    let renamed = images.files.publish(from, to);
    renamed.map_err(|source| images.io_error("rename", Some(from), source))
}
