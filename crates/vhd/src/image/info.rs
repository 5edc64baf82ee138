//! Looking at an image without opening it.

use uuid::Uuid;

use crate::error::{Defect, Part, Result, Rule};
use crate::footer::ImageType;
use crate::header::Header;
use crate::image::found::Headers;
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
