//! An SR that is owned: its record is renewed by a thread, and who writes asks first.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::process::ProcessId;
use super::protocol::{
    Clock, OwnerError, OwnerStore, Renewal, Taken, Taker, Timing, read, renewal, take, take_again,
    write,
};
use super::record::{OwnerRecord, RecordState};

/// Longest wait of a write for an owner that could not renew in time and may yet go on.
pub const CHECK_WAIT: Duration = Duration::from_secs(30);

/// Time between two tries to renew a record that could not be read or written.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The owners of this process that live, or of whom a write may yet land: a record of this process with another owner is of one
/// that is gone.
static LIVING: Mutex<BTreeSet<Uuid>> = Mutex::new(BTreeSet::new());

/// Why something was not written. It is the inner error of what [`Ownership::check`] answers.
#[derive(Debug, thiserror::Error)]
pub enum NotOwner {
    /// Another storage manager owns the SR now.
    #[error(
        "the SR was taken over by {holder}; what this storage manager knows of it is out of date: unplug its PBD here, and plug it again if the other has let go"
    )]
    TakenOver {
        /// What the record says of the other.
        holder: String,
    },
    /// The record could not be renewed in time, so another may take the SR.
    #[error(
        "the owner record of the SR could not be renewed for {} s, since its medium does not answer; writes go on when it does",
        since.as_secs()
    )]
    NotRenewed {
        /// How long ago the last renewal began.
        since: Duration,
    },
    /// The SR was detached.
    #[error("the SR was detached")]
    Detached,
}

/// The right to write to an SR, as long as its record is renewed.
///
/// What is dropped without [`Ownership::release`] leaves a record that expires.
#[derive(Debug)]
pub struct Ownership {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn OwnerStore>,
    clock: Arc<dyn Clock>,
    timing: Timing,
    taker: Taker,
    /// Until when the SR is owned, in nanoseconds of the clock. Changed with `state` locked.
    valid_until: AtomicU64,
    /// A write of the record may yet land that was given up.
    has_failed: AtomicBool,
    /// A write of the record may have landed when another had taken it over, and have replaced his.
    has_written_late: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    record: OwnerRecord,
    since: Duration,
    standing: Standing,
    stopping: bool,
    /// When no write waits any more for an owner that could not renew.
    latest: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The record is ours as far as is known.
    Ours,
    /// It is this one's.
    TakenOver(String),
    Released,
}

/// The boot clock of this machine, which also counts while it sleeps.
#[derive(Debug)]
struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // It begins with zero and fits for five hundred years.
        Duration::try_from(time).unwrap_or_default()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl Ownership {
    /// Takes the SR whose record is in `store`, and renews the record from then on. How long this may wait: the module's table.
    /// `holder` says who takes it, for the messages of others.
    ///
    /// # Errors
    /// [`OwnerError::Held`] while another storage manager owns it.
    pub fn take(store: Arc<dyn OwnerStore>, holder: &str) -> Result<Arc<Self>, OwnerError> {
        Self::take_with(store, holder, Timing::default())
    }

    /// The same with other waits, which must be the same on each machine that shares the medium.
    pub fn take_with(
        store: Arc<dyn OwnerStore>,
        holder: &str,
        timing: Timing,
    ) -> Result<Arc<Self>, OwnerError> {
        let owner = Self::taken(store, holder, timing, Arc::new(BootClock))?;
        let shared = owner.shared.clone();
        let place = owner.shared.store.place();
        let thread = std::thread::Builder::new()
            .name("sr-owner".to_owned())
            .spawn(move || shared.run())
            .map_err(|source| OwnerError::Io {
                action: "start the thread that renews",
                place,
                source,
            })?;
        *owner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(owner)
    }

    /// The same without the thread.
    pub(super) fn taken(
        store: Arc<dyn OwnerStore>,
        holder: &str,
        timing: Timing,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OwnerError> {
        let taker = Taker {
            holder: holder.to_owned(),
            owner: Uuid::new_v4(),
            is_dead: is_dead_here,
        };
        living().insert(taker.owner);
        let taken = take(&*store, &*clock, &timing, &taker);
        let Taken { record, since } = taken.inspect_err(|error| {
            if !matches!(error, OwnerError::Io { .. }) {
                living().remove(&taker.owner);
            }
        })?;
        tracing::info!(
            record.place = store.place(),
            generation = record.generation,
            "own the SR"
        );
        let shared = Shared {
            store,
            clock,
            timing,
            taker,
            valid_until: AtomicU64::new(nanoseconds(since + timing.valid_for)),
            has_failed: AtomicBool::new(false),
            has_written_late: AtomicBool::new(false),
            state: Mutex::new(State {
                record,
                since,
                standing: Standing::Ours,
                stopping: false,
                latest: None,
            }),
            changed: Condvar::new(),
        };
        Ok(Arc::new(Ownership {
            shared: Arc::new(shared),
            thread: Mutex::default(),
        }))
    }

    /// Tells whether the SR may be written to now. It looks at a clock and no medium; while the record could not be renewed it waits,
    /// at most [`CHECK_WAIT`].
    ///
    /// # Errors
    /// With a [`NotOwner`] inside.
    pub fn check(&self) -> io::Result<()> {
        if self.is_valid() {
            return Ok(());
        }
        self.shared
            .wait_for_right(CHECK_WAIT)
            .map_err(io::Error::other)
    }

    /// Has no write wait longer than until then, also of those that wait already; none lets each wait as long as it may.
    pub fn hurry(&self, until: Option<Instant>) {
        self.shared.lock().latest = until;
        self.shared.changed.notify_all();
    }

    /// True while the SR may be written to.
    pub fn is_valid(&self) -> bool {
        self.shared.is_valid()
    }

    /// Why the SR may not be written to, for an operator; none while it may.
    pub fn complaint(&self) -> Option<String> {
        if self.is_valid() {
            return None;
        }
        let refused = self.shared.wait_for_right(Duration::ZERO).err()?;
        Some(refused.to_string())
    }

    /// Stops renewing and lets go of the record, so that others need not wait. A record that another has is left alone.
    ///
    /// # Errors
    /// When the record could not be written: it is let go of all the same, and expires.
    pub fn release(&self) -> Result<(), OwnerError> {
        self.stop();
        let mut state = self.shared.lock();
        if state.standing != Standing::Ours {
            return Ok(());
        }
        state.standing = Standing::Released;
        let record = state.record.clone();
        let was_valid = self.shared.is_valid();
        self.shared.valid_until.store(0, Ordering::Release);
        drop(state);
        // Once it is not valid any more, another may be taking it over.
        let released = if was_valid {
            self.shared.free(&record)
        } else {
            Ok(())
        };
        if released.is_err() {
            self.shared.has_failed.store(true, Ordering::Release);
        }
        self.shared.leave_living();
        released
    }

    /// Removes the place of the record, while it still is owned and its record is not renewed any more, and lets go of it. When
    /// that took no longer than `fast`, the record is written as free where it was: nobody can have another there so soon. Else it stays
    /// as it was, and whoever finds it waits until it has expired. When the place cannot be removed, this is
    /// [`Ownership::release`].
    ///
    /// # Errors
    /// As [`Ownership::release`].
    pub fn release_after(
        &self,
        fast: Duration,
        remove: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), OwnerError> {
        self.stop();
        let began = self.shared.clock.now();
        let removed = match self.is_valid() {
            true => remove(),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        };
        let took = self.shared.clock.now().saturating_sub(began);
        match removed {
            Ok(()) if took >= fast => {
                let mut state = self.shared.lock();
                if state.standing == Standing::Ours {
                    state.standing = Standing::Released;
                }
                self.shared.valid_until.store(0, Ordering::Release);
                drop(state);
                self.shared.leave_living();
                Ok(())
            }
            Ok(()) => self.release(),
            Err(error) => {
                tracing::warn!(record.place = self.shared.store.place(), %error, "the place of an owner record stays; the next attach uses it");
                self.release()
            }
        }
    }

    /// Until when it is valid as things are.
    #[cfg(test)]
    pub(super) fn valid_until(&self) -> Duration {
        Duration::from_nanos(self.shared.valid_until.load(Ordering::Acquire))
    }

    /// Renews the record once.
    #[cfg(test)]
    pub(super) fn renew(&self) -> Duration {
        self.shared.renew()
    }

    fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic of the thread was printed where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.stop();
        self.shared.leave_living();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_valid(&self) -> bool {
        nanoseconds(self.clock.now()) < self.valid_until.load(Ordering::Acquire)
    }

    /// The thread: renews until the SR is released or lost.
    fn run(&self) {
        let mut wait = self.timing.renew_every;
        loop {
            let state = self.lock();
            let waited = self
                .changed
                .wait_timeout_while(state, wait, |state| !state.stopping);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.stopping || state.standing != Standing::Ours {
                return;
            }
            drop(state);
            wait = self.renew();
        }
    }

    /// Makes the record one that this process does not wait for, unless a write of it may yet land.
    fn leave_living(&self) {
        if !self.has_failed.load(Ordering::Acquire) {
            living().remove(&self.taker.owner);
        }
    }

    /// Lets go of the record, if it is ours.
    fn free(&self, record: &OwnerRecord) -> Result<(), OwnerError> {
        let store = &*self.store;
        let found = read(store)?;
        if !matches!(renewal(record, found.as_ref()), Renewal::Write(_)) {
            return Ok(());
        }
        let free = OwnerRecord {
            state: RecordState::Free,
            ..record.clone()
        };
        write(store, &free.to_bytes())?;
        store.remove().map_err(|source| OwnerError::Io {
            action: "remove",
            place: store.place(),
            source,
        })
    }

    /// Renews the record, or takes it again when that comes too late; answers when to do so next.
    fn renew(&self) -> Duration {
        let own = self.lock().record.clone();
        let renewed = if self.is_valid() {
            self.renew_valid(&own)
        } else {
            let (store, clock) = (&*self.store, &*self.clock);
            let has_written_late = self.has_written_late.load(Ordering::Acquire);
            take_again(
                store,
                clock,
                &self.timing,
                &self.taker,
                &own,
                has_written_late,
            )
        };
        match renewed {
            Ok(Ok(taken)) => {
                self.note_taken(taken);
                self.timing.renew_every
            }
            Ok(Err(holder)) => {
                self.note_lost(holder);
                self.timing.renew_every
            }
            Err(error) => {
                self.has_failed.store(true, Ordering::Release);
                let could_be_taken = self.lock().since + self.timing.expiry;
                if error.has_written() && self.clock.now() >= could_be_taken {
                    self.has_written_late.store(true, Ordering::Release);
                }
                if !self.is_valid() {
                    tracing::warn!(%error, source = ?std::error::Error::source(&error), "an owner record is not renewed; writes to its SR wait");
                }
                RETRY_EVERY.min(self.timing.renew_every)
            }
        }
    }

    fn renew_valid(&self, own: &OwnerRecord) -> Result<Result<Taken, String>, OwnerError> {
        let since = self.clock.now();
        let found = read(&*self.store)?;
        let record = match renewal(own, found.as_ref()) {
            Renewal::Write(record) => record,
            Renewal::Lost(holder) => return Ok(Err(holder)),
        };
        let too_late = || OwnerError::Io {
            action: "renew in time",
            place: self.store.place(),
            source: io::ErrorKind::TimedOut.into(),
        };
        // The read may have taken long.
        if !self.is_valid() {
            return Err(too_late());
        }
        write(&*self.store, &record.to_bytes())?;
        if !self.is_valid() {
            return Err(too_late());
        }
        Ok(Ok(Taken { record, since }))
    }

    fn note_taken(&self, taken: Taken) {
        let mut state = self.lock();
        let until = nanoseconds(taken.since + self.timing.valid_for);
        state.record = taken.record;
        state.since = taken.since;
        self.valid_until.store(until, Ordering::Release);
        self.has_written_late.store(false, Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    fn note_lost(&self, holder: String) {
        tracing::error!(
            record.place = self.store.place(),
            holder,
            "another storage manager has taken over an SR that is attached here; nothing is written to it any more, detach it here"
        );
        let mut state = self.lock();
        self.valid_until.store(0, Ordering::Release);
        state.standing = Standing::TakenOver(holder);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the SR is owned again.
    fn wait_for_right(&self, limit: Duration) -> Result<(), NotOwner> {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            match &state.standing {
                Standing::TakenOver(holder) => {
                    let holder = holder.clone();
                    return Err(NotOwner::TakenOver { holder });
                }
                Standing::Released => return Err(NotOwner::Detached),
                Standing::Ours if self.is_valid() => return Ok(()),
                Standing::Ours => {}
            }
            let until = state.latest.map_or(until, |latest| latest.min(until));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stopping {
                let since = self.clock.now().saturating_sub(state.since);
                return Err(NotOwner::NotRenewed { since });
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

fn living() -> MutexGuard<'static, BTreeSet<Uuid>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record of a process of this machine that has ended, or of an owner that this process has dropped.
fn is_dead_here(record: &OwnerRecord) -> bool {
    let Some(process) = &record.process else {
        return false;
    };
    let is_ours = ProcessId::current().as_ref() == Some(process);
    process.is_dead() || is_ours && !living().contains(&record.owner)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
