//! Who changed what, in an append-only file: JSON lines, each with the hash of the one before it.
//!
//! Every process writes files of its own below the audit directory, so that none waits for another. `record` is a line,
//! `log` writes them on a thread of its own, `verify` reads them back and checks the chains.

mod log;
mod record;
mod verify;

pub use log::AuditLog;
pub use record::{Event, Witness};
pub use verify::{Fault, FileReport, read, verify};
