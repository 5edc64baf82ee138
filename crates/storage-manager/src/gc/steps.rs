//! What a collector knows of its steps: which run, which wait after a failure, how they ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vhd::merge::Control;

use super::plan::{Plan, Work};
use super::status::Totals;
use super::store::{Outcome, StepError};
use crate::error::chain_text;

/// Trees of one SR that are worked on at the same time.
pub const TREES_AT_ONCE: usize = 2;

/// Tries of a step that fails, before somebody has to ask for it or attach the SR anew.
pub const MAX_TRIES: u32 = 10;

/// Wait after the first failure of a step; doubled after each, up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// Longest wait between two tries, and between two looks for room on the medium.
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(600);

/// Wait after a step was cancelled by a call on its image.
const AFTER_CANCEL: Duration = Duration::from_secs(5);

/// Time between two looks at an SR in which nothing happens, for what nobody tells: a reader has gone, room was made.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// Time between two reports of progress.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// The steps of a collector.
#[derive(Default)]
pub(super) struct State {
    pub stop: bool,
    pub paused: bool,
    pub paused_vdis: BTreeSet<Uuid>,
    pub running: BTreeMap<Uuid, Running>,
    pub waiting: BTreeMap<Uuid, Waiting>,
    pub plan: Plan,
    pub last_error: Option<String>,
    pub totals: Totals,
}

/// A step that runs.
pub(super) struct Running {
    pub work: Work,
    pub control: Arc<Control>,
    pub task: String,
    pub since: Instant,
}

/// A step that is not to be tried before a time.
pub(super) struct Waiting {
    pub until: Instant,
    pub tries: u32,
    pub no_space: bool,
}

impl State {
    /// The running steps of a VDI, or all.
    pub fn running_of(&self, vdi: Option<Uuid>) -> impl Iterator<Item = &Running> {
        self.running
            .iter()
            .filter(move |(of, _)| vdi.is_none_or(|vdi| vdi == **of))
            .map(|(_, running)| running)
    }

    /// True when a step that was planned may begin now.
    pub fn may_begin(&self, work: &Work, now: Instant) -> bool {
        let vdi = work.vdi();
        !self.paused
            && !self.paused_vdis.contains(&vdi)
            && self.running.len() < TREES_AT_ONCE
            && self
                .waiting
                .get(&vdi)
                .is_none_or(|waiting| waiting.until <= now && waiting.tries < MAX_TRIES)
    }

    /// Notes how a step ended.
    pub fn end(&mut self, vdi: Uuid, result: &Result<Outcome, StepError>) {
        let Some(running) = self.running.remove(&vdi) else {
            return;
        };
        self.totals.copied_bytes += running.control.progress().copied;
        let now = Instant::now();
        let tries = self.waiting.get(&vdi).map_or(0, |waiting| waiting.tries);
        let wait = |until, tries, no_space| Waiting {
            until: now + until,
            tries,
            no_space,
        };
        let waiting = match result {
            Ok(Outcome::Done) => {
                self.totals.done += 1;
                self.last_error = None;
                self.waiting.remove(&vdi);
                return;
            }
            Ok(Outcome::Cancelled) => {
                self.totals.cancelled += 1;
                wait(AFTER_CANCEL, tries, false)
            }
            Ok(Outcome::Overtaken) => wait(TICK, tries, false),
            Err(error) => {
                self.totals.failed += 1;
                self.last_error = Some(format!("{}: {}", running.work, chain_text(error)));
                if error.is_no_space() {
                    // Room is made sooner or later, so these tries are not counted.
                    wait(IDLE, 0, true)
                } else {
                    let delay = FIRST_RETRY * 2u32.saturating_pow(tries.min(16));
                    wait(delay.min(LONGEST_RETRY), tries + 1, false)
                }
            }
        };
        self.waiting.insert(vdi, waiting);
    }
}
