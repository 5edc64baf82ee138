//! The data of options and of their replies.

use super::constants::{MAX_STRING, info};
use super::reader::Reader;
use crate::Error;

/// Most information requests in one option; the document knows four kinds.
const MAX_INFO_REQUESTS: usize = 64;
/// Most queries in one metadata option.
const MAX_QUERIES: usize = 64;

/// The data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// Name of the export; empty for the default one.
    pub name: String,
    /// Kinds of information asked for.
    pub info: Vec<u16>,
}

impl ExportRequest {
    /// Reads the data.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("INFO or GO", bytes);
        let name = reader.counted_string()?;
        let count = usize::from(reader.u16()?);
        if count > MAX_INFO_REQUESTS {
            let limit = MAX_INFO_REQUESTS as u64;
            return Err(Error::Limit {
                what: "count of information requests",
                found: count as u64,
                limit,
            });
        }
        let mut info = Vec::with_capacity(count);
        for _ in 0..count {
            info.push(reader.u16()?);
        }
        reader.end()?;
        Ok(ExportRequest { name, info })
    }

    /// Writes the data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        append_string(&mut out, &self.name);
        out.extend_from_slice(&(self.info.len() as u16).to_be_bytes());
        for kind in &self.info {
            out.extend_from_slice(&kind.to_be_bytes());
        }
        out
    }
}

/// The data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaContextRequest {
    /// Name of the export.
    pub name: String,
    /// Contexts or wildcards.
    pub queries: Vec<String>,
}

impl MetaContextRequest {
    /// Reads the data.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("metadata context option", bytes);
        let name = reader.counted_string()?;
        let count = reader.u32()? as usize;
        if count > MAX_QUERIES {
            return Err(Error::Limit {
                what: "count of queries",
                found: count as u64,
                limit: MAX_QUERIES as u64,
            });
        }
        let mut queries = Vec::with_capacity(count);
        for _ in 0..count {
            queries.push(reader.counted_string()?);
        }
        reader.end()?;
        Ok(MetaContextRequest { name, queries })
    }

    /// Writes the data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        append_string(&mut out, &self.name);
        out.extend_from_slice(&(self.queries.len() as u32).to_be_bytes());
        for query in &self.queries {
            append_string(&mut out, query);
        }
        out
    }
}

/// The data of `NBD_REP_META_CONTEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaContext {
    /// What stands for the context in chunks.
    pub id: u32,
    /// Its name.
    pub name: String,
}

impl MetaContext {
    /// Reads the data.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("metadata context", bytes);
        let id = reader.u32()?;
        let name = reader.string(reader.rest().len())?;
        Ok(MetaContext { id, name })
    }

    /// Writes the data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.id.to_be_bytes().to_vec();
        out.extend_from_slice(self.name.as_bytes());
        out
    }
}

/// The data of `NBD_REP_SERVER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// Name of the export.
    pub name: String,
}

impl ServerEntry {
    /// Reads the data; a description after the name is ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Ok(ServerEntry {
            name: Reader::new("list entry", bytes).counted_string()?,
        })
    }

    /// Writes the data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        append_string(&mut out, &self.name);
        out
    }
}

/// The size constraints of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    /// Every offset and length is a multiple of it.
    pub minimum: u32,
    /// Smallest efficient request.
    pub preferred: u32,
    /// Largest payload.
    pub maximum: u32,
}

/// The data of `NBD_REP_INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Info {
    /// Size and flags.
    Export {
        /// Size in bytes.
        size: u64,
        /// Transmission flags.
        flags: u16,
    },
    /// Size constraints.
    BlockSize(BlockSizes),
    /// A kind that is not used here; its content is ignored.
    Other(u16),
}

impl Info {
    /// Reads the data.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("export information", bytes);
        let parsed = match reader.u16()? {
            info::EXPORT => Info::Export {
                size: reader.u64()?,
                flags: reader.u16()?,
            },
            info::BLOCK_SIZE => Info::BlockSize(BlockSizes {
                minimum: reader.u32()?,
                preferred: reader.u32()?,
                maximum: reader.u32()?,
            }),
            kind => return Ok(Info::Other(kind)),
        };
        reader.end()?;
        Ok(parsed)
    }

    /// Writes the data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(14);
        match self {
            Info::Export { size, flags } => {
                out.extend_from_slice(&info::EXPORT.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(&flags.to_be_bytes());
            }
            Info::BlockSize(sizes) => {
                out.extend_from_slice(&info::BLOCK_SIZE.to_be_bytes());
                out.extend_from_slice(&sizes.minimum.to_be_bytes());
                out.extend_from_slice(&sizes.preferred.to_be_bytes());
                out.extend_from_slice(&sizes.maximum.to_be_bytes());
            }
            Info::Other(kind) => out.extend_from_slice(&kind.to_be_bytes()),
        }
        out
    }
}

fn append_string(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= MAX_STRING, "callers bound their strings");
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
