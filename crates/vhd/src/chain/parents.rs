//! The images below a leaf, opened ahead of the moment in which they are needed.

use std::sync::Arc;

use uuid::Uuid;

use crate::bat::{ENTRY_SIZE, UNALLOCATED};
use crate::big_endian::u32_at;
use crate::chain::map::{Entry, LEAF, MAX_DEPTH};
use crate::chain::resolver::{ParentResolver, ParentStorage, missing};
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::ImageType;
use crate::image::{CheckedImage, FoundImage, ImageInfo, ParentLink};
use crate::storage::{self, Storage};
use crate::{SECTOR_SIZE, batmap};

/// All images below a leaf, with their tables merged: from block to the topmost parent that has it.
///
/// Nobody may write to these images while the stack, or a chain that it became part of, is open, but for one thing: a
/// coalesce may add to a parent what an image above it in the same stack has.
pub struct ParentStack {
    /// The leaf that this was opened for.
    pub(crate) leaf: Uuid,
    pub(crate) block_size: u64,
    /// The leaf's parent first; their indexes in the chain are one higher.
    pub(crate) layers: Vec<Layer>,
    /// One for each block of the leaf.
    pub(crate) entries: Vec<Entry>,
}

/// One image of a chain.
pub(crate) struct Layer {
    pub storage: Arc<dyn Storage>,
    /// Sectors at and past this come from no image at or below this one.
    pub limit_sectors: u64,
    pub table: Table,
}

/// Where an image says at which place it has a block.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    /// Raw or fixed: block after block.
    Linear,
    /// The BAT at this offset of the storage.
    At(u64),
}

impl Layer {
    /// First data sector of a block that the image has.
    pub fn data_sector(&self, block: u32, sectors_per_block: u32) -> Result<u32> {
        match self.table {
            Table::Linear => Ok(block * sectors_per_block),
            Table::At(offset) => {
                let mut bytes = [0; ENTRY_SIZE as usize];
                storage::read(
                    &*self.storage,
                    &mut bytes,
                    offset + u64::from(block) * ENTRY_SIZE,
                )?;
                match u32_at(&bytes, 0) {
                    // It had the block when the chain was opened.
                    UNALLOCATED => Err(Error::Corrupt(Defect {
                        part: Part::Bat,
                        rule: Rule::ParentChanged,
                        found: u64::from(UNALLOCATED),
                        expected: u64::from(block),
                    })),
                    // The bitmap takes one sector.
                    sector => Ok(sector + 1),
                }
            }
        }
    }

    pub fn is_linear(&self) -> bool {
        matches!(self.table, Table::Linear)
    }
}

impl ParentStack {
    /// Opens what `leaf` names as its parent, and its parents in turn. `leaf` is what [`crate::image::inspect`] says
    /// of the leaf now; an image without a parent gets an empty stack.
    ///
    /// # Errors
    /// Those of [`crate::Chain::open`] that come from parents.
    pub fn open(leaf: &ImageInfo, resolver: &dyn ParentResolver) -> Result<Self> {
        let mut stack = Self::empty(leaf);
        let mut seen = vec![leaf.uuid];
        let mut next = leaf.parent.clone();
        while let Some(link) = next {
            require_depth(stack.layers.len() + 2)?;
            next = match resolver.resolve(&link)? {
                ParentStorage::Raw(storage) if link.is_raw() => {
                    let length = storage::length(&*storage)?;
                    stack.add_linear(storage, length);
                    None
                }
                ParentStorage::Vhd(storage) if !link.is_raw() => {
                    let found = FoundImage::read(storage)?;
                    let info = found.info();
                    require_parent(&link, &info, &seen)?;
                    seen.push(info.uuid);
                    stack.add_image(found.check()?)?;
                    info.parent
                }
                // A raw parent is never probed, and a VHD is never taken for raw bytes.
                ParentStorage::Raw(_) | ParentStorage::Vhd(_) => {
                    return Err(missing(&link, None));
                }
            };
        }
        Ok(stack)
    }

    /// No parents at all.
    pub(crate) fn empty(leaf: &ImageInfo) -> Self {
        let block_count = leaf.virtual_size.div_ceil(leaf.block_size) as usize;
        Self {
            leaf: leaf.uuid,
            block_size: leaf.block_size,
            layers: Vec::new(),
            entries: vec![Entry::HOLE; block_count],
        }
    }

    /// Number of images.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Bytes past which no image has anything.
    fn limit(&self) -> u64 {
        self.layers
            .last()
            .map_or(u64::MAX, |layer| layer.limit_sectors * SECTOR_SIZE)
    }

    fn add_image(&mut self, image: CheckedImage) -> Result<()> {
        let size = image.footer().current_size;
        let Some(header) = image.header() else {
            self.add_linear(image.found.storage, size);
            return Ok(());
        };
        require_block_size(header.block_size.into(), self.block_size)?;
        let layer = self.layers.len() as u8 + 1;
        let limit = self.limit().min(size);
        let full = |block| {
            let batmap = image.tables.batmap.as_ref();
            batmap.is_some_and(|batmap| batmap::is_full(&batmap.bits, block))
        };
        let blocks = self.entries.iter_mut().zip(&image.tables.entries);
        for (block, (entry, sector)) in (0u32..).zip(blocks) {
            let start = u64::from(block) * self.block_size;
            if *sector == UNALLOCATED || start >= limit || entry.is_complete() {
                continue;
            }
            let complete = full(block) && start + self.block_size <= limit;
            // The bitmap takes one sector, so the entry after the last possible one still fits.
            *entry = entry.or_below(layer, sector + 1, complete);
        }
        let table = Table::At(header.table_offset);
        self.push_layer(image.found.storage, limit, table);
        Ok(())
    }

    /// Adds a raw or fixed image of `size` bytes.
    fn add_linear(&mut self, storage: Arc<dyn Storage>, size: u64) {
        let layer = self.layers.len() as u8 + 1;
        let limit = self.limit().min(size);
        let sectors_per_block = (self.block_size / SECTOR_SIZE) as u32;
        for (block, entry) in (0u32..).zip(&mut self.entries) {
            let start = u64::from(block) * self.block_size;
            if start >= limit {
                break;
            }
            if !entry.is_complete() {
                let complete = start + self.block_size <= limit;
                *entry = entry.or_below(layer, block * sectors_per_block, complete);
            }
        }
        self.push_layer(storage, limit, Table::Linear);
    }

    fn push_layer(&mut self, storage: Arc<dyn Storage>, limit: u64, table: Table) {
        self.layers.push(Layer {
            storage,
            limit_sectors: limit / SECTOR_SIZE,
            table,
        });
    }
}

pub(crate) fn require_depth(images: usize) -> Result<()> {
    if images <= MAX_DEPTH {
        return Ok(());
    }
    Err(Error::Limit {
        what: "images in a chain",
        found: images as u64,
        minimum: 1,
        maximum: MAX_DEPTH as u64,
    })
}

pub(crate) fn require_block_size(found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: "a block size that differs from the child's",
        found,
    })
}

/// Refuses a parent with another uuid than the child's header has.
pub(crate) fn require_uuid(link: &ParentLink, found: Uuid) -> Result<()> {
    if found == link.uuid {
        return Ok(());
    }
    Err(Error::ParentChanged {
        name: link.base_name().to_string(),
        found,
        expected: link.uuid,
    })
}

fn require_parent(link: &ParentLink, parent: &ImageInfo, seen: &[Uuid]) -> Result<()> {
    require_uuid(link, parent.uuid)?;
    if seen.contains(&parent.uuid) {
        return Err(Error::Cycle { uuid: parent.uuid });
    }
    if parent.image_type == ImageType::Differencing && parent.parent.is_none() {
        return Err(Defect {
            part: Part::Parent,
            rule: Rule::NoLocator,
            found: 0,
            expected: 1,
        }
        .into());
    }
    Ok(())
}

/// The leaf's own blocks over those of its parents.
pub(crate) fn add_leaf(entries: &mut [Entry], image: &CheckedImage, block_size: u64) {
    if image.header().is_none() {
        let sectors_per_block = (block_size / SECTOR_SIZE) as u32;
        for (block, entry) in (0u32..).zip(entries) {
            *entry = Entry::new(LEAF, block * sectors_per_block, true);
        }
        return;
    }
    let batmap = image.tables.batmap.as_ref();
    for (block, (entry, sector)) in (0u32..).zip(entries.iter_mut().zip(&image.tables.entries)) {
        if *sector != UNALLOCATED {
            let full = batmap.is_some_and(|batmap| batmap::is_full(&batmap.bits, block));
            *entry = entry.with_leaf(sector + 1, full);
        }
    }
}
