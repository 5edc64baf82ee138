//! Merging an inner image: hidden, the only child of its parent, with children of its own.

use std::sync::Arc;

use uuid::Uuid;
use vhd::merge::{Control, End, Target, merge};

use super::super::Result;
use super::super::names::ImageFormat;
use super::chains::FileChains;
use super::journal::{Journal, Kind};
use super::pair::{Pair, Place, is_in_place};
use crate::gc::{Outcome, StepError};
use crate::io::fault;
use crate::medium::files::Room;

impl FileChains {
    /// Merges a hidden image into its parent, gives its children that parent, and removes it. Consumers go on.
    ///
    /// Write order, and what a crash leaves in each gap:
    /// 1. Journal `coalesce_<vdi>`. Crash: it is removed at the next attach, here and in 2 to 4.
    /// 2. The parent is grown, if it is smaller, while nobody opens an image of the tree. Crash: its own journal is rolled
    ///    back.
    /// 3. What the image has is copied into the parent, which is flushed. Crash: the image hides what the parent got.
    /// 4. Journal `relink_<vdi>` is written and `coalesce_<vdi>` removed. Crash: what follows is finished.
    /// 5. Each child is given the parent. Crash: some read through the image, which hides the same bytes in the parent.
    /// 6. Chains of consumers are given the parents that their headers name now; nothing is written.
    /// 7. `relink_<vdi>` is removed. Crash: a hidden image without children, which is pruned.
    /// 8. The image is removed.
    ///
    /// `coalesce/tests/faults.rs` fails and dies at each of them, `coalesce/tests/grow.rs` in 2.
    pub(super) fn merge_inner(
        &self,
        vdi: Uuid,
        parent: Uuid,
        control: &Arc<Control>,
    ) -> std::result::Result<Outcome, StepError> {
        point("LVHDRT_finding_a_suitable_pair")?;
        let Some(pair) = self.pair(vdi, parent, Place::Inner, control)? else {
            return Ok(Outcome::Overtaken);
        };
        self.require_sound(&pair)?;
        let coalesce = Journal {
            kind: Kind::Coalesce,
            vdi,
        };
        coalesce.write(&*self.images().files, "1")?;
        let merged = self.copy(&pair, control);
        let ended = match merged {
            Ok(End::Complete) => None,
            Ok(End::Cancelled) => Some(Ok(Outcome::Cancelled)),
            Err(error) => Some(Err(error)),
        };
        if let Some(ended) = ended {
            self.images().rest(pair.parent);
            // Of no consequence when it stays: it is removed at the next attach.
            let _ = coalesce.remove(&*self.images().files);
            return ended;
        }
        self.relink_children(&pair, coalesce)
    }

    fn copy(&self, pair: &Pair, control: &Control) -> std::result::Result<End, StepError> {
        if !self.grow_in_tree(pair)? {
            return Ok(End::Cancelled);
        }
        self.provide_for_child(pair)?;
        point("LVHDRT_coalescing_VHD_data")?;
        let failed = |source| self.image_error("merge into", pair.parent, source);
        let file = pair.parent_file.clone();
        let target = match pair.parent.format {
            ImageFormat::Vhd => Target::vhd(file),
            ImageFormat::Raw => Target::raw(file),
        };
        let target = target.map_err(failed)?;
        Ok(merge(pair.child_file.clone(), &target, control).map_err(failed)?)
    }

    /// Makes room in the parent for all that the image has.
    fn provide_for_child(&self, pair: &Pair) -> std::result::Result<(), StepError> {
        point("LVHDRT_inflating_the_parent")?;
        let blocks = vhd::image::allocated_blocks(&*pair.child_file);
        let blocks =
            blocks.map_err(|source| self.image_error("read the table of", pair.child, source))?;
        let count: u64 = blocks.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let bytes = count * (vhd::size::BLOCK_SIZE + vhd::volume::bitmap_overhead(1));
        let parent = pair.parent.file_name();
        self.images().provide(&parent, Room::More(bytes))?;
        Ok(())
    }

    /// Grows the parent, if it is smaller, while nobody opens an image above it: who reads a table that is being moved gets
    /// the wrong blocks, and is in no list of readers yet. False when the pair is not as planned any more.
    fn grow_in_tree(&self, pair: &Pair) -> Result<bool> {
        if !self.is_parent_smaller(pair)? {
            return Ok(true);
        }
        pair.claim.park();
        let _change = self.images().change(&[pair.child])?;
        pair.claim.unpark();
        let fits = self
            .images()
            .with_tree(|tree| is_in_place(tree, pair.child, pair.parent, Place::Inner))?;
        if fits {
            self.grow_parent(pair)?;
        }
        Ok(fits)
    }

    /// Steps 4 to 8.
    fn relink_children(
        &self,
        pair: &Pair,
        coalesce: Journal,
    ) -> std::result::Result<Outcome, StepError> {
        let images = self.images();
        point("LVHDRT_before_create_relink_journal")?;
        pair.claim.park();
        let change = images.change(&[pair.child])?;
        pair.claim.unpark();
        let fits = images.with_tree(|tree| {
            // It may have lost its children meanwhile; then it is pruned.
            is_in_place(tree, pair.child, pair.parent, Place::Inner)
        })?;
        if !fits {
            coalesce.remove(&*images.files)?;
            return Ok(Outcome::Overtaken);
        }
        let relink = Journal {
            kind: Kind::Relink,
            vdi: pair.child.uuid,
        };
        relink.write(&*images.files, "1")?;
        coalesce.remove(&*images.files)?;
        self.relink(pair.child, pair.parent)?;
        self.swap_consumers(pair.child);
        images.rest(pair.parent);
        relink.remove(&*images.files)?;
        drop(change);
        Ok(Outcome::Done)
    }
}

/// A fault point of XenServer's garbage collector, by its name there.
pub(super) fn point(name: &'static str) -> Result<()> {
    fault::point(name).map_err(|source| super::super::Error::Io {
        action: name,
        path: std::path::PathBuf::new(),
        source,
    })
}
