//! Attachments that this service itself makes in instances: EC2's AttachVolume and DetachVolume. OpenStack sees them as any other, and
//! may end them.

use serde_json::json;

use super::attachments::{self as attachments_app, let_go};
use super::volumes::visible;
use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations::NewOperation;
use crate::db::{Transaction, attachments, instance_attachments, instances, operations, volumes};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, InstanceId, OperationId, VolumeId};
use crate::model::instance::{BlockDevice, Instance, InstanceAttachment, position_of};
use crate::model::operation::OperationKind;
use crate::model::volume::{Volume, VolumeStatus};

/// Most volumes of one instance.
pub const ATTACHMENTS_PER_INSTANCE_MAX: usize = 200;
/// Most instances of one volume that several may write.
pub const INSTANCES_PER_VOLUME_MAX: usize = 16;

/// Why a volume is not attached, or not detached; EC2 has a code for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What was given is no name of a device.
    DeviceMalformed,
    /// The instance is gone for good.
    InstanceGone,
    /// Volume and instance are in different zones.
    OtherZone,
    /// The volume is in a state in which it is not attached.
    VolumeNotAvailable,
    /// The volume is attached.
    VolumeInUse,
    /// The device's position is taken.
    DeviceTaken,
    /// The instance, or the volume, has as many attachments as it may.
    TooMany,
    /// The volume is attached to nothing; the state that it is in.
    NotAttached(VolumeStatus),
    /// The volume is not attached there.
    NoSuchAttachment,
    /// The volume is attached to several instances and none is named.
    WhichInstance,
}

/// What an attachment request led to.
pub type Outcome<T> = Result<std::result::Result<T, Refusal>>;

/// What is to be attached to what.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The volume.
    pub volume_id: VolumeId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The device's name in it.
    pub device: String,
}

/// Begins to attach a volume; nobody waits for the end.
pub async fn attach(
    service: &Service,
    request: &RequestContext,
    wanted: Attach,
) -> Outcome<Attachment> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentCreate);
    let now_us = service.context.now_us();
    let id = AttachmentId(service.context.new_uuid());
    let operation = NewOperation {
        id: OperationId(service.context.new_uuid()),
        kind: OperationKind::AttachInstance,
        target: id.to_string(),
        zone: String::new(),
        request_id: request.request_id.clone(),
        not_before_us: now_us,
    };
    let project_id = request.project_id.clone();
    service
        .database
        .write(move |tx| {
            volumes::lock(tx, wanted.volume_id)?;
            let volume = visible(tx, &tenancy, wanted.volume_id)?;
            let instance = instances::of_id(tx, wanted.instance_id)?;
            let instance = instance
                .ok_or_else(|| Error::not_found(Subject::Instance, wanted.instance_id.ec2_id()))?;
            let scope = instance.scope(&project_id);
            let position = match check(tx, &volume, &instance, &scope, &wanted.device)? {
                Ok(position) => position,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let attachment = new_attachment(id, &volume, &instance, &wanted.device, now_us);
            attachments::insert(tx, &attachment)?;
            let known = InstanceAttachment {
                instance_id: instance.id,
                scope,
                position,
                delete_on_termination: false,
                is_forced: false,
                is_terminated: false,
                vbd_uuid: None,
            };
            if !instance_attachments::insert(tx, id, &known)? {
                // Somebody was quicker; what was written here goes.
                let text = "The instance's attachment point is already in use.";
                return Err(Error::new(ErrorKind::Conflict, Subject::Attachment, text)
                    .on(wanted.device.clone()));
            }
            let operation = NewOperation {
                zone: volume.zone.clone(),
                ..operation.clone()
            };
            operations::insert(tx, &operation, now_us)?;
            volumes::settle(tx, volume.id, now_us)?;
            Ok(Ok(attachment))
        })
        .await
}

fn new_attachment(
    id: AttachmentId,
    volume: &Volume,
    instance: &Instance,
    device: &str,
    now_us: i64,
) -> Attachment {
    let mode = match volume.traits.read_only {
        Some(true) => AttachMode::ReadOnly,
        _ => AttachMode::ReadWrite,
    };
    Attachment {
        id,
        volume_id: volume.id,
        project_id: volume.project_id.clone(),
        instance_id: Some(instance.id.to_string()),
        host_name: None,
        mountpoint: Some(device.to_owned()),
        status: AttachmentStatus::Attaching,
        mode,
        connector: json!({"protocols": ["xen-vbd"]}),
        connection_info: json!({}),
        failure: String::new(),
        attached_at_us: None,
        detached_at_us: None,
        created_at_us: now_us,
        delete_on_termination: false,
    }
}

/// Checks whether a volume can be attached, in EC2's order; says at which position.
fn check(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    instance: &Instance,
    scope: &str,
    device: &str,
) -> Outcome<u32> {
    let Some(position) = position_of(device, instance.is_control_domain) else {
        return Ok(Err(Refusal::DeviceMalformed));
    };
    if instance.gone_at_us.is_some() {
        return Ok(Err(Refusal::InstanceGone));
    }
    if volume.zone != instance.zone {
        return Ok(Err(Refusal::OtherZone));
    }
    if let Some(refusal) = check_volume(tx, volume, instance)? {
        return Ok(Err(refusal));
    }
    let mut ours = instance_attachments::of_instance(tx, instance.id)?;
    ours.retain(|(_, known)| known.scope == scope);
    let is_ours = |device: &BlockDevice| {
        let mut ids = ours.iter().map(|(id, _)| id.0);
        device
            .attachment
            .is_some_and(|attachment| ids.any(|id| id == attachment))
    };
    // What a control domain has at its positions is found out by nobody: there they are names.
    let foreign: Vec<_> = instance
        .devices
        .iter()
        .filter(|device| !instance.is_control_domain && !is_ours(device))
        .collect();
    let is_taken = ours.iter().any(|(_, known)| known.position == position)
        || foreign
            .iter()
            .any(|device| device.position == Some(position));
    if is_taken {
        return Ok(Err(Refusal::DeviceTaken));
    }
    if ours.len() + foreign.len() >= ATTACHMENTS_PER_INSTANCE_MAX {
        return Ok(Err(Refusal::TooMany));
    }
    Ok(Ok(position))
}

/// Why a volume is not attached to an instance; none when it may be.
fn check_volume(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    instance: &Instance,
) -> Result<Option<Refusal>> {
    // Its key is a compute service's: a pool would give the instance the bare bytes.
    if volume.traits.encryption_key_id.is_some() {
        return Ok(Some(Refusal::VolumeNotAvailable));
    }
    let is_claimed = match volume.status {
        VolumeStatus::Available => return Ok(None),
        VolumeStatus::Reserved
        | VolumeStatus::Attaching
        | VolumeStatus::InUse
        | VolumeStatus::Detaching => true,
        _ => false,
    };
    if !is_claimed {
        return Ok(Some(Refusal::VolumeNotAvailable));
    }
    if !volume.traits.multiattach {
        return Ok(Some(Refusal::VolumeInUse));
    }
    let others = attachments::of_volume(tx, volume.id)?;
    for other in &others {
        // Where a compute service attaches a volume, it decides who else does.
        let known = instance_attachments::find(tx, other.id)?;
        if known.is_none_or(|known| known.instance_id == instance.id) {
            return Ok(Some(Refusal::VolumeInUse));
        }
    }
    Ok((others.len() >= INSTANCES_PER_VOLUME_MAX).then_some(Refusal::TooMany))
}

/// What is to be detached from what.
#[derive(Clone, Debug)]
pub struct Detach {
    /// The volume.
    pub volume_id: VolumeId,
    /// The EC2 name of the instance; none for the only one.
    pub instance: Option<String>,
    /// The device's name; none for whatever it has.
    pub device: Option<String>,
    /// Without the guest's consent.
    pub is_forced: bool,
}

/// Begins to detach a volume; nobody waits for the end. What is being detached is answered as it is.
pub async fn detach(
    service: &Service,
    request: &RequestContext,
    wanted: Detach,
) -> Outcome<Attachment> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeAttachmentDelete);
    let now_us = service.context.now_us();
    let (inner, asked) = (service.clone(), request.clone());
    service
        .database
        .write(move |tx| {
            volumes::lock(tx, wanted.volume_id)?;
            let volume = visible(tx, &tenancy, wanted.volume_id)?;
            let held = attachments::of_volume(tx, volume.id)?;
            let attachment = match meant(&volume, &held, &wanted) {
                Ok(attachment) => attachment,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let id = attachment.id;
            if instance_attachments::find(tx, id)?.is_none() {
                attachments_app::check_end(&inner, &asked, std::slice::from_ref(attachment), None)?;
            }
            if wanted.is_forced {
                instance_attachments::set_forced(tx, id)?;
            }
            let at_work = operations::find_unfinished(tx, &id.to_string())?;
            if at_work.is_some_and(|at_work| at_work.kind == OperationKind::AttachInstance) {
                // It sees in the end that it is not wanted, and takes back what it has done.
                let (from, to) = (AttachmentStatus::Attaching, AttachmentStatus::Detaching);
                attachments::change_status(tx, id, &[from], to)?;
                volumes::settle(tx, volume.id, now_us)?;
            } else {
                let_go(tx, &inner.context, &asked, attachment, now_us)?;
            }
            let shown = Attachment {
                status: AttachmentStatus::Detaching,
                ..attachment.clone()
            };
            Ok(Ok(shown))
        })
        .await
}

/// The attachment that a request means.
fn meant<'a>(
    volume: &Volume,
    held: &'a [Attachment],
    wanted: &Detach,
) -> std::result::Result<&'a Attachment, Refusal> {
    if held.is_empty() {
        return Err(Refusal::NotAttached(volume.status));
    }
    let is_there = |attachment: &&Attachment| match (&wanted.instance, &attachment.instance_id) {
        (None, _) => true,
        (Some(named), Some(instance)) => instance
            .parse::<InstanceId>()
            .is_ok_and(|id| id.ec2_id().starts_with(named.as_str())),
        (Some(_), None) => false,
    };
    let mut found = held.iter().filter(is_there);
    let first = found.next().ok_or(Refusal::NoSuchAttachment)?;
    if found.next().is_some() {
        return Err(Refusal::WhichInstance);
    }
    let is_device = |device: &String| Some(device) == first.mountpoint.as_ref();
    match wanted.device.as_ref().is_none_or(is_device) {
        true => Ok(first),
        false => Err(Refusal::NoSuchAttachment),
    }
}

/// Says of the project's volumes in an instance, by their devices' names, whether they go when the instance goes for good. Returns the
/// first device that none of them has; then nothing is changed.
pub async fn set_delete_on_termination(
    service: &Service,
    request: &RequestContext,
    instance_id: InstanceId,
    wanted: Vec<(String, bool)>,
) -> Result<Option<String>> {
    policy::check(request, Rule::VolumeAttachmentUpdate)?;
    let project_id = request.project_id.clone();
    service
        .database
        .write(move |tx| {
            let held = instance_attachments::held(tx, &project_id, instance_id)?;
            let mut found = Vec::with_capacity(wanted.len());
            for (device, delete_on_termination) in &wanted {
                let has_it = |one: &&Attachment| one.mountpoint.as_ref() == Some(device);
                match held.iter().find(has_it) {
                    Some(attachment) => found.push((attachment.id, *delete_on_termination)),
                    None => return Ok(Some(device.clone())),
                }
            }
            for (id, delete_on_termination) in found {
                instance_attachments::set_delete_on_termination(tx, id, delete_on_termination)?;
            }
            Ok(None)
        })
        .await
}
