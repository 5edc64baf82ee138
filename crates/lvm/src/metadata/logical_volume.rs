//! A logical volume and its segments.

use crate::Id;
use crate::text::Entry;

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalVolume {
    /// The name.
    pub name: String,
    /// The identity.
    pub id: Id,
    /// `READ`, `WRITE`, `VISIBLE` ...
    pub status: Vec<String>,
    /// States that a program may ignore.
    pub flags: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// When and where it was made; a commit fills it in for a new one.
    pub creation: Option<Creation>,
    /// The segments, which follow each other from extent 0.
    pub segments: Vec<Segment>,
    /// What else the text has of it.
    pub others: Vec<Entry>,
}

/// When and where a volume was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Seconds since 1970.
    pub time: u64,
    /// The name of the machine.
    pub host: String,
}

/// A run of a logical volume's extents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first extent of the logical volume.
    pub start: u64,
    /// Extents.
    pub extents: u64,
    /// Where they lie.
    pub kind: SegmentKind,
    /// Tags, and what a kind that is not known has.
    pub others: Vec<Entry>,
}

/// Where the extents of a segment lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// On one physical volume, or in turn on several.
    Striped {
        /// Sectors that lie on one stripe before the next comes; 0 when there is one stripe.
        stripe_size: u64,
        /// The stripes, at least one.
        stripes: Vec<Stripe>,
    },
    /// As a kind says whose rules are not known here: a mirror, a thin volume, a snapshot ...
    Other {
        /// The kind's name.
        name: String,
    },
}

/// Where a stripe begins. It has as many extents as the segment, divided by the number of stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// Index in [`super::VolumeGroup::physical_volumes`].
    pub physical_volume: usize,
    /// Its first extent there.
    pub extent: u64,
}

impl LogicalVolume {
    /// Extents.
    pub fn extents(&self) -> u64 {
        let last = self.segments.last();
        last.map_or(0, |segment| segment.start.saturating_add(segment.extents))
    }

    /// Whether it may be written to.
    pub fn is_writable(&self) -> bool {
        self.status.iter().any(|state| state == "WRITE")
    }

    /// Whether it has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|one| one == tag)
    }
}

impl Segment {
    /// Extents on one physical volume.
    pub fn linear(start: u64, extents: u64, stripe: Stripe) -> Self {
        Segment {
            start,
            extents,
            kind: SegmentKind::Striped {
                stripe_size: 0,
                stripes: vec![stripe],
            },
            others: Vec::new(),
        }
    }

    /// The stripes; none when the kind is not known.
    pub fn stripes(&self) -> &[Stripe] {
        match &self.kind {
            SegmentKind::Striped { stripes, .. } => stripes,
            SegmentKind::Other { .. } => &[],
        }
    }

    /// Extents on each stripe.
    pub fn stripe_extents(&self) -> u64 {
        self.extents / self.stripes().len().max(1) as u64
    }

    /// The stripe of a segment that has only one.
    pub fn single(&self) -> Option<Stripe> {
        match self.stripes() {
            [stripe] => Some(*stripe),
            _ => None,
        }
    }
}
