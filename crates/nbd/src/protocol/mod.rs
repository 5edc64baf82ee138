//! The wire format of NBD, without any I/O.
//!
//! All integers are big-endian. Every structure has `parse` and `to_bytes` or `append_to`, and `parse` of the bytes
//! gives the structure back.
//!
//! # Source
//! The NBD protocol document (`doc/proto.md` of the reference implementation); section names are quoted at the
//! constants.

pub mod constants;
mod error_code;
mod handshake;
mod options;
mod reader;
mod transmission;

pub use error_code::ErrorCode;
pub use handshake::{ClientHello, ExportReply, OptionHeader, OptionReplyHeader, ServerHello};
pub use options::{BlockSizes, ExportRequest, Info, MetaContext, MetaContextRequest, ServerEntry};
pub use transmission::{
    BlockDescriptor, ChunkHeader, DataHeader, ErrorChunk, HoleChunk, Request, SimpleReply,
    StatusChunk,
};
