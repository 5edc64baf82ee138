//! SR type `iscsi`: existing LUNs of an iSCSI target as VDIs.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::iscsi_config::{IscsiConfig, session_list};
use super::lun_per_vdi_sr::{AttachedLunSr, LunSrOptions, LunUse, keeps_bytes};
use super::{AttachedSr, ConfigChanges, DriverInfo, KnownSr, SrParams, SrType};
use crate::layout::lun_per_vdi::{Look, LunSource};
use crate::medium::iscsi::IscsiLuns;
use crate::medium::probe_document::ProbeDocument;

/// What the SM record says; the texts are XenServer's.
static INFO: DriverInfo = DriverInfo {
    sr_type: "iscsi",
    name_label: "iSCSI",
    name_description: "Base ISCSI SR driver, provides a LUN-per-VDI. Does not support creation of VDIs but accesses existing LUNs on a target.",
    capabilities: &[
        "SR_PROBE",
        "VDI_ATTACH",
        "VDI_CREATE",
        "VDI_DELETE",
        "VDI_DETACH",
        "VDI_INTRODUCE",
    ],
    configuration: &[
        (
            "target",
            "IP address or hostname of the iSCSI target (required)",
        ),
        (
            "targetIQN",
            "The IQN of the target LUN group to be attached (required)",
        ),
        (
            "chapuser",
            "The username to be used during CHAP authentication (optional)",
        ),
        (
            "chappassword",
            "The password to be used during CHAP authentication (optional)",
        ),
        (
            "incoming_chapuser",
            "The incoming username to be used during bi-directional CHAP authentication (optional)",
        ),
        (
            "incoming_chappassword",
            "The incoming password to be used during bi-directional CHAP authentication (optional)",
        ),
        (
            "port",
            "The network port number on which to query the target (optional)",
        ),
        (
            "multihomed",
            "Enable multi-homing to this target, true or false (optional, defaults to same value as host.other_config:multipathing)",
        ),
        (
            "force_tapdisk",
            "Force use of tapdisk, true or false (optional, defaults to false)",
        ),
    ],
    required_count: 2,
};

/// How long a call may take that logs in to all portals, of which some may not answer.
const PATIENCE: Duration = Duration::from_secs(110);

/// The SR type.
#[derive(Debug, Default)]
pub struct IscsiSr {
    /// What is attached, so that attaching again gives the same. Each SR has a lock of its own: a target that hangs keeps no
    /// other SR waiting.
    attached: Mutex<BTreeMap<Uuid, Slot>>,
}

type Slot = Arc<Mutex<Weak<AttachedLunSr>>>;

impl SrType for IscsiSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    /// Two SRs of one target would have the same VDIs.
    fn check_beside(&self, params: &SrParams, others: &[KnownSr]) -> Result<(), Failure> {
        let wanted = params.device_config.get("targetIQN");
        let other = others.iter().find(|other| {
            wanted.is_some_and(|wanted| other.sm_config.get("targetIQN") == Some(wanted))
        });
        match other {
            Some(other) => Err(backend::sr_in_use(&format!(
                "SR {} has the LUNs of this target already",
                other.sr_uuid
            ))),
            None => Ok(()),
        }
    }

    /// Nothing is written: the LUNs are others'. That they can be reached is checked.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let config = IscsiConfig::of(params)?;
        let luns = luns(&config, config.login()?);
        let listed = luns.luns(Look::Rescan).map_err(|error| {
            backend::failed(
                Command::SrScan,
                &format!("list the LUNs of {}: {error}", luns.name()),
            )
        });
        luns.release();
        listed.map(drop)
    }

    /// LUNs say nothing of SRs that use them. Without `targetIQN` the failure lists the targets.
    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        self.create(params)?;
        Ok(ProbeDocument::new("SRlist").finish())
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let slot = self.slot(params.sr_uuid);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sr) = slot.upgrade().filter(|sr| sr.is_attached()) {
            return Ok(sr);
        }
        let config = IscsiConfig::of(params)?;
        let sessions = config.login()?;
        let mut changes = ConfigChanges::default()
            .sm("disktype", "Raw")
            .sm("datatype", "ISCSI")
            .sm("target", config.hosts())
            .sm("targetIQN", config.target_list())
            .sm("multipathable", "true");
        if sessions.len() > 1 {
            changes = changes.device("multiSession", session_list(&sessions));
        }
        let tapdisk = params.device_config.get("force_tapdisk");
        let options = LunSrOptions {
            keeps_bytes: keeps_bytes(&params.device_config),
            lun_use: LunUse::Taken,
            backend_kind: (tapdisk.map(String::as_str) != Some("true")).then_some("vbd"),
            config_changes: changes,
        };
        let luns = Arc::new(luns(&config, sessions));
        let sr = Arc::new(AttachedLunSr::new(params.sr_uuid, luns, options));
        *slot = Arc::downgrade(&sr);
        Ok(sr)
    }

    /// Nothing is removed: the LUNs are others', and what VDIs hold stays on them.
    fn delete(&self, _params: &SrParams) -> Result<(), Failure> {
        Ok(())
    }
}

impl IscsiSr {
    /// The place of an SR; places that nobody uses are dropped.
    fn slot(&self, sr_uuid: Uuid) -> Slot {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.lock().is_ok_and(|sr| sr.strong_count() > 0)
        });
        attached.entry(sr_uuid).or_default().clone()
    }
}

fn luns(config: &IscsiConfig, sessions: Vec<Arc<crate::medium::iscsi::Session>>) -> IscsiLuns {
    let name = format!("target {} at {}", config.target_list(), config.hosts());
    IscsiLuns::new(name, sessions, config.scsi_id.clone())
}
