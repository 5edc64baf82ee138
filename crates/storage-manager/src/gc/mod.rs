//! Coalescing: chains of images are made shorter again, while VDIs are used.
//!
//! ```text
//! plan         pure: the tree of images and what their owners say -> ordered steps, and reasons
//! store        what a layout does for it: list the images, run a step, check a chain
//! collector    the threads of one SR: plan, run, tell; paused, resumed, cancelled
//! steps        which steps run, wait and are tried again
//! owners       what the records wish, and who is told
//! status       what the collector tells of itself
//! wakeup       how a layout says that something changed
//! ```
//!
//! How the steps go on the medium and what a crash leaves: `docs/internals/coalescing.md`.

pub mod collector;
pub mod owners;
pub mod plan;
pub mod status;
mod steps;
pub mod store;
pub mod wakeup;

pub use collector::Collector;
pub use owners::{Owners, SrWishes};
pub use plan::{Consumers, Image, LeafPolicy, Plan, Reason, SrPolicy, Work, plan};
pub use status::Status;
pub use store::{CheckedImage, ImageStore, Outcome, StepError};
pub use wakeup::Wakeup;
