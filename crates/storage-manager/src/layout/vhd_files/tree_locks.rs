//! Locks of whole trees of images, by their roots.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::names::ImageName;

/// Which trees somebody is changing.
///
/// A tree is locked for the few milliseconds in which images of it get other names or parents, not while data are copied.
/// There are as many waiters as the SR has threads.
#[derive(Debug, Default)]
pub struct TreeLocks {
    locked: Mutex<BTreeSet<ImageName>>,
    released: Condvar,
}

/// Trees that are locked until this is dropped.
#[derive(Debug)]
pub struct LockedTrees<'a> {
    locks: &'a TreeLocks,
    roots: BTreeSet<ImageName>,
}

impl TreeLocks {
    /// Waits until nobody has any of these trees and takes them all at once, so that nobody waits while holding some.
    pub fn lock(&self, roots: BTreeSet<ImageName>) -> LockedTrees<'_> {
        let locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut locked = self
            .released
            .wait_while(locked, |locked| !locked.is_disjoint(&roots))
            .unwrap_or_else(PoisonError::into_inner);
        locked.extend(&roots);
        LockedTrees { locks: self, roots }
    }
}

impl LockedTrees<'_> {
    /// The roots by which they were locked.
    pub fn roots(&self) -> &BTreeSet<ImageName> {
        &self.roots
    }
}

impl Drop for LockedTrees<'_> {
    fn drop(&mut self) {
        let locked = self.locks.locked.lock();
        let mut locked = locked.unwrap_or_else(PoisonError::into_inner);
        locked.retain(|root| !self.roots.contains(root));
        self.locks.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use uuid::Uuid;

    #[test]
    fn one_at_a_time_in_a_tree_and_no_deadlock_between_two() {
        let locks = TreeLocks::default();
        let root = |n| ImageName::vhd(Uuid::from_u128(n));
        let inside = [const { AtomicUsize::new(0) }; 3];
        std::thread::scope(|scope| {
            for thread in 0..6usize {
                let (locks, inside) = (&locks, &inside);
                scope.spawn(move || {
                    for round in 0..200 {
                        let pair = [(thread + round) % 3, (thread + round * 2) % 3];
                        let locked = locks.lock(pair.iter().map(|n| root(*n as u128)).collect());
                        for root in locked.roots() {
                            let n = root.uuid.as_u128() as usize;
                            assert_eq!(inside[n].fetch_add(1, Ordering::SeqCst), 0);
                        }
                        for root in locked.roots() {
                            let n = root.uuid.as_u128() as usize;
                            inside[n].fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(locks.locked.lock().unwrap().is_empty());
    }
}
