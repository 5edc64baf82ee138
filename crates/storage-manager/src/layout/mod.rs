//! Layouts: how VDIs lie on a medium.

pub mod cbt_log;
pub mod vhd_files;
