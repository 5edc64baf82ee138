//! One LUN over all its paths, whatever the alignment.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::lun_paths::LunPath;
use super::path_device::PathDevice;
use super::sysfs::Sysfs;
use crate::medium::block_device::{BlockDevice, DeviceIdentity};
use crate::medium::multipath::Multipath;

/// A LUN that is open.
#[derive(Debug)]
pub struct LunDevice {
    sysfs: Sysfs,
    identity: DeviceIdentity,
    block_size: u32,
    paths: RwLock<OpenPaths>,
    /// Bytes when it was last asked.
    size: AtomicU64,
    /// Held shared by whole blocks, and alone while the ends of a range are read, changed and written.
    ends: RwLock<()>,
    /// The most paths that it had, for its health.
    most_paths: Mutex<usize>,
}

#[derive(Debug)]
struct OpenPaths {
    opened: Vec<Arc<PathDevice>>,
    all: Arc<Multipath>,
}

impl LunDevice {
    /// Opens a LUN over all of its paths that can be opened.
    ///
    /// # Errors
    /// That of the first path, when none can be.
    pub fn open(sysfs: &Sysfs, paths: &[LunPath]) -> io::Result<LunDevice> {
        let paths = open_paths(sysfs, paths, &[])?;
        let first = paths.opened[0].path();
        Ok(LunDevice {
            sysfs: sysfs.clone(),
            identity: first.identity.clone(),
            block_size: first.block_size,
            size: AtomicU64::new(first.size),
            most_paths: Mutex::new(paths.opened.len()),
            paths: RwLock::new(paths),
            ends: RwLock::default(),
        })
    }

    /// Takes over the paths that there are now: those that came are opened, those that went are let go unless none is left.
    pub fn set_paths(&self, paths: &[LunPath]) {
        let before: Vec<Arc<PathDevice>> = self.opened();
        let is_same = before.len() == paths.len()
            && before.iter().zip(paths).all(|(a, b)| is_path(a.path(), b));
        if is_same || paths.is_empty() {
            return;
        }
        match open_paths(&self.sysfs, paths, &before) {
            Ok(now) => {
                tracing::info!(
                    device = self.identity.scsi_id,
                    paths = now.opened.len(),
                    "the paths to a LUN have changed"
                );
                let mut most = lock(&self.most_paths);
                *most = (*most).max(now.opened.len());
                drop(most);
                *self.paths.write().unwrap_or_else(PoisonError::into_inner) = now;
            }
            Err(error) => {
                tracing::warn!(device = self.identity.scsi_id, %error, "the new paths to a LUN could not be opened");
            }
        }
    }

    /// Why it does not work as it should; none while it has all its paths.
    pub fn health(&self) -> Option<String> {
        let most = *lock(&self.most_paths);
        let paths = self.all().paths();
        let failed = paths
            .iter()
            .filter_map(|path| Some(format!("{}: {}", path.name, path.failure.as_ref()?)));
        let failed: Vec<String> = failed.collect();
        let working = paths.len() - failed.len();
        if working >= most {
            return None;
        }
        let mut text = format!(
            "{working} of {most} paths to LUN {} work",
            self.identity.scsi_id
        );
        if !failed.is_empty() {
            text.push_str(&format!(" ({})", failed.join("; ")));
        }
        Some(text)
    }

    fn opened(&self) -> Vec<Arc<PathDevice>> {
        let paths = self.paths.read().unwrap_or_else(PoisonError::into_inner);
        paths.opened.clone()
    }

    fn all(&self) -> Arc<Multipath> {
        let paths = self.paths.read().unwrap_or_else(PoisonError::into_inner);
        paths.all.clone()
    }

    /// The whole blocks in which a range lies.
    fn blocks_around(&self, offset: u64, length: u64) -> (u64, u64) {
        let block = u64::from(self.block_size);
        let begin = offset / block * block;
        let end = (offset + length).next_multiple_of(block);
        (begin, end - begin)
    }

    fn is_aligned(&self, offset: u64, length: u64) -> bool {
        let block = u64::from(self.block_size);
        offset.is_multiple_of(block) && length.is_multiple_of(block)
    }

    /// Refuses a range that ends behind the device, of which it is asked again whether it has grown.
    fn require_inside(&self, kind: io::ErrorKind, offset: u64, length: u64) -> io::Result<()> {
        let end = offset.checked_add(length);
        let is_inside = |size: u64| end.is_some_and(|end| end <= size);
        if is_inside(self.size.load(Ordering::Acquire)) || is_inside(self.size()?) {
            return Ok(());
        }
        let size = self.size.load(Ordering::Acquire);
        let text = format!("the LUN has {size} bytes; {length} at {offset} are behind its end");
        Err(io::Error::new(kind, text))
    }

    /// Changes a part of whole blocks; nothing else is written meanwhile.
    fn write_part(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let _alone = self.ends.write().unwrap_or_else(PoisonError::into_inner);
        let (begin, length) = self.blocks_around(offset, data.len() as u64);
        let mut blocks = vec![0; length as usize];
        let all = self.all();
        all.read_at(&mut blocks, begin)?;
        let from = (offset - begin) as usize;
        blocks[from..from + data.len()].copy_from_slice(data);
        all.write_at(&blocks, begin)
    }

    /// Runs `whole` on the whole blocks of a range, and zeroes the ends that are left.
    fn zero(
        &self,
        offset: u64,
        length: u64,
        whole: impl FnOnce(&Multipath, u64, u64) -> io::Result<bool>,
    ) -> io::Result<bool> {
        self.require_inside(io::ErrorKind::StorageFull, offset, length)?;
        let block = u64::from(self.block_size);
        let end = offset + length;
        let (first, last) = (offset.next_multiple_of(block), end / block * block);
        if first >= last {
            return Ok(false);
        }
        let done = {
            let _shared = self.ends.read().unwrap_or_else(PoisonError::into_inner);
            whole(&self.all(), first, last - first)?
        };
        if !done {
            return Ok(false);
        }
        for (at, bytes) in [(offset, first - offset), (last, end - last)] {
            if bytes > 0 {
                self.write_part(&vec![0; bytes as usize], at)?;
            }
        }
        Ok(true)
    }
}

impl BlockDevice for LunDevice {
    fn name(&self) -> String {
        format!("LUN {}", self.all().name())
    }

    fn size(&self) -> io::Result<u64> {
        let size = self.all().size()?;
        self.size.store(size, Ordering::Release);
        Ok(size)
    }

    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn identity(&self) -> DeviceIdentity {
        self.identity.clone()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let length = buffer.len() as u64;
        self.require_inside(io::ErrorKind::UnexpectedEof, offset, length)?;
        if self.is_aligned(offset, length) {
            return self.all().read_at(buffer, offset);
        }
        let (begin, whole) = self.blocks_around(offset, length);
        let mut blocks = vec![0; whole as usize];
        self.all().read_at(&mut blocks, begin)?;
        let from = (offset - begin) as usize;
        buffer.copy_from_slice(&blocks[from..from + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let length = data.len() as u64;
        self.require_inside(io::ErrorKind::StorageFull, offset, length)?;
        if !self.is_aligned(offset, length) {
            return self.write_part(data, offset);
        }
        let _shared = self.ends.read().unwrap_or_else(PoisonError::into_inner);
        self.all().write_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.all().flush()
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        let zeroed = self.zero(offset, length, |all, offset, length| {
            all.write_zeroes_at(offset, length).map(|()| true)
        });
        if !zeroed? && length > 0 {
            // Less than a block.
            self.write_part(&vec![0; length as usize], offset)?;
        }
        Ok(())
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.zero(offset, length, |all, offset, length| {
            all.unmap(offset, length)
        })
    }

    fn resets(&self) -> u64 {
        self.all().resets()
    }

    fn has_write_cache(&self) -> bool {
        self.all().has_write_cache()
    }
}

fn is_path(a: &LunPath, b: &LunPath) -> bool {
    a.address == b.address && a.node == b.node && a.number == b.number
}

/// Opens paths, of which some may be open already. Those that the kernel has given up come last.
fn open_paths(
    sysfs: &Sysfs,
    paths: &[LunPath],
    before: &[Arc<PathDevice>],
) -> io::Result<OpenPaths> {
    let mut opened: Vec<Arc<PathDevice>> = Vec::new();
    let mut first_error = None;
    let (usable, given_up): (Vec<&LunPath>, Vec<&LunPath>) =
        paths.iter().partition(|path| path.is_usable());
    for path in usable.into_iter().chain(given_up) {
        let known = before.iter().find(|known| is_path(known.path(), path));
        let device = match known {
            Some(known) => Ok(known.clone()),
            None => PathDevice::open(sysfs, path).map(Arc::new),
        };
        match device {
            Ok(device) => opened.push(device),
            Err(error) => {
                tracing::warn!(path = path.node, device = path.identity.scsi_id, %error, "a path to a LUN could not be opened");
                first_error.get_or_insert(error);
            }
        }
    }
    if opened.is_empty() {
        let none = || io::Error::new(io::ErrorKind::NotConnected, "no path leads to the LUN");
        return Err(first_error.unwrap_or_else(none));
    }
    let devices = opened
        .iter()
        .map(|path| Arc::clone(path) as Arc<dyn BlockDevice>);
    let all = Multipath::new(devices.collect()).map_err(io::Error::other)?;
    Ok(OpenPaths { opened, all })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
