//! Virtual machines as a pool says they are.

use uuid::Uuid;

use crate::model::instance::{BlockDevice, PowerState};

/// Most projects that one VM is shown to; what is behind them in its mark is passed over.
pub(super) const PROJECTS_MAX: usize = 100;

/// A VM that a pool has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundInstance {
    /// Its uuid.
    pub uuid: Uuid,
    /// `name_label`.
    pub name: String,
    /// Whether it runs.
    pub power_state: PowerState,
    /// True for the control domain of a host.
    pub is_control_domain: bool,
    /// The projects that its mark names, or that see it without one; sorted.
    pub projects: Vec<String>,
    /// The name of its type.
    pub instance_type: String,
    /// How many processors it has.
    pub vcpus: u32,
    /// How much memory it has, in MiB.
    pub memory_mib: u64,
    /// When it was started, if the pool says so; microseconds since 1970.
    pub started_at_us: Option<i64>,
    /// Its block devices, by position. Each names the attachment in its marks together with the deployment that made it.
    pub devices: Vec<(BlockDevice, Option<Uuid>)>,
}
