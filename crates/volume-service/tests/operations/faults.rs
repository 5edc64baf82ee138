//! The generic harness: every scenario, with every fault at every pool call and every write to the database.

use std::sync::Arc;

use crate::gate::{Event, Fault};
use crate::installation::{Installation, Kind, Site, on};
use crate::outcomes::{assert_each_sr_was_made_once, assert_ended_well, assert_nothing_is_leaked};
use crate::scenarios::{Scenario, begin};

/// Faults that pass: the operation must end as if there had been none.
const PASSING: [Fault; 4] = [
    Fault::FailOnce,
    Fault::LoseAnswer,
    Fault::DieBefore,
    Fault::DieAfter,
];
/// Faults of calls that last until somebody repairs the pool.
const LASTING: [Fault; 2] = [Fault::Refuse, Fault::Unreachable];

/// Kinds of fault that every event has.
const FAULTS: usize = PASSING.len();

/// Events at the beginning and at the end of a long wait that faults are made at.
const WAIT_BEGINS: usize = 6;

#[test]
fn every_fault_at_every_step_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        for scenario in Scenario::chosen() {
            faults_at_every_step(&installation, scenario, |_| true).await;
        }
    });
}

/// The steps are the same on both databases, and what differs is how a transaction ends: each step of each scenario has one fault,
/// and each kind of fault has its turn.
#[test]
fn a_fault_at_every_step_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        for (turn, scenario) in Scenario::chosen().into_iter().enumerate() {
            let is_its_turn = |number: usize| (number + turn).is_multiple_of(FAULTS);
            faults_at_every_step(&installation, scenario, is_its_turn).await;
        }
    });
}

/// Runs a scenario with each fault of each step, of which `is_chosen` tells by a number that goes on by one with each fault and
/// by one more with each step.
async fn faults_at_every_step(
    installation: &Arc<Installation>,
    scenario: Scenario,
    is_chosen: impl Fn(usize) -> bool,
) {
    let events = run(installation, scenario, None).await;
    let calls = events
        .iter()
        .filter(|event| matches!(event, Event::Call(_)))
        .count();
    let needs_no_pool = matches!(scenario, Scenario::AttachXenHost | Scenario::DeleteUnplaced);
    let is_asked_before = matches!(
        scenario,
        Scenario::CreateUnwanted | Scenario::SnapshotUnwanted | Scenario::CopyUnwanted
    );
    assert!(
        calls > 0 || needs_no_pool || is_asked_before,
        "{scenario:?}: the pool is asked: {events:?}"
    );
    for (number, event) in events.iter().enumerate() {
        // The tries in the middle of a long wait are all alike.
        let is_in_the_middle =
            (WAIT_BEGINS..events.len().saturating_sub(WAIT_BEGINS)).contains(&number);
        if scenario == Scenario::SnapshotTooDeep && is_in_the_middle {
            continue;
        }
        let lasting = match event {
            Event::Call(_) => &LASTING[..],
            Event::Write(_) => &[],
        };
        for (index, fault) in PASSING.iter().chain(lasting).enumerate() {
            if is_chosen(number + index) {
                run(installation, scenario, Some((number, *fault))).await;
            }
        }
    }
}

/// Runs a scenario with a fault: a first worker until the end or its death, then a second one, then the reconcilers. Returns
/// what passed the gate.
async fn run(
    installation: &Arc<Installation>,
    scenario: Scenario,
    fault: Option<(usize, Fault)>,
) -> Vec<Event> {
    let site = Site::new(installation).await;
    let actors = begin(&site, scenario).await;
    let first = site.engine().await;
    let second = site.engine().await;

    site.gate.watch(fault);
    let has_died = site.work_or_die(&first).await;
    drop(first);
    if has_died {
        site.outlive_leases();
    }
    // The second worker meets a lasting fault too.
    site.work(&second).await;
    let events = site.gate.heal();

    let event = fault.and_then(|(number, _)| events.get(number).copied());
    let story = format!("{scenario:?} with {fault:?} at {event:?}, {events:?}");
    let is_death =
        fault.is_some_and(|(_, fault)| matches!(fault, Fault::DieBefore | Fault::DieAfter));
    assert_eq!(has_died, is_death, "{story}: the fault happened");
    let passes = fault.is_none_or(|(_, fault)| PASSING.contains(&fault));
    if passes {
        assert_ended_well(&site, scenario, &actors, &story).await;
    }
    site.reconcile(&second).await;
    assert_nothing_is_leaked(&site, &story).await;
    assert_each_sr_was_made_once(&site, &story);
    events
}
