//! The numbers of the protocol document.

/// First magic of a server ("Newstyle negotiation").
pub const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Magic of an option, and second magic of a server ("Newstyle negotiation").
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Magic of an option's reply ("Fixed newstyle negotiation").
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Magic of a request ("Request message").
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Magic of a simple reply ("Simple reply message").
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Magic of a chunk of a structured reply ("Structured reply chunk message").
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Longest string of the protocol in bytes ("Conventions").
pub const MAX_STRING: usize = 4096;
/// Zeros after the reply to `NBD_OPT_EXPORT_NAME` unless both sides left them out ("Newstyle negotiation").
pub const EXPORT_NAME_PADDING: usize = 124;
/// Largest payload that every server should take ("Size constraints").
pub const PORTABLE_PAYLOAD: u32 = 32 * 1024 * 1024;
/// Most extents in one chunk ("Structured reply types").
pub const MAX_EXTENTS: usize = 1 << 20;
/// Name of the one metadata context of the protocol document ("The base: metadata namespace").
pub const BASE_ALLOCATION: &str = "base:allocation";

/// Handshake flags of the server and of the client ("Handshake flags", "Client flags").
pub mod handshake_flag {
    /// Fixed newstyle negotiation.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No zeros after the reply to `NBD_OPT_EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Transmission flags of an export ("Transmission flags").
pub mod transmission_flag {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Nothing may be written.
    pub const READ_ONLY: u16 = 1 << 1;
    /// The export can be flushed.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// Writes may ask to be on stable storage at their reply.
    pub const SEND_FUA: u16 = 1 << 3;
    /// The export can be trimmed.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// Zeros can be written without sending them.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// A structured read may ask for one chunk.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers all of them.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// A range can be read ahead.
    pub const SEND_CACHE: u16 = 1 << 10;
}

/// Options ("Option types").
pub mod option {
    /// Chooses an export, old form without errors.
    pub const EXPORT_NAME: u32 = 1;
    /// Ends the session.
    pub const ABORT: u32 = 2;
    /// Lists exports.
    pub const LIST: u32 = 3;
    /// Begins TLS.
    pub const STARTTLS: u32 = 5;
    /// Describes an export.
    pub const INFO: u32 = 6;
    /// Chooses an export.
    pub const GO: u32 = 7;
    /// Asks for structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Lists metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Chooses metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// Replies to options ("Option reply types").
pub mod option_reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// One export of a list.
    pub const SERVER: u32 = 2;
    /// One piece of information on an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// Set in every error.
    pub const ERROR_BIT: u32 = 1 << 31;
    /// The option is not known.
    pub const ERR_UNSUP: u32 = ERROR_BIT | 1;
    /// The option is not allowed here.
    pub const ERR_POLICY: u32 = ERROR_BIT | 2;
    /// The option is malformed, or wrong at this point.
    pub const ERR_INVALID: u32 = ERROR_BIT | 3;
    /// TLS must come first.
    pub const ERR_TLS_REQD: u32 = ERROR_BIT | 5;
    /// There is no such export.
    pub const ERR_UNKNOWN: u32 = ERROR_BIT | 6;
    /// The server is going down.
    pub const ERR_SHUTDOWN: u32 = ERROR_BIT | 7;
    /// The option or its reply is too large.
    pub const ERR_TOO_BIG: u32 = ERROR_BIT | 9;
}

/// Kinds of information on an export (`NBD_REP_INFO`).
pub mod info {
    /// Size and flags.
    pub const EXPORT: u16 = 0;
    /// Canonical name.
    pub const NAME: u16 = 1;
    /// Text for a human.
    pub const DESCRIPTION: u16 = 2;
    /// Size constraints.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Commands ("Request types").
pub mod command {
    /// Reads.
    pub const READ: u16 = 0;
    /// Writes.
    pub const WRITE: u16 = 1;
    /// Ends the session.
    pub const DISC: u16 = 2;
    /// Flushes.
    pub const FLUSH: u16 = 3;
    /// Tells that a range is not needed.
    pub const TRIM: u16 = 4;
    /// Tells that a range will be needed.
    pub const CACHE: u16 = 5;
    /// Writes zeros.
    pub const WRITE_ZEROES: u16 = 6;
    /// Asks which ranges hold data.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Flags of a request ("Command flags").
pub mod command_flag {
    /// On stable storage before the reply.
    pub const FUA: u16 = 1 << 0;
    /// Zeros must be allocated.
    pub const NO_HOLE: u16 = 1 << 1;
    /// One content chunk.
    pub const DF: u16 = 1 << 2;
    /// One extent.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Only if faster than writing.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// Set in the last chunk of a structured reply ("Structured reply flags").
pub const CHUNK_DONE: u16 = 1 << 0;

/// Kinds of chunks ("Structured reply types").
pub mod chunk {
    /// Nothing more to say.
    pub const NONE: u16 = 0;
    /// Bytes of the export.
    pub const OFFSET_DATA: u16 = 1;
    /// A range that reads as zeros.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents of one metadata context.
    pub const BLOCK_STATUS: u16 = 5;
    /// Set in every error.
    pub const ERROR_BIT: u16 = 1 << 15;
    /// An error.
    pub const ERROR: u16 = ERROR_BIT | 1;
    /// An error at an offset.
    pub const ERROR_OFFSET: u16 = ERROR_BIT | 2;
}

/// Status bits of `base:allocation`.
pub mod state {
    /// Not allocated.
    pub const HOLE: u32 = 1 << 0;
    /// Reads as zeros.
    pub const ZERO: u32 = 1 << 1;
}
