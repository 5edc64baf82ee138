//! Layouts: how VDIs lie on a medium.

pub mod vhd_files;
