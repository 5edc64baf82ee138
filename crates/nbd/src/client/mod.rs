//! A small blocking client: one request at a time, for tools and tests.
//!
//! It trusts the server with the content of the export and with nothing else: every length that the server sends is
//! bounded, and every wait has a deadline.

mod connect;
mod negotiate;
mod request;

use std::time::Duration;

pub use connect::{ClientOptions, ClientTls, list_tcp, list_unix};

use crate::channel::{Channel, Receiver, Sender};

/// How long a server may take for one step, unless [`ClientOptions`] says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest data of an option's reply that is read.
const MAX_OPTION_REPLY: u32 = 64 * 1024;
/// Most replies to one option.
const MAX_OPTION_REPLIES: usize = 8192;
/// Most chunks of one structured reply.
const MAX_CHUNKS: usize = 65_536;

/// Whether written zeros may become a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroMode {
    /// The space may be freed.
    MayPunch,
    /// The space stays, or becomes, allocated.
    Allocate,
}

/// A connection to an export.
///
/// An error other than [`crate::Error::Refused`], [`crate::Error::NotOffered`] and [`crate::Error::OutOfRange`] leaves
/// the connection unusable; later calls say so.
pub struct Client {
    channel: Channel,
    receiver: Receiver,
    sender: Sender,
    timeout: Duration,
    size: u64,
    flags: u16,
    structured: bool,
    /// What stands for `base:allocation`, if the server has it.
    allocation: Option<u32>,
    max_payload: u32,
    next_cookie: u64,
    broken: bool,
}
