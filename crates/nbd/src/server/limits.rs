//! Every bound of the server.

use std::time::Duration;

use crate::protocol::constants::PORTABLE_PAYLOAD;

/// Longest read or write in bytes; advertised to clients, the portable maximum of the protocol.
pub const MAX_REQUEST: u32 = PORTABLE_PAYLOAD;
/// Bytes handled at once: a longer read is sent, and a longer write received, in pieces of this size.
pub(super) const PIECE: usize = 1024 * 1024;
/// Longest data of an option that is read.
pub(super) const MAX_OPTION: u32 = 16 * 1024;
/// Longest data of an option that is skipped; a longer one ends the connection.
pub(super) const MAX_SKIPPED_OPTION: u32 = 256 * 1024;
/// Most options of one handshake.
pub(super) const MAX_OPTIONS: usize = 64;
/// Most names in the reply to LIST.
pub(super) const MAX_LISTED: usize = 4096;
/// Most extents in a reply to BLOCK_STATUS; the client asks again for the rest.
pub(super) const MAX_STATUS_EXTENTS: usize = 4096;
/// Longest reads and writes whose replies are sent in batches.
pub(super) const SHORT_REQUEST: u32 = 64 * 1024;
/// Most replies in a batch.
pub(super) const BATCH_REPLIES: usize = 32;
/// Data that fits into a batch of replies, unless one reply needs more.
pub(super) const BATCH_BYTES: usize = 128 * 1024;
/// Data is put at multiples of this in memory, so that an export can use direct I/O without copying.
pub(super) const BUFFER_ALIGNMENT: usize = 4096;
/// I/O slower than this runs beside other requests; faster I/O is served by one thread, which then costs no more than
/// the work of the protocol itself.
pub(super) const FAST_IO: Duration = Duration::from_micros(10);
/// How long the last bytes of a closed connection may take.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
pub(super) const BACKLOG: i32 = 128;
/// How long accepting pauses when the process has no descriptors left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// TCP keepalive: first probe after this, for a peer that vanished without a word.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// TCP keepalive: time between probes.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// TCP keepalive: probes before the connection is given up.
pub(super) const KEEPALIVE_COUNT: u32 = 6;

/// Bounds that the owner of a server may choose.
///
/// An established connection may be idle for ever.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; a further one is closed at once.
    pub connections: usize,
    /// Handshakes under way over TCP at once; a further one is closed at once. Peers who have not said what they want
    /// thus never take the places of the others.
    pub tcp_handshakes: usize,
    /// Worker threads of one connection; each has at most 2 MiB of buffers.
    pub workers_per_connection: usize,
    /// Time from accepting a connection to the end of its handshake, TLS included.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 256,
            tcp_handshakes: 64,
            workers_per_connection: 16,
            handshake: Duration::from_secs(10),
        }
    }
}
