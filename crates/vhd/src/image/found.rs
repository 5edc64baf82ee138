//! Finding an image on a storage, and checking it against the storage.

use std::sync::Arc;

use crate::SECTOR_SIZE;
use crate::bat::{self, Limits, MAX_BLOCKS, UNALLOCATED};
use crate::batmap::{self, BatmapHeader};
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::{CREATOR_TAP, FOOTER_SIZE, Footer, ImageType, RESIZING_COOKIE};
use crate::header::{HEADER_OFFSET, HEADER_SIZE, Header};
use crate::image::ImageInfo;
use crate::layout::BITMAP_SIZE;
use crate::locator::Locator;
use crate::size::MAX_VIRTUAL_SIZE;
use crate::storage::{self, Storage};
use crate::volume;

/// How often an image is read again that has grown meanwhile. Whoever merges into it adds a block in the time of some reads.
const MAX_READS: usize = 16;

/// A footer in its place.
#[derive(Clone, Debug)]
pub(crate) struct PlacedFooter {
    pub footer: Footer,
    pub offset: u64,
}

/// The structures that every look at an image begins with.
pub(crate) struct Headers {
    pub length: u64,
    /// The length is that of a device, whose last sector is the footer's.
    pub is_volume: bool,
    pub primary: std::result::Result<PlacedFooter, Defect>,
    pub backup: std::result::Result<Footer, Defect>,
    /// The footer chosen of the two.
    pub footer: Footer,
    /// `None` for a fixed image.
    pub header: Option<Header>,
}

/// An image that was parsed and not yet checked.
pub struct FoundImage {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) headers: Headers,
}

/// An image whose structure fits the storage that it lies on.
pub struct CheckedImage {
    pub(crate) found: FoundImage,
    pub(crate) tables: Tables,
}

/// The tables of an image, which fit its length.
pub(crate) struct Tables {
    /// Entries that the virtual size needs; empty for a fixed image.
    pub entries: Vec<u32>,
    pub batmap: Option<Batmap>,
    /// First byte behind all metadata at the start of the file.
    pub metadata_end: u64,
}

/// A batmap that can be used.
#[derive(Clone)]
pub(crate) struct Batmap {
    pub header: BatmapHeader,
    pub header_offset: u64,
    /// The bits of all blocks, whole sectors.
    pub bits: Vec<u8>,
    /// The checksum did not fit: the bits were taken as all clear and must be written.
    pub damaged: bool,
}

impl FoundImage {
    /// Looks for the footers and reads the header.
    ///
    /// The footer is the one in the last 512 bytes, else in the last 511, else the copy at offset 0, as in blktap; so an
    /// image that a tapdisk has open, or that a crash left without its end, is found too. A footer of a fixed image
    /// counts only where the length of the storage fits it: a tenant's bytes may be the last of a file after a crash of
    /// other software, and must not turn a dynamic image into a fixed one.
    ///
    /// On a volume the copy at offset 0 counts before the footer in the last sector: as long as the volume's length is
    /// being changed that sector may hold anything, also a sound footer of an image that was there before.
    ///
    /// # Errors
    /// `NotVhd` when there is no footer, `Corrupt` when a footer or the header is damaged or a resize was interrupted
    /// ([`Error::Resizing`]), `Unsupported`, `Io`.
    pub fn read(storage: Arc<dyn Storage>) -> Result<Self> {
        let headers = Headers::read(&*storage)?;
        Ok(Self { storage, headers })
    }

    /// The footer that was chosen.
    pub fn footer(&self) -> &Footer {
        &self.headers.footer
    }

    /// The dynamic header, `None` for a fixed image.
    pub fn header(&self) -> Option<&Header> {
        self.headers.header.as_ref()
    }

    /// What the image says of itself.
    pub fn info(&self) -> ImageInfo {
        crate::image::info::info(&*self.storage, &self.headers)
    }

    /// Checks the image against the real length of the storage, and reads its BAT and batmap.
    ///
    /// # Errors
    /// `Corrupt` with the first rule that makes the image unsafe to read: a block in the metadata, past the end or over
    /// another one. What does no harm (geometry, timestamps, a damaged batmap or locator) is left to
    /// [`crate::check::check`]. `Unsupported` for absurd tables, `Io`. An image that has grown since it was looked at, as
    /// a parent does while a child is merged into it, is read again, a stated number of times.
    pub fn check(mut self) -> Result<CheckedImage> {
        for _ in 1..MAX_READS {
            match Tables::read(&*self.storage, &self.headers) {
                Err(Error::Corrupt(_)) if self.has_changed_length()? => {
                    self.headers = Headers::read(&*self.storage)?;
                }
                tables => {
                    let tables = tables?;
                    let found = self;
                    return Ok(CheckedImage { found, tables });
                }
            }
        }
        let tables = Tables::read(&*self.storage, &self.headers)?;
        Ok(CheckedImage {
            found: self,
            tables,
        })
    }

    /// As [`FoundImage::check`] for an image that was just made: one that is too short for a block has none, and its table
    /// is not read.
    pub(crate) fn check_new(self) -> Result<CheckedImage> {
        match Tables::without_blocks(&*self.storage, &self.headers)? {
            Some(tables) => Ok(CheckedImage {
                found: self,
                tables,
            }),
            None => self.check(),
        }
    }

    fn has_changed_length(&self) -> Result<bool> {
        Ok(storage::length(&*self.storage)? != self.headers.length)
    }
}

impl Tables {
    /// The tables of an image that has no room for a block; `entries` stays empty. None when it must be read to be known.
    fn without_blocks(storage: &dyn Storage, headers: &Headers) -> Result<Option<Self>> {
        let Headers { length, footer, .. } = headers;
        let Some(header) = headers.header.as_ref() else {
            return Ok(None);
        };
        let block_count = footer.current_size.div_ceil(header.block_size.into());
        let fits = block_count <= u64::from(header.entry_count) && block_count <= MAX_BLOCKS;
        if !fits || !headers.is_too_short_for_a_block() {
            return Ok(None);
        }
        let Some(Ok((batmap, header_offset))) =
            read_batmap_header(storage, footer, header, *length)?
        else {
            return Ok(None);
        };
        let metadata_start = header_offset + batmap::HEADER_SIZE as u64;
        let bits = vec![0; (batmap::map_sectors(block_count) * SECTOR_SIZE) as usize];
        let is_sound = batmap
            .validate(block_count, metadata_start, *length)
            .is_empty();
        if !is_sound || !batmap.checksum_fits(&bits) {
            return Ok(None);
        }
        Ok(Some(Self {
            entries: Vec::new(),
            metadata_end: metadata_end(header, Some(&batmap)),
            batmap: Some(Batmap {
                header: batmap,
                header_offset,
                bits,
                damaged: false,
            }),
        }))
    }

    /// Reads the tables and checks them as [`FoundImage::check`] says.
    pub fn read(storage: &dyn Storage, headers: &Headers) -> Result<Self> {
        let Headers {
            length,
            footer,
            header,
            ..
        } = headers;
        let Some(header) = header else {
            if *length < footer.current_size {
                let (found, expected) = (*length, footer.current_size);
                return Err(Defect {
                    part: Part::PrimaryFooter,
                    rule: Rule::FileSize,
                    found,
                    expected,
                }
                .into());
            }
            return Ok(Self {
                entries: Vec::new(),
                batmap: None,
                metadata_end: 0,
            });
        };
        let block_count = footer.current_size.div_ceil(header.block_size.into());
        let entries = read_table(storage, header, block_count, *length)?;
        let batmap = read_batmap(storage, footer, header, block_count, *length)?;
        let metadata_end = metadata_end(header, batmap.as_ref().map(|batmap| &batmap.header));
        let limits = Limits {
            metadata_end,
            data_end: headers.data_limit(),
            file_length: *length,
            block_size: header.block_size,
        };
        if let Some(defect) = bat::validate(&entries, &limits).into_iter().next() {
            return Err(defect.into());
        }
        Ok(Self {
            entries,
            batmap,
            metadata_end,
        })
    }

    /// First byte behind everything that must be kept: blocks, metadata, and locators' data wherever they lie.
    pub fn data_end(&self, headers: &Headers) -> u64 {
        let Some(header) = &headers.header else {
            return headers.footer.current_size;
        };
        let last = self
            .entries
            .iter()
            .copied()
            .filter(|entry| *entry != UNALLOCATED)
            .max();
        let last_end = last.map(|entry| {
            u64::from(entry) * SECTOR_SIZE + BITMAP_SIZE + u64::from(header.block_size)
        });
        let locators = header
            .locators
            .iter()
            .filter(|locator| !locator.is_empty() && locator.end() <= headers.content_limit());
        let locators_end = locators.map(Locator::end).max();
        last_end
            .unwrap_or(0)
            .max(locators_end.unwrap_or(0))
            .max(self.metadata_end)
    }
}

impl CheckedImage {
    /// The footer that was chosen.
    pub fn footer(&self) -> &Footer {
        &self.found.headers.footer
    }

    /// The dynamic header, `None` for a fixed image.
    pub fn header(&self) -> Option<&Header> {
        self.found.headers.header.as_ref()
    }

    /// Number of blocks that are allocated in this image; 0 for a fixed one.
    pub fn allocated_blocks(&self) -> u64 {
        let entries = self.tables.entries.iter();
        entries.filter(|entry| **entry != UNALLOCATED).count() as u64
    }
}

impl Headers {
    /// True when no block lies in the file, whatever the table says: between the table and the end is no room for one.
    pub fn is_too_short_for_a_block(&self) -> bool {
        self.header.as_ref().is_some_and(|header| {
            let table_end = header
                .table_offset
                .saturating_add(bat::table_bytes(header.entry_count));
            let block = BITMAP_SIZE + u64::from(header.block_size);
            (table_end..table_end.saturating_add(block)).contains(&self.length)
        })
    }

    /// Where blocks must end.
    pub fn data_limit(&self) -> u64 {
        match &self.primary {
            Ok(primary) if !self.is_volume => primary.offset,
            _ => self.content_limit(),
        }
    }

    /// Where everything that is kept must end: the file, or the last sector of a volume.
    pub fn content_limit(&self) -> u64 {
        match self.is_volume {
            true => volume::footer_offset(self.length),
            false => self.length,
        }
    }

    /// Where the footer at the end belongs when everything that is kept ends at `data_end`.
    pub fn footer_offset(&self, data_end: u64) -> u64 {
        match self.is_volume {
            true => volume::footer_offset(self.length),
            false => data_end,
        }
    }

    pub fn read(storage: &dyn Storage) -> Result<Self> {
        let length = storage::length(storage)?;
        let is_volume = storage.is_volume();
        let (primary, backup) = read_footers(storage, length)?;
        let footer = match is_volume {
            true => choose_on_volume(&primary, &backup, length)?.clone(),
            false => choose_footer(&primary, &backup, length)?.clone(),
        };
        if footer.current_size == 0
            || footer.current_size > MAX_VIRTUAL_SIZE
            || !footer.current_size.is_multiple_of(SECTOR_SIZE)
        {
            return Err(Error::Unsupported {
                what: "virtual size",
                found: footer.current_size,
            });
        }
        let header = match footer.image_type {
            ImageType::Fixed => None,
            ImageType::Dynamic | ImageType::Differencing => {
                Some(read_header(storage, &footer, length)?)
            }
        };
        Ok(Self {
            length,
            is_volume,
            primary,
            backup,
            footer,
            header,
        })
    }
}

/// Both footers as they are, and the offset of the one at the end.
pub(crate) fn read_footers(
    storage: &dyn Storage,
    length: u64,
) -> Result<(
    std::result::Result<PlacedFooter, Defect>,
    std::result::Result<Footer, Defect>,
)> {
    let short = FOOTER_SIZE as u64 - 1;
    if length < short {
        return Err(Error::NotVhd { length });
    }
    let mut bytes = [0; FOOTER_SIZE];
    let mut primary = Err(Defect {
        part: Part::PrimaryFooter,
        rule: Rule::FileSize,
        found: length,
        expected: 512,
    });
    if length >= FOOTER_SIZE as u64 {
        let offset = length - FOOTER_SIZE as u64;
        storage::read(storage, &mut bytes, offset)?;
        primary = Footer::parse(&bytes, Part::PrimaryFooter)
            .map(|footer| PlacedFooter { footer, offset });
    }
    // An old Virtual PC wrote footers of 511 bytes, into files.
    if primary.is_err() && !storage.is_volume() {
        let offset = length - short;
        bytes[FOOTER_SIZE - 1] = 0;
        storage::read(storage, &mut bytes[..FOOTER_SIZE - 1], offset)?;
        if let Ok(footer) = Footer::parse(&bytes, Part::PrimaryFooter) {
            primary = Ok(PlacedFooter { footer, offset });
        }
    }
    let mut backup = Err(Defect {
        part: Part::BackupFooter,
        rule: Rule::FileSize,
        found: length,
        expected: 512,
    });
    if length >= FOOTER_SIZE as u64 {
        storage::read(storage, &mut bytes, 0)?;
        backup = Footer::parse(&bytes, Part::BackupFooter);
    }
    Ok((primary, backup))
}

fn choose_footer<'a>(
    primary: &'a std::result::Result<PlacedFooter, Defect>,
    backup: &'a std::result::Result<Footer, Defect>,
    length: u64,
) -> Result<&'a Footer> {
    if let Ok(PlacedFooter { footer, offset }) = primary
        && (footer.image_type != ImageType::Fixed
            || *offset == footer.current_size
            || backup.is_err())
    {
        return Ok(footer);
    }
    match backup {
        // A fixed image has no copy: at offset 0 are the tenant's own bytes.
        Ok(footer) if footer.image_type != ImageType::Fixed => Ok(footer),
        _ => match (primary, backup) {
            (_, Err(defect)) if defect.found == u64::from_be_bytes(*RESIZING_COOKIE) => {
                Err(Error::Resizing)
            }
            (_, Err(defect)) | (Err(defect), _)
                if defect.rule != Rule::Cookie && defect.rule != Rule::FileSize =>
            {
                Err((*defect).into())
            }
            _ => Err(Error::NotVhd { length }),
        },
    }
}

/// On a volume, where the last sector may be that of another image, or what a tenant wrote into space that was another
/// volume's: nothing there is a footer of ours unless there is no copy. A fixed image is never looked for, since at its
/// start are a tenant's bytes.
fn choose_on_volume<'a>(
    primary: &'a std::result::Result<PlacedFooter, Defect>,
    backup: &'a std::result::Result<Footer, Defect>,
    length: u64,
) -> Result<&'a Footer> {
    let is_fixed = |footer: &Footer| footer.image_type == ImageType::Fixed;
    match (backup, primary) {
        (Ok(footer), _) if !is_fixed(footer) => Ok(footer),
        (Err(defect), _) if defect.found == u64::from_be_bytes(*RESIZING_COOKIE) => {
            Err(Error::Resizing)
        }
        (Err(_), Ok(primary)) if !is_fixed(&primary.footer) => Ok(&primary.footer),
        (Err(defect), _) if !matches!(defect.rule, Rule::Cookie | Rule::FileSize) => {
            Err((*defect).into())
        }
        _ => Err(Error::NotVhd { length }),
    }
}

pub(crate) fn read_header(storage: &dyn Storage, footer: &Footer, length: u64) -> Result<Header> {
    // Elsewhere the header could be bytes that a tenant wrote.
    if footer.data_offset != HEADER_OFFSET {
        return Err(Error::Unsupported {
            what: "offset of the dynamic header",
            found: footer.data_offset,
        });
    }
    let end = HEADER_OFFSET + HEADER_SIZE as u64;
    if length < end {
        return Err(Defect {
            part: Part::Header,
            rule: Rule::FileSize,
            found: length,
            expected: end,
        }
        .into());
    }
    let mut bytes = [0; HEADER_SIZE];
    storage::read(storage, &mut bytes, HEADER_OFFSET)?;
    let header = Header::parse(&bytes)?;
    let unsafe_to_read =
        |defect: &Defect| matches!(defect.rule, Rule::TableOffset | Rule::BlockSize);
    match header
        .validate(footer.image_type, None)
        .into_iter()
        .find(unsafe_to_read)
    {
        Some(defect) => Err(defect.into()),
        None => Ok(header),
    }
}

/// Reads the entries that `block_count` blocks need.
pub(crate) fn read_table(
    storage: &dyn Storage,
    header: &Header,
    block_count: u64,
    length: u64,
) -> Result<Vec<u32>> {
    let mut entries = Vec::new();
    read_entries(storage, header, block_count, length, |chunk| {
        if entries.is_empty() {
            entries.reserve_exact(block_count as usize);
        }
        entries.extend_from_slice(chunk);
        true
    })?;
    Ok(entries)
}

/// Reads the entries that `block_count` blocks need, piece by piece, until `look` has seen enough.
pub(crate) fn read_entries(
    storage: &dyn Storage,
    header: &Header,
    block_count: u64,
    length: u64,
    mut look: impl FnMut(&[u32]) -> bool,
) -> Result<()> {
    const CHUNK: usize = 64 * 1024;
    if block_count > MAX_BLOCKS {
        return Err(Error::Unsupported {
            what: "number of blocks",
            found: block_count,
        });
    }
    let table_end = header
        .table_offset
        .saturating_add(bat::table_bytes(header.entry_count));
    if table_end > length {
        return Err(Defect {
            part: Part::Header,
            rule: Rule::TableOffset,
            found: table_end,
            expected: length,
        }
        .into());
    }
    if u64::from(header.entry_count) < block_count {
        let (found, expected) = (header.entry_count.into(), block_count);
        return Err(Defect {
            part: Part::Header,
            rule: Rule::TableSize,
            found,
            expected,
        }
        .into());
    }
    let mut chunk = vec![0; CHUNK.min(block_count as usize * 4)];
    let mut entries = Vec::with_capacity(chunk.len() / 4);
    let mut done = 0;
    while done < block_count as usize {
        let step = chunk.len().min((block_count as usize - done) * 4);
        let bytes = &mut chunk[..step];
        storage::read(
            storage,
            bytes,
            header.table_offset + done as u64 * bat::ENTRY_SIZE,
        )?;
        entries.clear();
        entries.extend(bat::parse(bytes));
        if !look(&entries) {
            break;
        }
        done += entries.len();
    }
    Ok(())
}

/// The header of the batmap, unless the creator wrote none; the outer error is the storage's.
pub(crate) fn read_batmap_header(
    storage: &dyn Storage,
    footer: &Footer,
    header: &Header,
    length: u64,
) -> Result<Option<std::result::Result<(BatmapHeader, u64), Defect>>> {
    if &footer.creator_app != CREATOR_TAP || footer.creator_version < batmap::VERSION_SIGNED {
        return Ok(None);
    }
    let offset = header
        .table_offset
        .saturating_add(bat::table_bytes(header.entry_count));
    let end = offset.saturating_add(batmap::HEADER_SIZE as u64);
    if end > length {
        let defect = Defect {
            part: Part::Batmap,
            rule: Rule::BatmapOffset,
            found: end,
            expected: length,
        };
        return Ok(Some(Err(defect)));
    }
    let mut bytes = [0; batmap::HEADER_SIZE];
    storage::read(storage, &mut bytes, offset)?;
    Ok(match BatmapHeader::parse(&bytes) {
        // Version 1.1 of the creator may have none.
        Err(_) if !footer.expects_batmap() => None,
        Err(defect) => Some(Err(defect)),
        Ok(batmap) => Some(Ok((batmap, offset))),
    })
}

fn read_batmap(
    storage: &dyn Storage,
    footer: &Footer,
    header: &Header,
    block_count: u64,
    length: u64,
) -> Result<Option<Batmap>> {
    let Some(Ok((batmap, header_offset))) = read_batmap_header(storage, footer, header, length)?
    else {
        return Ok(None);
    };
    if !batmap
        .validate(
            block_count,
            header_offset + batmap::HEADER_SIZE as u64,
            length,
        )
        .is_empty()
    {
        return Ok(None);
    }
    let mut bits = vec![0; (batmap::map_sectors(block_count) * SECTOR_SIZE) as usize];
    storage::read(storage, &mut bits, batmap.map_offset)?;
    let damaged = !batmap.checksum_fits(&bits);
    if damaged {
        bits.fill(0);
    }
    Ok(Some(Batmap {
        header: batmap,
        header_offset,
        bits,
        damaged,
    }))
}

/// First byte behind the BAT and the batmap, where blocks may begin.
pub(crate) fn metadata_end(header: &Header, batmap: Option<&BatmapHeader>) -> u64 {
    let table_end = header.table_offset + bat::table_bytes(header.entry_count);
    batmap.map_or(0, BatmapHeader::end).max(table_end)
}
