//! Opening a chain: the leaf, and its table over those of its parents.

use std::sync::Arc;

use crate::chain::access::{Access, Chain};
use crate::chain::flush::Writer;
use crate::chain::map::BlockMap;
use crate::chain::parents::{Layer, ParentStack, Table, add_leaf, require_block_size};
use crate::chain::resolver::ParentResolver;
use crate::error::{Error, Result};
use crate::image::{CheckedImage, FoundImage, ImageInfo, WritableImage};
use crate::storage::Storage;

impl Chain {
    /// Opens an image and, through the resolver, its parents.
    ///
    /// With [`Access::ReadWrite`] the caller holds the lock of the leaf; the leaf is repaired as
    /// [`CheckedImage::into_writable`] says. Parents are only read; see [`ParentStack`] for what may be written to them.
    ///
    /// # Errors
    /// `NotVhd`, `Corrupt`, `Unsupported` for any image of the chain; `ParentMissing` from the resolver,
    /// `ParentChanged` when the resolver's image has another uuid; `OutOfRange` past [`crate::chain::MAX_DEPTH`]
    /// images; `Io`.
    pub fn open(
        leaf: Arc<dyn Storage>,
        resolver: &dyn ParentResolver,
        access: Access,
    ) -> Result<Self> {
        let found = FoundImage::read(leaf)?;
        let info = found.info();
        let leaf = OpenedLeaf::new(found, access)?;
        let parents = ParentStack::open(&info, resolver)?;
        Ok(leaf.above(info, parents))
    }

    /// Opens an image above parents that were opened ahead for it; of the parents nothing is read.
    ///
    /// # Errors
    /// As [`Chain::open`] for the leaf; `Unsupported` when the stack was opened for another image, size or block size.
    pub fn open_above(
        leaf: Arc<dyn Storage>,
        parents: ParentStack,
        access: Access,
    ) -> Result<Self> {
        let found = FoundImage::read(leaf)?;
        let info = found.info();
        parents.require_leaf(&info)?;
        let leaf = OpenedLeaf::new(found, access)?;
        Ok(leaf.above(info, parents))
    }

    /// Opens an image without its parents: what it does not have itself reads as zeros.
    pub(crate) fn open_alone(image: Arc<dyn Storage>, access: Access) -> Result<Self> {
        let found = FoundImage::read(image)?;
        let info = found.info();
        let leaf = OpenedLeaf::new(found, access)?;
        let nothing = ParentStack::empty(&info);
        Ok(leaf.above(info, nothing))
    }
}

impl ParentStack {
    pub(crate) fn require_leaf(&self, leaf: &ImageInfo) -> Result<()> {
        require_block_size(self.block_size, leaf.block_size)?;
        let block_count = leaf.virtual_size.div_ceil(leaf.block_size);
        if self.leaf == leaf.uuid && self.entries.len() as u64 == block_count {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: "parents that were opened for another leaf, or for another size of it",
            found: self.entries.len() as u64,
        })
    }
}

/// A leaf that is ready for its chain.
pub(crate) struct OpenedLeaf {
    checked: CheckedImage,
    writer: Option<Writer>,
}

impl OpenedLeaf {
    pub fn new(found: FoundImage, access: Access) -> Result<Self> {
        Self::of(found.check()?, access)
    }

    /// A leaf that was just made, whose table is not read if the image has no room for a block.
    pub fn just_made(found: FoundImage, access: Access) -> Result<Self> {
        Self::of(found.check_new()?, access)
    }

    fn of(checked: CheckedImage, access: Access) -> Result<Self> {
        Ok(match access {
            Access::ReadOnly => Self {
                checked,
                writer: None,
            },
            Access::ReadWrite => {
                let WritableImage { checked, end } = checked.into_writable()?;
                let writer = Some(Writer::new(&checked, end));
                Self { checked, writer }
            }
        })
    }

    fn above(self, info: ImageInfo, parents: ParentStack) -> Chain {
        let mut entries = parents.entries;
        add_leaf(&mut entries, &self.checked, info.block_size);
        let mut layers = Vec::with_capacity(parents.layers.len() + 1);
        layers.push(self.layer(&info));
        layers.extend(parents.layers);
        self.assemble(info, layers, BlockMap::new(entries))
    }

    /// The leaf as the first layer.
    pub fn layer(&self, info: &ImageInfo) -> Layer {
        Layer {
            storage: self.checked.found.storage.clone(),
            limit_sectors: info.virtual_size / crate::SECTOR_SIZE,
            table: match self.checked.header() {
                Some(header) => Table::At(header.table_offset),
                None => Table::Linear,
            },
        }
    }

    /// The leaf's blocks, which go over what `map` has.
    pub fn add_to(&self, map: &mut BlockMap, block_size: u64) {
        if self.checked.allocated_blocks() == 0 && self.checked.header().is_some() {
            return;
        }
        let mut entries: Vec<_> = (0..map.len()).map(|block| map.get(block)).collect();
        add_leaf(&mut entries, &self.checked, block_size);
        *map = BlockMap::new(entries);
    }

    pub fn assemble(self, info: ImageInfo, layers: Vec<Layer>, map: BlockMap) -> Chain {
        Chain::assemble(info, layers, map, self.writer)
    }
}
