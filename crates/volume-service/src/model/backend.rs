//! A backend: one SR and how to connect to it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::id::{BackendId, FlavorId};
use crate::config::Secret;

/// What is known of a backend's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendState {
    /// Added, not connected yet.
    New,
    /// Its SR is plugged.
    Connected,
    /// The last try to connect failed; the reason is kept and it is tried again.
    Unreachable,
}

impl BackendState {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            BackendState::New => "new",
            BackendState::Connected => "connected",
            BackendState::Unreachable => "unreachable",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        [
            BackendState::New,
            BackendState::Connected,
            BackendState::Unreachable,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }
}

/// Whether the scheduler may use a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendUse {
    /// New volumes may be placed on it.
    Enabled,
    /// It keeps its volumes and takes no new ones.
    Disabled,
}

/// A backend of a flavor in a zone.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its number.
    pub id: BackendId,
    /// The flavor it serves.
    pub flavor_id: FlavorId,
    /// The flavor's label.
    pub flavor_label: String,
    /// The zone whose pool has the SR.
    pub zone: String,
    /// Place in the flavor's order; lower is tried first.
    pub position: i64,
    /// The SR type: `nfs`.
    pub sr_type: String,
    /// The SR, once created or given by `sr_uuid=`.
    pub sr_uuid: Option<Uuid>,
    /// `SR.name_label`; `SR-<id>` when none was given.
    pub name_label: String,
    /// `SR.name_description`.
    pub name_description: String,
    /// The PBD's `device_config` without its secrets.
    pub config: BTreeMap<String, String>,
    /// The secret keys of `device_config` (`password`, `chappassword`, ...), decrypted; none of them
    /// where they were not asked for.
    pub secrets: BTreeMap<String, Secret>,
    /// Whether the scheduler may use it.
    pub usage: BackendUse,
    /// What is known of its connection.
    pub state: BackendState,
    /// Why it is not connected, or what last failed on it.
    pub failure: String,
    /// Size of the medium in bytes; absent until first reported.
    pub physical_size: Option<u64>,
    /// Bytes in use on the medium.
    pub physical_utilisation: Option<u64>,
    /// Sum of the sizes of the SR's VDIs in bytes.
    pub virtual_allocation: Option<u64>,
    /// When state and space were last observed; microseconds since 1970.
    pub observed_at_us: Option<i64>,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// What its operator says of it, for extra specs to find.
    pub capabilities: BTreeMap<String, String>,
}
