//! The NBD protocol: codec, server and export trait.
//!
//! What is supported, which options are refused and every limit: `docs/protocols/nbd.md`.
//! The crate sees bytes at offsets and nothing of what is behind them; it never prints and reads no environment.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod channel;
mod error;
mod export;
pub mod protocol;
pub mod server;

pub use error::Error;
pub use export::{BlockStatus, Export, Extent};
pub use server::{Exports, Found, Peer, PeerAddress, Refusal, Server};
