//! A modification of a volume: larger, of another type, with another performance.

use serde::{Deserialize, Serialize};

use super::id::{FlavorId, VolumeId};

/// Where a modification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModificationState {
    /// Under way.
    Modifying,
    /// The volume is what it was asked to become.
    Completed,
    /// The volume is what it was.
    Failed,
}

impl ModificationState {
    /// The word that EC2 uses, which is also what the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            ModificationState::Modifying => "modifying",
            ModificationState::Completed => "completed",
            ModificationState::Failed => "failed",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        [
            ModificationState::Modifying,
            ModificationState::Completed,
            ModificationState::Failed,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }
}

/// What of a volume can be modified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modifiable {
    /// Its size.
    pub size_gib: u64,
    /// Its flavor.
    pub flavor_id: FlavorId,
    /// The flavor's label at that time.
    pub flavor_label: String,
    /// Operations a second, as they are shown.
    pub iops: Option<u64>,
    /// MiB a second, as they are shown.
    pub throughput: Option<u64>,
    /// Operations a second that were asked for.
    pub asked_iops: Option<u64>,
    /// MiB a second that were asked for.
    pub asked_throughput: Option<u64>,
    /// True when several instances may use it at once.
    pub multiattach: bool,
}

/// The latest modification of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modification {
    /// The volume.
    pub volume_id: VolumeId,
    /// Where it stands.
    pub state: ModificationState,
    /// Why it failed, in words for tenants; empty when it did not.
    pub failure: String,
    /// What the volume was.
    pub original: Modifiable,
    /// What it was asked to become.
    pub target: Modifiable,
    /// Microseconds since 1970.
    pub started_at_us: i64,
    /// Microseconds since 1970; none while it is under way.
    pub ended_at_us: Option<i64>,
}
