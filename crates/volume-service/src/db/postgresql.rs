//! PostgreSQL: threads with one connection each, and one that listens.
//!
//! A closure runs again after a serialization failure or deadlock, and after a connection broke before COMMIT was sent. When it
//! broke at COMMIT the outcome is unknown and the caller is told so.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Config, NoTls};
use tokio::sync::watch;

use super::database::Engine;
use super::failure::{self, Trouble};
use super::job::{Access, Job, Queue};
use super::migrate;
use super::sqlite::start;
use super::transaction::{Session, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Threads, and so connections, of one process; a further one listens.
const CONNECTIONS: usize = 8;
/// How often a closure is run before its contention is the caller's.
const RUNS_MAX: u32 = 6;
/// Pause before the second run; grows with each.
const PAUSE: Duration = Duration::from_millis(5);
/// How long to wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long the listener waits for a notification before it looks whether it is still wanted.
const LISTEN_WAIT: Duration = Duration::from_secs(1);
/// Limits on the server's side: a statement and a wait for a lock end, so that a thread is never lost to them.
const SESSION: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
                       SET idle_in_transaction_session_timeout = '60s'; SET default_transaction_isolation = 'read committed'";
/// What the listener listens to.
const LISTEN: &str = "LISTEN xensm_operations";
/// What a transaction that adds an operation ends with.
const NOTIFY: &str = "NOTIFY xensm_operations";

/// Connects, migrates, and starts the threads.
pub(super) fn open(url: &str) -> Result<Engine> {
    let config = judge(url)?;
    let mut client = connect(&config)?;
    migrate::postgresql(&mut client)?;

    let changed = Arc::new(watch::Sender::new(0));
    let (writes, jobs) = Queue::new();
    let reads = writes.share();
    let jobs = Arc::new(Mutex::new(jobs));
    let mut first = Some(Session::new(client));
    for _ in 0..CONNECTIONS {
        let mut server = Server {
            config: config.clone(),
            session: first.take(),
            changed: Arc::clone(&changed),
        };
        let jobs = Arc::clone(&jobs);
        start("xensm-db", move || server.serve(&jobs))?;
    }
    let signal = Arc::downgrade(&changed);
    start("xensm-db-listen", move || listen(&config, &signal))?;
    Ok(Engine {
        writes,
        reads,
        changed,
    })
}

/// Parses the URL and refuses what would need TLS, which is not built.
fn judge(url: &str) -> Result<Config> {
    let mut config: Config = url.parse().map_err(|error: postgres::Error| {
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

fn connect(config: &Config) -> Result<Client> {
    let mut client = config.connect(NoTls).map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            Subject::Database,
            "The service cannot reach its database.",
        )
        .detail("connect to PostgreSQL")
        .caused_by(error)
    })?;
    client
        .batch_execute(SESSION)
        .map_err(|error| failure::of_postgresql(error).0)?;
    Ok(client)
}

/// A thread's connection, made again when it breaks.
struct Server {
    config: Config,
    session: Option<Session>,
    changed: Arc<watch::Sender<u64>>,
}

/// How one run of a closure ended.
enum Ran {
    /// Committed, or rolled back because the closure said so.
    Done,
    /// Not committed; running it again may help.
    Again(Error),
    /// The connection is lost and nothing was committed.
    Lost(Error),
    /// The connection was lost while it committed.
    Unknown(Error),
}

impl Server {
    fn serve(&mut self, jobs: &Mutex<Receiver<Box<dyn Job>>>) {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut job) = next else { return };
            let outcome = self.run(job.as_mut());
            job.answer(outcome);
        }
    }

    fn run(&mut self, job: &mut dyn Job) -> Result<()> {
        let mut runs = 0;
        loop {
            let session = match &mut self.session {
                Some(session) if !session.client.is_closed() => session,
                slot => slot.insert(Session::new(connect(&self.config)?)),
            };
            runs += 1;
            let error = match run_once(session, job, &self.changed) {
                Ran::Done => return Ok(()),
                Ran::Again(error) => error,
                Ran::Lost(error) => {
                    self.session = None;
                    error
                }
                Ran::Unknown(error) => {
                    self.session = None;
                    return Err(error);
                }
            };
            if runs == RUNS_MAX {
                return Err(error);
            }
            std::thread::sleep(PAUSE * runs);
        }
    }
}

fn run_once(session: &mut Session, job: &mut dyn Job, changed: &watch::Sender<u64>) -> Ran {
    let begin = match job.access() {
        Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        Access::Write => "BEGIN",
    };
    if let Err(error) = session.client.batch_execute(begin) {
        return Ran::Lost(failure::of_postgresql(error).0);
    }
    let mut transaction = Transaction::on_postgresql(session);
    let keep = job.run(&mut transaction);
    let wake = keep && transaction.wants_wake();
    match transaction.trouble() {
        Some(Trouble::Disconnected) => return Ran::Lost(busy("the connection broke")),
        Some(Trouble::Contention) => {
            return match session.client.batch_execute("ROLLBACK") {
                Ok(()) => Ran::Again(busy("serialization failure or deadlock, too often")),
                Err(error) => Ran::Lost(failure::of_postgresql(error).0),
            };
        }
        None => {}
    }
    if !keep || job.access() == Access::Read {
        return match session.client.batch_execute("ROLLBACK") {
            Ok(()) => Ran::Done,
            // The closure's own result stands: nothing was to be kept.
            Err(error) => {
                tracing::warn!(%error, "PostgreSQL did not answer a rollback");
                Ran::Done
            }
        };
    }
    if wake && let Err(error) = session.client.batch_execute(NOTIFY) {
        return Ran::Lost(failure::of_postgresql(error).0);
    }
    match session.client.batch_execute("COMMIT") {
        Ok(()) => {
            if wake {
                changed.send_modify(|version| *version += 1);
            }
            Ran::Done
        }
        Err(error) => {
            match failure::of_postgresql(error) {
                (_, Some(Trouble::Contention)) => {
                    Ran::Again(busy("serialization failure at commit, too often"))
                }
                (error, Some(Trouble::Disconnected)) => Ran::Unknown(error.detail(
                    "the connection broke during COMMIT: the change may or may not be stored",
                )),
                // Refused by the server: it rolled back.
                (error, None) => Ran::Unknown(error),
            }
        }
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

/// Waits for notifications of other processes until the last handle is gone; after a break it connects again and wakes the
/// workers, since a notification may have been missed.
fn listen(config: &Config, changed: &Weak<watch::Sender<u64>>) {
    loop {
        match connect(config).and_then(|mut client| {
            client
                .batch_execute(LISTEN)
                .map_err(|error| failure::of_postgresql(error).0)?;
            Ok(client)
        }) {
            Ok(mut client) => {
                while let Some(signal) = changed.upgrade() {
                    signal.send_modify(|version| *version += 1);
                    drop(signal);
                    if !wait_for_notification(&mut client, changed) {
                        break;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot listen for operations of other processes"),
        }
        if changed.strong_count() == 0 {
            return;
        }
        std::thread::sleep(LISTEN_WAIT);
    }
}

/// True once notified; false when the connection is lost or nobody wants to know any more.
fn wait_for_notification(client: &mut Client, changed: &Weak<watch::Sender<u64>>) -> bool {
    while changed.strong_count() > 0 {
        let next = client.notifications().timeout_iter(LISTEN_WAIT).next();
        match next {
            Ok(Some(_)) => return true,
            Ok(None) if client.is_closed() => return false,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "lost the connection that listens for operations");
                return false;
            }
        }
    }
    false
}
