//! An export in memory, a catalogue of exports, and a server in a temporary directory.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nbd::client::ClientOptions;
use nbd::server::{Limits, ListenerOptions};
use nbd::{
    BlockStatus, Client, ContextExtent, Export, Exports, Extent, Found, Peer, Refusal, Server,
};

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Size of the exports.
pub const SIZE: u64 = 8 * 1024 * 1024;
/// What is allocated at once.
const BLOCK: usize = 64 * 1024;

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    testkit::wait::until(what, PATIENCE, || condition().then_some(()));
}

/// Bytes in memory that know which of their blocks were written.
pub struct MemoryExport {
    content: Mutex<Content>,
    read_only: bool,
    pub flushes: AtomicUsize,
    /// Calls that are inside a read now.
    pub readers: AtomicUsize,
    /// What the next calls fail with.
    pub fault: Mutex<Option<io::ErrorKind>>,
    /// Offset from which reads fail.
    pub bad_from: AtomicUsize,
    /// True while reads wait.
    held: Mutex<bool>,
    released: Condvar,
    pub panics: AtomicBool,
    /// True when it offers its written blocks as [`CHANGES`] too.
    pub has_changes: AtomicBool,
}

/// The further metadata context of an export that has one.
pub const CHANGES: &str = "qemu:dirty-bitmap:cbt";

struct Content {
    bytes: Vec<u8>,
    allocated: Vec<bool>,
}

impl MemoryExport {
    pub fn new(read_only: bool) -> Arc<Self> {
        Arc::new(MemoryExport {
            content: Mutex::new(Content {
                bytes: vec![0; SIZE as usize],
                allocated: vec![false; SIZE as usize / BLOCK],
            }),
            read_only,
            flushes: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            fault: Mutex::new(None),
            bad_from: AtomicUsize::new(usize::MAX),
            held: Mutex::new(false),
            released: Condvar::new(),
            panics: AtomicBool::new(false),
            has_changes: AtomicBool::new(false),
        })
    }

    /// Adds `bytes` zeros at the end.
    pub fn grow(&self, bytes: usize) {
        let mut content = self.content.lock().unwrap();
        let length = content.bytes.len() + bytes;
        content.bytes.resize(length, 0);
        content.allocated.resize(length.div_ceil(BLOCK), false);
    }

    /// Makes reads wait until [`MemoryExport::release`].
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn fault(&self) -> io::Result<()> {
        match *self.fault.lock().unwrap() {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    fn change(&self, offset: u64, length: usize, data: Option<&[u8]>) {
        let mut content = self.content.lock().unwrap();
        let range = offset as usize..offset as usize + length;
        match data {
            Some(data) => {
                content.bytes[range.clone()].copy_from_slice(data);
                for block in range.start / BLOCK..range.end.div_ceil(BLOCK) {
                    content.allocated[block] = true;
                }
            }
            None => {
                content.bytes[range.clone()].fill(0);
                for block in range.start.div_ceil(BLOCK)..range.end / BLOCK {
                    content.allocated[block] = false;
                }
            }
        }
    }
}

impl Export for MemoryExport {
    fn size(&self) -> u64 {
        self.content.lock().unwrap().bytes.len() as u64
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "this export was told to panic"
        );
        self.fault()?;
        if offset as usize + buffer.len() > self.bad_from.load(Ordering::SeqCst) {
            return Err(io::Error::other("a bad place"));
        }
        self.readers.fetch_add(1, Ordering::SeqCst);
        let held = self.held.lock().unwrap();
        let (held, timeout) = self
            .released
            .wait_timeout_while(held, PATIENCE, |held| *held)
            .unwrap();
        drop(held);
        self.readers.fetch_sub(1, Ordering::SeqCst);
        if timeout.timed_out() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let content = self.content.lock().unwrap();
        buffer.copy_from_slice(&content.bytes[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.fault()?;
        self.change(offset, data.len(), Some(data));
        Ok(())
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.fault()?;
        self.change(offset, length as usize, None);
        Ok(())
    }

    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_zeroes_at(offset, length)
    }

    fn flush(&self) -> io::Result<()> {
        self.fault()?;
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn block_status(&self, offset: u64, length: u64, limit: usize) -> io::Result<Vec<Extent>> {
        self.fault()?;
        let content = self.content.lock().unwrap();
        let mut extents = Vec::new();
        let (mut at, end) = (offset, offset + length);
        while at < end && extents.len() < limit {
            let block = at as usize / BLOCK;
            let next = end.min(((block + 1) * BLOCK) as u64);
            let status = if content.allocated[block] {
                BlockStatus::Data
            } else {
                BlockStatus::Hole
            };
            extents.push(Extent {
                length: next - at,
                status,
            });
            at = next;
        }
        Ok(extents)
    }

    fn contexts(&self) -> Vec<String> {
        let has_changes = self.has_changes.load(Ordering::SeqCst);
        has_changes
            .then(|| CHANGES.to_owned())
            .into_iter()
            .collect()
    }

    fn context_status(
        &self,
        context: &str,
        offset: u64,
        length: u64,
        limit: usize,
    ) -> io::Result<Vec<ContextExtent>> {
        assert_eq!(context, CHANGES);
        let extents = self.block_status(offset, length, limit)?;
        let changed = |extent: &Extent| u32::from(extent.status == BlockStatus::Data);
        let extents = extents.iter().map(|extent| ContextExtent {
            length: extent.length,
            flags: changed(extent),
        });
        Ok(extents.collect())
    }

    fn close(&self) -> io::Result<()> {
        self.flush()
    }
}

/// Exports by name.
#[derive(Default)]
pub struct Catalogue {
    exports: Mutex<HashMap<String, Arc<MemoryExport>>>,
    pub tls_only: AtomicBool,
    pub listed: AtomicBool,
    pub finds: AtomicUsize,
}

impl Catalogue {
    pub fn remove(&self, name: &str) {
        self.exports.lock().unwrap().remove(name);
    }
}

impl Exports for Catalogue {
    fn find(&self, name: &str, peer: &Peer) -> Result<Found, Refusal> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        if name == "forbidden" {
            return Err(Refusal::Forbidden {
                reason: "not for you",
            });
        }
        if self.tls_only.load(Ordering::SeqCst) && !peer.tls {
            return Err(Refusal::TlsRequired);
        }
        let export = self
            .exports
            .lock()
            .unwrap()
            .get(name)
            .cloned()
            .ok_or(Refusal::Unknown)?;
        Ok(Found {
            key: name.to_owned(),
            export,
        })
    }

    fn list(&self, _peer: &Peer) -> Result<Vec<String>, Refusal> {
        if !self.listed.load(Ordering::SeqCst) {
            return Err(Refusal::Forbidden {
                reason: "exports are not listed",
            });
        }
        let mut names: Vec<_> = self.exports.lock().unwrap().keys().cloned().collect();
        names.sort();
        Ok(names)
    }
}

/// A server with the exports `disk` and `frozen` (read-only) on a unix socket.
pub struct Fixture {
    pub server: Server,
    pub catalogue: Arc<Catalogue>,
    pub disk: Arc<MemoryExport>,
    pub directory: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let fixture = Self::silent(limits);
        fixture
            .server
            .listen_unix(&fixture.socket(), ListenerOptions::plaintext())
            .unwrap();
        fixture
    }

    /// A server that does not listen yet.
    pub fn silent(limits: Limits) -> Self {
        let catalogue = Arc::new(Catalogue::default());
        let disk = MemoryExport::new(false);
        let exports = [("disk", disk.clone()), ("frozen", MemoryExport::new(true))];
        catalogue
            .exports
            .lock()
            .unwrap()
            .extend(exports.map(|(name, export)| (name.to_owned(), export)));
        let directory = tempfile::Builder::new().prefix("nbd").tempdir().unwrap();
        Fixture {
            server: Server::new(catalogue.clone(), limits),
            catalogue,
            disk,
            directory,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    pub fn client(&self, export: &str) -> Client {
        Client::connect_unix(&self.socket(), export, &ClientOptions::default()).unwrap()
    }

    /// A bare connection with a bounded wait.
    pub fn raw(&self) -> UnixStream {
        raw(&self.socket())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.disk.release();
    }
}

pub fn raw(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Bytes that differ from place to place.
pub fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index / 251) as u8 ^ (index as u8).wrapping_mul(31) ^ seed)
        .collect()
}
