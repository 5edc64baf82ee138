//! SR types `hba` and `rawhba`: LUNs behind the host bus adapters of this machine as VDIs.
//!
//! Parameters, limits and errors: `docs/sr-types.md`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::lun_per_vdi_sr::{AttachedLunSr, LunSrOptions, LunUse, keeps_bytes};
use super::{AttachedSr, ConfigChanges, DriverInfo, KnownSr, SrParams, SrType};
use crate::layout::lun_per_vdi::Look;
use crate::medium::hba::{HbaLuns, Sysfs};
use crate::medium::probe_document::ProbeDocument;

/// What the SM record of `hba` says; the texts are XenServer's.
static HBA: DriverInfo = DriverInfo {
    sr_type: "hba",
    name_label: "HBA LUN-per-VDI driver",
    name_description: "SR plugin which represents LUNs as VDIs sourced by hardware HBA adapters, e.g. hardware-based iSCSI or FC support",
    capabilities: &[
        "SR_PROBE",
        "VDI_ATTACH",
        "VDI_CREATE",
        "VDI_DELETE",
        "VDI_DETACH",
        "VDI_INTRODUCE",
    ],
    configuration: &[("type", "HBA type (optional) (e.g. FC, iSCSI, SAS etc..)")],
    required_count: 0,
};

/// What the SM record of `rawhba` says; the texts are XenServer's.
static RAW_HBA: DriverInfo = DriverInfo {
    sr_type: "rawhba",
    name_label: "RawHBA LUN-per-VDI driver",
    name_description: "SR plugin which represents LUNs as VDIs sourced by hardware HBA adapters, FC support",
    capabilities: &["SR_PROBE", "VDI_ATTACH", "VDI_DELETE", "VDI_DETACH"],
    configuration: &[("type", "HBA type (optional) (e.g. FC, iSCSI, SAS etc..)")],
    required_count: 0,
};

/// Every family of adapters.
const ANY: &str = "any";

/// One of the two SR types.
#[derive(Debug)]
pub struct HbaSr {
    info: &'static DriverInfo,
    lun_use: LunUse,
    sysfs: Sysfs,
    /// What is attached, so that attaching again gives the same.
    attached: Mutex<BTreeMap<Uuid, Weak<AttachedLunSr>>>,
}

impl HbaSr {
    /// `hba`: LUNs are taken into use and given back.
    pub fn hba(sysfs: Sysfs) -> Self {
        HbaSr {
            info: &HBA,
            lun_use: LunUse::Taken,
            sysfs,
            attached: Mutex::default(),
        }
    }

    /// `rawhba`: every LUN is a VDI in use.
    pub fn rawhba(sysfs: Sysfs) -> Self {
        HbaSr {
            info: &RAW_HBA,
            lun_use: LunUse::All,
            sysfs,
            attached: Mutex::default(),
        }
    }

    fn luns(&self, params: &SrParams) -> HbaLuns {
        HbaLuns::new(self.sysfs.clone(), family(params))
    }
}

fn family(params: &SrParams) -> &str {
    let family = params.device_config.get("type").map(|text| text.trim());
    family.filter(|text| !text.is_empty()).unwrap_or(ANY)
}

impl SrType for HbaSr {
    fn info(&self) -> &'static DriverInfo {
        self.info
    }

    /// Two SRs of one family would have the same VDIs.
    fn check_beside(&self, params: &SrParams, others: &[KnownSr]) -> Result<(), Failure> {
        let family = family(params);
        let has_luns = |other: &&KnownSr| {
            let of = |key: &str| other.sm_config.get(key).map(String::as_str);
            let theirs = of("hbatype").unwrap_or(ANY);
            of("datatype") == Some("HBA") && [theirs, family].contains(&ANY)
                || of("datatype") == Some("HBA") && theirs.eq_ignore_ascii_case(family)
        };
        match others.iter().find(has_luns) {
            Some(other) => Err(backend::sr_in_use(&format!(
                "SR {} has the LUNs of these adapters already; name another family by device_config:type",
                other.sr_uuid
            ))),
            None => Ok(()),
        }
    }

    /// Nothing is written: the LUNs are others'.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        require_adapters(&self.luns(params), Command::SrCreate)
    }

    /// LUNs say nothing of SRs that use them.
    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        require_adapters(&self.luns(params), Command::SrAttach)?;
        Ok(ProbeDocument::new("SRlist").finish())
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|_, sr| sr.strong_count() > 0);
        let known = attached.get(&params.sr_uuid).and_then(Weak::upgrade);
        if let Some(sr) = known.filter(|sr| sr.is_attached()) {
            return Ok(sr);
        }
        let options = LunSrOptions {
            keeps_bytes: keeps_bytes(&params.device_config),
            lun_use: self.lun_use,
            // XenServer's `rawhba` has no such key.
            backend_kind: (self.lun_use == LunUse::Taken).then_some("vbd"),
            config_changes: ConfigChanges::default()
                .sm("disktype", "Raw")
                .sm("datatype", "HBA")
                .sm("hbatype", family(params))
                .sm("multipathable", "true"),
        };
        let luns = Arc::new(self.luns(params));
        let sr = Arc::new(AttachedLunSr::new(params.sr_uuid, luns, options));
        attached.insert(params.sr_uuid, Arc::downgrade(&sr));
        Ok(sr)
    }

    /// Nothing is removed: the LUNs are others', and what VDIs hold stays on them.
    fn delete(&self, _params: &SrParams) -> Result<(), Failure> {
        Ok(())
    }
}

/// Checks that there are adapters, and that their LUNs can be listed.
///
/// # Errors
/// 19 when there is none.
fn require_adapters(luns: &HbaLuns, command: Command) -> Result<(), Failure> {
    use crate::layout::lun_per_vdi::LunSource;
    let adapters = luns.adapters().and_then(|adapters| {
        luns.paths_by_lun(Look::Known)?;
        Ok(adapters)
    });
    let adapters = adapters
        .map_err(|error| backend::failed(command, &format!("look for {}: {error}", luns.name())))?;
    if adapters.is_empty() {
        let detail = format!(
            "{} are none; see that the driver of the adapter is loaded, or that device_config:type names what there is",
            luns.name()
        );
        return Err(Failure::backend(19, "No such device", &detail, ""));
    }
    Ok(())
}
