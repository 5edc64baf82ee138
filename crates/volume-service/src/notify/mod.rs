//! Tells webhooks what happened: CloudEvents 1.0, signed, at least once.
//!
//! Triggers write an event in the transaction of the change that it tells. A process at a time takes a webhook by a lease,
//! sends its events in order, and notes each one that was taken; a crash in between sends that one again.

mod address;
mod cloud_event;
mod deliver;

pub use address::may_be_told;
pub use cloud_event::{SIGNATURE_HEADER, signature};
pub use deliver::Notifier;
