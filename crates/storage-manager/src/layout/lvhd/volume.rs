//! The bytes of one logical volume, where its extents lie on the devices.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lvm::Id;
use lvm::metadata::Map;

use crate::io::lock::LockMode;
use crate::medium::block_device::BlockDevice;
use crate::medium::files::FileId;

/// Where bytes lie now.
#[derive(Debug)]
pub struct Placed {
    map: Map,
    /// The volume was removed: its extents may be another's.
    is_gone: bool,
}

/// A logical volume that somebody has open. There is one value per volume, whoever opens it.
#[derive(Debug)]
pub struct Volume {
    id: Id,
    devices: Arc<[Arc<dyn BlockDevice>]>,
    placed: RwLock<Placed>,
    locks: Mutex<Locks>,
}

/// Who has the volume locked, within this process.
#[derive(Debug, Default)]
struct Locks {
    shared: usize,
    is_exclusive: bool,
}

impl Volume {
    pub(super) fn new(id: Id, map: Map, devices: Arc<[Arc<dyn BlockDevice>]>) -> Self {
        let is_gone = false;
        Volume {
            id,
            devices,
            placed: RwLock::new(Placed { map, is_gone }),
            locks: Mutex::default(),
        }
    }

    /// The volume's identity.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Bytes.
    pub fn length(&self) -> io::Result<u64> {
        self.placed().map(|placed| placed.map.size())
    }

    /// Fills `buffer`; past the end it fails with `UnexpectedEof`.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let placed = self.placed()?;
        let length = buffer.len() as u64;
        if ends_behind(&placed.map, offset, length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pieces(&placed.map, offset, length, |device, at, part| {
            device.read_at(&mut buffer[part], at)
        })
    }

    /// Writes inside the volume; past its end it fails with `StorageFull` and writes nothing.
    pub fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let placed = self.placed()?;
        let length = data.len() as u64;
        if ends_behind(&placed.map, offset, length) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.pieces(&placed.map, offset, length, |device, at, part| {
            device.write_at(&data[part], at)
        })
    }

    /// Makes a range inside the volume read as zeros.
    pub fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        let placed = self.placed()?;
        if ends_behind(&placed.map, offset, length) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.pieces(&placed.map, offset, length, |device, at, part| {
            device.write_zeroes_at(at, (part.end - part.start) as u64)
        })
    }

    /// Gives the space of a range back; false when a device cannot, and then its part is as it was.
    pub fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        let placed = self.placed()?;
        if ends_behind(&placed.map, offset, length) {
            return Ok(false);
        }
        let mut all = true;
        self.pieces(&placed.map, offset, length, |device, at, part| {
            all &= device.unmap(at, (part.end - part.start) as u64)?;
            Ok(())
        })?;
        Ok(all)
    }

    /// Puts what was written on stable storage.
    pub fn flush(&self) -> io::Result<()> {
        if let [device] = &*self.devices {
            return device.flush();
        }
        let used: Vec<usize> = {
            let placed = self.placed()?;
            let extents = placed.map.extents().map_err(io::Error::other)?;
            let mut used: Vec<usize> = extents.iter().map(|extent| extent.pv).collect();
            used.sort_unstable();
            used.dedup();
            used
        };
        used.into_iter().try_for_each(|pv| self.device(pv)?.flush())
    }

    /// Waits until no transfer is under way, and keeps new ones waiting, for a change of where the bytes lie.
    pub(super) fn hold(&self) -> RwLockWriteGuard<'_, Placed> {
        self.placed.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn placed(&self) -> io::Result<RwLockReadGuard<'_, Placed>> {
        let placed = self.placed.read().unwrap_or_else(PoisonError::into_inner);
        if placed.is_gone {
            let text = "the logical volume was removed while it was open";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(placed)
    }

    fn device(&self, pv: usize) -> io::Result<&dyn BlockDevice> {
        let device = self.devices.get(pv).map(Arc::as_ref);
        device.ok_or_else(|| io::Error::other("a physical volume of the group has no device"))
    }

    /// Runs `transfer` on each piece of a range that lies together on a device.
    fn pieces(
        &self,
        map: &Map,
        offset: u64,
        length: u64,
        mut transfer: impl FnMut(&dyn BlockDevice, u64, Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let found = map.locate(offset + done);
            let found = found.ok_or(io::ErrorKind::UnexpectedEof)?;
            let step = found.length.min(length - done);
            let part = done as usize..(done + step) as usize;
            transfer(self.device(found.pv)?, found.offset, part)?;
            done += step;
        }
        Ok(())
    }

    /// Takes the lock, or changes the one that is held.
    pub(super) fn try_lock(&self, held: &mut Option<LockMode>, mode: LockMode) -> bool {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let own_shared = usize::from(*held == Some(LockMode::Shared));
        let other_exclusive = locks.is_exclusive && *held != Some(LockMode::Exclusive);
        let excluded = match mode {
            LockMode::Shared => other_exclusive,
            LockMode::Exclusive => other_exclusive || locks.shared > own_shared,
        };
        if excluded {
            return false;
        }
        locks.shared -= own_shared;
        match mode {
            LockMode::Shared => {
                locks.is_exclusive = false;
                locks.shared += 1;
            }
            LockMode::Exclusive => locks.is_exclusive = true,
        }
        *held = Some(mode);
        true
    }

    pub(super) fn unlock(&self, held: &mut Option<LockMode>) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        match held.take() {
            Some(LockMode::Shared) => locks.shared -= 1,
            Some(LockMode::Exclusive) => locks.is_exclusive = false,
            None => {}
        }
    }
}

impl Placed {
    pub(super) fn place(&mut self, map: Map) {
        self.map = map;
    }

    pub(super) fn remove(&mut self) {
        self.is_gone = true;
    }
}

fn ends_behind(map: &Map, offset: u64, length: u64) -> bool {
    let end = offset.checked_add(length);
    end.is_none_or(|end| end > map.size())
}

/// The volume as a file of the medium: of its identity, which LVM2 keeps for its life, 128 bits.
pub(super) fn file_id(id: &Id) -> FileId {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, id.as_bytes()).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    FileId(half(0) << 64 | half(1))
}
