//! Finishing or undoing what a process that died left half done, when the SR is attached.
//!
//! Everything here may be interrupted and begun again. What cannot be repaired stays as it is, with a line in the log: an
//! image that needs it is refused when it is opened, and no other is.

use uuid::Uuid;

use super::inspect::inspect;
use super::names::{EntryKind, ImageFormat, ImageName, classify, new_base, new_leaf};
use super::vhd_directory::VhdDirectory;
use super::{Error, Result};
use crate::medium::files::Access;

/// What was found besides images.
#[derive(Debug, Default)]
struct Leftovers {
    temporaries: Vec<String>,
    new_leaves: Vec<ImageName>,
    new_bases: Vec<Uuid>,
    journals: Vec<Uuid>,
}

impl VhdDirectory {
    /// Repairs the directory before anything else looks at it.
    ///
    /// In this order, so that what says how to go on is removed last:
    /// 1. Files that were being made are removed.
    /// 2. `<vdi>.vhd.new`, of a snapshot here or by XenServer: if its parent is the VDI's own file under a second name, or
    ///    the VDI's file is gone, the snapshot is finished: it is renamed over the VDI, whose file is then hidden.
    ///    Otherwise it and the second name are removed.
    /// 3. What was being coalesced is finished or undone, see `coalesce`.
    /// 4. A base that a snapshot here was making is hidden, or its name is removed if the file has the VDI's name still.
    /// 5. `.journal-<vdi>`, of a resize here or by XenServer: the image gets its old size back.
    pub(super) fn recover(&self) -> Result<()> {
        let found = self.leftovers()?;
        for name in &found.temporaries {
            tracing::info!(
                file.name = name,
                "remove what an interrupted creation left in the SR directory"
            );
            self.remove_file(name)?;
        }
        super::coalesce::recover(self)?;
        for name in found.new_leaves {
            self.attempt("finish the interrupted snapshot of", name.uuid, || {
                self.recover_new_leaf(name)
            });
        }
        for uuid in found.new_bases {
            self.attempt(
                "hide the parent that an interrupted snapshot made,",
                uuid,
                || self.recover_new_base(uuid),
            );
        }
        for uuid in found.journals {
            self.attempt("undo the interrupted resize of", uuid, || {
                self.recover_resize(uuid)
            });
        }
        Ok(())
    }

    fn leftovers(&self) -> Result<Leftovers> {
        let entries = self.files.entries();
        let entries = entries.map_err(|source| self.io_error("list", None, source))?;
        let mut found = Leftovers::default();
        for name in &entries {
            match classify(name) {
                EntryKind::Temporary => found.temporaries.push(name.to_owned()),
                EntryKind::NewLeaf(image) => found.new_leaves.push(image),
                EntryKind::NewBase(uuid) => found.new_bases.push(uuid),
                EntryKind::ResizeJournal(uuid) => found.journals.push(uuid),
                _ => {}
            }
        }
        Ok(found)
    }

    fn attempt(&self, action: &str, uuid: Uuid, repair: impl FnOnce() -> Result<()>) {
        match repair() {
            Ok(()) => tracing::info!(vdi.uuid = %uuid, "{action} {uuid}"),
            Err(error) => tracing::error!(
                vdi.uuid = %uuid,
                "could not {action} {uuid} in {}: {}; other images are not affected",
                self.files.path().display(),
                error.chain_text()
            ),
        }
    }

    fn recover_new_leaf(&self, vdi: ImageName) -> Result<()> {
        let (leaf, file_name) = (new_leaf(vdi), vdi.file_name());
        let parent = self.parent_of_new_leaf(vdi);
        let exists = self.files.contains(&file_name);
        if exists.map_err(|source| self.io_error("look for", Some(&file_name), source))? {
            let twins = self.twins(vdi)?;
            let base = parent.ok().filter(|parent| twins.contains(parent));
            let Some(base) = base else {
                for twin in twins {
                    self.remove_file(&twin.file_name())?;
                }
                self.remove_file(&leaf)?;
                return self.sync_directory(&file_name);
            };
            let replaced = self.files.replace(&leaf, &file_name);
            replaced.map_err(|source| self.io_error("rename to", Some(&file_name), source))?;
            self.sync_directory(&file_name)?;
            return self.close_base(base);
        }
        let raw = ImageName::raw(vdi.uuid).file_name();
        let is_raw = self.files.contains(&raw);
        if is_raw.map_err(|source| self.io_error("look for", Some(&raw), source))? {
            self.remove_file(&leaf)?;
            return self.sync_directory(&raw);
        }
        // The way without hard links: the VDI's file has the parent's name, and the VDI's name is free.
        let base = parent?;
        inspect(&*self.files, base)?;
        self.publish(&leaf, vdi)?;
        self.close_base(base)
    }

    /// The image that the child of an interrupted snapshot is based on, if the child is whole.
    fn parent_of_new_leaf(&self, vdi: ImageName) -> Result<ImageName> {
        let inspected = super::inspect::inspect_named(&*self.files, &new_leaf(vdi), vdi)?;
        let uuid = vdi.uuid;
        let found = new_leaf(vdi);
        inspected.parent.ok_or(Error::Unfinished { uuid, found })
    }

    fn recover_new_base(&self, uuid: Uuid) -> Result<()> {
        for base in [ImageName::vhd(uuid), ImageName::raw(uuid)] {
            let file_name = base.file_name();
            let exists = self.files.contains(&file_name);
            // If it is not there the snapshot was undone, or the image was merged and removed since.
            if !exists.map_err(|source| self.io_error("look for", Some(&file_name), source))? {
                continue;
            }
            if self.twins(base)?.is_empty() {
                self.close_base(base)?;
            } else {
                self.remove_file(&file_name)?;
                self.sync_directory(&file_name)?;
            }
        }
        self.remove_file(&new_base(uuid))
    }

    /// Ends a base, which a consumer may have been writing when everything stopped, and hides it.
    fn close_base(&self, base: ImageName) -> Result<()> {
        if base.format == ImageFormat::Raw {
            return self.hide(base);
        }
        let file_name = base.file_name();
        let file = self.files.open_file(&file_name, Access::ReadWrite);
        let file = file.map_err(|source| self.io_error("open", Some(&file_name), source))?;
        let repaired = vhd::image::FoundImage::read(file)
            .and_then(vhd::image::FoundImage::check)
            .and_then(vhd::image::CheckedImage::into_writable);
        repaired.map_err(|source| Error::Image {
            action: "repair",
            path: self.path_of(&file_name),
            source,
        })?;
        self.hide(base)
    }

    /// The other images whose names the file of this one has.
    fn twins(&self, image: ImageName) -> Result<Vec<ImageName>> {
        let file_name = image.file_name();
        let others = self.files.other_names(&file_name);
        let others = others
            .map_err(|source| self.io_error("look for links of", Some(&file_name), source))?;
        let others = others.iter();
        Ok(others.filter_map(|name| ImageName::parse(name)).collect())
    }

    fn remove_file(&self, name: &str) -> Result<()> {
        let removed = self.files.remove(name).map(|_| ());
        removed.map_err(|source| self.io_error("remove", Some(name), source))
    }
}
