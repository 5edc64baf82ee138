//! An image together with its parents, served as one range of bytes.
//!
//! Opening a chain merges the BATs of all its images into one map, from block to the topmost image that has it and the
//! place there, so that reading costs the same at any depth. A block of which the topmost image has all sectors is read
//! with one atomic load and one read of the storage. For other blocks a bounded cache holds the image's sector bitmap
//! and the runs of sectors that come from each parent.
//!
//! What lies in a chain can change while a consumer waits: [`Chain::push_leaf`] after a snapshot,
//! [`Chain::replace_parents`] after a coalesce.
//!
//! Calls take `&self` and may run on several threads at once. Ranges that are written by two threads at the same time
//! end as one of the two, sector by sector.

mod access;
mod flush;
mod leaf;
mod map;
mod open;
mod parents;
mod partial;
mod read;
mod resolver;
mod status;
mod swap;
mod write;
mod zero;

pub use access::{Access, Chain};
pub use flush::DIRTY_BITMAP_LIMIT;
pub use map::MAX_DEPTH;
pub use parents::ParentStack;
pub use partial::PARTIAL_CACHE_BYTES;
pub use resolver::{NoParents, ParentResolver, ParentStorage};
pub use status::{Extent, ExtentStatus};
pub use swap::SwapError;

pub(crate) use write::Payload;
