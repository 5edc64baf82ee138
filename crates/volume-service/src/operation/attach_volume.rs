//! Attaches a volume: tells a Xen host what to introduce, or plugs a VBD into the control domain and tells where it is served.
//!
//! On success the attachment has its connection info and stays `attaching` until the consumer says that it uses the volume.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::connection_info;
use super::definition::{Begin, Definition, Finish, Reason, StepTransaction};
use super::detach_volume::{attachment_id, disconnect, settle_volume};
use super::job::{Job, SrName};
use super::{notice, volume_qos};
use crate::db::{attachments, backends, volumes};
use crate::driver::{FoundVbd, Unplug, VbdSpec, VbdTarget};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};

/// The operation.
pub(super) struct AttachVolume;

/// Its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Reads what is to be attached, and answers a Xen host, which needs nothing from the pool.
    Read,
    /// Makes the VBD on the control domain.
    MakeVbd,
    /// Plugs it and reads where it is served.
    Plug,
}

/// What they produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outputs {
    sr: SrName,
    volume: String,
    vdi_uuid: Uuid,
    is_read_only: bool,
    is_xen_host: bool,
    #[serde(default)]
    enforces_multipath: bool,
    /// What the pool is to know of the traffic that is wanted.
    #[serde(default)]
    pool_qos: BTreeMap<String, String>,
    /// What the consumer is told of it.
    #[serde(default)]
    told_qos: Option<BTreeMap<String, String>>,
    vbd_uuid: Option<Uuid>,
    connection_info: Option<Value>,
}

impl Definition for AttachVolume {
    type Step = Step;
    type Outputs = Outputs;

    const STEPS: &'static [Step] = &[Step::Read, Step::MakeVbd, Step::Plug];

    fn attempts_max(_: Step) -> u32 {
        5
    }

    fn begin(at: &mut StepTransaction<'_, '_>, step: Step, outputs: &mut Outputs) -> Result<Begin> {
        match step {
            Step::Read => read(at, outputs),
            // A Xen host is answered already.
            Step::MakeVbd | Step::Plug if outputs.is_xen_host => Ok(Begin::Next),
            Step::MakeVbd | Step::Plug => Ok(Begin::Act),
        }
    }

    async fn run(job: &Job, step: Step, outputs: &mut Outputs, look: bool) -> Result<()> {
        match step {
            Step::Read => Ok(()),
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
        if !outputs.is_xen_host {
            disconnect(
                job,
                attachment_id(&job.target)?,
                outputs.vdi_uuid,
                Unplug::Ask,
            )
            .await?;
        }
        Ok(())
    }

    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Outputs) -> Result<Finish> {
        let id = attachment_id(&at.operation.target)?;
        let status = AttachmentStatus::Attaching;
        let is_wanted = attachments::change_status(at.transaction, id, &[status], status)?;
        let Some(info) = outputs.connection_info.as_ref().filter(|_| is_wanted) else {
            return Ok(Finish::Undo(Reason::new(NO_LONGER_WANTED)));
        };
        attachments::set_connection_info(at.transaction, id, info)?;
        attachments::set_failure(at.transaction, id, "")?;
        Ok(Finish::Succeeded)
    }

    fn fail(at: &mut StepTransaction<'_, '_>, _: &Outputs, reason: &Reason) -> Result<()> {
        let id = attachment_id(&at.operation.target)?;
        let (from, to) = (
            AttachmentStatus::Attaching,
            AttachmentStatus::ErrorAttaching,
        );
        if attachments::change_status(at.transaction, id, &[from], to)? {
            attachments::set_failure(at.transaction, id, &reason.public)?;
            let volume = attachments::get(at.transaction, id)?.volume_id;
            settle_volume(at, volume)?;
            notice::volume_failed(at, volume, notice::NOT_ATTACHED, &reason.public)?;
        }
        Ok(())
    }
}

const NO_LONGER_WANTED: &str = "the attachment was removed while it was being made";

fn read(at: &mut StepTransaction<'_, '_>, outputs: &mut Outputs) -> Result<Begin> {
    let id = attachment_id(&at.operation.target)?;
    let found = attachments::find(at.transaction, id)?;
    let is_wanted = |attachment: &Attachment| attachment.status == AttachmentStatus::Attaching;
    let Some(attachment) = found.filter(is_wanted) else {
        return Ok(Begin::Undo(Reason::new(NO_LONGER_WANTED)));
    };
    let volume = volumes::get(at.transaction, attachment.volume_id)?;
    let (Some(backend), Some(vdi_uuid)) = (volume.backend_id, volume.vdi_uuid) else {
        return Ok(Begin::Undo(Reason::new("the volume has no VDI")));
    };
    let backend = backends::get(at.transaction, at.vault, backend)?;
    outputs.sr = SrName::of(&backend);
    outputs.volume = volume.id.to_string();
    outputs.vdi_uuid = vdi_uuid;
    outputs.is_read_only = attachment.mode == AttachMode::ReadOnly;
    outputs.is_xen_host = is_xen_host(&attachment.connector);
    let enforces = attachment.connector.get("enforce_multipath");
    outputs.enforces_multipath = enforces.and_then(Value::as_bool).unwrap_or_default();
    let qos = volume_qos::of_volume(at.transaction, &volume)?;
    (outputs.pool_qos, outputs.told_qos) = (qos.pool, qos.told);
    if outputs.is_xen_host {
        outputs.connection_info =
            connection_info::of_xen_host(&volume, &backend, &outputs.wanted());
    }
    Ok(Begin::Next)
}

/// A Xen host says so: it names the protocol, or itself.
fn is_xen_host(connector: &Value) -> bool {
    let protocols = connector.get("protocols").and_then(Value::as_array);
    let names_it = protocols.is_some_and(|all| all.iter().any(|one| one == "xensm"));
    names_it || connector.get("host_uuid").is_some_and(Value::is_string)
}

/// Makes the VBD, after removing what earlier tries left: one of an earlier generation may be removed by its maker.
async fn make_vbd(job: &Job, outputs: &Outputs, look: bool) -> Result<Uuid> {
    let attachment = attachment_id(&job.target)?;
    if look {
        disconnect(job, attachment, outputs.vdi_uuid, Unplug::Ask).await?;
    }
    let spec = VbdSpec {
        vdi_uuid: outputs.vdi_uuid,
        target: VbdTarget::ControlDomain,
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
    let found = job.pool()?.vbds(Some(outputs.vdi_uuid)).await;
    let found: Vec<FoundVbd> = found.map_err(|error| job.zone_error(error))?;
    let known = |vbd: &&FoundVbd| Some(vbd.uuid) == outputs.vbd_uuid;
    let Some(vbd) = found.iter().find(known) else {
        return Err(missing_vbd(outputs));
    };
    let plugged = job.pool()?.plug_vbd(vbd.uuid).await;
    let endpoint = plugged.map_err(|error| outputs.sr.error(error))?;
    let Some(endpoint) = endpoint else {
        return Err(not_served(outputs));
    };
    let info = connection_info::of_nbd(&outputs.volume, &endpoint, &outputs.wanted());
    outputs.connection_info = Some(info);
    Ok(())
}

impl Outputs {
    fn mode(&self) -> AttachMode {
        match self.is_read_only {
            true => AttachMode::ReadOnly,
            false => AttachMode::ReadWrite,
        }
    }

    fn wanted(&self) -> connection_info::Wanted<'_> {
        connection_info::Wanted {
            mode: self.mode(),
            qos: self.told_qos.as_ref(),
            enforces_multipath: self.enforces_multipath,
        }
    }
}

fn missing_vbd(outputs: &Outputs) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Attachment,
        "the connection was removed while it was being made",
    )
    .detail(format!(
        "backend {}, VDI {}: the VBD {:?} is gone",
        outputs.sr.backend, outputs.vdi_uuid, outputs.vbd_uuid
    ))
}

fn not_served(outputs: &Outputs) -> Error {
    Error::new(
        ErrorKind::NotSupported,
        Subject::Attachment,
        "this pool serves volumes to Xen hosts only",
    )
    .detail(format!(
        "backend {}, VDI {}: the plugged VBD has no other_config:{} and other_config:{}",
        outputs.sr.backend,
        outputs.vdi_uuid,
        crate::driver::NBD_SOCKET_KEY,
        crate::driver::NBD_EXPORT_KEY
    ))
}
