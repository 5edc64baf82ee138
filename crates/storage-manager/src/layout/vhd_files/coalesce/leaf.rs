//! Merging a leaf: a visible image whose hidden parent has no other child. The parent takes its name.

use std::sync::Arc;

use uuid::Uuid;
use vhd::merge::{Control, End, LiveMerge, Target, merge};

use super::super::known_tree::Change;
use super::super::names::{ImageFormat, ImageName};
use super::super::open_image::OpenImage;
use super::super::open_images::{Hold, Use};
use super::super::parents::SrParents;
use super::super::tree::Node;
use super::super::{Error, Result};
use super::chains::FileChains;
use super::inner::point;
use super::leaf_names::LeafNames;
use super::pair::{Pair, Place, is_in_place};
use crate::gc::{Outcome, StepError};
use crate::io::lock::LockMode;
use crate::medium::files::Room;

type StepResult = std::result::Result<Outcome, StepError>;

impl FileChains {
    /// Merges a VDI's image into its parent, which then becomes the VDI's image. A consumer that writes goes on meanwhile.
    ///
    /// Write order, and what a crash leaves in each gap:
    /// 1. The parent is grown, if it is smaller. Crash: its own journal is rolled back.
    /// 2. What the image has is copied into the parent, and what a consumer writes meanwhile goes to both, so that they
    ///    are equal in the end; from then on a flush of the consumer flushes both. Crash: the image has everything.
    /// 3. Journal `leaf_<vdi>` with the parent's uuid. Crash: undone.
    /// 4. The parent is unhidden. Crash: undone, by hiding it.
    /// 5. The names are exchanged, [`LeafNames::exchange`]. Crash: undone. Then a write that the parent fails is failed to
    ///    the consumer, and the exchange is made to last, [`LeafNames::settle`]. Crash before its end: undone; after it: done.
    /// 6. The consumer is held off for a moment, and goes on with the parent alone; nothing is read or written.
    /// 7. What was the image is removed. Crash: removed at the next attach.
    ///
    /// `coalesce/tests/faults.rs` fails and dies at each of them, with a consumer and without.
    pub(super) fn merge_leaf(&self, vdi: Uuid, parent: Uuid, control: &Arc<Control>) -> StepResult {
        point("LVHDRT_finding_a_suitable_pair")?;
        let Some(pair) = self.pair(vdi, parent, Place::Leaf, control)? else {
            return Ok(Outcome::Overtaken);
        };
        self.require_sound(&pair)?;
        {
            // A scan in the middle would take the image for a damaged one, and nothing of the SR would be merged or removed.
            let _scans = self.images().hold_scans();
            self.grow_parent(&pair)?;
        }
        self.images()
            .provide(&pair.parent.file_name(), Room::Written)?;
        point("LVHDRT_coaleaf_before_coalesce")?;
        if pair.child_hold.is_some() {
            return self.merge_at_rest(pair, control);
        }
        let mut consumers = self.images().open.of(vdi);
        match consumers.pop() {
            // A consumer would go on with another kind of image.
            _ if pair.parent.format == ImageFormat::Raw => Ok(Outcome::Overtaken),
            Some(image) if consumers.is_empty() && !nbd::Export::is_read_only(&*image) => {
                self.merge_live(&pair, &image, control)
            }
            _ => Ok(Outcome::Overtaken),
        }
    }

    fn merge_at_rest(&self, mut pair: Pair, control: &Control) -> StepResult {
        let failed = |source| self.image_error("merge into", pair.parent, source);
        let target = match pair.parent.format {
            ImageFormat::Vhd => Target::vhd(pair.parent_file.clone()),
            ImageFormat::Raw => Target::raw(pair.parent_file.clone()),
        };
        let target = target.map_err(failed)?;
        let merged = merge(pair.child_file.clone(), &target, control).map_err(failed)?;
        drop(target);
        let images = self.images();
        if merged == End::Cancelled {
            images.rest(pair.parent);
            return Ok(Outcome::Cancelled);
        }
        point("LVHDRT_coaleaf_after_coalesce")?;
        // Who has the tree and wants the image gets it; it is asked for again below.
        pair.let_go_of_child();
        pair.claim.park();
        let _change = images.change(&[pair.child])?;
        pair.claim.unpark();
        if control.is_cancelled() {
            return Ok(Outcome::Cancelled);
        }
        let Some(_hold) = self.hold_in_place(&pair, Use::Exclusive)? else {
            return Ok(Outcome::Overtaken);
        };
        let locked = pair.child_file.try_lock(LockMode::Shared);
        if !locked.map_err(|source| self.io_error("lock", pair.child, source))? {
            return Ok(Outcome::Overtaken);
        }
        let names = pair.names();
        names.begin(images)?;
        let exchanged = self
            .hide_parent(&pair, false)
            .and_then(|()| names.exchange(images));
        let settled = exchanged
            .map_err(|error| (error, false))
            .and_then(|()| names.settle(images));
        if let Err((error, journal_unknown)) = settled {
            // What cannot be undone now is at the next attach: both images hold everything, and while the journal is
            // there the VDI is not opened.
            if journal_unknown
                && let Err(unwritten) = names.begin(images)
                && images.files.fails_in_doubt()
            {
                // Without the journal the parent is the VDI's image, which must not be hidden then. With it, what is
                // known of the names keeps the VDI closed.
                self.log_undo(&pair, Some(&unwritten));
                return Err(error.into());
            }
            let undone = self
                .hide_parent(&pair, true)
                .and_then(|()| names.undo(images));
            self.log_undo(&pair, undone.as_ref().err());
            return Err(error.into());
        }
        self.tell_exchanged(&pair)?;
        images.rest(names.taken());
        self.remove_old(names);
        Ok(Outcome::Done)
    }

    fn merge_live(&self, pair: &Pair, image: &Arc<OpenImage>, control: &Control) -> StepResult {
        let failed = |source| self.image_error("merge into", pair.parent, source);
        let images = self.images();
        let resolver = SrParents::new(images.files.clone(), images.open.clone());
        let target = Target::chain(pair.parent_file.clone(), &resolver).map_err(failed)?;
        let started = image.hold_off(|paused| {
            let chain = paused.chain_mut().ok_or_else(|| closed(pair.child))?;
            LiveMerge::start(chain, target).map_err(failed)
        });
        let mut live = match started {
            Err(Error::Closed { .. }) => return Ok(Outcome::Overtaken),
            started => started?,
        };
        match self.walk(pair, image, &mut live, control) {
            Ok(Outcome::Done) => {}
            ended => {
                self.stop(pair, image, live);
                return ended;
            }
        }
        // The consumer may snapshot, detach or grow the VDI now: then the mirroring has ended, or is cancelled.
        pair.claim.park();
        let change = images.change(&[pair.child])?;
        pair.claim.unpark();
        let fits =
            images.with_tree(|tree| is_in_place(tree, pair.child, pair.parent, Place::Leaf))?;
        if control.is_cancelled() || !fits {
            self.stop(pair, image, live);
            return Ok(Outcome::Cancelled);
        }
        let committed = self.commit_live(pair, image, live, resolver.into_holds());
        drop(change);
        committed
    }

    /// Step 2.
    fn walk(
        &self,
        pair: &Pair,
        image: &OpenImage,
        live: &mut LiveMerge,
        control: &Control,
    ) -> StepResult {
        let total = vhd::image::allocated_blocks(&*pair.child_file);
        let blocks = total.map_or(0, |map| map.iter().map(|b| u64::from(b.count_ones())).sum());
        control.set_total(blocks << 21);
        let failed = |source| self.image_error("merge into", pair.parent, source);
        loop {
            let step = image.with_chain(|chain| live.step(chain));
            let step = match step {
                None | Some(Err(vhd::Error::Closed)) => return Ok(Outcome::Cancelled),
                Some(step) => step.map_err(failed)?,
            };
            if !control.pass(step.done, step.copied) {
                return Ok(Outcome::Cancelled);
            }
            if step.finished {
                break;
            }
        }
        match image.with_chain(|chain| live.equal(chain)) {
            None | Some(Err(vhd::Error::Closed)) => return Ok(Outcome::Cancelled),
            Some(equal) => equal.map_err(failed)?,
        }
        point("LVHDRT_coaleaf_after_coalesce")?;
        Ok(Outcome::Done)
    }

    /// Goes back to the image alone.
    fn stop(&self, pair: &Pair, image: &OpenImage, live: LiveMerge) {
        // An image that was closed mirrors no more.
        let _ = image.hold_off(|paused| {
            if let Some(chain) = paused.chain_mut() {
                live.stop(chain);
            }
            Ok(())
        });
        if let Err(error) = live.abandon() {
            tracing::warn!(vdi.uuid = %pair.parent.uuid, %error, "a parent that was merged into in part could not be flushed");
        }
        self.images().rest(pair.parent);
    }

    /// Steps 3 to 7; the caller has the tree.
    fn commit_live(
        &self,
        pair: &Pair,
        image: &Arc<OpenImage>,
        live: LiveMerge,
        parents: Vec<Hold>,
    ) -> StepResult {
        let images = self.images();
        let names = pair.names();
        let failed = |source| self.image_error("merge into", pair.parent, source);
        let exchanged = names
            .begin(images)
            .and_then(|()| live.set_parent_hidden(false).map_err(failed))
            .and_then(|()| names.exchange(images))
            .and_then(
                |()| match image.with_chain(|chain| live.begin_commit(chain)) {
                    None => Err(closed(pair.child)),
                    Some(begun) => begun.map_err(failed),
                },
            );
        let settled = exchanged
            .map_err(|error| (error, false))
            .and_then(|()| names.settle(images));
        match settled {
            Ok(()) => {}
            Err((error, true)) => {
                // A crash may leave either as the image, so nothing more may be written to one of them: the journal keeps
                // the VDI from being opened before the next attach has decided.
                let _ = names.begin(images);
                let _ = nbd::Export::close(&**image);
                self.stop(pair, image, live);
                self.log_undo(pair, Some(&error));
                return Err(error.into());
            }
            Err((error, false)) => {
                // The journal makes the leaf the image, under whatever name; it is written alone from here on.
                self.stop(pair, image, live);
                let undone = self
                    .hide_parent(pair, true)
                    .and_then(|()| names.undo(images));
                self.log_undo(pair, undone.as_ref().err());
                return Err(error.into());
            }
        }
        self.swap_leaf(pair, image, live, parents);
        point("LVHDRT_coaleaf_after_vdirec")?;
        self.tell_exchanged(pair)?;
        self.remove_old(names);
        Ok(Outcome::Done)
    }

    /// Step 6. A consumer that has detached meanwhile has flushed both.
    fn swap_leaf(&self, pair: &Pair, image: &OpenImage, live: LiveMerge, mut parents: Vec<Hold>) {
        let mut old = None;
        let mut file = Some(pair.parent_file.clone());
        let swapped = image.hold_off(|paused| {
            paused.replace_chain("merge", |chain| {
                let (new, was) = live.into_chain(chain)?;
                old = Some(was);
                Ok(new)
            })?;
            if let Some(held) = paused.parents() {
                std::mem::swap(held, &mut parents);
            }
            file = file.take().and_then(|file| paused.replace_leaf(file));
            Ok(())
        });
        match swapped {
            Ok(()) | Err(Error::Closed { .. }) => {}
            Err(error) => {
                // Its consumer must not go on with an image that has lost its name.
                tracing::error!(vdi.uuid = %pair.child.uuid, error = %error.chain_text(), "an image that was merged is closed");
                let _ = nbd::Export::close(image);
            }
        }
        // The shared flock of the old chain goes first.
        drop((old, parents, file));
        if let Ok(true) = pair.parent_file.try_lock(LockMode::Exclusive) {
            return;
        }
        tracing::warn!(vdi.uuid = %pair.child.uuid, "the flock on an image that was merged is shared only");
    }

    fn hide_parent(&self, pair: &Pair, hidden: bool) -> Result<()> {
        if pair.parent.format == ImageFormat::Raw {
            let set = pair.parent_file.set_hidden(hidden);
            return set.map_err(|source| self.io_error("mark", pair.parent, source));
        }
        let set = vhd::image::set_hidden(&*pair.parent_file, hidden);
        set.map_err(|source| self.image_error("mark", pair.parent, source))
    }

    fn hold_in_place(&self, pair: &Pair, wanted: Use) -> Result<Option<Hold>> {
        let images = self.images();
        let fits =
            images.with_tree(|tree| is_in_place(tree, pair.child, pair.parent, Place::Leaf))?;
        Ok(fits.then(|| images.open.hold(pair.child, wanted)).flatten())
    }

    /// Makes the tree say what the names say now.
    fn tell_exchanged(&self, pair: &Pair) -> Result<()> {
        let images = self.images();
        let below =
            images.with_tree(|tree| tree.nodes().get(&pair.parent).and_then(|node| node.parent))?;
        let node = Node {
            parent: below,
            hidden: false,
        };
        images.tell(&[
            Change::Removed(pair.parent),
            Change::Removed(pair.child),
            Change::Made(pair.names().taken(), node),
        ]);
        Ok(())
    }

    /// Removes what was the image of a VDI; what fails is tried again by the next step, and by the next attach.
    pub(super) fn remove_old(&self, names: LeafNames) {
        if let Err(error) = names.remove_old(self.images()) {
            tracing::warn!(vdi.uuid = %names.child.uuid, error = %error.chain_text(), "a merged image could not be removed");
            self.leftovers().push(names);
        }
    }

    fn log_undo(&self, pair: &Pair, failure: Option<&Error>) {
        if let Some(error) = failure {
            tracing::error!(
                vdi.uuid = %pair.child.uuid,
                error = %error.chain_text(),
                "the exchange of an image with its parent was cut off; the next attach of the SR puts it right"
            );
        }
    }
}

impl Pair {
    fn names(&self) -> LeafNames {
        LeafNames {
            child: self.child,
            parent: self.parent,
        }
    }
}

fn closed(name: ImageName) -> Error {
    Error::Closed { uuid: name.uuid }
}
