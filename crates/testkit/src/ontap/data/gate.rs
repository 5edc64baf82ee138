//! Holds back SCSI commands while files are copied or exchanged below them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long commands under way may take until files are touched all the same: one that was aborted is never answered.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A gate that commands pass.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    inside: usize,
}

/// While it is there, no command passes.
pub struct Closed<'a>(&'a Gate);

impl Gate {
    /// Lets a command through, once the gate is open.
    pub fn enter(&self) {
        let mut state = self.lock();
        while state.is_closed {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.inside += 1;
    }

    /// So many commands have been answered, or never will be.
    pub fn leave(&self, count: usize) {
        let mut state = self.lock();
        state.inside = state.inside.saturating_sub(count);
        self.changed.notify_all();
    }

    /// Closes the gate and waits until nothing is under way.
    pub fn close(&self) -> Closed<'_> {
        let mut state = self.lock();
        state.is_closed = true;
        let started = Instant::now();
        while state.inside > 0 && started.elapsed() < LONGEST_WAIT {
            let left = LONGEST_WAIT.saturating_sub(started.elapsed());
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Closed(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.lock().is_closed = false;
        self.0.changed.notify_all();
    }
}
