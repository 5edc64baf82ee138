//! The volume group of an SR: which volume is which file, and one change of its metadata at a time.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use lvm::device::Device;
use lvm::group::Group;
use lvm::metadata::{LogicalVolume, VolumeGroup};
use lvm::{ErrorKind, Id};

use super::device::PhysicalDevice;
use super::journal::JournalId;
use super::names;
use super::volume::Volume;
use crate::io::fault;
use crate::medium::block_device::BlockDevice;
use crate::medium::files::MAX_ENTRIES;
use crate::medium::owner::{OwnedDevice, Ownership};

/// Time between two tries to read a group again of which it is not known whether its last commit counts.
const RELOAD_EVERY: Duration = Duration::from_secs(3);

/// A change of the metadata, which may be tried on a copy first.
pub type Edit<'a> = dyn Fn(&mut VolumeGroup) -> lvm::Result<()> + 'a;

/// A volume group and its open volumes.
pub struct Volumes {
    path: PathBuf,
    group: Group,
    /// In the order of the group's physical volumes.
    devices: Arc<[Arc<dyn BlockDevice>]>,
    /// Asked before each change of the metadata: whether the SR is still ours.
    owner: Option<Arc<Ownership>>,
    /// Why the last commit failed in the middle, until the group has been read again.
    doubt: Mutex<Option<String>>,
    this: Weak<Volumes>,
    /// Held by whoever changes the metadata. Taken before a volume is held.
    changing: Mutex<()>,
    index: RwLock<Arc<Index>>,
    open: Mutex<HashMap<Id, Weak<Volume>>>,
}

/// The group as it is now, with its volumes by the names of the files that they are.
#[derive(Debug)]
pub struct Index {
    /// The group.
    pub group: Arc<VolumeGroup>,
    files: HashMap<Arc<str>, Arc<LogicalVolume>>,
}

impl Index {
    fn new(group: Arc<VolumeGroup>) -> Self {
        let mut files = HashMap::new();
        for volume in group.logical_volumes.iter().take(MAX_ENTRIES + 1) {
            if let Some(name) = file_of(volume) {
                files.insert(name.into(), volume.clone());
            }
        }
        Index { group, files }
    }

    /// The index of the group as it has become: a commit changes few volumes, and shares the others with what was before.
    fn after(&self, group: Arc<VolumeGroup>) -> Self {
        let mut files = self.files.clone();
        let (old, new) = (&self.group.logical_volumes, &group.logical_volumes);
        let is_same =
            |(old, new): (&Arc<LogicalVolume>, &Arc<LogicalVolume>)| Arc::ptr_eq(old, new);
        let before = old
            .iter()
            .zip(new)
            .take_while(|pair| is_same(*pair))
            .count();
        let behind = old[before..].iter().rev();
        let behind = behind.zip(new[before..].iter().rev());
        let behind = behind.take_while(|pair| is_same(*pair)).count();
        for gone in &old[before..old.len() - behind] {
            let Some(name) = file_of(gone) else { continue };
            files.remove(name.as_str());
            // XenServer can leave two journals of one kind and image, which are one file.
            if gone.has_tag(names::TAG_JOURNALER) {
                let twin = |other: &&Arc<LogicalVolume>| {
                    other.name.starts_with(&name) && file_of(other).is_some_and(|it| it == name)
                };
                if let Some(twin) = new.iter().find(twin) {
                    files.insert(name.into(), twin.clone());
                }
            }
        }
        for changed in &new[before..new.len() - behind] {
            if let Some(name) = file_of(changed).filter(|_| files.len() <= MAX_ENTRIES) {
                files.insert(name.into(), changed.clone());
            }
        }
        Index { group, files }
    }

    /// The volume of a file.
    pub fn find(&self, file_name: &str) -> Option<&LogicalVolume> {
        self.files.get(file_name).map(Arc::as_ref)
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(AsRef::as_ref)
    }
}

/// The file that a volume is, journals of coalescing among them.
fn file_of(volume: &LogicalVolume) -> Option<String> {
    if volume.has_tag(names::TAG_JOURNALER) {
        let (journal, _) = JournalId::of_volume(&volume.name)?;
        return Some(journal.file_name());
    }
    names::file_name(&volume.name)
}

impl Volumes {
    /// Reads the volume group that lies on these devices.
    pub fn open(devices: &[Arc<dyn BlockDevice>]) -> lvm::Result<Arc<Self>> {
        Self::open_owned(devices, None)
    }

    /// The same, for the owner of the SR on the devices: as long as he is one he may change the group.
    pub fn open_owned(
        devices: &[Arc<dyn BlockDevice>],
        owner: Option<Arc<Ownership>>,
    ) -> lvm::Result<Arc<Self>> {
        let devices: Vec<Arc<dyn BlockDevice>> = devices
            .iter()
            .map(|device| match &owner {
                None => device.clone(),
                Some(owner) => Arc::new(OwnedDevice::new(device.clone(), owner.clone())),
            })
            .collect();
        let devices = &*devices;
        let physical = devices.iter().map(|device| {
            let device: Arc<dyn Device> = Arc::new(PhysicalDevice(device.clone()));
            device
        });
        let group = Group::open(physical.collect())?;
        let now = group.volume_group();
        let mut ordered = Vec::new();
        for physical in &now.physical_volumes {
            for device in devices {
                let label = lvm::label::probe(&PhysicalDevice(device.clone()))?;
                if label.is_some_and(|label| label.id == physical.id) {
                    ordered.push(device.clone());
                    break;
                }
            }
        }
        Ok(Arc::new_cyclic(|this| Volumes {
            path: Path::new("/dev").join(&now.name),
            group,
            devices: ordered.into(),
            owner,
            doubt: Mutex::default(),
            this: this.clone(),
            changing: Mutex::default(),
            index: RwLock::new(Arc::new(Index::new(now))),
            open: Mutex::default(),
        }))
    }

    /// Where device-mapper would have the volumes, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The devices, in the order of the physical volumes.
    pub fn devices(&self) -> &[Arc<dyn BlockDevice>] {
        &self.devices
    }

    /// The group under it, for what concerns its physical volumes.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Why the metadata cannot be changed now, for an operator; none while it can.
    pub fn complaint(&self) -> Option<String> {
        let doubt = self.doubt();
        let why = doubt.as_ref()?;
        Some(format!(
            "a change of the volume group {} failed in the middle ({why}); VDIs that are open work on, and the group is changed again when it could be read, which is tried every {} s",
            self.path.display(),
            RELOAD_EVERY.as_secs()
        ))
    }

    fn doubt(&self) -> MutexGuard<'_, Option<String>> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group as it is now.
    pub fn index(&self) -> Arc<Index> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.clone()
    }

    /// Changes the metadata, in one commit.
    ///
    /// # Durability
    /// On stable storage at return; a crash leaves all of it or nothing.
    pub fn commit(&self, edit: &Edit<'_>) -> io::Result<()> {
        let turn = self.turn();
        self.commit_in(&turn, edit)
    }

    /// Waits for the right to change the metadata. After a commit that failed in the middle the group is read again first.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // When it cannot be read the commit tells.
        if self.doubt().is_some()
            && let Err(error) = self.settle_doubt(&turn)
        {
            tracing::debug!(%error, "a volume group cannot be read again yet");
        }
        turn
    }

    /// Reads the group again after a commit that failed in the middle: it counts, or it does not. Open volumes follow.
    ///
    /// Whoever changes the group has the turn and holds no volume yet.
    fn settle_doubt(&self, turn: &MutexGuard<'_, ()>) -> io::Result<()> {
        // What another owner has made of the group is nothing that this one may follow.
        if self.owner.as_ref().is_some_and(|owner| !owner.is_valid()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.group.reload().map_err(io_error)?;
        // After a failed flush a device may show what it has lost.
        self.group.rewrite().map_err(io_error)?;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.show(turn);
        for volume in open.values().filter_map(Weak::upgrade) {
            let mut volumes = now.group.logical_volumes.iter();
            let found = volumes.find(|found| found.id == *volume.id());
            let mut placed = volume.hold();
            match found.map(|found| now.group.map(&found.name)) {
                Some(Ok(map)) => placed.place(map),
                Some(Err(error)) => return Err(io_error(error)),
                None => placed.remove(),
            }
        }
        drop(open);
        *self.doubt() = None;
        tracing::info!(group = %self.path.display(), "the volume group was read again after a change that failed in the middle");
        Ok(())
    }

    /// Shows readers the group as it is now.
    fn show(&self, _turn: &MutexGuard<'_, ()>) -> Arc<Index> {
        let index = Arc::new(self.index().after(self.group.volume_group()));
        let mut shown = self.index.write().unwrap_or_else(PoisonError::into_inner);
        shown.clone_from(&index);
        index
    }

    /// Notes that a commit may have failed in the middle, and looks at the group from time to time until it can be read.
    fn note_failure(&self, error: &lvm::Error) {
        if !self.group.is_poisoned() {
            return;
        }
        let mut doubt = self.doubt();
        if doubt.is_some() {
            return;
        }
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        *doubt = Some(format!("{error}{}", cause.unwrap_or_default()));
        drop(doubt);
        tracing::error!(group = %self.path.display(), %error, "a change of a volume group failed in the middle; it is read again before the next");
        let this = self.this.clone();
        let looking = std::thread::Builder::new().name("lvhd-reload".to_owned());
        let looking = looking.spawn(move || {
            loop {
                std::thread::sleep(RELOAD_EVERY);
                let Some(volumes) = this.upgrade() else {
                    return;
                };
                drop(volumes.turn());
                if volumes.doubt().is_none() {
                    return;
                }
            }
        });
        if let Err(error) = looking {
            tracing::warn!(%error, "no thread to look after a volume group; the next change of it does");
        }
    }

    /// Asks whether the SR is still ours.
    fn require_ours(&self) -> io::Result<()> {
        self.owner.as_ref().map_or(Ok(()), |owner| owner.check())
    }

    /// Finds out, right after a commit in which a device failed, whether the devices hold the change, and makes that certain.
    ///
    /// The group is read and written again: after a failed flush a device may show what it has lost. On error it is not known, and
    /// the group stays poisoned.
    fn is_made_after_all(&self) -> lvm::Result<bool> {
        self.group.reload()?;
        let mut now = VolumeGroup::clone(&self.group.volume_group());
        self.group.rewrite()?;
        let before = self.index();
        now.sequence = before.group.sequence;
        Ok(now != *before.group)
    }

    /// As [`Volumes::commit`], for whoever has the turn.
    pub(super) fn commit_in(&self, turn: &MutexGuard<'_, ()>, edit: &Edit<'_>) -> io::Result<()> {
        self.require_ours()?;
        fault::point("volume group: commit")?;
        let was_sound = !self.group.is_poisoned();
        if let Err(error) = self.group.commit(edit) {
            let failed_inside = was_sound && self.group.is_poisoned();
            if !(failed_inside && self.is_made_after_all().unwrap_or(false)) {
                self.note_failure(&error);
                return Err(io_error(error));
            }
            tracing::warn!(volume_group = %self.path.display(), %error, "a volume group was changed, although a device failed meanwhile");
        }
        self.show(turn);
        Ok(())
    }

    /// Takes over what the devices have grown by.
    pub fn grow(&self) -> lvm::Result<()> {
        let turn = self.turn();
        let grown = self.group.grow();
        if let Err(error) = &grown
            && self.group.is_poisoned()
            && let Err(unknown) = self.is_made_after_all()
        {
            self.note_failure(error);
            return Err(unknown);
        }
        // Also when the group has grown and then a label could not be written.
        self.show(&turn);
        grown
    }

    /// The volume after an edit that has not been made, to write to it before anybody can read it there.
    pub(super) fn planned(&self, edit: &Edit<'_>, lv_name: &str) -> io::Result<Volume> {
        // What is free here is another's where the SR is.
        self.require_ours()?;
        if self.group.is_poisoned() {
            let name = self.index().group.name.clone();
            return Err(io_error(lvm::Error::Poisoned { group: name }));
        }
        let mut group = VolumeGroup::clone(&self.group.volume_group());
        edit(&mut group).map_err(io_error)?;
        let id = group.get(lv_name).map_err(io_error)?.id;
        let map = group.map(lv_name).map_err(io_error)?;
        Ok(Volume::new(id, map, self.devices.clone()))
    }

    /// Opens the volume with this name.
    pub fn volume(&self, lv_name: &str) -> io::Result<Arc<Volume>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.index();
        let found = index.group.get(lv_name).map_err(io_error)?;
        self.volume_of(&mut open, &index, found)
    }

    /// Opens the volume of a file; none where there is no such file.
    pub fn volume_of_file(&self, file_name: &str) -> io::Result<Option<(Arc<Volume>, String)>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.index();
        let Some(found) = index.find(file_name) else {
            return Ok(None);
        };
        let volume = self.volume_of(&mut open, &index, found)?;
        Ok(Some((volume, found.name.clone())))
    }

    fn volume_of(
        &self,
        open: &mut HashMap<Id, Weak<Volume>>,
        index: &Index,
        found: &LogicalVolume,
    ) -> io::Result<Arc<Volume>> {
        if let Some(volume) = open.get(&found.id).and_then(Weak::upgrade) {
            return Ok(volume);
        }
        // Those that nobody has open any more go when there are many.
        if open.len() > 2 * index.group.logical_volumes.len() + 64 {
            open.retain(|_, volume| volume.strong_count() > 0);
        }
        let map = index.group.map_of(found).map_err(io_error)?;
        let volume = Arc::new(Volume::new(found.id, map, self.devices.clone()));
        open.insert(found.id, Arc::downgrade(&volume));
        Ok(volume)
    }

    /// The name that a volume has now.
    pub(super) fn name_of(&self, id: &Id) -> io::Result<String> {
        let index = self.index();
        let mut volumes = index.group.logical_volumes.iter();
        let found = volumes.find(|volume| volume.id == *id);
        let found = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(found.name.clone())
    }

    /// Gives a volume another length, in one commit. Transfers wait meanwhile.
    pub fn resize(&self, volume: &Volume, length: u64) -> io::Result<()> {
        let turn = self.turn();
        let name = self.name_of(volume.id())?;
        self.change_in(&turn, volume, &name, &|group| {
            group.resize_lv(&name, length)
        })
    }

    /// Changes a volume's length or flags, in one commit, for whoever has the turn. Transfers wait meanwhile.
    pub(super) fn change_in(
        &self,
        turn: &MutexGuard<'_, ()>,
        volume: &Volume,
        lv_name: &str,
        edit: &Edit<'_>,
    ) -> io::Result<()> {
        let mut placed = volume.hold();
        self.commit_in(turn, edit)?;
        placed.place(self.index().group.map(lv_name).map_err(io_error)?);
        Ok(())
    }

    /// Makes a volume; what it holds may be anything.
    pub fn create(&self, lv_name: &str, length: u64, tags: &[&str]) -> io::Result<Arc<Volume>> {
        self.commit(&|group| group.create_lv(lv_name, length, tags))?;
        self.volume(lv_name)
    }

    /// Removes volumes, in one commit together with another edit. Who has them open gets errors.
    pub(super) fn remove(&self, lv_names: &[&str], and: &Edit<'_>) -> io::Result<()> {
        let turn = self.turn();
        // Nobody opens one meanwhile by what the group was.
        let opened = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let index = self.index();
        let ids = lv_names.iter().filter_map(|name| index.group.find(name));
        let open: Vec<Arc<Volume>> = ids
            .filter_map(|found| opened.get(&found.id).and_then(Weak::upgrade))
            .collect();
        let mut held: Vec<_> = open.iter().map(|volume| volume.hold()).collect();
        self.commit_in(&turn, &|group| {
            lv_names.iter().try_for_each(|name| group.remove_lv(name))?;
            and(group)
        })?;
        held.iter_mut().for_each(|placed| placed.remove());
        Ok(())
    }
}

impl std::fmt::Debug for Volumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volumes")
            .field("path", &self.path)
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

/// The failure of a volume group as one of a medium.
pub fn io_error(error: lvm::Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Poisoned => {
            let text = format!(
                "{error}: see to its devices; it is read again every few seconds, and by the next change"
            );
            return io::Error::other(text);
        }
        ErrorKind::NoSpace => io::ErrorKind::StorageFull,
        ErrorKind::NotFound => io::ErrorKind::NotFound,
        ErrorKind::Exists => io::ErrorKind::AlreadyExists,
        ErrorKind::Invalid => io::ErrorKind::InvalidInput,
        ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
