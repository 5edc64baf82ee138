//! Placement: a pure function from a request and what is known of the backends to ordered candidates and reasons.

mod capabilities;
mod placement;
mod space;
mod specs;

pub use capabilities::{Capabilities, OWN_NAMES, VENDOR, capabilities};
pub use placement::{Placement, Policy, Request, SkipReason, Skipped, may_hold, place};
pub use space::{Allocation, needed_bytes};
pub use specs::{Unmet, satisfies};
