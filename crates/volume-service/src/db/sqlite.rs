//! The embedded database: one writer thread with group commit, and reader threads.
//!
//! The writer takes what is queued, opens one transaction, runs each closure in a savepoint of its own and commits once; only
//! then does it answer. A closure that fails loses its savepoint and nothing else. While one group waits for stable
//! storage the next one gathers, so the flush is shared without any timer.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::database::Engine;
use super::job::{Access, Job, Queue, Reads};
use super::signals::{Signals, Wake};
use super::transaction::Transaction;
use super::{failure, migrate};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Closures that are committed together at most; bounds how long the first of them waits.
const GROUP_MAX: usize = 256;
/// Reader threads, each with a connection of its own.
const READERS: usize = 4;
/// How long to wait for another process that writes.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// How often an idle writer looks whether another process has written.
const POLL: Duration = Duration::from_millis(100);
/// Pages in the log before it is copied into the database file (32 MiB): with SQLite's own 1000 a busy service would copy, and
/// flush twice, every few dozen volumes.
const LOG_PAGES_MAX: i64 = 8192;
/// Prepared statements kept per connection.
const STATEMENTS_MAX: usize = 256;
/// How often entering WAL mode is tried: SQLite does not wait for other processes there.
const WAL_TRIES: u32 = 100;
/// Pause between those tries.
const WAL_PAUSE: Duration = Duration::from_millis(20);

/// Opens the file, making and migrating it as needed, and starts the threads.
pub(super) fn open(path: &Path) -> Result<Engine> {
    create_private(path)?;
    let mut connection = connect(path)?;
    enter_wal(&connection)?;
    migrate::sqlite(&mut connection)?;

    let signals = Arc::new(Signals::new());
    let (writes, write_jobs) = Queue::new();
    let (reads, read_jobs) = Queue::new();
    let raised = Arc::clone(&signals);
    start("xensm-db-writer", move || {
        serve_writes(&connection, &write_jobs, &raised);
    })?;
    let read_jobs = Arc::new(Mutex::new(read_jobs));
    for _ in 0..READERS {
        let connection = connect(path)?;
        connection
            .pragma_update(None, "query_only", true)
            .and_then(|()| connection.pragma_update(None, "cache_size", -1024))
            .map_err(failure::of_sqlite)?;
        let jobs = Arc::clone(&read_jobs);
        start("xensm-db-reader", move || serve_reads(&connection, &jobs))?;
    }
    Ok(Engine {
        writes,
        reads,
        signals,
    })
}

/// Makes the file with mode 0600 if the name is free: it holds password hashes and sealed secrets. A link is a name too: an operator's
/// may lead to a database, and nothing is made where one leads nowhere.
fn create_private(path: &Path) -> Result<()> {
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let refused = Error::new(
                ErrorKind::Unavailable,
                Subject::Database,
                "The service cannot open its database.",
            )
            .detail(format!("open or make the SQLite file {}", path.display()))
            .caused_by(error);
            Err(refused)
        }
        Err(_) | Ok(_) => Ok(()),
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // An answered request survives a power cut: every commit flushes the log.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Plans do not depend on bound values; without this SQLite parses many statements anew for each value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    };
    open().map_err(|error| {
        failure::of_sqlite(error).detail(format!("open the SQLite file {}", path.display()))
    })
}

fn enter_wal(connection: &Connection) -> Result<()> {
    let mut tries = 0;
    loop {
        let result = connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
            row.get::<_, String>(0)
        });
        match result {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(Error::new(
                    ErrorKind::NotSupported,
                    Subject::Database,
                    "The database cannot be used where it lies.",
                )
                .detail(format!(
                    "SQLite stays in journal mode {mode}, expected wal: the file must lie on a local file system"
                )));
            }
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && tries < WAL_TRIES =>
            {
                tries += 1;
                std::thread::sleep(WAL_PAUSE);
            }
            Err(error) => return Err(failure::of_sqlite(error)),
        }
    }
}

pub(super) fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                Subject::Database,
                "The service cannot start a database thread.",
            )
            .caused_by(error)
        })
}

fn serve_writes(connection: &Connection, jobs: &Receiver<Box<dyn Job>>, signals: &Signals) {
    let mut seen = data_version(connection);
    loop {
        match jobs.recv_timeout(POLL) {
            Ok(first) => {
                let group = std::iter::once(first)
                    .chain(jobs.try_iter().take(GROUP_MAX - 1))
                    .collect();
                signals.raise(run_group(connection, group));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Changes with the commits of other connections only, so our own do not wake anybody twice.
        let now = data_version(connection);
        if now != seen {
            seen = now;
            signals.raise_here(Wake::ALL);
        }
    }
}

fn data_version(connection: &Connection) -> Option<i64> {
    connection
        .prepare_cached("PRAGMA data_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .inspect_err(|error| tracing::warn!(%error, "SQLite does not tell its data version"))
        .ok()
}

/// Runs and commits a group; returns what its committed closures want to be known.
fn run_group(connection: &Connection, group: Vec<Box<dyn Job>>) -> Wake {
    if let Err(error) = run(connection, "BEGIN IMMEDIATE") {
        refuse(group, &error);
        return Wake::default();
    }
    let mut wake = Wake::default();
    let mut answered = Vec::with_capacity(group.len());
    let mut jobs = group.into_iter();
    for mut job in jobs.by_ref() {
        let step = run_one(connection, job.as_mut());
        answered.push(job);
        match step {
            Ok(asked) => wake = wake.and(asked),
            Err(error) => {
                // The savepoint is broken (no space, I/O error): nothing of this group can be kept.
                let _ = run(connection, "ROLLBACK");
                answered.extend(jobs);
                refuse(answered, &error);
                return Wake::default();
            }
        }
    }
    if let Err(error) = run(connection, "COMMIT") {
        let _ = run(connection, "ROLLBACK");
        refuse(answered, &error);
        return Wake::default();
    }
    for job in answered {
        job.answer(Ok(()));
    }
    wake
}

/// Runs one closure in its savepoint; returns what it wants to be known, if it is kept.
fn run_one(connection: &Connection, job: &mut dyn Job) -> rusqlite::Result<Wake> {
    run(connection, "SAVEPOINT one")?;
    let mut transaction = Transaction::on_sqlite(connection);
    let keep = job.run(&mut transaction);
    let wake = transaction.wake();
    if !keep {
        run(connection, "ROLLBACK TO one")?;
    }
    run(connection, "RELEASE one")?;
    Ok(if keep { wake } else { Wake::default() })
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn refuse(group: Vec<Box<dyn Job>>, error: &rusqlite::Error) {
    tracing::error!(%error, requests = group.len(), "SQLite did not commit; the requests are refused");
    let busy = matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    );
    for job in group {
        let kind = if busy {
            ErrorKind::Busy
        } else {
            ErrorKind::Unavailable
        };
        let refused = Error::new(
            kind,
            Subject::Database,
            "The service could not store the request, please try again later.",
        );
        job.answer(Err(
            refused.detail(format!("SQLite did not commit: {error}"))
        ));
    }
}

fn serve_reads(connection: &Connection, jobs: &Mutex<Receiver<Box<dyn Job>>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else { return };
        if job.access() == Access::Read(Reads::Newest) {
            job.run(&mut Transaction::on_sqlite(connection));
            job.answer(Ok(()));
            continue;
        }
        let outcome = run(connection, "BEGIN").map_err(failure::of_sqlite);
        if outcome.is_ok() {
            job.run(&mut Transaction::on_sqlite(connection));
            let _ = run(connection, "ROLLBACK");
        }
        job.answer(outcome);
    }
}
