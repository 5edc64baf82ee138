//! Snapshots and clones of ours beside those that operators make in the pool, and several at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;
use uuid::Uuid;
use volume_service::app;
use volume_service::app::volumes::{DeleteMode, VolumeSource};
use volume_service::driver::Making;
use volume_service::model::id::{OperationId, SnapshotId, VolumeId};
use volume_service::model::snapshot::SnapshotStatus;
use volume_service::model::volume::VolumeStatus;
use volume_service::operation::{Ended, Engine};

use crate::gate::{Event, Fault};
use crate::installation::{Installation, Kind, Site, on};

/// A site with one backend and a volume.
async fn with_a_volume(installation: &Arc<Installation>) -> (Site, Arc<Engine>, VolumeId) {
    let site = Site::new(installation).await;
    let engine = site.engine().await;
    site.add_backend("file", None).await;
    let volume = site.create_volume().await;
    site.work(&engine).await;
    (site, engine, volume)
}

/// What a person makes of a VDI in the pool, who knows nothing of our marks.
fn operators(site: &Site, from: Uuid, is_a_snapshot: bool) -> Uuid {
    let uuid = Uuid::new_v4();
    site.pool.change(|state| {
        let mut made = state.vdis[&from].clone();
        made.is_a_snapshot = is_a_snapshot;
        state.vdis.insert(uuid, made);
    });
    uuid
}

async fn vdi_of(site: &Site, volume: VolumeId) -> Uuid {
    site.volume(volume).await.unwrap().vdi_uuid.unwrap()
}

async fn taken(site: &Site, engine: &Arc<Engine>, volume: VolumeId) -> (SnapshotId, Uuid) {
    let id = site.create_snapshot(volume).await.unwrap();
    site.work(engine).await;
    let snapshot = site.snapshot(id).await.unwrap();
    (id, snapshot.vdi_uuid.unwrap())
}

async fn delete(site: &Site, engine: &Arc<Engine>, volume: VolumeId) {
    let mode = DeleteMode::Cascade;
    let asked = app::volumes::delete(site.service(), &site.requester(), volume, mode).await;
    asked.unwrap();
    site.work(engine).await;
    assert!(site.volume(volume).await.is_none());
}

#[test]
fn what_an_operator_makes_of_our_vdis_stays_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        what_operators_make_stays(&installation).await;
    });
}

#[test]
fn what_an_operator_makes_of_our_vdis_stays_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        what_operators_make_stays(&installation).await;
    });
}

async fn what_operators_make_stays(installation: &Arc<Installation>) {
    let (site, engine, volume) = with_a_volume(installation).await;
    let (snapshot, snapshot_vdi) = taken(&site, &engine, volume).await;
    let source = VolumeSource::Snapshot(snapshot);
    let second = site.create_from(source, 0).await.unwrap();
    site.work(&engine).await;
    let mut theirs = BTreeSet::new();
    for vdi in [vdi_of(&site, volume).await, vdi_of(&site, second).await] {
        theirs.insert(operators(&site, vdi, true));
        theirs.insert(operators(&site, vdi, false));
    }
    theirs.insert(operators(&site, snapshot_vdi, false));
    site.reconcile(&engine).await;
    site.reconcile(&engine).await;
    let requester = site.requester();
    let reverted = app::volumes::revert(site.service(), &requester, volume, snapshot).await;
    reverted.unwrap();
    site.work(&engine).await;
    theirs.insert(operators(&site, vdi_of(&site, volume).await, false));
    delete(&site, &engine, volume).await;
    delete(&site, &engine, second).await;
    site.reconcile(&engine).await;
    site.reconcile(&engine).await;
    let left: BTreeSet<Uuid> = site.pool.state().vdis.into_keys().collect();
    assert_eq!(left, theirs);
}

/// Between the mark on the volume's VDI and the end of the snapshot an operator's snapshot carries our mark too. The worker that
/// took ours is dead, so nobody can say which one was ours: both stay.
#[test]
fn of_two_snapshots_with_one_mark_none_is_removed() {
    on(Kind::Sqlite, |installation| async move {
        let (site, engine, volume) = with_a_volume(&installation).await;
        let snapshot = site.create_snapshot(volume).await.unwrap();
        let first = site.engine().await;
        // The claim, the mark, and then VDI.snapshot.
        site.gate.watch(Some((2, Fault::DieAfter)));
        assert!(site.work_or_die(&first).await);
        let events = site.gate.heal();
        assert_eq!(events.last(), Some(&Event::Call("VDI.snapshot")));
        let theirs = operators(&site, vdi_of(&site, volume).await, true);
        let before: BTreeSet<Uuid> = site.pool.state().vdis.into_keys().collect();
        site.outlive_leases();
        site.work(&engine).await;
        site.reconcile(&engine).await;
        site.reconcile(&engine).await;
        let row = site.snapshot(snapshot).await.unwrap();
        assert_eq!(row.status, SnapshotStatus::Available);
        let left: BTreeSet<Uuid> = site.pool.state().vdis.into_keys().collect();
        assert!(before.contains(&theirs) && left.is_superset(&before));
        assert!(!before.contains(&row.vdi_uuid.unwrap()), "a third one");
    });
}

#[test]
fn a_mark_that_came_too_late_is_taken_off() {
    on(Kind::Sqlite, |installation| async move {
        let (site, engine, volume) = with_a_volume(&installation).await;
        let vdi = vdi_of(&site, volume).await;
        let making = Making {
            deployment: engine.deployment().0,
            operation: OperationId(Uuid::new_v4()),
            generation: 1,
            part: 0,
        };
        site.pool.change(|state| {
            state.vdis.get_mut(&vdi).unwrap().making = Some(making.to_string());
        });
        // An operation does not wait for it,
        taken(&site, &engine, volume).await;
        assert_eq!(site.pool.state().vdis[&vdi].making, None);
        // and without one a reconciler comes.
        site.pool.change(|state| {
            state.vdis.get_mut(&vdi).unwrap().making = Some(making.to_string());
        });
        site.reconcile(&engine).await;
        assert_eq!(site.pool.state().vdis[&vdi].making, None);
    });
}

#[test]
fn many_at_once_from_one_volume_get_one_vdi_each_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        many_at_once(&installation).await;
    });
}

#[test]
fn many_at_once_from_one_volume_get_one_vdi_each_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        many_at_once(&installation).await;
    });
}

async fn many_at_once(installation: &Arc<Installation>) {
    const EACH: usize = 4;
    let (site, engine, volume) = with_a_volume(installation).await;
    let (mut snapshots, mut clones) = (Vec::new(), Vec::new());
    for _ in 0..EACH {
        snapshots.push(site.create_snapshot(volume).await.unwrap());
        let source = VolumeSource::Volume(volume);
        clones.push(site.create_from(source, 0).await.unwrap());
    }
    // Two processes: what one holds the other finds marked in the pool.
    let mut running = JoinSet::new();
    for engine in [site.engine().await, site.engine().await] {
        for claimed in engine.claim(EACH).await.unwrap() {
            let engine = Arc::clone(&engine);
            running.spawn(async move { engine.run(claimed).await });
        }
    }
    assert_eq!(running.len(), 2 * EACH);
    running.join_all().await;
    site.work(&engine).await;
    let mut vdis = BTreeSet::from([vdi_of(&site, volume).await]);
    for id in snapshots {
        let snapshot = site.snapshot(id).await.unwrap();
        assert_eq!(snapshot.status, SnapshotStatus::Available);
        vdis.insert(snapshot.vdi_uuid.unwrap());
    }
    for id in clones {
        let clone = site.volume(id).await.unwrap();
        assert_eq!(clone.status, VolumeStatus::Available, "{}", clone.failure);
        vdis.insert(clone.vdi_uuid.unwrap());
    }
    assert_eq!(vdis.len(), 1 + 2 * EACH, "nobody has another's");
    let state = site.pool.state();
    assert_eq!(state.vdis.len(), vdis.len());
    assert!(state.vdis.values().all(|vdi| vdi.making.is_none()));
}

/// Claims the one operation that is due, and runs it once, in which it is not done.
async fn run_once(engine: &Arc<Engine>) {
    let mut claimed = engine.claim(8).await.unwrap();
    let ended = engine.run(claimed.remove(0)).await;
    assert!(matches!(ended, Ended::Parked { .. }), "{ended:?}");
    assert!(claimed.is_empty());
}

/// Seen: the call of a first try was not answered, the one of a second was refused, which took the mark off the volume's VDI; what
/// the first then made carried the volume's marks alone, and looked like an operator's for ever.
#[test]
fn what_an_unanswered_call_makes_behind_a_refused_one_is_removed() {
    for is_still_wanted in [true, false] {
        on(Kind::Sqlite, |installation| async move {
            let (site, engine, volume) = with_a_volume(&installation).await;
            let vdi = vdi_of(&site, volume).await;
            let snapshot = site.create_snapshot(volume).await.unwrap();
            // The claim, the mark, and then VDI.snapshot.
            site.gate.watch(Some((2, Fault::Late)));
            run_once(&engine).await;
            let events = site.gate.heal();
            assert_eq!(events[2], Event::Call("VDI.snapshot"));
            site.outlive_leases();
            // Behind the claim and the list of VDIs the mark is replaced by three calls.
            site.gate.watch(Some((5, Fault::FailOnce)));
            run_once(&engine).await;
            let events = site.gate.heal();
            assert_eq!(events[5], Event::Call("VDI.snapshot"), "{events:?}");
            let marked = site.pool.state().vdis[&vdi].clone();
            assert!(marked.making.is_some(), "the first call may still run");
            if !is_still_wanted {
                site.force_delete_snapshot(snapshot).await;
                site.work(&engine).await;
                let marked = site.pool.state().vdis[&vdi].clone();
                assert!(marked.making.is_some(), "and does when all is undone");
            }
            let late = operators(&site, vdi, true);
            site.work(&engine).await;
            site.reconcile(&engine).await;
            let state = site.pool.state();
            assert!(!state.vdis.contains_key(&late), "{state:?}");
            assert!(state.vdis.values().all(|vdi| vdi.making.is_none()));
            let row = site.snapshot(snapshot).await;
            assert_eq!(row.is_some(), is_still_wanted);
            if let Some(row) = row {
                assert_eq!(row.status, SnapshotStatus::Available);
                assert!(state.vdis.contains_key(&row.vdi_uuid.unwrap()));
            }
        });
    }
}
