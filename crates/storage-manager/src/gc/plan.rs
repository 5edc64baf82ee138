//! Which images to merge, in which order, and why others are left: pure, from the tree of images as it is now.
//!
//! Source of the rules: XenServer's garbage collector (reference 5.9.3); [`Reason`] has one variant for each, and those
//! that we add say so. The plan is made anew after each step, so it never has to look further than one.
//!
//! ```text
//! prune    hidden, no child                                         -> delete
//! inner    hidden, has children, is the only child of its parent    -> merge into the parent, relink the children
//! leaf     visible, no child, the only child of a hidden parent     -> merge into the parent, which takes its name
//! ```

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vhd::size::BLOCK_SIZE;
use vhd::volume::{bitmap_overhead, empty_overhead, full_size};

/// An image as the plan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The VDI.
    pub uuid: Uuid,
    /// The image that it is based on.
    pub parent: Option<Uuid>,
    /// True when only its children need it.
    pub hidden: bool,
    /// True for bytes without a format, which can be a parent but no child.
    pub raw: bool,
    /// Virtual size in bytes.
    pub virtual_size: u64,
    /// Bytes on the medium.
    pub physical_size: u64,
    /// Who has it open as a disk.
    pub consumers: Consumers,
    /// Its changed blocks are tracked, which those of a raw image cannot be.
    pub tracked: bool,
    /// What its owner says about merging it as a leaf.
    pub leaf: LeafPolicy,
}

/// Who has an image open as a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consumers {
    /// Nobody.
    #[default]
    None,
    /// One that writes.
    Writer,
    /// Some that read.
    Readers,
}

/// Whether an image may be merged as a leaf, as far as its record goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeafPolicy {
    /// It may.
    #[default]
    Allowed,
    /// `VDI.on_boot` is `reset`: the leaf is thrown away at the next start.
    OnBootReset,
    /// `VDI.allow_caching`: a cache elsewhere depends on the chain.
    AllowCaching,
    /// `leaf-coalesce` is `false` in the other_config of the VDI or of the SR.
    TurnedOff,
}

/// What an SR allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrPolicy {
    /// `SR.other_config:gc` is not `false`.
    pub collect: bool,
    /// `SR.other_config:coalesce` is not `false`: images are merged, and not only pruned.
    pub coalesce: bool,
}

impl Default for SrPolicy {
    fn default() -> Self {
        Self {
            collect: true,
            coalesce: true,
        }
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Delete a hidden image without children.
    Prune {
        /// The image.
        vdi: Uuid,
    },
    /// Merge a hidden image into its parent and give its children that parent.
    Inner {
        /// The image, which goes.
        vdi: Uuid,
        /// What it is merged into.
        parent: Uuid,
    },
    /// Merge a visible image into its hidden parent, which takes its name.
    Leaf {
        /// The VDI, whose uuid stays.
        vdi: Uuid,
        /// The image that takes its name.
        parent: Uuid,
    },
}

impl Work {
    /// The image that goes, or whose content moves.
    pub fn vdi(&self) -> Uuid {
        match self {
            Work::Prune { vdi } | Work::Inner { vdi, .. } | Work::Leaf { vdi, .. } => *vdi,
        }
    }
}

/// Why an image that has the place in the tree for it is not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// See [`LeafPolicy::OnBootReset`].
    #[error("its on_boot is reset")]
    OnBootReset,
    /// See [`LeafPolicy::AllowCaching`].
    #[error("allow_caching is set for it")]
    AllowCaching,
    /// See [`LeafPolicy::TurnedOff`].
    #[error("other_config:leaf-coalesce is false")]
    LeafTurnedOff,
    /// See [`SrPolicy`].
    #[error("other_config:coalesce of the SR is false")]
    CoalesceTurnedOff,
    /// See [`SrPolicy`].
    #[error("other_config:gc of the SR is false")]
    CollectTurnedOff,
    /// Readers would go on with an image that is gone. Ours: XenServer pauses them.
    #[error("it is open for reading; it is merged when its readers have gone")]
    Readers,
    /// A consumer would go on with another kind of image. Ours: XenServer pauses him.
    #[error("its parent is a raw image; it is merged when nobody has it open")]
    RawParent,
    /// Ours: the VDI would become raw and lose its log.
    #[error(
        "its parent is a raw image, and its changed blocks are tracked, which those of a raw image cannot be"
    )]
    Tracked,
    /// The parent's end would no longer hide what lies below it. Ours: XenServer never makes such a chain.
    #[error("its parent, or an image below, is larger than what hides it")]
    Sizes,
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one step for each tree, the tree that is to come first in front.
    pub work: Vec<Work>,
    /// Every image that is to go, now or later, and the bytes that it has: the backlog.
    pub backlog: BTreeMap<Uuid, u64>,
    /// Images that stay, and why.
    pub left: BTreeMap<Uuid, Reason>,
}

/// The tree with what the rules ask of it.
struct Tree<'a> {
    images: BTreeMap<Uuid, &'a Image>,
    children: BTreeMap<Uuid, Vec<Uuid>>,
}

impl<'a> Tree<'a> {
    fn new(images: &'a [Image]) -> Self {
        let mut children: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
        for image in images {
            if let Some(parent) = image.parent {
                children.entry(parent).or_default().push(image.uuid);
            }
        }
        let images = images.iter().map(|image| (image.uuid, image)).collect();
        Self { images, children }
    }

    fn children(&self, uuid: Uuid) -> &[Uuid] {
        self.children.get(&uuid).map_or(&[], Vec::as_slice)
    }

    fn parent(&self, image: &Image) -> Option<&'a Image> {
        self.images.get(&image.parent?).copied()
    }

    /// The images below one, nearest first; ends where one is missing, and where they lead back.
    fn ancestors(&self, image: &Image) -> Vec<&'a Image> {
        let mut found: Vec<&Image> = Vec::new();
        let mut next = self.parent(image);
        while let Some(ancestor) = next
            && found.len() <= self.images.len()
        {
            found.push(ancestor);
            next = self.parent(ancestor);
        }
        found
    }

    fn root(&self, image: &Image) -> Uuid {
        self.ancestors(image)
            .last()
            .map_or(image.uuid, |root| root.uuid)
    }

    /// Images below and at the deepest leaf of each tree.
    fn heights(&self) -> BTreeMap<Uuid, usize> {
        let mut heights: BTreeMap<Uuid, usize> = BTreeMap::new();
        for image in self.images.values() {
            let height = heights.entry(self.root(image)).or_default();
            *height = (*height).max(self.ancestors(image).len() + 1);
        }
        heights
    }
}

/// Makes the plan for the images of an SR.
///
/// Trees are served tallest first. Within a tree an image that lies deeper comes first: what is merged twice is copied
/// twice, and from the root upward nothing is. `busy` names images that somebody works on: their trees are left alone.
pub fn plan(images: &[Image], policy: SrPolicy, busy: &BTreeSet<Uuid>) -> Plan {
    let tree = Tree::new(images);
    let mut plan = Plan::default();
    // By tree: the depth at which the image lies, and the step.
    let mut candidates: BTreeMap<Uuid, (usize, Work)> = BTreeMap::new();
    for image in images {
        let Some(work) = work_of(&tree, image) else {
            continue;
        };
        if let Err(reason) = allowed(&tree, image, &work, policy) {
            plan.left.insert(image.uuid, reason);
            continue;
        }
        plan.backlog.insert(image.uuid, image.physical_size);
        let depth = match work {
            // Deleting makes room and comes first.
            Work::Prune { .. } => 0,
            Work::Inner { .. } => 1 + tree.ancestors(image).len(),
            // Last: every inner image that is merged before makes it no larger.
            Work::Leaf { .. } => images.len() + 2,
        };
        let best = candidates
            .entry(tree.root(image))
            .or_insert((usize::MAX, work));
        if (depth, work) < *best {
            *best = (depth, work);
        }
    }
    let heights = tree.heights();
    let busy_trees: BTreeSet<Uuid> = busy
        .iter()
        .filter_map(|uuid| tree.images.get(uuid))
        .map(|image| tree.root(image))
        .collect();
    let mut chosen: Vec<(usize, Uuid, Work)> = candidates
        .into_iter()
        .filter(|(root, _)| !busy_trees.contains(root))
        .map(|(root, (_, work))| (heights[&root], root, work))
        .collect();
    chosen.sort_by_key(|(height, root, _)| (std::cmp::Reverse(*height), *root));
    plan.work = chosen.into_iter().map(|(_, _, work)| work).collect();
    plan
}

/// The step that an image's place in the tree asks for.
fn work_of(tree: &Tree<'_>, image: &Image) -> Option<Work> {
    let vdi = image.uuid;
    let children = tree.children(vdi);
    if image.hidden && children.is_empty() {
        return Some(Work::Prune { vdi });
    }
    let parent = tree.parent(image)?;
    if tree.children(parent.uuid) != [vdi] {
        return None;
    }
    let parent_uuid = parent.uuid;
    match (image.hidden, children.is_empty()) {
        // The parent may be visible: a VDI that others are based on is only read.
        (true, false) if parent.hidden => Some(Work::Inner {
            vdi,
            parent: parent_uuid,
        }),
        (false, true) if parent.hidden => Some(Work::Leaf {
            vdi,
            parent: parent_uuid,
        }),
        _ => None,
    }
}

fn allowed(tree: &Tree<'_>, image: &Image, work: &Work, policy: SrPolicy) -> Result<(), Reason> {
    if !policy.collect {
        return Err(Reason::CollectTurnedOff);
    }
    if matches!(work, Work::Prune { .. }) {
        return Ok(());
    }
    if !policy.coalesce {
        return Err(Reason::CoalesceTurnedOff);
    }
    let ancestors = tree.ancestors(image);
    let parent_size = ancestors.first().map_or(0, |parent| parent.virtual_size);
    // The child's end hid the rest of the parent, and the parent's end the rest of what is below.
    let grows = parent_size < image.virtual_size;
    let mut below = ancestors.iter().skip(1);
    let reveals = grows && below.any(|image| image.virtual_size > parent_size);
    if parent_size > image.virtual_size || reveals {
        return Err(Reason::Sizes);
    }
    if !matches!(work, Work::Leaf { .. }) {
        return Ok(());
    }
    match image.leaf {
        LeafPolicy::Allowed => {}
        LeafPolicy::OnBootReset => return Err(Reason::OnBootReset),
        LeafPolicy::AllowCaching => return Err(Reason::AllowCaching),
        LeafPolicy::TurnedOff => return Err(Reason::LeafTurnedOff),
    }
    if image.consumers == Consumers::Readers {
        return Err(Reason::Readers);
    }
    let has_raw_parent = ancestors.first().is_some_and(|parent| parent.raw);
    match has_raw_parent {
        true if image.tracked => Err(Reason::Tracked),
        true if image.consumers != Consumers::None => Err(Reason::RawParent),
        _ => Ok(()),
    }
}

/// Free bytes that merging needs in a file SR: what the union of both images' blocks takes, less what the parent has.
///
/// Source: reference 5.9.3, "Space needed": data, bitmaps, the tables of an empty image of that size.
pub fn space_needed(union_blocks: u64, virtual_size: u64, parent_physical_size: u64) -> u64 {
    let data = union_blocks * BLOCK_SIZE;
    let needed = data + bitmap_overhead(data) + empty_overhead(virtual_size);
    needed.saturating_sub(parent_physical_size)
}

/// The same where images lie on volumes: an inner parent is made as large as the union of both images' blocks needs, a leaf's as
/// large as it can become; a raw parent has all its room.
///
/// Source: reference 5.9.3, "Space needed", for LVHD.
pub fn volume_space_needed(
    union_blocks: u64,
    leaf_size: Option<u64>,
    parent_is_raw: bool,
    parent_length: u64,
) -> u64 {
    if parent_is_raw {
        return 0;
    }
    let size = leaf_size.unwrap_or(union_blocks * BLOCK_SIZE);
    full_size(size).saturating_sub(parent_length)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
