//! How a layout wakes the collector of its SR.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A count of changes that can be waited for: nothing is lost between a look at the images and the wait.
#[derive(Debug, Default)]
pub struct Wakeup {
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Wakeup {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something changed.
    pub fn notify(&self) {
        *self.lock() += 1;
        self.changed.notify_all();
    }

    /// The changes up to now.
    pub fn count(&self) -> u64 {
        *self.lock()
    }

    /// Waits for a change after `seen`, at most `limit`; true when there was one.
    pub fn wait(&self, seen: u64, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut changes = self.lock();
        while *changes == seen {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            changes = self
                .changed
                .wait_timeout(changes, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_before_the_wait_is_seen() {
        let wakeup = Wakeup::default();
        let seen = wakeup.count();
        assert!(!wakeup.wait(seen, Duration::ZERO));
        wakeup.notify();
        assert!(wakeup.wait(seen, Duration::from_secs(60)));
    }
}
