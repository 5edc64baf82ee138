//! SR type `netapp`: LUNs of a NetApp filer, which makes them, their snapshots and their clones.
//!
//! Parameters, limits and errors: `docs/sr-types.md`. How it lies on the filer: `array/ontap`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use uuid::Uuid;
use xenapi::Failure;

use super::array_sr::{ArraySrOptions, AttachedArraySr};
use super::backend_error::{self as backend, Command};
use super::netapp_config::NetappConfig;
use super::{AttachedSr, ConfigChanges, DriverInfo, SrParams, SrType};
use crate::array::ontap::{Aggregate, Filer, NewSr, OntapVolumes, create_sr, delete_sr, find_srs};
use crate::array::{ArrayError, Fault, IscsiVolumes};
use crate::medium::probe_document::ProbeDocument;

pub(crate) use super::netapp_config::OTHER_CONFIG_KEYS;

/// What the SM record says.
static INFO: DriverInfo = DriverInfo {
    sr_type: "netapp",
    name_label: "NetApp",
    name_description: "SR plugin which manages LUNs of a NetApp filer (clustered ONTAP 9.1 and later), with its own snapshots and clones",
    capabilities: &[
        "SR_PROBE",
        "SR_UPDATE",
        "VDI_CREATE",
        "VDI_DELETE",
        "VDI_ATTACH",
        "VDI_DETACH",
        "VDI_UPDATE",
        "VDI_CLONE",
        "VDI_SNAPSHOT",
        "VDI_REVERT",
        "VDI_RESIZE",
        "VDI_RESIZE_ONLINE",
    ],
    configuration: &[
        (
            "target",
            "name or address of the filer's management interface, of the cluster or of the SVM (required)",
        ),
        ("username", "account on the filer (required)"),
        ("password", "its password (required)"),
        (
            "aggregate",
            "aggregate that receives the FlexVols (required to make an SR)",
        ),
        (
            "FlexVols",
            "number of FlexVols, 1 to 32 (optional, default 8)",
        ),
        ("allocation", "thick or thin (optional, default thick)"),
        (
            "asis",
            "true for deduplication, with thin allocation only (optional, default false)",
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
            "api",
            "rest or zapi, the filer's interface (optional, default by its version)",
        ),
        ("svm", "the SVM (optional where there is only one)"),
        (
            "port",
            "port of the management interface (optional, default 443; controlport means the same)",
        ),
        (
            "usehttps",
            "false for HTTP without TLS (optional, default true)",
        ),
        (
            "tls_fingerprint",
            "SHA-256 of the filer's certificate (optional)",
        ),
        (
            "ca_certificate",
            "PEM file with the authority of the filer's certificate (optional)",
        ),
        (
            "tls_verify",
            "false accepts any certificate (optional, default true)",
        ),
    ],
    required_count: 3,
};

/// How long a call may take that makes, lists or deletes all FlexVols.
const PATIENCE: Duration = Duration::from_secs(110);

/// The SR type.
#[derive(Debug, Default)]
pub struct NetappSr {
    /// What is attached, so that attaching again gives the same. Each SR has a lock of its own: a filer that hangs keeps no
    /// other SR waiting.
    attached: Mutex<BTreeMap<Uuid, Slot>>,
}

type Slot = Arc<Mutex<Weak<AttachedArraySr>>>;

impl SrType for NetappSr {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    /// Makes the FlexVols.
    ///
    /// # Errors
    /// 123 without an aggregate that is there; the document lists those that are.
    fn create(&self, params: &SrParams) -> Result<(), Failure> {
        let config = NetappConfig::of(params)?;
        let failed = |error| backend::array(Command::SrCreate, params.sr_uuid, &error);
        let filer = config.open().map_err(failed)?;
        let aggregate = chosen_aggregate(&filer, &config, params.sr_uuid)?;
        // What could not be attached afterwards is not made.
        filer.iscsi_target().map_err(failed)?;
        let new = NewSr {
            sr: params.sr_uuid,
            flexvols: config.flexvols,
            aggregate: aggregate.name,
            is_thin: config.is_thin,
            is_deduplicated: config.is_deduplicated,
        };
        create_sr(&filer, &new).map_err(failed)
    }

    /// Lists the SRs of the filer.
    fn probe(&self, params: &SrParams) -> Result<String, Failure> {
        let config = NetappConfig::of(params)?;
        let found = config.open().and_then(|filer| find_srs(&filer));
        let found =
            found.map_err(|error| backend::array(Command::SrAttach, params.sr_uuid, &error))?;
        let mut document = ProbeDocument::new("SRlist");
        for sr in found {
            document.open("SR");
            document.element("UUID", &sr.sr.to_string());
            document.element("Size", &sr.size.to_string());
            document.element("Aggregate", &sr.mark.aggregate);
            if let Some(labels) = &sr.mark.labels {
                document.element("name_label", &labels.name_label);
                document.element("name_description", &labels.name_description);
            }
            document.close();
        }
        Ok(document.finish())
    }

    fn attach(&self, params: &SrParams) -> Result<Arc<dyn AttachedSr>, Failure> {
        let slot = self.slot(params.sr_uuid);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sr) = slot.upgrade().filter(|sr| sr.is_attached()) {
            return Ok(sr);
        }
        let config = NetappConfig::of(params)?;
        let initiator = config.initiator()?.to_owned();
        let attached: Result<_, ArrayError> = config.open().and_then(|filer| {
            let options = config.volumes();
            let volumes = OntapVolumes::attach(filer, params.sr_uuid, &initiator, options)?;
            let portals = volumes.portal_list()?;
            Ok((volumes, portals))
        });
        let (volumes, portals) =
            attached.map_err(|error| backend::array(Command::SrAttach, params.sr_uuid, &error))?;
        let allocation = if volumes.mark().is_thin {
            "thin"
        } else {
            "thick"
        };
        let options = ArraySrOptions {
            initiator: initiator.clone(),
            config_changes: ConfigChanges::default()
                .sm("allocation", allocation)
                .device("multihomelist", portals),
        };
        let data = Arc::new(IscsiVolumes::new(initiator));
        let sr = AttachedArraySr::new(params.sr_uuid, Arc::new(volumes), data, options);
        let sr = Arc::new(sr);
        *slot = Arc::downgrade(&sr);
        Ok(sr)
    }

    /// Deletes the FlexVols. The filer keeps them in its recovery queue for a while.
    ///
    /// # Errors
    /// `SR_NOT_EMPTY` while a LUN of ours is in one, 63 while another's is.
    fn delete(&self, params: &SrParams) -> Result<(), Failure> {
        let config = NetappConfig::of(params)?;
        let deleted = config
            .open()
            .and_then(|filer| delete_sr(&filer, params.sr_uuid));
        let left =
            deleted.map_err(|error| backend::array(Command::SrDelete, params.sr_uuid, &error))?;
        match left {
            None => Ok(()),
            Some(lun) if lun.contains("/xensm-") => Err(Failure::new("SR_NOT_EMPTY", [""])),
            Some(lun) => {
                let detail = format!(
                    "{lun} is in a FlexVol of the SR and is none of its VDIs; move it elsewhere, or delete it on the filer"
                );
                Err(backend::failed(Command::SrDelete, &detail))
            }
        }
    }
}

impl NetappSr {
    /// The place of an SR; places that nobody uses are dropped.
    fn slot(&self, sr_uuid: Uuid) -> Slot {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.lock().is_ok_and(|sr| sr.strong_count() > 0)
        });
        attached.entry(sr_uuid).or_default().clone()
    }
}

/// The aggregate that is configured; names differ by more than case.
fn chosen_aggregate(
    filer: &Filer,
    config: &NetappConfig,
    sr_uuid: Uuid,
) -> Result<Aggregate, Failure> {
    let found = filer
        .aggregates()
        .map_err(filer.failed("list the aggregates"));
    let found = found.map_err(|error| backend::array(Command::SrCreate, sr_uuid, &error))?;
    let document = aggregate_list(&found);
    let Some(wanted) = &config.aggregate else {
        let detail = "name one of the aggregates by device_config:aggregate";
        return Err(Fault::NetappAggregate.with_document(detail, &document));
    };
    let mut all = found.into_iter();
    all.find(|it| it.name.eq_ignore_ascii_case(wanted))
        .ok_or_else(|| {
            let detail = format!(
                "{} has no aggregate {wanted:?} for this account",
                filer.name()
            );
            Fault::NetappAggregate.with_document(&detail, &document)
        })
}

/// The document of error 123.
fn aggregate_list(aggregates: &[Aggregate]) -> String {
    let mut document = ProbeDocument::new("Aggrlist");
    for aggregate in aggregates {
        document.open("Aggr");
        document.element("Name", &aggregate.name);
        document.element("Size", &aggregate.size.to_string());
        document.element("Disks", &aggregate.disks.to_string());
        document.element("RAIDType", &aggregate.raid_type);
        // Every aggregate of ONTAP 9 can.
        document.element("asis_dedup", "True");
        document.close();
    }
    document.finish()
}
