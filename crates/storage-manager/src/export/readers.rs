//! Exports for readers: nothing can be written through them, and a VDI that only readers use is open while there are any.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nbd::{ContextExtent, Export, Extent, Refusal};
use uuid::Uuid;

/// Lets reads through to another export.
pub struct ReadOnly {
    inner: Arc<dyn Export>,
    /// Where the VDI is counted as open, if nobody else closes it.
    counted: Option<(Arc<Readers>, Uuid)>,
}

impl ReadOnly {
    /// Restricts an export that somebody else closes.
    pub fn borrowing(inner: Arc<dyn Export>) -> Self {
        ReadOnly {
            inner,
            counted: None,
        }
    }
}

/// The VDIs that are open for readers only.
#[derive(Default)]
pub struct Readers {
    open: Mutex<BTreeMap<Uuid, OpenVdi>>,
    closed: Condvar,
}

#[derive(Default)]
struct OpenVdi {
    /// Given to further readers while it lives.
    shared: Weak<ReadOnly>,
    /// How many times the VDI is open: more than once only while an earlier opening is being closed.
    count: usize,
}

impl Readers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, OpenVdi>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the VDI's export to a further reader, opening it if it is not open.
    ///
    /// No lock is held while `open` runs: a medium that hangs keeps nobody else waiting.
    pub fn open(
        self: &Arc<Self>,
        vdi: Uuid,
        open: impl FnOnce() -> Result<Arc<dyn Export>, Refusal>,
    ) -> Result<Arc<dyn Export>, Refusal> {
        if let Some(shared) = self
            .lock()
            .get(&vdi)
            .and_then(|entry| entry.shared.upgrade())
        {
            return Ok(shared);
        }
        // Counted before it is opened, so that whoever waits for the VDI to be closed does not miss it.
        self.lock().entry(vdi).or_default().count += 1;
        let inner = open().inspect_err(|_| self.forget(vdi))?;
        let opened = Arc::new(ReadOnly {
            inner,
            counted: Some((self.clone(), vdi)),
        });
        if let Some(entry) = self.lock().get_mut(&vdi) {
            entry.shared = Arc::downgrade(&opened);
        }
        Ok(opened)
    }

    /// Waits until the VDI is not open for readers; false when it still is after `patience`.
    pub fn wait_closed(&self, vdi: Uuid, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut open = self.lock();
        while open.contains_key(&vdi) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            open = self
                .closed
                .wait_timeout(open, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn forget(&self, vdi: Uuid) {
        let mut open = self.lock();
        if let Some(entry) = open.get_mut(&vdi) {
            entry.count -= 1;
            if entry.count == 0 {
                open.remove(&vdi);
            }
        }
        self.closed.notify_all();
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let Some((readers, vdi)) = &self.counted else {
            return;
        };
        if let Err(error) = self.inner.close() {
            tracing::warn!(%error, vdi.uuid = %vdi, "a VDI that was read over NBD did not close cleanly");
        }
        readers.forget(*vdi);
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the export is read-only")
}

impl Export for ReadOnly {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> io::Result<()> {
        Err(refused())
    }

    fn write_zeroes_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(refused())
    }

    fn trim_at(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(refused())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn block_status(&self, offset: u64, length: u64, limit: usize) -> io::Result<Vec<Extent>> {
        self.inner.block_status(offset, length, limit)
    }

    fn contexts(&self) -> Vec<String> {
        self.inner.contexts()
    }

    fn context_status(
        &self,
        context: &str,
        offset: u64,
        length: u64,
        limit: usize,
    ) -> io::Result<Vec<ContextExtent>> {
        self.inner.context_status(context, offset, length, limit)
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}
