//! System calls: positional files, durable directory changes, locks between processes.
//!
//! The only room of the project in which `unsafe` would be allowed. There is none: `rustix` and the standard library
//! have safe wrappers for everything that is needed so far.

pub mod durable;
pub(crate) mod fault;
pub mod group_sync;
pub mod lock;
pub mod positional;
