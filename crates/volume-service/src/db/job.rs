//! Closures on their way to a thread that owns a connection, and their answers on the way back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::transaction::{AfterCommit, Fate, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Closures that may wait in one queue; callers beyond that wait for a place.
pub(super) const QUEUE_MAX: usize = 1024;

/// What a closure may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read only.
    Read(Reads),
    /// Read and write.
    Write,
}

/// What a closure that reads sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// One state of the database in all its statements.
    Snapshot,
    /// In each statement the newest state; for closures that have only one.
    Newest,
}

/// A closure with the place where its result goes.
pub(super) trait Job: Send {
    /// What it may do.
    fn access(&self) -> Access;
    /// Runs it once and keeps the result; true when its changes are to be kept. May be called again after a rollback.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool;
    /// Drops what a run left that was rolled back: it must not hold anything while it waits for the next one.
    fn forget(&mut self);
    /// Tells what was to follow the commit that nobody knows whether there was one.
    fn doubt(&mut self);
    /// Hands the kept result to the caller, behind what the closure wants done after the commit; or the error that made it void.
    fn answer(self: Box<Self>, outcome: Result<()>);
}

/// A bounded queue to one or several threads.
pub(super) struct Queue {
    sender: SyncSender<Box<dyn Job>>,
    /// One permit per job that is queued or running, so that the channel is never full.
    places: Arc<Semaphore>,
}

impl Queue {
    /// Makes a queue and its end for the threads.
    pub(super) fn new() -> (Queue, Receiver<Box<dyn Job>>) {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let places = Arc::new(Semaphore::new(QUEUE_MAX));
        (Queue { sender, places }, receiver)
    }

    /// Queues a closure and waits for its result.
    pub(super) async fn call<T, F>(&self, access: Access, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let call = Call {
            body,
            access,
            result: None,
            after_commit: Vec::new(),
            reply,
            _place: place,
        };
        self.sender.try_send(Box::new(call)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

struct Call<T, F> {
    body: F,
    access: Access,
    result: Option<Result<T>>,
    after_commit: Vec<AfterCommit>,
    reply: oneshot::Sender<Result<T>>,
    _place: OwnedSemaphorePermit,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Transaction<'_>) -> Result<T> + Send,
{
    fn access(&self) -> Access {
        self.access
    }

    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool {
        // What an earlier run holds goes before this one takes it.
        self.forget();
        // A bug in one closure must not end the thread that serves all others; its changes are rolled back.
        let result = catch_unwind(AssertUnwindSafe(|| (self.body)(transaction)))
            .unwrap_or_else(|_| Err(panicked()));
        let result = match result {
            Ok(_) if transaction.has_failed() => Err(ignored()),
            Ok(result) => transaction.settle().map(|()| result),
            Err(error) => Err(error),
        };
        let keep = result.is_ok();
        if keep {
            self.after_commit = transaction.take_after_commit();
        }
        self.result = Some(result);
        keep
    }

    fn forget(&mut self) {
        self.result = None;
        self.after_commit.clear();
    }

    fn doubt(&mut self) {
        for what in self.after_commit.drain(..) {
            what(Fate::Unknown);
        }
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let result = match outcome {
            Ok(()) => {
                for what in self.after_commit {
                    what(Fate::Committed);
                }
                self.result.unwrap_or_else(|| Err(gone()))
            }
            Err(error) => Err(error),
        };
        // The caller may have gone away; the work is done all the same.
        let _ = self.reply.send(result);
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Subject::Database,
        "The database is being closed.",
    )
}

fn panicked() -> Error {
    Error::new(
        ErrorKind::Internal,
        Subject::Database,
        "An unexpected error has occurred.",
    )
    .detail("a database closure panicked; its changes were rolled back")
}

fn ignored() -> Error {
    Error::new(
        ErrorKind::Internal,
        Subject::Database,
        "An unexpected error has occurred.",
    )
    .detail("a database closure went on after a failed statement; its changes were rolled back")
}
