//! The tree of images as far as it is known, kept true while images are made and removed beside a scan.

use std::collections::BTreeSet;

use super::names::ImageName;
use super::tree::{ImageTree, Node};

/// Most changes that are noted while one scan runs; after more, the tree is built again when it is needed.
const MAX_RECORDED: usize = 1 << 16;

/// A change of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An image has got its name, or what it says of itself has changed.
    Made(ImageName, Node),
    /// An image was unlinked.
    Removed(ImageName),
}

impl Change {
    fn name(&self) -> ImageName {
        match self {
            Change::Made(name, _) | Change::Removed(name) => *name,
        }
    }
}

/// The tree, if it was built, and what changed since a scan began that is still running.
///
/// A change is told after it was made on the medium. So whatever a scan saw of it, the tree is right when the changes
/// that were told since the scan began are applied to what it found.
#[derive(Debug, Default)]
pub struct KnownTree {
    tree: Option<ImageTree>,
    recorded: Option<Vec<Change>>,
}

impl KnownTree {
    /// The tree, if it is known.
    pub fn tree(&self) -> Option<&ImageTree> {
        self.tree.as_ref()
    }

    /// Takes in what is on the medium while nobody can change it.
    pub fn set(&mut self, tree: ImageTree) {
        self.tree = Some(tree);
    }

    /// Starts to note changes for a scan; one scan runs at a time.
    pub fn begin_scan(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// Takes in what a scan found; none when it failed.
    pub fn end_scan(&mut self, found: Option<ImageTree>) {
        let recorded = self.recorded.take();
        if let Some(mut tree) = found {
            self.tree = recorded.map(|changes| {
                changes
                    .into_iter()
                    .for_each(|change| apply(&mut tree, change));
                tree
            });
        }
    }

    /// The images that have changed since the scan began; none when there were more than are noted.
    pub fn changed_since_scan(&self) -> Option<BTreeSet<ImageName>> {
        let recorded = self.recorded.as_ref()?;
        Some(recorded.iter().map(Change::name).collect())
    }

    /// Notes changes that were made on the medium.
    pub fn change(&mut self, changes: &[Change]) {
        if let Some(tree) = &mut self.tree {
            changes.iter().for_each(|change| apply(tree, *change));
        }
        match &mut self.recorded {
            Some(recorded) if recorded.len() + changes.len() <= MAX_RECORDED => {
                recorded.extend_from_slice(changes);
            }
            // The scan's tree would miss a change, so it will not be taken.
            Some(_) => self.recorded = None,
            None => {}
        }
    }
}

fn apply(tree: &mut ImageTree, change: Change) {
    match change {
        Change::Made(name, node) => tree.insert(name, node),
        Change::Removed(name) => tree.remove(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn changes_beside_a_scan_are_applied_to_what_it_found() {
        let image = |n| ImageName::vhd(Uuid::from_u128(n));
        let node = Node {
            parent: None,
            hidden: false,
        };
        let found = || ImageTree::new([(image(1), node), (image(2), node)].into(), false);
        let mut known = KnownTree::default();
        known.begin_scan();
        known.change(&[Change::Removed(image(2))]);
        known.change(&[Change::Made(image(3), node)]);
        let changed: Vec<_> = known.changed_since_scan().unwrap().into_iter().collect();
        assert_eq!(changed, [image(2), image(3)]);
        known.end_scan(Some(found()));
        let names = |known: &KnownTree| {
            known
                .tree()
                .unwrap()
                .nodes()
                .keys()
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&known), [image(1), image(3)]);
        known.begin_scan();
        known.end_scan(None);
        assert_eq!(
            names(&known),
            [image(1), image(3)],
            "a scan that failed changes nothing"
        );
        known.begin_scan();
        (0..=MAX_RECORDED as u128).for_each(|n| known.change(&[Change::Made(image(n), node)]));
        known.end_scan(Some(found()));
        assert!(known.tree().is_none());
    }
}
