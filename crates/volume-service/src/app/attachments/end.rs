//! Ends of attachments: they are disconnected by operations, and whoever asked waits for it.

use tokio::time::Instant;

use super::guard::Guard;
use super::read::own;
use super::work::{WAIT, failed, finished, insert_operation, new_operation};
use crate::app::volumes::visible;
use crate::app::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::{Context, RequestContext};
use crate::db::operations::NewOperation;
use crate::db::{Transaction, attachments, operations, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::{Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, OperationId, VolumeId};
use crate::model::operation::OperationKind;

/// Disconnects and removes the attachment, and waits for it; returns what is left on the volume.
///
/// # Errors
/// `Conflict` for who may not end what an instance uses.
pub async fn delete(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
) -> Result<Vec<Attachment>> {
    let deadline = Instant::now() + WAIT;
    loop {
        let volume_id = match depart(service, request, id).await? {
            Departure::Gone(volume_id) => volume_id,
            Departure::StillAttaching(operation) => {
                finished(service, operation, deadline).await?;
                continue;
            }
            Departure::Detaching(operation, volume_id) => {
                let outcome = finished(service, operation, deadline).await?;
                let left = service
                    .database
                    .read(move |tx| attachments::find(tx, id))
                    .await?;
                if let Some(left) = left {
                    return Err(failed("Disconnecting the volume failed", &left, outcome));
                }
                volume_id
            }
        };
        return service
            .database
            .read(move |tx| attachments::of_volume(tx, volume_id))
            .await;
    }
}

/// What the deletion of an attachment has to wait for.
enum Departure {
    /// Nothing: it held nothing in a pool and is gone.
    Gone(VolumeId),
    /// The operation that disconnects it.
    Detaching(OperationId, VolumeId),
    /// An operation that still connects it, and comes first.
    StillAttaching(OperationId),
}

async fn depart(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
) -> Result<Departure> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentDelete);
    let now_us = service.context.now_us();
    let operation = new_operation(
        &service.context,
        request,
        OperationKind::DetachVolume,
        now_us,
    );
    let guard = Guard::of(service, request);
    service
        .database
        .write(move |tx| {
            let volume_id = own(tx, &tenancy, id)?.volume_id;
            volumes::lock(tx, volume_id)?;
            let attachment = own(tx, &tenancy, id)?;
            guard.check(&attachment)?;
            begin_end(tx, &attachment, &operation, now_us)
        })
        .await
}

/// Begins the end of an attachment of a volume that is locked.
fn begin_end(
    tx: &mut Transaction<'_>,
    attachment: &Attachment,
    operation: &NewOperation,
    now_us: i64,
) -> Result<Departure> {
    let (id, volume_id) = (attachment.id, attachment.volume_id);
    if let Some(at_work) = operations::find_unfinished(tx, &id.to_string())? {
        return Ok(match at_work.kind {
            OperationKind::DetachVolume => Departure::Detaching(at_work.id, volume_id),
            _ => Departure::StillAttaching(at_work.id),
        });
    }
    if attachment.status == AttachmentStatus::Reserved {
        attachments::remove(tx, id)?;
        volumes::settle(tx, volume_id, now_us)?;
        return Ok(Departure::Gone(volume_id));
    }
    let all = AttachmentStatus::ALL;
    attachments::change_status(tx, id, &all, AttachmentStatus::Detaching)?;
    if !attachment.failure.is_empty() {
        attachments::set_failure(tx, id, "")?;
    }
    let volume = volumes::get(tx, volume_id)?;
    insert_operation(tx, operation, id, &volume.zone, now_us)?;
    volumes::settle(tx, volume_id, now_us)?;
    Ok(Departure::Detaching(operation.id, volume_id))
}

/// Begins the end of an attachment of a volume that is locked, whoever uses it; nobody waits for it.
///
/// # Errors
/// `Conflict` while an operation connects it.
pub(in crate::app) fn let_go(
    tx: &mut Transaction<'_>,
    context: &Context,
    request: &RequestContext,
    attachment: &Attachment,
    now_us: i64,
) -> Result<()> {
    let operation = new_operation(context, request, OperationKind::DetachVolume, now_us);
    match begin_end(tx, attachment, &operation, now_us)? {
        Departure::Gone(_) | Departure::Detaching(..) => Ok(()),
        Departure::StillAttaching(_) => {
            let why = "An operation is connecting the attachment.";
            Err(Error::new(ErrorKind::Conflict, Subject::Attachment, why)
                .on(attachment.id.to_string()))
        }
    }
}

/// Ends an attachment of a volume whose state may have been set by hand, and waits for it: of one that is named, or of the only one.
/// A volume without attachments becomes what it is.
///
/// # Errors
/// `Invalid` for an attachment that the volume does not have, and for none of several.
pub async fn force_detach(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    wanted: Option<AttachmentId>,
) -> Result<()> {
    let asked = request.clone();
    let guard = Guard::of(service, request);
    let now_us = service.context.now_us();
    let found = service
        .database
        .write(move |tx| {
            volumes::lock(tx, id)?;
            let volume = visible(tx, &policy::tenancy_of(&asked, Rule::VolumeAdminActionsForceDetach), id)?;
            let held = attachments::of_volume(tx, id)?;
            guard.check_of_volume(&held, None)?;
            let found = match (wanted, &held[..]) {
                (None, []) => None,
                (None, [only]) => Some(only.id),
                (None, _) => {
                    return Err(Error::invalid(
                        "Error force detaching volume: More than one attachment, but no attachment_id provided.",
                    ));
                }
                (Some(named), _) => {
                    let found = held.iter().find(|one| one.id == named);
                    let found = found.ok_or_else(|| {
                        Error::invalid(format!(
                            "Error force detaching volume: Volume attachment could not be found with filter: \
                             attachment_id = {named}."
                        ))
                    })?;
                    Some(found.id)
                }
            };
            crate::app::reset_status::heal(tx, &volume, now_us)?;
            Ok(found)
        })
        .await?;
    match found {
        Some(attachment) => delete(service, request, attachment).await.map(drop),
        None => Ok(()),
    }
}
