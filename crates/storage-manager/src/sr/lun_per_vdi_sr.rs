//! An attached SR whose VDIs are LUNs: what `iscsi`, `hba` and `rawhba` share.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use uuid::Uuid;
use xenapi::Failure;

use super::backend_error::{self as backend, Command};
use super::{
    AttachedSr, ConfigChanges, FoundVdi, IntroducedVdi, NewVdi, OpenMode, ScanReport, SrSpace,
};
use crate::layout::lun_per_vdi::{
    LUN_ID, Look, Lun, LunExport, LunSource, LunTable, Marked, OpenLun, OpenLuns, SCSI_ID, Wiping,
    blank, vdi_uuid, wipe,
};
use crate::medium::block_device::BlockDevice;

/// Key in the `sm_config` of `VDI.create`: `true` takes a LUN although it holds somebody's data.
const FORCE: &str = "force";

/// What a refusal says of a LUN whose VDI was destroyed.
const BEING_WIPED: &str =
    "is being made blank, because its VDI was destroyed; try again when the log says that it is";

/// Bytes that are given back to the device with one call.
const UNMAP_PIECE: u64 = 1 << 30;

/// Longest time for giving the space of a LUN back; what is left then keeps its bytes.
const UNMAP_PATIENCE: Duration = Duration::from_secs(20);

/// How long `VDI.destroy` makes a LUN zeros itself; what is left then is done in the background.
const WIPE_PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for a LUN in the background to be let go of.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Key in `device_config`: `false` has `VDI.destroy` keep bytes on LUNs that cannot be unmapped.
const WIPE: &str = "wipe";

/// Most LUNs that a refusal names.
const NAMED_LUNS: usize = 5;

/// Who uses the LUNs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LunUse {
    /// VDIs are taken into use and given back; see [`AttachedSr::takes_vdis`].
    #[default]
    Taken,
    /// Every LUN is a VDI in use, and none is ever made blank: the SR type `rawhba`.
    All,
}

/// What the SR types that have LUNs as VDIs differ in.
#[derive(Clone, Debug, Default)]
pub struct LunSrOptions {
    /// Who uses the LUNs.
    pub lun_use: LunUse,
    /// `VDI.sm_config:backend-kind`, if there is to be one.
    pub backend_kind: Option<&'static str>,
    /// What is recorded of the SR when it is attached.
    pub config_changes: ConfigChanges,
    /// True when a LUN that is given back keeps what cannot be unmapped; see [`keeps_bytes`].
    pub keeps_bytes: bool,
}

/// Whether `device_config` switches off that LUNs are made zeros when they are given back.
pub fn keeps_bytes(device_config: &BTreeMap<String, String>) -> bool {
    let wipe = device_config.get(WIPE).map(|text| text.trim());
    wipe.is_some_and(|text| text.eq_ignore_ascii_case("false"))
}

/// An attached SR.
#[derive(Debug)]
pub struct AttachedLunSr {
    sr_uuid: Uuid,
    options: LunSrOptions,
    /// None once it is detached.
    source: RwLock<Option<Arc<dyn LunSource>>>,
    /// What the last scan saw.
    scanned: Mutex<LunTable>,
    open: Arc<OpenLuns>,
    wiping: Arc<Wiping>,
}

impl AttachedLunSr {
    /// Takes over where the LUNs come from.
    pub fn new(sr_uuid: Uuid, source: Arc<dyn LunSource>, options: LunSrOptions) -> Self {
        AttachedLunSr {
            sr_uuid,
            options,
            source: RwLock::new(Some(source)),
            scanned: Mutex::default(),
            open: Arc::default(),
            wiping: Arc::default(),
        }
    }

    /// True until it is detached.
    pub fn is_attached(&self) -> bool {
        self.source().is_ok()
    }

    fn source(&self) -> Result<Arc<dyn LunSource>, Failure> {
        let source = self.source.read().unwrap_or_else(PoisonError::into_inner);
        source
            .clone()
            .ok_or_else(|| backend::detached(self.sr_uuid))
    }

    /// Looks which LUNs are there now.
    fn look(&self, command: Command, look: Look) -> Result<LunTable, Failure> {
        let source = self.source()?;
        let luns = source.luns(look).map_err(|error| {
            let detail = format!("list the LUNs of {}: {error}", source.name());
            backend::failed(command, &detail)
        })?;
        Ok(LunTable::of(luns))
    }

    /// The LUN that a VDI is. The last scan knows it, or another look finds it.
    fn lun(&self, command: Command, vdi: Uuid) -> Result<Lun, Failure> {
        self.source()?;
        let known = self
            .scanned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(vdi)
            .cloned();
        let found = match known {
            Some(lun) => Some(lun),
            None => self.look(command, Look::Known)?.get(vdi).cloned(),
        };
        found
            .ok_or_else(|| Failure::new("VDI_MISSING", [self.sr_uuid.to_string(), vdi.to_string()]))
    }

    fn found(&self, lun: &Lun) -> FoundVdi {
        let mut found = lun.found(self.options.backend_kind);
        found.managed = self.options.lun_use == LunUse::All;
        found
    }

    /// Opens the device of a LUN.
    fn device(&self, command: Command, lun: &Lun) -> Result<Arc<dyn BlockDevice>, Failure> {
        self.source()?.open(&lun.scsi_id).map_err(|error| {
            let detail = format!("open LUN {} ({}): {error}", lun.lun_id, lun.scsi_id);
            backend::failed(command, &detail)
        })
    }

    /// Why a LUN is not to be taken, if there is a reason.
    fn obstacle(&self, source: &dyn LunSource, lun: &Lun, force: bool) -> Option<String> {
        let vdi = vdi_uuid(&lun.scsi_id);
        if self.wiping.has(vdi) {
            return Some(BEING_WIPED.to_owned());
        }
        if self.open.is_open(vdi) {
            return Some("is open".to_owned());
        }
        // Opened also where it is forced: a LUN that is mounted here is not taken by anybody.
        let device = match source.open(&lun.scsi_id) {
            Ok(device) => device,
            Err(error) => return Some(format!("cannot be opened ({error})")),
        };
        match wipe::reached(&*device) {
            // Also where it is forced: what is left belongs to the one who had the LUN before.
            Ok(Some(_)) => {
                let open = self.open.open(vdi, OpenMode::ReadWrite)?;
                self.go_on_wiping(vdi, device, open);
                return Some(BEING_WIPED.to_owned());
            }
            Ok(None) => (),
            Err(error) => return Some(format!("cannot be read ({error})")),
        }
        match blank::find(&*device) {
            Ok(None) => None,
            Ok(Some(_)) | Err(_) if force => None,
            Ok(Some(content)) => Some(format!("holds {content}")),
            Err(error) => Some(format!("cannot be read ({error})")),
        }
    }

    /// Has a LUN that is marked made zeros in the background. Without that it stays marked, and the next `VDI.create` tries again.
    fn go_on_wiping(&self, vdi: Uuid, device: Arc<dyn BlockDevice>, open: OpenLun) {
        if let Err(error) = self.wiping.start(Marked { vdi, device, open }) {
            tracing::warn!(%error, %vdi, "a LUN given back is not blank, and no thread could be started for it");
        }
    }

    /// Makes a LUN zeros, in the background if that takes long.
    fn wipe(&self, vdi: Uuid, device: Arc<dyn BlockDevice>, open: OpenLun) -> io::Result<()> {
        wipe::begin(&*device)?;
        let begun = Instant::now();
        if !wipe::go_on(&*device, &|| begun.elapsed() >= WIPE_PATIENCE)? {
            self.go_on_wiping(vdi, device, open);
        }
        Ok(())
    }

    /// True when the VDI of a LUN was destroyed and its bytes are not zeros yet.
    fn is_marked(&self, lun: &Lun) -> bool {
        let vdi = vdi_uuid(&lun.scsi_id);
        let device = || self.source().ok()?.open(&lun.scsi_id).ok();
        self.wiping.has(vdi)
            || device().is_some_and(|device| matches!(wipe::reached(&*device), Ok(Some(_))))
    }

    /// Of the LUNs that are taken into use the records know which are.
    fn utilisation(&self, table: &LunTable) -> u64 {
        match self.options.lun_use {
            LunUse::Taken => 0,
            LunUse::All => table.size(),
        }
    }

    fn in_use(&self, vdi: Uuid, operation: &str) -> Failure {
        Failure::new("VDI_IN_USE", [vdi.to_string(), operation.to_owned()])
    }
}

impl AttachedSr for AttachedLunSr {
    /// Refuses with `VDI_IN_USE` while a VDI is open. Detaching twice is no error.
    ///
    /// LUNs that are being made blank are left as far as they are; `VDI.create` goes on with them.
    fn detach(&self) -> Result<(), Failure> {
        // Awaited, so that nothing is written any more to a LUN that another may take now.
        if !self.wiping.stop(STOP_PATIENCE) {
            let detail =
                "a LUN that was given back is being made blank and does not answer; try again";
            return Err(backend::sr_in_use(detail));
        }
        let mut source = self.source.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(vdi) = self.open.any() {
            return Err(self.in_use(vdi, "detach"));
        }
        if let Some(source) = source.take() {
            source.release();
        }
        Ok(())
    }

    fn config_changes(&self) -> ConfigChanges {
        self.options.config_changes.clone()
    }

    fn health(&self) -> Option<String> {
        self.source().ok()?.health()
    }

    /// Every LUN is a VDI; one that cannot be told from others is listed as damaged.
    fn scan(&self) -> Result<ScanReport, Failure> {
        let table = self.look(Command::SrScan, Look::Rescan)?;
        let report = ScanReport {
            vdis: table.luns().map(|lun| self.found(lun)).collect(),
            damaged: table.unusable().to_vec(),
            space: SrSpace {
                physical_size: table.size(),
                physical_utilisation: self.utilisation(&table),
            },
        };
        *self.scanned.lock().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(report)
    }

    fn space(&self) -> Result<SrSpace, Failure> {
        self.source()?;
        let scanned = self.scanned.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(SrSpace {
            physical_size: scanned.size(),
            physical_utilisation: self.utilisation(&scanned),
        })
    }

    fn create_vdi(&self, _new: &NewVdi) -> Result<FoundVdi, Failure> {
        Err(super::not_supported())
    }

    fn takes_vdis(&self) -> bool {
        self.options.lun_use == LunUse::Taken
    }

    /// The smallest LUN that is large enough, that nobody uses and that holds nothing. XenServer takes it whatever it holds; a
    /// LUN of another owner would be lost then, so here the caller has to say so.
    ///
    /// # Errors
    /// 44 when there is none; it says why each that would be large enough was left out.
    fn take_vdi(&self, new: &NewVdi, in_use: &BTreeSet<Uuid>) -> Result<FoundVdi, Failure> {
        let source = self.source()?;
        let table = self.look(Command::VdiCreate, Look::Known)?;
        let force = new
            .sm_config
            .get(FORCE)
            .is_some_and(|force| force == "true");
        let mut left_out = Vec::new();
        for lun in table.that_fit(new.virtual_size, in_use) {
            match self.obstacle(&*source, lun, force) {
                None => {
                    let mut found = self.found(lun);
                    found.managed = true;
                    return Ok(found);
                }
                Some(why) => left_out.push(format!("LUN {} ({}) {why}", lun.lun_id, lun.scsi_id)),
            }
        }
        Err(no_room(&table, new.virtual_size, in_use, &left_out))
    }

    /// By `sm_config:LUNid`, or `SCSIid`, or both: the LUN is taken as it is, with what it holds.
    ///
    /// # Errors
    /// 89 when neither is given, 46 when there is no such LUN or more than one.
    fn introduce_vdi(&self, introduced: &IntroducedVdi) -> Result<FoundVdi, Failure> {
        let named = |key: &str| {
            let text = introduced.sm_config.get(key).map(|text| text.trim());
            text.filter(|text| !text.is_empty())
        };
        let (lun_id, scsi_id) = (named(LUN_ID), named(SCSI_ID));
        if lun_id.is_none() && scsi_id.is_none() {
            let detail =
                "sm_config:LUNid names the LUN to introduce; SR.scan shows which there are";
            return Err(Failure::backend(
                89,
                "The request is missing the LUNid parameter",
                detail,
                "",
            ));
        }
        let unavailable = |detail: &str| backend::failed(Command::VdiAttach, detail);
        let number =
            match lun_id {
                None => None,
                Some(text) => Some(text.parse::<u64>().map_err(|_| {
                    unavailable(&format!("LUNid {text:?} is not the number of a LUN"))
                })?),
            };
        let table = self.look(Command::VdiAttach, Look::Known)?;
        let meant = table.named(number, scsi_id);
        match meant.as_slice() {
            [lun] if self.is_marked(lun) => {
                Err(unavailable(&format!("LUN {} {BEING_WIPED}", lun.lun_id)))
            }
            [lun] => {
                let mut found = self.found(lun);
                found.managed = true;
                Ok(found)
            }
            [] => {
                let wanted = lun_id.or(scsi_id).unwrap_or_default();
                Err(unavailable(&format!(
                    "there is no LUN {wanted}; SR.scan shows which there are"
                )))
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|lun| lun.scsi_id.as_str()).collect();
                Err(unavailable(&format!(
                    "several LUNs have this number; name one by sm_config:SCSIid: {}",
                    ids.join(", ")
                )))
            }
        }
    }

    /// The LUN stays and is made zeros, in the background if that takes long; until it is, nobody gets it. With
    /// [`LunSrOptions::keeps_bytes`] it is only blank where marks of file systems lie, and unmapped where the device can. A LUN
    /// that is gone is no error.
    fn delete_vdi(&self, uuid: Uuid) -> Result<(), Failure> {
        if self.options.lun_use == LunUse::All || self.wiping.has(uuid) {
            return Ok(());
        }
        let lun = match self.lun(Command::VdiDelete, uuid) {
            Ok(lun) => lun,
            Err(failure) if failure.code == "VDI_MISSING" => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let Some(alone) = self.open.open(uuid, OpenMode::ReadWrite) else {
            return Err(self.in_use(uuid, "destroy"));
        };
        let device = self.device(Command::VdiDelete, &lun)?;
        let name = device.name();
        let given_back = match self.options.keeps_bytes {
            true => give_back(&*device),
            false => self.wipe(uuid, device, alone),
        };
        given_back.map_err(|error| {
            let detail = format!("make {name} blank: {error}");
            backend::failed(Command::VdiDelete, &detail)
        })
    }

    fn stat_vdi(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        let lun = self.lun(Command::VdiLoad, uuid)?;
        Ok(self.found(&lun))
    }

    fn has_changed(&self) -> Result<bool, Failure> {
        let now = self.look(Command::SrScan, Look::Known)?;
        let scanned = self.scanned.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(!now.is_same(&scanned))
    }

    fn open_vdi(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<dyn nbd::Export>, Failure> {
        let lun = self.lun(Command::VdiAttach, uuid)?;
        let open = self.open.open(uuid, mode);
        let open = open.ok_or_else(|| self.in_use(uuid, "attach"))?;
        let is_read_only = mode == OpenMode::ReadOnly;
        let device = self.device(Command::VdiAttach, &lun)?;
        let name = device.name();
        let export = LunExport::new(device, is_read_only, open).map_err(|error| {
            let detail = format!("open {name}: {error}");
            backend::failed(Command::VdiAttach, &detail)
        })?;
        Ok(Arc::new(export))
    }
}

impl Drop for AttachedLunSr {
    fn drop(&mut self) {
        self.wiping.stop(Duration::ZERO);
    }
}

/// 44, with what there is.
fn no_room(table: &LunTable, size: u64, in_use: &BTreeSet<Uuid>, left_out: &[String]) -> Failure {
    let all = table.luns().count();
    let used = table.luns().map(|lun| vdi_uuid(&lun.scsi_id));
    let used = used.filter(|uuid| in_use.contains(uuid)).count();
    let mut detail = format!(
        "no free LUN has {size} bytes or more and is blank: {used} LUNs are in use, {} are smaller",
        all - used - left_out.len().min(all - used)
    );
    if !left_out.is_empty() {
        let named = left_out.iter().take(NAMED_LUNS).cloned();
        let named: Vec<String> = named.collect();
        detail.push_str(&format!(
            "; {} were left out: {}; take one with what it holds by VDI.introduce and sm_config:LUNid, or clear it",
            left_out.len(),
            named.join(", ")
        ));
    }
    Failure::backend(44, "There is insufficient space", &detail, "")
}

/// Gives the space of a device back as far as it can, and makes it blank where marks lie.
fn give_back(device: &dyn BlockDevice) -> io::Result<()> {
    let (size, begun) = (device.size()?, Instant::now());
    let mut offset = 0;
    while offset < size && begun.elapsed() < UNMAP_PATIENCE {
        let length = UNMAP_PIECE.min(size - offset);
        // What cannot be unmapped keeps its bytes; that is all that this is about.
        if !device.unmap(offset, length).unwrap_or(false) {
            break;
        }
        offset += length;
    }
    blank::wipe(device)
}

#[cfg(test)]
#[path = "lun_per_vdi_tests.rs"]
mod tests;
