//! The label of a physical volume: a sector that says who it is and where its metadata lies.

use crate::checksum::{INITIAL, crc};
use crate::device::Device;
use crate::error::{Defect, Error, Part, Result};
use crate::id::{self, Id};
use crate::little_endian::{put_u32, put_u64, u32_at, u64_at};

/// Bytes of a sector.
const SECTOR: usize = 512;
/// The label lies in one of so many first sectors.
///
/// # Source
/// LVM2, `lib/label/label.h`, `LABEL_SCAN_SECTORS`.
pub const SCANNED_SECTORS: usize = 4;
/// Where LVM2 puts it, and we too.
const USUAL_SECTOR: u64 = 1;
const MAGIC: &[u8; 8] = b"LABELONE";
const KIND: &[u8; 8] = b"LVM2 001";
/// Fields of the label, by their offset in the sector.
const SECTOR_NUMBER: usize = 8;
const CHECKSUM: usize = 16;
/// The checksum covers what lies behind it.
const CHECKED: usize = 20;
const HEADER_OFFSET: usize = 20;
const KIND_OFFSET: usize = 24;
const HEADER: usize = 32;
/// Fields of the physical volume's header, by their offset in it.
const DEVICE_SIZE: usize = id::LENGTH;
const LOCATIONS: usize = DEVICE_SIZE + 8;
/// Bytes of an offset with a size.
const LOCATION: usize = 16;
/// The extension that we write: 2 knows that a physical volume can be marked as used.
const EXTENSION_VERSION: u32 = 2;
const EXTENSION_USED: u32 = 1;
/// Metadata areas that LVM2 makes on one physical volume.
pub const MAX_AREAS: usize = 2;
/// Data areas that are read; LVM2 makes one.
const MAX_DATA_AREAS: usize = 4;

/// A part of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Bytes from the begin of the device.
    pub offset: u64,
    /// Bytes; 0 in a data area means up to the end.
    pub size: u64,
}

/// What follows the lists of areas since LVM2 2.02.99.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// 1 or 2.
    pub version: u32,
    /// 1: the physical volume belongs to a group.
    pub flags: u32,
    /// Where a boot loader lies.
    pub bootloader_areas: Vec<Location>,
}

/// A label with the header behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The sector it was found in.
    pub sector: u64,
    /// The physical volume's identity.
    pub id: Id,
    /// Bytes of the device when the header was written.
    pub device_size: u64,
    /// Where data lies; the group's metadata says it better.
    pub data_areas: Vec<Location>,
    /// Where metadata lies: none, one or two.
    pub metadata_areas: Vec<Location>,
    /// What newer versions added.
    pub extension: Option<Extension>,
}

/// Looks for a label.
///
/// # Errors
/// [`Error::Corrupt`] when there is one and none is sound; nothing but reading is done.
pub fn probe(device: &dyn Device) -> Result<Option<Label>> {
    let size = device_size(device)?;
    let mut sectors = [0; SCANNED_SECTORS * SECTOR];
    if size < sectors.len() as u64 {
        return Ok(None);
    }
    read(device, &mut sectors, 0)?;
    let mut first_defect = None;
    for (number, sector) in sectors.chunks_exact(SECTOR).enumerate() {
        match Label::parse(sector, number as u64) {
            Ok(Some(label)) => return Ok(Some(label)),
            Ok(None) => {}
            Err(defect) => first_defect = first_defect.or(Some(defect)),
        }
    }
    match first_defect {
        Some(defect) => Err(Error::Corrupt {
            device: device.name(),
            defect,
        }),
        None => Ok(None),
    }
}

/// Takes away every label, so that the device is no physical volume any more.
///
/// # Durability
/// Done when it returns. A crash inside leaves a label or none: each is a sector.
pub fn wipe(device: &dyn Device) -> Result<()> {
    let mut sectors = [0; SCANNED_SECTORS * SECTOR];
    read(device, &mut sectors, 0)?;
    for (number, sector) in sectors.chunks_exact(SECTOR).enumerate() {
        if sector.starts_with(MAGIC) {
            write(device, &[0; SECTOR], (number * SECTOR) as u64)?;
        }
    }
    flush(device)
}

impl Label {
    /// A label for a device that belongs to a group.
    pub fn new(id: Id, device_size: u64, data_start: u64, metadata_areas: Vec<Location>) -> Self {
        Label {
            sector: USUAL_SECTOR,
            id,
            device_size,
            data_areas: vec![Location {
                offset: data_start,
                size: 0,
            }],
            metadata_areas,
            extension: Some(Extension {
                version: EXTENSION_VERSION,
                flags: EXTENSION_USED,
                bootloader_areas: Vec::new(),
            }),
        }
    }

    /// Reads a sector; `None` when it is no label of LVM2.
    ///
    /// # Errors
    /// The first field of a label that is wrong.
    pub fn parse(sector: &[u8], number: u64) -> std::result::Result<Option<Self>, Defect> {
        if sector.len() != SECTOR || !sector.starts_with(MAGIC) {
            return Ok(None);
        }
        expect("sector number", u64_at(sector, SECTOR_NUMBER), number)?;
        let checksum = crc(INITIAL, &sector[CHECKED..]);
        expect("checksum", u32_at(sector, CHECKSUM).into(), checksum.into())?;
        if &sector[KIND_OFFSET..HEADER] != KIND {
            return Ok(None);
        }
        let header = u32_at(sector, HEADER_OFFSET) as usize;
        let wrong = |field, found| Defect {
            part: Part::Label,
            field,
            found,
            expected: (SECTOR - LOCATIONS) as u64,
        };
        if !(HEADER..=SECTOR - LOCATIONS).contains(&header) {
            return Err(wrong("offset of the header", header as u64));
        }
        let header = &sector[header..];
        let id = Id::from_bytes(&header[..id::LENGTH])
            .ok_or_else(|| wrong("identity", u64_at(header, 0)))?;
        let mut rest = &header[LOCATIONS..];
        let data_areas = locations(&mut rest, MAX_DATA_AREAS, "list of data areas")?;
        let metadata_areas = locations(&mut rest, MAX_AREAS, "list of metadata areas")?;
        check_places(&metadata_areas)?;
        Ok(Some(Label {
            sector: number,
            id,
            device_size: u64_at(header, DEVICE_SIZE),
            data_areas,
            metadata_areas,
            extension: extension(rest),
        }))
    }

    /// The sector.
    ///
    /// # Panics
    /// When there are more areas than fit, which [`Label::parse`] refuses.
    pub fn to_bytes(&self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        sector[..8].copy_from_slice(MAGIC);
        put_u64(&mut sector, SECTOR_NUMBER, self.sector);
        put_u32(&mut sector, HEADER_OFFSET, HEADER as u32);
        sector[KIND_OFFSET..HEADER].copy_from_slice(KIND);
        let header = &mut sector[HEADER..];
        header[..id::LENGTH].copy_from_slice(self.id.as_bytes());
        put_u64(header, DEVICE_SIZE, self.device_size);
        let mut offset = put_locations(header, LOCATIONS, &self.data_areas);
        offset = put_locations(header, offset, &self.metadata_areas);
        if let Some(extension) = &self.extension {
            put_u32(header, offset, extension.version);
            put_u32(header, offset + 4, extension.flags);
            put_locations(header, offset + 8, &extension.bootloader_areas);
        }
        let checksum = crc(INITIAL, &sector[CHECKED..]);
        put_u32(&mut sector, CHECKSUM, checksum);
        sector
    }
}

/// Writes another device size into the label of a device and leaves everything else in it as it is.
///
/// # Durability
/// One sector, on stable storage when it returns.
pub(crate) fn write_device_size(device: &dyn Device, label: &Label, size: u64) -> Result<()> {
    let offset = label.sector * SECTOR as u64;
    let mut sector = [0; SECTOR];
    read(device, &mut sector, offset)?;
    // The label was parsed, so its header is inside; read again it has to be the same.
    if Label::parse(&sector, label.sector).ok().flatten().as_ref() != Some(label) {
        return Err(Error::NotPhysicalVolume {
            device: device.name(),
        });
    }
    let header = u32_at(&sector, HEADER_OFFSET) as usize;
    put_u64(&mut sector, header + DEVICE_SIZE, size);
    let checksum = crc(INITIAL, &sector[CHECKED..]);
    put_u32(&mut sector, CHECKSUM, checksum);
    write(device, &sector, offset)?;
    flush(device)
}

/// Metadata areas lie behind the labels, at whole sectors, and apart from each other: they are written to.
fn check_places(areas: &[Location]) -> std::result::Result<(), Defect> {
    let mut sorted = areas.to_vec();
    sorted.sort_by_key(|area| area.offset);
    let mut end = (SCANNED_SECTORS * SECTOR) as u64;
    for area in sorted {
        let is_even = area.offset.is_multiple_of(SECTOR as u64);
        if area.offset < end || !is_even {
            return Err(Defect {
                part: Part::Label,
                field: "place of a metadata area",
                found: area.offset,
                expected: end,
            });
        }
        end = area.offset.saturating_add(area.size);
    }
    Ok(())
}

fn expect(field: &'static str, found: u64, expected: u64) -> std::result::Result<(), Defect> {
    match found == expected {
        true => Ok(()),
        false => Err(Defect {
            part: Part::Label,
            field,
            found,
            expected,
        }),
    }
}

/// Reads a list that ends with an offset of 0, and moves behind it.
fn locations(
    bytes: &mut &[u8],
    most: usize,
    field: &'static str,
) -> std::result::Result<Vec<Location>, Defect> {
    let mut locations = Vec::new();
    while let Some((entry, rest)) = bytes.split_at_checked(LOCATION) {
        *bytes = rest;
        let location = Location {
            offset: u64_at(entry, 0),
            size: u64_at(entry, 8),
        };
        if location.offset == 0 {
            return Ok(locations);
        }
        locations.push(location);
        if locations.len() > most {
            break;
        }
    }
    Err(Defect {
        part: Part::Label,
        field,
        found: locations.len() as u64,
        expected: most as u64,
    })
}

fn put_locations(bytes: &mut [u8], mut offset: usize, locations: &[Location]) -> usize {
    for location in locations {
        put_u64(bytes, offset, location.offset);
        put_u64(bytes, offset + 8, location.size);
        offset += LOCATION;
    }
    offset + LOCATION
}

/// What lies behind the lists, if it is an extension; what is not understood is none.
fn extension(bytes: &[u8]) -> Option<Extension> {
    let (fixed, mut rest) = bytes.split_at_checked(8)?;
    let version = u32_at(fixed, 0);
    let bootloader_areas =
        locations(&mut rest, MAX_DATA_AREAS, "list of boot loader areas").ok()?;
    (version > 0).then(|| Extension {
        version,
        flags: u32_at(fixed, 4),
        bootloader_areas,
    })
}

/// Bytes of a device.
pub(crate) fn device_size(device: &dyn Device) -> Result<u64> {
    let size = device.size();
    size.map_err(|source| io_error(device, "find the size of", 0, 0, source))
}

pub(crate) fn read(device: &dyn Device, buffer: &mut [u8], offset: u64) -> Result<()> {
    let length = buffer.len();
    let done = device.read_at(buffer, offset);
    done.map_err(|source| io_error(device, "read", offset, length, source))
}

pub(crate) fn write(device: &dyn Device, data: &[u8], offset: u64) -> Result<()> {
    let done = device.write_at(data, offset);
    done.map_err(|source| io_error(device, "write", offset, data.len(), source))
}

pub(crate) fn flush(device: &dyn Device) -> Result<()> {
    let done = device.flush();
    done.map_err(|source| io_error(device, "flush", 0, 0, source))
}

fn io_error(
    device: &dyn Device,
    action: &'static str,
    offset: u64,
    length: usize,
    source: std::io::Error,
) -> Error {
    Error::Io {
        action,
        device: device.name(),
        offset,
        length: length as u64,
        source,
    }
}
