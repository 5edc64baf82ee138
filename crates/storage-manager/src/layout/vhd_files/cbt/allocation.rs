//! What of a VDI may have changed since its leaf was made, told by the leaf itself.

use std::path::Path;
use std::sync::Arc;

use crate::layout::cbt_log::BlockBitmap;
use crate::layout::vhd_files::{Error, Result};

/// The blocks that a leaf has itself, in the blocks of a log for a VDI of `size` bytes.
///
/// A log begins with a leaf that is new or older, blocks of a leaf are never given back, and merging a leaf into its parent
/// only adds to them. So whatever was written since the log began is among them.
pub fn blocks_of_leaf(leaf: &Arc<dyn vhd::Storage>, size: u64, path: &Path) -> Result<BlockBitmap> {
    let failed = |source| Error::Image {
        action: "list the blocks of",
        path: path.to_owned(),
        source,
    };
    let image = vhd::image::FoundImage::read(leaf.clone()).map_err(failed)?;
    let block_size = image
        .header()
        .map_or(vhd::size::BLOCK_SIZE, |header| header.block_size.into());
    let allocated = vhd::image::allocated_blocks(&**leaf).map_err(failed)?;
    let mut blocks = BlockBitmap::new(size);
    for (index, byte) in allocated.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
            blocks.set_range((index as u64 * 8 + bit) * block_size, block_size);
        }
    }
    Ok(blocks)
}
