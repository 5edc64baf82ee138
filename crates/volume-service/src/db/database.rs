//! The handle that the rest of the service holds.

use std::sync::Arc;

use tokio::sync::watch;

use super::job::{Access, Queue, Reads};
use super::signals::Signals;
use super::{postgresql, sqlite};
use crate::config::Secret;
use crate::error::{Error, Result};

use super::transaction::Transaction;

/// A handle to the database; cheap to clone. Its threads end when the last handle is dropped.
#[derive(Clone)]
pub struct Database {
    engine: Arc<Engine>,
}

/// Queues to the threads of one database, and the wake-up signals that they raise.
pub(super) struct Engine {
    pub(super) writes: Queue,
    pub(super) reads: Queue,
    pub(super) signals: Arc<Signals>,
}

impl Database {
    /// Opens the database, makes it if it is a SQLite file that does not exist, and migrates it.
    ///
    /// # Errors
    /// `Invalid` for a URL that is not understood, `Unavailable` when the database does not answer, `NotSupported` when its
    /// schema is newer than this program.
    pub async fn open(url: &Secret) -> Result<Self> {
        let url = url.clone();
        let engine = tokio::task::spawn_blocking(move || open_engine(&url))
            .await
            .map_err(|error| {
                Error::new(
                    crate::ErrorKind::Internal,
                    crate::error::Subject::Database,
                    "The database could not be opened.",
                )
                .caused_by(error)
            })??;
        Ok(Database {
            engine: Arc::new(engine),
        })
    }

    /// Runs the closure in a transaction that may write; on return it is durable. An error rolls it back and is passed on.
    ///
    /// # Cancel safety
    /// Once queued, the closure runs and commits whether or not the caller still waits.
    pub async fn write<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.engine.writes.call(Access::Write, body).await
    }

    /// Runs the closure in a transaction that only reads and sees one state of the database.
    pub async fn read<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.engine
            .reads
            .call(Access::Read(Reads::Snapshot), body)
            .await
    }

    /// Runs a closure that reads, each of its statements in the newest state; it costs less than [`Database::read`]. For closures of
    /// one statement, or of several that need not agree.
    pub async fn read_one<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.engine
            .reads
            .call(Access::Read(Reads::Newest), body)
            .await
    }

    /// A value that changes when an operation was added or became due, here or (PostgreSQL: LISTEN; SQLite: data_version)
    /// in another process. Workers register before they look, and still poll: a notification may be lost.
    pub fn operations_added(&self) -> watch::Receiver<u64> {
        self.engine.signals.added()
    }

    /// A value that changes when an operation ended; otherwise as [`Database::operations_added`].
    pub fn operations_ended(&self) -> watch::Receiver<u64> {
        self.engine.signals.ended()
    }
}

fn open_engine(url: &Secret) -> Result<Engine> {
    let text = url.expose();
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return sqlite::open(std::path::Path::new(path));
    }
    if text.starts_with("postgresql://") || text.starts_with("postgres://") {
        return postgresql::open(text);
    }
    Err(Error::invalid(
        "The database URL is not understood: expected sqlite:///path/to/file or postgresql://user:password@host:port/database.",
    ))
}
