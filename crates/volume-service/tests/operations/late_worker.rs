//! A worker that is stopped in the middle of a call or write, and goes on when another has long finished its work.

use std::sync::Arc;

use crate::gate::{Event, Fault};
use crate::installation::{Installation, Kind, Site, on};
use crate::outcomes::{assert_each_sr_was_made_once, assert_ended_well, assert_nothing_is_leaked};
use crate::scenarios::{Actors, Scenario, begin};

#[test]
fn a_late_worker_does_no_damage_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        for scenario in Scenario::chosen() {
            late_at_every_event(&installation, scenario).await;
        }
    });
}

#[test]
fn a_late_worker_does_no_damage_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        for scenario in Scenario::chosen() {
            late_at_every_event(&installation, scenario).await;
        }
    });
}

async fn late_at_every_event(installation: &Arc<Installation>, scenario: Scenario) {
    for number in 0.. {
        // A long wait goes on as it began.
        if scenario == Scenario::SnapshotTooDeep && number > 6 {
            return;
        }
        if !late_at(installation, scenario, number).await {
            assert!(number > 0, "{scenario:?}: something passes the gate");
            return;
        }
    }
}

/// Stops a worker at an event; false when there are fewer.
async fn late_at(installation: &Arc<Installation>, scenario: Scenario, number: usize) -> bool {
    let site = Site::new(installation).await;
    let actors = begin(&site, scenario).await;
    let first = site.engine().await;
    let second = site.engine().await;
    site.gate.watch(Some((number, Fault::Stall)));
    let late = tokio::spawn({
        let (site, first) = (site.clone(), Arc::clone(&first));
        async move { site.work(&first).await }
    });
    let has_stalled = tokio::select! {
        biased;
        () = site.gate.stall() => true,
        () = finished(&site) => false,
    };
    if !has_stalled {
        late.await.unwrap();
        return false;
    }
    site.outlive_leases();
    site.work(&second).await;
    site.gate.resume();
    late.await.unwrap();
    let events = site.gate.heal();
    check(&site, scenario, &actors, number, &events, &second).await;
    true
}

async fn check(
    site: &Site,
    scenario: Scenario,
    actors: &Actors,
    number: usize,
    events: &[Event],
    second: &Arc<volume_service::operation::Engine>,
) {
    let story = format!(
        "{scenario:?}, late at {:?} ({number}), {events:?}",
        events.get(number)
    );
    assert_ended_well(site, scenario, actors, &story).await;
    site.reconcile(second).await;
    assert_nothing_is_leaked(site, &story).await;
    // No pool can refuse a call that arrives late: then there are two SRs for a while, and one is forgotten.
    if events.get(number) != Some(&Event::Call("SR.create")) {
        assert_each_sr_was_made_once(site, &story);
    }
}

/// Returns once no operation is left.
async fn finished(site: &Site) {
    while !site.unfinished().await.is_empty() {
        tokio::task::yield_now().await;
    }
}
