//! LVM2 on physical volumes: reads and writes labels and text metadata, allocates linear extents.
//!
//! No device-mapper and no external commands: what is here finds where on which physical volume the bytes of a logical volume
//! lie, and changes that as the LVM2 tools would. What lies where, and what a crash leaves, is in `docs/formats/lvm.md`.
//!
//! [`metadata`] is a pure model with its text; [`label`] and [`area`] are the structures around the text; [`group`] reads a
//! volume group from its devices and commits changes to it. Nothing here locks: the caller sees to it that nobody else
//! writes the same volume group.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod area;
mod checksum;
pub mod device;
mod error;
pub mod group;
mod id;
pub mod label;
mod little_endian;
pub mod metadata;
pub mod text;

pub use error::{Defect, Error, ErrorKind, Part, Result};
pub use group::{Group, NewGroup, Overwrite};
pub use id::Id;

/// Bytes in a sector, the unit of sizes in the text.
pub const SECTOR_SIZE: u64 = 512;
