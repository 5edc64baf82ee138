//! Durable operations: every change that touches a pool, as a row with a list of steps that any worker of the zone can go on with.
//!
//! ```text
//!            claim                 last step done
//!  pending ---------> running -----------------------> succeeded
//!     ^  park, retry |   | a step failed for good
//!     +--------------+   v
//!                     undoing -----------------------> failed
//!                            all begun steps undone
//! ```
//!
//! `definition` says what a kind of operation is made of; one file per kind holds its steps; `progress` moves the row; `engine`
//! claims and drives; `lease` is who may; `worker` is the loop. Read `docs/internals/operations.md` first.

mod adoption;
mod attach_instance;
mod attach_volume;
pub(crate) mod birth;
mod calls;
mod connect_backend;
mod connection_info;
mod create_group_snapshot;
mod create_snapshot;
mod create_snapshots;
mod create_volume;
mod definition;
mod delete_snapshot;
mod delete_volume;
mod detach_volume;
mod engine;
mod extend_volume;
pub(crate) mod intake;
mod job;
mod kinds;
mod lease;
mod leftovers;
mod manage_snapshot;
mod manage_volume;
mod none_left;
mod notice;
mod offspring;
mod offspring_together;
mod progress;
mod revert_volume;
mod unmanage_snapshot;
mod unmanage_volume;
mod volume_content;
mod volume_qos;
mod worker;

pub use engine::{Checkpoint, Claimed, Ended, Engine, Place};
pub use lease::{LEASE_MARGIN_US, LEASE_US};
pub use progress::failure_for_tenants;
pub use worker::Worker;
