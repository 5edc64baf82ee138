//! What is under way on which object: one exclusive operation per object, seen in `current_operations`.
//!
//! On an SR, making and deleting VDIs go on side by side; whatever looks at or changes the SR as a whole (scan, plug,
//! unplug, forget, destroy) is alone. Locks are taken in the order SR, VDI, VBD, so that no two calls wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use xenapi::Failure;

use super::Server;
use super::call::Call;

/// How long work that nobody called for lets everybody else go first.
const POLITENESS: Duration = Duration::from_secs(10);

/// Time between two looks whether it has come to its turn.
const LOOK: Duration = Duration::from_millis(50);

/// Whether others may be under way on the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Beside others that share.
    Shared,
    /// Alone.
    Exclusive,
}

/// The locks of the objects on which something is under way.
#[derive(Default)]
pub struct Operations {
    locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
}

enum Held {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Exclusive { _guard: OwnedRwLockWriteGuard<()> },
}

/// An operation under way; it ends when this is dropped.
pub struct Operation {
    server: Arc<Server>,
    class: &'static str,
    reference: String,
    task: String,
    held: Option<Held>,
    is_noted: bool,
}

impl Operations {
    fn lock(&self, reference: &str) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(reference.to_owned()).or_default().clone()
    }

    /// True while nothing is under way on the object, and nobody waits.
    fn is_idle(&self, reference: &str) -> bool {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks
            .get(reference)
            .is_none_or(|lock| lock.try_write().is_ok())
    }

    fn forget(&self, reference: &str) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the map holds it: nobody is under way and nobody waits.
        if locks
            .get(reference)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(reference);
        }
    }
}

/// Begins an operation, waiting a while for others that are in the way.
///
/// # Errors
/// `OTHER_OPERATION_IN_PROGRESS [class, ref, operation, task]`, `HANDLE_INVALID`, and `TASK_CANCELLED [task]` when the task was
/// cancelled while it waited.
pub async fn begin(
    call: &Call,
    class: &'static str,
    reference: &str,
    operation: &str,
    sharing: Sharing,
) -> Result<Operation, Failure> {
    call.server.database.read().get(class, reference)?;
    let lock = call.server.operations.lock(reference);
    let acquire = async {
        match sharing {
            Sharing::Shared => Held::Shared {
                _guard: lock.read_owned().await,
            },
            Sharing::Exclusive => Held::Exclusive {
                _guard: lock.write_owned().await,
            },
        }
    };
    let held = tokio::select! {
        // What need not wait is not cancelled: it is short.
        biased;
        held = tokio::time::timeout(call.server.operation_patience, acquire) => held,
        () = call.cancel.cancelled() => return Err(Failure::task_cancelled(&call.task)),
    };
    let mut begun = Operation {
        server: call.server.clone(),
        class,
        reference: reference.to_owned(),
        task: call.task.clone(),
        held: None,
        is_noted: false,
    };
    match held {
        Ok(held) => begun.held = Some(held),
        Err(_) => return Err(in_the_way(call, class, reference)),
    }
    // The object may be gone by the time its turn has come.
    call.server.database.write_volatile(|transaction| {
        transaction.set_entry(
            class,
            reference,
            "current_operations",
            &call.task,
            Some(operation),
        )
    })?;
    begun.is_noted = true;
    Ok(begun)
}

/// Begins an operation that nobody called for, alone: who waits for an exclusive turn keeps all that come after him waiting, so
/// calls of clients go first for a while.
///
/// # Errors
/// As [`begin`].
pub async fn begin_behind_others(
    call: &Call,
    class: &'static str,
    reference: &str,
    operation: &str,
) -> Result<Operation, Failure> {
    let idle = async {
        while !call.server.operations.is_idle(reference) {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Objects that are never idle must not keep it back for ever.
    let _ = tokio::time::timeout(POLITENESS, idle).await;
    begin(call, class, reference, operation, Sharing::Exclusive).await
}

impl Operation {
    /// Lets others begin, and goes on being seen in `current_operations`: for work that takes long and is protected by
    /// what it holds open.
    pub fn stand_aside(&mut self) {
        self.held = None;
    }
}

fn in_the_way(call: &Call, class: &'static str, reference: &str) -> Failure {
    let objects = call.server.database.read();
    let other = objects.find(class, reference).and_then(|object| {
        let (task, operation) = object
            .value("current_operations")
            .as_struct()?
            .iter()
            .next()?;
        Some((operation.as_str()?.to_owned(), task.clone()))
    });
    let (operation, task) = other.unwrap_or_default();
    Failure::new(
        "OTHER_OPERATION_IN_PROGRESS",
        [class.to_owned(), reference.to_owned(), operation, task],
    )
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.is_noted {
            let ended = self.server.database.write_volatile(|transaction| {
                // An operation that removed its object has nothing to clear.
                if transaction.find(self.class, &self.reference).is_none() {
                    return Ok(());
                }
                transaction.set_entry(
                    self.class,
                    &self.reference,
                    "current_operations",
                    &self.task,
                    None,
                )
            });
            if let Err(failure) = ended {
                tracing::error!(%failure, "the end of an operation could not be noted");
            }
        }
        self.held = None;
        self.server.operations.forget(&self.reference);
    }
}
