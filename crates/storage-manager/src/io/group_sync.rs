//! One directory sync for all who wait for one.

use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

/// Syncs a directory on behalf of many threads: whoever comes while a sync runs waits for the next one, which then
/// serves all who came meanwhile.
///
/// A failed sync is remembered: the kernel reports a lost write once, so no later sync of this directory can be believed,
/// and every later call fails until the SR is attached again.
#[derive(Debug, Default)]
pub struct GroupSync {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Syncs that were begun.
    started: u64,
    /// Syncs that succeeded.
    completed: u64,
    running: bool,
    failed: Option<i32>,
}

impl GroupSync {
    /// Returns when a sync that began after this call has ended.
    ///
    /// # Errors
    /// The error of that sync, or of an earlier one that failed.
    pub fn sync(&self, directory: &File) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A sync that is running may have begun before our change.
        let wanted = state.started + 1;
        loop {
            if let Some(errno) = state.failed {
                return Err(io::Error::from_raw_os_error(errno));
            }
            if state.completed >= wanted {
                return Ok(());
            }
            if state.running {
                state = self
                    .finished
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.started += 1;
            let mine = state.started;
            drop(state);
            let outcome = directory.sync_all();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            match outcome {
                Ok(()) => state.completed = mine,
                Err(error) => state.failed = Some(error.raw_os_error().unwrap_or(libc_eio())),
            }
            self.finished.notify_all();
        }
    }
}

fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_all_return() {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        let group = GroupSync::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| group.sync(&directory).unwrap()));
            }
        });
        let state = group.state.lock().unwrap();
        assert!(!state.running);
        assert!(
            state.started >= 20 && state.started <= 160,
            "{} syncs",
            state.started
        );
        assert_eq!(state.completed, state.started);
    }

    #[test]
    fn a_failure_stays() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        let group = GroupSync::default();
        assert!(group.sync(&pipe).is_err(), "a pipe cannot be synced");
        let dir = tempfile::tempdir().unwrap();
        assert!(group.sync(&File::open(dir.path()).unwrap()).is_err());
    }
}
