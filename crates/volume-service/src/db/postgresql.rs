//! PostgreSQL: a thread that writes, two that it gives what stands in the way of others, and threads that read.
//!
//! The writer takes what is queued, runs the closures one behind the other in one transaction and commits once; only then does it
//! answer. While one group waits for stable storage the next one gathers, so that flush, locks and usage rows are shared. What
//! closures post (`Transaction::post`) goes out together too: a group whose closures only post is one exchange and its commit.
//! There is one writer, for two groups that touch the same rows in another order would wait for each other.
//!
//! A closure that fails before it wrote takes nothing from the others. When one fails after that, or after it took something for
//! granted (`Transaction::assume`), nothing of the group is kept and all run again, each in a savepoint of its own; when one meets a
//! lock of another process, they run again each in a transaction of its own, on the threads beside.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::database::Engine;
use super::failure::{self, Trouble};
use super::job::{Access, Job, QUEUE_MAX, Queue};
use super::migrate;
use super::session::{Session, told};
use super::signals::{self, Signals, Wake};
use super::sqlite::start;
use super::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result, Subject};

/// Closures that are committed together at most: each may be a subtransaction, and PostgreSQL keeps 64 of those at hand.
const GROUP_MAX: usize = 60;
/// Threads, and so connections, for closures that run alone.
const BESIDE: usize = 2;
/// Threads, and so connections, that read.
const READERS: usize = 4;
/// How often a closure is run alone before its contention is the caller's.
const RUNS_MAX: u32 = 6;
/// Pause before the second run; grows with each.
const PAUSE: Duration = Duration::from_millis(5);
/// How long to wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The writer waits for another process's lock, or a slow statement, for a short time only, since a whole group waits with it.
const WRITER_LIMITS: &str = "SET lock_timeout = '250ms'; SET statement_timeout = '5s'";
const BEGIN: &str = "BEGIN";
/// How a snapshot begins.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Connects, migrates, and starts the threads.
pub(super) fn open(url: &str) -> Result<Engine> {
    let config = judge(url)?;
    let mut session = Session::connect(&config)?;
    migrate::postgresql(&mut session)?;
    session.batch(WRITER_LIMITS).map_err(told)?;

    let signals = Arc::new(Signals::new());
    let (writes, write_jobs) = Queue::new();
    let (reads, read_jobs) = Queue::new();
    let (beside, beside_jobs) = sync_channel(QUEUE_MAX);
    let server = |session| Server {
        config: config.clone(),
        session,
        signals: Arc::clone(&signals),
    };
    let mut writer = server(Some(session));
    start("xensm-db-writer", move || {
        writer.serve_writes(&write_jobs, &beside);
    })?;
    for (count, name, jobs) in [
        (BESIDE, "xensm-db-beside", beside_jobs),
        (READERS, "xensm-db-reader", read_jobs),
    ] {
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..count {
            let (mut server, jobs) = (server(None), Arc::clone(&jobs));
            start(name, move || server.serve_each(&jobs))?;
        }
    }
    start("xensm-db-listen", signals::serve(config.clone(), &signals))?;
    Ok(Engine {
        writes,
        reads,
        signals,
    })
}

/// Parses the URL and refuses what would need TLS, which is not built.
pub(super) fn judge(url: &str) -> Result<Config> {
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        Error::invalid("The PostgreSQL URL is not understood: expected postgresql://user:password@host:port/database.")
            .caused_by(error)
    })?;
    let local = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
    });
    let tls_asked = !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer);
    if tls_asked || !local {
        return Err(Error::new(
            ErrorKind::NotSupported,
            Subject::Database,
            "PostgreSQL is reached over a unix socket or loopback only: TLS to it is not supported yet. Name a socket directory \
             (host=/run/postgresql) or a local tunnel, and leave sslmode out.",
        ));
    }
    config.connect_timeout(CONNECT_WAIT);
    if config.get_application_name().is_none() {
        config.application_name("xensm");
    }
    Ok(config)
}

/// A thread's connection, made again when it breaks.
struct Server {
    config: Config,
    session: Option<Session>,
    signals: Arc<Signals>,
}

/// How one run of a closure ended.
enum Ran {
    /// Committed, or rolled back because the closure said so.
    Done(Wake),
    /// Not committed; running it again may help.
    Again(Error),
    /// The connection is lost and nothing was committed.
    Lost(Error),
    /// The connection was lost while it committed.
    Unknown(Error),
}

/// How one run of a group ended.
enum Together {
    /// Committed.
    Done(Wake),
    /// A closure failed after it wrote, or by a statement: nothing is kept.
    Failed,
    /// A lock of somebody else stood in the way, a statement took too long, or the connection broke: nothing is kept.
    Hindered,
    /// It is not known whether it was committed, or it was not for a reason that lasts.
    Unknown(String),
}

/// What keeps the closures of a group apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fence {
    /// Nothing: none may fail after it wrote.
    None,
    /// A savepoint before each.
    Savepoints,
}

impl Server {
    fn serve_writes(&mut self, jobs: &Receiver<Box<dyn Job>>, beside: &SyncSender<Box<dyn Job>>) {
        while let Ok(first) = jobs.recv() {
            let group: Vec<Box<dyn Job>> = std::iter::once(first)
                .chain(jobs.try_iter().take(GROUP_MAX - 1))
                .collect();
            self.write(group, beside);
        }
    }

    fn serve_each(&mut self, jobs: &Mutex<Receiver<Box<dyn Job>>>) {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else { return };
            match job.access() {
                Access::Read(_) => self.read(job),
                Access::Write => self.write_alone(job),
            }
        }
    }

    fn write(&mut self, mut group: Vec<Box<dyn Job>>, beside: &SyncSender<Box<dyn Job>>) {
        for fence in [Fence::None, Fence::Savepoints] {
            let is_hindered = match self.write_together(&mut group, fence) {
                Together::Done(wake) => {
                    self.signals.raise(wake);
                    for job in group {
                        job.answer(Ok(()));
                    }
                    return;
                }
                Together::Unknown(detail) => {
                    for mut job in group {
                        job.doubt();
                        job.answer(Err(unknown(&detail)));
                    }
                    return;
                }
                Together::Failed => false,
                Together::Hindered => true,
            };
            // The next run may be far off, and nobody is to wait for what this one has taken.
            for job in &mut group {
                job.forget();
            }
            if is_hindered {
                break;
            }
        }
        for job in group {
            // Each of them holds a place of the queue, so that this one is never full; it is closed with the last handle only.
            if let Err(refused) = beside.try_send(job) {
                let (std::sync::mpsc::TrySendError::Full(job)
                | std::sync::mpsc::TrySendError::Disconnected(job)) = refused;
                self.write_alone(job);
            }
        }
    }

    fn write_together(&mut self, group: &mut [Box<dyn Job>], fence: Fence) -> Together {
        let Ok(session) = connected_writer(&self.config, &mut self.session) else {
            return Together::Hindered;
        };
        let ended = run_group(session, group, fence);
        let is_lost = matches!(ended, Together::Hindered | Together::Unknown(_));
        if is_lost || session.is_closed() {
            // What a transaction that could not be ended holds goes with its connection.
            if session.is_closed() || session.batch("ROLLBACK").is_err() {
                self.session = None;
            }
        }
        ended
    }

    fn write_alone(&mut self, mut job: Box<dyn Job>) {
        let outcome = self.run_alone(job.as_mut());
        if let Ok(wake) = outcome {
            self.signals.raise(wake);
        }
        job.answer(outcome.map(drop));
    }

    fn run_alone(&mut self, job: &mut dyn Job) -> Result<Wake> {
        let mut runs = 0;
        loop {
            let session = connected(&self.config, &mut self.session)?;
            runs += 1;
            let error = match run_once(session, job) {
                Ran::Done(wake) => return Ok(wake),
                Ran::Again(error) => error,
                Ran::Lost(error) => {
                    self.session = None;
                    error
                }
                Ran::Unknown(error) => {
                    self.session = None;
                    job.doubt();
                    return Err(error);
                }
            };
            job.forget();
            if runs == RUNS_MAX {
                return Err(error);
            }
            std::thread::sleep(PAUSE * runs);
        }
    }

    /// Runs a closure that reads. The caller has its answer before the snapshot is given back.
    fn read(&mut self, mut job: Box<dyn Job>) {
        let mut runs = 0;
        let outcome = loop {
            let session = match connected(&self.config, &mut self.session) {
                Ok(session) => session,
                Err(error) => break Err(error),
            };
            runs += 1;
            let begin = matches!(job.access(), Access::Read(super::job::Reads::Snapshot))
                .then_some(BEGIN_READ);
            let mut transaction = Transaction::on_postgresql(session, begin);
            job.run(&mut transaction);
            let (trouble, has_begun) = (
                transaction.trouble(),
                begin.is_some() && transaction.has_begun(),
            );
            let error = match trouble {
                Some(Trouble::Disconnected) => {
                    self.session = None;
                    busy("the connection broke")
                }
                trouble => {
                    if trouble != Some(Trouble::Contention) || runs == RUNS_MAX {
                        job.answer(Ok(()));
                        self.end_read(has_begun);
                        return;
                    }
                    self.end_read(has_begun);
                    busy("serialization failure or deadlock, too often")
                }
            };
            if runs == RUNS_MAX {
                break Err(error);
            }
            std::thread::sleep(PAUSE * runs);
        };
        job.answer(outcome);
    }

    fn end_read(&mut self, has_begun: bool) {
        if let Some(session) = &self.session
            && has_begun
            && let Err(error) = session.batch("ROLLBACK")
        {
            tracing::warn!(%error, "PostgreSQL did not answer a rollback");
            self.session = None;
        }
    }
}

/// The thread's connection, made when there is none.
fn connected<'a>(config: &Config, slot: &'a mut Option<Session>) -> Result<&'a mut Session> {
    if slot.as_ref().is_none_or(Session::is_closed) {
        *slot = Some(Session::connect(config)?);
    }
    slot.as_mut()
        .ok_or_else(|| busy("the connection is not there"))
}

/// As [`connected`], with the limits of the writer.
fn connected_writer<'a>(config: &Config, slot: &'a mut Option<Session>) -> Result<&'a mut Session> {
    let is_new = slot.as_ref().is_none_or(Session::is_closed);
    let session = connected(config, slot)?;
    if is_new && let Err(error) = session.batch(WRITER_LIMITS) {
        *slot = None;
        return Err(told(error));
    }
    slot.as_mut()
        .ok_or_else(|| busy("the connection is not there"))
}

fn run_group(session: &mut Session, group: &mut [Box<dyn Job>], fence: Fence) -> Together {
    let is_alone = group.len() == 1;
    let leaves_posted = fence == Fence::None && !is_alone;
    // What begins the transaction goes out with its first statement.
    let (mut begin, mut posted) = (Some(BEGIN), Vec::new());
    if fence == Fence::Savepoints {
        begin = None;
        if session.batch(BEGIN).is_err() {
            return Together::Hindered;
        }
    }
    let mut wake = Wake::default();
    for (place, job) in group.iter_mut().enumerate() {
        if fence == Fence::Savepoints {
            let next = if place == 0 {
                "SAVEPOINT one"
            } else {
                "RELEASE one; SAVEPOINT one"
            };
            if session.batch(next).is_err() {
                return Together::Hindered;
            }
        }
        let mut transaction = Transaction::on_postgresql(session, begin.take());
        if fence == Fence::None {
            transaction = transaction.tentatively();
        }
        if leaves_posted {
            transaction = transaction.in_group(std::mem::take(&mut posted));
        }
        let keep = job.run(&mut transaction);
        let (trouble, assumed, asked) = (
            transaction.trouble(),
            transaction.assumes(),
            transaction.wake(),
        );
        let is_torn = transaction.has_failed()
            || (!keep && (transaction.has_written() || transaction.assumes()));
        (begin, posted) = transaction.into_unsent(keep);
        if trouble.is_some() {
            return Together::Hindered;
        }
        if keep {
            wake = wake.and(asked);
        } else if is_torn {
            match fence {
                // Its own result stands: there was nobody else whose changes are lost with its. When it took something for granted,
                // though, it looks that up now.
                Fence::None if is_alone && !assumed => {
                    return rolled_back(session, Together::Done(wake));
                }
                Fence::None => return rolled_back(session, Together::Failed),
                Fence::Savepoints => {
                    if session.batch("ROLLBACK TO one").is_err() {
                        return Together::Hindered;
                    }
                }
            }
        }
    }
    if !posted.is_empty() {
        let mut transaction = Transaction::on_postgresql(session, begin.take()).in_group(posted);
        if transaction.flush().is_err() {
            return match transaction.trouble() {
                Some(_) => Together::Hindered,
                None => rolled_back(session, Together::Failed),
            };
        }
    }
    // Nothing was sent: there is nothing to commit.
    if begin.is_some() {
        return Together::Done(wake);
    }
    match session.batch("COMMIT") {
        Ok(()) => Together::Done(wake),
        Err(error) => match failure::of_postgresql(error) {
            (_, Some(Trouble::Contention | Trouble::Late)) => Together::Hindered,
            (error, _) => Together::Unknown(error.to_string()),
        },
    }
}

fn rolled_back(session: &Session, ended: Together) -> Together {
    match session.batch("ROLLBACK") {
        Ok(()) => ended,
        Err(_) => Together::Hindered,
    }
}

fn run_once(session: &mut Session, job: &mut dyn Job) -> Ran {
    if let Err(error) = session.batch("BEGIN") {
        return Ran::Lost(told(error));
    }
    let mut transaction = Transaction::on_postgresql(session, None);
    let keep = job.run(&mut transaction);
    let wake = transaction.wake();
    match transaction.trouble() {
        Some(Trouble::Disconnected) => return Ran::Lost(busy("the connection broke")),
        Some(Trouble::Contention) => {
            return match session.batch("ROLLBACK") {
                Ok(()) => Ran::Again(busy("serialization failure or deadlock, too often")),
                Err(error) => Ran::Lost(told(error)),
            };
        }
        Some(Trouble::Late) | None => {}
    }
    if !keep {
        return match session.batch("ROLLBACK") {
            Ok(()) => Ran::Done(Wake::default()),
            // The closure's own result stands: nothing was to be kept.
            Err(error) => {
                tracing::warn!(%error, "PostgreSQL did not answer a rollback");
                Ran::Done(Wake::default())
            }
        };
    }
    match session.batch("COMMIT") {
        Ok(()) => Ran::Done(wake),
        Err(error) => match failure::of_postgresql(error) {
            (_, Some(Trouble::Contention)) => {
                Ran::Again(busy("serialization failure at commit, too often"))
            }
            // Lost in the middle of it, or refused by the server, which rolled back.
            (error, _) => Ran::Unknown(unknown(&error.to_string())),
        },
    }
}

fn busy(detail: &str) -> Error {
    Error::new(
        ErrorKind::Busy,
        Subject::Database,
        "The database is busy, please try again later.",
    )
    .detail(detail)
}

fn unknown(detail: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Subject::Database,
        "The service cannot reach its database.",
    )
    .detail(format!(
        "PostgreSQL did not answer COMMIT, the change may or may not be stored: {detail}"
    ))
}
