//! Layouts: how VDIs lie on a medium.

pub mod cbt_log;
pub mod lun_per_vdi;
pub mod lvhd;
pub mod vhd_files;
