//! Snapshots of several VDIs at one moment: calls of `VDI.snapshot` that belong together by `driver_params:xensm:barrier`.
//!
//! ```text
//! arrive   every call says for which VDI it came                       nothing is held
//! gather   the first of them begins the operations on all VDIs         consumers write on
//! ready    each VDI is flushed, so that little is left for later       consumers write on
//! hold     each VDI's gate is shut, the writes under way end           consumers' writes wait; all shut: that is the moment
//! take     each snapshot is taken, then its gate is opened             the others' writes wait
//! settle   all were taken while their gates were shut, or none stays   consumers write on
//! ```
//!
//! Each VDI may be written to as soon as its own snapshot is taken: by then every other is shut, or was taken as it was when all
//! were.
//!
//! Whoever leaves before the end (a failure, a time that has passed, a panic) breaks the barrier: all others fail with 470, the
//! images that they have made are deleted, and every gate is opened. A crash leaves what it leaves of any snapshot: images whose
//! intents are stored and which the next start deletes. See `docs/decisions/2026-11-22-snapshots-at-one-moment.md`.
//!
//! Nothing here blocks a thread of the runtime, and nothing occupies a thread of an SR while it waits for others, so that any
//! number of members may be on one SR.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::call::Call;
use super::operations::{self, Operation, Sharing};
use super::storage;
use crate::export::WriteHold;

/// Key in `driver_params`, and in `host.software_version`, where its value is [`MEMBERS`].
pub const KEY: &str = "xensm:barrier";

/// Most VDIs of one barrier.
pub const MEMBERS: usize = 128;

/// Most barriers at once.
const BARRIERS: usize = 32;

/// Longest name of a barrier.
const NAME_BYTES: usize = 200;

/// The times of a barrier.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// How long the first call waits for the last.
    arrival: Duration,
    /// How long it may then take until every operation is begun, and then until every VDI is flushed.
    preparation: Duration,
    /// How long consumers' writes are held back at most.
    hold: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            arrival: Duration::from_secs(5),
            preparation: Duration::from_secs(30),
            hold: Duration::from_secs(5),
        }
    }
}

/// The barriers under way.
#[derive(Default)]
pub struct Barriers {
    times: Times,
    by_name: Mutex<HashMap<String, Arc<Barrier>>>,
}

/// What a call says of its barrier: `<name>/<members>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    name: String,
    members: usize,
}

struct Barrier {
    members: usize,
    times: Times,
    state: watch::Sender<State>,
    /// The operations on every VDI and SR; they end with the last member.
    operations: Mutex<Vec<Operation>>,
}

/// How far it is. Counts only grow, and not beyond the break.
#[derive(Debug, Default)]
struct State {
    /// The calls that have come and not gone.
    present: usize,
    /// The VDIs for which one came, with their SRs.
    arrived: BTreeMap<String, String>,
    is_gathered: bool,
    ready: usize,
    held: usize,
    taken: usize,
    /// Why it came to nothing.
    broken: Option<String>,
}

impl Ticket {
    /// Reads the value of [`KEY`].
    ///
    /// # Errors
    /// `INVALID_VALUE [key, value, reason]`.
    pub fn parse(value: &str) -> Result<Self, Failure> {
        let wrong = |reason: &str| invalid(value, reason);
        let Some((name, members)) = value.rsplit_once('/') else {
            return Err(wrong("expected <name>/<number of VDIs>"));
        };
        let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic());
        if name.is_empty() || name.len() > NAME_BYTES || !is_plain {
            return Err(wrong("the name has 1 to 200 visible ASCII characters"));
        }
        match members.parse() {
            Ok(members @ 1..=MEMBERS) => Ok(Ticket {
                name: name.to_owned(),
                members,
            }),
            _ => Err(wrong("a barrier has 1 to 128 VDIs")),
        }
    }
}

/// `INVALID_VALUE` for the value of [`KEY`].
pub fn invalid(value: &str, reason: &str) -> Failure {
    let field = format!("driver_params:{KEY}");
    Failure::new("INVALID_VALUE", [field.as_str(), value, reason])
}

/// 470: a snapshot that was not made because not all could be made at one moment. A number that no storage manager of a real
/// pool uses.
fn not_together(reason: &str) -> Failure {
    let text = "The snapshots could not be taken at one moment";
    Failure::backend(470, text, reason, "")
}

impl Barriers {
    fn by_name(&self) -> MutexGuard<'_, HashMap<String, Arc<Barrier>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins a barrier, or begins it. From here on a call that does not come to its end breaks it.
    ///
    /// # Errors
    /// `INVALID_VALUE` when others gave another number of VDIs, which breaks it; 470 when there are too many barriers, or too many
    /// calls for this one.
    pub fn join<'a>(&'a self, ticket: &Ticket) -> Result<Member<'a>, Failure> {
        let mut by_name = self.by_name();
        if !by_name.contains_key(&ticket.name) && by_name.len() >= BARRIERS {
            let reason = format!("{BARRIERS} others are being taken, try again");
            return Err(not_together(&reason));
        }
        let begun = || {
            Arc::new(Barrier {
                members: ticket.members,
                times: self.times,
                state: watch::Sender::default(),
                operations: Mutex::default(),
            })
        };
        let barrier = by_name.entry(ticket.name.clone()).or_insert_with(begun);
        if barrier.members != ticket.members {
            barrier.break_off("the calls disagree about the number of VDIs");
            let value = format!("{}/{}", ticket.name, ticket.members);
            return Err(invalid(&value, "others gave another number"));
        }
        let mut has_come = false;
        barrier.state.send_modify(|state| {
            has_come = state.present < barrier.members;
            state.present += usize::from(has_come);
        });
        if !has_come {
            return Err(not_together("more calls came than it has VDIs"));
        }
        Ok(Member {
            barriers: self,
            name: ticket.name.clone(),
            barrier: barrier.clone(),
        })
    }
}

impl Barrier {
    /// Notes why it comes to nothing, unless it has come to its end, or to nothing, already.
    fn break_off(&self, reason: &str) {
        self.state.send_if_modified(|state| {
            let breaks = state.broken.is_none() && state.taken < self.members;
            if breaks {
                tracing::info!(reason, "snapshots at one moment come to nothing");
                state.broken = Some(reason.to_owned());
            }
            breaks
        });
    }
}

/// A call's part in a barrier. Dropped before the barrier has come to its end, it breaks it.
pub struct Member<'a> {
    barriers: &'a Barriers,
    name: String,
    barrier: Arc<Barrier>,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.barrier
            .break_off("the snapshot of another VDI was not taken");
        let mut by_name = self.barriers.by_name();
        let mut is_last = false;
        self.barrier.state.send_modify(|state| {
            state.present -= 1;
            is_last = state.present == 0;
        });
        if is_last {
            by_name.remove(&self.name);
        }
    }
}

impl Member<'_> {
    /// Waits until all have come, and has the operations begun on all their VDIs.
    ///
    /// The first by reference begins them for all, each SR's once: were they begun one by one, a scan that waits for its turn
    /// could come between two of one SR. In the order of the references, so that no two barriers wait for each other.
    ///
    /// # Errors
    /// 470; those of [`operations::begin`] for the one that begins them.
    pub async fn gather(&self, call: &Call, vdi: &str, sr: &str) -> Result<(), Failure> {
        let times = self.barrier.times;
        let members = self.barrier.members;
        let mut is_twice = false;
        self.barrier.state.send_if_modified(|state| {
            is_twice = state.arrived.insert(vdi.into(), sr.into()).is_some();
            state.arrived.len() == members
        });
        if is_twice {
            return Err(not_together("a VDI is in it twice"));
        }
        let all = |state: &State| state.arrived.len() == members;
        self.wait_or_cancel(call, times.arrival, "not all calls came in time", all)
            .await?;
        let arrived = self.barrier.state.borrow().arrived.clone();
        if arrived.keys().next().map(String::as_str) == Some(vdi) {
            let begun = tokio::time::timeout(times.preparation, begin_all(call, &arrived)).await;
            let begun = begun.map_err(|_| not_together("other operations are in the way"))??;
            *self.operations() = begun;
            self.barrier.state.send_if_modified(|state| {
                state.is_gathered = true;
                true
            });
        }
        let late = "other operations were in the way too long";
        let gathered = |state: &State| state.is_gathered;
        self.wait_or_cancel(call, times.preparation, late, gathered)
            .await
    }

    /// Flushes the VDI, and holds its consumers' writes back until the hold is let go of. On return those of all VDIs of the
    /// barrier are held back, and none is under way.
    ///
    /// # Errors
    /// 470, and `SR_UNHEALTHY` when the medium does not answer.
    pub async fn hold_back(
        &self,
        server: &Arc<Server>,
        sr: &str,
        vdi: Uuid,
    ) -> Result<WriteHold, Failure> {
        let times = self.barrier.times;
        let members = self.barrier.members;
        let flusher = server.clone();
        let flushed = storage::on_threads(server, sr, move || Ok(flusher.exports.flush(vdi)));
        flushed
            .await?
            .map_err(|error| not_together(&format!("VDI {vdi} cannot be flushed: {error}")))?;
        self.note(members, |state| &mut state.ready);
        let ready = |state: &State| state.ready == members;
        self.wait(times.preparation, "a VDI was not flushed in time", ready)
            .await?;
        let until = Instant::now() + times.hold;
        let hold = server.exports.hold_writes(vdi, until);
        let hold = hold.ok_or_else(|| not_together(&format!("VDI {vdi} is held back already")))?;
        let drained = tokio::time::timeout(times.hold, hold.drained()).await;
        drained.map_err(|_| {
            not_together(&format!("a write to VDI {vdi} that was begun did not end"))
        })?;
        self.note(members, |state| &mut state.held);
        let held = |state: &State| state.held == members;
        let left = until.saturating_duration_since(Instant::now());
        self.wait(left, "a VDI could not be held back in time", held)
            .await?;
        Ok(hold)
    }

    /// Says that the snapshot is taken, lets the consumer write on, and waits for the others, whose drivers answer within the
    /// deadline of any call to one.
    ///
    /// # Errors
    /// 470: then the caller removes what it has made.
    pub async fn settle(&self, hold: WriteHold) -> Result<(), Failure> {
        let members = self.barrier.members;
        if !hold.release() {
            let limit = self.barrier.times.hold;
            return Err(not_together(&format!(
                "a snapshot was not taken within {limit:?}, for which writes are held back"
            )));
        }
        self.note(members, |state| &mut state.taken);
        let taken = |state: &State| state.taken == members;
        self.wait_for(taken).await
    }

    fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.barrier
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, unless the barrier is broken; tells the others when that was the last.
    fn note(&self, members: usize, count: impl FnOnce(&mut State) -> &mut usize) {
        self.barrier.state.send_if_modified(|state| {
            if state.broken.is_some() {
                return false;
            }
            let count = count(state);
            *count += 1;
            *count == members
        });
    }

    async fn wait_or_cancel(
        &self,
        call: &Call,
        limit: Duration,
        late: &str,
        reached: impl Fn(&State) -> bool,
    ) -> Result<(), Failure> {
        tokio::select! {
            biased;
            waited = self.wait(limit, late, reached) => waited,
            () = call.cancel.cancelled() => Err(Failure::task_cancelled(&call.task)),
        }
    }

    async fn wait(
        &self,
        limit: Duration,
        late: &str,
        reached: impl Fn(&State) -> bool,
    ) -> Result<(), Failure> {
        match tokio::time::timeout(limit, self.wait_for(&reached)).await {
            Ok(waited) => waited,
            Err(_) => {
                self.barrier.break_off(late);
                self.outcome(reached)
            }
        }
    }

    async fn wait_for(&self, reached: impl Fn(&State) -> bool) -> Result<(), Failure> {
        let mut changes = self.barrier.state.subscribe();
        let changed = changes.wait_for(|state| state.broken.is_some() || reached(state));
        // Let go of at once: it locks the state. The sender is kept as long as this, so it never fails.
        drop(changed.await);
        self.outcome(reached)
    }

    fn outcome(&self, reached: impl Fn(&State) -> bool) -> Result<(), Failure> {
        let state = self.barrier.state.borrow();
        match &state.broken {
            Some(reason) => Err(not_together(reason)),
            None if reached(&state) => Ok(()),
            None => Err(not_together("it came to no end")),
        }
    }
}

/// Begins the operations on some VDIs and their SRs.
async fn begin_all(
    call: &Call,
    vdis: &BTreeMap<String, String>,
) -> Result<Vec<Operation>, Failure> {
    let mut begun = Vec::new();
    let srs: BTreeSet<&String> = vdis.values().collect();
    for sr in srs {
        begun.push(operations::begin(call, "SR", sr, "vdi_snapshot", Sharing::Shared).await?);
    }
    for vdi in vdis.keys() {
        begun.push(operations::begin(call, "VDI", vdi, "snapshot", Sharing::Exclusive).await?);
    }
    Ok(begun)
}

#[cfg(test)]
#[path = "barrier_tests.rs"]
mod tests;
