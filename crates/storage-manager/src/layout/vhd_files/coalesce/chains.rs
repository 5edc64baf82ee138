//! The chains of one SR directory, as the collector and the layout's own operations see them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::super::Collector;
use super::super::names::ImageName;
use super::super::vhd_directory::VhdDirectory;
use super::claims::Claims;
use super::leaf_names::LeafNames;
use crate::gc::{Outcome, SrPolicy, StepError, Wakeup, Work};

/// What coalesces the images of an SR directory. It ends with [`FileChains::close`].
#[derive(Debug)]
pub struct FileChains {
    images: Arc<VhdDirectory>,
    pub(super) claims: Arc<Claims>,
    pub(super) wakeup: Wakeup,
    /// Merged leaves whose removal failed.
    leftovers: Mutex<Vec<LeafNames>>,
}

impl FileChains {
    /// Takes the images, and makes their operations tell of what they change.
    pub fn new(images: Arc<VhdDirectory>) -> Arc<Self> {
        let chains = Arc::new(FileChains {
            images,
            claims: Arc::default(),
            wakeup: Wakeup::default(),
            leftovers: Mutex::default(),
        });
        let collector: Weak<dyn Collector> = Arc::downgrade(&chains) as Weak<dyn Collector>;
        chains.images.set_collector(collector);
        chains
    }

    /// The images.
    pub fn images(&self) -> &VhdDirectory {
        &self.images
    }

    /// Cancels every step and lets none begin any more; false when one did not end in time.
    pub fn close(&self) -> bool {
        let closed = self.claims.close();
        self.wakeup.notify();
        closed
    }

    /// Lets steps begin again.
    pub fn reopen(&self) {
        self.claims.reopen();
        self.wakeup.notify();
    }

    /// Runs one step.
    pub(super) fn step(
        &self,
        work: &Work,
        control: &Arc<vhd::merge::Control>,
    ) -> Result<Outcome, StepError> {
        self.remove_leftovers(control);
        let outcome = match *work {
            Work::Prune { vdi } => self.prune(vdi, control),
            Work::Inner { vdi, parent } => self.merge_inner(vdi, parent, control),
            Work::Leaf { vdi, parent } => self.merge_leaf(vdi, parent, control),
        };
        if let (Work::Inner { vdi, .. }, Ok(Outcome::Done)) = (work, &outcome) {
            // The image is hidden and has no children now.
            self.prune(*vdi, control)?;
        }
        self.wakeup.notify();
        outcome
    }

    pub(super) fn leftovers(&self) -> MutexGuard<'_, Vec<LeafNames>> {
        self.leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_leftovers(&self, control: &Arc<vhd::merge::Control>) {
        for names in std::mem::take(&mut *self.leftovers()) {
            match self.claims.take([names.child], control) {
                Some(_claim) => self.remove_old(names),
                None => self.leftovers().push(names),
            }
        }
    }

    /// Removes what nobody needs, unless the SR is being detached: the directory may be another's then.
    fn prune(
        &self,
        vdi: uuid::Uuid,
        control: &Arc<vhd::merge::Control>,
    ) -> Result<Outcome, StepError> {
        let Some(_claim) = self.claims.take([ImageName::vhd(vdi)], control) else {
            return Ok(Outcome::Overtaken);
        };
        let is_there = |images: &VhdDirectory| {
            images.with_tree(|tree| tree.nodes().keys().any(|name| name.uuid == vdi))
        };
        self.images.prune()?;
        Ok(match is_there(&self.images)? {
            true => Outcome::Overtaken,
            false => Outcome::Done,
        })
    }
}

impl Collector for FileChains {
    fn kick(&self) {
        self.wakeup.notify();
    }

    /// Runs the inner steps of the leaf's tree itself, one after the other; a step that is under way there is waited for.
    fn make_room(&self, leaf: ImageName, depth: usize, limit: Duration) {
        let until = Instant::now() + limit;
        let _hurry = self.images.open.activity().hurry();
        while Instant::now() < until {
            let measured = self.images.with_tree(|tree| {
                let ancestry: Vec<ImageName> = tree.ancestry(leaf).collect();
                (ancestry.len(), ancestry)
            });
            let Ok((found, ancestry)) = measured else {
                return;
            };
            if found <= depth {
                return;
            }
            let Some(root) = ancestry.last().copied() else {
                return;
            };
            let Ok(images) = self.list() else { return };
            let plan = crate::gc::plan(&images, SrPolicy::default(), &Default::default());
            let work = plan.work.iter().find(|work| {
                matches!(work, Work::Inner { vdi, .. }
                    if ancestry.iter().any(|name| name.uuid == *vdi))
            });
            let Some(work) = work else { return };
            let control = Arc::new(vhd::merge::Control::default());
            let timer = control.clone();
            let ended = with_deadline(until, move || timer.cancel(), || self.step(work, &control));
            match ended {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Cancelled) => return,
                Ok(Outcome::Overtaken) => {
                    if !self.claims.wait_for(root, until) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, %work, "a chain could not be made shorter before a snapshot");
                    return;
                }
            }
        }
    }

    fn release(&self, leaf: ImageName) {
        if !self.claims.yield_image(leaf) {
            tracing::warn!(vdi.uuid = %leaf.uuid, "a merge did not let go of an image in time");
        }
    }
}

/// Runs `work`, and `late` on another thread when it has not ended by `until`.
fn with_deadline<T>(until: Instant, late: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (done, ended) = std::sync::mpsc::sync_channel::<()>(0);
        scope.spawn(move || {
            let left = until.saturating_duration_since(Instant::now());
            // Disconnected when the work has ended.
            if ended.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                late();
            }
        });
        let result = work();
        drop(done);
        result
    })
}
