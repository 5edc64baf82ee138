//! The REST API over the state, as of ONTAP 9.11 to 9.16: paths below `/api`.

mod body;
mod call;
mod iscsi;
mod luns;
mod pattern;
mod query;
mod router;
mod san;
mod system;
mod volumes;

pub use router::handle;
