//! System calls: positional files, durable directory changes, locks between processes; and libiscsi.
//!
//! The only room of the project in which `unsafe` is allowed, and there in `libiscsi` only: `rustix` and the standard library
//! have safe wrappers for everything else.

pub mod durable;
pub mod exec;
pub(crate) mod fault;
pub mod group_sync;
pub mod libiscsi;
pub mod lock;
pub mod positional;
