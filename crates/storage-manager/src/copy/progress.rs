//! How far a copy is, and the wish that it stops.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

/// Shared by a copy and who watches it.
#[derive(Debug, Default)]
pub struct Progress {
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    written_bytes: AtomicU64,
    cancel: CancellationToken,
}

impl Progress {
    /// Of a copy that has not begun and that stops when `cancel` is cancelled.
    pub fn new(cancel: CancellationToken) -> Self {
        Progress {
            cancel,
            ..Progress::default()
        }
    }

    /// The share that is done, from 0 to 1. What need not be written counts as it is passed.
    pub fn fraction(&self) -> f64 {
        let total = self.total_bytes.load(Ordering::Relaxed);
        if total == 0 {
            return 0.0;
        }
        // Exact up to 2^53 bytes, which no VDI has.
        self.done_bytes() as f64 / total as f64
    }

    /// True once bytes are being copied; before, the copy waits for a thread.
    pub fn has_begun(&self) -> bool {
        self.total_bytes.load(Ordering::Relaxed) > 0
    }

    /// Bytes of the source that are done.
    pub fn done_bytes(&self) -> u64 {
        self.done_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that were written to the target.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Asks the copy to stop; it does so between two buffers.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// True once it is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    pub(super) fn begin(&self, total_bytes: u64) {
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    pub(super) fn reach(&self, done_bytes: u64) {
        self.done_bytes.store(done_bytes, Ordering::Relaxed);
    }

    pub(super) fn count_written(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
