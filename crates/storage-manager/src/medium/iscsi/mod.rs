//! iSCSI targets in user space: portals, sessions that survive the target's restart, LUNs as devices.
//!
//! SCSI is spoken here, in safe code; `io/libiscsi` carries it.

mod answers;
mod cdb;
mod device;
mod discovery;
mod error;
mod iscsi_luns;
mod portal;
mod sense;
mod session;
mod session_core;

pub use answers::Capacity;
pub use device::IscsiDevice;
pub use discovery::discover;
pub use error::{Error, Refusal};
pub use iscsi_luns::IscsiLuns;
pub use portal::{DEFAULT_PORT, Portal, PortalError, resolve};
pub use session::{Login, Session};

pub use crate::io::libiscsi::{Credentials, Target};
