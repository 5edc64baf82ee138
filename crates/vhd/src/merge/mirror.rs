//! Writes of a consumer while its image is merged into the parent.
//!
//! The walk goes through the virtual disk from the start. What lies before its mark is equal in child and parent, and kept
//! so: writes there go to both. Writes behind the mark go to the child alone, for the walk will come by. A chunk is locked
//! while the walk copies it and while something is written in it, so that the two cannot cross, nor two writes to one
//! sector reach child and parent in different order.
//!
//! ```text
//! Copying --equal--> Equal --begin_commit--> Committing
//!    \                 \                        a failure of the parent fails the consumer's call
//!     \_________________\__ a failure of the parent ends the mirroring, and no call of the consumer
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::CHUNK;
use super::target::Target;
use crate::SECTOR_SIZE;
use crate::chain::{Chain, Payload};
use crate::error::{Error, Result};

const LOCKS: usize = 64;

/// The parent, and how far it is equal to the child.
pub(crate) struct Mirror {
    pub target: Target,
    locks: [Mutex<()>; LOCKS],
    /// Bytes from the start of the disk that are equal; a multiple of the chunk, or the end. Changed under the lock of the
    /// chunk that it passes.
    mark: AtomicU64,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    failure: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The walk is under way. Flushes go to the child alone.
    Copying,
    /// Both are equal, and both are flushed.
    Equal,
    /// A crash may leave either as the image: what is not in both is not written.
    Committing,
}

impl Mirror {
    pub fn new(target: Target) -> Self {
        let (phase, failure) = (Phase::Copying, None);
        Self {
            target,
            locks: std::array::from_fn(|_| Mutex::new(())),
            mark: AtomicU64::new(0),
            state: Mutex::new(State { phase, failure }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps everybody else out of the chunk of a byte.
    pub fn lock(&self, offset: u64) -> MutexGuard<'_, ()> {
        self.locks[(offset / CHUNK) as usize % LOCKS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    pub fn set_mark(&self, mark: u64) {
        self.mark.store(mark, Ordering::Release);
    }

    /// Writes to the child with `write`, and to the parent where the walk has passed.
    pub fn write(
        &self,
        child: &Chain,
        payload: Payload<'_>,
        offset: u64,
        write: impl Fn(Payload<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < payload.len() {
            let at = offset + done;
            let step = (CHUNK - at % CHUNK).min(payload.len() - done);
            let part = payload.part(done, step);
            let _chunk = self.lock(at);
            let written = write(part, at);
            if at < self.mark() {
                let mirrored = match &written {
                    Ok(()) => self.repeat(child, part, at),
                    // Part of it may be in the child, so the parent is made to follow.
                    Err(_) => self.follow(child, at, step),
                };
                mirrored.or_else(|error| self.fail(error))?;
            }
            written?;
            done += step;
        }
        Ok(())
    }

    /// Discards in the child with `discard`, and in the parent where the walk has passed.
    pub fn discard(
        &self,
        offset: u64,
        length: u64,
        discard: impl Fn(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let mut at = offset;
        while at < offset + length {
            let step = (CHUNK - at % CHUNK).min(offset + length - at);
            let _chunk = self.lock(at);
            discard(at, step)?;
            if at < self.mark() && self.failure_kind().is_none() {
                let discarded = self.target.discard(at, step);
                discarded.or_else(|error| self.fail(error))?;
            }
            at += step;
        }
        Ok(())
    }

    /// Flushes the parent, when both are equal.
    pub fn flush(&self) -> Result<()> {
        {
            let state = self.state();
            if state.phase == Phase::Copying || state.failure.is_some() {
                return Ok(());
            }
        }
        self.target.flush().or_else(|error| self.fail(error))
    }

    fn repeat(&self, child: &Chain, payload: Payload<'_>, offset: u64) -> Result<()> {
        if self.failure_kind().is_some() {
            return Ok(());
        }
        let end = offset + payload.len();
        if offset.is_multiple_of(SECTOR_SIZE) && end.is_multiple_of(SECTOR_SIZE) {
            return self.target.write(payload, offset);
        }
        self.follow(child, offset, payload.len())
    }

    /// Makes the sectors of a range in the parent what the child reads as.
    fn follow(&self, child: &Chain, offset: u64, length: u64) -> Result<()> {
        if self.failure_kind().is_some() {
            return Ok(());
        }
        let start = offset - offset % SECTOR_SIZE;
        let end = (offset + length).next_multiple_of(SECTOR_SIZE);
        let mut sectors = vec![0; (end - start) as usize];
        child.read_at(&mut sectors, start)?;
        self.target.write(Payload::Bytes(&sectors), start)
    }

    /// Notes that the parent is not equal any more; an error when that is the consumer's business.
    fn fail(&self, error: Error) -> Result<()> {
        let mut state = self.state();
        if state.phase == Phase::Committing {
            return Err(error);
        }
        state.failure.get_or_insert(error);
        Ok(())
    }

    /// The kind of the failure that ended the mirroring.
    pub fn failure_kind(&self) -> Option<crate::ErrorKind> {
        self.state().failure.as_ref().map(Error::kind)
    }

    /// Takes the failure that ended the mirroring.
    pub fn require_sound(&self) -> Result<()> {
        let mut state = self.state();
        match state.failure.take() {
            None => Ok(()),
            Some(error) => {
                // It stays failed for everybody else.
                state.failure = Some(Error::Poisoned);
                Err(error)
            }
        }
    }

    pub fn set_phase(&self, phase: Phase) -> Result<()> {
        let mut state = self.state();
        if let Some(error) = state.failure.take() {
            state.failure = Some(Error::Poisoned);
            return Err(error);
        }
        state.phase = phase;
        Ok(())
    }
}
