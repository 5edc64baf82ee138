//! Opening a chain: from the leaf to the root, and their tables into one map.

use std::sync::Arc;

use uuid::Uuid;

use crate::bat::UNALLOCATED;
use crate::chain::access::{Access, Chain, Layer};
use crate::chain::flush::Writer;
use crate::chain::map::{BlockMap, Entry, LEAF, MAX_DEPTH, ParentMap};
use crate::chain::resolver::{ParentResolver, ParentStorage};
use crate::error::{Defect, Error, Part, Result, Rule};
use crate::footer::ImageType;
use crate::image::{Batmap, CheckedImage, FoundImage, ImageInfo, ParentLink, WritableImage};
use crate::size::BLOCK_SIZE;
use crate::storage::{self, Storage};
use crate::{SECTOR_SIZE, batmap};

impl Chain {
    /// Opens an image and, through the resolver, its parents.
    ///
    /// With [`Access::ReadWrite`] the caller holds the lock of the leaf; the leaf is repaired as
    /// [`CheckedImage::into_writable`] says. Parents are only read; nobody may write to them while the chain is open.
    ///
    /// # Errors
    /// `NotVhd`, `Corrupt`, `Unsupported` for any image of the chain; `ParentMissing` from the resolver,
    /// `ParentChanged` when the resolver's image has another uuid; `OutOfRange` past [`MAX_DEPTH`] images; `Io`.
    pub fn open(
        leaf: Arc<dyn Storage>,
        resolver: &dyn ParentResolver,
        access: Access,
    ) -> Result<Self> {
        let found = FoundImage::read(leaf)?;
        let info = found.info();
        let checked = found.check()?;
        let block_size = checked
            .header()
            .map_or(BLOCK_SIZE, |header| header.block_size.into());
        let block_count = info.virtual_size.div_ceil(block_size) as u32;
        let mut builder = MapBuilder::new(block_count, block_size, access);
        let writer = match access {
            Access::ReadOnly => {
                builder.add_image(checked)?;
                None
            }
            Access::ReadWrite => {
                let WritableImage { checked, end } = checked.into_writable()?;
                let writer = Writer::new(&checked, end);
                builder.add_image(checked)?;
                Some(writer)
            }
        };
        builder.add_parents(&info, resolver)?;
        let (layers, map) = builder.finish();
        Ok(Chain::assemble(info, block_size, layers, map, writer))
    }

    /// Opens an image without its parents: what it does not have itself reads as zeros.
    pub(crate) fn open_alone(image: Arc<dyn Storage>, access: Access) -> Result<Self> {
        let found = FoundImage::read(image)?;
        let info = found.info();
        let checked = found.check()?;
        let block_size = checked
            .header()
            .map_or(BLOCK_SIZE, |header| header.block_size.into());
        let block_count = info.virtual_size.div_ceil(block_size) as u32;
        let mut builder = MapBuilder::new(block_count, block_size, access);
        let (checked, writer) = match access {
            Access::ReadOnly => (checked, None),
            Access::ReadWrite => {
                let WritableImage { checked, end } = checked.into_writable()?;
                let writer = Writer::new(&checked, end);
                (checked, Some(writer))
            }
        };
        builder.add_image(checked)?;
        let (layers, map) = builder.finish();
        Ok(Chain::assemble(info, block_size, layers, map, writer))
    }
}

/// Adds one image after the other, from the leaf down.
struct MapBuilder {
    access: Access,
    block_size: u64,
    /// Bytes past which no image at or below the last one added has anything.
    limit: u64,
    layers: Vec<Layer>,
    entries: Vec<Entry>,
    /// Blocks that are complete in an image already added: what lies below never shows.
    closed: Vec<bool>,
}

impl MapBuilder {
    fn new(block_count: u32, block_size: u64, access: Access) -> Self {
        Self {
            access,
            block_size,
            limit: u64::MAX,
            layers: Vec::new(),
            entries: vec![Entry::HOLE; block_count as usize],
            closed: vec![false; block_count as usize],
        }
    }

    fn add_parents(&mut self, leaf: &ImageInfo, resolver: &dyn ParentResolver) -> Result<()> {
        let mut seen = vec![leaf.uuid];
        let mut next = leaf.parent.clone();
        while let Some(link) = next {
            if self.layers.len() == MAX_DEPTH {
                let found = MAX_DEPTH as u64 + 1;
                return Err(Error::Limit {
                    what: "images in a chain",
                    found,
                    minimum: 1,
                    maximum: MAX_DEPTH as u64,
                });
            }
            next = match resolver.resolve(&link)? {
                ParentStorage::Raw(storage) if link.is_raw() => {
                    let length = storage::length(&*storage)?;
                    self.add_linear(storage, length);
                    None
                }
                ParentStorage::Vhd(storage) if !link.is_raw() => {
                    let found = FoundImage::read(storage)?;
                    let info = found.info();
                    require_parent(&link, &info, &seen)?;
                    seen.push(info.uuid);
                    self.add_image(found.check()?)?;
                    info.parent
                }
                // A raw parent is never probed, and a VHD is never taken for raw bytes.
                ParentStorage::Raw(_) | ParentStorage::Vhd(_) => {
                    return Err(crate::chain::resolver::missing(&link, None));
                }
            };
        }
        Ok(())
    }

    fn add_image(&mut self, image: CheckedImage) -> Result<()> {
        let size = image.footer().current_size;
        let Some(header) = image.header() else {
            self.add_linear(image.found.storage, size);
            return Ok(());
        };
        if u64::from(header.block_size) != self.block_size {
            let found = header.block_size.into();
            return Err(Error::Unsupported {
                what: "a block size that differs from the child's",
                found,
            });
        }
        let layer = self.layers.len() as u8;
        let limit = self.limit.min(size);
        let mut below = Vec::new();
        for (block, sector) in image.entries.iter().enumerate().take(self.entries.len()) {
            let start = block as u64 * self.block_size;
            if *sector == UNALLOCATED || start >= limit {
                continue;
            }
            let full = is_full(image.batmap.as_ref(), block as u32);
            let complete = full && (layer == LEAF || start + self.block_size <= limit);
            // The bitmap takes one sector, so the entry after the last possible one still fits.
            self.add_block(block as u32, layer, sector + 1, complete, &mut below);
        }
        let blocks = ParentMap::new(below, self.entries.len() as u32);
        self.push_layer(image.found.storage, limit, blocks);
        Ok(())
    }

    /// Adds a raw or fixed image of `size` bytes.
    fn add_linear(&mut self, storage: Arc<dyn Storage>, size: u64) {
        let layer = self.layers.len() as u8;
        let limit = self.limit.min(size);
        let sectors_per_block = (self.block_size / SECTOR_SIZE) as u32;
        let block_count = limit
            .div_ceil(self.block_size)
            .min(self.entries.len() as u64) as u32;
        for block in 0..block_count {
            let end = (u64::from(block) + 1) * self.block_size;
            let complete = layer == LEAF || end <= limit;
            self.add_block(
                block,
                layer,
                block * sectors_per_block,
                complete,
                &mut Vec::new(),
            );
        }
        self.push_layer(
            storage,
            limit,
            ParentMap::Linear {
                sectors_per_block,
                block_count,
            },
        );
    }

    fn add_block(
        &mut self,
        block: u32,
        layer: u8,
        data_sector: u32,
        complete: bool,
        below: &mut Vec<(u32, u32)>,
    ) {
        let index = block as usize;
        if self.closed[index] {
            return;
        }
        let is_top = self.entries[index].is_hole();
        if is_top {
            self.entries[index] = Entry::new(layer, data_sector, complete);
        }
        // A parent's block is looked for only below another image's partial one; in a chain that is written, the leaf
        // may come to have one.
        if layer != LEAF && (self.access == Access::ReadWrite || !is_top || !complete) {
            below.push((block, data_sector));
        }
        self.closed[index] = complete;
    }

    fn push_layer(&mut self, storage: Arc<dyn Storage>, limit: u64, blocks: ParentMap) {
        self.limit = limit;
        self.layers.push(Layer {
            storage,
            limit_sectors: limit / SECTOR_SIZE,
            blocks,
        });
    }

    fn finish(self) -> (Vec<Layer>, BlockMap) {
        (self.layers, BlockMap::new(self.entries))
    }
}

fn is_full(batmap: Option<&Batmap>, block: u32) -> bool {
    batmap.is_some_and(|batmap| batmap::is_full(&batmap.bits, block))
}

fn require_parent(link: &ParentLink, parent: &ImageInfo, seen: &[Uuid]) -> Result<()> {
    if parent.uuid != link.uuid {
        let name = link.base_name().to_string();
        return Err(Error::ParentChanged {
            name,
            found: parent.uuid,
            expected: link.uuid,
        });
    }
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
