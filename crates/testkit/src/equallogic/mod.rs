//! A group of EqualLogic PS arrays: a CLI behind SSH, and volumes that are iSCSI targets of their own with LUN 0.
//!
//! [`Group`] is what a group is, without any protocol; [`EqualLogicEmulator`] runs one. The layout of answers follows what published
//! clients expect and what their documentation quotes: Cinder's driver and its troubleshooting page, the parser of `ail`, plugins of
//! Proxmox, XenRT's cleaning, Eucalyptus. Where none of them says it, the wording is ours; clients should rely on `% Error - ` and on
//! `does not exist.`, and on no other text of errors.
//!
//! There are no replication, no thin clones and templates, no collections and schedules, and no NAS; such commands are bad ones.

mod answer;
mod array;
mod command;
mod data_plane;
mod describe;
mod describe_volume;
mod emulator;
mod execute;
mod faults;
mod group;
#[cfg(test)]
mod group_tests;
mod parse;
mod parse_volume;
mod pdu;
mod portal;
mod refusal;
mod shell;
mod size;
mod snapshots;
mod ssh;
mod volume;
mod volumes;
mod wire;
mod words;

pub use array::State;
pub use data_plane::DataPlane;
pub use emulator::{EqualLogicEmulator, ISCSI_PORT, Options};
pub use faults::{Cut, Faults, Refused};
pub use group::{Account, ChapUser, DataChange, Group, Member, Pool, Role, Settings};
pub use refusal::Refusal;
pub use size::PAGE;
pub use snapshots::NewSnapshot;
pub use volume::{AccessRecord, AppliesTo, Depletion, Snapshot, Stopped, Volume};
pub use volumes::NewVolume;
