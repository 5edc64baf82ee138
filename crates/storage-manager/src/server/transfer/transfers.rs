//! Transfers under way: how many there may be, and how one is stopped.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use xenapi::{Failure, Value};

use crate::server::call::Call;
use crate::server::connection::Connection;
use crate::server::{Server, tasks};

/// Most transfers of one SR at once; each has a thread. Others wait for [`WAIT`] and are refused then.
pub const TRANSFERS_PER_SR: usize = 8;

/// Longest wait for a place among them.
const WAIT: Duration = Duration::from_secs(20);

/// Between two notes of a transfer's progress in its task.
const PROGRESS_STEP: Duration = Duration::from_millis(500);

/// A task that has not ended is never told to be further.
const LARGEST_PROGRESS: f64 = 0.99;

/// The transfers under way.
pub struct Transfers {
    /// A peer that sends or takes nothing for so long is cut off, and the transfer fails.
    pub patience: Duration,
    /// The references of the tasks.
    tasks: Mutex<HashSet<String>>,
    /// By the reference of the SR.
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Transfers {
    /// None yet.
    pub fn new(patience: Duration) -> Self {
        Transfers {
            patience,
            tasks: Mutex::default(),
            places: Mutex::default(),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashSet<String>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place among the transfers of an SR.
    ///
    /// # Errors
    /// `TOO_BUSY` when there was none for a while.
    pub async fn place(&self, sr: &str) -> Result<OwnedSemaphorePermit, Failure> {
        let places = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever has a place, or waits for one, holds the semaphore too; SRs without are dropped.
            places.retain(|_, places| Arc::strong_count(places) > 1);
            let fresh = || Arc::new(Semaphore::new(TRANSFERS_PER_SR));
            places.entry(sr.to_owned()).or_insert_with(fresh).clone()
        };
        match tokio::time::timeout(WAIT, places.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Failure::new("TOO_BUSY", Vec::<String>::new())),
        }
    }
}

/// The task of a transfer, from the request to its end.
pub struct Job {
    server: Arc<Server>,
    /// The task's reference.
    pub task: String,
    /// Cancelled by `task.cancel`.
    pub stop: CancellationToken,
    _cancellable: tasks::Cancellable,
    noted: tokio::time::Instant,
}

impl Job {
    /// Takes charge of a task.
    ///
    /// # Errors
    /// `OPERATION_NOT_ALLOWED` when another transfer has it.
    pub fn begin(server: &Arc<Server>, task: &str) -> Result<Self, Failure> {
        if !server.transfers.tasks().insert(task.to_owned()) {
            return Err(Failure::new(
                "OPERATION_NOT_ALLOWED",
                ["another transfer has this task; create a task for each"],
            ));
        }
        let cancellable = tasks::cancellable(server, task);
        Ok(Job {
            server: server.clone(),
            task: task.to_owned(),
            stop: cancellable.token(),
            _cancellable: cancellable,
            noted: tokio::time::Instant::now(),
        })
    }

    /// Who acts for the transfer: `current_operations` name its task.
    pub fn call(&self, connection: &Connection) -> Call {
        Call {
            server: self.server.clone(),
            session: String::new(),
            origin: connection.origin,
            task: self.task.clone(),
            cancel: self.stop.clone(),
        }
    }

    /// Notes the progress in the task, now and then; it is written to no disk.
    pub fn note_progress(&mut self, done: u64, total: u64) {
        if self.noted.elapsed() < PROGRESS_STEP || total == 0 {
            return;
        }
        self.noted = tokio::time::Instant::now();
        let fraction = done as f64 / total as f64;
        tasks::progress(&self.server, &self.task, fraction.min(LARGEST_PROGRESS));
    }

    /// The failure of a transfer that was cancelled.
    pub fn cancelled(&self) -> Failure {
        Failure::new("TASK_CANCELLED", [&self.task])
    }

    /// Notes how the transfer ended. A task that its owner has ended meanwhile stays as it is.
    pub fn finish(self, result: &Result<Value, Failure>) {
        if let Err(failure) = result {
            tracing::warn!(%failure, task.reference = self.task, "a transfer failed");
        }
        tasks::finish_transfer(&self.server, &self.task, result);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.server.transfers.tasks().remove(&self.task);
    }
}

/// What a transfer fails with when the server shuts down.
pub fn shutting_down() -> Failure {
    Failure::new(
        "VDI_IO_ERROR",
        ["the storage manager is shutting down; start the transfer again"],
    )
}
