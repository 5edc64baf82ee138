//! Tasks: what `Async.` calls answer. They live as long as the process.
//!
//! Source: reference 1.6; golden 09.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use xenapi::{Failure, Value, xmlrpc};

use super::Server;
use super::call::Call;
use super::context::now;
use crate::database::{Objects, text_set};

/// Most tasks that are kept; the ones that finished first make room, and when all are pending a new one is refused.
pub const TASKS_KEPT: usize = 2000;

/// A finished task goes after this many seconds.
const FINISHED_KEPT_S: i64 = 24 * 3600;

/// Prefix of the labels of tasks that the server runs; the others belong to clients.
pub const ASYNC_PREFIX: &str = "Async.";

/// Key in `other_config` of a task that was destroyed while it ran: it goes when it finishes.
const DESTROYED: &str = "xensm:destroyed";

/// How the tasks that run are asked to stop: at most one token for each of [`TASKS_KEPT`].
#[derive(Default)]
pub struct Cancellations {
    tokens: Mutex<HashMap<String, CancellationToken>>,
}

impl Cancellations {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a task to stop. What does not look, and what has ended, goes on as if it had not been asked.
    pub fn cancel(&self, task: &str) {
        if let Some(token) = self.tokens().get(task) {
            token.cancel();
        }
    }
}

/// A task that can be asked to stop, until this is dropped.
pub struct Cancellable {
    server: Arc<Server>,
    task: String,
    token: CancellationToken,
}

/// Lets `task.cancel` reach whoever works on a task.
pub fn cancellable(server: &Arc<Server>, task: &str) -> Cancellable {
    let token = CancellationToken::new();
    server
        .cancellations
        .tokens()
        .insert(task.to_owned(), token.clone());
    Cancellable {
        server: server.clone(),
        task: task.to_owned(),
        token,
    }
}

impl Cancellable {
    /// Cancelled when the task is.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.server.cancellations.tokens().remove(&self.task);
    }
}

/// Notes how far a pending task is, from 0 to 1. A direct call has no task, and is passed over.
pub fn progress(server: &Server, task: &str, fraction: f64) {
    let written =
        server
            .database
            .write_volatile(|transaction| match transaction.find("task", task) {
                Some(object) if object.text("status") == "pending" => {
                    transaction.set("task", task, "progress", fraction.clamp(0.0, 1.0))
                }
                _ => Ok(()),
            });
    if let Err(failure) = written {
        tracing::error!(%failure, "the progress of a task could not be noted");
    }
}

/// Makes a pending task.
///
/// # Errors
/// `TOO_MANY_PENDING_TASKS`.
pub fn begin(call: &Call, label: &str) -> Result<String, Failure> {
    create(&call.server, label, "")
}

/// Makes a task with a description.
pub fn create(server: &Server, label: &str, description: &str) -> Result<String, Failure> {
    server.database.write_volatile(|transaction| {
        if transaction.count("task") >= TASKS_KEPT {
            let oldest = finished(transaction).min_by_key(|(finished, _)| *finished);
            let Some((_, reference)) = oldest else {
                return Err(Failure::new("TOO_MANY_PENDING_TASKS", Vec::<String>::new()));
            };
            transaction.remove("task", &reference);
        }
        Ok(transaction.insert(
            "task",
            [
                ("name_label", label.into()),
                ("name_description", description.into()),
                ("created", Value::DateTime(now())),
                ("status", "pending".into()),
                ("resident_on", server.home.host.as_str().into()),
                ("type", "<none/>".into()),
                ("backtrace", "()".into()),
            ],
        ))
    })
}

/// Notes how a task ended. A task that is gone is passed over.
pub fn finish(server: &Server, task: &str, result: &Result<Value, Failure>) {
    let result_text = result
        .as_ref()
        .map(|value| xmlrpc::write_value(value).unwrap_or_default());
    finish_with_text(server, task, result_text);
}

fn finish_with_text(server: &Server, task: &str, result: Result<String, &Failure>) {
    let written = server.database.write_volatile(|transaction| {
        let Some(object) = transaction.find("task", task) else {
            return Ok(());
        };
        if object.entry("other_config", DESTROYED).is_some() {
            transaction.remove("task", task);
            return Ok(());
        }
        transaction.update("task", task, |object| {
            object.put("finished", Value::DateTime(now()));
            object.put("progress", Value::Float(1.0));
            match result {
                Ok(text) => {
                    object.put("result", text.into());
                    object.put("status", "success".into());
                }
                Err(failure) => {
                    let description = std::iter::once(&failure.code).chain(&failure.params);
                    object.put("error_info", text_set(description.map(String::as_str)));
                    let cancelled = failure.code == "TASK_CANCELLED";
                    object.put(
                        "status",
                        if cancelled { "cancelled" } else { "failure" }.into(),
                    );
                }
            }
        })
    });
    if let Err(failure) = written {
        tracing::error!(%failure, "the end of a task could not be noted");
    }
}

/// Notes how the task of an import or export ended; its owner may have ended it himself. Without a value there is no text of
/// one either, other than in the task of a call.
pub fn finish_transfer(server: &Server, task: &str, result: &Result<Value, Failure>) {
    let is_pending = {
        let objects = server.database.read();
        let object = objects.find("task", task);
        object.is_some_and(|object| object.text("status") == "pending")
    };
    if is_pending {
        let text = result.as_ref().map(|value| match value {
            Value::Nil => String::new(),
            value => xmlrpc::write_value(value).unwrap_or_default(),
        });
        finish_with_text(server, task, text);
    }
}

/// Removes a task, or marks it to go when it finishes.
pub fn destroy(server: &Server, task: &str) -> Result<(), Failure> {
    server.database.write_volatile(|transaction| {
        let object = transaction.get("task", task)?;
        if object.text("name_label").starts_with(ASYNC_PREFIX) && object.text("status") == "pending"
        {
            return transaction.set_entry("task", task, "other_config", DESTROYED, Some("true"));
        }
        transaction.remove("task", task);
        Ok(())
    })
}

/// Removes tasks that finished long ago.
pub fn sweep(server: &Server) {
    let before = now() - FINISHED_KEPT_S;
    let swept = server.database.write_volatile(|transaction| {
        let old: Vec<String> = finished(transaction)
            .filter(|(f, _)| *f < before)
            .map(|(_, reference)| reference)
            .collect();
        old.iter()
            .for_each(|reference| transaction.remove("task", reference));
        Ok(())
    });
    if let Err(failure) = swept {
        tracing::error!(%failure, "old tasks could not be removed");
    }
}

fn finished(objects: &Objects) -> impl Iterator<Item = (i64, String)> {
    let ended = objects
        .all("task")
        .filter(|task| task.text("status") != "pending");
    ended.map(|task| {
        (
            task.value("finished").as_datetime().unwrap_or_default(),
            task.reference.to_string(),
        )
    })
}
