//! Which blocks two VDIs may have different.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;
use vhd::image::{self, FoundImage};
use vhd::size::BLOCK_SIZE;

use super::names::ImageName;
use super::tree::{ImageTree, MAX_CHAIN, Node};
use super::vhd_directory::VhdDirectory;
use super::{Error, Result};
use crate::medium::files::{Access, MediumFile};

impl VhdDirectory {
    /// The blocks that some image has of which only one of both VDIs is made: every other block is the same in both. One bit
    /// per block of 2 MiB, the most significant of each byte first.
    ///
    /// The files are opened before any table is read, so that an image which is merged into its parent and removed meanwhile
    /// is still read. Neither VDI may be written by a consumer.
    ///
    /// # Errors
    /// `Missing`; `Image` with `Unsupported` for raw images above what both share, and for blocks of another size.
    pub fn differing_blocks(&self, from: Uuid, to: Uuid) -> Result<Vec<u8>> {
        // While they are opened none gets another name.
        let change = self.change(&[ImageName::vhd(from), ImageName::vhd(to)])?;
        let unshared = self.with_tree(|tree| {
            let chain = |uuid| {
                let vhd = ImageName::vhd(uuid);
                let known = tree.nodes().contains_key(&vhd);
                chain_of(tree, if known { vhd } else { ImageName::raw(uuid) })
            };
            unshared(&chain(from), &chain(to))
        })?;
        let mut files = Vec::new();
        for name in unshared {
            let file_name = name.file_name();
            let path = self.files().path().join(&file_name);
            let opened = self.files().open_file(&file_name, Access::Read);
            let file = opened.map_err(|source| Error::Io {
                action: "open",
                path: path.clone(),
                source,
            })?;
            files.push((path, file));
        }
        drop(change);
        let mut map = Vec::new();
        for (path, file) in files {
            let blocks = blocks_of(file).map_err(|source| Error::Image {
                action: "read the block allocation table of",
                path,
                source,
            })?;
            map.resize(map.len().max(blocks.len()), 0);
            map.iter_mut()
                .zip(&blocks)
                .for_each(|(bits, more)| *bits |= more);
        }
        Ok(map)
    }
}

fn blocks_of(file: Arc<dyn MediumFile>) -> vhd::Result<Vec<u8>> {
    let found = FoundImage::read(file.clone())?;
    if let Some(header) = found.header()
        && u64::from(header.block_size) != BLOCK_SIZE
    {
        return Err(vhd::Error::Unsupported {
            what: "comparing blocks of another size",
            found: header.block_size.into(),
        });
    }
    image::allocated_blocks(&*file)
}

/// An image and its ancestors.
fn chain_of(tree: &ImageTree, leaf: ImageName) -> Vec<ImageName> {
    let nodes: &BTreeMap<ImageName, Node> = tree.nodes();
    let mut chain = vec![leaf];
    while let Some(parent) = chain
        .last()
        .and_then(|name| nodes.get(name))
        .and_then(|node| node.parent)
        && chain.len() < MAX_CHAIN
    {
        chain.push(parent);
    }
    chain
}

/// The images that are in one of two chains only.
fn unshared(first: &[ImageName], second: &[ImageName]) -> Vec<ImageName> {
    let only = |one: &[ImageName], other: &[ImageName]| -> Vec<ImageName> {
        let is_only = |name: &&ImageName| !other.contains(name);
        one.iter().filter(is_only).copied().collect()
    };
    let mut names = only(first, second);
    names.extend(only(second, first));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_and_its_leaf_differ_in_themselves_only() {
        let name = |number| ImageName::vhd(Uuid::from_u128(number));
        let node = |parent: Option<u128>| Node {
            parent: parent.map(name),
            hidden: false,
        };
        // 1 <- 2 (a base copy) <- 3 (the snapshot), 4 (the leaf).
        let nodes = [
            (name(1), node(None)),
            (name(2), node(Some(1))),
            (name(3), node(Some(2))),
            (name(4), node(Some(2))),
        ];
        let tree = ImageTree::new(nodes.into(), false);
        let (snapshot, leaf) = (chain_of(&tree, name(3)), chain_of(&tree, name(4)));
        assert_eq!(snapshot, [name(3), name(2), name(1)]);
        assert_eq!(unshared(&snapshot, &leaf), [name(3), name(4)]);
        assert_eq!(unshared(&leaf, &leaf), []);
        let stranger = chain_of(&tree, name(9));
        assert_eq!(unshared(&stranger, &snapshot).len(), 4);
    }
}
