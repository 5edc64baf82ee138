//! Messages of the transmission phase.

use super::ErrorCode;
use super::constants::{CHUNK_MAGIC, MAX_EXTENTS, MAX_STRING, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC};
use super::reader::Reader;
use crate::Error;

/// A request; `length` bytes follow if it is a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Command flags.
    pub flags: u16,
    /// Which command.
    pub command: u16,
    /// Chosen by the client, repeated in the reply.
    pub cookie: u64,
    /// Start in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u32,
}

impl Request {
    /// Length in bytes without a payload.
    pub const LENGTH: usize = 28;

    /// Reads the head.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("request", bytes);
        reader.magic32(REQUEST_MAGIC)?;
        let request = Request {
            flags: reader.u16()?,
            command: reader.u16()?,
            cookie: reader.u64()?,
            offset: reader.u64()?,
            length: reader.u32()?,
        };
        reader.end()?;
        Ok(request)
    }

    /// Writes the head.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.command.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.to_be_bytes());
        out[24..28].copy_from_slice(&self.length.to_be_bytes());
        out
    }
}

/// A simple reply; data follows if a read succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimpleReply {
    /// Nothing on success.
    pub error: Option<ErrorCode>,
    /// The request's.
    pub cookie: u64,
}

impl SimpleReply {
    /// Length in bytes without data.
    pub const LENGTH: usize = 16;

    /// Reads the head.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("simple reply", bytes);
        reader.magic32(SIMPLE_REPLY_MAGIC)?;
        let error = match reader.u32()? {
            0 => None,
            value => Some(ErrorCode::from_wire(value)),
        };
        let reply = SimpleReply {
            error,
            cookie: reader.u64()?,
        };
        reader.end()?;
        Ok(reply)
    }

    /// Writes the head.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[0..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
        out[4..8].copy_from_slice(&self.error.map_or(0, ErrorCode::to_wire).to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out
    }
}

/// The head of a chunk of a structured reply; `length` bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Structured reply flags.
    pub flags: u16,
    /// Kind of chunk.
    pub kind: u16,
    /// The request's.
    pub cookie: u64,
    /// Length of the payload in bytes.
    pub length: u32,
}

impl ChunkHeader {
    /// Length in bytes.
    pub const LENGTH: usize = 20;

    /// Reads the head.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("structured reply", bytes);
        reader.magic32(CHUNK_MAGIC)?;
        let header = ChunkHeader {
            flags: reader.u16()?,
            kind: reader.u16()?,
            cookie: reader.u64()?,
            length: reader.u32()?,
        };
        reader.end()?;
        Ok(header)
    }

    /// Writes the head.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[0..4].copy_from_slice(&CHUNK_MAGIC.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.kind.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..20].copy_from_slice(&self.length.to_be_bytes());
        out
    }
}

/// What comes before the data in an `OFFSET_DATA` chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// Where the data lies in the export.
    pub offset: u64,
}

impl DataHeader {
    /// Length in bytes.
    pub const LENGTH: usize = 8;

    /// Reads the field.
    pub fn parse(bytes: [u8; Self::LENGTH]) -> Self {
        DataHeader {
            offset: u64::from_be_bytes(bytes),
        }
    }

    /// Writes the field.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        self.offset.to_be_bytes()
    }
}

/// The payload of an `OFFSET_HOLE` chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoleChunk {
    /// Where the zeros lie in the export.
    pub offset: u64,
    /// How many there are; not zero.
    pub length: u32,
}

impl HoleChunk {
    /// Length in bytes.
    pub const LENGTH: usize = 12;

    /// Reads the payload.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("hole chunk", bytes);
        let hole = HoleChunk {
            offset: reader.u64()?,
            length: reader.u32()?,
        };
        reader.end()?;
        match hole.length {
            0 => Err(Error::Unexpected {
                what: "length of a hole",
                found: 0,
            }),
            _ => Ok(hole),
        }
    }

    /// Writes the payload.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[0..8].copy_from_slice(&self.offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.length.to_be_bytes());
        out
    }
}

/// The payload of an error chunk; an offset after the text is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorChunk {
    /// What went wrong.
    pub code: ErrorCode,
    /// Text for a human, perhaps empty.
    pub message: String,
}

impl ErrorChunk {
    /// Length in bytes without the text.
    pub const LENGTH: usize = 6;

    /// Reads the payload.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("error chunk", bytes);
        let code = match reader.u32()? {
            0 => {
                return Err(Error::Unexpected {
                    what: "error of an error chunk",
                    found: 0,
                });
            }
            value => ErrorCode::from_wire(value),
        };
        let length = usize::from(reader.u16()?);
        Ok(ErrorChunk {
            code,
            message: reader.string(length)?,
        })
    }

    /// Writes the payload; the text is cut at 4096 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut cut = self.message.len().min(MAX_STRING);
        while !self.message.is_char_boundary(cut) {
            cut -= 1;
        }
        let text = &self.message[..cut];
        let mut out = Vec::with_capacity(Self::LENGTH + text.len());
        out.extend_from_slice(&self.code.to_wire().to_be_bytes());
        out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
        out
    }
}

/// One extent in a `BLOCK_STATUS` chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDescriptor {
    /// Length in bytes; not zero.
    pub length: u32,
    /// Status bits of the context.
    pub flags: u32,
}

/// The payload of a `BLOCK_STATUS` chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChunk {
    /// Which metadata context.
    pub context: u32,
    /// Consecutive extents from the request's offset; at least one.
    pub extents: Vec<BlockDescriptor>,
}

impl StatusChunk {
    /// Longest payload in bytes.
    pub const MAX_LENGTH: usize = 4 + 8 * MAX_EXTENTS;

    /// Reads the payload.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("block status chunk", bytes);
        let context = reader.u32()?;
        let count = reader.rest().len() / 8;
        if count == 0 || count > MAX_EXTENTS {
            let limit = MAX_EXTENTS as u64;
            return Err(Error::Limit {
                what: "count of extents",
                found: count as u64,
                limit,
            });
        }
        let mut extents = Vec::with_capacity(count);
        for _ in 0..count {
            let extent = BlockDescriptor {
                length: reader.u32()?,
                flags: reader.u32()?,
            };
            if extent.length == 0 {
                return Err(Error::Unexpected {
                    what: "length of an extent",
                    found: 0,
                });
            }
            extents.push(extent);
        }
        reader.end()?;
        Ok(StatusChunk { context, extents })
    }

    /// Writes the payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 8 * self.extents.len());
        out.extend_from_slice(&self.context.to_be_bytes());
        for extent in &self.extents {
            out.extend_from_slice(&extent.length.to_be_bytes());
            out.extend_from_slice(&extent.flags.to_be_bytes());
        }
        out
    }
}
