//! Merging an image into its parent: the data part of coalescing.
//!
//! Only sectors that the child has are copied. Until whoever asked for it changes the tree of images, every one of them is
//! still read from the child, so a merge may stop or die at any point and be begun again; the parent is never read without
//! the child while it must have no other one.
//!
//! ```text
//! merge      child at rest:        child --> target (the parent, opened alone)
//! LiveMerge  child being written:  consumer --> child, and --> target where the walk has passed
//!                                  the walk:    child --> target, chunk by chunk
//! ```
//!
//! `control` holds what a merge obeys (pause, cancellation) and what it tells (progress), `rate` how fast it may be.

mod control;
mod copy;
mod live;
mod mirror;
mod rate;
mod target;

pub use control::{Control, Progress};
pub use copy::{End, FLUSH_BYTES, allocated_bytes, merge};
pub use live::{LiveMerge, Refused, Step};
pub use rate::{Activity, Hurry, RateLimit, Speed};
pub use target::Target;

pub(crate) use mirror::Mirror;

/// Bytes that are copied with one read and one write, and that a walk keeps a consumer's write waiting for.
pub const CHUNK: u64 = 256 << 10;
