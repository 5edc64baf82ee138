//! A session with a target: commands of any number of threads over one connection, which is made again when it ends.
//!
//! Whoever waits for an answer drives the connection: the first caller takes the core and sends, waits and reads for all until
//! its own answer is there; then the next one that waits takes over. A single caller so has no thread between itself and the socket. A
//! thread of the session looks after it while nobody calls: answers pings, connects again.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

use super::cdb::Cdb;
use super::error::Error;
use super::portal::Portal;
use super::session_core::{Command, Core};
use crate::io::libiscsi::{Credentials, Library, Transfer, lend};

/// How often a session that nobody uses is looked after.
const IDLE_PERIOD: Duration = Duration::from_millis(500);

/// Longest wait for the target's word when a session is ended.
const LOGOUT_PATIENCE: Duration = Duration::from_millis(500);

/// Longest wait of whoever drives the connection before it looks around.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What a session is made with.
#[derive(Clone)]
pub struct Login {
    /// Where.
    pub portal: Portal,
    /// The target's name.
    pub target: String,
    /// Our name.
    pub initiator: String,
    /// Who we are, if the target wants to know.
    pub credentials: Option<Credentials>,
    /// Who the target must prove to be.
    pub target_credentials: Option<Credentials>,
    /// Tells this session from our others with the same target.
    pub isid: (u32, u16),
    /// Asks for checksums.
    pub digests: bool,
    /// After how much silence the connection counts as lost.
    pub patience: Duration,
    /// After how long a command fails that could not be carried out, over this connection or the next.
    pub deadline: Duration,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("portal", &self.portal)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// A session.
pub struct Session {
    login: Login,
    core: Mutex<Core>,
    /// Commands that the core has not seen.
    queue: Mutex<VecDeque<Command>>,
    /// Who waits and does not drive, in the order in which they take over.
    followers: Mutex<VecDeque<Arc<Slot>>>,
    /// Ends the wait of whoever drives.
    waker: OwnedFd,
    /// True while somebody waits for the connection and must be woken for a new command.
    is_waiting: AtomicBool,
    resets: AtomicU64,
    lun_changes: AtomicU64,
    is_up: AtomicBool,
    idle: Arc<Idle>,
}

#[derive(Default)]
struct Idle {
    has_ended: Mutex<bool>,
    changed: Condvar,
}

/// Where the answer to a command arrives.
#[derive(Default)]
pub struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Default)]
struct SlotState {
    result: Option<io::Result<usize>>,
    must_lead: bool,
}

impl Slot {
    pub(super) fn finish(&self, result: io::Result<usize>) {
        lock(&self.state).result = Some(result);
        self.changed.notify_one();
    }

    fn take(&self) -> Option<io::Result<usize>> {
        lock(&self.state).result.take()
    }

    fn is_finished(&self) -> bool {
        lock(&self.state).result.is_some()
    }

    fn lead(&self) {
        lock(&self.state).must_lead = true;
        self.changed.notify_one();
    }

    /// Waits for the answer, or for the turn to drive; true when it was this one's turn.
    fn follow(&self) -> bool {
        let mut state = lock(&self.state);
        while state.result.is_none() && !state.must_lead {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut state.must_lead)
    }
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// At the first attempt that fails: a target that is not there now is no reason to wait.
    pub fn login(login: Login) -> Result<Arc<Self>, Error> {
        let library = Library::load()?;
        let waker = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| system("make a waker", error.into()))?;
        let mut core = Core::new(library, login.clone());
        while !core.is_up() {
            core.advance();
            core.wait(waker.as_fd(), LONGEST_WAIT);
            if let Some(failure) = core.failure.take() {
                return Err(failure);
            }
        }
        let idle = Arc::new(Idle::default());
        let session = Arc::new(Session {
            login,
            core: Mutex::new(core),
            queue: Mutex::default(),
            followers: Mutex::default(),
            waker,
            is_waiting: AtomicBool::new(false),
            resets: AtomicU64::new(0),
            lun_changes: AtomicU64::new(0),
            is_up: AtomicBool::new(true),
            idle: idle.clone(),
        });
        let weak = Arc::downgrade(&session);
        std::thread::Builder::new()
            .name("iscsi".to_owned())
            .spawn(move || look_after(&weak, &idle))
            .map_err(|error| system("start a thread", error))?;
        Ok(session)
    }

    /// Where and to what the session leads.
    pub fn logged_in(&self) -> &Login {
        &self.login
    }

    /// How often what was not flushed may have been lost.
    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Acquire)
    }

    /// How often the target told that LUNs came, went or grew.
    pub fn lun_changes(&self) -> u64 {
        self.lun_changes.load(Ordering::Acquire)
    }

    /// True while the session stands.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Why it does not stand, as far as is known.
    pub fn failure(&self) -> Option<String> {
        let core = self.core.try_lock().ok()?;
        core.failure.as_ref().map(Error::chain_text)
    }

    /// Has a LUN carry out a command; answers how many bytes of `transfer` did not move.
    ///
    /// # Errors
    /// `TimedOut` when the target could not be reached in time; `Interrupted` when blocks were to be read or written, and the
    /// target told instead that LUNs have changed; what the device says otherwise.
    pub fn execute(&self, lun: u16, cdb: Cdb, transfer: Transfer<'_>) -> io::Result<usize> {
        lend(transfer, |memory| {
            let slot = Arc::new(Slot::default());
            lock(&self.queue).push_back(Command {
                lun,
                cdb,
                memory: Some(memory),
                slot: slot.clone(),
                deadline: Instant::now() + self.login.deadline,
                tries: 0,
            });
            self.drive_or_follow(&slot)
        })
    }

    fn drive_or_follow(&self, slot: &Arc<Slot>) -> io::Result<usize> {
        let mut is_listed = false;
        // What is passed on: the core after it was driven, or a turn to drive it that is not taken.
        let mut has_turn = false;
        let result = loop {
            if let Some(result) = slot.take() {
                break result;
            }
            if let Some(mut core) = self.try_core() {
                has_turn = true;
                while !slot.is_finished() {
                    self.turn(&mut core, LONGEST_WAIT);
                }
                continue;
            }
            if !is_listed {
                // Listed before the core is tried once more: whoever leaves it looks at the list after.
                lock(&self.followers).push_back(slot.clone());
                is_listed = true;
                continue;
            }
            self.wake();
            has_turn |= slot.follow();
        };
        if is_listed {
            lock(&self.followers).retain(|follower| !Arc::ptr_eq(follower, slot));
        }
        if has_turn {
            self.pass_on();
        }
        result
    }

    /// Gives the core to somebody who waits.
    fn pass_on(&self) {
        let mut followers = lock(&self.followers);
        while let Some(next) = followers.front() {
            if next.is_finished() {
                followers.pop_front();
            } else {
                next.lead();
                // It stays listed: it may find the core taken, and wait again.
                return;
            }
        }
    }

    fn try_core(&self) -> Option<MutexGuard<'_, Core>> {
        match self.core.try_lock() {
            Ok(core) => Some(core),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes what is new, sends, and waits for something to happen.
    fn turn(&self, core: &mut Core, patience: Duration) {
        core.accept(lock(&self.queue).drain(..));
        core.advance();
        self.is_waiting.store(true, Ordering::SeqCst);
        let is_new = !lock(&self.queue).is_empty();
        let patience = if is_new { Duration::ZERO } else { patience };
        let is_woken = core.wait(self.waker.as_fd(), patience);
        self.is_waiting.store(false, Ordering::SeqCst);
        if is_woken {
            let _ = rustix::io::read(&self.waker, &mut [0; 8]);
        }
        self.resets.store(core.counts.resets, Ordering::Release);
        self.lun_changes
            .store(core.counts.lun_changes, Ordering::Release);
        self.is_up.store(core.is_up(), Ordering::Release);
    }

    fn wake(&self) {
        if self.is_waiting.swap(false, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        *lock(&self.idle.has_ended) = true;
        self.idle.changed.notify_all();
        let core = self.core.get_mut().unwrap_or_else(PoisonError::into_inner);
        core.log_out(self.waker.as_fd(), LOGOUT_PATIENCE);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.login.fmt(f)
    }
}

/// Drives the session now and then while nobody else does.
fn look_after(session: &Weak<Session>, idle: &Idle) {
    loop {
        let has_ended = lock(&idle.has_ended);
        if *has_ended {
            return;
        }
        let waited = idle.changed.wait_timeout(has_ended, IDLE_PERIOD);
        drop(waited.unwrap_or_else(PoisonError::into_inner).0);
        let Some(session) = session.upgrade() else {
            return;
        };
        if let Some(mut core) = session.try_core() {
            let patience = if core.is_up() {
                Duration::ZERO
            } else {
                IDLE_PERIOD
            };
            session.turn(&mut core, patience);
        }
        session.pass_on();
    }
}

fn system(action: &'static str, source: io::Error) -> Error {
    Error::System { action, source }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
