//! Layouts: how VDIs lie on a medium.

pub mod cbt_log;
pub mod label_lines;
pub mod label_record;
pub mod lun_per_vdi;
pub mod lvhd;
pub mod vhd_files;
