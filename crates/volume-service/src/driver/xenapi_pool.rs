//! The pool behind XenAPI: the calls of the Xen Storage Manager driver, in its order.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;
use xenapi::client::{
    Client, Credentials, Endpoint, IntroduceSr, NewPbd, NewSr, NewVbd, NewVdi, Options, Trust,
    VbdMode,
};
use xenapi::record::{HostRecord, PbdRecord, SrRecord, VbdRecord};
use xenapi::reference::{HostRef, PbdRef, SrRef, VbdRef, VdiRef};

use super::error::{PoolError, Trouble};
use super::instances::FoundInstance;
use super::marks::{
    ATTACHMENT_KEY, BACKEND_KEY, DEPLOYMENT_KEY, GENERATION_KEY, Making, NBD_EXPORT_KEY,
    NBD_SOCKET_KEY, OPERATION_KEY, VM_KEY, VOLUME_KEY, vdi_description, vdi_label,
};
use super::moment::{MOMENT_MEMBERS, MomentOutcomes};
use super::pool::{
    ForeignVdi, FoundSr, FoundVbd, FoundVdi, NbdEndpoint, Pool, PoolFuture, Resize, SrSpace,
    SrSpec, Unplug, VbdSpec, VbdTarget, VdiMarks, VdiSpec,
};
use super::probe::{self, Probed};
use super::xenapi_error::{is_gone, translate};
use super::xenapi_vdi::{foreign_vdis, found_vdi, is_marked};
use crate::config::{self, PoolConfig};
use crate::error::{Error, Result};
use crate::model::attachment::AttachMode;
use crate::model::id::VolumeId;

/// How long a call may take that touches a whole medium: `SR.create`, `PBD.plug`, `SR.scan`.
const MEDIUM_DEADLINE: Duration = Duration::from_secs(120);

/// Key in `SR.other_config` by which our storage manager says that an SR does not work as it should.
const HEALTH_KEY: &str = "xensm:health";

pub(super) type PoolResult<T> = std::result::Result<T, PoolError>;

/// A pool that is reached by XenAPI.
pub struct XenApiPool {
    pub(super) client: Client,
    /// For calls that are answered when all are made: they must not take each other's places, nor those of other calls.
    pub(super) moments: Client,
    /// Held while snapshots are taken at one moment.
    pub(super) moment_turn: tokio::sync::Mutex<()>,
    /// The references of SRs by uuid. A reference that has become invalid is dropped and looked up again.
    srs: Mutex<HashMap<Uuid, SrRef>>,
}

impl XenApiPool {
    /// Makes the pool of a configuration; nothing is connected before the first call.
    ///
    /// # Errors
    /// `Invalid` for a URL, CA file or fingerprint that cannot be used.
    pub fn new(config: &PoolConfig) -> Result<Self> {
        let unusable = |error: xenapi::client::Error| {
            Error::invalid(format!("pool {} cannot be used: {error}", config.url)).caused_by(error)
        };
        let moments = Options {
            max_calls: MOMENT_MEMBERS,
            call_deadline: MEDIUM_DEADLINE,
            ..options()
        };
        Ok(XenApiPool {
            client: connect(config, options()).map_err(unusable)?,
            moments: connect(config, moments).map_err(unusable)?,
            moment_turn: tokio::sync::Mutex::default(),
            srs: Mutex::default(),
        })
    }

    pub(super) fn slow(&self) -> Client {
        self.client.with_deadline(MEDIUM_DEADLINE)
    }

    pub(super) async fn sr(&self, uuid: Uuid) -> PoolResult<SrRef> {
        if let Some(known) = self.known_srs().get(&uuid) {
            return Ok(known.clone());
        }
        let found = self.client.sr().get_by_uuid(&uuid.to_string()).await;
        let found = found.map_err(|error| translate("SR.get_by_uuid", &error))?;
        self.known_srs().insert(uuid, found.clone());
        Ok(found)
    }

    fn known_srs(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, SrRef>> {
        self.srs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the SR's reference when the pool no longer knows it, so that the next call looks it up.
    fn seen_sr<T>(
        &self,
        uuid: Uuid,
        call: &'static str,
        result: std::result::Result<T, xenapi::client::Error>,
    ) -> PoolResult<T> {
        result.map_err(|error| {
            if is_gone(&error) {
                self.known_srs().remove(&uuid);
            }
            translate(call, &error)
        })
    }

    pub(super) async fn sr_record(&self, uuid: Uuid) -> PoolResult<SrRecord> {
        let sr = self.sr(uuid).await?;
        let record = self.client.sr().get_record(&sr).await;
        self.seen_sr(uuid, "SR.get_record", record)
    }

    pub(super) async fn master(&self) -> PoolResult<(HostRef, HostRecord)> {
        let pools = self.client.pool().get_all_records().await;
        let pools = pools.map_err(|error| translate("pool.get_all_records", &error))?;
        let Some((_, pool)) = pools.into_iter().next() else {
            let text = "the pool has no pool object";
            return Err(PoolError::new(
                "pool.get_all_records",
                Trouble::Refused,
                text,
            ));
        };
        let host = self.client.host().get_record(&pool.master).await;
        let host = host.map_err(|error| translate("host.get_record", &error))?;
        Ok((pool.master, host))
    }

    /// The PBD of an SR on a host.
    pub(super) async fn pbd_on(
        &self,
        record: &SrRecord,
        host: &HostRef,
    ) -> PoolResult<Option<(PbdRef, PbdRecord)>> {
        for pbd in &record.pbds {
            match self.client.pbd().get_record(pbd).await {
                Ok(found) if found.host == *host => return Ok(Some((pbd.clone(), found))),
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(translate("PBD.get_record", &error)),
            }
        }
        Ok(None)
    }

    async fn add_mark(&self, sr: &SrRef, mark: &str) -> PoolResult<()> {
        let calls = self.client.sr();
        calls
            .remove_from_other_config(sr, BACKEND_KEY)
            .await
            .map_err(|error| translate("SR.remove_from_other_config", &error))?;
        calls
            .add_to_other_config(sr, BACKEND_KEY, mark)
            .await
            .map_err(|error| translate("SR.add_to_other_config", &error))
    }

    async fn create_sr_marked(&self, spec: &SrSpec) -> PoolResult<Uuid> {
        let (host, _) = self.master().await?;
        let new = NewSr {
            host,
            device_config: device_config(spec),
            physical_size: 0,
            name_label: spec.name_label.clone(),
            name_description: spec.name_description.clone(),
            kind: spec.sr_type.clone(),
            content_type: String::new(),
            shared: spec.is_shared,
            sm_config: sm_config(spec),
        };
        let created = self.slow().sr().create(&new).await;
        let sr = created.map_err(|error| translate("SR.create", &error))?;
        // From here on the SR exists whatever fails: its mark finds it.
        let record = self.client.sr().get_record(&sr).await;
        let record =
            record.map_err(|error| translate("SR.get_record", &error).with_unknown_outcome())?;
        let uuid = parse("SR.get_record", &record.uuid).map_err(PoolError::with_unknown_outcome)?;
        if let Err(error) = self.add_mark(&sr, &spec.mark).await {
            tracing::warn!(sr.uuid = %uuid, "mark SR {uuid} in other_config: {error}; sm_config has it");
        }
        self.known_srs().insert(uuid, sr);
        Ok(uuid)
    }

    async fn introduce(&self, uuid: Uuid, spec: &SrSpec) -> PoolResult<()> {
        let new = IntroduceSr {
            uuid: uuid.to_string(),
            name_label: spec.name_label.clone(),
            name_description: spec.name_description.clone(),
            kind: spec.sr_type.clone(),
            content_type: String::new(),
            shared: spec.is_shared,
            sm_config: sm_config(spec),
        };
        let introduced = self.client.sr().introduce(&new).await;
        let sr = introduced.map_err(|error| translate("SR.introduce", &error))?;
        self.known_srs().insert(uuid, sr.clone());
        self.add_mark(&sr, &spec.mark).await
    }

    async fn plug(&self, uuid: Uuid, spec: &SrSpec) -> PoolResult<()> {
        let (host, _) = self.master().await?;
        let record = self.sr_record(uuid).await?;
        let pbd = match self.pbd_on(&record, &host).await? {
            Some((_, record)) if record.currently_attached => return Ok(()),
            Some((pbd, _)) => pbd,
            None => {
                let new = NewPbd {
                    host,
                    sr: self.sr(uuid).await?,
                    device_config: device_config(spec),
                    other_config: BTreeMap::new(),
                };
                let created = self.client.pbd().create(&new).await;
                created.map_err(|error| translate("PBD.create", &error))?
            }
        };
        let plugged = self.slow().pbd().plug(&pbd).await;
        plugged.map_err(|error| translate("PBD.plug", &error))
    }

    async fn space(&self, uuid: Uuid) -> PoolResult<SrSpace> {
        let (host, _) = self.master().await?;
        let record = self.sr_record(uuid).await?;
        let pbd = self.pbd_on(&record, &host).await?;
        // -1 stands for what was never measured.
        let bytes = |value: i64| u64::try_from(value).ok();
        Ok(SrSpace {
            physical_size: bytes(record.physical_size),
            physical_utilisation: bytes(record.physical_utilisation),
            virtual_allocation: bytes(record.virtual_allocation),
            is_plugged: pbd.is_some_and(|(_, record)| record.currently_attached),
            is_ailing: record.other_config.contains_key(HEALTH_KEY),
        })
    }

    async fn forget(&self, uuid: Uuid) -> PoolResult<()> {
        let record = match self.sr_record(uuid).await {
            Ok(record) => record,
            Err(error) if error.trouble == Trouble::Gone => return Ok(()),
            Err(error) => return Err(error),
        };
        for pbd in &record.pbds {
            done_or_gone("PBD.unplug", self.slow().pbd().unplug(pbd).await)?;
        }
        let forgotten = self.client.sr().forget(&self.sr(uuid).await?).await;
        done_or_gone("SR.forget", forgotten)?;
        self.known_srs().remove(&uuid);
        Ok(())
    }

    async fn labelled_vdis(&self, volume: VolumeId) -> PoolResult<Vec<FoundVdi>> {
        let calls = self.client.vdi();
        let labelled = calls.get_by_name_label(&vdi_label(volume)).await;
        let labelled = labelled.map_err(|error| translate("VDI.get_by_name_label", &error))?;
        let mut found = Vec::new();
        for vdi in labelled {
            match calls.get_record(&vdi).await {
                Ok(record) => found.push(found_vdi(&record)?),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(translate("VDI.get_record", &error)),
            }
        }
        Ok(found)
    }

    async fn marked_vdis(&self, sr_uuid: Uuid) -> PoolResult<Vec<FoundVdi>> {
        let filter = format!("field \"SR\" = \"{}\"", self.sr(sr_uuid).await?.as_str());
        let records = self.slow().vdi().get_all_records_where(&filter).await;
        let records = self.seen_sr(sr_uuid, "VDI.get_all_records_where", records)?;
        records
            .iter()
            .map(|(_, record)| record)
            // What is not managed are the parents that snapshots share: the storage manager's own.
            .filter(|record| record.managed && is_marked(record))
            .map(found_vdi)
            .collect()
    }

    async fn all_vdis(&self, sr_uuid: Uuid) -> PoolResult<Vec<ForeignVdi>> {
        let filter = format!("field \"SR\" = \"{}\"", self.sr(sr_uuid).await?.as_str());
        let records = self.slow().vdi().get_all_records_where(&filter).await;
        foreign_vdis(&self.seen_sr(sr_uuid, "VDI.get_all_records_where", records)?)
    }

    async fn make_vdi(&self, spec: &VdiSpec) -> PoolResult<Uuid> {
        let sr = self.sr(spec.sr_uuid).await?;
        let size = i64::try_from(spec.size_bytes).unwrap_or(i64::MAX);
        let mut new = NewVdi::new(sr, vdi_label(spec.volume), size);
        new.name_description = vdi_description(spec.volume);
        new.sharable = spec.is_sharable;
        new.other_config = BTreeMap::from([
            (VOLUME_KEY.to_owned(), spec.volume.to_string()),
            (OPERATION_KEY.to_owned(), spec.operation.to_string()),
            (GENERATION_KEY.to_owned(), spec.generation.to_string()),
            (DEPLOYMENT_KEY.to_owned(), spec.deployment.to_string()),
        ]);
        let created = self.client.vdi().create(&new).await;
        let vdi = self.seen_sr(spec.sr_uuid, "VDI.create", created)?;
        // From here on the VDI exists whatever fails: its marks find it.
        let uuid = self.client.vdi().get_uuid(&vdi).await;
        let uuid =
            uuid.map_err(|error| translate("VDI.get_uuid", &error).with_unknown_outcome())?;
        parse("VDI.get_uuid", &uuid).map_err(PoolError::with_unknown_outcome)
    }

    async fn remove_vdi(&self, uuid: Uuid) -> PoolResult<()> {
        let vdi: VdiRef = match self.client.vdi().get_by_uuid(&uuid.to_string()).await {
            Ok(vdi) => vdi,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(translate("VDI.get_by_uuid", &error)),
        };
        done_or_gone("VDI.destroy", self.client.vdi().destroy(&vdi).await)
    }

    async fn make_vbd(&self, spec: &VbdSpec) -> PoolResult<Uuid> {
        let (vm, position) = match spec.target {
            VbdTarget::ControlDomain => (self.master().await?.1.control_domain, None),
            VbdTarget::Vm { uuid, position } => (self.vm(uuid).await?, position),
        };
        let mut other_config = BTreeMap::from([
            (ATTACHMENT_KEY.to_owned(), spec.attachment.to_string()),
            (DEPLOYMENT_KEY.to_owned(), spec.deployment.to_string()),
        ]);
        if position.is_some() {
            other_config.insert(VM_KEY.to_owned(), vm.as_str().to_owned());
        }
        let new = NewVbd {
            vm,
            vdi: self.vdi(spec.vdi_uuid).await?,
            userdevice: match position {
                Some(position) => position.to_string(),
                None => "autodetect".to_owned(),
            },
            mode: match spec.mode {
                AttachMode::ReadWrite => VbdMode::Rw,
                AttachMode::ReadOnly => VbdMode::Ro,
            },
            bootable: false,
            other_config,
            qos_algorithm_type: spec.qos_algorithm().to_owned(),
            qos_algorithm_params: spec.qos.clone(),
        };
        let created = self.client.vbd().create(&new).await;
        let vbd = created.map_err(|error| translate("VBD.create", &error))?;
        let record = self.client.vbd().get_record(&vbd).await;
        let record =
            record.map_err(|error| translate("VBD.get_record", &error).with_unknown_outcome())?;
        parse("VBD.get_record", &record.uuid).map_err(PoolError::with_unknown_outcome)
    }

    async fn marked_vbds(&self, vdi: Option<Uuid>) -> PoolResult<Vec<FoundVbd>> {
        let records = match vdi {
            None => self.slow().vbd().get_all_records().await,
            Some(uuid) => {
                let vdi = match self.vdi(uuid).await {
                    Ok(vdi) => vdi,
                    Err(error) if error.trouble == Trouble::Gone => return Ok(Vec::new()),
                    Err(error) => return Err(error),
                };
                let filter = format!("field \"VDI\" = \"{}\"", vdi.as_str());
                self.client.vbd().get_all_records_where(&filter).await
            }
        };
        let records = records.map_err(|error| translate("VBD.get_all_records_where", &error))?;
        let marked = records.iter().map(|(_, record)| record);
        marked
            .filter(|record| record.other_config.contains_key(ATTACHMENT_KEY))
            .filter(|record| {
                let made_in = record.other_config.get(VM_KEY);
                made_in.is_none_or(|vm| vm == record.vm.as_str())
            })
            .map(found_vbd)
            .collect()
    }

    async fn vbd(&self, uuid: Uuid) -> PoolResult<Option<VbdRef>> {
        match self.client.vbd().get_by_uuid(&uuid.to_string()).await {
            Ok(vbd) => Ok(Some(vbd)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(translate("VBD.get_by_uuid", &error)),
        }
    }

    async fn plug_and_read(&self, uuid: Uuid) -> PoolResult<Option<NbdEndpoint>> {
        let Some(vbd) = self.vbd(uuid).await? else {
            let text = format!("VBD {uuid} does not exist");
            return Err(PoolError::new("VBD.get_by_uuid", Trouble::Gone, text));
        };
        match self.slow().vbd().plug(&vbd).await {
            Ok(()) => {}
            Err(error) if error.is("DEVICE_ALREADY_ATTACHED") => {}
            Err(error) => return Err(translate("VBD.plug", &error)),
        }
        let record = self.client.vbd().get_record(&vbd).await;
        let record = record.map_err(|error| translate("VBD.get_record", &error))?;
        let text = |key: &str| record.other_config.get(key).cloned();
        Ok(text(NBD_SOCKET_KEY)
            .zip(text(NBD_EXPORT_KEY))
            .map(|(socket, export)| NbdEndpoint { socket, export }))
    }

    async fn unplug(&self, uuid: Uuid, how: Unplug) -> PoolResult<()> {
        let Some(vbd) = self.vbd(uuid).await? else {
            return Ok(());
        };
        let client = self.slow();
        let (call, unplugged) = match how {
            Unplug::Ask => ("VBD.unplug", client.vbd().unplug(&vbd).await),
            Unplug::Force => ("VBD.unplug_force", client.vbd().unplug_force(&vbd).await),
        };
        match unplugged {
            Err(error) if error.is("DEVICE_ALREADY_DETACHED") => Ok(()),
            unplugged => done_or_gone(call, unplugged),
        }
    }

    async fn remove_vbd(&self, uuid: Uuid) -> PoolResult<()> {
        match self.vbd(uuid).await? {
            Some(vbd) => done_or_gone("VBD.destroy", self.client.vbd().destroy(&vbd).await),
            None => Ok(()),
        }
    }
}

impl Pool for XenApiPool {
    fn find_sr(&self, uuid: Uuid) -> PoolFuture<'_, Option<FoundSr>> {
        Box::pin(async move {
            match self.sr_record(uuid).await {
                Ok(record) => Ok(Some(found_sr(&record)?)),
                Err(error) if error.trouble == Trouble::Gone => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn marked_srs(&self) -> PoolFuture<'_, Vec<FoundSr>> {
        Box::pin(async move {
            let records = self.client.sr().get_all_records().await;
            let records = records.map_err(|error| translate("SR.get_all_records", &error))?;
            let marked = records.iter().map(|(_, record)| record);
            marked
                .filter(|record| mark_of(record).is_some())
                .map(found_sr)
                .collect()
        })
    }

    fn probe_sr<'a>(&'a self, spec: &'a SrSpec) -> PoolFuture<'a, Probed> {
        Box::pin(async move {
            let (host, _) = self.master().await?;
            probe::probe(&self.slow(), &host, spec, &device_config(spec)).await
        })
    }

    fn create_sr<'a>(&'a self, spec: &'a SrSpec) -> PoolFuture<'a, Uuid> {
        Box::pin(self.create_sr_marked(spec))
    }

    fn introduce_sr<'a>(&'a self, uuid: Uuid, spec: &'a SrSpec) -> PoolFuture<'a, ()> {
        Box::pin(self.introduce(uuid, spec))
    }

    fn mark_sr<'a>(&'a self, uuid: Uuid, mark: &'a str) -> PoolFuture<'a, ()> {
        Box::pin(async move { self.add_mark(&self.sr(uuid).await?, mark).await })
    }

    fn unmark_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(async move {
            let calls = self.client.sr();
            let sr = self.sr(uuid).await?;
            let removed = calls.remove_from_other_config(&sr, BACKEND_KEY).await;
            done_or_gone("SR.remove_from_other_config", removed)
        })
    }

    fn plug_sr<'a>(&'a self, uuid: Uuid, spec: &'a SrSpec) -> PoolFuture<'a, ()> {
        Box::pin(self.plug(uuid, spec))
    }

    fn scan_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(async move {
            let scanned = self.slow().sr().scan(&self.sr(uuid).await?).await;
            self.seen_sr(uuid, "SR.scan", scanned)
        })
    }

    fn sr_space(&self, uuid: Uuid) -> PoolFuture<'_, SrSpace> {
        Box::pin(self.space(uuid))
    }

    fn forget_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(self.forget(uuid))
    }

    fn vdis_all(&self, sr_uuid: Uuid) -> PoolFuture<'_, Vec<ForeignVdi>> {
        Box::pin(self.all_vdis(sr_uuid))
    }

    fn release_vdi<'a>(&'a self, uuid: Uuid, name_label: Option<&'a str>) -> PoolFuture<'a, ()> {
        Box::pin(self.release(uuid, name_label))
    }

    fn vdis_of_volume(&self, volume: VolumeId) -> PoolFuture<'_, Vec<FoundVdi>> {
        Box::pin(self.labelled_vdis(volume))
    }

    fn vdis_of_sr(&self, sr_uuid: Uuid) -> PoolFuture<'_, Vec<FoundVdi>> {
        Box::pin(self.marked_vdis(sr_uuid))
    }

    fn create_vdi<'a>(&'a self, spec: &'a VdiSpec) -> PoolFuture<'a, Uuid> {
        Box::pin(self.make_vdi(spec))
    }

    fn destroy_vdi(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(self.remove_vdi(uuid))
    }

    fn find_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Option<FoundVdi>> {
        Box::pin(self.vdi_if_any(uuid))
    }

    fn begin_making<'a>(
        &'a self,
        uuid: Uuid,
        making: &'a Making,
    ) -> PoolFuture<'a, Option<String>> {
        Box::pin(self.add_making(uuid, making))
    }

    fn end_making(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(self.remove_making(uuid))
    }

    fn snapshot_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Uuid> {
        Box::pin(self.make_snapshot(uuid))
    }

    fn snapshot_vdis<'a>(
        &'a self,
        sources: &'a [Uuid],
        moment: &'a str,
    ) -> PoolFuture<'a, MomentOutcomes> {
        Box::pin(self.make_snapshots(sources, moment))
    }

    fn clone_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Uuid> {
        Box::pin(self.make_clone(uuid))
    }

    fn copy_vdi(&self, from: Uuid, into: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(self.copy(from, into))
    }

    fn label_vdi<'a>(&'a self, uuid: Uuid, marks: &'a VdiMarks) -> PoolFuture<'a, ()> {
        Box::pin(self.label(uuid, marks))
    }

    fn resize_vdi(&self, uuid: Uuid, size_bytes: u64, how: Resize) -> PoolFuture<'_, ()> {
        Box::pin(self.resize(uuid, size_bytes, how))
    }

    fn create_vbd<'a>(&'a self, spec: &'a VbdSpec) -> PoolFuture<'a, Uuid> {
        Box::pin(self.make_vbd(spec))
    }

    fn vbds(&self, vdi: Option<Uuid>) -> PoolFuture<'_, Vec<FoundVbd>> {
        Box::pin(self.marked_vbds(vdi))
    }

    fn plug_vbd(&self, uuid: Uuid) -> PoolFuture<'_, Option<NbdEndpoint>> {
        Box::pin(self.plug_and_read(uuid))
    }

    fn unplug_vbd(&self, uuid: Uuid, how: Unplug) -> PoolFuture<'_, ()> {
        Box::pin(self.unplug(uuid, how))
    }

    fn destroy_vbd(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(self.remove_vbd(uuid))
    }

    fn instances(&self) -> PoolFuture<'_, Vec<FoundInstance>> {
        Box::pin(self.all_instances())
    }

    fn plug_sr_for(&self, sr: Uuid, vm: Uuid) -> PoolFuture<'_, ()> {
        Box::pin(self.plug_where_vm_is(sr, vm))
    }
}

fn options() -> Options {
    Options {
        originator: "xensm".to_owned(),
        ..Options::default()
    }
}

fn connect(
    config: &PoolConfig,
    options: Options,
) -> std::result::Result<Client, xenapi::client::Error> {
    // The configuration takes unix:/path; a URL has three slashes.
    let url = match config.url.strip_prefix("unix:/") {
        Some(path) if !path.starts_with('/') => format!("unix:///{path}"),
        _ => config.url.clone(),
    };
    let endpoint = Endpoint::parse(&url)?;
    let trust = match &config.trust {
        config::Trust::CaFile(path) => Some(Trust::CaFile(path.clone())),
        config::Trust::Fingerprint(text) => {
            Some(Trust::Fingerprints(vec![Trust::fingerprint(text)?]))
        }
        config::Trust::NotNeeded => None,
    };
    let credentials = Credentials::new(config.username.clone(), config.password.expose());
    Client::connect(endpoint, trust.as_ref(), credentials, options)
}

/// The PBD's configuration with its secrets, at the moment of the call; the pool keeps those as secrets of its own.
fn device_config(spec: &SrSpec) -> BTreeMap<String, String> {
    let mut config = spec.config.clone();
    for (key, secret) in &spec.secrets {
        config.insert(key.clone(), secret.expose().to_owned());
    }
    config
}

fn sm_config(spec: &SrSpec) -> BTreeMap<String, String> {
    BTreeMap::from([(BACKEND_KEY.to_owned(), spec.mark.clone())])
}

fn mark_of(record: &SrRecord) -> Option<&String> {
    // other_config first: it can be changed when an SR changes hands, sm_config cannot.
    let mark = record.other_config.get(BACKEND_KEY);
    mark.or_else(|| record.sm_config.get(BACKEND_KEY))
}

fn found_sr(record: &SrRecord) -> PoolResult<FoundSr> {
    Ok(FoundSr {
        uuid: parse("SR.get_record", &record.uuid)?,
        sr_type: record.kind.clone(),
        mark: mark_of(record).cloned(),
        made_with: record.sm_config.get(BACKEND_KEY).cloned(),
    })
}

fn found_vbd(record: &VbdRecord) -> PoolResult<FoundVbd> {
    Ok(FoundVbd {
        uuid: parse("VBD.get_record", &record.uuid)?,
        attachment: mark(&record.other_config, ATTACHMENT_KEY),
        deployment: mark(&record.other_config, DEPLOYMENT_KEY),
        is_plugged: record.currently_attached,
    })
}

pub(super) fn mark<T: FromStr>(config: &BTreeMap<String, String>, key: &str) -> Option<T> {
    config.get(key)?.parse().ok()
}

pub(super) fn parse(call: &'static str, uuid: &str) -> PoolResult<Uuid> {
    uuid.parse().map_err(|_| {
        let text = format!("the pool answered {uuid:?}, which is no uuid");
        PoolError::new(call, Trouble::Refused, text)
    })
}

pub(super) fn done_or_gone(
    call: &'static str,
    result: std::result::Result<(), xenapi::client::Error>,
) -> PoolResult<()> {
    match result {
        Err(error) if !is_gone(&error) => Err(translate(call, &error)),
        _ => Ok(()),
    }
}
