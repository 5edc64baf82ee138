//! Files on an NFS server, by a client of our own in user space: no mount, no root.
//!
//! ```text
//! files, file            what the layouts see: `Files`, `MediumFile`
//!    uncommitted         copies of what the server may still lose
//! protocol               one set of calls for both versions
//!    version3, version4  their encodings; mountd: what version 3 needs beside it
//! transport, connection  connections, deadlines, what is sent again and when
//! rpc, xdr               bytes
//! ```
//!
//! What data hangs on: `docs/internals/nfs.md`.

mod connection;
mod error;
mod file;
mod files;
mod mountd;
mod options;
mod pieces;
mod protocol;
mod rpc;
mod server;
mod status;
mod transport;
mod uncommitted;
mod version3;
mod version4;
mod xdr;

pub use error::NfsError;
pub use files::NfsFiles;
pub use mountd::Export;
pub use options::{NfsOptions, OptionError, Version};
pub use server::NfsServer;
pub use status::Status;

/// Most bytes of one read or write, whatever a server offers.
pub const MAX_TRANSFER: usize = 1 << 20;
