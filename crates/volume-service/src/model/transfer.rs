//! A volume that one project offers to another.

use uuid::Uuid;

use super::id::VolumeId;

/// An offer: whoever knows its key may take the volume into their project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its id.
    pub id: Uuid,
    /// The volume.
    pub volume_id: VolumeId,
    /// A name for people; may be empty.
    pub name: String,
    /// True when the volume's snapshots stay in the project that they are in.
    pub without_snapshots: bool,
    /// The project that offers it.
    pub source_project_id: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}
