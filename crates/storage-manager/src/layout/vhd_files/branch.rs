//! Snapshot, clone and revert: a second image with the content that an image has now.

use std::time::{Duration, Instant};

use nbd::Export;
use uuid::Uuid;

use super::branch_files::{BranchFiles, Parent};
use super::inspect::{Inspected, inspect, inspect_file, parent_of, timestamp};
use super::known_tree::Change;
use super::names::{ImageFormat, ImageName};
use super::open_images::{Hold, Use};
use super::paused::Paused;
use super::scan::found_vdi;
use super::tree::MAX_CHAIN;
use super::vhd_directory::{TreeChange, VhdDirectory};
use super::{Error, Result};
use crate::medium::files::{Access, MediumFile, Room};
use crate::sr::{FoundVdi, SnapshotKind};

/// The longest chain that a snapshot may make, in images. It leaves room below [`MAX_CHAIN`] for the leaf that merging
/// needs for a while; a snapshot that would make a longer one first has images merged.
pub const SNAPSHOT_DEPTH: usize = 28;

/// How long a snapshot waits for images of its chain to be merged.
const MAKE_ROOM_LIMIT: Duration = Duration::from_secs(30);

/// How long a snapshot waits for a consumer that is just closing the image.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// What a snapshot, clone or revert left.
#[derive(Clone, Debug, PartialEq)]
pub struct Branched {
    /// The source as it is now.
    pub source: FoundVdi,
    /// The second image, if one was asked for.
    pub new: Option<FoundVdi>,
    /// The hidden parent that has the source's data; none where the source had none.
    pub base: Option<FoundVdi>,
}

/// What the second child of the base becomes.
#[derive(Clone, Copy, Debug)]
pub enum Second {
    /// There is none.
    None,
    /// A new image; a snapshot takes over the source's change-tracking log.
    New(ImageName, SnapshotKind),
    /// It takes the name, and the place, of an image that there is.
    Over(ImageName),
}

impl Second {
    pub fn name(self) -> Option<ImageName> {
        match self {
            Second::None => None,
            Second::New(name, _) | Second::Over(name) => Some(name),
        }
    }

    /// A snapshot gets as little as can be: few are ever written.
    pub fn room(self) -> Room {
        match self {
            Second::New(_, SnapshotKind::Snapshot) => Room::Least,
            _ => Room::Resting,
        }
    }
}

/// The image that is branched.
#[derive(Debug)]
pub struct Source {
    pub name: ImageName,
    pub uuid: Uuid,
    pub modified: u32,
    pub inspected: Inspected,
    /// The parent as the image names it.
    pub link: Option<vhd::ParentLink>,
    /// It is based on another image and has nothing of its own.
    pub is_empty: bool,
}

impl VhdDirectory {
    /// Makes an image with the content that the source has now: a snapshot or a clone. A consumer stays connected.
    ///
    /// What the source's file holds becomes a hidden parent under a new random uuid, and the source's name goes to a new
    /// empty child of it; the other child is the new image. A source that has a parent and no data of its own stays as it
    /// is, and the new image becomes a child of the same parent. Data are neither read nor copied.
    ///
    /// Write order, and what a crash leaves in each gap; `recovery` repairs it at attach:
    /// 1. `<source>.vhd.new` and a temporary file are made, empty children of the parent that is to be, and synced; an
    ///    empty file whose name tells the parent's uuid. Crash: they are removed.
    /// 2. The source's file gets the parent's name as a second one, and the directory is synced, after which all of this
    ///    survives a power cut. Crash: as after 3 when the first child is whole; else the second name is removed.
    /// 3. While the consumer waits, what he wrote is flushed, `<source>.vhd.new` is renamed over the source, and the
    ///    temporary file becomes the new image; a snapshot takes over the change-tracking log. Crash: the parent is hidden;
    ///    a temporary file is removed. The source has its content, through its parent; there is a snapshot or there is none.
    /// 4. The directory is synced. Crash: the parent is hidden.
    /// 5. The parent is hidden. Crash: the same.
    /// 6. The file that tells the parent's uuid is removed. Crash: it is removed.
    ///
    /// Where there are no hard links, step 2 is left out and step 3 renames the source to the parent's name, syncs the
    /// directory, and renames the first child. A crash between leaves no source; the first child is renamed. So it is for a
    /// raw source, which stays raw as the parent while the source becomes a VHD.
    ///
    /// # Errors
    /// `ChainFull`, `Raw`, `Hidden`, `HasChildren`, `Exists`, `Unfinished`; `Io` and `Image` when a step failed. The
    /// content of the source is as it was, and the new image is not there.
    ///
    /// # Durability
    /// On return both are on stable storage, with every write of the consumer that had returned before the call.
    ///
    /// # Source
    /// Names and order of XenServer's file SRs, which hide the parent last for the same reason: a hidden image without
    /// children is removed by the garbage collector.
    pub fn snapshot(&self, source: Uuid, new: Uuid, kind: SnapshotKind) -> Result<Branched> {
        let new = ImageName::vhd(new);
        self.branch(source, Second::New(new, kind), "snapshotted")
    }

    /// Puts a new empty leaf on an image, whose data thus become a hidden parent: for merging while the image is in use.
    ///
    /// # Errors
    /// As [`VhdDirectory::snapshot`], but the chain may become as long as a chain can be.
    ///
    /// # Durability
    /// As [`VhdDirectory::snapshot`].
    pub fn push_leaf(&self, source: Uuid) -> Result<Branched> {
        self.branch(source, Second::None, "snapshotted")
    }

    /// Gives a VDI the content that another has now; what it had is lost, its change-tracking log too. Its size becomes the
    /// other's.
    ///
    /// Write order: as [`VhdDirectory::snapshot`] of the other; the second child stays a temporary file, which is renamed
    /// over the VDI's image after step 5, and the directory is synced again. A crash leaves the old content or the new.
    ///
    /// # Errors
    /// `InUse` while the VDI is open, `HasChildren` when images are based on it; and as [`VhdDirectory::snapshot`].
    ///
    /// # Durability
    /// On return the VDI has its new content for good.
    pub fn revert(&self, vdi: Uuid, snapshot: Uuid) -> Result<Branched> {
        let name = self.name_now(vdi)?;
        if name.format == ImageFormat::Raw {
            let (uuid, action) = (vdi, "reverted");
            return Err(Error::Raw { uuid, action });
        }
        if vdi == snapshot {
            let source = self.stat(vdi)?;
            let new = Some(source.clone());
            return Ok(Branched {
                source,
                new,
                base: None,
            });
        }
        self.branch(snapshot, Second::Over(name), "reverted to")
    }

    fn branch(&self, source: Uuid, second: Second, action: &'static str) -> Result<Branched> {
        let name = self.name_now(source)?;
        // Most of what a consumer has written goes out before anybody waits for it.
        for image in self.open.of(source) {
            let flushed = image.flush();
            flushed.map_err(|source| self.io_error("flush", Some(&name.file_name()), source))?;
        }
        if second.name().is_some() {
            self.make_room(name, action)?;
        }
        let mut names = vec![name];
        if let Second::Over(over) = second {
            names.push(over);
        }
        let change = self.change(&names)?;
        names.iter().for_each(|name| change.release(*name));
        let source = self.look_at_source(source, action)?;
        self.require_leaf(source.name)?;
        self.require_finished(source.name)?;
        let replaced = match second {
            Second::None => None,
            Second::New(new, _) => self.require_free(new.uuid).map(|()| None)?,
            Second::Over(over) => Some(self.hold_replaced(over)?),
        };
        let sibling = match &source.link {
            Some(link) if source.is_empty => self.branch_empty(&change, &source, link, second),
            _ => Ok(None),
        };
        let branched = sibling.and_then(|sibling| match sibling {
            Some(branched) => Ok(branched),
            None => self.branch_data(&change, &source, second),
        });
        if replaced.is_some() {
            drop(replaced);
            self.prune()?;
        }
        drop(change);
        self.spares.want(source.inspected.virtual_size);
        self.kick();
        self.show(branched?)
    }

    /// Has images merged if the chain would become too long.
    fn make_room(&self, name: ImageName, action: &'static str) -> Result<()> {
        let depth = || self.with_tree(|tree| tree.depth(name));
        if depth()? < SNAPSHOT_DEPTH || self.look_at_source(name.uuid, action)?.is_empty {
            return Ok(());
        }
        if let Some(collector) = self.collector() {
            tracing::info!(vdi.uuid = %name.uuid, "the chain has no room for another snapshot; images are merged first");
            collector.make_room(name, SNAPSHOT_DEPTH - 1, MAKE_ROOM_LIMIT);
        }
        let (uuid, depth, limit) = (name.uuid, depth()?, SNAPSHOT_DEPTH);
        if depth < limit {
            return Ok(());
        }
        Err(Error::ChainFull { uuid, depth, limit })
    }

    fn look_at_source(&self, uuid: Uuid, action: &'static str) -> Result<Source> {
        let (name, file) = self.find(uuid, Access::Read)?;
        let file_name = name.file_name();
        let modified = file.modified();
        let modified =
            modified.map_err(|source| self.io_error("look at", Some(&file_name), source))?;
        if name.format == ImageFormat::Raw {
            return self.look_at_raw(name, &*file, timestamp(modified), action);
        }
        let image_error = |source| Error::Image {
            action: "read",
            path: self.path_of(&file_name),
            source,
        };
        let info = vhd::image::inspect(&*file).map_err(image_error)?;
        if info.hidden {
            return Err(Error::Hidden { uuid });
        }
        let is_empty =
            info.parent.is_some() && !vhd::image::has_blocks(&*file).map_err(image_error)?;
        Ok(Source {
            name,
            uuid: info.uuid,
            modified: timestamp(modified),
            inspected: Inspected {
                virtual_size: info.virtual_size,
                file_size: info.physical_size,
                hidden: false,
                parent: info.parent.as_ref().map(parent_of).transpose()?,
            },
            link: info.parent,
            is_empty,
        })
    }

    /// Raw bytes become the parent where the medium can say of them that they are one; nobody has them open for writing, who
    /// would go on with an image of another kind.
    fn look_at_raw(
        &self,
        name: ImageName,
        file: &dyn MediumFile,
        modified: u32,
        action: &'static str,
    ) -> Result<Source> {
        let uuid = name.uuid;
        if !self.files.has_raw_operations() {
            return Err(Error::Raw { uuid, action });
        }
        let inspected = inspect_file(file, name, &self.path_of(&name.file_name()))?;
        if inspected.hidden {
            return Err(Error::Hidden { uuid });
        }
        let images = self.open.of(uuid);
        if images.iter().any(|image| !image.is_read_only()) {
            return Err(Error::InUse { uuid });
        }
        Ok(Source {
            name,
            uuid: Uuid::nil(),
            modified,
            inspected,
            link: None,
            is_empty: false,
        })
    }

    /// Takes hold of an image that another is to replace.
    fn hold_replaced(&self, name: ImageName) -> Result<Hold> {
        self.require_leaf(name)?;
        self.require_finished(name)?;
        let uuid = name.uuid;
        if inspect(&*self.files, name)?.hidden {
            return Err(Error::Hidden { uuid });
        }
        let hold = self.open.hold(name, Use::Exclusive);
        hold.ok_or(Error::InUse { uuid })
    }

    /// Makes the second image a sibling of a source that has nothing of its own. None when the consumer has written
    /// meanwhile, and nothing was done.
    fn branch_empty(
        &self,
        change: &TreeChange<'_>,
        source: &Source,
        link: &vhd::ParentLink,
        second: Second,
    ) -> Result<Option<Branched>> {
        let mut branched = Branched {
            source: found_vdi(source.name, &source.inspected, false),
            new: None,
            base: None,
        };
        let (Some(name), Some(parent)) = (second.name(), source.inspected.parent) else {
            return Ok(Some(branched));
        };
        let parent = Parent {
            name: parent,
            uuid: link.uuid,
            timestamp: link.timestamp,
        };
        let mut sibling = self.prepare_sibling(&parent, source, (name, second.room()))?;
        let named = self.while_held_off(source.name, Use::Read, &mut |_| {
            if !self
                .look_at_source(source.name.uuid, "snapshotted")?
                .is_empty
            {
                return Ok(false);
            }
            self.seal_log(source.name)?;
            self.name_second(&mut sibling, second)?;
            self.hand_over_log(source.name, second);
            Ok(true)
        });
        let finished = named.and_then(|named| match named {
            true => self.finish_second(&mut sibling, second).map(Some),
            false => Ok(None),
        });
        let Some(made) = finished.inspect_err(|_| self.undo_second(&mut sibling, second))? else {
            self.undo_second(&mut sibling, second);
            return Ok(None);
        };
        change.tell(&[Change::Made(name, made.node())]);
        branched.new = Some(found_vdi(name, &made, false));
        Ok(Some(branched))
    }

    /// Makes the source's file the hidden parent of two new images.
    fn branch_data(
        &self,
        change: &TreeChange<'_>,
        source: &Source,
        second: Second,
    ) -> Result<Branched> {
        let depth = self.with_tree(|tree| tree.depth(source.name))?;
        if depth >= MAX_CHAIN {
            let (uuid, limit) = (source.name.uuid, MAX_CHAIN);
            return Err(Error::ChainFull { uuid, depth, limit });
        }
        let mut files = self.prepare_branch(source, second)?;
        let swapped = self.while_held_off(source.name, Use::Read, &mut |paused| {
            self.seal_log(source.name)?;
            self.swap(paused, &mut files, second)?;
            self.hand_over_log(source.name, second);
            Ok(())
        });
        if let Err(error) = swapped {
            self.undo_branch(files);
            return Err(error);
        }
        self.note_base_of_readers(&files);
        let finished = self.finish_branch(&mut files, second);
        // Also when it failed: the source has got its new leaf.
        let base = inspect(&*self.files, files.base)?;
        let leaf = ImageName::vhd(source.name.uuid);
        let mut changes = vec![
            Change::Removed(source.name),
            Change::Made(files.base, base.node()),
            Change::Made(leaf, files.leaf_inspected.node()),
        ];
        let made = finished.as_ref().ok().copied().flatten();
        let named = second.name().zip(made);
        changes.extend(named.map(|(name, made)| Change::Made(name, made.node())));
        change.tell(&changes);
        finished?;
        Ok(Branched {
            source: found_vdi(leaf, &files.leaf_inspected, false),
            new: named.map(|(name, made)| found_vdi(name, &made, false)),
            base: Some(found_vdi(files.base, &base, true)),
        })
    }

    /// Runs `change` while nobody writes to the image: in a pause of the consumer that has it open for writing, or with
    /// nobody having it so; it is then held for the use that is wanted.
    pub(super) fn while_held_off<T>(
        &self,
        name: ImageName,
        wanted: Use,
        change: &mut dyn FnMut(Option<&mut Paused<'_>>) -> Result<T>,
    ) -> Result<T> {
        for image in self.open.of(name.uuid) {
            if image.is_read_only() {
                continue;
            }
            let began = Instant::now();
            let changed = image.with_paused(|paused| {
                let changed = change(Some(paused));
                let pause_us = began.elapsed().as_micros() as u64;
                tracing::debug!(vdi.uuid = %name.uuid, pause_us, "the consumer goes on");
                changed
            });
            match changed {
                // It was closed while we waited for the pause.
                Err(Error::Closed { .. }) => {}
                changed => return changed,
            }
        }
        let hold = self.open.hold_within(name, wanted, CLOSE_LIMIT);
        let _nobody_writes = hold.ok_or(Error::InUse { uuid: name.uuid })?;
        change(None)
    }

    /// Gives the images their names, and the consumer the new leaf. On error everything is as it was, if that can be.
    fn swap(
        &self,
        mut paused: Option<&mut Paused<'_>>,
        files: &mut BranchFiles,
        second: Second,
    ) -> Result<()> {
        let uuid = files.source.uuid;
        self.swap_names(files)?;
        let mut swapped = match &mut files.second {
            Some(file) => self.name_second(file, second),
            None => Ok(()),
        };
        if let (Ok(()), Some(paused)) = (&swapped, &mut paused) {
            let leaf = files.leaf.clone();
            swapped = paused.replace_chain("put a new leaf on", |chain| {
                chain.push_leaf(leaf).map_err(Box::new)
            });
        }
        let Err(error) = swapped else {
            if let Some(paused) = paused {
                paused.push_leaf(files.leaf.clone(), self.open.hold(files.base, Use::Parent));
            }
            return Ok(());
        };
        if let Some(file) = &mut files.second {
            self.undo_second(file, second);
        }
        if let Err(undone) = self.unswap_names(files) {
            tracing::error!(
                vdi.uuid = %uuid,
                "undo the snapshot that failed: {}; the image is closed, attach the SR again",
                undone.chain_text()
            );
            if let Some(paused) = paused {
                paused.close();
            }
        }
        Err(error)
    }

    /// Readers go on reading the file that they have open, which is the base from now on.
    fn note_base_of_readers(&self, files: &BranchFiles) {
        for reader in self.open.of(files.source.uuid) {
            if !reader.is_read_only() {
                continue;
            }
            let base = self.open.hold(files.base, Use::Parent);
            // Fails only for one that is closed.
            let _ = reader.with_paused(|paused| {
                if let (Some(parents), Some(base)) = (paused.parents(), base) {
                    parents.insert(0, base);
                }
                Ok(())
            });
        }
    }

    fn hand_over_log(&self, source: ImageName, second: Second) {
        if let Second::New(new, SnapshotKind::Snapshot) = second {
            self.logs.hand_over(source.uuid, new.uuid);
        }
    }

    fn show(&self, branched: Branched) -> Result<Branched> {
        let Branched { source, new, base } = branched;
        Ok(Branched {
            source: self.shown(source)?,
            new: new.map(|new| self.shown(new)).transpose()?,
            base,
        })
    }
}
