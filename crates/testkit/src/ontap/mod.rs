//! An array that speaks as ONTAP does, for tests: the REST API and parts of ZAPI over HTTPS and HTTP, LUNs over iSCSI.
//!
//! [`OntapEmulator::start`] gives a running array with real LUNs: sparse files that a real tgt serves. What it knows is plain data
//! ([`state::cluster::Cluster`]), which a test reads and changes by [`OntapEmulator::with`]; what goes wrong is said by
//! [`OntapEmulator::inject`].
//!
//! As on a real array, all initiators use one target of the SVM and each sees the LUNs that are mapped to it, from number 0; and
//! an interface has an address and always port 3260, so each emulator takes addresses of its own in 127.0.0.0/8.
//!
//! What it was compared with, and how it is known not to be as a real array: `docs/internals/ontap-emulator.md`.

mod data;
mod emulator;
pub mod fault;
mod http;
mod listener;
mod machine;
mod rest;
pub mod state;
mod zapi;

pub use emulator::{Login, OntapEmulator, Options};
