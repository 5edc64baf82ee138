//! SR type `lvmoiscsi`: LVHD on a LUN of an iSCSI target. XenServer's driver answers to `lvhdoiscsi` too, by which no pool
//! calls it.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::sync::Arc;
use std::time::Duration;

use xenapi::Failure;

use super::iscsi_config::{IscsiConfig, session_list};
use super::lvhd::{self, LvhdDevices, LvhdMedium, LvhdSrs};
use super::vhd_files_sr::MediumGuard;
use super::{AttachedSr, ConfigChanges, DriverInfo, SrParams, SrType};
use crate::layout::lun_per_vdi::{Look, LunSource};
use crate::medium::block_device::BlockDevice;
use crate::medium::iscsi::{IscsiDevice, IscsiLuns};
use crate::medium::owner::Ownership;
use crate::medium::probe_document::ProbeDocument;

/// The texts are XenServer's.
const NAME: &str = "LVHD over iSCSI";
const DESCRIPTION: &str = "SR plugin which represents disks as Logical Volumes within a Volume Group created on an iSCSI LUN";

const CONFIGURATION: &[(&str, &str)] = &[
    ("SCSIid", "The scsi_id of the destination LUN"),
    (
        "target",
        "IP address or hostname of the iSCSI target (required)",
    ),
    (
        "targetIQN",
        "The IQN of the target LUN group to be attached",
    ),
    (
        "chapuser",
        "The username to be used during CHAP authentication",
    ),
    (
        "chappassword",
        "The password to be used during CHAP authentication",
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
        "The network port number on which to query the target",
    ),
    (
        "multihomed",
        "Enable multi-homing to this target, true or false (optional, defaults to same value as host.other_config:multipathing)",
    ),
    (
        "usediscoverynumber",
        "The specific iscsi record index to use (optional; of no effect here, where no records are kept)",
    ),
    (
        "allocation",
        "Valid values are thick or thin (optional, defaults to thick)",
    ),
];

/// What the SM record says.
static INFO: DriverInfo = DriverInfo {
    sr_type: "lvmoiscsi",
    name_label: NAME,
    name_description: DESCRIPTION,
    capabilities: lvhd::CAPABILITIES,
    configuration: CONFIGURATION,
    required_count: 3,
};

/// How long a call may take that logs in to all portals, of which some may not answer.
const PATIENCE: Duration = Duration::from_secs(110);

/// The SR type.
#[derive(Debug, Default)]
pub struct LvmoIscsiSr {
    attached: LvhdSrs,
}

/// Holds the sessions while the SR is attached.
#[derive(Debug)]
struct Sessions(Arc<IscsiLuns>);

impl MediumGuard for Sessions {
    fn release(&self) -> Result<(), Failure> {
        self.0.release();
        Ok(())
    }

    fn note_owner(&self, ownership: &Arc<Ownership>) {
        let gate = ownership.clone();
        self.0.ask_before_repeating(Arc::new(move || gate.check()));
    }

    fn health(&self) -> Option<String> {
        self.0.health()
    }
}

/// The LUN that a configuration names, and what it was reached by.
struct FoundLun {
    luns: Arc<IscsiLuns>,
    devices: LvhdDevices,
    sessions: String,
    session_count: usize,
    scsi_id: String,
}

impl SrType for LvmoIscsiSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn resolved(&self, mut params: SrParams) -> Result<SrParams, Failure> {
        let has = |key: &str| params.device_config.contains_key(key);
        if has("LUNid") && !has("SCSIid") {
            let found = find(&params)?;
            found.luns.release();
            params
                .device_config
                .insert("SCSIid".to_owned(), found.scsi_id);
        }
        Ok(params)
    }

    /// Makes a volume group on the LUN; what is on it is refused, unless `device_config:force` is `true`.
    ///
    /// # Errors
    /// 96 with the list of targets, 107 with the list of LUNs, where one must be chosen.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        with_lun(params, |devices| lvhd::create(params, devices))
    }

    /// The SR on the LUN; without a LUN the failure lists those that there are.
    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        with_lun(params, |devices| lvhd::probe(params, &devices.all))
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let of = |key: &str| params.device_config.get(key).cloned().unwrap_or_default();
        let place = ["target", "port", "targetIQN", "SCSIid", "LUNid"]
            .map(of)
            .join(" ");
        let sr = self.attached.attach(params, &place, || {
            let found = find(params)?;
            let mut config_changes = ConfigChanges::default().sm("multipathable", "true");
            if params.device_config.get("SCSIid") != Some(&found.scsi_id) {
                config_changes = config_changes
                    .device("SCSIid", found.scsi_id)
                    .without_device("LUNid");
            }
            if found.session_count > 1 {
                config_changes = config_changes.device("multiSession", found.sessions);
            }
            Ok(LvhdMedium {
                devices: found.devices,
                guard: Arc::new(Sessions(found.luns)),
                config_changes,
            })
        })?;
        Ok(sr)
    }

    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        with_lun(params, |devices| lvhd::delete(params, devices))
    }
}

/// Does something with the LUN and logs out again.
fn with_lun<T>(
    params: &SrParams,
    work: impl FnOnce(&LvhdDevices) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let found = find(params)?;
    let result = work(&found.devices);
    found.luns.release();
    result
}

/// Logs in and finds the LUN that is configured.
fn find(params: &SrParams) -> Result<FoundLun, Failure> {
    let config = IscsiConfig::of(params)?;
    let sessions = config.login()?;
    let (session_list, session_count) = (session_list(&sessions), sessions.len());
    let name = format!("target {} at {}", config.target_list(), config.hosts());
    let luns = Arc::new(IscsiLuns::new(name, sessions, None));
    let devices = luns
        .devices(Look::Rescan)
        .map_err(|error| device_missing(&error))?;
    let scsi_id = match (&config.scsi_id, config.lun_id) {
        (Some(scsi_id), _) => Some(scsi_id.clone()),
        (None, Some(number)) => devices
            .iter()
            .find(|device| device.lun() == number)
            .map(|device| device.identity().scsi_id),
        (None, None) => None,
    };
    let is_there = |id: &String| {
        devices
            .iter()
            .any(|device| device.identity().scsi_id == *id)
    };
    let Some(scsi_id) = scsi_id.filter(is_there) else {
        let detail = match (&config.scsi_id, config.lun_id) {
            (Some(id), _) => {
                format!("no LUN has the SCSI id {id}; name one of those that there are")
            }
            (None, Some(number)) => {
                format!("there is no LUN {number}; name one of those that there are")
            }
            (None, None) => "name one of the LUNs by device_config:SCSIid".to_owned(),
        };
        return Err(lun_list(&devices, &detail));
    };
    let device = luns
        .open(&scsi_id)
        .map_err(|error| device_missing(&error))?;
    let for_record = luns.open_for_record(&scsi_id);
    let for_record = for_record.map_err(|error| device_missing(&error))?;
    Ok(FoundLun {
        luns,
        devices: LvhdDevices {
            all: vec![device],
            for_record: Some(vec![for_record]),
        },
        sessions: session_list,
        session_count,
        scsi_id,
    })
}

fn device_missing(error: &std::io::Error) -> Failure {
    Failure::backend(67, "Failed to find ISCSI device", &error.to_string(), "")
}

/// 107, with the LUNs that there are. Source: reference 4.10.
fn lun_list(devices: &[Arc<IscsiDevice>], detail: &str) -> Failure {
    let mut document = ProbeDocument::new("iscsi-target");
    let mut listed = Vec::new();
    for device in devices {
        let identity = device.identity();
        if identity.scsi_id.is_empty() || listed.contains(&identity.scsi_id) {
            continue;
        }
        document.open("LUN");
        document.element("vendor", &identity.vendor);
        document.element("productid", &identity.product);
        document.element("serial", &identity.serial);
        document.element("LUNid", &device.lun().to_string());
        document.element("size", &device.size().unwrap_or_default().to_string());
        document.element("SCSIid", &identity.scsi_id);
        document.close();
        listed.push(identity.scsi_id);
    }
    let text = "The SCSIid parameter is missing or incorrect";
    Failure::backend(107, text, detail, &document.finish())
}
