//! The images of one SR directory as a whole: make, remove, look at, open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::cbt::ChangeLogs;
use super::flusher::{FLUSH_INTERVAL, Flusher};
use super::inspect::{self, Inspected, inspect};
use super::known_tree::{Change, KnownTree};
use super::names::{EntryKind, ImageName, classify};
use super::open_image::OpenImage;
use super::open_images::{OpenImages, Use};
use super::scan::{Survey, found_vdi, survey};
use super::tree::{ImageTree, Node};
use super::{Error, Result};
use crate::io::fault;
use crate::io::lock::{LockMode, try_lock};
use crate::medium::directory::{Access, Directory};
use crate::sr::{FoundVdi, OpenMode};

/// An SR directory whose lock is held by the caller.
#[derive(Debug)]
pub struct VhdDirectory {
    directory: Arc<Directory>,
    tree: Mutex<KnownTree>,
    /// Held while hidden images are removed, and by scans, so that neither sees the other's half.
    whole: Mutex<()>,
    open: Arc<OpenImages>,
    pub(super) logs: Arc<ChangeLogs>,
    flusher: Flusher,
}

/// An image to make.
#[derive(Clone, Copy, Debug)]
pub struct NewImage {
    /// Uuid and format.
    pub name: ImageName,
    /// Bytes asked for; rounded up to 2 MiB.
    pub virtual_size: u64,
}

impl VhdDirectory {
    /// Takes the directory, sweeping what an earlier process left half made.
    pub fn new(directory: Directory) -> Result<Self> {
        let open = Arc::new(OpenImages::default());
        let directory = Arc::new(directory);
        let vhd_directory = VhdDirectory {
            logs: Arc::new(ChangeLogs::new(directory.clone())),
            directory,
            tree: Mutex::default(),
            whole: Mutex::default(),
            flusher: Flusher::new(FLUSH_INTERVAL, open.clone()),
            open,
        };
        vhd_directory.sweep()?;
        vhd_directory.recover_logs()?;
        Ok(vhd_directory)
    }

    /// The directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Removes files that were being made when their process died.
    fn sweep(&self) -> Result<()> {
        let entries = self
            .directory
            .entries()
            .map_err(|source| self.io_error("list", None, source))?;
        for entry in entries {
            let Some(name) = entry.to_str() else { continue };
            if classify(name) == EntryKind::Temporary {
                tracing::info!(
                    file.name = name,
                    "remove what an interrupted creation left in the SR directory"
                );
                self.directory
                    .remove(name)
                    .map_err(|source| self.io_error("remove", Some(name), source))?;
            }
        }
        Ok(())
    }

    /// Makes an empty image.
    ///
    /// Write order, and what a crash leaves in each gap:
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
        for name in [ImageName::vhd(new.name.uuid), ImageName::raw(new.name.uuid)] {
            let file_name = name.file_name();
            let taken = self.directory.contains(&file_name);
            if taken.map_err(|source| self.io_error("look for", Some(&file_name), source))? {
                return Err(Error::Exists {
                    path: self.path_of(&file_name),
                });
            }
        }
        let temporary = new.name.temporary();
        let made = self.create_temporary(&temporary, new.name, virtual_size);
        let published =
            made.and_then(|inspected| self.publish(&temporary, new.name).map(|()| inspected));
        let inspected = match published {
            Ok(inspected) => inspected,
            Err(error) => {
                // The sweep at the next attach gets what cannot be removed now.
                let _ = self.directory.remove(&temporary);
                return Err(error);
            }
        };
        let node = Node {
            parent: None,
            hidden: false,
        };
        self.lock_tree().change(Change::Made(new.name, node));
        Ok(found_vdi(new.name, &inspected, false))
    }

    fn create_temporary(
        &self,
        temporary: &str,
        name: ImageName,
        virtual_size: u64,
    ) -> Result<Inspected> {
        let created = self.directory.create_file(temporary);
        let file = created.map_err(|source| self.io_error("create", Some(temporary), source))?;
        let inspected =
            inspect::create(file, name, virtual_size, &self.path_of(&name.file_name()))?;
        fault::point("image: written and synced")
            .map_err(|source| self.io_error("sync", Some(temporary), source))?;
        Ok(inspected)
    }

    fn publish(&self, temporary: &str, name: ImageName) -> Result<()> {
        let file_name = name.file_name();
        self.directory
            .publish(temporary, &file_name)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::AlreadyExists => Error::Exists {
                    path: self.path_of(&file_name),
                },
                _ => self.io_error("rename to", Some(&file_name), source),
            })?;
        self.directory.sync().map_err(|source| {
            // Whoever asked is told that there is no image, so there must be none.
            let _ = self.directory.remove(&file_name);
            self.io_error("sync the directory of", Some(&file_name), source)
        })
    }

    /// Removes an image, and leaves its log; one that is not there is no error. The directory is synced then, too: the image may be gone
    /// since an unlink that was never synced, after a kill or a failed sync, and would come back with a power cut.
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
        let Some((name, file)) = self.find(uuid, Access::Read)? else {
            return self.sync_removal(&ImageName::vhd(uuid).file_name());
        };
        // Held to the end: nobody opens the image between the check and the removal.
        let _hold = self
            .open
            .hold(name, Use::Exclusive)
            .ok_or(Error::InUse { uuid })?;
        let locked = try_lock(&file, LockMode::Exclusive);
        if !locked.map_err(|source| self.io_error("lock", Some(&name.file_name()), source))? {
            return Err(Error::InUse { uuid });
        }
        let had_parent = {
            let known = self.loaded_tree()?;
            let tree = known.tree();
            if let Some(child) = tree.and_then(|tree| tree.child_of(name)) {
                return Err(Error::HasChildren {
                    uuid,
                    child: child.uuid,
                });
            }
            let node = tree.and_then(|tree| tree.nodes().get(&name));
            node.is_none_or(|node| node.parent.is_some())
        };
        self.unlink(name)?;
        if had_parent {
            self.prune()?;
        }
        Ok(())
    }

    /// Removes hidden images that no image needs any more, unless an image is unreadable and may need them.
    fn prune(&self) -> Result<()> {
        let _whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let prunable = self
                .loaded_tree()?
                .tree()
                .map(ImageTree::prunable)
                .unwrap_or_default();
            let mut removed = 0;
            for name in prunable {
                let file_name = name.file_name();
                let Some(_hold) = self.open.hold(name, Use::Exclusive) else {
                    continue;
                };
                let locked = match self.directory.open_file(&file_name, Access::Read) {
                    Ok(file) if try_lock(&file, LockMode::Exclusive).unwrap_or(false) => Some(file),
                    Ok(_) => continue,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    Err(source) => return Err(self.io_error("open", Some(&file_name), source)),
                };
                tracing::info!(vdi.uuid = %name.uuid, "remove a hidden image that no VDI needs any more");
                self.unlink(name)?;
                drop(locked);
                removed += 1;
            }
            // Each round removes something, so there are no more rounds than images in a chain.
            if removed == 0 {
                return Ok(());
            }
        }
    }

    fn unlink(&self, name: ImageName) -> Result<()> {
        let file_name = name.file_name();
        let removed = self.directory.remove(&file_name);
        removed.map_err(|source| self.io_error("remove", Some(&file_name), source))?;
        self.lock_tree().change(Change::Removed(name));
        self.sync_removal(&file_name)
    }

    fn sync_removal(&self, file_name: &str) -> Result<()> {
        let synced = self.directory.sync();
        synced.map_err(|source| self.io_error("sync the directory of", Some(file_name), source))
    }

    /// Reads the state of one VDI.
    pub fn stat(&self, uuid: Uuid) -> Result<FoundVdi> {
        let Some((name, _)) = self.find(uuid, Access::Read)? else {
            return self.stat_log(uuid);
        };
        let inspected = inspect(&self.directory, name)?;
        let is_parent = inspected.hidden || self.child_of(name)?.is_some();
        self.shown(found_vdi(name, &inspected, is_parent))
    }

    /// Reads every image.
    pub fn survey(&self) -> Result<Survey> {
        let _whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock_tree().begin_scan();
        let survey = survey(&self.directory);
        self.lock_tree()
            .end_scan(survey.as_ref().ok().map(|survey| survey.tree.clone()));
        let mut survey = survey?;
        survey.logs = self.all_logs()?;
        Ok(survey)
    }

    /// Opens a VDI with its parents.
    ///
    /// # Errors
    /// `InUse` when it is open and one of both wants to write.
    pub fn open(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<OpenImage>> {
        let access = match mode {
            OpenMode::ReadOnly => Access::Read,
            OpenMode::ReadWrite => Access::ReadWrite,
        };
        let (name, file) = self.find(uuid, access)?.ok_or_else(|| self.missing(uuid))?;
        if mode == OpenMode::ReadWrite
            && let Some(child) = self.child_of(name)?
        {
            return Err(Error::HasChildren {
                uuid,
                child: child.uuid,
            });
        }
        let image = OpenImage::open(&self.directory, &self.open, &self.logs, name, file, mode)?;
        let image = Arc::new(image);
        self.open.add(&image);
        if mode == OpenMode::ReadWrite {
            self.flusher.start();
        }
        Ok(image)
    }

    /// The images that are open, and what is held of each image.
    pub fn open_images(&self) -> &Arc<OpenImages> {
        &self.open
    }

    /// Opens the file of a VDI, whichever format it has.
    pub(super) fn find(
        &self,
        uuid: Uuid,
        access: Access,
    ) -> Result<Option<(ImageName, std::fs::File)>> {
        for name in [ImageName::vhd(uuid), ImageName::raw(uuid)] {
            let file_name = name.file_name();
            match self.directory.open_file(&file_name, access) {
                Ok(file) => return Ok(Some((name, file))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.io_error("open", Some(&file_name), source)),
            }
        }
        Ok(None)
    }

    fn lock_tree(&self) -> MutexGuard<'_, KnownTree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree, built from the medium if need be.
    fn loaded_tree(&self) -> Result<MutexGuard<'_, KnownTree>> {
        let mut known = self.lock_tree();
        if known.tree().is_none() {
            known.set(survey(&self.directory)?.tree);
        }
        Ok(known)
    }

    /// Looks at the tree, which is not changed meanwhile.
    pub(super) fn with_tree<T>(&self, look: impl FnOnce(&ImageTree) -> T) -> Result<T> {
        let known = self.loaded_tree()?;
        let empty = ImageTree::default();
        Ok(look(known.tree().unwrap_or(&empty)))
    }

    fn child_of(&self, name: ImageName) -> Result<Option<ImageName>> {
        Ok(self
            .loaded_tree()?
            .tree()
            .and_then(|tree| tree.child_of(name)))
    }

    fn path_of(&self, file_name: &str) -> std::path::PathBuf {
        self.directory.path().join(file_name)
    }

    pub(super) fn missing(&self, uuid: Uuid) -> Error {
        Error::Missing {
            uuid,
            directory: self.directory.path().to_owned(),
        }
    }

    fn io_error(
        &self,
        action: &'static str,
        file_name: Option<&str>,
        source: std::io::Error,
    ) -> Error {
        let path = file_name.map_or_else(
            || self.directory.path().to_owned(),
            |name| self.path_of(name),
        );
        Error::Io {
            action,
            path,
            source,
        }
    }
}
