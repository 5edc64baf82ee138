//! What a collector tells of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;
use vhd::merge::Progress;

use super::plan::{Reason, Work};
use super::store::PauseCounts;

/// What a collector is doing, for people and metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// True while everything is paused.
    pub paused: bool,
    /// The VDIs whose steps are paused.
    pub paused_vdis: BTreeSet<Uuid>,
    /// Images that are to go, and their bytes.
    pub backlog: BTreeMap<Uuid, u64>,
    /// Images that stay, and why.
    pub left: BTreeMap<Uuid, Reason>,
    /// Steps under way.
    pub running: Vec<RunningStep>,
    /// What keeps images from being looked at, or the last failure of a step that was not followed by a success.
    pub last_error: Option<String>,
    /// True while a step waits for room on the medium.
    pub no_space: bool,
    /// What was done since the SR was attached.
    pub totals: Totals,
    /// How long consumers were held off.
    pub pauses: PauseCounts,
}

/// A step under way.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningStep {
    /// The step.
    pub work: Work,
    /// How far it has come.
    pub progress: Progress,
    /// For how long it has been running.
    pub elapsed: Duration,
}

/// What was done since the SR was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Steps that came to their end.
    pub done: u64,
    /// Steps that failed.
    pub failed: u64,
    /// Steps that were cancelled.
    pub cancelled: u64,
    /// Bytes written to parents.
    pub copied_bytes: u64,
}
