//! The operations that connect and disconnect, and waiting for them.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::Service;
use crate::context::{Context, RequestContext};
use crate::db::operations::NewOperation;
use crate::db::{Transaction, operations};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::Attachment;
use crate::model::id::{AttachmentId, OperationId};
use crate::model::operation::{Operation, OperationKind};

/// How long a request waits for its operation; the operation goes on behind it.
pub const WAIT: Duration = Duration::from_secs(60);

/// How often a waiting request looks although nothing woke it.
const LOOK: Duration = Duration::from_millis(500);

/// An operation on an attachment that is told later.
pub(super) fn new_operation(
    context: &Context,
    request: &RequestContext,
    kind: OperationKind,
    now_us: i64,
) -> NewOperation {
    NewOperation {
        id: OperationId(context.new_uuid()),
        kind,
        target: String::new(),
        zone: String::new(),
        request_id: request.request_id.clone(),
        not_before_us: now_us,
    }
}

/// Adds an operation on an attachment in a zone.
///
/// # Errors
/// `Conflict` while another one is at work on it.
pub(super) fn insert_operation(
    tx: &mut Transaction<'_>,
    operation: &NewOperation,
    id: AttachmentId,
    zone: &str,
    now_us: i64,
) -> Result<()> {
    let operation = NewOperation {
        target: id.to_string(),
        zone: zone.to_owned(),
        ..operation.clone()
    };
    if operations::insert(tx, &operation, now_us)? {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        Subject::Attachment,
        "An operation is at work on the attachment.",
    )
    .on(id.to_string()))
}

/// Waits for an operation to end; `None` when its row is gone, which means that it ended long ago.
pub(super) async fn finished(
    service: &Service,
    id: OperationId,
    deadline: Instant,
) -> Result<Option<Operation>> {
    let mut changed = service.database.operations_ended();
    loop {
        changed.borrow_and_update();
        let operation = service
            .database
            .read_one(move |tx| operations::find(tx, id))
            .await?;
        if operation
            .as_ref()
            .is_none_or(|found| found.state.is_finished())
        {
            return Ok(operation);
        }
        if Instant::now() >= deadline {
            return Err(Error::new(
                ErrorKind::Busy,
                Subject::Operation,
                "The volume is still being connected or disconnected; the request goes on, look at the attachment later.",
            )
            .on(id.to_string()));
        }
        let until = deadline.min(Instant::now() + LOOK);
        // Woken or not, the loop looks again.
        let _ = tokio::time::timeout_at(until, changed.changed()).await;
    }
}

/// The refusal of a request whose operation failed.
pub(super) fn failed(what: &str, attachment: &Attachment, outcome: Option<Operation>) -> Error {
    let reason = if attachment.failure.is_empty() {
        "the reason is in the service's log"
    } else {
        attachment.failure.as_str()
    };
    Error::new(
        ErrorKind::Unavailable,
        Subject::Attachment,
        format!("{what}: {reason}."),
    )
    .on(attachment.id.to_string())
    .detail(
        outcome
            .map(|operation| operation.failure)
            .unwrap_or_default(),
    )
}

/// The refusal of what an attachment is not ready for.
pub(super) fn wrong_state(attachment: &Attachment, expected: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Attachment,
        format!(
            "Invalid attachment: its status must be {expected}, but is {}.",
            attachment.status.as_str()
        ),
    )
    .on(attachment.id.to_string())
}
