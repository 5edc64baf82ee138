//! Fixed-size messages of the handshake phase.

use super::constants::{EXPORT_NAME_PADDING, NBD_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC};
use super::reader::Reader;
use crate::Error;

/// The first message of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// Handshake flags.
    pub flags: u16,
}

impl ServerHello {
    /// Length in bytes.
    pub const LENGTH: usize = 18;

    /// Reads the message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("server greeting", bytes);
        reader.magic64(NBD_MAGIC)?;
        reader.magic64(OPTION_MAGIC)?;
        let flags = reader.u16()?;
        reader.end()?;
        Ok(ServerHello { flags })
    }

    /// Writes the message.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[0..8].copy_from_slice(&NBD_MAGIC.to_be_bytes());
        out[8..16].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
        out[16..18].copy_from_slice(&self.flags.to_be_bytes());
        out
    }
}

/// The answer of a client to the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Client flags.
    pub flags: u32,
}

impl ClientHello {
    /// Length in bytes.
    pub const LENGTH: usize = 4;

    /// Reads the message.
    pub fn parse(bytes: [u8; Self::LENGTH]) -> Self {
        ClientHello {
            flags: u32::from_be_bytes(bytes),
        }
    }

    /// Writes the message.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        self.flags.to_be_bytes()
    }
}

/// The head of an option; `length` bytes of data follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHeader {
    /// Which option.
    pub option: u32,
    /// Length of the data in bytes.
    pub length: u32,
}

impl OptionHeader {
    /// Length in bytes.
    pub const LENGTH: usize = 16;

    /// Reads the head.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("option", bytes);
        reader.magic64(OPTION_MAGIC)?;
        let header = OptionHeader {
            option: reader.u32()?,
            length: reader.u32()?,
        };
        reader.end()?;
        Ok(header)
    }

    /// Writes the head.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[0..8].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
        out[8..12].copy_from_slice(&self.option.to_be_bytes());
        out[12..16].copy_from_slice(&self.length.to_be_bytes());
        out
    }
}

/// The head of a reply to an option; `length` bytes of data follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionReplyHeader {
    /// The option that is answered.
    pub option: u32,
    /// Kind of reply.
    pub reply: u32,
    /// Length of the data in bytes.
    pub length: u32,
}

impl OptionReplyHeader {
    /// Length in bytes.
    pub const LENGTH: usize = 20;

    /// Reads the head.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("option reply", bytes);
        reader.magic64(OPTION_REPLY_MAGIC)?;
        let header = OptionReplyHeader {
            option: reader.u32()?,
            reply: reader.u32()?,
            length: reader.u32()?,
        };
        reader.end()?;
        Ok(header)
    }

    /// Writes the head.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[0..8].copy_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
        out[8..12].copy_from_slice(&self.option.to_be_bytes());
        out[12..16].copy_from_slice(&self.reply.to_be_bytes());
        out[16..20].copy_from_slice(&self.length.to_be_bytes());
        out
    }
}

/// The reply to `NBD_OPT_EXPORT_NAME`; 124 zeros follow unless both sides left them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportReply {
    /// Size of the export in bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
}

impl ExportReply {
    /// Length in bytes without the zeros.
    pub const LENGTH: usize = 10;
    /// Length in bytes with the zeros.
    pub const PADDED_LENGTH: usize = Self::LENGTH + EXPORT_NAME_PADDING;

    /// Reads the reply without its zeros.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("reply to EXPORT_NAME", bytes);
        let reply = ExportReply {
            size: reader.u64()?,
            flags: reader.u16()?,
        };
        reader.end()?;
        Ok(reply)
    }

    /// Writes the reply with its zeros.
    pub fn to_padded_bytes(self) -> [u8; Self::PADDED_LENGTH] {
        let mut out = [0; Self::PADDED_LENGTH];
        out[0..8].copy_from_slice(&self.size.to_be_bytes());
        out[8..10].copy_from_slice(&self.flags.to_be_bytes());
        out
    }
}
