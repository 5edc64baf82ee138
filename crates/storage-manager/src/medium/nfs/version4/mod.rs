//! NFS version 4, minor versions 1 and 2.
//!
//! ```text
//! operations    the calls of `Protocol`
//! session       a client of the server, its session, the slots that make a repetition harmless
//! compound      requests of several operations, and their answers
//! attributes    what a server says of a file
//! ```
//!
//! No file is kept open: reads and writes go by the state id of nobody, so there is nothing to reclaim when a server was
//! restarted and nothing that a lease could end. Who may write is settled by the owner of the SR.
//!
//! Source: RFC 8881 (minor version 1), RFC 7862 (minor version 2); numbers of operations from RFC 5662 and RFC 7863.

mod attributes;
mod compound;
mod operations;
mod session;

pub use operations::Version4;
pub use session::MinorVersions;
