//! Snapshots of FlexVols.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::cluster::{Cluster, DataId, Effect};
use super::error::ApiError;
use super::luns::Lun;

/// Characters of a snapshot's name.
const LONGEST_NAME: usize = 255;

/// A snapshot of a FlexVol.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its id.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its FlexVol.
    pub volume: Uuid,
    /// Text.
    pub comment: String,
    /// When it was taken.
    pub created: String,
    /// The LUNs as they were then.
    pub luns: Vec<SnapshotLun>,
    /// What keeps it from being deleted, as a test has it.
    pub owners: Vec<String>,
}

/// A LUN as a snapshot has it.
#[derive(Debug, Clone)]
pub struct SnapshotLun {
    /// The LUN's id.
    pub uuid: Uuid,
    /// Its path within the FlexVol.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its operating system.
    pub os_type: String,
    /// Its comment.
    pub comment: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Whether room was kept for all of it.
    pub reserve: bool,
    /// Its contents.
    pub data: DataId,
}

impl SnapshotLun {
    pub(super) fn of(lun: &Lun, data: DataId) -> Self {
        SnapshotLun {
            uuid: lun.uuid,
            name: lun.name.clone(),
            size: lun.size,
            os_type: lun.os_type.clone(),
            comment: lun.comment.clone(),
            attributes: lun.attributes.clone(),
            reserve: lun.reserve,
            data,
        }
    }
}

impl Cluster {
    /// A snapshot by its name.
    pub fn snapshot_named(&self, volume: Uuid, name: &str) -> Option<&Snapshot> {
        let mut snapshots = self.snapshots.iter();
        snapshots.find(|snapshot| snapshot.volume == volume && snapshot.name == name)
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    /// 525059 when the name is taken, 525062 when there are too many, 524479 when the FlexVol is offline or full, 1638518 for a bad
    /// name.
    pub fn create_snapshot(
        &mut self,
        volume: Uuid,
        name: &str,
        comment: &str,
    ) -> Result<Uuid, ApiError> {
        let found = self.volume(volume).cloned();
        let found = found.ok_or_else(|| ApiError::no_entry("volume"))?;
        let fits = |one: char| one.is_ascii_graphic() && !"/:*?\"<>|,\\".contains(one);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
            let text = format!("The specified snapshot name is invalid: \"{name}\".");
            return Err(ApiError::bad(1_638_518, text).at("name"));
        }
        if !found.online {
            let text = format!("Volume \"{}\" is offline.", found.name);
            return Err(ApiError::failed(524_479, text));
        }
        if self.snapshot_named(volume, name).is_some() {
            let text = format!("The specified snapshot already exists: \"{name}\".");
            return Err(ApiError::conflict(525_059, text).at("name"));
        }
        let there = self
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.volume == volume);
        if there.count() >= self.limits.snapshots_per_volume {
            let text = "No more snapshots can be created on the volume: the maximum number of snapshots was reached.";
            return Err(ApiError::failed(525_062, text));
        }
        self.check_room_for_snapshot(&found)?;
        let inside: Vec<Lun> = self.luns_in(volume).cloned().collect();
        let mut luns = Vec::new();
        for lun in inside {
            let data = self.new_data();
            self.effects.push(Effect::Copy {
                from: lun.data,
                to: data,
            });
            luns.push(SnapshotLun::of(&lun, data));
        }
        let uuid = Uuid::new_v4();
        self.snapshots.push(Snapshot {
            uuid,
            name: name.to_owned(),
            volume,
            comment: comment.to_owned(),
            created: super::clock::now(),
            luns,
            owners: Vec::new(),
        });
        Ok(uuid)
    }

    /// Renames a snapshot, or changes its comment.
    ///
    /// # Errors
    /// 1638600 when it is not there, 525059 when the name is taken.
    pub fn change_snapshot(
        &mut self,
        uuid: Uuid,
        name: Option<String>,
        comment: Option<String>,
    ) -> Result<(), ApiError> {
        let index = self
            .snapshots
            .iter()
            .position(|snapshot| snapshot.uuid == uuid);
        let index = index.ok_or_else(no_snapshot)?;
        if let Some(name) = name.filter(|name| *name != self.snapshots[index].name) {
            if self
                .snapshot_named(self.snapshots[index].volume, &name)
                .is_some()
            {
                let text = format!("The specified snapshot already exists: \"{name}\".");
                return Err(ApiError::conflict(525_059, text).at("name"));
            }
            self.snapshots[index].name = name;
        }
        if let Some(comment) = comment {
            self.snapshots[index].comment = comment;
        }
        Ok(())
    }

    /// Deletes a snapshot. LUN clones of it stay: they share blocks, and do not need it.
    ///
    /// # Errors
    /// 1638600 when it is not there, 1638543 when it has an owner.
    pub fn delete_snapshot(&mut self, uuid: Uuid) -> Result<(), ApiError> {
        let found = self.snapshots.iter().find(|snapshot| snapshot.uuid == uuid);
        let found = found.ok_or_else(no_snapshot)?;
        if !found.owners.is_empty() {
            let text = format!(
                "Snapshot \"{}\" has not expired or is locked by its owners: {}.",
                found.name,
                found.owners.join(", ")
            );
            return Err(ApiError::conflict(1_638_543, text));
        }
        self.drop_snapshot(uuid);
        Ok(())
    }

    pub(super) fn drop_snapshot(&mut self, uuid: Uuid) {
        let found = self.snapshots.iter().find(|snapshot| snapshot.uuid == uuid);
        let data: Vec<DataId> = found.map_or_else(Vec::new, |snapshot| {
            snapshot.luns.iter().map(|lun| lun.data).collect()
        });
        self.effects.extend(data.into_iter().map(Effect::Remove));
        self.snapshots.retain(|snapshot| snapshot.uuid != uuid);
    }
}

fn no_snapshot() -> ApiError {
    ApiError::missing(1_638_600, "The snapshot does not exist.")
}
