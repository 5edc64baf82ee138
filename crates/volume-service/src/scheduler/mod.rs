//! Placement: a pure function from a request and what is known of the backends to ordered candidates and reasons.

mod placement;
mod space;

pub use placement::{Placement, Policy, Request, SkipReason, Skipped, place};
pub use space::{Allocation, needed_bytes};
