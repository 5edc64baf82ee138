//! Attaches a volume to an instance: makes a VBD at the position that was asked for, and plugs it.
//!
//! Nobody waits for it. In the end the attachment is `attached`, or gone as if it had never been. In a VM that is off the VBD is
//! plugged by the pool when the VM starts. In a control domain the position is a name only, and the answer tells where the bytes are
//! served.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::connection_info;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::detach_volume::{attachment_id, disconnect, settle_volume, whereabouts};
use super::job::{Job, SrName};
use super::{notice, volume_qos};
use crate::db::{attachments, backends, instance_attachments, instances, volumes};
use crate::driver::{Trouble, Unplug, VbdSpec, VbdTarget};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};

/// The operation.
pub(super) struct AttachInstance;

/// Its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Reads what is to be attached to what.
    Read,
    /// Makes sure that the instance's host reaches the SR.
    ReachHost,
    /// Makes the VBD.
    MakeVbd,
    /// Plugs it, unless the VM is off.
    Plug,
}

/// What they produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    sr: SrName,
    volume: String,
    vdi_uuid: Uuid,
    instance: Uuid,
    /// None in a control domain, which has no positions of ours.
    position: Option<u32>,
    is_read_only: bool,
    /// What the pool is to know of the traffic that is wanted.
    pool_qos: BTreeMap<String, String>,
    vbd_uuid: Option<Uuid>,
    connection_info: Option<Value>,
    /// True when the guest may have the volume still.
    #[serde(default)]
    may_have_left: bool,
}

impl Definition for AttachInstance {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Read, Step::ReachHost, Step::MakeVbd, Step::Plug];

    fn attempts_max(_: Step) -> u32 {
        5
    }

    fn begin(at: &mut StepTransaction<'_, '_>, step: Step, outputs: &mut Outputs) -> Result<Begin> {
        match step {
            Step::Read => read(at, outputs),
            Step::ReachHost | Step::MakeVbd | Step::Plug => Ok(Begin::Act),
        }
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        match step {
            Step::Read => Ok(()),
            Step::ReachHost => reach_host(job, outputs).await,
            Step::MakeVbd => {
                outputs.vbd_uuid = Some(make_vbd(job, outputs, look).await?);
                Ok(())
            }
            Step::Plug => plug(job, outputs).await,
        }
    }

    fn has_undo(step: Step) -> bool {
        step == Step::MakeVbd
    }

    async fn undo(job: &Job, _step: Step, outputs: &mut Outputs) -> Result<()> {
        let attachment = attachment_id(&job.target)?;
        let found = job.engine.database();
        let found = found.read(move |tx| whereabouts(tx, attachment)).await?;
        let how = found.map_or(Unplug::Ask, |(_, how)| how);
        disconnect(job, attachment, outputs.vdi_uuid, how).await
    }

    fn undo_failed(_: Step, outputs: &mut Outputs) {
        outputs.may_have_left = true;
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let id = attachment_id(&at.operation.target)?;
        let (from, to) = (AttachmentStatus::Attaching, AttachmentStatus::Attached);
        let is_wanted = attachments::change_status(at.transaction, id, &[from], to)?;
        let (Some(info), Some(vbd), true) = (&outputs.connection_info, outputs.vbd_uuid, is_wanted)
        else {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        };
        attachments::set_connection_info(at.transaction, id, info)?;
        attachments::set_attached_at(at.transaction, id, at.context.now_us())?;
        instance_attachments::set_vbd(at.transaction, id, vbd)?;
        let volume = attachments::get(at.transaction, id)?.volume_id;
        settle_volume(at, volume)?;
        Ok(Finish::Succeeded)
    }

    /// The attachment goes: EC2 has no failed ones. Where the guest may have the volume still it is `busy` instead, which a reconciler
    /// ends: nobody else may have the volume before.
    fn fail(at: &mut StepTransaction<'_, '_>, outputs: &Outputs, reason: &Reason) -> Result<()> {
        let id = attachment_id(&at.operation.target)?;
        let Some(attachment) = attachments::find(at.transaction, id)? else {
            return Ok(());
        };
        let is_wanted = attachment.status == AttachmentStatus::Attaching;
        if !is_wanted && attachment.status != AttachmentStatus::Detaching {
            return Ok(());
        }
        if outputs.may_have_left {
            let from = [AttachmentStatus::Attaching, AttachmentStatus::Detaching];
            let to = AttachmentStatus::ErrorDetaching;
            attachments::change_status(at.transaction, id, &from, to)?;
            attachments::set_failure(at.transaction, id, &reason.public)?;
        } else {
            attachments::remove(at.transaction, id)?;
        }
        settle_volume(at, attachment.volume_id)?;
        if is_wanted {
            let volume = attachment.volume_id;
            notice::volume_failed(at, volume, notice::NOT_ATTACHED, &reason.public)?;
        }
        Ok(())
    }
}

const NO_LONGER_WANTED: &str = "the attachment was ended while it was being made";

fn read(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    let id = attachment_id(&at.operation.target)?;
    let found = attachments::find(at.transaction, id)?;
    let is_wanted = |attachment: &Attachment| attachment.status == AttachmentStatus::Attaching;
    let known = instance_attachments::find(at.transaction, id)?;
    let (Some(attachment), Some(known)) = (found.filter(is_wanted), known) else {
        return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
    };
    let instance = instances::of_id(at.transaction, known.instance_id)?;
    let Some(instance) = instance.filter(|instance| instance.gone_at_us.is_none()) else {
        return Ok(Begin::Undo(Reason::new("the instance is gone")));
    };
    let volume = volumes::get(at.transaction, attachment.volume_id)?;
    let (Some(backend), Some(vdi_uuid)) = (volume.backend_id, volume.vdi_uuid) else {
        return Ok(Begin::Undo(Reason::new("the volume has no VDI")));
    };
    let backend = backends::get(at.transaction, at.vault, backend)?;
    outputs.sr = SrName::of(&backend);
    outputs.volume = volume.id.to_string();
    outputs.vdi_uuid = vdi_uuid;
    outputs.instance = instance.id.0;
    outputs.position = (!instance.is_control_domain).then_some(known.position);
    outputs.is_read_only = attachment.mode == AttachMode::ReadOnly;
    outputs.pool_qos = volume_qos::of_volume(at.transaction, &volume)?.pool;
    Ok(Begin::Next)
}

async fn reach_host(job: &Job, outputs: &Outputs) -> Result<()> {
    let Some(sr) = outputs.sr.sr_uuid else {
        return Ok(());
    };
    let plugged = job.pool()?.plug_sr_for(sr, outputs.instance).await;
    plugged.map_err(|error| outputs.sr.error(error))
}

/// Makes the VBD, after removing what earlier tries left: one of an earlier generation may be removed by its maker.
async fn make_vbd(job: &Job, outputs: &Outputs, look: bool) -> Result<Uuid> {
    let attachment = attachment_id(&job.target)?;
    if look {
        disconnect(job, attachment, outputs.vdi_uuid, Unplug::Ask).await?;
    }
    let spec = VbdSpec {
        vdi_uuid: outputs.vdi_uuid,
        target: VbdTarget::Vm {
            uuid: outputs.instance,
            position: outputs.position,
        },
        attachment,
        deployment: job.deployment(),
        mode: outputs.mode(),
        qos: outputs.pool_qos.clone(),
    };
    let error = match job.pool()?.create_vbd(&spec).await {
        Ok(uuid) => return Ok(uuid),
        Err(error) => error,
    };
    if error.outcome_unknown {
        disconnect(job, attachment, outputs.vdi_uuid, Unplug::Ask).await?;
    }
    Err(outputs.sr.error(error))
}

async fn plug(job: &Job, outputs: &mut Outputs) -> Result<()> {
    let Some(vbd) = outputs.vbd_uuid else {
        return Err(missing_vbd(outputs));
    };
    let endpoint = match job.pool()?.plug_vbd(vbd).await {
        Ok(endpoint) => endpoint,
        // The pool plugs it when the VM starts.
        Err(error) if error.trouble == Trouble::Halted => None,
        Err(error) if error.trouble == Trouble::Gone => return Err(missing_vbd(outputs)),
        Err(error) => return Err(outputs.sr.error(error)),
    };
    let wanted = connection_info::Wanted {
        mode: outputs.mode(),
        qos: None,
        enforces_multipath: false,
    };
    outputs.connection_info = Some(match endpoint {
        Some(endpoint) => connection_info::of_nbd(&outputs.volume, &endpoint, &wanted),
        None => connection_info::of_vbd(&outputs.volume, outputs.instance, vbd, &wanted),
    });
    Ok(())
}

impl Outputs {
    fn mode(&self) -> AttachMode {
        match self.is_read_only {
            true => AttachMode::ReadOnly,
            false => AttachMode::ReadWrite,
        }
    }
}

fn missing_vbd(outputs: &Outputs) -> Error {
    let public = "the connection was removed while it was being made";
    Error::new(ErrorKind::Conflict, Subject::Attachment, public).detail(format!(
        "backend {}, VDI {}, VM {}: the VBD {:?} is gone",
        outputs.sr.backend, outputs.vdi_uuid, outputs.instance, outputs.vbd_uuid
    ))
}
