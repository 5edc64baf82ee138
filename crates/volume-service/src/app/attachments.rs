//! Attachments: who uses a volume and how it is reached.
//!
//! A connector with `"xensm"` in its `"protocols"` list, or with a `"host_uuid"`, is a Xen host and gets the `xensm`
//! connection info; any other consumer gets `nbd` (unix socket when it is on the same machine).

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::policy::Tenancy;
use super::volumes::visible;
use super::{Page, Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::{Context, RequestContext};
use crate::db::operations::NewOperation;
use crate::db::{Transaction, attachments, operations, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, OperationId, VolumeId};
use crate::model::operation::{Operation, OperationKind, OperationState};
use crate::model::volume::{Volume, VolumeStatus};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateAttachment {
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance that will use it.
    pub instance_id: Option<String>,
    /// Given: connect at once. Absent: only reserve.
    pub connector: Option<Value>,
    /// Whether the consumer writes.
    pub mode: AttachMode,
    /// The device name in the consumer.
    pub mountpoint: Option<String>,
}

/// Which attachments.
#[derive(Clone, Debug, Default)]
pub struct AttachmentQuery {
    /// Of every project; needs the admin role.
    pub all_projects: bool,
    /// Of one volume.
    pub volume_id: Option<VolumeId>,
    /// Of one instance.
    pub instance_id: Option<String>,
    /// In this state (OpenStack's word).
    pub status: Option<String>,
    /// The last one of the page before.
    pub marker: Option<AttachmentId>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// How long a request waits for its operation; the operation goes on behind it.
pub const WAIT: Duration = Duration::from_secs(60);

/// How often a waiting request looks although nothing woke it.
const LOOK: Duration = Duration::from_millis(500);

/// Reserves the volume and, with a connector, connects it and waits (up to the stated limit) for the connection info.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateAttachment,
) -> Result<Attachment> {
    check(&wanted)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentCreate);
    let now_us = service.context.now_us();
    let operation = new_operation(service, request, OperationKind::AttachVolume, now_us);
    let mut attachment = Attachment {
        id: AttachmentId(service.context.new_uuid()),
        volume_id: wanted.volume_id,
        project_id: String::new(),
        instance_id: wanted.instance_id,
        host_name: wanted.connector.as_ref().and_then(host_name),
        mountpoint: wanted.mountpoint,
        status: AttachmentStatus::Reserved,
        mode: wanted.mode,
        connector: wanted.connector.clone().unwrap_or_else(nothing),
        connection_info: nothing(),
        failure: String::new(),
        attached_at_us: None,
        detached_at_us: None,
        created_at_us: now_us,
    };
    let connects = wanted.connector.is_some();
    if connects {
        attachment.status = AttachmentStatus::Attaching;
    }
    let (id, operation_id) = (attachment.id, operation.id);
    let reserved = service
        .database
        .write(move |tx| {
            volumes::lock(tx, wanted.volume_id)?;
            let volume = visible(tx, &tenancy, wanted.volume_id)?;
            if volume.traits.read_only == Some(true) {
                attachment.mode = AttachMode::ReadOnly;
            }
            check_shared(tx, &volume, attachment.mode)?;
            attachment.project_id.clone_from(&volume.project_id);
            attachments::insert(tx, &attachment)?;
            if connects {
                insert_operation(tx, &operation, attachment.id, &volume.zone, now_us)?;
            }
            volumes::settle(tx, volume.id, now_us)?;
            Ok(attachment.clone())
        })
        .await?;
    if !connects {
        return Ok(reserved);
    }
    connected(service, id, operation_id).await
}

fn check(wanted: &CreateAttachment) -> Result<()> {
    if let Some(connector) = &wanted.connector {
        check_connector(connector)?;
    }
    if let Some(instance_id) = &wanted.instance_id {
        limits::check_name("instance id", instance_id)?;
    }
    if let Some(mountpoint) = &wanted.mountpoint {
        limits::check_text("mountpoint", mountpoint)?;
    }
    Ok(())
}

fn check_connector(connector: &Value) -> Result<()> {
    if !connector.is_object() {
        return Err(Error::invalid("The connector must be a JSON object."));
    }
    let length = connector.to_string().len();
    if length > limits::CONNECTOR_MAX_BYTES {
        return Err(Error::invalid(format!(
            "The connector has {length} bytes, more than {}.",
            limits::CONNECTOR_MAX_BYTES
        )));
    }
    for key in ["host", "mountpoint"] {
        if let Some(text) = connector.get(key).and_then(Value::as_str) {
            limits::check_text(key, text)?;
        }
    }
    Ok(())
}

fn host_name(connector: &Value) -> Option<String> {
    connector.get("host")?.as_str().map(str::to_owned)
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Several attachments of one volume are allowed only if all of them read.
fn check_shared(tx: &mut Transaction<'_>, volume: &Volume, mode: AttachMode) -> Result<()> {
    let others = attachments::of_volume(tx, volume.id)?;
    let shared_reading = mode == AttachMode::ReadOnly
        && !others.is_empty()
        && others
            .iter()
            .all(|other| other.mode == AttachMode::ReadOnly);
    let allowed = match volume.status {
        VolumeStatus::Available => true,
        VolumeStatus::Reserved | VolumeStatus::Attaching | VolumeStatus::InUse => shared_reading,
        _ => false,
    };
    if !allowed {
        return Err(Error::new(
            ErrorKind::Conflict,
            Subject::Volume,
            format!(
                "Invalid volume: Volume {} status must be available to reserve (or all its attachments read-only), but the \
                 current status is {}.",
                volume.id,
                volume.status.as_str()
            ),
        )
        .on(volume.id.to_string()));
    }
    if others.len() >= limits::ATTACHMENTS_PER_VOLUME_MAX {
        return Err(Error::new(
            ErrorKind::QuotaExceeded,
            Subject::Attachment,
            format!(
                "Volume {} has {} attachments, which is the most.",
                volume.id,
                others.len()
            ),
        ));
    }
    Ok(())
}

/// One attachment.
pub async fn get(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
) -> Result<Attachment> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    service.database.read(move |tx| own(tx, &tenancy, id)).await
}

/// The attachment, if the requester may know of it.
fn own(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: AttachmentId) -> Result<Attachment> {
    let attachment = attachments::find(tx, id)?
        .filter(|attachment| tenancy.sees(&attachment.project_id))
        .ok_or_else(|| Error::not_found(Subject::Attachment, id))?;
    tenancy.check(&attachment.project_id, None)?;
    Ok(attachment)
}

/// A page of attachments, oldest first.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    query: AttachmentQuery,
) -> Result<Page<Attachment>> {
    policy::check(request, Rule::VolumeGetAll)?;
    if query.all_projects {
        policy::is_admin(request)?;
    }
    let project_id = (!query.all_projects).then(|| request.project_id.clone());
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetAll).within(project_id.clone());
    let limit = service.page_size(query.limit);
    service
        .database
        .read(move |tx| {
            let after = match query.marker {
                None => None,
                Some(id) => {
                    let marker = own(tx, &tenancy, id)
                        .map_err(|_| Error::invalid(format!("marker [{id}] not found")))?;
                    Some((marker.created_at_us, marker.id))
                }
            };
            let filter = attachments::Filter {
                project_id: project_id.clone(),
                volume_id: query.volume_id,
                instance_id: query.instance_id.clone(),
                status: query.status.clone(),
                after,
            };
            let found = attachments::list(tx, &filter, limit.saturating_add(1))?;
            Ok(Page::cut(found, limit))
        })
        .await
}

/// The attachments of some volumes, for views of volumes.
pub async fn of_volumes(
    service: &Service,
    request: &RequestContext,
    volumes: &[VolumeId],
) -> Result<Vec<Attachment>> {
    policy::check(request, Rule::VolumeGet)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeGet);
    let volumes = volumes.to_vec();
    service
        .database
        .read_one(move |tx| attachments::of_volumes(tx, tenancy.project(), &volumes))
        .await
}

/// Gives a reserved attachment its connector, connects, and waits for the connection info.
pub async fn connect(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
    connector: Value,
) -> Result<Attachment> {
    check_connector(&connector)?;
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentUpdate);
    let now_us = service.context.now_us();
    let operation = new_operation(service, request, OperationKind::AttachVolume, now_us);
    let operation_id = operation.id;
    let begun = service
        .database
        .write(move |tx| {
            let attachment = own(tx, &tenancy, id)?;
            volumes::lock(tx, attachment.volume_id)?;
            refuse_error(&volumes::get(tx, attachment.volume_id)?)?;
            let from = [AttachmentStatus::Reserved, AttachmentStatus::ErrorAttaching];
            if !attachments::change_status(tx, id, &from, AttachmentStatus::Attaching)? {
                let now = own(tx, &tenancy, id)?;
                return same_again(tx, now, &connector);
            }
            let mountpoint = connector.get("mountpoint").and_then(Value::as_str);
            let host = host_name(&connector);
            attachments::set_connector(tx, id, &connector, host.as_deref(), mountpoint)?;
            attachments::set_failure(tx, id, "")?;
            let volume = volumes::get(tx, attachment.volume_id)?;
            insert_operation(tx, &operation, id, &volume.zone, now_us)?;
            volumes::settle(tx, volume.id, now_us)?;
            Ok(Begun::Operation(operation_id))
        })
        .await?;
    match begun {
        Begun::Before(attachment) => Ok(*attachment),
        Begun::Operation(operation) => connected(service, id, operation).await,
    }
}

/// What is in an error state is not connected: OpenStack answers 409, and not as elsewhere 400.
fn refuse_error(volume: &Volume) -> Result<()> {
    let status = volume.status.as_str();
    if !status.contains("error") {
        return Ok(());
    }
    let text = format!(
        "Volume attachments can not be updated if the volume is in an error state. The Volume {} currently has a status of: \
         {status}",
        volume.id
    );
    Err(Error::new(ErrorKind::Conflict, Subject::Request, text))
}

/// What a request to connect led to.
enum Begun {
    /// It is connected already, by the same connector.
    Before(Box<Attachment>),
    /// An operation connects it.
    Operation(OperationId),
}

/// The same request again is answered with what the first one led (or leads) to; another connector is refused.
fn same_again(tx: &mut Transaction<'_>, now: Attachment, connector: &Value) -> Result<Begun> {
    let is_on_its_way = matches!(
        now.status,
        AttachmentStatus::Attached | AttachmentStatus::Attaching
    );
    if now.connector != *connector || !is_on_its_way {
        return Err(wrong_state(&now, "reserved"));
    }
    Ok(
        match operations::find_unfinished(tx, &now.id.to_string())? {
            Some(operation) => Begun::Operation(operation.id),
            None => Begun::Before(Box::new(now)),
        },
    )
}

/// The consumer says that it uses the volume: attachment `attached`, volume `in-use`.
pub async fn complete(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
) -> Result<Attachment> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentComplete);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let attachment = own(tx, &tenancy, id)?;
            volumes::lock(tx, attachment.volume_id)?;
            let attachment = own(tx, &tenancy, id)?;
            let is_connected = attachment
                .connection_info
                .as_object()
                .is_some_and(|info| !info.is_empty());
            match attachment.status {
                AttachmentStatus::Attached => {}
                AttachmentStatus::Attaching if is_connected => {
                    let from = [AttachmentStatus::Attaching];
                    attachments::change_status(tx, id, &from, AttachmentStatus::Attached)?;
                    attachments::set_attached_at(tx, id, now_us)?;
                }
                _ => return Err(wrong_state(&attachment, "attaching or attached")),
            }
            volumes::settle(tx, attachment.volume_id, now_us)?;
            own(tx, &tenancy, id)
        })
        .await
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

/// Disconnects and removes the attachment, and waits for it; returns what is left on the volume.
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

async fn depart(
    service: &Service,
    request: &RequestContext,
    id: AttachmentId,
) -> Result<Departure> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentDelete);
    let now_us = service.context.now_us();
    let operation = new_operation(service, request, OperationKind::DetachVolume, now_us);
    service
        .database
        .write(move |tx| {
            let volume_id = own(tx, &tenancy, id)?.volume_id;
            volumes::lock(tx, volume_id)?;
            let attachment = own(tx, &tenancy, id)?;
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
    attachments::set_failure(tx, id, "")?;
    let volume = volumes::get(tx, volume_id)?;
    insert_operation(tx, operation, id, &volume.zone, now_us)?;
    volumes::settle(tx, volume_id, now_us)?;
    Ok(Departure::Detaching(operation.id, volume_id))
}

/// Begins the end of an attachment of a volume that is locked; nobody waits for it.
///
/// # Errors
/// `Conflict` while an operation connects it.
pub(super) fn let_go(
    tx: &mut Transaction<'_>,
    context: &Context,
    request: &RequestContext,
    attachment: &Attachment,
    now_us: i64,
) -> Result<()> {
    let operation = NewOperation {
        id: OperationId(context.new_uuid()),
        kind: OperationKind::DetachVolume,
        target: String::new(),
        zone: String::new(),
        request_id: request.request_id.clone(),
        not_before_us: now_us,
    };
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
    let now_us = service.context.now_us();
    let found = service
        .database
        .write(move |tx| {
            volumes::lock(tx, id)?;
            let volume = visible(tx, &policy::tenancy_of(&asked, Rule::VolumeAdminActionsForceDetach), id)?;
            let held = attachments::of_volume(tx, id)?;
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
            super::reset_status::heal(tx, &volume, now_us)?;
            Ok(found)
        })
        .await?;
    match found {
        Some(attachment) => delete(service, request, attachment).await.map(drop),
        None => Ok(()),
    }
}

fn new_operation(
    service: &Service,
    request: &RequestContext,
    kind: OperationKind,
    now_us: i64,
) -> NewOperation {
    NewOperation {
        id: OperationId(service.context.new_uuid()),
        kind,
        target: String::new(),
        zone: String::new(),
        request_id: request.request_id.clone(),
        not_before_us: now_us,
    }
}

fn insert_operation(
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

/// Waits for an attachment to be connected.
async fn connected(
    service: &Service,
    id: AttachmentId,
    operation: OperationId,
) -> Result<Attachment> {
    let outcome = finished(service, operation, Instant::now() + WAIT).await?;
    let attachment = service
        .database
        .read(move |tx| attachments::get(tx, id))
        .await?;
    match outcome.as_ref().map(|operation| operation.state) {
        Some(OperationState::Failed) => {
            Err(failed("Connecting the volume failed", &attachment, outcome))
        }
        _ => Ok(attachment),
    }
}

/// Waits for an operation to end; `None` when its row is gone, which means that it ended long ago.
async fn finished(
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

fn failed(what: &str, attachment: &Attachment, outcome: Option<Operation>) -> Error {
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

fn wrong_state(attachment: &Attachment, expected: &str) -> Error {
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
