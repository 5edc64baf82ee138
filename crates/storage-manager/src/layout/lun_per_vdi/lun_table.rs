//! Which LUNs there are, and which of them fits a wish. Pure.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::lun::{Lun, vdi_uuid};
use crate::sr::DamagedImage;

/// The LUNs of the last look, by the uuid of the VDI that each is.
#[derive(Clone, Debug, Default)]
pub struct LunTable {
    luns: BTreeMap<Uuid, Lun>,
    unusable: Vec<DamagedImage>,
}

impl LunTable {
    /// Takes the LUNs of a look. One without a SCSI id, or with that of another, is no VDI: nobody could tell which it is.
    pub fn of(found: Vec<Lun>) -> Self {
        let mut table = LunTable::default();
        for lun in found {
            let location = format!("LUN {}", lun.lun_id);
            if lun.scsi_id.trim().is_empty() {
                table.unusable.push(DamagedImage {
                    location,
                    reason: "it says nothing by which it could be told from others (vital product data page 0x83)"
                        .to_owned(),
                });
                continue;
            }
            if let Some(other) = table.luns.get(&vdi_uuid(&lun.scsi_id)) {
                let reason = format!(
                    "it has the SCSI id {} that LUN {} has too; give one of them another",
                    lun.scsi_id, other.lun_id
                );
                table.unusable.push(DamagedImage { location, reason });
                continue;
            }
            table.luns.insert(vdi_uuid(&lun.scsi_id), lun);
        }
        table
    }

    /// The LUNs that are VDIs.
    pub fn luns(&self) -> impl Iterator<Item = &Lun> {
        self.luns.values()
    }

    /// The LUNs that are none, and why.
    pub fn unusable(&self) -> &[DamagedImage] {
        &self.unusable
    }

    /// The LUN that a VDI is.
    pub fn get(&self, vdi: Uuid) -> Option<&Lun> {
        self.luns.get(&vdi)
    }

    /// Bytes of all LUNs.
    pub fn size(&self) -> u64 {
        self.luns().fold(0, |sum, lun| lun.size.saturating_add(sum))
    }

    /// The LUNs that nobody uses and that are large enough, the smallest first; of equal ones that with the lowest number.
    pub fn that_fit(&self, size: u64, in_use: &BTreeSet<Uuid>) -> Vec<&Lun> {
        let free = self.luns.iter().filter(|(uuid, _)| !in_use.contains(uuid));
        let mut fit: Vec<&Lun> = free
            .map(|(_, lun)| lun)
            .filter(|lun| lun.size >= size)
            .collect();
        fit.sort_by(|a, b| (a.size, a.lun_id, &a.scsi_id).cmp(&(b.size, b.lun_id, &b.scsi_id)));
        fit
    }

    /// The LUNs with a number, or with a SCSI id; of both the ones that have both.
    pub fn named(&self, lun_id: Option<u64>, scsi_id: Option<&str>) -> Vec<&Lun> {
        let uuid = scsi_id.map(vdi_uuid);
        self.luns
            .iter()
            .filter(|(own, lun)| {
                lun_id.is_none_or(|id| id == lun.lun_id) && uuid.is_none_or(|uuid| uuid == **own)
            })
            .map(|(_, lun)| lun)
            .collect()
    }

    /// True when another look shows the same: as many LUNs, each with its number and size.
    pub fn is_same(&self, other: &LunTable) -> bool {
        let key = |table: &LunTable| -> Vec<(Uuid, u64, u64)> {
            let luns = table.luns.iter();
            luns.map(|(uuid, lun)| (*uuid, lun.lun_id, lun.size))
                .collect()
        };
        key(self) == key(other) && self.unusable == other.unusable
    }
}
