//! Merging a child that nobody writes.

use std::sync::Arc;
use std::thread::ScopedJoinHandle;

use super::target::Target;
use super::{CHUNK, Control};
use crate::SECTOR_SIZE;
use crate::chain::{Chain, Payload};
use crate::error::{Error, Result};
use crate::storage::{self, Storage};

/// Bytes that are copied between two flushes of the parent. A flush runs beside the copying of the bytes that follow, so that a
/// merge never leaves the medium with more than twice as much to write back at once.
pub const FLUSH_BYTES: u64 = 64 << 20;

/// How a merge ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The parent has every sector that the child has, on stable storage.
    Complete,
    /// It was cancelled: the parent has some of them.
    Cancelled,
}

/// Copies every sector that the child has into its parent.
///
/// # Errors
/// `OutOfRange` when the parent is smaller than the child: grow it first. Else as [`Chain::write_at`] and
/// [`Chain::read_at`]. What was copied stays in the parent, unseen, since the child has it too.
///
/// # Durability
/// At return everything copied is on stable storage, also after a cancellation. The parent is written as any image is
/// ([`Chain::flush`]), with a flush for each [`FLUSH_BYTES`], which is under way while more is copied. A crash at any point leaves it with some of the sectors; each of
/// them is in the child as well, which nothing was done to, so that every chain reads as before.
pub fn merge(child: Arc<dyn Storage>, target: &Target, control: &Control) -> Result<End> {
    let child = Chain::open_alone(child, crate::Access::ReadOnly)?;
    require_room(&child, target)?;
    control.set_total(child.leaf_bytes());
    let mut walk = Walk::new(&child);
    let mut unflushed = 0;
    let end = std::thread::scope(|scope| {
        let mut flushing: Option<ScopedJoinHandle<'_, Result<()>>> = None;
        while let Some(chunk) = walk.next(&child) {
            let copied = copy_chunk(&child, target, chunk, &mut walk.buffer)?;
            unflushed += copied;
            if unflushed >= FLUSH_BYTES {
                if let Some(earlier) = flushing.take() {
                    finished(earlier)?;
                }
                flushing = Some(scope.spawn(|| target.flush()));
                unflushed = 0;
            }
            if !control.pass(chunk.length, copied) {
                return Ok(End::Cancelled);
            }
        }
        match flushing {
            Some(last) => finished(last).map(|()| End::Complete),
            None => Ok(End::Complete),
        }
    })?;
    target.flush()?;
    Ok(end)
}

fn finished(flushing: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    flushing
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Size of the blocks that an image has of its own.
///
/// # Errors
/// As [`Chain::open`].
pub fn allocated_bytes(image: Arc<dyn Storage>) -> Result<u64> {
    Ok(Chain::open_alone(image, crate::Access::ReadOnly)?.leaf_bytes())
}

pub(super) fn require_room(child: &Chain, target: &Target) -> Result<()> {
    if target.size() < child.size() {
        let (found, minimum) = (target.size(), child.size());
        return Err(Error::Limit {
            what: "virtual size of the image that is merged into",
            found,
            minimum,
            maximum: u64::MAX,
        });
    }
    Ok(())
}

/// A range inside one block of the child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub offset: u64,
    pub length: u64,
}

/// Goes over the blocks that the child has, chunk by chunk.
pub(super) struct Walk {
    at: u64,
    pub buffer: Box<[u8]>,
}

impl Walk {
    pub fn new(child: &Chain) -> Self {
        let length = CHUNK.min(child.block_size());
        Self {
            at: 0,
            buffer: vec![0; length as usize].into_boxed_slice(),
        }
    }

    /// The next chunk whose block the child has.
    pub fn next(&mut self, child: &Chain) -> Option<Chunk> {
        self.at = child.next_leaf_block(self.at)?;
        let length = (self.buffer.len() as u64).min(child.size() - self.at);
        let chunk = Chunk {
            offset: self.at,
            length,
        };
        self.at += length;
        Some(chunk)
    }
}

/// Copies the sectors of a chunk that the child has; answers how many bytes.
pub(super) fn copy_chunk(
    child: &Chain,
    target: &Target,
    chunk: Chunk,
    buffer: &mut [u8],
) -> Result<u64> {
    let mut copied = 0;
    let end = chunk.offset + chunk.length;
    let mut at = chunk.offset;
    while at < end {
        let (place, length) = child.leaf_run(at, end - at)?;
        if let Some(place) = place {
            debug_assert!(length.is_multiple_of(SECTOR_SIZE));
            let bytes = &mut buffer[..length as usize];
            storage::read(child.leaf(), bytes, place)?;
            target.write(Payload::Bytes(bytes), at)?;
            copied += length;
        }
        at += length;
    }
    Ok(copied)
}
