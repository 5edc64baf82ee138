//! Arrays that make volumes by themselves: one VDI is one volume, and snapshots and clones are the array's own.
//!
//! ```text
//! sr/netapp.rs, sr/equal.rs     parameters, discovery, the SR on the array
//!          |
//! sr/array_sr.rs                an attached SR, whatever the array: who has what open, order of the steps
//!     |                |
//! VolumeArray      DataPath     control: ontap/, equallogic/        bytes: iSCSI, medium/iscsi
//! ```
//!
//! What is intended stands on the array itself: a volume's name carries the uuid of its VDI, so that whoever comes after a crash
//! finds what was begun. Nothing that lacks our mark is ever changed or deleted.

mod data_path;
pub mod equallogic;
mod error;
mod fault;
pub mod ontap;
mod volume_array;

pub use data_path::{DataPath, IscsiVolumes, OpenVolume};
pub use error::ArrayError;
pub use fault::Fault;
pub use volume_array::{ArrayListing, ArrayVolume, Exposure, VolumeArray};
