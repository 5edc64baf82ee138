//! Changing what a chain consists of while its consumer waits: in memory, without reading any parent's table.

use std::sync::Arc;

use crate::chain::access::{Access, Chain};
use crate::chain::open::OpenedLeaf;
use crate::chain::parents::{ParentStack, require_block_size, require_depth, require_uuid};
use crate::error::{Error, Result};
use crate::image::{FoundImage, ImageInfo};
use crate::storage::Storage;
use crate::{SECTOR_SIZE, image};

/// What a failed swap gives back: the chain as it was, and why.
pub type SwapError = (Chain, Error);

impl Chain {
    /// Puts a new leaf on top: the image that was the leaf is its parent from now on and is not written any more.
    ///
    /// The new leaf is a differencing image made on the old one; it may be larger. The chain has the same access as
    /// before. The caller lets no other call run meanwhile, and has flushed before if the consumer's pause is to be
    /// short. It costs one look at each entry in memory: no table of a parent is read, and that of the new leaf only
    /// if it is long enough to have a block. A
    /// [`crate::merge::LiveMerge`] of the old leaf ends.
    ///
    /// # Errors
    /// The chain as it was comes back with the error, and is usable unless the error was its own (`Io` of the flush,
    /// `Poisoned`). `ParentChanged` when the new leaf was made on another image, `Unsupported` for one that has no
    /// parent or another block size, `OutOfRange` past [`crate::chain::MAX_DEPTH`] images.
    ///
    /// # Durability
    /// Everything written before is on stable storage at return, and the file of the old leaf is sound and closed:
    /// nothing is ever written to it through this chain again. Nothing on disk is changed beyond that, so a crash at any
    /// time leaves two images that are both sound.
    #[expect(
        clippy::result_large_err,
        reason = "the chain goes back to the caller, which has it on its stack already"
    )]
    pub fn push_leaf(self, new_leaf: Arc<dyn Storage>) -> std::result::Result<Self, SwapError> {
        let opened = self.open_pushed(new_leaf);
        let (info, leaf) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err((self, error)),
        };
        let Self {
            size: old_size,
            block_size,
            mut layers,
            mut map,
            ..
        } = self;
        // Behind the old leaf's end there is nothing, whatever its parents have there.
        let limit_sectors = old_size / SECTOR_SIZE;
        for layer in &mut layers {
            layer.limit_sectors = layer.limit_sectors.min(limit_sectors);
        }
        let cut_block = (!old_size.is_multiple_of(block_size)).then_some(old_size / block_size);
        map.change_all(|block, entry| {
            let pushed = entry.pushed();
            if cut_block == Some(block.into()) {
                return pushed.incomplete();
            }
            pushed
        });
        map.resize(info.virtual_size.div_ceil(block_size) as u32);
        leaf.add_to(&mut map, block_size);
        layers.insert(0, leaf.layer(&info));
        Ok(leaf.assemble(info, layers, map))
    }

    fn open_pushed(&self, new_leaf: Arc<dyn Storage>) -> Result<(ImageInfo, OpenedLeaf)> {
        self.usable()?;
        require_depth(self.layers.len() + 1)?;
        let found = FoundImage::read(new_leaf)?;
        let info = found.info();
        require_block_size(info.block_size, self.block_size)?;
        let Some(link) = &info.parent else {
            return Err(Error::Unsupported {
                what: "a new leaf that is no differencing image",
                found: info.virtual_size,
            });
        };
        require_uuid(link, self.info.uuid)?;
        if info.uuid == self.info.uuid {
            return Err(Error::Cycle { uuid: info.uuid });
        }
        let access = match self.is_read_only() {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        };
        let leaf = OpenedLeaf::just_made(found, access)?;
        self.settle()?;
        Ok((info, leaf))
    }

    /// Puts other images below the leaf, which show the same bytes; the leaf's state stays.
    ///
    /// The caller lets no other call run meanwhile. Beyond the flush of what was not yet flushed it costs one look at each
    /// entry in memory, and a look at the leaf's headers. A [`crate::merge::LiveMerge`] of the leaf ends.
    ///
    /// # Errors
    /// The chain as it was comes back with the error, as with [`Chain::push_leaf`]. `Unsupported` when the stack was
    /// opened for another leaf or size.
    ///
    /// # Durability
    /// As [`Chain::flush`]; beyond it nothing is written.
    #[expect(
        clippy::result_large_err,
        reason = "the chain goes back to the caller, which has it on its stack already"
    )]
    pub fn replace_parents(self, parents: ParentStack) -> std::result::Result<Self, SwapError> {
        let prepared = || -> Result<ImageInfo> {
            parents.require_leaf(&self.info)?;
            self.flush()?;
            // Its header names the new parent now.
            image::inspect(self.leaf())
        };
        let info = match prepared() {
            Ok(info) => info,
            Err(error) => return Err((self, error)),
        };
        let Self {
            mut layers,
            mut map,
            writer,
            ..
        } = self;
        map.change_all(|block, entry| entry.over(parents.entries[block as usize]));
        layers.truncate(1);
        layers.extend(parents.layers);
        Ok(Chain::assemble(info, layers, map, writer))
    }
}
