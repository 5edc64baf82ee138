//! Looking at an image without opening it.

use uuid::Uuid;

use crate::bat::UNALLOCATED;
use crate::error::{Defect, Part, Result, Rule};
use crate::footer::ImageType;
use crate::header::Header;
use crate::image::found::{Headers, read_entries, read_table};
use crate::size::BLOCK_SIZE;
use crate::storage::{self, Storage};

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Kind of image.
    pub image_type: ImageType,
    /// The image's uuid.
    pub uuid: Uuid,
    /// Virtual size in bytes.
    pub virtual_size: u64,
    /// Virtual size in bytes up to which the image can grow by changing its headers only.
    pub capacity: u64,
    /// Bytes in a block; for a fixed image those that it is divided into in memory.
    pub block_size: u64,
    /// Length of the storage in bytes.
    pub physical_size: u64,
    /// True when the image is kept only as a parent of others.
    pub hidden: bool,
    /// Seconds since 2000 of the creation or the last change.
    pub timestamp: u32,
    /// The parent of a differencing image.
    pub parent: Option<ParentLink>,
    /// False when the footer at the end is missing or damaged: the image is open in a tapdisk, or was not closed.
    pub has_primary_footer: bool,
}

/// The parent that a differencing image names. All of it is untrusted: map it to an image by the uuid or by the last
/// component of a name, within the same SR, and open nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentLink {
    /// The parent's uuid; nil when the parent is raw.
    pub uuid: Uuid,
    /// The base name in the header.
    pub name: String,
    /// The paths in the locators that can be decoded, in their order, with `/`.
    pub paths: Vec<String>,
    /// The parent's modification time in seconds since 2000 when the child was made.
    pub timestamp: u32,
}

impl ParentLink {
    /// True when the parent is a raw image, which has no uuid.
    pub fn is_raw(&self) -> bool {
        self.uuid.is_nil()
    }

    /// The last component of the first locator, else the name in the header.
    pub fn base_name(&self) -> &str {
        let first = self.paths.first().unwrap_or(&self.name);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// The last components of all names, of the header and of each locator. They differ in an image whose
    /// [`crate::image::reparent`] was interrupted: it belongs to the parent with the uuid, and is on its way to, or from,
    /// the one that another name says.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name)
            .chain(&self.paths)
            .map(|path| path.rsplit('/').next().unwrap_or(path))
            .filter(|name| !name.is_empty())
    }
}

/// Reads what an image says of itself: footers, header and locators, and neither BAT nor data.
///
/// It works while the image is open elsewhere, through the footer's copy at the start.
///
/// # Errors
/// As [`crate::image::FoundImage::read`].
pub fn inspect(storage: &dyn Storage) -> Result<ImageInfo> {
    Ok(info(storage, &Headers::read(storage)?))
}

/// The parent that an image names, `None` when it is not a differencing image.
///
/// # Errors
/// As [`crate::image::FoundImage::read`].
pub fn parent_link(storage: &dyn Storage) -> Result<Option<ParentLink>> {
    Ok(inspect(storage)?.parent)
}

/// Which blocks the image itself has: a bit for each block of the virtual size, the most significant bit of each byte
/// first, as `vhd-util read -B` prints it. A fixed image has all.
///
/// It works while the image is open elsewhere, and then tells what was published.
///
/// # Errors
/// As [`crate::image::FoundImage::read`], and `Corrupt` when the BAT does not fit the file.
pub fn allocated_blocks(storage: &dyn Storage) -> Result<Vec<u8>> {
    let headers = Headers::read(storage)?;
    let size = headers.footer.current_size;
    let block_size = headers
        .header
        .as_ref()
        .map_or(BLOCK_SIZE, |header| header.block_size.into());
    let block_count = size.div_ceil(block_size);
    let mut bits = vec![0; block_count.div_ceil(8) as usize];
    let is_allocated: Box<dyn Fn(u32) -> bool> = match &headers.header {
        None => Box::new(|_| true),
        Some(header) => {
            let entries = read_table(storage, header, block_count, headers.length)?;
            Box::new(move |block| entries[block as usize] != UNALLOCATED)
        }
    };
    for block in (0..block_count as u32).filter(|block| is_allocated(*block)) {
        bits[block as usize / 8] |= 0x80 >> (block % 8);
    }
    Ok(bits)
}

/// Tells whether the image itself has any block; a fixed image has. It reads the table up to the first block.
///
/// It works while the image is open elsewhere, and then tells what was published.
///
/// # Errors
/// As [`allocated_blocks`].
pub fn has_blocks(storage: &dyn Storage) -> Result<bool> {
    let headers = Headers::read(storage)?;
    let Some(header) = &headers.header else {
        return Ok(true);
    };
    if headers.is_too_short_for_a_block() {
        return Ok(false);
    }
    let block_count = headers
        .footer
        .current_size
        .div_ceil(header.block_size.into());
    let mut has_blocks = false;
    read_entries(storage, header, block_count, headers.length, |entries| {
        has_blocks = entries.iter().any(|entry| *entry != UNALLOCATED);
        !has_blocks
    })?;
    Ok(has_blocks)
}

pub(crate) fn info(storage: &dyn Storage, headers: &Headers) -> ImageInfo {
    let Headers {
        length,
        primary,
        footer,
        header,
        ..
    } = headers;
    let header = header.as_ref();
    let parent = header
        .filter(|_| footer.image_type == ImageType::Differencing)
        .map(|header| ParentLink {
            uuid: header.parent_uuid,
            name: header.parent_name().unwrap_or_default(),
            paths: read_parent_paths(storage, header, *length),
            timestamp: header.parent_timestamp,
        });
    ImageInfo {
        image_type: footer.image_type,
        uuid: footer.uuid,
        virtual_size: footer.current_size,
        capacity: header.map_or(footer.current_size, |header| {
            u64::from(header.entry_count) * u64::from(header.block_size)
        }),
        block_size: header.map_or(BLOCK_SIZE, |header| header.block_size.into()),
        physical_size: *length,
        hidden: footer.hidden != 0,
        timestamp: footer.timestamp,
        parent,
        has_primary_footer: primary.is_ok(),
    }
}

/// The paths of all locators that can be read and decoded.
fn read_parent_paths(storage: &dyn Storage, header: &Header, length: u64) -> Vec<String> {
    let mut paths = Vec::new();
    for (slot, locator) in header.locators.iter().enumerate() {
        if let Some(Ok(path)) = read_locator(storage, slot as u8, locator, length) {
            paths.push(path);
        }
    }
    paths
}

/// The path in a locator, `None` when the slot is empty or of an unknown platform.
pub(crate) fn read_locator(
    storage: &dyn Storage,
    slot: u8,
    locator: &crate::locator::Locator,
    length: u64,
) -> Option<std::result::Result<String, Defect>> {
    let platform = locator.platform()?;
    if let Some(defect) = locator
        .validate(slot, crate::header::HEADER_OFFSET, length)
        .into_iter()
        .next()
    {
        return Some(Err(defect));
    }
    let undecodable = Defect {
        part: Part::Locator(slot),
        rule: Rule::LocatorText,
        found: locator.data_length.into(),
        expected: 1,
    };
    let mut data = vec![0; locator.data_length as usize];
    if storage::read(storage, &mut data, locator.data_offset).is_err() {
        return Some(Err(undecodable));
    }
    Some(platform.decode(&data).ok_or(undecodable))
}
