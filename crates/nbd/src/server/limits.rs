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
/// Most extents of each context in a reply to BLOCK_STATUS; the client asks again for the rest.
pub(super) const MAX_STATUS_EXTENTS: usize = 4096;
/// Longest reads and writes whose replies are sent in batches.
pub(super) const SHORT_REQUEST: u32 = 64 * 1024;
/// Most replies in a batch.
pub(super) const BATCH_REPLIES: usize = 32;
/// Data that fits into a batch of replies, unless one reply needs more.
pub(super) const BATCH_BYTES: usize = 128 * 1024;
/// Room for the payload of a write in a connection's own buffer; a longer one comes in pieces when no memory is free.
pub(super) const OWN_PAYLOAD: usize = SHORT_REQUEST as usize;
/// How long a request waits, in line with those of other connections, for memory before its connection goes on with its own
/// small buffer.
pub(super) const BUFFER_PATIENCE: Duration = Duration::from_millis(100);
/// Most bytes of buffers that are kept for the next request while nobody uses them.
pub(super) const CACHED_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a CACHE request that are read ahead; the rest of it is advice that is not taken.
pub(super) const MAX_READ_AHEAD: u32 = MAX_REQUEST;
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
    /// Worker threads of one connection.
    pub workers_per_connection: usize,
    /// Bytes of buffers that the requests in flight of all connections together may use. Beside them each connection has
    /// 256 KiB of its own, with which it goes on when these are used up.
    pub buffer_bytes: usize,
    /// Time from accepting a connection to the end of its handshake, TLS included.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 256,
            tcp_handshakes: 64,
            workers_per_connection: 16,
            buffer_bytes: 256 * 1024 * 1024,
            handshake: Duration::from_secs(10),
        }
    }
}
