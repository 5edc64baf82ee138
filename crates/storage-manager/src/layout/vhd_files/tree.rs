//! Which images are parents of which, kept in memory while the SR is attached.
//!
//! Only the holder of the SR's lock changes the directory, so the tree stays true between scans; what an administrator
//! puts there by hand is seen by the next scan.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::names::ImageName;

/// Longest chain, counted in images.
pub const MAX_CHAIN: usize = vhd::chain::MAX_DEPTH;

/// What the tree knows of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The image that it is based on.
    pub parent: Option<ImageName>,
    /// True for a parent that only its children need.
    pub hidden: bool,
}

/// The images of an SR and their parents.
#[derive(Clone, Debug, Default)]
pub struct ImageTree {
    nodes: BTreeMap<ImageName, Node>,
    /// Every parent with each of its children, so that finding a child costs the same in an SR of any size.
    children: BTreeSet<(ImageName, ImageName)>,
    /// The images that are hidden.
    hidden: BTreeSet<ImageName>,
    /// True when some image could not be read: it may be a child of any.
    incomplete: bool,
}

/// Why an image cannot be served although it could be read itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenChain {
    /// An ancestor is not in the tree.
    Missing(ImageName),
    /// The chain is longer than [`MAX_CHAIN`], which a cycle always is.
    TooLong,
}

impl ImageTree {
    /// Makes a tree of what a scan found.
    pub fn new(nodes: BTreeMap<ImageName, Node>, incomplete: bool) -> Self {
        let mut tree = ImageTree {
            incomplete,
            ..ImageTree::default()
        };
        for (name, node) in nodes {
            tree.insert(name, node);
        }
        tree
    }

    /// True when some image could not be read, so that the children of no image are known for certain.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// All images.
    pub fn nodes(&self) -> &BTreeMap<ImageName, Node> {
        &self.nodes
    }

    /// Adds an image.
    pub fn insert(&mut self, name: ImageName, node: Node) {
        self.remove(name);
        if let Some(parent) = node.parent {
            self.children.insert((parent, name));
        }
        if node.hidden {
            self.hidden.insert(name);
        }
        self.nodes.insert(name, node);
    }

    /// Removes an image.
    pub fn remove(&mut self, name: ImageName) {
        self.hidden.remove(&name);
        if let Some(parent) = self.nodes.remove(&name).and_then(|node| node.parent) {
            self.children.remove(&(parent, name));
        }
    }

    /// A child of the image, if it has one.
    pub fn child_of(&self, name: ImageName) -> Option<ImageName> {
        let first = (name, ImageName::vhd(Uuid::nil()));
        let (parent, child) = self.children.range(first..).next()?;
        (*parent == name).then_some(*child)
    }

    /// All children of the image.
    pub fn children_of(&self, name: ImageName) -> impl Iterator<Item = ImageName> {
        let first = (name, ImageName::vhd(Uuid::nil()));
        let children = self.children.range(first..);
        children
            .take_while(move |(parent, _)| *parent == name)
            .map(|(_, child)| *child)
    }

    /// Walks up from an image, itself first; at most [`MAX_CHAIN`] images, so that a cycle ends.
    pub fn ancestry(&self, name: ImageName) -> impl Iterator<Item = ImageName> {
        let parent = |name: &ImageName| self.nodes.get(name)?.parent;
        std::iter::successors(Some(name), parent).take(MAX_CHAIN)
    }

    /// Number of images from this one to its root.
    pub fn depth(&self, name: ImageName) -> usize {
        self.ancestry(name).count()
    }

    /// The image at the bottom of the chain of this one; the image itself when it is not known.
    pub fn root_of(&self, name: ImageName) -> ImageName {
        self.ancestry(name).last().unwrap_or(name)
    }

    /// Walks up from an image.
    pub fn check_chain(&self, name: ImageName) -> Result<(), BrokenChain> {
        let mut current = name;
        for _ in 0..MAX_CHAIN {
            match self.nodes.get(&current) {
                None => return Err(BrokenChain::Missing(current)),
                Some(Node { parent: None, .. }) => return Ok(()),
                Some(Node {
                    parent: Some(parent),
                    ..
                }) => current = *parent,
            }
        }
        Err(BrokenChain::TooLong)
    }

    /// The hidden images that no image needs any more.
    ///
    /// None while some image could not be read, since that may be a child.
    pub fn prunable(&self) -> Vec<ImageName> {
        if self.incomplete {
            return Vec::new();
        }
        let hidden = self.hidden.iter().copied();
        hidden
            .filter(|name| self.child_of(*name).is_none())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(n: u128) -> ImageName {
        ImageName::vhd(Uuid::from_u128(n))
    }

    fn tree(edges: &[(u128, Option<u128>, bool)]) -> ImageTree {
        let node = |parent: Option<u128>, hidden| Node {
            parent: parent.map(image),
            hidden,
        };
        ImageTree::new(
            edges
                .iter()
                .map(|&(n, parent, hidden)| (image(n), node(parent, hidden)))
                .collect(),
            false,
        )
    }

    #[test]
    fn prunes_hidden_leaves_upward() {
        let mut tree = tree(&[
            (1, None, true),
            (2, Some(1), true),
            (3, Some(2), false),
            (4, None, false),
        ]);
        assert!(tree.prunable().is_empty());
        tree.remove(image(3));
        assert_eq!(tree.prunable(), [image(2)]);
        tree.remove(image(2));
        assert_eq!(tree.prunable(), [image(1)]);
        tree.incomplete = true;
        assert!(
            tree.prunable().is_empty(),
            "an unreadable image may be a child"
        );
    }

    #[test]
    fn children_follow_every_change() {
        let mut tree = tree(&[(1, None, true), (2, Some(1), false), (3, Some(1), false)]);
        let raw = ImageName::raw(Uuid::from_u128(2));
        let child = |parent, hidden| Node {
            parent: Some(image(parent)),
            hidden,
        };
        tree.insert(raw, child(2, false));
        assert_eq!(tree.child_of(image(1)), Some(image(2)));
        assert_eq!(tree.child_of(image(2)), Some(raw));
        assert_eq!(tree.child_of(raw), None);
        let children: Vec<_> = tree.children_of(image(1)).collect();
        assert_eq!(children, [image(2), image(3)]);
        assert_eq!((tree.depth(raw), tree.root_of(raw)), (3, image(1)));
        tree.remove(image(2));
        assert_eq!(tree.child_of(image(1)), Some(image(3)));
        tree.insert(image(3), child(5, true));
        assert_eq!(tree.child_of(image(1)), None, "it has another parent now");
        assert_eq!(tree.child_of(image(5)), Some(image(3)));
        assert_eq!(tree.prunable(), [image(1), image(3)]);
        let emptied = [image(1), image(3), raw];
        emptied.into_iter().for_each(|name| tree.remove(name));
        assert!(tree.nodes.is_empty() && tree.children.is_empty() && tree.hidden.is_empty());
    }

    #[test]
    fn broken_chains() {
        let tree = tree(&[
            (1, Some(9), true),
            (2, Some(1), false),
            (3, Some(4), false),
            (4, Some(3), false),
            (5, None, false),
        ]);
        assert_eq!(tree.check_chain(image(5)), Ok(()));
        assert_eq!(
            tree.check_chain(image(2)),
            Err(BrokenChain::Missing(image(9)))
        );
        assert_eq!(tree.check_chain(image(3)), Err(BrokenChain::TooLong));
        assert_eq!(tree.depth(image(3)), MAX_CHAIN);
        assert_eq!(tree.root_of(image(7)), image(7), "an unknown image");
    }
}
