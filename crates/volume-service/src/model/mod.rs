//! Ids, sizes, states and their legal transitions; no I/O, no clock.

pub mod adoption;
pub mod attachment;
pub mod backend;
pub mod flavor;
pub mod group;
pub mod id;
pub mod instance;
pub mod modification;
pub mod operation;
pub mod performance;
pub mod qos_specs;
pub mod quota;
pub mod snapshot;
pub mod snapshot_lock;
pub mod snapshot_sharing;
pub mod transfer;
pub mod volume;
