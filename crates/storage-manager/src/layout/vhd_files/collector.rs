//! What the layout asks of whoever merges and removes images that no VDI needs.

use std::time::Duration;

use super::names::ImageName;

/// Merges and removes images in the background; the layout tells it what happens.
///
/// Calls come from the SR's threads, so they return at once unless they say how long they may take.
pub trait Collector: Send + Sync {
    /// Tells that chains have changed: there may be something to merge or to remove.
    fn kick(&self);

    /// Merges parents of this leaf until its chain has at most `depth` images, or until `limit` is over. Called with no
    /// tree locked. Whether it succeeded shows in the tree.
    fn make_room(&self, leaf: ImageName, depth: usize, limit: Duration);

    /// Gives up a merge that has the leaf itself in hand, and returns when that is done: its VDI is about to be opened,
    /// branched, grown or removed. Called with the tree of the leaf locked, so it must not wait for that.
    fn release(&self, leaf: ImageName);
}
