//! XenServer's LVHD: VDIs as VHDs (and raw) in the logical volumes of one volume group, without device-mapper.
//!
//! The operations are those of the layout of VHD files, over an implementation of its medium: `volume_files`. `volumes` is the
//! group with one change of its metadata at a time, `volume` the bytes of one logical volume, `device` what `lvm` sees of a
//! device; `names` says which volume is which file, `journal`, `journal_file` and `branch_journal` keep journals as XenServer
//! does; `owner_volume` is the record of who has the SR; `capacity` says how large a volume is; `mgt` is what the volume of names
//! and flags holds, `management` that volume; `recovery` ends what a crash interrupted.

pub mod branch_journal;
pub mod capacity;
pub mod device;
pub mod journal;
pub mod journal_file;
pub mod management;
pub mod mgt;
pub mod names;
pub mod owner_volume;
pub mod recovery;
pub mod volume;
pub mod volume_files;
pub mod volumes;

#[cfg(test)]
mod tests;
