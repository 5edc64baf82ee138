//! Who has how much room: aggregates, FlexVols, LUNs, snapshots.
//!
//! A FlexVol with a guarantee takes all its size from the aggregate, one without takes what is written. A LUN with a reservation in a
//! FlexVol with a guarantee takes all its size from the FlexVol, another takes what is written. Once a FlexVol has a snapshot,
//! the fractional reserve keeps room for overwriting what its reserved LUNs hold. A snapshot uses the snapshots' reserve
//! first.
//!
//! What is known not to be as on a real array: blocks that a LUN overwrites under a snapshot are not charged to the snapshot while
//! the LUN is there, and a clone that outlives its source is not charged for the blocks they shared.

use uuid::Uuid;

use super::cluster::{Cluster, DataId};
use super::error::ApiError;
use super::luns::Lun;
use super::volumes::{Guarantee, Volume};

/// What a FlexVol's room is used for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeSpace {
    /// What LUNs may use at most: the size without the snapshots' reserve.
    pub usable: u64,
    /// What is used of it, reservations included.
    pub used: u64,
    /// What is free of it.
    pub available: u64,
    /// What snapshots alone hold.
    pub snapshots: u64,
}

impl Cluster {
    /// What is used of a FlexVol.
    pub fn volume_space(&self, volume: &Volume) -> VolumeSpace {
        let reserve = percent(volume.size, volume.snapshot_reserve);
        let usable = volume.size - reserve;
        let snapshots = self.held_by_snapshots(volume.uuid);
        let luns: u64 = self
            .luns_in(volume.uuid)
            .map(|lun| self.charge(volume, lun))
            .sum();
        let used = luns + self.overwrite_reserve(volume) + snapshots.saturating_sub(reserve);
        let mut available = usable.saturating_sub(used);
        if volume.guarantee == Guarantee::None {
            available = available.min(self.aggregate_available(&volume.aggregate));
        }
        VolumeSpace {
            usable,
            used,
            available,
            snapshots,
        }
    }

    /// What a LUN really holds of its own, in bytes.
    pub fn own_bytes(&self, data: DataId, shared: u64) -> u64 {
        self.allocated(data).saturating_sub(shared)
    }

    /// Whether the room of a LUN is kept for it: it asked for that, and so does its FlexVol.
    pub fn is_reserved(&self, lun: &Lun) -> bool {
        let volume = self.volume(lun.volume);
        lun.reserve && volume.is_some_and(|volume| volume.guarantee == Guarantee::Volume)
    }

    /// Bytes of an aggregate that are taken.
    pub fn aggregate_used(&self, name: &str) -> u64 {
        let foreign = self
            .aggregate(name)
            .map_or(0, |aggregate| aggregate.foreign);
        let volumes = self
            .volumes
            .iter()
            .filter(|volume| volume.aggregate == name);
        foreign + volumes.map(|volume| self.footprint(volume)).sum::<u64>()
    }

    /// Bytes of an aggregate that are free.
    pub fn aggregate_available(&self, name: &str) -> u64 {
        let size = self.aggregate(name).map_or(0, |aggregate| aggregate.size);
        size.saturating_sub(self.aggregate_used(name))
    }

    /// Whether a FlexVol may become `changed`: its aggregate has the room, and its contents fit.
    pub(super) fn check_room_for(&self, index: usize, changed: &Volume) -> Result<(), ApiError> {
        let mut after = self.clone();
        after.volumes[index] = changed.clone();
        let Some(aggregate) = after.aggregate(&changed.aggregate) else {
            return Ok(());
        };
        let others = after.aggregate_used(&changed.aggregate) - after.footprint(changed);
        let free = aggregate.size.saturating_sub(others);
        let before = self.footprint(&self.volumes[index]).min(changed.size);
        // What was there already stays allowed, however full the aggregate has become.
        let is_new = index + 1 == self.volumes.len() && self.luns_in(changed.uuid).next().is_none();
        let grows = after.footprint(changed) > before || is_new;
        if grows && after.footprint(changed) > free {
            let text = format!(
                "Request to create or resize volume \"{}\" failed because there is not enough space in aggregate \"{}\". Either \
                 create {}B of free space in the aggregate or select a size of at most {free}B for the volume.",
                changed.name,
                changed.aggregate,
                after.footprint(changed) - free
            );
            return Err(ApiError::failed(917_534, text));
        }
        let space = after.volume_space(changed);
        if space.used > space.usable {
            let text = format!(
                "Selected volume size is too small to hold the current volume data: {} bytes are in use.",
                space.used
            );
            return Err(ApiError::failed(917_534, text));
        }
        Ok(())
    }

    /// Whether a FlexVol has room for a LUN that is new or was changed.
    pub(super) fn check_room_for_lun(&self, lun: &Lun) -> Result<(), ApiError> {
        let Some(volume) = self.volume(lun.volume) else {
            return Ok(());
        };
        let before = self.luns.iter().find(|other| other.uuid == lun.uuid);
        let before = before.map_or(0, |before| self.charge(volume, before));
        let more = self.charge(volume, lun).saturating_sub(before);
        let free = self.volume_space(volume).available;
        let is_full =
            self.aggregate_available(&volume.aggregate) == 0 && volume.guarantee == Guarantee::None;
        if more > free || is_full {
            let text = format!(
                "No space left on device: an operation on LUN \"{}\" in volume \"{}\" needs {more} bytes and {free} are available.",
                lun.name, volume.name
            );
            return Err(ApiError::failed(8, text));
        }
        Ok(())
    }

    /// Whether a FlexVol has room for one more snapshot.
    pub(super) fn check_room_for_snapshot(&self, volume: &Volume) -> Result<(), ApiError> {
        let space = self.volume_space(volume);
        let more = match self.has_snapshots(volume.uuid) {
            true => 0,
            false => self.reserve_for_overwriting(volume),
        };
        let is_full =
            self.aggregate_available(&volume.aggregate) == 0 && volume.guarantee == Guarantee::None;
        if more > space.available || is_full {
            let text = format!(
                "Failed to create snapshot in volume \"{}\": there is not enough space to keep a snapshot of the reserved LUNs \
                 ({more} bytes needed, {} available). No space left on device.",
                volume.name, space.available
            );
            return Err(ApiError::failed(524_479, text));
        }
        Ok(())
    }

    fn charge(&self, volume: &Volume, lun: &Lun) -> u64 {
        let own = self.own_bytes(lun.data, lun.shared);
        if lun.reserve && volume.guarantee == Guarantee::Volume {
            own.max(lun.size)
        } else {
            own
        }
    }

    /// What a FlexVol takes from its aggregate.
    pub fn footprint(&self, volume: &Volume) -> u64 {
        match volume.guarantee {
            Guarantee::Volume => volume.size,
            Guarantee::None => {
                let luns = self.luns_in(volume.uuid);
                let luns: u64 = luns.map(|lun| self.charge(volume, lun)).sum();
                luns + self.held_by_snapshots(volume.uuid)
            }
        }
    }

    fn overwrite_reserve(&self, volume: &Volume) -> u64 {
        if self.has_snapshots(volume.uuid) {
            self.reserve_for_overwriting(volume)
        } else {
            0
        }
    }

    fn reserve_for_overwriting(&self, volume: &Volume) -> u64 {
        let luns = self
            .luns_in(volume.uuid)
            .filter(|lun| self.is_reserved(lun));
        let held: u64 = luns.map(|lun| self.allocated(lun.data)).sum();
        percent(held, volume.fractional_reserve)
    }

    fn has_snapshots(&self, volume: Uuid) -> bool {
        self.snapshots
            .iter()
            .any(|snapshot| snapshot.volume == volume)
    }

    /// What only snapshots hold: the data of LUNs that are no more, each once.
    fn held_by_snapshots(&self, volume: Uuid) -> u64 {
        let mut counted = std::collections::BTreeMap::new();
        for snapshot in self
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.volume == volume)
        {
            for lun in &snapshot.luns {
                if !self.luns.iter().any(|there| there.uuid == lun.uuid) {
                    let most: &mut u64 = counted.entry(lun.uuid).or_default();
                    *most = (*most).max(self.allocated(lun.data));
                }
            }
        }
        counted.values().sum()
    }
}

fn percent(whole: u64, percent: u32) -> u64 {
    let part = u128::from(whole) * u128::from(percent) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
}
