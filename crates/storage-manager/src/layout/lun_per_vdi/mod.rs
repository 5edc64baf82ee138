//! VDIs that are LUNs which somebody else made: existing LUNs of an iSCSI target or behind host bus adapters.
//!
//! Nothing of ours is on the medium: the first byte of a LUN is the first byte of its VDI. What a VDI is called and whether it
//! is in use is told by the records alone, so there is nothing to fence either: no metadata can be written by two.
//!
//! The one exception is a LUN whose VDI was destroyed: until it is all zeros it begins with a mark of ours.
//!
//! `lun` derives a VDI from a LUN, `lun_table` knows which LUNs there are and which of them fits a wish (both pure), `blank`
//! tells whether a LUN holds something, `wipe` makes one zeros and `wiping` does so in the background, `open_luns` who has which open, `lun_export` serves one. The SR is
//! `sr/lun_per_vdi_sr.rs`.

pub(crate) mod blank;
mod lun;
mod lun_export;
mod lun_table;
mod open_luns;
pub(crate) mod wipe;
mod wiping;

pub use lun::{LUN_ID, Look, Lun, LunSource, SCSI_ID, vdi_uuid};
pub use lun_export::LunExport;
pub use lun_table::LunTable;
pub use open_luns::{OpenLun, OpenLuns};
pub use wiping::{Marked, Wiping};
