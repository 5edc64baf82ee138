//! The NBD protocol: server, export trait and a small client.
//!
//! What is supported, which options are refused and every limit: `docs/protocols/nbd.md`.
//! The crate sees bytes at offsets and nothing of what is behind them; it never prints and reads no environment.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod channel;
pub mod client;
mod error;
mod export;
pub mod protocol;
pub mod server;

pub use client::Client;
pub use error::Error;
pub use export::{BlockStatus, ContextExtent, Export, Extent, MAX_CONTEXTS};
pub use server::{Exports, Found, Peer, PeerAddress, Refusal, Server};
