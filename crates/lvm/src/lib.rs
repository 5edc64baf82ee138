//! LVM2 on physical volumes: reads and writes labels and text metadata, allocates linear extents.
//!
//! No device-mapper and no external commands: what is here finds where on which physical volume the bytes of a logical volume
//! lie, and changes that as the LVM2 tools would.
#![forbid(unsafe_code)]

pub mod device;
