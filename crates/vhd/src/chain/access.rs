//! What a chain consists of, and what every call checks first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::SECTOR_SIZE;
use crate::chain::flush::Writer;
use crate::chain::map::BlockMap;
use crate::chain::parents::Layer;
use crate::chain::partial::Partials;
use crate::error::{Error, Result};
use crate::image::ImageInfo;
use crate::merge::Mirror;
use crate::storage::Storage;

/// How a chain is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; nothing is ever written, not even to repair.
    ReadOnly,
    /// Reads and writes; writes go to the leaf.
    ReadWrite,
}

/// An image together with its parents.
///
/// The last reference being dropped does not flush: what was not flushed is lost, as in a crash. Use [`Chain::close`].
pub struct Chain {
    pub(crate) size: u64,
    pub(crate) block_size: u64,
    pub(crate) info: ImageInfo,
    /// The leaf first.
    pub(crate) layers: Vec<Layer>,
    pub(crate) map: BlockMap,
    pub(crate) partials: Partials,
    /// `None` when open read-only.
    pub(crate) writer: Option<Writer>,
    /// The parent that writes go to as well while this image is merged into it; changed only with the chain paused.
    pub(crate) mirror: Option<Arc<Mirror>>,
    state: AtomicU8,
}

const USABLE: u8 = 0;
const POISONED: u8 = 1;
const CLOSED: u8 = 2;

impl Chain {
    pub(crate) fn assemble(
        info: ImageInfo,
        layers: Vec<Layer>,
        map: BlockMap,
        writer: Option<Writer>,
    ) -> Self {
        Self {
            size: info.virtual_size,
            block_size: info.block_size,
            info,
            layers,
            map,
            partials: Partials::new(),
            writer,
            mirror: None,
            state: AtomicU8::new(USABLE),
        }
    }

    /// Virtual size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the leaf said of itself when it was opened.
    pub fn info(&self) -> &ImageInfo {
        &self.info
    }

    /// Number of images, a raw parent included.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// True when writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.writer.is_none()
    }

    /// Flushes, and refuses every later call.
    ///
    /// # Errors
    /// As [`Chain::flush`]; the chain is closed all the same.
    ///
    /// # Durability
    /// As [`Chain::flush`]. Calls that other threads still have under way may be lost.
    pub fn close(&self) -> Result<()> {
        let flushed = self.settle();
        let _ = self
            .state
            .compare_exchange(USABLE, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        flushed
    }

    /// Refuses calls after a failed flush or a close.
    pub(crate) fn usable(&self) -> Result<()> {
        match self.state.load(Ordering::Acquire) {
            USABLE => Ok(()),
            POISONED => Err(Error::Poisoned),
            _ => Err(Error::Closed),
        }
    }

    pub(crate) fn poison(&self) {
        self.state.store(POISONED, Ordering::Release);
    }

    pub(crate) fn require_writer(&self, action: &'static str) -> Result<&Writer> {
        self.usable()?;
        self.writer.as_ref().ok_or(Error::ReadOnly { action })
    }

    pub(crate) fn require_range(&self, offset: u64, length: u64) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Error::OutOfRange {
                offset,
                length,
                size: self.size,
            }),
        }
    }

    pub(crate) fn leaf(&self) -> &dyn Storage {
        &*self.layers[0].storage
    }

    pub(crate) fn sectors_per_block(&self) -> u32 {
        (self.block_size / SECTOR_SIZE) as u32
    }

    /// The block of a byte and the byte's offset in it.
    pub(crate) fn locate(&self, offset: u64) -> (u32, u64) {
        // Block sizes are powers of two.
        (
            (offset >> self.block_size.trailing_zeros()) as u32,
            offset & (self.block_size - 1),
        )
    }
}
