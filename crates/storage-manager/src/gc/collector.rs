//! The collector of one SR: plans, runs steps on threads of its own, tries again, and tells.
//!
//! ```text
//! layout --Wakeup--> dispatcher thread --plan--> a thread for each step, one per tree, at most TREES_AT_ONCE
//!                         |                              |
//!                         +--- Owners: what the records say, tasks, state ---+
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vhd::merge::{Control, Progress, RateLimit, Speed};

use super::owners::Owners;
use super::plan::{Plan, Work, plan};
use super::status::{RunningStep, Status};
use super::steps::{IDLE, LONGEST_RETRY, MAX_TRIES, Running, State, TICK};
use super::store::{ImageStore, Outcome, PauseCounts, StepError};
use crate::error::chain_text;

/// The collector of an attached SR. Dropping it stops it.
pub struct Collector {
    shared: Arc<Shared>,
    dispatcher: Option<JoinHandle<()>>,
}

struct Shared {
    store: Arc<dyn ImageStore>,
    owners: Arc<dyn Owners>,
    limit: Arc<RateLimit>,
    state: Mutex<State>,
}

impl Collector {
    /// Starts the collector of an SR.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(store: Arc<dyn ImageStore>, owners: Arc<dyn Owners>) -> std::io::Result<Self> {
        let limit = Arc::new(RateLimit::new(Speed::default(), store.activity()));
        let shared = Arc::new(Shared {
            store,
            owners,
            limit,
            state: Mutex::default(),
        });
        let mine = shared.clone();
        let dispatcher = std::thread::Builder::new()
            .name("sr-collector".to_owned())
            .spawn(move || mine.dispatch())?;
        Ok(Collector {
            shared,
            dispatcher: Some(dispatcher),
        })
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The images that it looks after.
    pub fn store(&self) -> &Arc<dyn ImageStore> {
        &self.shared.store
    }

    /// Lets steps stand still: those of a VDI, or all. Steps under way keep what they have copied.
    pub fn pause(&self, vdi: Option<Uuid>) {
        let mut state = self.shared.lock();
        let was_paused = match vdi {
            Some(vdi) => !state.paused_vdis.insert(vdi),
            None => std::mem::replace(&mut state.paused, true),
        };
        if !was_paused {
            state
                .running_of(vdi)
                .for_each(|running| running.control.pause());
        }
        drop(state);
        self.shared.store.wakeup().notify();
    }

    /// Takes back the pause of a VDI, or every pause.
    pub fn resume(&self, vdi: Option<Uuid>) {
        let mut state = self.shared.lock();
        let mut ended: Vec<Option<Uuid>> = Vec::new();
        match vdi {
            Some(vdi) => ended.extend(state.paused_vdis.take(&vdi).map(Some)),
            None => {
                ended.extend(std::mem::take(&mut state.paused_vdis).into_iter().map(Some));
                // Last: a step is held by each pause for itself.
                ended.extend(std::mem::replace(&mut state.paused, false).then_some(None));
            }
        }
        for pause in ended {
            state
                .running_of(pause)
                .for_each(|running| running.control.resume());
        }
        drop(state);
        self.shared.store.wakeup().notify();
    }

    /// Cancels the step of a VDI, or all; they are tried again later. Answers how many there were.
    pub fn cancel(&self, vdi: Option<Uuid>) -> usize {
        let state = self.shared.lock();
        state
            .running_of(vdi)
            .inspect(|running| running.control.cancel())
            .count()
    }

    /// Tries at once what waits after a failure.
    pub fn retry_now(&self) {
        self.shared.lock().waiting.clear();
        self.shared.store.wakeup().notify();
    }

    /// Cancels every step and ends. Steps that are under way in the kernel end behind.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        state.stop = true;
        state
            .running
            .values()
            .for_each(|running| running.control.cancel());
        drop(state);
        self.shared.store.wakeup().notify();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.dispatcher.take() {
            // A panic of the thread was printed where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let state = self.lock();
        let running = state.running.values().map(|running| RunningStep {
            work: running.work,
            progress: running.control.progress(),
            elapsed: running.since.elapsed(),
        });
        Status {
            paused: state.paused,
            paused_vdis: state.paused_vdis.clone(),
            backlog: state.plan.backlog.clone(),
            left: state.plan.left.clone(),
            running: running.collect(),
            last_error: state.last_error.clone(),
            no_space: state.waiting.values().any(|waiting| waiting.no_space),
            totals: state.totals,
            pauses: self.store.pauses(),
        }
    }

    fn dispatch(self: &Arc<Self>) {
        let mut told = None;
        loop {
            let seen = self.store.wakeup().count();
            if self.lock().stop {
                break;
            }
            let begun = Instant::now();
            self.begin_steps();
            self.tell(&mut told);
            // Never more than a fifth of the time is spent on planning, however often things change.
            let rest = begun.elapsed() * 4;
            if !rest.is_zero() {
                self.wait_unless_stopped(rest.min(LONGEST_RETRY));
            }
            self.store.wakeup().wait(seen, self.next_look());
        }
        // Steps hold the store; they end at their next chunk.
        while !self.lock().running.is_empty() {
            let seen = self.store.wakeup().count();
            if self.lock().running.is_empty() {
                break;
            }
            self.store.wakeup().wait(seen, TICK);
        }
    }

    fn wait_unless_stopped(&self, limit: Duration) {
        let until = Instant::now() + limit;
        loop {
            let seen = self.store.wakeup().count();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.lock().stop {
                return;
            }
            self.store.wakeup().wait(seen, left);
        }
    }

    fn next_look(&self) -> Duration {
        let state = self.lock();
        if !state.running.is_empty() {
            return TICK;
        }
        let now = Instant::now();
        let next = state
            .waiting
            .values()
            .filter(|waiting| waiting.tries < MAX_TRIES);
        let next = next
            .map(|waiting| waiting.until.saturating_duration_since(now))
            .min();
        next.unwrap_or(IDLE).clamp(Duration::from_millis(10), IDLE)
    }

    fn begin_steps(self: &Arc<Self>) {
        let wishes = self.owners.wishes();
        self.limit.set(wishes.speed);
        let mut images = match self.store.images() {
            Ok(images) => images,
            Err(error) => {
                let mut state = self.lock();
                state.last_error = Some(chain_text(&error));
                state.plan = Plan::default();
                return;
            }
        };
        for image in &mut images {
            image.leaf = wishes.leaves.get(&image.uuid).copied().unwrap_or_default();
        }
        let busy: BTreeSet<Uuid> = self.lock().running.keys().copied().collect();
        let plan = plan(&images, wishes.policy, &busy);
        let now = Instant::now();
        let mut chosen = Vec::new();
        {
            let mut state = self.lock();
            state
                .waiting
                .retain(|vdi, _| plan.backlog.contains_key(vdi));
            for work in &plan.work {
                if state.may_begin(work, now) && !state.stop {
                    let control = Arc::new(Control::new(self.limit.clone()));
                    let running = Running {
                        work: *work,
                        control: control.clone(),
                        task: String::new(),
                        since: now,
                    };
                    state.running.insert(work.vdi(), running);
                    chosen.push((*work, control));
                }
            }
            state.plan = plan;
        }
        for (work, control) in chosen {
            self.spawn(work, control);
        }
    }

    fn spawn(self: &Arc<Self>, work: Work, control: Arc<Control>) {
        let task = self.owners.began(&work);
        if let Some(running) = self.lock().running.get_mut(&work.vdi()) {
            running.task = task.clone();
        }
        let shared = self.clone();
        let name = "sr-coalesce".to_owned();
        let told = task.clone();
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let step = std::panic::AssertUnwindSafe(|| shared.store.run(&work, &control));
            let result = std::panic::catch_unwind(step).unwrap_or_else(|_| {
                Err(StepError::Layout("the step panicked; see the log".into()))
            });
            shared.end(&told, &work, &result);
        });
        if let Err(error) = spawned {
            self.end(&task, &work, &Err(StepError::Layout(Box::new(error))));
        }
    }

    fn end(&self, task: &str, work: &Work, result: &Result<Outcome, StepError>) {
        let progress = self
            .lock()
            .running
            .get(&work.vdi())
            .map(|r| r.control.progress());
        match result {
            Ok(Outcome::Done) => {
                let copied_bytes = progress.unwrap_or_default().copied;
                tracing::info!(%work, copied_bytes, "coalesced");
            }
            Ok(outcome) => tracing::debug!(%work, ?outcome, "a step of coalescing ended early"),
            Err(error) => {
                tracing::warn!(%work, error = chain_text(error), "a step of coalescing failed")
            }
        }
        // Told first: who sees that it has ended finds the records changed.
        self.owners.ended(task, work, result);
        self.lock().end(work.vdi(), result);
        self.store.wakeup().notify();
    }

    fn tell(&self, told: &mut Option<Status>) {
        let status = self.status();
        for step in &status.running {
            let running = self
                .lock()
                .running
                .get(&step.work.vdi())
                .map(|running| (running.task.clone(), running.control.clone()));
            if let Some((task, control)) = running
                && !self.owners.progressed(&task, step.progress)
            {
                control.cancel();
            }
        }
        // What a report says of progress is told by the tasks.
        let mut known = status.clone();
        known.running.iter_mut().for_each(|step| {
            step.progress = Progress::default();
            step.elapsed = Duration::ZERO;
        });
        known.pauses = PauseCounts::default();
        if told.as_ref() != Some(&known) {
            self.owners.changed(&status);
            *told = Some(known);
        }
    }
}

#[cfg(test)]
#[path = "collector_tests.rs"]
mod tests;
