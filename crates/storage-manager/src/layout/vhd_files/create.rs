//! Making an empty image.

use super::inspect::{self, Inspected};
use super::known_tree::Change;
use super::names::ImageName;
use super::scan::found_vdi;
use super::vhd_directory::VhdDirectory;
use super::{Error, Result};
use crate::io::fault;
use crate::medium::files::Room;
use crate::sr::FoundVdi;

/// An image to make.
#[derive(Clone, Copy, Debug)]
pub struct NewImage {
    /// Uuid and format.
    pub name: ImageName,
    /// Bytes asked for; rounded up to 2 MiB.
    pub virtual_size: u64,
}

impl VhdDirectory {
    /// Makes an empty image.
    ///
    /// Where the medium makes it in one change ([`crate::medium::files::Files::create_whole`]), a crash leaves it or nothing. Elsewhere, write order,
    /// and what a crash leaves in each gap:
    /// 1. The image is written under a temporary name: swept at the next attach.
    /// 2. It is synced. The same.
    /// 3. It gets its name, which must be free: a whole image, or after a power cut the temporary one.
    /// 4. The directory is synced: the image stays.
    ///
    /// # Errors
    /// On every error what was made is removed again.
    ///
    /// # Durability
    /// On return the image is on stable storage under its name.
    pub fn create(&self, new: &NewImage) -> Result<FoundVdi> {
        let maximum = vhd::size::MAX_VIRTUAL_SIZE;
        let virtual_size =
            vhd::size::round_virtual_size(new.virtual_size).map_err(|_| Error::Size {
                found: new.virtual_size,
                maximum,
            })?;
        self.require_free(new.name.uuid)?;
        if let Some(inspected) = self.create_whole(new.name, virtual_size)? {
            self.tell(&[Change::Made(new.name, inspected.node())]);
            return Ok(found_vdi(new.name, &inspected, false));
        }
        let temporary = new.name.temporary();
        let made = self.create_temporary(&temporary, new.name, virtual_size);
        let published =
            made.and_then(|inspected| self.publish(&temporary, new.name).map(|()| inspected));
        let inspected = match published {
            Ok(inspected) => inspected,
            Err(error) => {
                // The sweep at the next attach gets what cannot be removed now.
                let _ = self.files.remove(&temporary);
                return Err(error);
            }
        };
        self.tell(&[Change::Made(new.name, inspected.node())]);
        Ok(found_vdi(new.name, &inspected, false))
    }

    /// Makes the image in one change; none where the medium cannot.
    fn create_whole(&self, name: ImageName, virtual_size: u64) -> Result<Option<Inspected>> {
        let path = self.path_of(&name.file_name());
        let mut written = None;
        let made = self.files.create_whole(name, virtual_size, &mut |file| {
            let created = inspect::create(file, name, virtual_size, &path);
            let failed = created.is_err();
            written = Some(created);
            match failed {
                true => Err(std::io::ErrorKind::Other.into()),
                false => fault::point("image: written and synced"),
            }
        });
        match (made, written.transpose()) {
            // What it could not write says more.
            (_, Err(error)) => Err(error),
            (Ok(_), Ok(inspected)) => Ok(inspected),
            (Err(source), Ok(_)) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Exists { path })
            }
            (Err(source), Ok(_)) => Err(self.io_error("create", Some(&name.file_name()), source)),
        }
    }

    fn create_temporary(
        &self,
        temporary: &str,
        name: ImageName,
        virtual_size: u64,
    ) -> Result<Inspected> {
        let created = self.files.create_file(temporary);
        let file = created.map_err(|source| self.io_error("create", Some(temporary), source))?;
        let inspected =
            inspect::create(file, name, virtual_size, &self.path_of(&name.file_name()))?;
        fault::point("image: written and synced")
            .map_err(|source| self.io_error("sync", Some(temporary), source))?;
        if self.provide(temporary, Room::Resting)? {
            return inspect::inspect_named(&*self.files, temporary, name);
        }
        Ok(inspected)
    }

    /// Gives an image the room that it needs; true when the length of its file has changed.
    pub(super) fn provide(&self, file_name: &str, room: Room) -> Result<bool> {
        let provided = self.files.provide(file_name, room);
        provided.map_err(|source| self.io_error("make room for", Some(file_name), source))
    }

    /// Lets an image have what nobody needs who does not write it; when that fails it has more than it needs.
    pub(super) fn rest(&self, name: ImageName) {
        let file_name = name.file_name();
        if let Err(error) = self.provide(&file_name, Room::Resting) {
            tracing::warn!(vdi.uuid = %name.uuid, error = %error.chain_text(), "an image keeps more room than it needs");
        }
    }

    /// Gives a file that is on stable storage its name, which must be free, and syncs the directory.
    pub(super) fn publish(&self, temporary: &str, name: ImageName) -> Result<()> {
        let file_name = name.file_name();
        self.files
            .publish(temporary, &file_name)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::AlreadyExists => Error::Exists {
                    path: self.path_of(&file_name),
                },
                _ => self.io_error("rename to", Some(&file_name), source),
            })?;
        self.files.sync().map_err(|source| {
            // Whoever asked is told that there is no image, so there must be none.
            let _ = self.files.remove(&file_name);
            self.io_error("sync the directory of", Some(&file_name), source)
        })
    }
}
