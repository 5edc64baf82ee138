//! Merging a child that a consumer writes.

use std::sync::Arc;

use super::copy::{Chunk, copy_chunk, require_room};
use super::mirror::{Mirror, Phase};
use super::target::{Image, Target};
use super::{CHUNK, FLUSH_BYTES};
use crate::chain::Chain;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// Chunks without a block of the child that one step passes over at most.
const CHUNKS_LOOKED_AT: u32 = 4096;

/// The chain as it was, and why the parent did not become the image.
pub type Refused = Box<(Chain, Error)>;

/// What one step of the walk did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Size of the blocks, or parts of them, that were looked at, in bytes.
    pub done: u64,
    /// Bytes written to the parent.
    pub copied: u64,
    /// True when the walk has come to the end.
    pub finished: bool,
}

/// A merge of an open image into its parent. The calls, in this order:
///
/// 1. [`LiveMerge::start`] with the image paused: from here on writes may go to both.
/// 2. [`LiveMerge::step`] until it says that it has finished. Crash: the child has everything.
/// 3. [`LiveMerge::equal`]: both are equal from here on, and each flush of the consumer flushes both.
/// 4. [`LiveMerge::begin_commit`], after which a crash may leave the parent as the image: from here on a write or flush that
///    the parent fails is failed to the consumer.
/// 5. [`LiveMerge::into_chain`] or [`LiveMerge::into_raw`] with the image paused: the parent is the image.
///
/// [`LiveMerge::stop`] ends it before 4. A child that gets another leaf on top, as by a snapshot, drops the mirroring by
/// itself: then every call answers `Closed`.
pub struct LiveMerge {
    mirror: Arc<Mirror>,
    buffer: Box<[u8]>,
    unflushed: u64,
}

impl LiveMerge {
    /// Begins to mirror; no call of the consumer may be under way.
    ///
    /// # Errors
    /// `Unsupported` when the chain is read-only, `OutOfRange` when the parent is smaller; the target is then closed.
    pub fn start(chain: &mut Chain, target: Target) -> Result<Self> {
        chain.require_writer("merge")?;
        require_room(chain, &target)?;
        let mirror = Arc::new(Mirror::new(target));
        chain.mirror = Some(mirror.clone());
        Ok(Self {
            mirror,
            buffer: vec![0; CHUNK as usize].into_boxed_slice(),
            unflushed: 0,
        })
    }

    fn require_mirrored(&self, chain: &Chain) -> Result<()> {
        match &chain.mirror {
            Some(mirror) if Arc::ptr_eq(mirror, &self.mirror) => Ok(()),
            _ => Err(Error::Closed),
        }
    }

    /// Refuses a child of which nobody knows what is true, too: the parent must not take over its bytes as sound ones.
    fn require_usable(&self, chain: &Chain) -> Result<()> {
        self.require_mirrored(chain)?;
        chain.usable()
    }

    /// Copies the next chunk; consumers go on, and wait only where they write to that chunk.
    ///
    /// # Errors
    /// A failure of the parent, also one that a consumer's write met. `Closed` when the chain is mirrored no more,
    /// `Poisoned` when a flush of it has failed.
    pub fn step(&mut self, chain: &Chain) -> Result<Step> {
        self.require_usable(chain)?;
        self.mirror.require_sound()?;
        let (mut done, mut copied) = (0, 0);
        let mut at = self.mirror.mark();
        for _ in 0..CHUNKS_LOOKED_AT {
            let length = CHUNK.min(chain.size() - at);
            if length == 0 || done > 0 {
                break;
            }
            let chunk = Chunk { offset: at, length };
            let _chunk = self.mirror.lock(at);
            if chain.has_leaf_block(at, length) {
                done = length;
                copied = copy_chunk(chain, &self.mirror.target, chunk, &mut self.buffer)?;
            }
            at += length;
            self.mirror.set_mark(at);
        }
        self.unflushed += copied;
        let finished = at == chain.size();
        if self.unflushed >= FLUSH_BYTES {
            self.mirror.target.flush()?;
            self.unflushed = 0;
        }
        Ok(Step {
            done,
            copied,
            finished,
        })
    }

    /// Makes flushes of the consumer flush both from now on, and flushes the parent.
    ///
    /// # Errors
    /// As [`LiveMerge::step`].
    pub fn equal(&self, chain: &Chain) -> Result<()> {
        self.require_usable(chain)?;
        self.mirror.set_phase(Phase::Equal)?;
        // A flush that is under way and goes to the child alone covers writes that came before: so does this one.
        self.mirror.target.flush()
    }

    /// Makes failures of the parent the consumer's business.
    ///
    /// # Errors
    /// As [`LiveMerge::step`].
    pub fn begin_commit(&self, chain: &Chain) -> Result<()> {
        self.require_usable(chain)?;
        self.mirror.set_phase(Phase::Committing)
    }

    /// Sets the hidden mark of the parent.
    ///
    /// # Errors
    /// As [`Chain::flush`].
    pub fn set_parent_hidden(&self, hidden: bool) -> Result<()> {
        match &self.mirror.target.image {
            Image::Vhd(target) => target.set_hidden(hidden),
            Image::Raw { .. } => Ok(()),
        }
    }

    /// Goes back to writing the child alone, with the image paused. What the parent got it keeps, unseen.
    pub fn stop(&self, chain: &mut Chain) {
        if self.require_mirrored(chain).is_ok() {
            chain.mirror = None;
        }
    }

    /// Leaves the parent sound after [`LiveMerge::stop`], or after the child was closed.
    ///
    /// # Errors
    /// As [`Chain::flush`].
    pub fn abandon(self) -> Result<()> {
        self.mirror.target.flush()
    }

    /// Turns the parent into the image, with the child paused; nothing is read or written. Answers the new chain and the
    /// old one, which is to be dropped when the consumer goes on.
    ///
    /// # Errors
    /// `Closed` as [`LiveMerge::step`], `Unsupported` when the parent is raw ([`LiveMerge::into_raw`]): the chain is given
    /// back as it was.
    pub fn into_chain(self, chain: Chain) -> std::result::Result<(Chain, Chain), Refused> {
        if let Image::Raw { size, .. } = self.mirror.target.image {
            let what = "a chain of a raw image of that many bytes";
            return Err(Box::new((chain, Error::Unsupported { what, found: size })));
        }
        match self.into_image(chain)? {
            (Image::Vhd(target), old) => Ok((target, old)),
            (Image::Raw { .. }, old) => Err(Box::new((old, Error::Closed))),
        }
    }

    /// As [`LiveMerge::into_chain`] for a raw parent, whose bytes are the image from now on.
    ///
    /// # Errors
    /// `Closed` as [`LiveMerge::step`], `Unsupported` when the parent is a VHD: the chain is given back as it was.
    pub fn into_raw(self, chain: Chain) -> std::result::Result<(Arc<dyn Storage>, Chain), Refused> {
        if let Image::Vhd(target) = &self.mirror.target.image {
            let (what, found) = ("the raw bytes of a VHD of that size", target.size());
            return Err(Box::new((chain, Error::Unsupported { what, found })));
        }
        match self.into_image(chain)? {
            (Image::Raw { storage, .. }, old) => Ok((storage, old)),
            (Image::Vhd(_), old) => Err(Box::new((old, Error::Closed))),
        }
    }

    fn into_image(self, mut chain: Chain) -> std::result::Result<(Image, Chain), Refused> {
        if let Err(error) = self.require_mirrored(&chain) {
            return Err(Box::new((chain, error)));
        }
        chain.mirror = None;
        match Arc::into_inner(self.mirror) {
            Some(mirror) => Ok((mirror.target.image, chain)),
            None => Err(Box::new((chain, Error::Closed))),
        }
    }
}
