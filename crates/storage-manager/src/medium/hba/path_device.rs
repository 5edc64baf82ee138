//! One path to a LUN: the node of a disk, opened past the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::lun_paths::{LunPath, identity};
use super::sysfs::Sysfs;
use crate::medium::block_device::{BlockDevice, DeviceIdentity};

/// Most bytes of one system call; more is done in several.
pub const MAX_TRANSFER: usize = 1 << 20;

/// What memory must be aligned to for `O_DIRECT`, on every device.
const MEMORY_ALIGNMENT: usize = 4096;

/// Most buffers that a path keeps for later calls.
const KEPT_BUFFERS: usize = 16;

/// A path. Offsets and lengths are multiples of [`BlockDevice::block_size`]; memory may lie anywhere.
#[derive(Debug)]
pub struct PathDevice {
    sysfs: Sysfs,
    path: LunPath,
    /// None while the device is gone; then each call tries to open it again.
    file: RwLock<Option<Arc<File>>>,
    /// Bytes when it was last seen. A disk that is removed shows none, and answers like one that ends at byte 0.
    size: AtomicU64,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl PathDevice {
    /// Opens a path.
    ///
    /// # Errors
    /// `NotConnected` when it is not there any more, or another device is in its place; `ResourceBusy` when something else
    /// uses it.
    pub fn open(sysfs: &Sysfs, path: &LunPath) -> io::Result<PathDevice> {
        let device = PathDevice {
            sysfs: sysfs.clone(),
            path: path.clone(),
            file: RwLock::new(None),
            size: AtomicU64::new(path.size),
            buffers: Mutex::default(),
        };
        device.file()?;
        Ok(device)
    }

    /// The path that it is.
    pub fn path(&self) -> &LunPath {
        &self.path
    }

    fn gone(&self, why: &str) -> io::Error {
        let text = format!("{} is gone: {why}", self.name());
        io::Error::new(io::ErrorKind::NotConnected, text)
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let open = self.file.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.as_ref() {
            return Ok(file.clone());
        }
        drop(open);
        let mut open = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.as_ref() {
            return Ok(file.clone());
        }
        let file = Arc::new(self.open_node()?);
        *open = Some(file.clone());
        Ok(file)
    }

    /// Opens the node if it is still that of this path and the LUN behind it is still the same: the kernel gives names and
    /// numbers of disks that went to disks that come.
    fn open_node(&self) -> io::Result<File> {
        let directory = format!("bus/scsi/devices/{}", self.path.address);
        let shown = identity(&self.sysfs, &directory);
        if shown.scsi_id != self.path.identity.scsi_id {
            return Err(self.gone(&match shown.scsi_id.as_str() {
                "" => "the kernel shows no such disk".to_owned(),
                other => format!("LUN {other} is in its place"),
            }));
        }
        let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::EXCL | OFlags::CLOEXEC;
        let node = self.sysfs.node(&self.path.node);
        let file = match rustix::fs::open(&node, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::BUSY) => {
                let text = format!(
                    "{} is in use: mounted, part of a volume, or taken by multipathd; release it first",
                    node.display()
                );
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            Err(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
                return Err(self.gone("there is no node"));
            }
            Err(error) => return Err(error.into()),
        };
        let number = file.metadata()?.rdev();
        if (rustix::fs::major(number), rustix::fs::minor(number)) != self.path.number {
            return Err(self.gone("its node is that of another device"));
        }
        let size = rustix::fs::seek(&file, SeekFrom::End(0))?;
        self.size.store(size, Ordering::Release);
        Ok(file)
    }

    /// Runs a call on the open node. A disk that was removed answers as if it ended at byte 0, so what it answers is an
    /// answer only while it shows its size.
    fn call<T>(&self, operation: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let file = self.file()?;
        let error = match operation(&file) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let shown = rustix::fs::seek(&*file, SeekFrom::End(0)).unwrap_or(0);
        let is_gone = shown < self.size.load(Ordering::Acquire)
            || matches!(
                Errno::from_io_error(&error),
                Some(Errno::NODEV | Errno::NXIO)
            );
        if !is_gone {
            return Err(error);
        }
        let mut open = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, &file)) {
            *open = None;
        }
        Err(self.gone(&format!("it shows {shown} bytes, and said: {error}")))
    }

    /// Runs a call with memory of a certain length that the kernel can read and write without a copy of its own.
    fn with_buffer<T>(&self, length: usize, operation: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = buffers.pop().unwrap_or_default();
        drop(buffers);
        if buffer.len() < length + MEMORY_ALIGNMENT {
            buffer = vec![0; length + MEMORY_ALIGNMENT];
        }
        let begin = buffer.as_ptr().align_offset(MEMORY_ALIGNMENT);
        let result = operation(&mut buffer[begin..begin + length]);
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < KEPT_BUFFERS {
            buffers.push(buffer);
        }
        result
    }

    /// False when the device cannot do this, and nothing happened.
    fn fallocate(&self, flags: FallocateFlags, offset: u64, length: u64) -> io::Result<bool> {
        let flags = flags | FallocateFlags::KEEP_SIZE;
        self.call(
            |file| match rustix::fs::fallocate(file, flags, offset, length) {
                Ok(()) => Ok(true),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
                Err(error) => Err(error.into()),
            },
        )
    }
}

fn is_aligned(memory: &[u8]) -> bool {
    memory.as_ptr().align_offset(MEMORY_ALIGNMENT) == 0
}

impl BlockDevice for PathDevice {
    fn name(&self) -> String {
        format!("/dev/{} ({})", self.path.node, self.path.address)
    }

    fn size(&self) -> io::Result<u64> {
        let known = self.size.load(Ordering::Acquire);
        self.call(|file| match rustix::fs::seek(file, SeekFrom::End(0))? {
            size if size < known => Err(io::ErrorKind::UnexpectedEof.into()),
            size => {
                self.size.store(size, Ordering::Release);
                Ok(size)
            }
        })
    }

    fn block_size(&self) -> u32 {
        self.path.block_size
    }

    fn identity(&self) -> DeviceIdentity {
        let directory = format!("bus/scsi/devices/{}", self.path.address);
        identity(&self.sysfs, &directory)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for part in buffer.chunks_mut(MAX_TRANSFER) {
            if is_aligned(part) {
                self.call(|file| file.read_exact_at(part, at))?;
            } else {
                self.with_buffer(part.len(), |memory| -> io::Result<()> {
                    self.call(|file| file.read_exact_at(memory, at))?;
                    part.copy_from_slice(memory);
                    Ok(())
                })?;
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for part in data.chunks(MAX_TRANSFER) {
            if is_aligned(part) {
                self.call(|file| file.write_all_at(part, at))?;
            } else {
                self.with_buffer(part.len(), |memory| {
                    memory.copy_from_slice(part);
                    self.call(|file| file.write_all_at(memory, at))
                })?;
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.call(File::sync_data)
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 || self.fallocate(FallocateFlags::ZERO_RANGE, offset, length)? {
            return Ok(());
        }
        let zeros = vec![0; MAX_TRANSFER];
        let mut done = 0;
        while done < length {
            let step = (length - done).min(MAX_TRANSFER as u64);
            self.write_at(&zeros[..step as usize], offset + done)?;
            done += step;
        }
        Ok(())
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.fallocate(FallocateFlags::PUNCH_HOLE, offset, length)
    }
}
