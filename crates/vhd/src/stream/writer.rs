//! Writing an image front to back.

use std::io::{self, Read};

use uuid::Uuid;

use crate::SECTOR_SIZE;
use crate::bat::{self, UNALLOCATED};
use crate::error::{Error, Result};
use crate::footer::{FOOTER_SIZE, Footer, ImageType};
use crate::header::{HEADER_OFFSET, HEADER_SIZE, Header, PARENT_NAME_SIZE};
use crate::layout::BITMAP_SIZE;
use crate::locator::{Locator, Platform};
use crate::size::{BLOCK_SIZE, MAX_VIRTUAL_SIZE};

/// Where the parent's path lies: in the sector behind the header.
const LOCATOR_AT: u64 = HEADER_OFFSET + HEADER_SIZE as u64;

/// Where the BAT lies, also where there is no parent. Source: the golden exports of XenServer.
const TABLE_AT: u64 = LOCATOR_AT + SECTOR_SIZE;

/// The creator of streams. Without a batmap an image must not say that it is of `tap`, and qemu believes the virtual size
/// of few others: of XenServer's `caml` it takes the geometry instead and loses the end of the image.
const CREATOR_APP: &[u8; 4] = b"CTXS";

/// The version beside it, as in XenServer's exports.
const CREATOR_VERSION: u32 = 1;

/// The timestamp of streams, that of XenServer's exports: the same content is the same bytes, whenever it is exported.
pub const TIMESTAMP: u32 = 0;

/// Bytes of a block with its bitmap.
const SPAN: u64 = BITMAP_SIZE + BLOCK_SIZE;

/// What a stream is to hold.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// Bytes; whole sectors.
    pub virtual_size: u64,
    /// Identity of the image.
    pub uuid: Uuid,
    /// The image that has what this one has not; with one the stream is a differencing image.
    pub parent: Option<StreamParent>,
}

/// The parent of a differencing stream.
#[derive(Clone, Debug)]
pub struct StreamParent {
    /// Its identity.
    pub uuid: Uuid,
    /// Its file name, next to which the stream's file will lie.
    pub file_name: String,
}

/// A dynamic or differencing image as something to read.
///
/// Reading calls `source` with a buffer and a byte offset of the virtual image, in ascending order, never past its end and
/// for blocks in the map only; each call lies inside one block. All sectors of a block in the map are in the stream, as in
/// XenServer's exports: readers that do not look at bitmaps find the same content.
///
/// # Units
/// Offsets are bytes; blocks are 2 MiB.
#[derive(Debug)]
pub struct StreamWriter<F> {
    head: Vec<u8>,
    footer: [u8; FOOTER_SIZE],
    blocks: Vec<u32>,
    virtual_size: u64,
    position: u64,
    source: F,
}

impl<F: FnMut(&mut [u8], u64) -> io::Result<()>> StreamWriter<F> {
    /// Prepares a stream with the blocks whose bit is set in `map`: one bit per block, the most significant bit of each
    /// byte first. Bits past the last block are not looked at, missing ones count as not set.
    ///
    /// # Errors
    /// `OutOfRange` for a size that no VHD has, and for a file name of a parent that does not fit.
    pub fn new(new: &NewStream, map: &[u8], source: F) -> Result<Self> {
        if !(SECTOR_SIZE..=MAX_VIRTUAL_SIZE).contains(&new.virtual_size)
            || !new.virtual_size.is_multiple_of(SECTOR_SIZE)
        {
            return Err(Error::Limit {
                what: "virtual size in bytes",
                found: new.virtual_size,
                minimum: SECTOR_SIZE,
                maximum: MAX_VIRTUAL_SIZE,
            });
        }
        let count = new.virtual_size.div_ceil(BLOCK_SIZE) as u32;
        let is_set = |block: &u32| {
            let byte = map.get(*block as usize / 8).copied().unwrap_or(0);
            byte & (0x80 >> (block % 8)) != 0
        };
        let blocks: Vec<u32> = (0..count).filter(is_set).collect();
        let image_type = match new.parent {
            Some(_) => ImageType::Differencing,
            None => ImageType::Dynamic,
        };
        let mut footer = Footer::new(image_type, new.virtual_size, new.uuid, TIMESTAMP);
        footer.creator_app = *CREATOR_APP;
        footer.creator_version = CREATOR_VERSION;
        let footer = footer.to_bytes();
        Ok(StreamWriter {
            head: head(new, &footer, count, &blocks)?,
            footer,
            blocks,
            virtual_size: new.virtual_size,
            position: 0,
            source,
        })
    }

    /// Bytes of the whole stream.
    pub fn length(&self) -> u64 {
        self.head.len() as u64 + self.blocks.len() as u64 * SPAN + FOOTER_SIZE as u64
    }

    /// Bytes that were read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fills part of the buffer from the data of a block.
    fn read_data(&mut self, buffer: &mut [u8], block: u32, within: u64) -> io::Result<usize> {
        let offset = u64::from(block) * BLOCK_SIZE + within;
        let length = (BLOCK_SIZE - within).min(buffer.len() as u64);
        // The last block of the file is whole even where the image ends inside of it.
        let inside = self.virtual_size.saturating_sub(offset).min(length);
        let (data, padding) = buffer[..length as usize].split_at_mut(inside as usize);
        if !data.is_empty() {
            (self.source)(data, offset)?;
        }
        padding.fill(0);
        Ok(length as usize)
    }
}

impl<F: FnMut(&mut [u8], u64) -> io::Result<()>> Read for StreamWriter<F> {
    /// Fills as much of the buffer as lies in one part of the stream; after an error the same bytes can be asked for again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = self.head.len() as u64;
        let behind = self.position.saturating_sub(head);
        let copied = if self.position < head {
            copy(&self.head[self.position as usize..], buffer)
        } else if let Some(block) = self.blocks.get((behind / SPAN) as usize).copied() {
            let within = behind % SPAN;
            if within < BITMAP_SIZE {
                copy(&[0xff; BITMAP_SIZE as usize][within as usize..], buffer)
            } else {
                self.read_data(buffer, block, within - BITMAP_SIZE)?
            }
        } else {
            let within = behind - self.blocks.len() as u64 * SPAN;
            copy(&self.footer[within as usize..], buffer)
        };
        self.position += copied as u64;
        Ok(copied)
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let length = from.len().min(to.len());
    to[..length].copy_from_slice(&from[..length]);
    length
}

/// Everything in front of the blocks.
fn head(
    new: &NewStream,
    footer: &[u8; FOOTER_SIZE],
    count: u32,
    blocks: &[u32],
) -> Result<Vec<u8>> {
    let table_bytes = bat::table_bytes(count);
    let mut header = Header::new(TABLE_AT, count);
    let path = match &new.parent {
        Some(parent) => name_parent(&mut header, parent)?,
        None => Vec::new(),
    };
    let mut head = Vec::with_capacity((TABLE_AT + table_bytes) as usize);
    head.extend_from_slice(footer);
    head.extend_from_slice(&header.to_bytes());
    head.extend_from_slice(&path);
    head.resize(TABLE_AT as usize, 0);
    let data_sector = (TABLE_AT + table_bytes) / SECTOR_SIZE;
    let mut entries = vec![UNALLOCATED; (table_bytes / bat::ENTRY_SIZE) as usize];
    for (index, block) in blocks.iter().enumerate() {
        // At most 2040 GiB and its bitmaps: that many sectors fit an entry.
        entries[*block as usize] = (data_sector + index as u64 * (SPAN / SECTOR_SIZE)) as u32;
    }
    head.extend_from_slice(&bat::to_bytes(&entries));
    Ok(head)
}

/// Fills in the header's parent fields; returns the path that lies behind the header.
fn name_parent(header: &mut Header, parent: &StreamParent) -> Result<Vec<u8>> {
    let path = Platform::MacX.encode(&format!("./{}", parent.file_name));
    if parent.file_name.is_empty()
        || parent.file_name.contains(['/', '\\', '\0'])
        || path.len() as u64 > SECTOR_SIZE
        || !header.set_parent_name(&parent.file_name)
    {
        return Err(Error::Limit {
            what: "length of the parent's file name, which has no directory",
            found: parent.file_name.len() as u64,
            minimum: 1,
            maximum: PARENT_NAME_SIZE as u64 / 2,
        });
    }
    header.parent_uuid = parent.uuid;
    header.parent_timestamp = TIMESTAMP;
    header.locators[0] = Locator {
        code: Platform::MacX.code(),
        data_space: SECTOR_SIZE as u32,
        data_length: path.len() as u32,
        reserved: 0,
        data_offset: LOCATOR_AT,
    };
    Ok(path)
}
