//! The connections of one SR to its server: who may call when, how long he waits, and what happens when a connection breaks.
//!
//! - A call is sent again only when its connection broke, over another one and with the same number, by which the server can
//!   know it again. A server that holds a connection and does not answer is waited for: a second sending of the same write could
//!   be carried out after a later write of the same bytes.
//! - Nobody waits longer than the deadline of his call.
//! - A call that changes something is not sent before the gate has been asked, however long it waited for a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{self, Connection, Trouble};
use super::error::{NfsError, Result};
use super::rpc::{self, Call, Credentials, Program};
use super::status::Status;
use super::xdr::{Malformed, Reader, Writer};

/// Most connections of one SR. Each serves one thread at a time, and an NBD connection has that many threads.
pub const MAX_CONNECTIONS: usize = 16;

/// Most calls that one exchange sends at once.
pub const MAX_BATCH: usize = 8;

/// First pause after a failed attempt to connect; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asked before calls are sent that change something, and before any are sent again: whether that may still be done. What was
/// asked for may be another's to do by now.
#[derive(Clone)]
pub struct Gate(pub Arc<dyn Fn() -> io::Result<()> + Send + Sync>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

/// How long is waited for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Time after which a peer that acknowledges nothing is given up.
    pub timeout: Duration,
    /// How often that time passes before a call fails.
    pub retries: u32,
}

impl Patience {
    /// Time after which a call fails.
    pub fn whole(self) -> Duration {
        self.timeout * (self.retries + 1)
    }
}

/// The way to one port of a server.
#[derive(Debug)]
pub struct Transport {
    /// Where the server is; tried in turn.
    addresses: Vec<SocketAddr>,
    reserved_port: bool,
    patience: Patience,
    credentials: Credentials,
    next_xid: AtomicU32,
    pool: Mutex<Pool>,
    changed: Condvar,
    is_closed: AtomicBool,
    waiting: Mutex<Waiting>,
    gate: OnceLock<Gate>,
    /// When every call has failed, whatever its own deadline.
    latest: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    /// Connections that are idle, in use, or being made.
    open: usize,
    /// Goes up when the server is known to have lost all connections.
    generation: u64,
}

/// Since when calls wait for a server that does not answer.
#[derive(Debug, Default)]
struct Waiting {
    last_answer: Option<Instant>,
    calls: usize,
    since: Option<Instant>,
}

/// What is done with an answer: its number in the batch, its results, and whether the call was sent more than once.
pub type OnAnswer<'a> = &'a mut dyn FnMut(usize, Reader<'_>, bool) -> Result<(), NfsError>;

/// Why an exchange on one connection ended without all answers.
enum Ended {
    Trouble(Trouble),
    Failed(NfsError),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Ended::Trouble(trouble)
    }
}

impl Transport {
    /// The way to these addresses; nothing is connected yet.
    ///
    /// # Panics
    /// When there is no address.
    pub fn new(
        addresses: Vec<SocketAddr>,
        reserved_port: bool,
        patience: Patience,
        credentials: Credentials,
    ) -> Self {
        assert!(!addresses.is_empty(), "a server has an address");
        // Numbers of a process that was killed a moment ago must not be taken for repetitions.
        let [first, ..] = *uuid::Uuid::new_v4().as_bytes().as_chunks().0 else {
            unreachable!("a uuid has 16 bytes");
        };
        Transport {
            addresses,
            reserved_port,
            patience,
            credentials,
            next_xid: AtomicU32::new(u32::from_be_bytes(first)),
            pool: Mutex::default(),
            changed: Condvar::new(),
            is_closed: AtomicBool::new(false),
            waiting: Mutex::default(),
            gate: OnceLock::new(),
            latest: Mutex::default(),
        }
    }

    /// Sets what is asked before calls are sent; the first one stays.
    pub fn set_gate(&self, gate: Gate) {
        let _ = self.gate.set(gate);
    }

    /// The first address, for messages.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// When a call that begins now has failed.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.patience.whole()
    }

    /// Has no call wait longer than until then, also of those under way; none lets each wait as long as it may.
    pub fn hurry(&self, until: Option<Instant>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = until;
        self.changed.notify_all();
    }

    /// Ends waits at their next tick; later calls fail.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.pool().idle.clear();
        self.changed.notify_all();
    }

    /// How long the oldest call has waited since the server last said anything, if any waits.
    pub fn silence(&self) -> Option<Duration> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let since = waiting.since?;
        let quiet = waiting.last_answer.map_or(since, |last| last.max(since));
        Some(quiet.elapsed())
    }

    /// A call with a number of its own.
    pub fn call<'a>(
        &self,
        procedure: (&'static str, u32),
        program: Program,
        arguments: &Writer,
        data: &'a [u8],
    ) -> Call<'a> {
        let xid = self.next_xid.fetch_add(1, Ordering::Relaxed);
        Call::new(procedure, xid, program, &self.credentials, arguments, data)
    }

    /// Sends calls and hands over each answer once, in any order.
    ///
    /// Answers that are failures of a call do not keep the others from being taken: the first failure is returned at the end.
    ///
    /// # Errors
    /// Those of `on_answer`; `Connect`, `Broken`, `NoAnswer`, `Crowded` at the deadline; `Refused`.
    ///
    /// # Panics
    /// When there are more than [`MAX_BATCH`] calls.
    pub fn exchange(
        &self,
        calls: &[Call<'_>],
        deadline: Instant,
        on_answer: OnAnswer<'_>,
    ) -> Result<()> {
        assert!(calls.len() <= MAX_BATCH, "callers keep batches small");
        let begun = Instant::now();
        if self.left(deadline).is_zero() {
            return Err(self.no_answer(calls, begun));
        }
        let _waits = Waits::begin(&self.waiting);
        let mut answered = [false; MAX_BATCH];
        let mut repeated = false;
        let mut failure = None;
        loop {
            let (mut connection, generation) = self.take(calls, deadline)?;
            let ended = self.exchange_on(
                &mut connection,
                calls,
                deadline,
                repeated,
                &mut answered,
                &mut |index, reader| match on_answer(index, reader, repeated) {
                    Err(error @ NfsError::Status { .. }) => {
                        failure.get_or_insert(error);
                        Ok(())
                    }
                    other => other,
                },
            );
            match ended {
                Ok(()) => {
                    self.give_back(connection, generation);
                    return failure.map_or(Ok(()), Err);
                }
                Err(Ended::Failed(error)) => {
                    self.lose(connection, generation, false);
                    return Err(error);
                }
                Err(Ended::Trouble(Trouble::Deadline)) => {
                    self.lose(connection, generation, false);
                    return Err(self.no_answer(calls, begun));
                }
                Err(Ended::Trouble(Trouble::Refused(source))) => {
                    self.lose(connection, generation, false);
                    return Err(NfsError::NotSent {
                        address: self.address(),
                        procedure: calls[0].procedure,
                        source,
                    });
                }
                Err(Ended::Trouble(Trouble::Broken(source))) => {
                    self.lose(connection, generation, true);
                    repeated = true;
                    let source = match self.may_send() {
                        Ok(()) if !self.is_over(deadline) => continue,
                        Ok(()) => source,
                        Err(refused) => refused,
                    };
                    return Err(NfsError::Broken {
                        address: self.address(),
                        procedure: calls[0].procedure,
                        source,
                    });
                }
            }
        }
    }

    fn no_answer(&self, calls: &[Call<'_>], begun: Instant) -> NfsError {
        NfsError::NoAnswer {
            address: self.address(),
            procedure: calls[0].procedure,
            seconds: begun.elapsed().as_secs(),
        }
    }

    fn exchange_on(
        &self,
        connection: &mut Connection,
        calls: &[Call<'_>],
        deadline: Instant,
        repeated: bool,
        answered: &mut [bool; MAX_BATCH],
        on_answer: &mut dyn FnMut(usize, Reader<'_>) -> Result<()>,
    ) -> Result<(), Ended> {
        let give_up = || self.is_over(deadline);
        let open: Vec<&Call<'_>> = calls
            .iter()
            .zip(answered.iter())
            .filter(|(_, answered)| !**answered)
            .map(|(call, _)| call)
            .collect();
        if repeated {
            tracing::debug!(
                server.address = %self.address(),
                nfs.procedure = calls[0].procedure,
                "sends calls again over a new connection"
            );
        }
        let may_send = || match calls.iter().all(|call| is_harmless(call.procedure)) {
            true => Ok(()),
            false => self.may_send(),
        };
        connection.send(&open, &may_send, &give_up)?;
        for _ in 0..open.len() {
            let record = connection.receive(&give_up)?;
            self.note_answer();
            let mut reader = Reader::new(record);
            let malformed = |source| {
                Ended::Failed(NfsError::Malformed {
                    procedure: calls[0].procedure,
                    source,
                })
            };
            let xid = reader.u32().map_err(malformed)?;
            let index = calls.iter().position(|call| call.xid == xid);
            let index = index
                .filter(|index| !answered[*index])
                .ok_or_else(|| malformed(Malformed("it answers no call")))?;
            if reader.u32().map_err(malformed)? != rpc::REPLY {
                return Err(malformed(Malformed("it is no answer")));
            }
            rpc::read_reply_head(&mut reader)
                .map_err(malformed)?
                .map_err(|reason| {
                    Ended::Failed(NfsError::Refused {
                        procedure: calls[index].procedure,
                        reason,
                    })
                })?;
            answered[index] = true;
            on_answer(index, reader).map_err(Ended::Failed)?;
        }
        Ok(())
    }

    /// Waits before a call is made again that the server asked to make later.
    pub fn pause(&self, pause: &mut Pause, deadline: Instant) -> bool {
        let pool = self.pool();
        let wait = pause.next().min(self.left(deadline));
        drop(
            self.changed
                .wait_timeout_while(pool, wait, |_| !self.is_closed.load(Ordering::Acquire)),
        );
        !self.is_over(deadline)
    }

    fn may_send(&self) -> io::Result<()> {
        self.gate.get().map_or(Ok(()), |gate| (gate.0)())
    }

    fn is_over(&self, deadline: Instant) -> bool {
        self.is_closed.load(Ordering::Acquire) || self.left(deadline).is_zero()
    }

    /// How long a call with this deadline may still wait.
    fn left(&self, deadline: Instant) -> Duration {
        let latest = *self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let until = latest.map_or(deadline, |latest| latest.min(deadline));
        until.saturating_duration_since(Instant::now())
    }

    fn note_answer(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.last_answer = Some(Instant::now());
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for oneself.
    fn take(&self, calls: &[Call<'_>], deadline: Instant) -> Result<(Connection, u64)> {
        let mut pause = Pause::default();
        loop {
            let mut pool = self.pool();
            while pool.idle.is_empty() && pool.open >= MAX_CONNECTIONS {
                if self.is_over(deadline) {
                    return Err(NfsError::Crowded {
                        procedure: calls[0].procedure,
                        limit: MAX_CONNECTIONS,
                    });
                }
                pool = self
                    .changed
                    .wait_timeout(pool, self.left(deadline))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            let generation = pool.generation;
            if let Some(connection) = pool.idle.pop() {
                return Ok((connection, generation));
            }
            pool.open += 1;
            drop(pool);
            match self.connect(deadline) {
                Ok(connection) => return Ok((connection, generation)),
                Err((address, source)) => {
                    self.pool().open -= 1;
                    self.changed.notify_one();
                    if !self.pause(&mut pause, deadline) {
                        return Err(NfsError::Connect { address, source });
                    }
                }
            }
        }
    }

    fn connect(&self, deadline: Instant) -> Result<Connection, (SocketAddr, io::Error)> {
        let mut failure = None;
        for address in &self.addresses {
            let left = self.left(deadline);
            let patience = self.patience.timeout.min(left).max(FIRST_PAUSE);
            match connection::connect(*address, self.reserved_port, patience) {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = Some((*address, error)),
            }
        }
        Err(failure.expect("a server has an address"))
    }

    fn give_back(&self, connection: Connection, generation: u64) {
        let mut pool = self.pool();
        if generation == pool.generation && !self.is_closed.load(Ordering::Acquire) {
            pool.idle.push(connection);
        } else {
            pool.open -= 1;
        }
        drop(pool);
        self.changed.notify_one();
    }

    /// Drops a connection, and, when it broke, the others that lie idle: a server that ended one has ended all.
    fn lose(&self, connection: Connection, generation: u64, broke: bool) {
        let mut pool = self.pool();
        pool.open -= 1;
        if broke && pool.generation == generation {
            pool.generation += 1;
            pool.open -= pool.idle.len();
            pool.idle.clear();
        }
        drop(pool);
        drop(connection);
        self.changed.notify_all();
    }
}

/// Pauses that double.
#[derive(Debug, Default)]
pub struct Pause {
    last: Option<Duration>,
}

impl Pause {
    fn next(&mut self) -> Duration {
        let next = self
            .last
            .map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
        self.last = Some(next);
        next
    }
}

/// Counts a call as waiting until it is dropped.
struct Waits<'a> {
    waiting: &'a Mutex<Waiting>,
}

impl<'a> Waits<'a> {
    fn begin(waiting: &'a Mutex<Waiting>) -> Self {
        let mut state = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls += 1;
        state.since.get_or_insert_with(Instant::now);
        Waits { waiting }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls -= 1;
        if state.calls == 0 {
            state.since = None;
        }
    }
}

/// True for calls that change nothing that others see.
fn is_harmless(procedure: &str) -> bool {
    matches!(
        procedure,
        "NULL"
            | "GETPORT"
            | "MNT"
            | "EXPORT"
            | "GETATTR"
            | "LOOKUP"
            | "READ"
            | "READDIR"
            | "FSSTAT"
            | "FSINFO"
            | "EXCHANGE_ID"
            | "CREATE_SESSION"
            | "RECLAIM_COMPLETE"
            | "DESTROY_SESSION"
            | "DESTROY_CLIENTID"
    )
}

/// The failure of a call, if its answer is one.
pub fn check(procedure: &'static str, status: u32, repeated: bool) -> Result<()> {
    match Status(status) {
        Status::OK => Ok(()),
        status => Err(NfsError::Status {
            procedure,
            status,
            repeated,
        }),
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
