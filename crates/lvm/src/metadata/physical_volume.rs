//! A physical volume.

use crate::Id;
use crate::text::Entry;

/// A physical volume as the metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// What segments call it, such as `pv0`.
    pub name: String,
    /// The identity, which its label has too.
    pub id: Id,
    /// The device it was on when the metadata was written; a hint only.
    pub device: String,
    /// `ALLOCATABLE`, `MISSING` ...
    pub status: Vec<String>,
    /// States that a program may ignore.
    pub flags: Vec<String>,
    /// Sectors of the device.
    pub device_size: u64,
    /// Sectors in front of the first extent.
    pub data_start: u64,
    /// Extents.
    pub extents: u64,
    /// What else the text has of it.
    pub others: Vec<Entry>,
}

impl PhysicalVolume {
    /// Whether extents may be given out.
    pub fn is_allocatable(&self) -> bool {
        self.status.iter().any(|state| state == "ALLOCATABLE")
    }

    /// Whether the metadata says that it is lost.
    pub fn is_missing(&self) -> bool {
        let mut states = self.status.iter().chain(&self.flags);
        states.any(|state| state == "MISSING")
    }
}
