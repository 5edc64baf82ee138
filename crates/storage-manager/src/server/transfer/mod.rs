//! Content of VDIs over HTTP: `GET /export_raw_vdi` and `PUT /import_raw_vdi`.
//!
//! ```text
//! request -> who, which VDI, which task          answer: heads and pages as a real pool sends them
//!    |
//!    +-> export   open read-only  -> thread: source -> chunks -> task of the runtime -> body of the answer
//!    +-> import   open read-write <- thread: sink   <- chunks <- task of the runtime <- body of the request
//! ```
//!
//! A transfer has a thread of its own, of which each SR has a bounded number, so that long ones neither hold the SR's
//! threads nor block the runtime. Between thread and socket are a few chunks: memory does not grow with the VDI, and a slow
//! peer slows the thread. The task of the runtime watches the peer, the cancelling of the XenAPI task and the shutdown.
//!
//! Source: reference 1.8; golden `xenapi/http`. Deviations are in `docs/protocols/xenapi-subset.md`.

pub mod answer;
pub mod body;
mod export;
mod feed;
mod import;
mod request;
mod sink;
mod source;
mod transfers;

pub use export::handle as export;
pub use import::handle as import;
pub use transfers::Transfers;
