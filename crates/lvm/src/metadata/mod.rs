//! What a volume group is: a pure model, its text, and edits of it.
//!
//! [`VolumeGroup::parse`] reads the text of a metadata area or of `vgcfgbackup`, [`VolumeGroup::to_text`] writes it, and
//! [`VolumeGroup::check`] says whether it holds together. What is not understood is kept and written back; a group with a
//! feature whose rules are not known here ([`VolumeGroup::changeable`]) is not changed at all.

mod allocate;
mod check;
mod edit;
mod logical_volume;
mod map;
mod name;
mod physical_volume;
mod read;
mod volume_group;
mod write;

pub use allocate::Run;
pub use logical_volume::{Creation, LogicalVolume, Segment, SegmentKind, Stripe};
pub use map::{Extent, MAX_EXTENTS, Map};
pub use name::{check_group_name, check_logical_volume_name, check_tag};
pub use physical_volume::PhysicalVolume;
pub use volume_group::VolumeGroup;
pub use write::Writer;

#[cfg(test)]
mod tests;
