//! Tasks, and calls that are made as tasks.

use super::call::Client;
use super::error::Error;
use crate::record::TaskRecord;
use crate::reference::TaskRef;
use crate::schema::{self, Ty};
use crate::{Failure, Value, xmlrpc};
use std::time::Duration;
use tokio::time::Instant;

/// The first wait between two looks at a task; it grows by half each time.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// The longest wait between two looks at a task.
const SLOWEST_LOOK: Duration = Duration::from_secs(1);

/// Calls of class `task`.
#[derive(Clone, Copy, Debug)]
pub struct Tasks<'a>(pub(super) &'a Client);

impl Client {
    /// Calls of class `task`.
    pub fn task(&self) -> Tasks<'_> {
        Tasks(self)
    }

    /// Starts a method as a task: `Async.` and the method.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn start(&self, method: &str, params: Vec<Value>) -> Result<TaskRef, Error> {
        self.text(&format!("Async.{method}"), params)
            .await
            .map(TaskRef::from)
    }

    /// Starts a method as a task, waits for it and destroys it.
    ///
    /// # Errors
    /// Those of [`Client::start`] and of [`Tasks::wait`].
    pub async fn run(
        &self,
        method: &str,
        params: Vec<Value>,
        limit: Duration,
    ) -> Result<Value, Error> {
        let task = self.start(method, params).await?;
        let ty = schema::resolve(method).map_or(Ty::Any, |resolved| resolved.message.result);
        self.task().wait(&task, &ty, limit).await
    }
}

impl Tasks<'_> {
    /// Waits until a task has ended, destroys it, and gives the result that the type demands.
    ///
    /// # Errors
    /// [`Error::Api`] with the failure of the task, `TASK_CANCELLED` when it was cancelled, and
    /// [`Error::TaskPending`] when it has not ended within the limit: then it goes on and is not destroyed.
    pub async fn wait(&self, task: &TaskRef, ty: &Ty, limit: Duration) -> Result<Value, Error> {
        let deadline = Instant::now() + limit;
        let mut wait = FIRST_LOOK;
        let record = loop {
            let record = self.get_record(task).await?;
            if !matches!(record.status.as_str(), "pending" | "cancelling") {
                break record;
            }
            if Instant::now() + wait > deadline {
                return Err(Error::TaskPending {
                    task: task.to_string(),
                    deadline_ms: limit.as_millis(),
                });
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(SLOWEST_LOOK);
        };
        if let Err(error) = self.destroy(task).await {
            // The pool removes old tasks by itself.
            tracing::debug!(task = %task, error = %error, "a task that has ended was not destroyed");
        }
        self.result(task, record, ty)
    }

    fn result(&self, task: &TaskRef, record: TaskRecord, ty: &Ty) -> Result<Value, Error> {
        let method = record.name_label;
        match record.status.as_str() {
            "success" => {
                let value = xmlrpc::parse_value(&record.result, &self.0.inner.options.response)
                    .map_err(|source| Error::Protocol {
                        method: method.clone(),
                        source,
                    })?;
                schema::coerce_result(value, ty).map_err(|_| Error::UnexpectedResult {
                    method,
                    expected: ty.noun(),
                })
            }
            "cancelled" => Err(Error::Api {
                method,
                failure: Failure::task_cancelled(task.as_str()),
            }),
            _ => {
                let mut description = record.error_info.into_iter();
                let code = description
                    .next()
                    .unwrap_or_else(|| crate::failure::code::INTERNAL_ERROR.to_owned());
                Err(Error::Api {
                    method,
                    failure: Failure {
                        code,
                        params: description.collect(),
                    },
                })
            }
        }
    }

    /// Calls `task.create`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn create(&self, label: &str, description: &str) -> Result<TaskRef, Error> {
        self.0
            .text("task.create", vec![label.into(), description.into()])
            .await
            .map(TaskRef::from)
    }

    /// Calls `task.get_record`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_record(&self, task: &TaskRef) -> Result<TaskRecord, Error> {
        self.0.record(task.into()).await
    }

    /// Calls `task.get_all_records`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get_all_records(&self) -> Result<Vec<(TaskRef, TaskRecord)>, Error> {
        self.0.records(None).await
    }

    /// Calls `task.cancel`.
    ///
    /// # Errors
    /// Those of any call; `OPERATION_NOT_ALLOWED` when the task cannot be cancelled.
    pub async fn cancel(&self, task: &TaskRef) -> Result<(), Error> {
        self.0.void("task.cancel", vec![task.into()]).await
    }

    /// Calls `task.destroy`.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn destroy(&self, task: &TaskRef) -> Result<(), Error> {
        self.0.void("task.destroy", vec![task.into()]).await
    }
}
