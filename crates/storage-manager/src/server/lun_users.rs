//! Which LUNs of the pool are in use, and by whom: an SR lies on one, or one is a VDI.
//!
//! A LUN is known by its SCSI id alone, whatever target or adapter leads to it: to one LUN of an array several often do.
//!
//! ```text
//! an SR on a LUN:  claim it -> look whether it is a VDI -> format it -> record the SR -> let go of the claim
//! a VDI of a LUN:  choose one that nobody has -> in one transaction: look again, and record it
//! ```
//! Whichever of the two comes second sees the other: the record, or else the claim.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;
use xenapi::Failure;

use super::{Server, forgotten_luns};
use crate::database::{Object, Objects};
use crate::layout::lun_per_vdi::{SCSI_ID, vdi_uuid};
use crate::sr::SrParams;

/// Key in `SR.sm_config`: the devices that an SR lies on, each `scsi-<SCSI id>` and a comma.
const DEVICE_SERIALS: &str = "devserial";

/// What a device in [`DEVICE_SERIALS`] begins with.
const SCSI: &str = "scsi-";

/// Who has a LUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LunUser {
    /// An SR lies on it, or is confined to it.
    Sr {
        /// The SR's uuid.
        sr_uuid: String,
    },
    /// It is a VDI in use.
    Vdi {
        /// The VDI's uuid.
        uuid: String,
        /// The uuid of its SR.
        sr_uuid: String,
    },
    /// It was a VDI in use when its SR was forgotten.
    Forgotten {
        /// The uuid of the SR.
        sr_uuid: String,
        /// Where that is noted in `pool.other_config`.
        key: String,
    },
}

impl fmt::Display for LunUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LunUser::Sr { sr_uuid } => write!(
                f,
                "belongs to SR {sr_uuid}; choose another LUN, or destroy that SR first"
            ),
            LunUser::Vdi { uuid, sr_uuid } => write!(
                f,
                "is VDI {uuid} of SR {sr_uuid}; choose another LUN, or destroy that VDI first"
            ),
            LunUser::Forgotten { sr_uuid, key } => write!(
                f,
                "was a VDI in use when SR {sr_uuid} was forgotten; choose another LUN, or introduce that SR and destroy the VDI, or remove {key} from pool.other_config if nobody needs it any more"
            ),
        }
    }
}

/// The LUNs on which SRs are being made.
#[derive(Debug, Default)]
pub struct LunClaims(Mutex<BTreeSet<Uuid>>);

/// A LUN that is claimed until this is dropped.
#[derive(Debug)]
pub struct LunClaim {
    claims: Arc<LunClaims>,
    lun: Uuid,
}

impl LunClaims {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LunClaim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.lun);
    }
}

/// Claims the LUN that an SR is to be made on; none where no LUN is named.
///
/// # Errors
/// 16 when somebody has it.
pub fn claim(server: &Server, params: &SrParams) -> Result<Option<LunClaim>, Failure> {
    let Some(scsi_id) = scsi_id(&params.device_config) else {
        return Ok(None);
    };
    let lun = vdi_uuid(scsi_id);
    if !server.lun_claims.lock().insert(lun) {
        return Err(in_use(&format!(
            "LUN {scsi_id} is being made an SR by another call"
        )));
    }
    let claim = LunClaim {
        claims: server.lun_claims.clone(),
        lun,
    };
    match of_others(&server.database.read(), None).get(&lun) {
        Some(user) => Err(in_use(&format!("LUN {scsi_id} {user}"))),
        None => Ok(Some(claim)),
    }
}

/// Refuses to attach an SR on a LUN that is a VDI in use of another.
///
/// # Errors
/// 16 with which.
pub fn check_attach(
    objects: &Objects,
    sr: &str,
    device_config: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let Some(scsi_id) = scsi_id(device_config) else {
        return Ok(());
    };
    match of_others(objects, Some(sr)).get(&vdi_uuid(scsi_id)) {
        Some(user @ LunUser::Vdi { .. }) => Err(in_use(&format!("LUN {scsi_id} {user}"))),
        _ => Ok(()),
    }
}

/// Refuses a LUN as VDI of an SR that somebody else has.
///
/// # Errors
/// 46 with who.
pub fn check_vdi(
    server: &Server,
    objects: &Objects,
    sr: &str,
    sm_config: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let Some(scsi_id) = scsi_id(sm_config) else {
        return Ok(());
    };
    let lun = vdi_uuid(scsi_id);
    let refused = |why: &str| {
        let detail = format!("LUN {scsi_id} {why}");
        Err(Failure::backend(
            46,
            "The VDI is not available",
            &detail,
            "",
        ))
    };
    if server.lun_claims.lock().contains(&lun) {
        return refused("is being made an SR; try again with another");
    }
    match of_others(objects, Some(sr)).get(&lun) {
        // Whoever names it, or scans it, takes over what it was.
        None | Some(LunUser::Forgotten { .. }) => Ok(()),
        Some(user) => refused(&user.to_string()),
    }
}

/// The LUNs that are not an SR's to take, as the VDIs that they would be.
pub fn taken_by_others(server: &Server, objects: &Objects, sr: &str) -> BTreeSet<Uuid> {
    let mut taken: BTreeSet<Uuid> = of_others(objects, Some(sr)).into_keys().collect();
    taken.extend(&*server.lun_claims.lock());
    taken
}

/// The LUNs that somebody has, without those of `sr`.
fn of_others(objects: &Objects, sr: Option<&str>) -> BTreeMap<Uuid, LunUser> {
    let is_own = |reference: &str| Some(reference) == sr;
    let mut users = BTreeMap::new();
    for (lun, sr_uuid, key) in forgotten_luns::noted(objects) {
        users.insert(lun, LunUser::Forgotten { sr_uuid, key });
    }
    let of_sr = |record: &Object| LunUser::Sr {
        sr_uuid: record.uuid().to_owned(),
    };
    for record in objects.all("SR").filter(|sr| !is_own(&sr.reference)) {
        let serials = record.entry("sm_config", DEVICE_SERIALS).unwrap_or("");
        let ids = serials.split(',').filter_map(|it| it.strip_prefix(SCSI));
        users.extend(ids.map(|id| (vdi_uuid(id), of_sr(record))));
    }
    for pbd in objects.all("PBD").filter(|pbd| !is_own(pbd.text("SR"))) {
        let id = pbd.entry("device_config", SCSI_ID);
        if let (Some(id), Some(record)) = (id, objects.find("SR", pbd.text("SR"))) {
            users.insert(vdi_uuid(id), of_sr(record));
        }
    }
    let vdis = objects.all("VDI").filter(|vdi| !is_own(vdi.text("SR")));
    for vdi in vdis.filter(|vdi| vdi.flag("managed")) {
        let id = vdi.entry("sm_config", SCSI_ID);
        if let (Some(id), Some(record)) = (id, objects.find("SR", vdi.text("SR"))) {
            let user = LunUser::Vdi {
                uuid: vdi.uuid().to_owned(),
                sr_uuid: record.uuid().to_owned(),
            };
            users.insert(vdi_uuid(id), user);
        }
    }
    users
}

fn scsi_id(config: &BTreeMap<String, String>) -> Option<&str> {
    let id = config.get(SCSI_ID).map(|id| id.trim());
    id.filter(|id| !id.is_empty())
}

fn in_use(detail: &str) -> Failure {
    Failure::backend(16, "The SR device is currently in use", detail, "")
}
