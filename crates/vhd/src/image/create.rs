//! Making new images.

use uuid::Uuid;

use crate::SECTOR_SIZE;
use crate::bat::table_bytes;
use crate::batmap::{self, BatmapHeader};
use crate::big_endian::u64_at;
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::{FOOTER_SIZE, Footer, ImageType};
use crate::header::{HEADER_OFFSET, Header, PARENT_NAME_SIZE};
use crate::layout::Layout;
use crate::locator::{Locator, MAX_DATA_LENGTH, Platform};
use crate::size::{BLOCK_SIZE, round_virtual_size};
use crate::storage::{self, Storage};
use crate::volume;

/// What a new image is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewImage {
    /// Virtual size in bytes; rounded up as [`round_virtual_size`] does.
    pub virtual_size: u64,
    /// The image's uuid.
    pub uuid: Uuid,
    /// Now, in seconds since 2000 ([`crate::size::timestamp_from_unix`]).
    pub timestamp: u32,
    /// Virtual size in bytes up to which the BAT and the batmap are to suffice, so that the image can grow by changing
    /// its headers only. Not less than the virtual size is taken; 0 for no reserve. On a volume it is not asked for:
    /// there they suffice for every size ([`crate::volume::TABLE_ENTRIES`]).
    pub capacity: u64,
}

impl NewImage {
    /// An image of this size, without reserve, made at the beginning of time.
    pub fn new(virtual_size: u64, uuid: Uuid) -> Self {
        Self {
            virtual_size,
            uuid,
            timestamp: 0,
            capacity: 0,
        }
    }
}

/// The parent of a new differencing image.
#[derive(Clone, Debug)]
pub struct NewParent {
    /// The parent's uuid, nil when it is a raw image.
    pub uuid: Uuid,
    /// The parent's modification time in seconds since 2000.
    pub timestamp: u32,
    /// Where it is, seen from the child's directory: `base.vhd` or `./base.vhd`, or an absolute path.
    pub path: String,
}

/// Makes a dynamic image on an empty file, or on a volume whatever it holds; returns its virtual size as rounded.
///
/// # Errors
/// `OutOfRange` for an impossible size or a file that is not empty, `Io` (`StorageFull` for a volume that is too short and
/// cannot grow). What a failed call leaves is no image.
///
/// # Durability
/// The image is on stable storage at return; that its name is, too, is the caller's to see to. On a volume:
///
/// 1. Zeros go over the copy of the footer and over the last sector, and are flushed. Crash: there is no image, though
///    the volume may have held one.
/// 2. Tables, header and footers are written and flushed. Crash: no image, or a part of this one, which has no name yet.
pub fn create_dynamic(storage: &dyn Storage, new: &NewImage) -> Result<u64> {
    create_sparse(storage, new, None)
}

/// Makes a differencing image on an empty storage; returns its virtual size as rounded.
///
/// # Errors
/// As [`create_dynamic`], and `OutOfRange` when the parent's path is too long.
///
/// # Durability
/// As [`create_dynamic`].
pub fn create_differencing(
    storage: &dyn Storage,
    new: &NewImage,
    parent: &NewParent,
) -> Result<u64> {
    create_sparse(storage, new, Some(parent))
}

/// Makes a fixed image, all zeros, on an empty storage; returns its virtual size as rounded.
///
/// # Errors
/// As [`create_dynamic`].
///
/// # Durability
/// As [`create_dynamic`]. Space for the data is not allocated.
pub fn create_fixed(storage: &dyn Storage, new: &NewImage) -> Result<u64> {
    if storage.is_volume() {
        return Err(Error::Unsupported {
            what: "a fixed image on a volume, where a raw one serves: virtual size",
            found: new.virtual_size,
        });
    }
    require_length(storage, 0)?;
    let size = round_virtual_size(new.virtual_size)?;
    storage::set_length(storage, size + FOOTER_SIZE as u64)?;
    storage::write(
        storage,
        &Footer::new(ImageType::Fixed, size, new.uuid, new.timestamp).to_bytes(),
        size,
    )?;
    storage::flush(storage)?;
    Ok(size)
}

/// Writes on an empty storage what a differencing image of this size has whoever its parent is: the table and the batmap,
/// which are most of the bytes of a large one. What is there is no image yet: [`create_prepared`] makes it one.
///
/// # Errors
/// As [`create_dynamic`].
///
/// # Durability
/// What was written is on stable storage at return.
pub fn prepare_differencing(storage: &dyn Storage, virtual_size: u64) -> Result<()> {
    let size = round_virtual_size(virtual_size)?;
    let entries = table_entries(storage, size, 0)?;
    let layout = Layout::new(entries);
    make_room(storage, layout.batmap_end, FOOTER_SIZE as u64)?;
    write_empty_tables(storage, &layout, entries)?;
    storage::flush(storage)
}

/// Makes a differencing image on a storage that [`prepare_differencing`] has prepared for its size; returns its virtual
/// size as rounded. The bytes are those that [`create_differencing`] writes.
///
/// # Errors
/// As [`create_differencing`], and `OutOfRange` or `Corrupt` for a storage that was not prepared, or for another size, or
/// that is an image already.
///
/// # Durability
/// As [`create_dynamic`].
pub fn create_prepared(storage: &dyn Storage, new: &NewImage, parent: &NewParent) -> Result<u64> {
    let plan = Plan::new(storage, new, Some(parent))?;
    if !storage.is_volume() {
        require_length(storage, plan.layout.batmap_end)?;
    }
    let mut found = [0; batmap::HEADER_SIZE];
    for (offset, part, expected) in [
        (0, Part::BackupFooter, [0; batmap::HEADER_SIZE]),
        (
            plan.layout.batmap_offset,
            Part::Batmap,
            batmap_header(&plan.layout),
        ),
    ] {
        storage::read(storage, &mut found, offset)?;
        if found != expected {
            return Err(Defect {
                part,
                rule: Rule::Cookie,
                found: u64_at(&found, 0),
                expected: u64_at(&expected, 0),
            }
            .into());
        }
    }
    storage::fit_length(storage, plan.end + FOOTER_SIZE as u64)?;
    plan.write_headers(storage)?;
    storage::flush(storage)?;
    Ok(plan.size)
}

fn create_sparse(storage: &dyn Storage, new: &NewImage, parent: Option<&NewParent>) -> Result<u64> {
    let plan = Plan::new(storage, new, parent)?;
    make_room(storage, plan.end + FOOTER_SIZE as u64, 0)?;
    write_empty_tables(storage, &plan.layout, plan.header.entry_count)?;
    plan.write_headers(storage)?;
    storage::flush(storage)?;
    Ok(plan.size)
}

/// What a new image's headers say.
struct Plan {
    /// Virtual size as rounded.
    size: u64,
    layout: Layout,
    header: Header,
    locators: Vec<(Locator, Vec<u8>)>,
    footer: Footer,
    /// First byte behind the metadata, where the footer lies.
    end: u64,
}

impl Plan {
    fn new(storage: &dyn Storage, new: &NewImage, parent: Option<&NewParent>) -> Result<Self> {
        let size = round_virtual_size(new.virtual_size)?;
        let entries = table_entries(storage, size, new.capacity)?;
        let layout = Layout::new(entries);
        let mut header = Header::new(layout.table_offset, entries);
        let (image_type, locators) = match parent {
            Some(parent) => {
                let locators = name_parent(&mut header, parent, layout.batmap_end)?;
                (ImageType::Differencing, locators)
            }
            None => (ImageType::Dynamic, Vec::new()),
        };
        let locators_end = header.locators.iter().map(Locator::end).max();
        Ok(Plan {
            size,
            footer: Footer::new(image_type, size, new.uuid, new.timestamp),
            end: locators_end.unwrap_or(0).max(layout.batmap_end),
            layout,
            header,
            locators,
        })
    }

    /// Writes everything but the table and the batmap.
    fn write_headers(&self, storage: &dyn Storage) -> Result<()> {
        let footer = self.footer.to_bytes();
        storage::write(storage, &footer, 0)?;
        storage::write(storage, &self.header.to_bytes(), HEADER_OFFSET)?;
        for (locator, data) in &self.locators {
            storage::write(storage, data, locator.data_offset)?;
        }
        let end = match storage.is_volume() {
            true => volume::footer_offset(storage::length(storage)?),
            false => self.end,
        };
        storage::write(storage, &footer, end)
    }
}

/// Entries of the table of a new image.
fn table_entries(storage: &dyn Storage, size: u64, capacity: u64) -> Result<u32> {
    if storage.is_volume() {
        return Ok(volume::TABLE_ENTRIES);
    }
    let capacity = round_virtual_size(capacity.max(size))?;
    Ok((capacity / BLOCK_SIZE) as u32)
}

/// Gives an empty file its length, or a volume room for this and for `more` bytes, and takes away what would look like an
/// image that is there already.
fn make_room(storage: &dyn Storage, length: u64, more: u64) -> Result<()> {
    if !storage.is_volume() {
        require_length(storage, 0)?;
        return storage::set_length(storage, length);
    }
    let found = storage::fit_length(storage, length + more)?;
    storage::write_zeroes(storage, 0, FOOTER_SIZE as u64)?;
    storage::write_zeroes(storage, volume::footer_offset(found), FOOTER_SIZE as u64)?;
    storage::flush(storage)
}

/// Fills in the header's parent fields; returns the locators with their data, which lie from `at` on.
fn name_parent(
    header: &mut Header,
    parent: &NewParent,
    mut at: u64,
) -> Result<Vec<(Locator, Vec<u8>)>> {
    let base_name = parent.path.rsplit('/').next().unwrap_or_default();
    let too_long = |what, found: usize, maximum: u64| Error::Limit {
        what,
        found: found as u64,
        minimum: 1,
        maximum,
    };
    if base_name.is_empty() || !header.set_parent_name(base_name) {
        return Err(too_long(
            "length of the parent's name",
            base_name.len(),
            PARENT_NAME_SIZE as u64 / 2,
        ));
    }
    header.parent_uuid = parent.uuid;
    header.parent_timestamp = parent.timestamp;
    let path = parent_path(parent)?;
    let mut locators = Vec::new();
    for (slot, platform) in Platform::ALL.into_iter().enumerate() {
        let mut data = platform.encode(&path);
        let space = (data.len() as u64).next_multiple_of(SECTOR_SIZE);
        header.locators[slot] = Locator {
            code: platform.code(),
            data_space: space as u32,
            data_length: data.len() as u32,
            reserved: 0,
            data_offset: at,
        };
        data.resize(space as usize, 0);
        locators.push((header.locators[slot], data));
        at += space;
    }
    Ok(locators)
}

/// The path as it is written into locators: what is not absolute starts with `./` or `../`.
pub(crate) fn parent_path(parent: &NewParent) -> Result<String> {
    let path = match parent.path.as_str() {
        path if path.starts_with('/') || path.starts_with("./") || path.starts_with("../") => {
            path.to_string()
        }
        path => format!("./{path}"),
    };
    let encoded = Platform::ALL.map(|platform| platform.encode(&path).len());
    let found = encoded.into_iter().max().unwrap_or(0) as u64;
    if found > MAX_DATA_LENGTH.into() {
        return Err(Error::Limit {
            what: "length of the parent's path in bytes",
            found,
            minimum: 1,
            maximum: MAX_DATA_LENGTH.into(),
        });
    }
    Ok(path)
}

fn batmap_header(layout: &Layout) -> [u8; batmap::HEADER_SIZE] {
    BatmapHeader::new(layout.map_offset, layout.map_sectors).to_bytes()
}

/// Writes a table without blocks, and the batmap, whose bits are zeros already in a file.
fn write_empty_tables(storage: &dyn Storage, layout: &Layout, entries: u32) -> Result<()> {
    static UNALLOCATED: [u8; 64 * 1024] = [0xff; 64 * 1024];
    let used = u64::from(entries) * crate::bat::ENTRY_SIZE;
    debug_assert!(used <= table_bytes(entries));
    let mut done = 0;
    while done < used {
        let step = (used - done).min(UNALLOCATED.len() as u64);
        storage::write(
            storage,
            &UNALLOCATED[..step as usize],
            layout.table_offset + done,
        )?;
        done += step;
    }
    if storage.is_volume() {
        let used_end = layout.table_offset + used;
        storage::write_zeroes(storage, used_end, layout.batmap_offset - used_end)?;
        let bits = layout.batmap_end - layout.map_offset;
        storage::write_zeroes(storage, layout.map_offset, bits)?;
    }
    storage::write(storage, &batmap_header(layout), layout.batmap_offset)
}

fn require_length(storage: &dyn Storage, expected: u64) -> Result<()> {
    match storage::length(storage)? {
        found if found == expected => Ok(()),
        found => Err(Error::Limit {
            what: "length of the storage for a new image",
            found,
            minimum: expected,
            maximum: expected,
        }),
    }
}
