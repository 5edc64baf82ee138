//! `xensm vdi`: VDIs of a storage manager or pool, and their content to and from files.
//!
//! `command` is what a user types, `transfer` moves bytes between its handlers and a file, which
//! `image_file` knows, while `progress` says how far it is.

mod command;
mod image_file;
pub(crate) mod progress;
mod transfer;

pub use command::{VdiArguments, run};
