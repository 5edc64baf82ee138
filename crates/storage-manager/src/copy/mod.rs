//! Copying the content of one VDI into another: what is not zero, or what differs from a base.
//!
//! Nothing here knows of XenAPI, SRs or formats: source, base and target are what an NBD server could serve. Who calls it
//! opens them, gives it a thread, and decides what becomes of a target whose copy failed.

mod engine;
mod error;
mod progress;

#[cfg(test)]
mod tests;

pub use engine::{Copy, TargetContent};
pub use error::Error;
pub use progress::Progress;
