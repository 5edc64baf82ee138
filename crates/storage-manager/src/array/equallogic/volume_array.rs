//! What an attached SR asks of a group, in the order of steps that `volumes` tells.

use uuid::Uuid;

use super::description::{Allocation, State, VdiNote};
use super::group::NewVolume;
use super::names;
use super::size::{self, MAX_PAGES, PAGE};
use super::volumes::{EqualVolumes, Found, fault, lock};
use super::wish::Wish;
use crate::array::{ArrayError, ArrayListing, ArrayVolume, Exposure, Fault, VolumeArray};
use crate::sr::{
    KeptLabels, NewVdi, OpenMode, SnapshotHints, SnapshotKind, SrLabels, SrSpace, VdiLabels,
};

impl VolumeArray for EqualVolumes {
    fn name(&self) -> String {
        self.group.address()
    }

    fn list(&self) -> Result<ArrayListing, ArrayError> {
        let action = "list the volumes";
        let mut survey = self.survey().map_err(|error| self.failed(action, error))?;
        if self.see_to_leftovers(&survey) {
            // A snapshot that has its name now is a VDI, which somebody may be about to delete.
            survey = self.survey().map_err(|error| self.failed(action, error))?;
        }
        let visible = survey.found.iter().filter(|found| found.is_visible());
        Ok(ArrayListing {
            volumes: visible.map(Found::volume).collect(),
            damaged: survey.damaged,
            space: self.space()?,
        })
    }

    fn space(&self) -> Result<SrSpace, ArrayError> {
        let pool = &self.options.pool;
        let space = self
            .group
            .pool_space(pool)
            .map_err(|error| self.failed("ask for the space of the pool", error))?;
        let (capacity, free) = space.ok_or_else(|| {
            let detail = format!("{} has no storage pool {pool} any more; name the one that has the volumes by device-config:storagepool", self.name());
            fault(Fault::EqualUnknownPool, detail)
        })?;
        Ok(SrSpace {
            physical_size: capacity,
            physical_utilisation: capacity.saturating_sub(free),
        })
    }

    fn find(&self, vdi: Uuid) -> Result<Option<ArrayVolume>, ArrayError> {
        let found = self.look(vdi)?.filter(Found::is_visible);
        Ok(found.map(|found| found.volume()))
    }

    /// # Errors
    /// 165 and 166 for what `sm_config` asks for; see the module for what a failure leaves.
    fn create(&self, new: &NewVdi) -> Result<ArrayVolume, ArrayError> {
        let wish = Wish::of(&new.sm_config, self.options.allocation)?;
        let pages = size::pages_for(new.virtual_size).ok_or(ArrayError::Size {
            asked: new.virtual_size,
            least: 1,
            most: MAX_PAGES * PAGE,
        })?;
        let _claim = self.claim(new.uuid)?;
        let name = names::volume(self.options.sr, new.uuid);
        let is_thick = wish.allocation == Allocation::Thick;
        let note = VdiNote {
            uuid: new.uuid,
            is_deleted: false,
            state: if is_thick { State::New } else { State::Live },
            pages,
            allocation: wish.allocation,
        };
        let description = note.to_text(&name);
        let volume = NewVolume {
            name: &name,
            pages,
            allocation: wish.allocation,
            snap_reserve: wish.snap_reserve,
            snap_depletion: wish.snap_depletion,
            description: &description,
            pool: &self.options.pool,
        };
        self.make(&volume, new.uuid)?;
        let live = VdiNote {
            state: State::Live,
            ..note
        };
        let finish = || {
            if is_thick {
                self.zero(note, 0, pages)?;
                self.describe(&name, live)?;
            }
            let found = self.need(new.uuid)?;
            self.check_note(&found, live)?;
            Ok(found)
        };
        match finish() {
            Ok(found) => Ok(found.volume()),
            Err(error) => {
                self.remove_new(new.uuid);
                Err(error)
            }
        }
    }

    fn snapshot(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
        _hints: &SnapshotHints,
    ) -> Result<ArrayVolume, ArrayError> {
        let _claim = self.claim(new)?;
        let (found, _stays) = self.settled(source)?;
        let made = match kind {
            SnapshotKind::Snapshot => self.snapshot_of(found.family(), new)?,
            SnapshotKind::Clone => self.volume_of(new)?,
        };
        if let Some(made) = made.filter(Found::is_visible) {
            lock(&self.bases).extend(made.base.clone().map(|base| (new, base)));
            return Ok(made.volume());
        }
        match kind {
            SnapshotKind::Snapshot if found.base.is_some() => {
                let detail = format!(
                    "VDI {source} is a snapshot itself; clone it, and make a snapshot of the clone"
                );
                return Err(fault(Fault::EqualSnapshotOfSnapshot, detail));
            }
            SnapshotKind::Snapshot => self.take_snapshot(&found, new)?,
            SnapshotKind::Clone => self.make_clone(&found, new)?,
        }
        let made = self.need(new)?;
        if made.base.is_none() && made.shelf.is_online {
            let hidden = self.hide(&made, &self.options.initiator);
            hidden.map_err(|error| self.failed("take a clone offline", error))?;
        }
        Ok(made.volume())
    }

    fn revert(&self, vdi: Uuid, snapshot: Uuid) -> Result<ArrayVolume, ArrayError> {
        // In this order, as a snapshot that is taken again has them.
        let _stays = self.claims.wait_to_use(snapshot).ok_or_else(|| {
            let detail = "a change of it takes too long".to_owned();
            ArrayError::InUse {
                vdi: snapshot,
                detail,
            }
        })?;
        let _claim = self.claim(vdi)?;
        let source = self.need(snapshot)?;
        self.prepare_revert(&self.need(vdi)?, &source)?;
        self.restore(&self.settle(vdi)?, &source)?;
        Ok(self.need(vdi)?.volume())
    }

    fn resize(&self, vdi: Uuid, size: u64) -> Result<ArrayVolume, ArrayError> {
        let action = "grow a volume";
        let _claim = self.claim(vdi)?;
        let found = self.settle(vdi)?;
        let has = found.pages();
        let pages = size::pages_for(size).ok_or(ArrayError::Size {
            asked: size,
            least: has * PAGE,
            most: MAX_PAGES * PAGE,
        })?;
        if size < has * PAGE && pages != has {
            return Err(ArrayError::Shrink {
                vdi,
                found: has * PAGE,
                asked: size,
            });
        }
        if pages <= has {
            return Ok(found.volume());
        }
        if found.base.is_some() {
            return Err(ArrayError::Unsupported {
                array: self.name(),
                action,
                detail: format!("VDI {vdi} is a snapshot; clone it, and grow the clone"),
            });
        }
        self.grow(&found, pages)?;
        Ok(self.need(vdi)?.volume())
    }

    fn delete(&self, vdi: Uuid) -> Result<(), ArrayError> {
        self.delete_vdi(vdi)?;
        self.forget_labels(vdi);
        Ok(())
    }

    fn expose(&self, vdi: Uuid, initiator: &str, mode: OpenMode) -> Result<Exposure, ArrayError> {
        let _claim = self.claim(vdi)?;
        let found = self.need(vdi)?;
        if found.base.is_some() && mode == OpenMode::ReadWrite {
            return Err(ArrayError::Unsupported {
                array: self.name(),
                action: "open a snapshot for writing",
                detail: format!("VDI {vdi} is a snapshot; clone it, and write to the clone"),
            });
        }
        // A growth that was cut off left bytes of others behind the end.
        let found = match found.is_settled() {
            true => found,
            false => self.settle(vdi)?,
        };
        // Before the records are looked at: who conceals another of the family leaves them then.
        let is_first = lock(&self.exposed).insert(vdi);
        let exposure = self.show_to(&found, initiator);
        if exposure.is_err() && is_first {
            lock(&self.exposed).remove(&vdi);
        }
        exposure
    }

    fn conceal(&self, vdi: Uuid, initiator: &str) -> Result<(), ArrayError> {
        let _claim = self.claim(vdi)?;
        lock(&self.exposed).remove(&vdi);
        self.hide_from(vdi, initiator)
    }

    fn labels(&self) -> Result<KeptLabels, ArrayError> {
        self.kept_labels()
    }

    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), ArrayError> {
        self.change_labels(|record| labels.iter().for_each(|vdi| record.put_vdi(vdi)))
    }

    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), ArrayError> {
        self.change_labels(|record| record.put_sr(labels))
    }

    fn health(&self) -> Option<String> {
        self.group.health()
    }

    fn release(&self) {
        self.management.release();
        self.group.release();
    }
}
