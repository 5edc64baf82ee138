//! An attached LVHD SR: the operations of an SR of VHD files, over the volumes of a group, and what XenServer keeps beside
//! them: names in the volume `MGT`, the format of each VDI in its record, a group that grows with its devices.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;
use xenapi::Failure;

use super::backend_error as backend;
use super::lvhd::{ALLOCATION, USE_VHD, management_failure};
use super::vhd_files_sr::{MediumGuard, VhdFilesSr};
use super::{
    AttachedSr, ConfigChanges, FoundVdi, KeptLabels, NewVdi, OpenMode, ScanReport, SnapshotKind,
    SnapshotReport, SrLabels, SrParams, SrSpace, VdiLabels, not_supported,
};
use crate::gc::ImageStore;
use crate::layout::lvhd::management::ManagementVolume;
use crate::layout::lvhd::mgt::{Allocation, VdiRecord};
use crate::layout::lvhd::volume_files::{VolumeFiles, image_of};
use crate::layout::vhd_files::names::ImageFormat;

/// A group is grown when its devices have grown by so many bytes at least.
///
/// Source: XenServer's `_expand_size`.
const GROWTH: u64 = 100 << 20;

/// An attached LVHD SR.
#[derive(Debug)]
pub struct AttachedLvhd {
    sr_uuid: Uuid,
    place: String,
    images: Arc<VhdFilesSr>,
    /// None once it is detached.
    kept: RwLock<Option<Arc<Kept>>>,
    keeps_labels: bool,
    allocation: Allocation,
    /// The SR has raw volumes only.
    is_legacy: bool,
    /// Why a group that should grow does not; said once.
    growth_failed: Mutex<bool>,
    serials: String,
    /// What the SR type wants recorded.
    config_changes: ConfigChanges,
}

/// What an attached SR has of its group, and its devices open by.
#[derive(Debug)]
struct Kept {
    files: Arc<VolumeFiles>,
    /// None for an SR of before there were VHDs, and for one whose names cannot be read.
    management: Option<ManagementVolume>,
}

impl AttachedLvhd {
    pub(super) fn new(
        params: &SrParams,
        place: &str,
        files: Arc<VolumeFiles>,
        management: Option<ManagementVolume>,
        guard: Arc<dyn MediumGuard>,
        config_changes: ConfigChanges,
    ) -> Result<Arc<Self>, Failure> {
        let images = VhdFilesSr::attach(params.sr_uuid, place, files.clone(), guard)?;
        let ids = files.volumes().devices().iter();
        let ids = ids.map(|device| device.identity().scsi_id);
        let serials = ids
            .filter(|id| !id.is_empty())
            .map(|id| format!("scsi-{id},"))
            .collect();
        let has_vhds = params.sm_config.get(USE_VHD).is_some_and(|it| it == "true");
        let sr = Arc::new(AttachedLvhd {
            sr_uuid: params.sr_uuid,
            place: place.to_owned(),
            images,
            is_legacy: management.is_none() && !has_vhds,
            keeps_labels: management.is_some(),
            allocation: files.allocation(),
            kept: RwLock::new(Some(Arc::new(Kept { files, management }))),
            growth_failed: Mutex::default(),
            serials,
            config_changes,
        });
        sr.forget_missing();
        Ok(sr)
    }

    /// True while it is attached at this place.
    pub(super) fn is_served_at(&self, place: &str) -> bool {
        self.place == place && self.images.is_served()
    }

    /// None once it is detached.
    fn kept(&self) -> Option<Arc<Kept>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    /// Removes names of VDIs whose volumes are gone.
    fn forget_missing(&self) {
        let Some(kept) = self.kept() else { return };
        let Some(management) = &kept.management else {
            return;
        };
        let volumes = kept.files.volumes();
        let content = management.content();
        let records = content.vdis().map(|vdi| vdi.uuid);
        let gone: Vec<Uuid> = records
            .filter(|vdi| image_of(volumes, *vdi).is_none() && !kept.has_log(*vdi))
            .collect();
        self.forget(&gone);
    }

    fn forget(&self, vdis: &[Uuid]) {
        let Some(kept) = self.kept().filter(|_| !vdis.is_empty()) else {
            return;
        };
        let Some(management) = &kept.management else {
            return;
        };
        let forgotten = management.update(|content| {
            for vdi in vdis {
                content.delete(*vdi);
            }
            Ok(())
        });
        if let Err(error) = forgotten {
            tracing::warn!(sr.uuid = %self.sr_uuid, %error, "names of VDIs that are gone stay on the medium; the next attach removes them");
        }
    }

    /// Gives the group what its devices have grown by.
    fn grow(&self) {
        let Some(kept) = self.kept() else { return };
        let volumes = kept.files.volumes();
        let grown = volumes.group().growth().and_then(|growth| {
            if growth < GROWTH {
                return Ok(0);
            }
            volumes.grow().map(|()| growth)
        });
        let mut failed = self
            .growth_failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match grown {
            Ok(0) => *failed = false,
            Ok(growth_bytes) => {
                *failed = false;
                tracing::info!(sr.uuid = %self.sr_uuid, growth_bytes, "the volume group of an SR has grown with its devices");
            }
            Err(error) if !*failed => {
                *failed = true;
                tracing::warn!(sr.uuid = %self.sr_uuid, %error, "the volume group of an SR could not be grown");
            }
            Err(_) => {}
        }
    }

    /// As XenServer's records say of VDIs in volumes.
    fn shown(&self, mut vdi: FoundVdi) -> FoundVdi {
        let raw = vdi.sm_config.get("type").is_some_and(|kind| kind == "raw");
        let vdi_type = if raw { "aio" } else { "vhd" };
        vdi.sm_config
            .insert("vdi_type".to_owned(), vdi_type.to_owned());
        vdi
    }

    fn shown_report(&self, report: SnapshotReport) -> SnapshotReport {
        SnapshotReport {
            new: self.shown(report.new),
            source: self.shown(report.source),
            base: report.base.map(|base| self.shown(base)),
        }
    }

    /// 38: an SR of before there were VHDs has no snapshots.
    fn require_vhds(&self) -> Result<(), Failure> {
        match self.is_legacy {
            true => Err(not_supported()),
            false => Ok(()),
        }
    }
}

impl Kept {
    /// True for a VDI of which a change-tracking log is left.
    fn has_log(&self, vdi: Uuid) -> bool {
        let log = crate::layout::vhd_files::names::cbt_log_name(vdi);
        self.files.volumes().index().find(&log).is_some()
    }
}

/// How XenAPI writes times.
const TIME: &[time::format_description::FormatItem<'static>] =
    format_description!("[year][month][day]T[hour]:[minute]:[second]Z");

fn time_text(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    let text = time.ok().and_then(|time| time.format(TIME).ok());
    text.filter(|_| seconds != 0).unwrap_or_default()
}

fn time_of(text: &str) -> i64 {
    let time = time::PrimitiveDateTime::parse(text, TIME);
    time.map_or(0, |time| time.assume_utc().unix_timestamp())
}

fn record_of(labels: &VdiLabels, format: ImageFormat) -> VdiRecord {
    let vdi_type = match format {
        ImageFormat::Vhd => "vhd",
        ImageFormat::Raw => "aio",
    };
    let of = labels.snapshot_of.unwrap_or_default();
    VdiRecord {
        uuid: labels.uuid,
        name_label: labels.name_label.clone(),
        name_description: labels.name_description.clone(),
        snapshot_of: labels.is_a_snapshot.then_some(of),
        snapshot_time: time_text(labels.snapshot_time),
        kind: labels.vdi_type.clone(),
        vdi_type: vdi_type.to_owned(),
        read_only: labels.read_only,
        managed: labels.managed,
        metadata_of_pool: String::new(),
    }
}

fn labels_of(record: &VdiRecord) -> VdiLabels {
    VdiLabels {
        uuid: record.uuid,
        name_label: record.name_label.clone(),
        name_description: record.name_description.clone(),
        vdi_type: record.kind.clone(),
        is_a_snapshot: record.snapshot_of.is_some(),
        snapshot_of: record.snapshot_of.filter(|of| !of.is_nil()),
        snapshot_time: time_of(&record.snapshot_time),
        read_only: record.read_only,
        managed: record.managed,
    }
}

impl AttachedSr for AttachedLvhd {
    fn detach(&self) -> Result<(), Failure> {
        self.images.detach()?;
        // The devices are closed with it.
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn config_changes(&self) -> ConfigChanges {
        let mut changes = self.config_changes.clone();
        if !self.serials.is_empty() {
            changes = changes.sm("devserial", self.serials.as_str());
        }
        if self.is_legacy {
            return changes;
        }
        let allocation = self.allocation.text();
        changes.sm(ALLOCATION, allocation).sm(USE_VHD, "true")
    }

    /// What is known of the owner record and the devices, and a group whose last change failed in the middle.
    fn health(&self) -> Option<String> {
        self.images
            .health()
            .or_else(|| self.kept()?.files.volumes().complaint())
    }

    fn has_changed(&self) -> Result<bool, Failure> {
        self.images.has_changed()
    }

    fn keeps_labels(&self) -> bool {
        self.keeps_labels
    }

    fn labels(&self) -> Result<KeptLabels, Failure> {
        let kept = self.kept();
        let management = kept.as_ref().and_then(|kept| kept.management.as_ref());
        let Some(management) = management else {
            return Ok(KeptLabels::default());
        };
        let content = management.content();
        Ok(KeptLabels {
            vdis: content.vdis().map(labels_of).collect(),
            sr: Some(SrLabels {
                name_label: content.sr.name_label,
                name_description: content.sr.name_description,
            }),
        })
    }

    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), Failure> {
        let Some(kept) = self.kept() else {
            return Err(backend::detached(self.sr_uuid));
        };
        let Some(management) = &kept.management else {
            return Ok(());
        };
        let volumes = kept.files.volumes();
        let updated = management.update(|content| {
            for vdi in labels {
                let Some(image) = image_of(volumes, vdi.uuid) else {
                    continue;
                };
                let mut record = record_of(vdi, image.format);
                if let Some(old) = content.get(vdi.uuid) {
                    record.metadata_of_pool = old.metadata_of_pool.clone();
                }
                content.put(record)?;
            }
            Ok(())
        });
        updated.map_err(|error| management_failure(&error))
    }

    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), Failure> {
        let Some(kept) = self.kept() else {
            return Err(backend::detached(self.sr_uuid));
        };
        let Some(management) = &kept.management else {
            return Ok(());
        };
        let updated = management.update(|content| {
            content.sr.name_label.clone_from(&labels.name_label);
            let description = &labels.name_description;
            content.sr.name_description.clone_from(description);
            Ok(())
        });
        updated.map_err(|error| management_failure(&error))
    }

    fn scan(&self) -> Result<ScanReport, Failure> {
        self.grow();
        let mut report = self.images.scan()?;
        let vdis = std::mem::take(&mut report.vdis).into_iter();
        report.vdis = vdis.map(|vdi| self.shown(vdi)).collect();
        Ok(report)
    }

    fn space(&self) -> Result<SrSpace, Failure> {
        self.images.space()
    }

    fn create_vdi(&self, new: &NewVdi) -> Result<FoundVdi, Failure> {
        let mut new = new.clone();
        let kind = new.sm_config.get("vdi_type");
        if self.is_legacy || kind.is_some_and(|kind| kind == "aio") {
            new.sm_config.insert("type".to_owned(), "raw".to_owned());
        }
        Ok(self.shown(self.images.create_vdi(&new)?))
    }

    fn delete_vdi(&self, uuid: Uuid) -> Result<(), Failure> {
        self.images.delete_vdi(uuid)?;
        if self.kept().is_some_and(|kept| !kept.has_log(uuid)) {
            self.forget(&[uuid]);
        }
        Ok(())
    }

    fn stat_vdi(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        Ok(self.shown(self.images.stat_vdi(uuid)?))
    }

    fn snapshot_vdi(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
    ) -> Result<SnapshotReport, Failure> {
        self.require_vhds()?;
        let report = self.images.snapshot_vdi(source, new, kind)?;
        Ok(self.shown_report(report))
    }

    fn revert_vdi(&self, vdi: Uuid, snapshot: Uuid) -> Result<SnapshotReport, Failure> {
        self.require_vhds()?;
        Ok(self.shown_report(self.images.revert_vdi(vdi, snapshot)?))
    }

    fn resize_vdi(&self, uuid: Uuid, size: u64) -> Result<FoundVdi, Failure> {
        Ok(self.shown(self.images.resize_vdi(uuid, size)?))
    }

    fn enable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        Ok(self.shown(self.images.enable_cbt(uuid)?))
    }

    fn disable_cbt(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        Ok(self.shown(self.images.disable_cbt(uuid)?))
    }

    fn destroy_vdi_data(&self, uuid: Uuid) -> Result<FoundVdi, Failure> {
        Ok(self.shown(self.images.destroy_vdi_data(uuid)?))
    }

    fn changed_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>, Failure> {
        self.images.changed_blocks(from, to)
    }

    fn differing_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>, Failure> {
        self.images.differing_blocks(from, to)
    }

    fn chains(&self) -> Option<Arc<dyn ImageStore>> {
        self.images.chains()
    }

    fn open_vdi(&self, uuid: Uuid, mode: OpenMode) -> Result<Arc<dyn nbd::Export>, Failure> {
        self.images.open_vdi(uuid, mode)
    }
}
