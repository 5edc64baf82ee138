//! Removing an image, and those that only it needed.

use uuid::Uuid;

use super::known_tree::Change;
use super::names::ImageName;
use super::open_images::Use;
use super::tree::ImageTree;
use super::vhd_directory::VhdDirectory;
use super::{Error, Result};
use crate::io::lock::LockMode;
use crate::medium::files::Access;

impl VhdDirectory {
    /// Removes an image, and leaves its log; one that is not there is no error. The directory is synced then, too: the
    /// image may be gone since an unlink that was never synced, after a kill or a failed sync, and would come back with a
    /// power cut.
    ///
    /// Write order: the image is unlinked and the directory synced, then every hidden parent that no image needs any more
    /// likewise, from the leaf upward. A crash in between leaves a hidden image without children, which no scan shows and
    /// the next removal takes along.
    ///
    /// # Errors
    /// `InUse` while it is open anywhere, `HasChildren` while images are based on it.
    ///
    /// # Durability
    /// On return the image is gone for good.
    pub(super) fn remove_image(&self, uuid: Uuid) -> Result<()> {
        let gone = |error| match error {
            Error::Missing { .. } => self.sync_directory(&ImageName::vhd(uuid).file_name()),
            error => Err(error),
        };
        let name = self.name_now(uuid)?;
        let change = self.change(&[name])?;
        change.release(name);
        let (name, file) = match self.find(uuid, Access::Read) {
            Ok(found) => found,
            Err(error) => return gone(error),
        };
        let _hold = self
            .open
            .hold(name, Use::Exclusive)
            .ok_or(Error::InUse { uuid })?;
        let locked = file.try_lock(LockMode::Exclusive);
        if !locked.map_err(|source| self.io_error("lock", Some(&name.file_name()), source))? {
            return Err(Error::InUse { uuid });
        }
        self.require_leaf(name)?;
        let is_root = |tree: &ImageTree| tree.nodes().get(&name).map(|node| node.parent.is_none());
        let had_parent = !self.with_tree(is_root)?.unwrap_or_default();
        self.unlink(name)?;
        if had_parent {
            self.prune()?;
        }
        drop(change);
        self.kick();
        Ok(())
    }

    /// Removes hidden images that no image needs any more, unless an image is unreadable and may need them.
    ///
    /// They may be of other trees than the caller's: one without children gets none, since only images that have a child
    /// of theirs in hand give them another.
    pub(super) fn prune(&self) -> Result<()> {
        // Each round removes something, so there are no more rounds than images in a chain.
        loop {
            let mut removed = 0;
            for name in self.with_tree(ImageTree::prunable)? {
                removed += usize::from(self.prune_image(name)?);
            }
            if removed == 0 {
                return Ok(());
            }
        }
    }

    /// Removes one hidden image; false when somebody still has it.
    fn prune_image(&self, name: ImageName) -> Result<bool> {
        let file_name = name.file_name();
        let Some(_hold) = self.open.hold(name, Use::Exclusive) else {
            return Ok(false);
        };
        let _locked = match self.files.open_file(&file_name, Access::Read) {
            Ok(file) if file.try_lock(LockMode::Exclusive).unwrap_or(false) => Some(file),
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(self.io_error("open", Some(&file_name), source)),
        };
        // Another thread may have pruned it before we held it.
        if !self
            .with_tree(|tree| tree.nodes().contains_key(&name) && tree.child_of(name).is_none())?
        {
            return Ok(false);
        }
        tracing::info!(vdi.uuid = %name.uuid, "remove a hidden image that no VDI needs any more");
        self.unlink(name)?;
        Ok(true)
    }

    fn unlink(&self, name: ImageName) -> Result<()> {
        let file_name = name.file_name();
        let removed = self.files.remove(&file_name);
        removed.map_err(|source| self.io_error("remove", Some(&file_name), source))?;
        self.tell(&[Change::Removed(name)]);
        self.sync_directory(&file_name)
    }
}
