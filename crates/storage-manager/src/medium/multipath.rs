//! One device behind several paths: the sessions of several portals, the nodes of several adapters.
//!
//! I/O goes over one path until it fails there; then over the next, and the one that failed is tried in the background until
//! it works again. Failing over takes as long as a path needs to say that it failed: paths have deadlines of their own.
//!
//! A write that failed on one path is written again over another, although the first may still carry it out late. The bytes
//! are the same, so that this matters only to somebody who overwrites them at once; a path whose end the device knows of
//! (a session that was dropped) carries nothing out any more. Who owns the device is asked before anything is written again.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::block_device::{BlockDevice, DeviceIdentity};
use super::unflushed::Guard;

/// Most paths to one device.
pub const MAX_PATHS: usize = 32;

/// Pause between two looks at paths that failed.
const PROBE_PAUSE: Duration = Duration::from_secs(2);

/// Pause before paths that have all failed are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// What the path is called.
    pub name: String,
    /// Why it failed last; none while it works.
    pub failure: Option<String>,
}

/// Why paths do not make one device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to choose from.
    #[error("there is no path to device {scsi_id}")]
    NoPath {
        /// The device.
        scsi_id: String,
    },
    /// There are too many.
    #[error("{count} paths lead to device {scsi_id}; at most {MAX_PATHS} are used")]
    TooMany {
        /// The device.
        scsi_id: String,
        /// How many.
        count: usize,
    },
    /// A path leads somewhere else.
    #[error(
        "path {path} leads to device {found:?}, not to {expected:?}; paths must have one SCSI id"
    )]
    Differs {
        /// The path.
        path: String,
        /// The id that it shows.
        found: String,
        /// The id of the first path.
        expected: String,
    },
}

/// A device behind several paths.
pub struct Multipath {
    identity: DeviceIdentity,
    paths: Vec<Path>,
    /// How long paths that have all failed are tried again before I/O fails.
    patience: Duration,
    /// Asked before a change is tried again; none where nobody else can own the device.
    guard: Option<Guard>,
    /// The path that is used.
    chosen: AtomicUsize,
    prober: Arc<Prober>,
    /// For the thread that probes.
    own: Weak<Multipath>,
}

#[derive(Debug)]
struct Path {
    device: Arc<dyn BlockDevice>,
    /// Why it failed; none while it works.
    failure: Mutex<Option<String>>,
}

/// What wakes the thread that looks at paths that failed, and tells that there is one.
#[derive(Debug, Default)]
struct Prober {
    running: Mutex<bool>,
    stopped: Condvar,
}

impl Multipath {
    /// Makes one device of the paths to it; the first that works is used first.
    pub fn new(paths: Vec<Arc<dyn BlockDevice>>) -> Result<Arc<Self>, Error> {
        Self::with_patience(paths, Duration::ZERO, None)
    }

    /// As [`Multipath::new`]; when all paths have failed they are tried for `patience` before I/O fails, and `guard` is asked
    /// before a change is tried again.
    pub fn with_patience(
        paths: Vec<Arc<dyn BlockDevice>>,
        patience: Duration,
        guard: Option<Guard>,
    ) -> Result<Arc<Self>, Error> {
        let identity = match paths.first() {
            Some(first) => first.identity(),
            None => {
                return Err(Error::NoPath {
                    scsi_id: String::new(),
                });
            }
        };
        if paths.len() > MAX_PATHS {
            return Err(Error::TooMany {
                scsi_id: identity.scsi_id,
                count: paths.len(),
            });
        }
        let other = paths
            .iter()
            .find(|path| path.identity().scsi_id != identity.scsi_id);
        if let Some(path) = other.or(paths.first().filter(|_| identity.scsi_id.is_empty())) {
            return Err(Error::Differs {
                path: path.name(),
                found: path.identity().scsi_id,
                expected: identity.scsi_id,
            });
        }
        let paths = paths.into_iter().map(|device| Path {
            device,
            failure: Mutex::default(),
        });
        Ok(Arc::new_cyclic(|own| Multipath {
            identity,
            paths: paths.collect(),
            patience,
            guard,
            chosen: AtomicUsize::new(0),
            prober: Arc::default(),
            own: own.clone(),
        }))
    }

    /// What is known of each path, in their order.
    pub fn paths(&self) -> Vec<PathStatus> {
        let status = |path: &Path| PathStatus {
            name: path.device.name(),
            failure: lock(&path.failure).clone(),
        };
        self.paths.iter().map(status).collect()
    }

    /// As [`Multipath::with_path`] for what changes the device: the guard is asked before it is done again.
    fn change<T>(&self, operation: impl Fn(&dyn BlockDevice) -> io::Result<T>) -> io::Result<T> {
        let tried = AtomicBool::new(false);
        self.with_path(|path| {
            if tried.swap(true, Ordering::Relaxed)
                && let Some(guard) = &self.guard
            {
                let refusal = |error: io::Error| {
                    io::Error::new(io::ErrorKind::PermissionDenied, error.to_string())
                };
                guard().map_err(refusal)?;
            }
            operation(path)
        })
    }

    /// Runs `operation` over one path after the other until it succeeds, or the device itself refuses it, or patience ends.
    fn with_path<T>(&self, operation: impl Fn(&dyn BlockDevice) -> io::Result<T>) -> io::Result<T> {
        let until = Instant::now() + self.patience;
        loop {
            match self.over_each_path(&operation) {
                Err(error) if !is_answer_of_device(&error) && Instant::now() < until => {
                    std::thread::sleep(RETRY_PAUSE);
                }
                result => return result,
            }
        }
    }

    fn over_each_path<T>(
        &self,
        operation: impl Fn(&dyn BlockDevice) -> io::Result<T>,
    ) -> io::Result<T> {
        let first = self.chosen.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        let mut last = None;
        // Paths that work are tried first, then those that failed: one may be back already.
        for failed in [false, true] {
            for step in 0..self.paths.len() {
                let index = (first + step) % self.paths.len();
                let path = &self.paths[index];
                let has_failed = lock(&path.failure).is_some();
                if has_failed != failed || failures.contains(&index) {
                    continue;
                }
                match operation(&*path.device) {
                    Ok(value) => {
                        self.chosen.store(index, Ordering::Relaxed);
                        if failed {
                            *lock(&path.failure) = None;
                        }
                        return Ok(value);
                    }
                    Err(error) if is_answer_of_device(&error) => return Err(error),
                    Err(error) => {
                        self.fail(path, &error);
                        failures.push(index);
                        last = Some(error);
                    }
                }
            }
        }
        let last = last.map_or_else(
            || io::Error::from(io::ErrorKind::NotConnected),
            |error| {
                let text = format!(
                    "all {} paths to device {} failed; the last said: {error}",
                    self.paths.len(),
                    self.identity.scsi_id
                );
                io::Error::new(error.kind(), text)
            },
        );
        Err(last)
    }

    fn fail(&self, path: &Path, error: &io::Error) {
        let mut failure = lock(&path.failure);
        if failure.is_none() {
            tracing::warn!(
                device = self.identity.scsi_id,
                path = path.device.name(),
                %error,
                "a path to a device failed"
            );
        }
        *failure = Some(error.to_string());
        drop(failure);
        self.start_probing();
    }

    fn start_probing(&self) {
        let mut running = lock(&self.prober.running);
        if *running {
            return;
        }
        let (own, prober) = (self.own.clone(), self.prober.clone());
        let started = std::thread::Builder::new()
            .name("multipath".to_owned())
            .spawn(move || probe(&own, &prober));
        // Without the thread a path that failed is tried when no other works.
        *running = started.is_ok();
    }

    /// Looks at the paths that failed; true when none is left.
    fn probe_failed(&self) -> bool {
        let mut all_work = true;
        for path in &self.paths {
            if lock(&path.failure).is_none() {
                continue;
            }
            let mut block = vec![0; path.device.block_size().max(512) as usize];
            let same = path.device.read_at(&mut block, 0).is_ok()
                && path.device.identity().scsi_id == self.identity.scsi_id;
            if same {
                *lock(&path.failure) = None;
                tracing::info!(
                    device = self.identity.scsi_id,
                    path = path.device.name(),
                    "a path to a device works again"
                );
            }
            all_work &= same;
        }
        all_work
    }
}

impl fmt::Debug for Multipath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipath")
            .field("identity", &self.identity)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl Drop for Multipath {
    fn drop(&mut self) {
        self.prober.stopped.notify_all();
    }
}

/// Looks at the paths of a device that failed until all work, or the device is gone.
fn probe(device: &Weak<Multipath>, prober: &Prober) {
    loop {
        let running = lock(&prober.running);
        let waited = prober.stopped.wait_timeout(running, PROBE_PAUSE);
        drop(waited.unwrap_or_else(PoisonError::into_inner).0);
        let Some(device) = device.upgrade() else {
            return;
        };
        if device.probe_failed() {
            let mut running = lock(&prober.running);
            // A path that failed meanwhile found this thread running and started none.
            if device
                .paths
                .iter()
                .all(|path| lock(&path.failure).is_none())
            {
                *running = false;
                return;
            }
        }
    }
}

/// True when the device has answered, and would over any path.
fn is_answer_of_device(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::StorageFull
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::Unsupported
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
    )
}

impl BlockDevice for Multipath {
    fn name(&self) -> String {
        let names: Vec<String> = self.paths.iter().map(|path| path.device.name()).collect();
        format!("{} ({})", self.identity.scsi_id, names.join(", "))
    }

    fn size(&self) -> io::Result<u64> {
        self.with_path(|path| path.size())
    }

    fn block_size(&self) -> u32 {
        self.paths[0].device.block_size()
    }

    fn identity(&self) -> DeviceIdentity {
        self.identity.clone()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let buffer = Mutex::new(buffer);
        self.with_path(|path| path.read_at(&mut lock(&buffer), offset))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change(|path| path.write_at(data, offset))
    }

    /// The cache is the device's and not the path's: flushing over one path flushes what came over all.
    fn flush(&self) -> io::Result<()> {
        self.change(|path| path.flush())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.change(|path| path.write_zeroes_at(offset, length))
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.change(|path| path.unmap(offset, length))
    }

    fn resets(&self) -> u64 {
        self.paths.iter().map(|path| path.device.resets()).sum()
    }

    fn has_write_cache(&self) -> bool {
        self.paths.iter().any(|path| path.device.has_write_cache())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "multipath_tests.rs"]
mod tests;
