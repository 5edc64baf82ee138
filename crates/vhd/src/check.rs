//! Checking an image: everything that is wrong with it, and nothing is written.
//!
//! The rules are those of `vhd-util check` and a few that it leaves out. Whether a finding keeps the image from being
//! opened is decided by [`crate::image::FoundImage`], which is more lenient where no byte is in danger.

use crate::SECTOR_SIZE;
use crate::bat::{self, Limits, UNALLOCATED};
use crate::batmap::{self, BatmapHeader};
use crate::bitmap::SectorBitmap;
use crate::chain::{MAX_DEPTH, ParentResolver, ParentStorage};
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::{FOOTER_SIZE, Footer, ImageType};
use crate::header::{HEADER_OFFSET, HEADER_SIZE, Header};
use crate::image::{
    Headers, ParentLink, PlacedFooter, inspect, metadata_end, read_batmap_header, read_footers,
    read_locator, read_table,
};
use crate::layout::BITMAP_SIZE;
use crate::locator::Locator;
use crate::storage::{self, Storage};

/// The footer at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrimaryFooter {
    /// It must be there and equal the copy.
    #[default]
    Required,
    /// It may be missing or killed: the image is open, or was not closed (`vhd-util check -i`).
    MayBeMissing,
}

/// How deep to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Footers, header, BAT, batmap and locators.
    #[default]
    Metadata,
    /// Also the bitmaps of the blocks that the batmap calls full (`-b`).
    Bitmaps,
}

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// The time in seconds since 2000; `None` to leave timestamps alone (`-t`).
    pub now: Option<u32>,
    /// Whether the footer at the end must be there.
    pub primary_footer: PrimaryFooter,
    /// How deep to look.
    pub depth: Depth,
}

/// Checks one image by itself; an empty list means that it is valid.
///
/// # Errors
/// `NotVhd` when there is nothing to check, `Unsupported` for tables too large to check, `Io`.
pub fn check(storage: &dyn Storage, options: &CheckOptions) -> Result<Vec<Defect>> {
    let length = storage::length(storage)?;
    let (primary, backup) = read_footers(storage, length)?;
    let mut defects = check_footers(&primary, &backup, length, options);
    let headers = match Headers::read(storage) {
        Ok(headers) => headers,
        Err(Error::Corrupt(defect)) => {
            if !defects
                .iter()
                .any(|known| known.part == defect.part && known.rule == defect.rule)
            {
                defects.push(defect);
            }
            return Ok(defects);
        }
        Err(Error::Unsupported { .. }) if !defects.is_empty() => return Ok(defects),
        Err(error) => return Err(error),
    };
    if let Some(header) = &headers.header {
        defects.extend(header.validate(headers.footer.image_type, options.now));
        check_tables(storage, &headers, header, options, &mut defects)?;
    }
    Ok(defects)
}

/// Checks an image and all its parents, and that each parent is the one its child was made on; the findings of the leaf
/// come first.
///
/// # Errors
/// As [`check`], and what the resolver answers.
pub fn check_chain(
    leaf: &dyn Storage,
    resolver: &dyn ParentResolver,
    options: &CheckOptions,
) -> Result<Vec<Vec<Defect>>> {
    let mut findings = vec![check(leaf, options)?];
    let mut link = inspect(leaf).ok().and_then(|info| info.parent);
    while let Some(wanted) = link {
        if findings.len() == MAX_DEPTH {
            let found = MAX_DEPTH as u64 + 1;
            return Err(Error::Limit {
                what: "images in a chain",
                found,
                minimum: 1,
                maximum: MAX_DEPTH as u64,
            });
        }
        let (defects, next) = match resolver.resolve(&wanted)? {
            ParentStorage::Raw(_) => (Vec::new(), None),
            ParentStorage::Vhd(storage) => {
                let info = inspect(&*storage)?;
                let mut defects = check(&*storage, options)?;
                if info.uuid != wanted.uuid {
                    defects.push(parent_changed(&wanted, info.uuid));
                }
                (defects, info.parent)
            }
        };
        findings.push(defects);
        link = next;
    }
    Ok(findings)
}

fn parent_changed(wanted: &ParentLink, found: uuid::Uuid) -> Defect {
    // The upper halves of the uuids: enough to tell them apart.
    let (found, expected) = (found.as_u64_pair().0, wanted.uuid.as_u64_pair().0);
    Defect {
        part: Part::Parent,
        rule: Rule::ParentUuid,
        found,
        expected,
    }
}

fn check_footers(
    primary: &std::result::Result<PlacedFooter, Defect>,
    backup: &std::result::Result<Footer, Defect>,
    length: u64,
    options: &CheckOptions,
) -> Vec<Defect> {
    let mut defects = Vec::new();
    let may_miss = options.primary_footer == PrimaryFooter::MayBeMissing;
    match primary {
        Err(defect) if may_miss && backup.is_ok() => {
            debug_assert_eq!(defect.part, Part::PrimaryFooter)
        }
        Err(defect) => defects.push(*defect),
        Ok(PlacedFooter { footer, offset }) => {
            defects.extend(footer.validate(Part::PrimaryFooter, options.now));
            let expected = if footer.image_type == ImageType::Fixed {
                footer.current_size
            } else {
                offset - offset % SECTOR_SIZE
            };
            if *offset != expected {
                let part = Part::PrimaryFooter;
                defects.push(Defect {
                    part,
                    rule: Rule::FileSize,
                    found: length,
                    expected: expected + FOOTER_SIZE as u64,
                });
            }
        }
    }
    let is_fixed = matches!(primary, Ok(primary) if primary.footer.image_type == ImageType::Fixed);
    match backup {
        _ if is_fixed => {}
        Err(defect) => defects.push(*defect),
        Ok(backup) => match primary {
            Ok(primary) if primary.footer == *backup => {}
            Ok(_) => defects.push(Defect {
                part: Part::BackupFooter,
                rule: Rule::FootersDiffer,
                found: 1,
                expected: 0,
            }),
            Err(_) => defects.extend(backup.validate(Part::BackupFooter, options.now)),
        },
    }
    defects
}

/// Checks the BAT, the batmap and the locators.
fn check_tables(
    storage: &dyn Storage,
    headers: &Headers,
    header: &Header,
    options: &CheckOptions,
    defects: &mut Vec<Defect>,
) -> Result<()> {
    let block_count = headers
        .footer
        .current_size
        .div_ceil(header.block_size.into());
    let entries = match read_table(storage, header, block_count, headers.length) {
        Ok(entries) => entries,
        Err(Error::Corrupt(defect)) => {
            defects.push(defect);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let batmap = match read_batmap_header(storage, &headers.footer, header, headers.length)? {
        None => None,
        Some(Err(defect)) => {
            defects.push(defect);
            None
        }
        Some(Ok((batmap, offset))) => {
            let broken = batmap.validate(
                block_count,
                offset + batmap::HEADER_SIZE as u64,
                headers.length,
            );
            let sound = broken.is_empty();
            defects.extend(broken);
            sound.then_some(batmap)
        }
    };
    let limits = Limits {
        metadata_end: metadata_end(header, batmap.as_ref()),
        data_end: headers.data_limit(),
        file_length: headers.length,
        block_size: header.block_size,
    };
    let broken = bat::validate(&entries, &limits);
    let blocks_are_sound = broken.is_empty();
    defects.extend(broken);
    if let Some(batmap) = batmap {
        let deep = options.depth == Depth::Bitmaps && blocks_are_sound;
        check_batmap(storage, &batmap, header, &entries, deep, defects)?;
    }
    if headers.footer.image_type == ImageType::Differencing {
        check_locators(storage, header, headers.length, &entries, &limits, defects);
    }
    Ok(())
}

fn check_batmap(
    storage: &dyn Storage,
    batmap: &BatmapHeader,
    header: &Header,
    entries: &[u32],
    deep: bool,
    defects: &mut Vec<Defect>,
) -> Result<()> {
    let mut bits = vec![0; (batmap::map_sectors(entries.len() as u64) * SECTOR_SIZE) as usize];
    storage::read(storage, &mut bits, batmap.map_offset)?;
    if !batmap.checksum_fits(&bits) {
        let expected = crate::big_endian::checksum(&bits).into();
        defects.push(Defect {
            part: Part::Batmap,
            rule: Rule::Checksum,
            found: batmap.checksum.into(),
            expected,
        });
        return Ok(());
    }
    let sectors = header.block_size / SECTOR_SIZE as u32;
    for (block, sector) in entries.iter().enumerate().filter(|_| deep) {
        if !batmap::is_full(&bits, block as u32) {
            continue;
        }
        let mut set = 0;
        if *sector != UNALLOCATED {
            let mut bytes = [0; BITMAP_SIZE as usize];
            storage::read(storage, &mut bytes, u64::from(*sector) * SECTOR_SIZE)?;
            set = SectorBitmap::parse(&bytes).count(sectors);
        }
        if set != sectors {
            let part = Part::Bitmap(block as u32);
            defects.push(Defect {
                part,
                rule: Rule::BatmapFull,
                found: set.into(),
                expected: sectors.into(),
            });
        }
    }
    Ok(())
}

fn check_locators(
    storage: &dyn Storage,
    header: &Header,
    length: u64,
    entries: &[u32],
    limits: &Limits,
    defects: &mut Vec<Defect>,
) {
    let used = || {
        header
            .locators
            .iter()
            .enumerate()
            .filter(|(_, locator)| !locator.is_empty())
    };
    let mut paths = Vec::new();
    for (slot, locator) in used() {
        match read_locator(storage, slot as u8, locator, length) {
            None => defects.extend(locator.validate(slot as u8, HEADER_OFFSET, length)),
            Some(Err(defect)) => defects.push(defect),
            Some(Ok(path)) => paths.push(path),
        }
        let others = used()
            .filter(|(other, _)| *other < slot)
            .map(|(_, other)| (other.data_offset, other.end()));
        let tables = [
            (0, HEADER_OFFSET + HEADER_SIZE as u64),
            (header.table_offset, limits.metadata_end),
        ];
        let span = BITMAP_SIZE + u64::from(limits.block_size);
        let blocks = entries.iter().filter(|sector| **sector != UNALLOCATED);
        let blocks = blocks
            .map(|sector| u64::from(*sector) * SECTOR_SIZE)
            .map(|start| (start, start + span));
        if let Some((start, end)) = others
            .chain(tables)
            .chain(blocks)
            .find(|range| overlaps(locator, *range))
        {
            let (part, rule) = (Part::Locator(slot as u8), Rule::LocatorOffset);
            let found = locator.data_offset;
            defects.push(Defect {
                part,
                rule,
                found,
                expected: if found < start { start } else { end },
            });
        }
    }
    if used().next().is_none() {
        defects.push(Defect {
            part: Part::Header,
            rule: Rule::NoLocator,
            found: 0,
            expected: 1,
        });
    }
    if paths.windows(2).any(|pair| pair[0] != pair[1]) {
        defects.push(Defect {
            part: Part::Header,
            rule: Rule::LocatorsDiffer,
            found: 1,
            expected: 0,
        });
    }
}

fn overlaps(locator: &Locator, (start, end): (u64, u64)) -> bool {
    locator.data_offset < end && start < locator.end()
}
