//! What a merge obeys, and what it tells of itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rate::RateLimit;

/// Longest uninterrupted wait; then pause, cancellation and rate are looked at again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How far a merge has come, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Size of the child's blocks together.
    pub total: u64,
    /// Size of those that were looked at.
    pub done: u64,
    /// Bytes written to the parent.
    pub copied: u64,
}

/// Lets others pause, cancel, slow down and watch a merge.
#[derive(Debug)]
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
    limit: Arc<RateLimit>,
    total: AtomicU64,
    done: AtomicU64,
    copied: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// How many want it to stand still.
    pauses: u32,
    cancelled: bool,
}

impl Control {
    /// A control whose merge shares this limit with others.
    pub fn new(limit: Arc<RateLimit>) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            limit,
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            copied: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the merge end at the next chunk. It cannot be taken back.
    pub fn cancel(&self) {
        self.state().cancelled = true;
        self.changed.notify_all();
    }

    /// True once it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Makes the merge stand still at the next chunk, until it was resumed as often as it was paused.
    pub fn pause(&self) {
        self.state().pauses += 1;
    }

    /// Takes one pause back.
    pub fn resume(&self) {
        let mut state = self.state();
        state.pauses = state.pauses.saturating_sub(1);
        self.changed.notify_all();
    }

    /// How far the merge has come.
    pub fn progress(&self) -> Progress {
        Progress {
            total: self.total.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            copied: self.copied.load(Ordering::Relaxed),
        }
    }

    /// Says how much there is to do.
    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Notes what was done, and waits as pauses and the rate demand; false when the merge is to end.
    pub fn pass(&self, done: u64, copied: u64) -> bool {
        self.done.fetch_add(done, Ordering::Relaxed);
        self.copied.fetch_add(copied, Ordering::Relaxed);
        let until = (copied > 0).then(|| self.limit.take(copied)).flatten();
        let mut state = self.state();
        loop {
            if state.cancelled {
                return false;
            }
            let wait = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                _ if state.pauses > 0 => LONGEST_WAIT,
                None => return true,
                Some(left) if left.is_zero() => return true,
                Some(left) => left.min(LONGEST_WAIT),
            };
            state = self
                .changed
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_merge_goes_on_when_it_is_resumed_and_ends_when_it_is_cancelled() {
        let control = Control::default();
        control.pause();
        control.pause();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| control.pass(10, 5));
            control.resume();
            control.resume();
            assert!(waiting.join().unwrap());
            control.pause();
            let waiting = scope.spawn(|| control.pass(10, 5));
            control.cancel();
            assert!(!waiting.join().unwrap());
        });
        let expected = Progress {
            total: 0,
            done: 20,
            copied: 10,
        };
        assert_eq!(control.progress(), expected);
    }
}
