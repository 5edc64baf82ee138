//! The volume `MGT` of an LVHD SR: what the SR and its VDIs are called, which VDI is a snapshot of which, and whether
//! volumes are thick or thin. It outlives the object database: an SR is introduced with it from nothing but its medium.
//!
//! `volume` is the whole, `record` one VDI, `text` the fragments of XML that both are made of. No I/O here.

mod record;
mod text;
mod volume;

pub use record::VdiRecord;
pub use text::escape;
pub use volume::{Allocation, Defect, MAX_RECORDS, MGT_LENGTH, Management, SECTOR, SrRecord};
