//! An attachment: a consumer's claim on a volume, and how it reaches the bytes.

use super::id::{AttachmentId, VolumeId};
use super::volume::VolumeStatus;

/// An attachment's state, in OpenStack's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachmentStatus {
    /// The volume is claimed; no connector yet.
    Reserved,
    /// A connector was given and an operation connects it.
    Attaching,
    /// Connected; the consumer said that it uses it, or needs not say so.
    Attached,
    /// An operation disconnects it.
    Detaching,
    /// Connecting failed; the reason is kept.
    ErrorAttaching,
    /// Disconnecting failed; the reason is kept.
    ErrorDetaching,
}

impl AttachmentStatus {
    /// Every state.
    pub const ALL: [AttachmentStatus; 6] = [
        AttachmentStatus::Reserved,
        AttachmentStatus::Attaching,
        AttachmentStatus::Attached,
        AttachmentStatus::Detaching,
        AttachmentStatus::ErrorAttaching,
        AttachmentStatus::ErrorDetaching,
    ];

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            AttachmentStatus::Reserved => "reserved",
            AttachmentStatus::Attaching => "attaching",
            AttachmentStatus::Attached => "attached",
            AttachmentStatus::Detaching => "detaching",
            AttachmentStatus::ErrorAttaching => "error_attaching",
            AttachmentStatus::ErrorDetaching => "error_detaching",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        AttachmentStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// The state of a volume that has these attachments and is otherwise well.
pub fn volume_status(attachments: impl IntoIterator<Item = AttachmentStatus>) -> VolumeStatus {
    // Most telling first: bytes in use, then work in progress, then claims.
    let rank = |status| match status {
        AttachmentStatus::Attached | AttachmentStatus::ErrorDetaching => (4, VolumeStatus::InUse),
        AttachmentStatus::Detaching => (3, VolumeStatus::Detaching),
        AttachmentStatus::Attaching => (2, VolumeStatus::Attaching),
        AttachmentStatus::Reserved | AttachmentStatus::ErrorAttaching => {
            (1, VolumeStatus::Reserved)
        }
    };
    attachments
        .into_iter()
        .map(rank)
        .max_by_key(|(rank, _)| *rank)
        .map_or(VolumeStatus::Available, |(_, status)| status)
}

/// Whether the consumer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachMode {
    /// Reads and writes.
    ReadWrite,
    /// Reads only.
    ReadOnly,
}

/// An attachment of a volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The volume.
    pub volume_id: VolumeId,
    /// The project that owns the volume.
    pub project_id: String,
    /// The instance (server) that uses it, as the caller named it.
    pub instance_id: Option<String>,
    /// The consumer's host name, from the connector.
    pub host_name: Option<String>,
    /// The device name in the consumer, when told.
    pub mountpoint: Option<String>,
    /// Its state.
    pub status: AttachmentStatus,
    /// Whether the consumer writes.
    pub mode: AttachMode,
    /// What the consumer said of itself; an empty object when it has not.
    pub connector: serde_json::Value,
    /// What the consumer was told (`driver_volume_type` and `data`), flat in the way of the attachments API; an empty
    /// object until connected. Never holds a secret.
    pub connection_info: serde_json::Value,
    /// Why it failed; empty when it did not.
    pub failure: String,
    /// When it was attached; microseconds since 1970.
    pub attached_at_us: Option<i64>,
    /// When it was detached; microseconds since 1970.
    pub detached_at_us: Option<i64>,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Whether the volume goes when its instance goes for good.
    pub delete_on_termination: bool,
}

impl Attachment {
    /// True when its consumer was told how the bytes are reached.
    pub fn is_connected(&self) -> bool {
        self.connection_info
            .as_object()
            .is_some_and(|info| !info.is_empty())
    }
}
