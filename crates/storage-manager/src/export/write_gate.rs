//! A gate that every write of a consumer passes, and that can be shut for a moment.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nbd::{ContextExtent, Export, Extent};
use tokio::sync::Notify;

/// The bit of the state that says that the gate is shut; the others count the writes that have passed and go on.
const SHUT: usize = 1 << (usize::BITS - 1);

/// The gate of one VDI.
///
/// A write that comes while it is shut waits until it is opened, at the latest at the time that was given when it was shut: a
/// consumer is kept waiting and never refused.
#[derive(Debug, Default)]
pub struct WriteGate {
    state: AtomicUsize,
    hold: Mutex<Holding>,
    opened: Condvar,
    drained: Notify,
}

#[derive(Debug, Default)]
struct Holding {
    /// Counts the holds, so that a hold knows whether it is still the one.
    number: u64,
    /// None while the gate is open.
    until: Option<Instant>,
}

impl WriteGate {
    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shuts the gate until the hold is let go of, or until the time has come and somebody waits.
    ///
    /// None when it is shut already.
    pub fn shut(self: &Arc<Self>, until: Instant) -> Option<WriteHold> {
        let mut holding = self.holding();
        if holding.until.is_some() {
            return None;
        }
        holding.number += 1;
        holding.until = Some(until);
        self.state.fetch_or(SHUT, Ordering::AcqRel);
        Some(WriteHold {
            gate: self.clone(),
            number: holding.number,
        })
    }

    fn open(&self, holding: &mut Holding) {
        holding.until = None;
        self.state.fetch_and(!SHUT, Ordering::AcqRel);
        self.opened.notify_all();
    }

    /// Runs a write, when the gate is open.
    fn pass<T>(&self, write: impl FnOnce() -> T) -> T {
        let _passed = self.enter();
        write()
    }

    fn enter(&self) -> Passed<'_> {
        loop {
            let before = self.state.fetch_add(1, Ordering::AcqRel);
            let passed = Passed(self);
            if before & SHUT == 0 {
                return passed;
            }
            drop(passed);
            self.wait_until_open();
        }
    }

    fn wait_until_open(&self) {
        let mut holding = self.holding();
        while let Some(until) = holding.until {
            let now = Instant::now();
            if now >= until {
                self.open(&mut holding);
                return;
            }
            let waited = self.opened.wait_timeout(holding, until - now);
            (holding, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A write that goes on; counted until it is dropped, also when it panics.
struct Passed<'a>(&'a WriteGate);

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(1, Ordering::AcqRel) == SHUT + 1 {
            self.0.drained.notify_waiters();
        }
    }
}

/// A gate that is shut; it opens when this is dropped.
#[derive(Debug)]
#[must_use = "the gate opens when this is dropped"]
pub struct WriteHold {
    gate: Arc<WriteGate>,
    number: u64,
}

impl WriteHold {
    /// Waits until every write that had passed the gate is over; bounded by whoever waits.
    pub async fn drained(&self) {
        loop {
            let drained = self.gate.drained.notified();
            if self.gate.state.load(Ordering::Acquire) & !SHUT == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Opens the gate; false when a write has passed meanwhile, because its time had come.
    pub fn release(self) -> bool {
        self.end()
    }

    fn end(&self) -> bool {
        let mut holding = self.gate.holding();
        let is_kept = holding.number == self.number && holding.until.is_some();
        if is_kept {
            self.gate.open(&mut holding);
        }
        is_kept
    }
}

impl Drop for WriteHold {
    fn drop(&mut self) {
        self.end();
    }
}

/// An export whose writes pass a gate. Reads and flushes do not: neither changes what a snapshot would show.
pub struct Gated {
    inner: Arc<dyn Export>,
    gate: Arc<WriteGate>,
}

impl Gated {
    /// Puts the gate before an export.
    pub fn new(inner: Arc<dyn Export>, gate: Arc<WriteGate>) -> Self {
        Gated { inner, gate }
    }
}

impl Export for Gated {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.gate.pass(|| self.inner.write_at(data, offset))
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.gate
            .pass(|| self.inner.write_zeroes_at(offset, length))
    }

    fn trim_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.gate.pass(|| self.inner.trim_at(offset, length))
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
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
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    /// Longer than any test takes.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    #[tokio::test]
    async fn writes_wait_while_the_gate_is_shut() {
        let gate = Arc::new(WriteGate::default());
        let hold = gate.shut(later()).unwrap();
        assert!(gate.shut(later()).is_none(), "it is shut already");
        hold.drained().await;
        let written = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| gate.pass(|| written.store(true, Ordering::SeqCst)));
            assert!(!written.load(Ordering::SeqCst));
            assert!(hold.release());
            writer.join().unwrap();
        });
        assert!(written.load(Ordering::SeqCst));
        assert_eq!(gate.state.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn writes_that_have_passed_are_waited_for() {
        let gate = Arc::new(WriteGate::default());
        let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
        let (begin, begun) = std::sync::mpsc::sync_channel(1);
        let writer = std::thread::spawn({
            let gate = gate.clone();
            move || {
                gate.pass(|| {
                    begin.send(()).unwrap();
                    released.recv().unwrap();
                })
            }
        });
        begun.recv().unwrap();
        let hold = gate.shut(later()).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(1), hold.drained()).await;
        assert!(early.is_err(), "a write is under way");
        release.send(()).unwrap();
        hold.drained().await;
        writer.join().unwrap();
        assert!(hold.release());
    }

    #[test]
    fn a_writer_goes_on_when_the_time_has_come_and_the_hold_knows() {
        let gate = Arc::new(WriteGate::default());
        let expired = gate.shut(Instant::now()).unwrap();
        gate.pass(|| ());
        let next = gate.shut(later()).unwrap();
        assert!(!expired.release(), "a write has passed");
        assert_ne!(
            gate.state.load(Ordering::SeqCst) & SHUT,
            0,
            "the next is shut"
        );
        drop(next);
        assert_eq!(gate.state.load(Ordering::SeqCst), 0);
        // Late, but nobody wrote.
        let late = gate.shut(Instant::now()).unwrap();
        assert!(late.release());
    }

    #[test]
    fn a_write_that_panics_is_counted_off() {
        let gate = WriteGate::default();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            gate.pass(|| panic!("on purpose"))
        }));
        assert!(caught.is_err());
        assert_eq!(gate.state.load(Ordering::SeqCst), 0);
    }
}
