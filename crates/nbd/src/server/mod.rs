//! The server: listeners, one handshake per connection, and worker threads that take turns.
//!
//! ```text
//! listener thread --accept--> connection thread: handshake, then worker 0 --spawns when I/O is slow--> worker 1, 2, ...
//! worker: take the receive lock, read a request, release it, call the export, take the send lock, reply
//! ```
//! A request is carried out by the thread that received it. While the export answers faster than the protocol itself
//! costs, one worker keeps the receive lock and serves request after request, sending replies in batches.

mod accept;
mod budget;
mod buffer;
mod check;
mod connection;
mod contexts;
mod exports;
mod handshake;
mod limits;
mod listener;
mod perform;
mod registry;

pub use accept::{ListenerId, ListenerOptions, Server, TlsPolicy};
pub use exports::{Exports, Found, Peer, PeerAddress, Refusal};
pub use limits::{Limits, MAX_REQUEST};
pub use registry::ConnectionInfo;
