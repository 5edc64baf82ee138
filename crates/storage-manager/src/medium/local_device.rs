//! A block device of this machine, or a plain file in its place.
//!
//! Bytes go through the kernel's page cache: reads that come again are served from memory, writes need no alignment, and
//! [`BlockDevice::flush`] is what puts them on the device. A device that another machine writes to needs the ways of `hba` or
//! `iscsi`, which keep nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::block_device::{BlockDevice, DeviceIdentity};
use crate::io::fault;
use crate::io::group_sync::GroupSync;
use crate::io::lock::{LockMode, try_lock};

/// Bytes of a logical block of a plain file.
const FILE_BLOCK: u32 = 512;

/// How many bytes of zeros are written at a time where the device cannot zero a range by itself.
const ZERO_CHUNK: usize = 1 << 20;

/// Most bytes of a text in sysfs.
const MAX_ATTRIBUTE: usize = 4096;

/// A block device that this process has to itself.
#[derive(Debug)]
pub struct LocalDevice {
    path: PathBuf,
    file: File,
    /// Keeps others out; none for a device that was only looked at, and once it was released. The kernel deallocates blocks by it
    /// alone.
    claim: Mutex<Option<Arc<File>>>,
    block_size: u32,
    is_block_device: bool,
    sync: GroupSync,
}

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing of this name.
    #[error("there is no device {}", path.display())]
    Missing {
        /// The device.
        path: PathBuf,
    },
    /// It is no device.
    #[error("{} is neither a block device nor a plain file", path.display())]
    Kind {
        /// What was named.
        path: PathBuf,
    },
    /// Somebody has it: a mount, a volume manager, another process.
    #[error("{} is in use: mounted, part of another volume, or opened by another program", path.display())]
    Busy {
        /// The device.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The device.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl LocalDevice {
    /// Opens a device for reading and writing, and keeps everybody else out who asks likewise: a block device with
    /// `O_EXCL`, which mounts and volume managers respect, a plain file with a lock.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_as(path, OFlags::RDWR, true)
    }

    fn open_as(path: &Path, access: OFlags, alone: bool) -> Result<Self, OpenError> {
        let io_error = |action, source: io::Error| OpenError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        let found = std::fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::Missing {
                path: path.to_owned(),
            },
            _ => io_error("look at", error),
        })?;
        let is_block_device = found.file_type().is_block_device();
        if !is_block_device && !found.is_file() {
            return Err(OpenError::Kind {
                path: path.to_owned(),
            });
        }
        let busy = || OpenError::Busy {
            path: path.to_owned(),
        };
        let opened = |flags: OFlags| match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(descriptor) => Ok(File::from(descriptor)),
            Err(Errno::BUSY) => Err(busy()),
            Err(error) => Err(io_error("open", error.into())),
        };
        let claim = match alone {
            false => None,
            true => {
                let mut flags = access | OFlags::CLOEXEC;
                flags.set(OFlags::EXCL, is_block_device);
                let claim = opened(flags)?;
                // On a block device for those that open another node of the same device.
                let locked = try_lock(&claim, LockMode::Exclusive);
                if !locked.map_err(|error| io_error("lock", error))? {
                    return Err(busy());
                }
                Some(Arc::new(claim))
            }
        };
        let file = opened(access | OFlags::CLOEXEC)?;
        let block_size = match is_block_device {
            true => rustix::fs::ioctl_blksszget(&file).unwrap_or(FILE_BLOCK),
            false => FILE_BLOCK,
        };
        Ok(LocalDevice {
            path: path.to_owned(),
            file,
            claim: Mutex::new(claim),
            block_size,
            is_block_device,
            sync: GroupSync::default(),
        })
    }

    /// Opens a device for reading, whoever else has it: to see what is there.
    pub fn look(path: &Path) -> Result<Self, OpenError> {
        Self::open_as(path, OFlags::RDONLY, false)
    }

    /// Lets others have the device; whoever holds this still may read.
    pub fn release(&self) {
        *self.claim() = None;
    }

    fn claim(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a range that ends behind the device.
    fn require_inside(&self, offset: u64, length: u64) -> io::Result<()> {
        let size = self.size()?;
        if offset.checked_add(length).is_some_and(|end| end <= size) {
            return Ok(());
        }
        let text = format!(
            "{} has {size} bytes; {length} at {offset} are behind its end",
            self.path.display()
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, text))
    }

    fn write_zeros(&self, offset: u64, length: u64) -> io::Result<()> {
        let zeros = vec![0; ZERO_CHUNK.min(usize::try_from(length).unwrap_or(ZERO_CHUNK))];
        let mut done = 0;
        while done < length {
            let step = (length - done).min(zeros.len() as u64);
            self.file
                .write_all_at(&zeros[..step as usize], offset + done)?;
            done += step;
        }
        Ok(())
    }

    /// Zeroes the whole blocks of a range by one call, and what is left at its ends by writing; false when the device
    /// cannot do the first, and nothing happened.
    fn deallocate(&self, flags: FallocateFlags, offset: u64, length: u64) -> io::Result<bool> {
        let block = u64::from(self.block_size);
        let (end, start) = (offset + length, offset.next_multiple_of(block));
        let inner_end = end / block * block;
        if start >= inner_end {
            return Ok(false);
        }
        let Some(claim) = self.claim().clone() else {
            return Ok(false);
        };
        match rustix::fs::fallocate(&*claim, flags, start, inner_end - start) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.write_zeros(offset, start - offset)?;
        self.write_zeros(inner_end, end - inner_end)?;
        Ok(true)
    }
}

impl BlockDevice for LocalDevice {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self) -> io::Result<u64> {
        if self.is_block_device {
            // The cursor is nobody's: every other call is positional.
            return Ok(rustix::fs::seek(&self.file, SeekFrom::End(0))?);
        }
        Ok(self.file.metadata()?.size())
    }

    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn identity(&self) -> DeviceIdentity {
        match self.file.metadata() {
            Ok(found) if self.is_block_device => identity_of(found.rdev()),
            _ => DeviceIdentity::default(),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        fault::point("device: write")?;
        self.require_inside(offset, data.len() as u64)?;
        self.file.write_all_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        fault::point("device: flush")?;
        self.sync.sync(&self.file)
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.require_inside(offset, length)?;
        let keep = FallocateFlags::KEEP_SIZE;
        for way in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
            if self.deallocate(way | keep, offset, length)? {
                return Ok(());
            }
        }
        self.write_zeros(offset, length)
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.require_inside(offset, length)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.deallocate(flags, offset, length)
    }
}

/// What sysfs says of a SCSI disk; empty for others.
fn identity_of(device: u64) -> DeviceIdentity {
    let Some(disk) = sysfs_disk(device) else {
        return DeviceIdentity::default();
    };
    let read = |name: &str| attribute(&disk.join("device").join(name));
    let wwid = read("wwid");
    let scsi_id = match wwid.split_once('.') {
        Some(("naa", id)) => format!("3{id}"),
        Some(("eui", id)) => format!("2{id}"),
        _ => String::new(),
    };
    DeviceIdentity {
        scsi_id,
        vendor: read("vendor"),
        product: read("model"),
        serial: read("serial"),
    }
}

fn attribute(path: &Path) -> String {
    let Ok(mut bytes) = std::fs::read(path) else {
        return String::new();
    };
    bytes.truncate(MAX_ATTRIBUTE);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The directory in sysfs of the disk that a block device is, or is a partition of.
fn sysfs_disk(device: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let own = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    if own.join("partition").exists() {
        return own.parent().map(Path::to_owned);
    }
    Some(own)
}

/// True when the root file system lies on this device, on a partition of it, or on a volume of it.
pub fn is_root_device(path: &Path) -> bool {
    let Some(device) = std::fs::metadata(path).ok().map(|found| found.rdev()) else {
        return false;
    };
    let root = std::fs::metadata("/").ok().map(|found| found.dev());
    let (Some(disk), Some(root)) = (sysfs_disk(device), root.and_then(sysfs_disk)) else {
        return false;
    };
    disks_below(root, 0).contains(&disk)
}

/// How many layers of volumes are looked through.
const MAX_LAYERS: usize = 8;

/// A disk and the disks that it is made of.
fn disks_below(disk: PathBuf, layer: usize) -> Vec<PathBuf> {
    let mut below = Vec::new();
    let slaves = std::fs::read_dir(disk.join("slaves"));
    for slave in slaves.into_iter().flatten().flatten() {
        let Ok(path) = std::fs::canonicalize(slave.path()) else {
            continue;
        };
        let path = match path.join("partition").exists() {
            true => path.parent().map_or(path.clone(), Path::to_owned),
            false => path,
        };
        if layer < MAX_LAYERS {
            below.extend(disks_below(path, layer + 1));
        }
    }
    below.push(disk);
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_a_device_of_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        assert!(matches!(
            LocalDevice::open(&path),
            Err(OpenError::Missing { .. })
        ));
        assert!(matches!(
            LocalDevice::open(dir.path()),
            Err(OpenError::Kind { .. })
        ));
        std::fs::write(&path, [7; 8192]).unwrap();
        let device = LocalDevice::open(&path).unwrap();
        assert!(matches!(
            LocalDevice::open(&path),
            Err(OpenError::Busy { .. })
        ));
        assert_eq!(device.size().unwrap(), 8192);
        device.write_zeroes_at(100, 5000).unwrap();
        let mut bytes = [1; 8192];
        device.read_at(&mut bytes, 0).unwrap();
        assert!(
            bytes[..100]
                .iter()
                .chain(&bytes[5100..])
                .all(|byte| *byte == 7)
        );
        assert!(bytes[100..5100].iter().all(|byte| *byte == 0));
        let error = device.write_at(&[1, 2], 8191).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let error = device.read_at(&mut bytes, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        device.flush().unwrap();
        drop(device);
        LocalDevice::open(&path).unwrap();
    }

    #[test]
    fn null_is_no_disk() {
        assert!(!is_root_device(Path::new("/dev/null")));
        assert!(!is_root_device(Path::new("/nowhere")));
    }
}
