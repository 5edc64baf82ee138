//! The filters of a list of volumes that few requests have: times, who made them, where they are, what they were made from.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::model::id::{BackendId, SnapshotId, VolumeId};

/// Bounds of times that one list may have.
pub const TIME_BOUNDS_MAX: usize = 16;

/// Filters beside those of [`super::volumes::VolumeQuery`]; what is absent filters nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Part of its name.
    pub name_part: Option<String>,
    /// All of these bounds.
    pub times: Vec<TimeBound>,
    /// Who asked for it.
    pub user_id: Option<String>,
    /// Where it is.
    pub place: Option<Place>,
    /// The snapshot that it was made from.
    pub source_snapshot_id: Option<SnapshotId>,
    /// The volume that it was cloned from.
    pub source_volume_id: Option<VolumeId>,
    /// All of these keys of its image with these values.
    pub image_metadata: BTreeMap<String, String>,
    /// Its group.
    pub group_id: Option<Uuid>,
    /// What an operator says of its migration.
    pub migration_status: Option<String>,
}

/// A zone, or one backend in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The zone.
    pub zone: String,
    /// The backend; none for all of the zone.
    pub backend_id: Option<BackendId>,
}

/// A bound of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBound {
    /// Which time.
    pub moment: Moment,
    /// How it lies to the bound.
    pub comparison: Comparison,
    /// The bound; microseconds since 1970.
    pub at_us: i64,
}

/// A time of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When it was asked for.
    Created,
    /// When it was last changed; a volume that never was has no such time and meets no bound.
    Updated,
}

/// How a time lies to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `gt`
    After,
    /// `gte`
    NotBefore,
    /// `eq`
    At,
    /// `neq`
    NotAt,
    /// `lt`
    Before,
    /// `lte`
    NotAfter,
}

impl Comparison {
    /// Parses OpenStack's word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "gt" => Comparison::After,
            "gte" => Comparison::NotBefore,
            "eq" => Comparison::At,
            "neq" => Comparison::NotAt,
            "lt" => Comparison::Before,
            "lte" => Comparison::NotAfter,
            _ => return None,
        })
    }
}
