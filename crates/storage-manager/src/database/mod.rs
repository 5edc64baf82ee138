//! The XenAPI objects and their durable store.
//!
//! All objects are in memory; reads never touch the file. A change is made in memory under a short lock, its rows are
//! queued, and the call that made it answers when they are on stable storage. See `docs/internals/object-database.md`.

mod class;
mod codec;
mod object;
mod objects;
mod open;
mod seal;
mod store;
mod transaction;

pub use class::Class;
pub use object::{Object, text_map, text_set};
pub use objects::{Change, Objects};
pub use open::Database;
pub use transaction::{IntendedWork, Intent, Transaction};
