//! The images of one SR directory as a whole: look at them, open them, and take turns in changing them.

use std::collections::BTreeSet;
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use nbd::Export;
use uuid::Uuid;

use super::cbt::ChangeLogs;
use super::coalesce::leaf_journal;
use super::collector::Collector;
use super::flusher::{FLUSH_INTERVAL, Flusher};
use super::inspect::inspect;
use super::known_tree::{Change, KnownTree};
use super::names::{ImageFormat, ImageName, resize_journal};
use super::open_image::OpenImage;
use super::open_images::{OpenImages, Use};
use super::scan::{Listing, Survey, found_vdi};
use super::spares::Spares;
use super::tree::ImageTree;
use super::tree_locks::{LockedTrees, TreeLocks};
use super::{Error, Result};
use crate::medium::files::{Access, Files, MediumFile, Room};
use crate::sr::{FoundVdi, OpenMode};

/// The images of an SR, wherever their files are; that nobody else changes them is the caller's to see to.
///
/// Locks are taken in this order: the trees of the images to change, `changing`, the known tree.
pub struct VhdDirectory {
    pub(super) files: Arc<dyn Files>,
    pub(super) open: Arc<OpenImages>,
    pub(super) logs: Arc<ChangeLogs>,
    tree: Mutex<KnownTree>,
    trees: TreeLocks,
    /// Held shared by whoever makes a change of several steps, exclusively at the end of a scan, which thus sees all of a
    /// change or nothing.
    changing: RwLock<()>,
    /// One scan at a time.
    scanning: Mutex<()>,
    collector: OnceLock<Weak<dyn Collector>>,
    flusher: Flusher,
    pub(super) spares: Spares,
}

/// The right to change some trees of images.
#[derive(Debug)]
pub struct TreeChange<'a> {
    images: &'a VhdDirectory,
    _trees: LockedTrees<'a>,
    _changing: RwLockReadGuard<'a, ()>,
}

impl VhdDirectory {
    /// Takes the files and finishes or undoes what an earlier process left half made.
    pub fn new(files: Arc<dyn Files>) -> Result<Self> {
        let open = Arc::new(OpenImages::default());
        let images = VhdDirectory {
            logs: Arc::new(ChangeLogs::new(files.clone())),
            flusher: Flusher::new(FLUSH_INTERVAL, open.clone()),
            spares: Spares::new(files.clone(), open.clone()),
            files,
            open,
            tree: Mutex::default(),
            trees: TreeLocks::default(),
            changing: RwLock::default(),
            scanning: Mutex::default(),
            collector: OnceLock::new(),
        };
        images.recover()?;
        images.recover_logs()?;
        Ok(images)
    }

    /// The files.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// The images that are open, and what is held of each image.
    pub fn open_images(&self) -> &Arc<OpenImages> {
        &self.open
    }

    /// Ends what is made ahead of need; the SR is about to be detached.
    pub fn stop_spares(&self) {
        self.spares.stop();
    }

    /// Names who merges and removes images in the background; the first one stays.
    pub fn set_collector(&self, collector: Weak<dyn Collector>) {
        // A second one would mean that the SR is attached twice, which the SR's slot prevents.
        let _ = self.collector.set(collector);
    }

    pub(super) fn collector(&self) -> Option<Arc<dyn Collector>> {
        self.collector.get()?.upgrade()
    }

    /// Tells the collector that there may be something to do.
    pub(super) fn kick(&self) {
        if let Some(collector) = self.collector() {
            collector.kick();
        }
    }

    /// Waits for, and takes, the right to give images of these images' trees other names, parents or sizes.
    ///
    /// Images are opened under it too. Whoever has it does not wait for a consumer, and does not ask for a second.
    pub fn change(&self, names: &[ImageName]) -> Result<TreeChange<'_>> {
        let roots = || -> Result<BTreeSet<ImageName>> {
            let known = self.loaded_tree()?;
            let root = |name| known.tree().map_or(name, |tree| tree.root_of(name));
            Ok(names.iter().map(|name| root(*name)).collect())
        };
        loop {
            let wanted = roots()?;
            let trees = self.trees.lock(wanted);
            // A snapshot that we waited for may have put another image at the bottom.
            if roots()? == *trees.roots() {
                let changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
                return Ok(TreeChange {
                    images: self,
                    _trees: trees,
                    _changing: changing,
                });
            }
        }
    }

    /// Keeps a scan from looking until it is dropped: for changes of an image that leave its place in its tree.
    ///
    /// Taken before consumers are held off, like a [`TreeChange`], and by nobody who has one.
    pub(super) fn hold_scans(&self) -> RwLockReadGuard<'_, ()> {
        self.changing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the state of one VDI. The caller has no tree locked.
    pub fn stat(&self, uuid: Uuid) -> Result<FoundVdi> {
        let found = self.find(uuid, Access::Read).or_else(|error| match error {
            // It may be getting another file at this moment.
            Error::Missing { .. } => {
                let _change = self.change(&[ImageName::vhd(uuid)])?;
                self.find(uuid, Access::Read)
            }
            error => Err(error),
        });
        let name = match found {
            Ok((name, _)) => name,
            Err(Error::Missing { .. }) => return self.stat_log(uuid),
            Err(error) => return Err(error),
        };
        let inspected = inspect(&*self.files, name)?;
        let is_parent = inspected.hidden || self.child_of(name)?.is_some();
        self.shown(found_vdi(name, &inspected, is_parent))
    }

    /// Reads every image. What changes meanwhile is read again at the end, while nothing can change.
    pub fn survey(&self) -> Result<Survey> {
        let _scanning = self.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock_tree().begin_scan();
        let surveyed = self.read_all();
        let tree = surveyed
            .as_ref()
            .ok()
            .map(|(survey, _)| survey.tree.clone());
        self.lock_tree().end_scan(tree);
        let (mut survey, _quiet) = surveyed?;
        survey.logs = self.all_logs()?;
        Ok(survey)
    }

    fn read_all(&self) -> Result<(Survey, RwLockWriteGuard<'_, ()>)> {
        let mut listing = Listing::read(&*self.files)?;
        let quiet = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = self.lock_tree().changed_since_scan();
        match changed {
            Some(changed) => changed
                .into_iter()
                .for_each(|name| listing.read_again(&*self.files, name)),
            None => {
                self.lock_tree().begin_scan();
                listing = Listing::read(&*self.files)?;
            }
        }
        listing.read_doubtful_again(&*self.files);
        Ok((listing.survey(), quiet))
    }

    /// Opens a VDI with its parents.
    ///
    /// # Errors
    /// `InUse` when it is open and one of both wants to write; `HasChildren`, `Unfinished` when it must not be written.
    pub fn open(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<OpenImage>> {
        let access = match mode {
            OpenMode::ReadOnly => Access::Read,
            OpenMode::ReadWrite => Access::ReadWrite,
        };
        let name = self.name_now(uuid)?;
        let change = self.change(&[name])?;
        change.release(name);
        // Opened again: the name may have gone to another file while we waited.
        let (name, file) = self.find(uuid, access)?;
        if mode == OpenMode::ReadWrite {
            self.require_leaf(name)?;
            self.require_finished(name)?;
            self.provide_to_write(name)?;
        }
        let image = OpenImage::open(&self.files, &self.open, &self.logs, name, file, mode)?;
        let image = Arc::new(image);
        self.open.add(&image);
        drop(change);
        if mode == OpenMode::ReadWrite {
            self.flusher.start();
            if name.format == ImageFormat::Vhd {
                self.spares.want(image.size());
            }
        }
        Ok(image)
    }

    /// Makes room for whoever is about to write an image, unless somebody has it: then it is refused by and by.
    fn provide_to_write(&self, name: ImageName) -> Result<()> {
        let Some(_hold) = self.open.hold(name, Use::Exclusive) else {
            return Ok(());
        };
        self.provide(&name.file_name(), Room::Written).map(drop)
    }

    /// Refuses an image that is the parent of another.
    pub(super) fn require_leaf(&self, name: ImageName) -> Result<()> {
        match self.child_of(name)? {
            None => Ok(()),
            Some(child) => Err(Error::HasChildren {
                uuid: name.uuid,
                child: child.uuid,
            }),
        }
    }

    /// Refuses an image that must not be written: what the recovery at attach could not finish.
    pub(super) fn require_finished(&self, name: ImageName) -> Result<()> {
        let file_name = name.file_name();
        let unfinished = |found: String| Error::Unfinished {
            uuid: name.uuid,
            found,
        };
        // With the second one it is not known which of two files is the image.
        for journal in [resize_journal(name.uuid), leaf_journal(name.uuid)] {
            let has_journal = self.files.contains(&journal);
            if has_journal.map_err(|source| self.io_error("look for", Some(&journal), source))? {
                return Err(unfinished(journal));
            }
        }
        let others = self.files.other_names(&file_name);
        let others = others
            .map_err(|source| self.io_error("look for links of", Some(&file_name), source))?;
        // A link that is no image is somebody's way to keep a copy, and his affair.
        let image = |other: &&String| ImageName::parse(other).is_some();
        match others.iter().find(image) {
            None => Ok(()),
            Some(other) => Err(unfinished(other.clone())),
        }
    }

    /// Opens the file of a VDI, whichever format it has.
    pub(super) fn find(
        &self,
        uuid: Uuid,
        access: Access,
    ) -> Result<(ImageName, Arc<dyn MediumFile>)> {
        for name in [ImageName::vhd(uuid), ImageName::raw(uuid)] {
            let file_name = name.file_name();
            match self.files.open_file(&file_name, access) {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.io_error("open", Some(&file_name), source)),
            }
        }
        Err(self.missing(uuid))
    }

    /// The name by which a VDI's tree is to be locked. Between the two renames that end the merge of a leaf it has no file:
    /// whether there is one shows under the lock.
    pub(super) fn name_now(&self, uuid: Uuid) -> Result<ImageName> {
        match self.find(uuid, Access::Read) {
            Ok((name, _)) => Ok(name),
            Err(Error::Missing { .. }) => Ok(ImageName::vhd(uuid)),
            Err(error) => Err(error),
        }
    }

    /// Refuses a uuid that an image has, in whichever format.
    pub(super) fn require_free(&self, uuid: Uuid) -> Result<()> {
        for name in [ImageName::vhd(uuid), ImageName::raw(uuid)] {
            let file_name = name.file_name();
            let taken = self.files.contains(&file_name);
            if taken.map_err(|source| self.io_error("look for", Some(&file_name), source))? {
                return Err(Error::Exists {
                    path: self.path_of(&file_name),
                });
            }
        }
        Ok(())
    }

    /// Notes changes that were made on the medium.
    pub(super) fn tell(&self, changes: &[Change]) {
        self.lock_tree().change(changes);
    }

    /// Asks the tree, which is built from the medium if need be and not changed meanwhile.
    pub fn with_tree<T>(&self, ask: impl FnOnce(&ImageTree) -> T) -> Result<T> {
        let known = self.loaded_tree()?;
        Ok(match known.tree() {
            Some(tree) => ask(tree),
            None => ask(&ImageTree::default()),
        })
    }

    fn lock_tree(&self) -> MutexGuard<'_, KnownTree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded_tree(&self) -> Result<MutexGuard<'_, KnownTree>> {
        let mut known = self.lock_tree();
        if known.tree().is_none() {
            known.set(Listing::read(&*self.files)?.survey().tree);
        }
        Ok(known)
    }

    fn child_of(&self, name: ImageName) -> Result<Option<ImageName>> {
        self.with_tree(|tree| tree.child_of(name))
    }

    pub(super) fn path_of(&self, file_name: &str) -> std::path::PathBuf {
        self.files.path().join(file_name)
    }

    pub(super) fn sync_directory(&self, file_name: &str) -> Result<()> {
        let synced = self.files.sync();
        synced.map_err(|source| self.io_error("sync the directory of", Some(file_name), source))
    }

    pub(super) fn missing(&self, uuid: Uuid) -> Error {
        Error::Missing {
            uuid,
            directory: self.files.path().to_owned(),
        }
    }

    pub(super) fn io_error(
        &self,
        action: &'static str,
        file_name: Option<&str>,
        source: std::io::Error,
    ) -> Error {
        let path =
            file_name.map_or_else(|| self.files.path().to_owned(), |name| self.path_of(name));
        Error::Io {
            action,
            path,
            source,
        }
    }
}

impl TreeChange<'_> {
    /// Notes what was changed on the medium.
    pub fn tell(&self, changes: &[Change]) {
        self.images.tell(changes);
    }

    /// Has the collector give up a merge that has this leaf in hand.
    pub fn release(&self, leaf: ImageName) {
        if let Some(collector) = self.images.collector() {
            collector.release(leaf);
        }
    }
}

impl std::fmt::Debug for VhdDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VhdDirectory")
            .field("files", &self.files)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}
