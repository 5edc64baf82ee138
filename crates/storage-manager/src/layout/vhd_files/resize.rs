//! Making a VDI larger.

use std::sync::Arc;

use uuid::Uuid;
use vhd::MemoryStorage;

use super::inspect::inspect;
use super::known_tree::Change;
use super::names::{ImageFormat, ImageName, resize_journal};
use super::open_images::Use;
use super::parents::SrParents;
use super::vhd_directory::VhdDirectory;
use super::{Error, Result};
use crate::io::lock::LockMode;
use crate::medium::files::{Access, MediumFile, Room};
use crate::sr::FoundVdi;

impl VhdDirectory {
    /// Makes a VDI at least `size` bytes large; what is added reads as zeros. The size that it has is no error. A consumer
    /// stays connected and sees the new size when this has returned.
    ///
    /// Write order, and what a crash leaves in each gap; `recovery` repairs it at attach:
    /// 1. `.journal-<vdi>` is made, empty, and the directory is synced. Crash: it is removed.
    /// 2. While the consumer waits, the image is flushed and grown as [`vhd::image::grow`] says. Crash: the journal gives
    ///    the image its old size back.
    /// 3. The journal, which holds nothing any more, is removed; it would be harmless if it came back.
    ///
    /// Where the tables have room for the size, there is no journal.
    ///
    /// # Errors
    /// `Shrink`, `Size`, `Raw`, `Hidden`, `HasChildren`; `InUse` while it is open for reading. The image is as it was, and
    /// the consumer goes on, unless it can neither be grown nor given back its old size: then it is closed.
    ///
    /// # Durability
    /// On return the new size is on stable storage.
    pub fn resize(&self, uuid: Uuid, size: u64) -> Result<FoundVdi> {
        let maximum = vhd::size::MAX_VIRTUAL_SIZE;
        let wanted = vhd::size::round_virtual_size(size).map_err(|_| Error::Size {
            found: size,
            maximum,
        })?;
        let name = self.name_now(uuid)?;
        if name.format == ImageFormat::Raw && !self.files.has_raw_operations() {
            let action = "resized";
            return Err(Error::Raw { uuid, action });
        }
        let change = self.change(&[name])?;
        change.release(name);
        let found = inspect(&*self.files, name)?;
        if found.hidden {
            return Err(Error::Hidden { uuid });
        }
        self.require_leaf(name)?;
        self.require_finished(name)?;
        if wanted < found.virtual_size {
            let found = found.virtual_size;
            return Err(Error::Shrink {
                uuid,
                found,
                wanted,
            });
        }
        if wanted > found.virtual_size {
            match name.format {
                ImageFormat::Vhd => self.resize_held(name, wanted)?,
                ImageFormat::Raw => self.resize_raw(name, wanted)?,
            }
            // What a scan has read of it is out of date.
            change.tell(&[Change::Made(name, found.node())]);
        }
        drop(change);
        self.stat(uuid)
    }

    /// Makes a raw image longer, with zeros; a crash leaves a part of them, all of which are behind the old size still.
    fn resize_raw(&self, name: ImageName, size: u64) -> Result<()> {
        self.while_held_off(name, Use::Exclusive, &mut |_| {
            let (_, file) = self.find(name.uuid, Access::ReadWrite)?;
            let grown = file.set_len(size).and_then(|()| file.flush());
            grown.map_err(|source| self.io_error("grow", Some(&name.file_name()), source))
        })
    }

    fn resize_held(&self, name: ImageName, size: u64) -> Result<()> {
        let uuid = name.uuid;
        if self
            .open
            .of(uuid)
            .iter()
            .any(|image| nbd::Export::is_read_only(&**image))
        {
            return Err(Error::InUse { uuid });
        }
        self.while_held_off(name, Use::Exclusive, &mut |paused| {
            match paused {
                Some(paused) => paused.rebuild(
                    |leaf| {
                        self.provide_growth(name, size, true)?;
                        self.grow(name, leaf, size)
                    },
                    |leaf| {
                        // With a journal that could not be emptied, a crash would undo what is written from here on.
                        self.require_finished(name)?;
                        let parents = SrParents::new(self.files.clone(), self.open.clone());
                        let chain = vhd::Chain::open(leaf, &parents, vhd::Access::ReadWrite);
                        let chain = chain.map_err(|source| Error::Image {
                            action: "open again",
                            path: self.path_of(&name.file_name()),
                            source,
                        })?;
                        Ok((chain, parents.into_holds()))
                    },
                )?,
                None => {
                    let (_, file) = self.find(uuid, Access::ReadWrite)?;
                    let locked = file.try_lock(LockMode::Exclusive);
                    if !locked
                        .map_err(|source| self.io_error("lock", Some(&name.file_name()), source))?
                    {
                        return Err(Error::InUse { uuid });
                    }
                    self.provide_growth(name, size, false)?;
                    self.grow(name, &file, size)?;
                }
            }
            // Before a consumer can write to the new range.
            self.logs.resized(uuid, size)
        })
    }

    fn provide_growth(&self, name: ImageName, virtual_size: u64, is_written: bool) -> Result<()> {
        let room = Room::Grown {
            virtual_size,
            is_written,
        };
        self.provide(&name.file_name(), room).map(drop)
    }

    /// Grows an image that no chain has open; on error it is as it was, or its journal stays.
    fn grow(&self, name: ImageName, image: &Arc<dyn MediumFile>, size: u64) -> Result<()> {
        let image_error = |action, source| Error::Image {
            action,
            path: self.path_of(&name.file_name()),
            source,
        };
        let in_place = vhd::image::grows_in_place(image, size);
        if in_place.map_err(|source| image_error("read", source))? {
            let grown = vhd::image::grow(image, &MemoryStorage::new(), size);
            return grown
                .map(drop)
                .map_err(|source| image_error("grow", source));
        }
        let journal_name = resize_journal(name.uuid);
        let created = self.files.create_file(&journal_name);
        let created =
            created.map_err(|source| self.io_error("create", Some(&journal_name), source))?;
        let journal = created;
        let mut grown = self.sync_directory(&journal_name).and_then(|()| {
            let grown = vhd::image::grow(image, &*journal, size);
            grown
                .map(drop)
                .map_err(|source| image_error("grow", source))
        });
        if grown.is_err() {
            let undo_error = |source| image_error("give back its old size to", source);
            if !vhd::image::revert(image, &*journal).map_err(undo_error)? {
                // There is nothing to undo, but on stable storage the journal may still say so.
                let emptied = journal.set_len(0).and_then(|()| journal.flush());
                emptied.map_err(|source| self.io_error("empty", Some(&journal_name), source))?;
                let found = vhd::image::inspect(image).map_err(undo_error)?;
                if found.virtual_size == size {
                    grown = Ok(());
                }
            }
        }
        // Empty, it is harmless.
        if let Err(error) = self.files.remove(&journal_name) {
            tracing::warn!(vdi.uuid = %name.uuid, %error, "remove the empty journal of a resize; the next attach of the SR does it");
        }
        grown
    }

    /// Gives an image back the size that it had before a resize that was interrupted, here or in XenServer.
    pub(super) fn recover_resize(&self, uuid: Uuid) -> Result<()> {
        let (name, journal_name) = (ImageName::vhd(uuid), resize_journal(uuid));
        let open = |name: &str| self.files.open_file(name, Access::ReadWrite);
        match open(&name.file_name()) {
            Ok(image) => {
                let journal = open(&journal_name)
                    .map_err(|source| self.io_error("open", Some(&journal_name), source))?;
                let reverted = vhd::image::revert(&*image, &*journal);
                reverted.map_err(|source| Error::Image {
                    action: "give back its old size to",
                    path: self.path_of(&name.file_name()),
                    source,
                })?;
            }
            // Nothing is left that could be repaired.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(self.io_error("open", Some(&name.file_name()), source)),
        }
        let removed = self.files.remove(&journal_name).map(drop);
        removed.map_err(|source| self.io_error("remove", Some(&journal_name), source))
    }
}
