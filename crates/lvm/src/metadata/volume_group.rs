//! A volume group.

use std::sync::Arc;

use super::{LogicalVolume, PhysicalVolume, SegmentKind};
use crate::error::{Error, Result};
use crate::text::{Entry, Item, Value};
use crate::{Id, SECTOR_SIZE};

/// A volume group as its metadata describes it.
///
/// # Units
/// Sizes are in sectors of 512 bytes or in extents, as the text has them; methods that say so give bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGroup {
    /// The name.
    pub name: String,
    /// The identity.
    pub id: Id,
    /// Counts the commits.
    pub sequence: u32,
    /// Sectors of an extent.
    pub extent_size: u64,
    /// States that every program has to know: `RESIZEABLE`, `READ`, `WRITE`, `EXPORTED`, `CLUSTERED`, `SHARED` ...
    pub status: Vec<String>,
    /// States that a program may ignore.
    pub flags: Vec<String>,
    /// Tags of the group.
    pub tags: Vec<String>,
    /// Physical volumes, in the order of the text.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Logical volumes, in the order of the text.
    pub logical_volumes: Vec<Arc<LogicalVolume>>,
    /// What else the text has of the group.
    pub others: Vec<Entry>,
    /// Whether a string was not UTF-8, so that it cannot be written back.
    pub lossy: bool,
}

impl VolumeGroup {
    /// Bytes of an extent.
    pub fn extent_bytes(&self) -> u64 {
        self.extent_size * SECTOR_SIZE
    }

    /// The logical volume with this name.
    pub fn find(&self, name: &str) -> Option<&LogicalVolume> {
        let mut volumes = self.logical_volumes.iter();
        volumes.find(|volume| volume.name == name).map(Arc::as_ref)
    }

    /// The logical volume with this name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, name: &str) -> Result<&LogicalVolume> {
        self.find(name).ok_or_else(|| self.not_found(name))
    }

    /// Bytes of a logical volume.
    pub fn size_of(&self, volume: &LogicalVolume) -> u64 {
        volume.extents().saturating_mul(self.extent_bytes())
    }

    /// Extents of all physical volumes.
    pub fn total_extents(&self) -> u64 {
        self.physical_volumes.iter().map(|one| one.extents).sum()
    }

    /// Extents that logical volumes have.
    pub fn used_extents(&self) -> u64 {
        let volumes = self.logical_volumes.iter();
        let segments = volumes.flat_map(|volume| &volume.segments);
        segments
            .filter(|segment| !segment.stripes().is_empty())
            .map(|segment| segment.extents)
            .sum()
    }

    /// Bytes of all extents.
    pub fn size(&self) -> u64 {
        self.total_extents().saturating_mul(self.extent_bytes())
    }

    /// Bytes of the extents that logical volumes have.
    pub fn used(&self) -> u64 {
        self.used_extents().saturating_mul(self.extent_bytes())
    }

    /// Whether the group has this state.
    pub fn has_status(&self, state: &str) -> bool {
        self.status.iter().any(|one| one == state)
    }

    /// The text of a key that is not one of the fields, such as `lock_type` or `system_id`.
    pub fn other(&self, key: &str) -> Option<&str> {
        let entry = self.others.iter().find(|entry| entry.key == key)?;
        match &entry.item {
            Item::Value(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The number of a key that is not one of the fields, such as `max_lv`.
    pub fn other_number(&self, key: &str) -> Option<u64> {
        let entry = self.others.iter().find(|entry| entry.key == key)?;
        match entry.item {
            Item::Value(Value::Integer(number)) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// Whether we may use the group at all.
    ///
    /// # Errors
    /// [`Error::NotOurs`] for a group that is exported, of a cluster, or locked by a host or a lock manager.
    pub fn usable(&self) -> Result<()> {
        let is_locked = self
            .other("lock_type")
            .is_some_and(|kind| kind != "none" && !kind.is_empty());
        let is_owned = self.other("system_id").is_some_and(|id| !id.is_empty());
        let (state, remedy) = match () {
            () if self.has_status("EXPORTED") => ("exported", "import it with vgimport first"),
            () if self.has_status("CLUSTERED") => (
                "of a cluster",
                "use it there, or change it with vgchange --clustered n",
            ),
            () if is_locked || self.has_status("SHARED") => (
                "shared by a lock manager (lock_type)",
                "use it with lvmlockd, or change it with vgchange --lock-type none",
            ),
            () if is_owned => (
                "owned by another system (system_id)",
                "take it over with vgchange --systemid \"\"",
            ),
            () => return Ok(()),
        };
        Err(Error::NotOurs {
            group: self.name.clone(),
            state,
            remedy,
        })
    }

    /// With the physical volumes in another order: `order` has the index that each had before.
    pub(crate) fn with_order(mut self, order: &[usize]) -> Self {
        let new_index: Vec<usize> = (0..order.len())
            .map(|old| order.iter().position(|one| *one == old).unwrap_or(old))
            .collect();
        let ordered = order.iter().map(|old| self.physical_volumes[*old].clone());
        self.physical_volumes = ordered.collect();
        for volume in &mut self.logical_volumes {
            for segment in &mut Arc::make_mut(volume).segments {
                if let SegmentKind::Striped { stripes, .. } = &mut segment.kind {
                    for stripe in stripes {
                        stripe.physical_volume = new_index[stripe.physical_volume];
                    }
                }
            }
        }
        self
    }

    pub(super) fn not_found(&self, name: &str) -> Error {
        Error::NotFound {
            group: self.name.clone(),
            name: name.to_owned(),
        }
    }

    pub(super) fn position(&self, name: &str) -> Result<usize> {
        let mut volumes = self.logical_volumes.iter();
        let position = volumes.position(|volume| volume.name == name);
        position.ok_or_else(|| self.not_found(name))
    }
}
