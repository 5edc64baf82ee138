//! The collector with a store in memory whose steps a test lets go.

use std::sync::Condvar;

use vhd::merge::Activity;

use super::super::owners::SrWishes;
use super::super::plan::{Consumers, Image, LeafPolicy};
use super::super::steps::TREES_AT_ONCE;
use super::super::store::CheckedImage;
use super::super::wakeup::Wakeup;
use super::*;

const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Store {
    images: Mutex<Vec<Image>>,
    wakeup: Wakeup,
    /// What the next steps answer; none lets them succeed.
    failures: Mutex<Vec<StepError>>,
    /// Steps wait here until they are let go or cancelled.
    gate: Mutex<bool>,
    opened: Condvar,
}

impl Store {
    fn open_gate(&self) {
        *self.gate.lock().unwrap() = true;
        self.opened.notify_all();
    }

    /// Waits a little for the gate; true when it is open.
    fn wait_at_gate(&self) -> bool {
        let gate = self.gate.lock().unwrap();
        let pause = Duration::from_millis(5);
        let waited = self
            .opened
            .wait_timeout_while(gate, pause, |is_open| !*is_open);
        *waited.unwrap().0
    }
}

impl ImageStore for Store {
    fn images(&self) -> Result<Vec<Image>, StepError> {
        Ok(self.images.lock().unwrap().clone())
    }

    fn run(&self, work: &Work, control: &Arc<Control>) -> Result<Outcome, StepError> {
        control.set_total(100);
        // The lock is not held meanwhile: a step that is paused stays in `pass`, and somebody may open the gate.
        while control.pass(0, 0) && !self.wait_at_gate() {}
        if !control.pass(100, 40) {
            return Ok(Outcome::Cancelled);
        }
        if let Some(failure) = self.failures.lock().unwrap().pop() {
            return Err(failure);
        }
        let mut images = self.images.lock().unwrap();
        images.retain(|image| image.uuid != work.vdi());
        Ok(Outcome::Done)
    }

    fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    fn activity(&self) -> Arc<Activity> {
        Arc::default()
    }

    fn cancel(&self, _vdi: Option<Uuid>) -> bool {
        false
    }

    fn check(&self, _vdi: Uuid) -> Result<Vec<CheckedImage>, StepError> {
        Ok(Vec::new())
    }

    fn pauses(&self) -> PauseCounts {
        PauseCounts::default()
    }
}

#[derive(Default)]
struct Recorder {
    ended: Mutex<Vec<String>>,
    statuses: Mutex<Vec<Status>>,
    /// A task that somebody has cancelled.
    unwanted: Mutex<Option<String>>,
}

impl Owners for Recorder {
    fn wishes(&self) -> SrWishes {
        SrWishes::default()
    }

    fn began(&self, work: &Work) -> String {
        format!("task {}", work.vdi())
    }

    fn progressed(&self, task: &str, _progress: Progress) -> bool {
        self.unwanted.lock().unwrap().as_deref() != Some(task)
    }

    fn ended(&self, task: &str, _work: &Work, result: &Result<Outcome, StepError>) {
        let ended = format!("{task} {:?}", result.as_ref().ok());
        self.ended.lock().unwrap().push(ended);
    }

    fn changed(&self, status: &Status) {
        self.statuses.lock().unwrap().push(status.clone());
    }
}

/// Three hidden images that nothing needs, each a tree of its own.
fn scene() -> (Arc<Store>, Arc<Recorder>, Collector) {
    let store = Arc::new(Store::default());
    *store.images.lock().unwrap() = (1..4)
        .map(|n| Image {
            uuid: Uuid::from_u128(n),
            parent: None,
            hidden: true,
            raw: false,
            virtual_size: 1,
            physical_size: 10,
            consumers: Consumers::None,
            tracked: false,
            leaf: LeafPolicy::Allowed,
        })
        .collect();
    let recorder = Arc::new(Recorder::default());
    let collector = Collector::start(store.clone(), recorder.clone()).unwrap();
    (store, recorder, collector)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn trees_are_served_side_by_side_up_to_the_limit_and_all_in_the_end() {
    let (store, recorder, collector) = scene();
    wait_until("steps begin", || {
        collector.status().running.len() == TREES_AT_ONCE
    });
    assert_eq!(collector.status().backlog.values().sum::<u64>(), 30);
    store.open_gate();
    wait_until("all are gone", || collector.status().totals.done == 3);
    wait_until("it is told", || {
        let statuses = recorder.statuses.lock().unwrap();
        statuses
            .last()
            .is_some_and(|status| status.backlog.is_empty())
    });
    assert_eq!(collector.status().totals.copied_bytes, 120);
    assert_eq!(recorder.ended.lock().unwrap().len(), 3);
}

#[test]
fn steps_are_paused_resumed_and_cancelled() {
    let (store, recorder, collector) = scene();
    wait_until("steps begin", || {
        collector.status().running.len() == TREES_AT_ONCE
    });
    collector.pause(None);
    collector.pause(None);
    store.open_gate();
    assert_eq!(collector.status().totals.done, 0);
    let vdi = collector.status().running[0].work.vdi();
    *recorder.unwanted.lock().unwrap() = Some(format!("task {vdi}"));
    store.wakeup.notify();
    wait_until("it is cancelled", || {
        collector.status().totals.cancelled == 1
    });
    assert_eq!(
        recorder.ended.lock().unwrap()[0],
        format!("task {vdi} Some(Cancelled)")
    );
    assert!(
        collector.status().running.len() < TREES_AT_ONCE,
        "nothing begins"
    );
    *recorder.unwanted.lock().unwrap() = None;
    collector.resume(None);
    collector.retry_now();
    wait_until("all are gone", || collector.status().totals.done == 3);
    assert_eq!(collector.cancel(None), 0);
}

#[test]
fn a_paused_vdi_keeps_no_other_back() {
    let (store, _, collector) = scene();
    let vdi = Uuid::from_u128(3);
    collector.pause(Some(vdi));
    store.open_gate();
    wait_until("the others are gone", || {
        collector.status().totals.done == 2
    });
    wait_until("it is seen", || collector.status().backlog.len() == 1);
    collector.resume(Some(vdi));
    wait_until("all are gone", || collector.status().totals.done == 3);
}

#[test]
fn resuming_everything_ends_the_pauses_of_vdis_too() {
    let (store, _, collector) = scene();
    wait_until("steps begin", || {
        collector.status().running.len() == TREES_AT_ONCE
    });
    let vdi = collector.status().running[0].work.vdi();
    collector.pause(Some(vdi));
    collector.pause(None);
    collector.resume(None);
    assert!(collector.status().paused_vdis.is_empty());
    store.open_gate();
    wait_until("all are gone", || collector.status().totals.done == 3);
}

#[test]
fn a_failure_is_told_and_tried_again() {
    let (store, _, collector) = scene();
    let no_space = StepError::NoSpace {
        needed: 20,
        free: 10,
    };
    store.failures.lock().unwrap().push(no_space);
    store.open_gate();
    wait_until("the others are gone", || {
        collector.status().totals.done == 2
    });
    wait_until("one waits", || collector.status().no_space);
    assert_eq!(collector.status().totals.failed, 1);
    collector.retry_now();
    wait_until("all are gone", || collector.status().totals.done == 3);
    assert_eq!(collector.status().last_error, None);
    assert!(!collector.status().no_space);
}
