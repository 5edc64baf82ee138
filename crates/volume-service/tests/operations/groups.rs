//! Groups: how their scenarios begin and end, and what a pool that cannot keep a moment makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;
use volume_service::app::group_snapshots::{self, CreateGroupSnapshot};
use volume_service::app::groups::{
    self, ChangeMembers, CreateFromSource, DeleteGroup, GroupSource,
};
use volume_service::db;
use volume_service::model::group::{CONSISTENT_SPEC, Group, GroupSnapshot, GroupStatus, GroupType};
use volume_service::model::id::{GroupId, GroupSnapshotId, GroupTypeId, VolumeId};
use volume_service::model::snapshot::{Snapshot, SnapshotStatus};
use volume_service::model::volume::{Volume, VolumeStatus};
use volume_service::operation::{Ended, Engine};

use crate::fake_pool::Vdi;
use crate::gate::{Event, Fault};
use crate::installation::{Kind, Site, on};
use crate::scenarios::{Actors, NOW, Scenario, THEN, available, write};

/// Volumes of a group.
const MEMBERS: usize = 2;

/// Makes a group of volumes that hold [`THEN`].
async fn group(site: &Site, is_promised: bool) -> GroupId {
    let mut members = vec![available(site).await];
    for _ in 1..MEMBERS {
        members.push(site.create_volume().await);
    }
    site.work(&site.engine().await).await;
    for member in &members {
        write(site, *member, THEN).await;
    }
    let id = empty_group(site, is_promised).await;
    let change = ChangeMembers {
        add: members.iter().map(VolumeId::to_string).collect(),
        ..ChangeMembers::default()
    };
    let added = groups::update(site.service(), &site.requester(), id, change).await;
    added.unwrap();
    id
}

/// Adds a group without members.
pub async fn empty_group(site: &Site, is_promised: bool) -> GroupId {
    let specs = match is_promised {
        true => BTreeMap::from([(CONSISTENT_SPEC.to_owned(), "<is> True".to_owned())]),
        false => BTreeMap::new(),
    };
    let group_type = GroupType {
        id: GroupTypeId(Uuid::new_v4()),
        name: format!("type-of-{}", site.zone),
        description: String::new(),
        is_public: true,
        specs,
        created_at_us: 1,
    };
    let group = Group {
        id: GroupId(Uuid::new_v4()),
        project_id: "p".to_owned(),
        user_id: "u".to_owned(),
        type_id: group_type.id,
        type_name: group_type.name.clone(),
        name: "pair".to_owned(),
        description: String::new(),
        zone: site.zone.clone(),
        status: GroupStatus::Available,
        flavors: vec![site.flavor.id],
        group_snapshot_id: None,
        source_group_id: None,
        failure: String::new(),
        is_hand_set: false,
        created_at_us: 1,
    };
    let id = group.id;
    let inserted = site.database().write(move |tx| {
        assert!(db::group_types::insert(tx, &group_type)?);
        db::groups::insert(tx, &group)
    });
    inserted.await.unwrap();
    id
}

async fn take(site: &Site, group_id: GroupId) -> GroupSnapshotId {
    let wanted = CreateGroupSnapshot {
        group_id,
        name: "both".to_owned(),
        description: String::new(),
    };
    let taken = group_snapshots::create(site.service(), &site.requester(), wanted).await;
    taken.unwrap().id
}

/// Brings a site to where a scenario of groups begins, and asks for its operation.
pub async fn begin(site: &Site, scenario: Scenario, actors: &mut Actors) {
    let is_refused = scenario == Scenario::GroupSnapshotRefused;
    let (service, requester) = (site.service(), site.requester());
    let id = group(site, is_refused || scenario == Scenario::GroupSnapshot).await;
    actors.group = Some(id);
    site.pool
        .change(|state| state.is_without_moments = is_refused);
    if scenario == Scenario::DeleteGroup {
        let mode = DeleteGroup::WithVolumes;
        let asked = groups::delete(service, &requester, id, mode).await;
        return asked.unwrap();
    }
    let taken = take(site, id).await;
    actors.group_snapshot = Some(taken);
    if matches!(
        scenario,
        Scenario::GroupSnapshot | Scenario::GroupSnapshotRefused
    ) {
        return;
    }
    site.work(&site.engine().await).await;
    for member in members(site, id).await {
        write(site, member.id, NOW).await;
    }
    if scenario == Scenario::DeleteGroupSnapshot {
        let asked = group_snapshots::delete(service, &requester, taken).await;
        return asked.unwrap();
    }
    let wanted = CreateFromSource {
        name: "copy".to_owned(),
        description: String::new(),
        source: GroupSource::Snapshot(taken),
    };
    let made = groups::create_from_source(service, &requester, wanted).await;
    actors.group = Some(made.unwrap().id);
}

async fn find(site: &Site, id: GroupId) -> Option<Group> {
    let found = site.database().read(move |tx| db::groups::find(tx, id));
    found.await.unwrap()
}

async fn members(site: &Site, id: GroupId) -> Vec<Volume> {
    let found = site.database().read(move |tx| db::groups::members(tx, id));
    found.await.unwrap()
}

async fn taken(site: &Site, id: GroupSnapshotId) -> (Option<GroupSnapshot>, Vec<Snapshot>) {
    let found = site.database().read(move |tx| {
        Ok((
            db::group_snapshots::find(tx, id)?,
            db::group_snapshots::members(tx, id)?,
        ))
    });
    found.await.unwrap()
}

/// Asserts that a scenario of groups ended as it does without faults.
pub async fn assert_ended_well(site: &Site, scenario: Scenario, actors: &Actors, story: &str) {
    let group = actors.group.unwrap();
    let of_group = members(site, group).await;
    let (whole, snapshots) = match actors.group_snapshot {
        Some(id) => taken(site, id).await,
        None => (None, Vec::new()),
    };
    let state = site.pool.state();
    match scenario {
        Scenario::GroupSnapshot => {
            assert_eq!(whole.unwrap().status, GroupStatus::Available, "{story}");
            assert_eq!(snapshots.len(), MEMBERS, "{story}");
            for snapshot in snapshots {
                assert_eq!(snapshot.status, SnapshotStatus::Available, "{story}");
                let vdi = &state.vdis[&snapshot.vdi_uuid.unwrap()];
                assert!(vdi.is_a_snapshot && vdi.content == THEN, "{story}: {vdi:?}");
                let volume = site.volume(snapshot.volume_id).await.unwrap();
                assert_eq!(vdi.snapshot_of, volume.vdi_uuid, "{story}");
            }
        }
        Scenario::GroupSnapshotRefused => {
            let whole = whole.unwrap();
            assert_eq!(whole.status, GroupStatus::Error, "{story}");
            let why = "the storage cannot";
            assert!(whole.failure.contains(why), "{story}: {}", whole.failure);
            for snapshot in snapshots {
                assert_eq!(snapshot.status, SnapshotStatus::Error, "{story}");
                assert_eq!((snapshot.vdi_uuid, snapshot.backend_id), (None, None));
            }
            assert_eq!(state.vdis.len(), MEMBERS, "{story}: nothing is left");
        }
        Scenario::DeleteGroupSnapshot => {
            assert!(whole.is_none() && snapshots.is_empty(), "{story}");
            assert_eq!(state.vdis.len(), MEMBERS, "{story}");
            assert_eq!(of_group.len(), MEMBERS, "{story}");
        }
        Scenario::GroupFromSnapshot => {
            let made = find(site, group).await.unwrap();
            assert_eq!(made.status, GroupStatus::Available, "{story}");
            assert_eq!(of_group.len(), MEMBERS, "{story}");
            for volume in of_group {
                assert_eq!(volume.status, VolumeStatus::Available, "{story}");
                let vdi = &state.vdis[&volume.vdi_uuid.unwrap()];
                assert_eq!(vdi.content, THEN, "{story}: {vdi:?}");
            }
        }
        Scenario::DeleteGroup => {
            assert_eq!(find(site, group).await, None, "{story}");
            assert!(of_group.is_empty() && state.vdis.is_empty(), "{story}");
        }
        other => panic!("{other:?} is about no group"),
    }
}

/// Asserts that no group is on its way for ever.
pub async fn assert_settled(site: &Site, story: &str) {
    let zone = site.zone.clone();
    let found = site.database().read(move |tx| {
        Ok((
            db::groups::on_their_way(tx, &zone, 10)?,
            db::group_snapshots::on_their_way(tx, &zone, 10)?,
        ))
    });
    let (groups, snapshots) = found.await.unwrap();
    assert!(groups.is_empty(), "{story}: {groups:?} for ever");
    assert!(snapshots.is_empty(), "{story}: {snapshots:?} for ever");
}

#[test]
fn without_a_promise_a_pool_that_keeps_no_moment_takes_them_one_by_one() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let id = group(&site, false).await;
        site.pool.change(|state| state.is_without_moments = true);
        let group_snapshot = take(&site, id).await;
        site.work(&site.engine().await).await;
        let (whole, snapshots) = taken(&site, group_snapshot).await;
        assert_eq!(whole.unwrap().status, GroupStatus::Available);
        for snapshot in snapshots {
            assert_eq!(snapshot.status, SnapshotStatus::Available);
            let vdi = &site.pool.state().vdis[&snapshot.vdi_uuid.unwrap()];
            assert_eq!((vdi.content, vdi.making.clone()), (THEN, None));
        }
    });
}

/// The snapshots are taken, the worker dies, and one is no longer wanted: the undo knows of all that were taken.
#[test]
fn what_an_earlier_try_took_is_removed_when_it_is_no_longer_wanted() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let id = group(&site, true).await;
        let group_snapshot = take(&site, id).await;
        let first = site.engine().await;
        // The claim, a mark for each member, and then as many snapshots.
        site.gate.watch(Some((2 * MEMBERS, Fault::DieAfter)));
        assert!(site.work_or_die(&first).await);
        let events = site.gate.heal();
        assert_eq!(events.last(), Some(&Event::Call("VDI.snapshot")));
        assert_eq!(site.pool.state().vdis.len(), 2 * MEMBERS);
        let (_, snapshots) = taken(&site, group_snapshot).await;
        let part = snapshots[0].id;
        let changed = site.database().write(move |tx| {
            let (from, to) = (SnapshotStatus::Creating, SnapshotStatus::Error);
            db::snapshots::change_status(tx, part, &[from], to, 1)
        });
        assert!(changed.await.unwrap());
        site.outlive_leases();
        site.work(&site.engine().await).await;
        let (whole, _) = taken(&site, group_snapshot).await;
        assert_eq!(whole.unwrap().status, GroupStatus::Error);
        let state = site.pool.state();
        assert_eq!(state.vdis.len(), MEMBERS, "nothing is left");
        // The dead worker's calls may still run: what they make is known by the marks, until a reconciler takes those off.
        assert!(state.vdis.values().all(|vdi| vdi.making.is_some()));
        site.reconcile(&site.engine().await).await;
        let state = site.pool.state();
        assert!(state.vdis.values().all(|vdi| vdi.making.is_none()));
    });
}

/// A call whose answer is lost, or that is not the only one of its moment, may make something later: the marks by which that is known
/// stay until a reconciler takes them off.
#[test]
fn marks_stay_while_nobody_knows_what_a_call_made() {
    // Behind the claim and a mark for each member: what becomes of the last snapshot, or of all.
    let last = 2 * MEMBERS;
    for (at, fault, marked) in [
        (last, Fault::LoseAnswer, true),
        (last, Fault::FailOnce, true),
        (1 + MEMBERS, Fault::Unreachable, false),
    ] {
        on(Kind::Sqlite, |installation| async move {
            let site = Site::new(&installation).await;
            let id = group(&site, true).await;
            let group_snapshot = take(&site, id).await;
            let engine = site.engine().await;
            site.gate.watch(Some((at, fault)));
            run_once(&engine).await;
            let events = site.gate.heal();
            assert_eq!(events[at], Event::Call("VDI.snapshot"));
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), MEMBERS, "{fault:?}: nothing is left");
            for row in state.vdis.values() {
                assert_eq!(row.making.is_some(), marked, "{fault:?}");
            }
            if marked {
                make_late(&site);
            }
            site.work(&engine).await;
            let (whole, snapshots) = taken(&site, group_snapshot).await;
            assert_eq!(whole.unwrap().status, GroupStatus::Available);
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), 2 * MEMBERS, "{fault:?}: what was late");
            for snapshot in snapshots {
                assert_eq!(state.vdis[&snapshot.vdi_uuid.unwrap()].content, THEN);
            }
            site.reconcile(&engine).await;
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), 2 * MEMBERS, "{fault:?}");
            assert!(state.vdis.values().all(|vdi| vdi.making.is_none()));
        });
    }
}

/// Has a snapshot of every volume's VDI appear that a call of an earlier try makes only now.
fn make_late(site: &Site) {
    site.pool.change(|state| {
        for (vdi, row) in state.vdis.clone() {
            let late = Vdi {
                is_a_snapshot: true,
                snapshot_of: Some(vdi),
                content: NOW,
                ..row
            };
            state.vdis.insert(Uuid::new_v4(), late);
        }
    });
}

/// Seen: a try whose outcome was known took the marks off by which a late call of the try before would have been known.
#[test]
fn an_answer_that_never_came_is_remembered_over_the_tries_behind_it() {
    // Behind the claim, the list of VDIs and what replaces the mark of the first member: the mark of the second, and what
    // becomes of the first snapshot.
    let (mark, snapshot) = (5, 8);
    for at in [mark, snapshot] {
        on(Kind::Sqlite, |installation| async move {
            let site = Site::new(&installation).await;
            let id = group(&site, true).await;
            let group_snapshot = take(&site, id).await;
            let engine = site.engine().await;
            site.gate.watch(Some((1 + MEMBERS, Fault::Late)));
            run_once(&engine).await;
            let events = site.gate.heal();
            assert_eq!(events[1 + MEMBERS], Event::Call("VDI.snapshot"));
            site.outlive_leases();
            site.gate.watch(Some((at, Fault::FailOnce)));
            run_once(&engine).await;
            let events = site.gate.heal();
            let failed = match at == mark {
                true => "VDI.add_to_other_config",
                false => "VDI.snapshot",
            };
            assert_eq!(events[at], Event::Call(failed), "{events:?}");
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), MEMBERS, "{failed}: nothing is left");
            let is_marked = |vdi: &Vdi| vdi.making.is_some();
            assert!(state.vdis.values().all(is_marked), "{failed}: {state:?}");
            make_late(&site);
            site.work(&engine).await;
            let (whole, _) = taken(&site, group_snapshot).await;
            assert_eq!(whole.unwrap().status, GroupStatus::Available);
            site.reconcile(&engine).await;
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), 2 * MEMBERS, "{failed}: what was late");
            assert!(!state.vdis.values().any(is_marked), "{failed}");
        });
    }
}

/// Claims what is due and runs it once, in which it is not done.
async fn run_once(engine: &Arc<Engine>) {
    let claimed = engine.claim(8).await.unwrap();
    assert_eq!(claimed.len(), 1);
    for one in claimed {
        let ended = engine.run(one).await;
        assert!(matches!(ended, Ended::Parked { .. }), "{ended:?}");
    }
}

/// Whoever finds that something else is being made from a VDI of its own does not keep its place, but comes again.
#[test]
fn who_waits_too_long_for_a_vdi_comes_again() {
    for group_is_first in [true, false] {
        on(Kind::Sqlite, |installation| async move {
            let site = Site::new(&installation).await;
            let id = group(&site, true).await;
            let member = members(&site, id).await[0].id;
            let engine = site.engine().await;
            // The claim and the marks are behind them then.
            let stalls_at = match group_is_first {
                true => 1 + MEMBERS,
                false => 2,
            };
            let (mut group_snapshot, mut snapshot, mut first) = (None, None, None);
            for is_first in [true, false] {
                match group_is_first == is_first {
                    true => group_snapshot = Some(take(&site, id).await),
                    false => snapshot = Some(site.create_snapshot(member).await.unwrap()),
                }
                if !is_first {
                    run_once(&engine).await;
                    // It has tried nothing, and comes again soon.
                    for waiting in site.unfinished().await {
                        assert_eq!(waiting.attempts, 0, "{waiting:?}");
                        let wait_us = waiting.not_before_us - waiting.updated_at_us;
                        assert!(wait_us <= 5_000_000, "{waiting:?}");
                    }
                    break;
                }
                site.gate.watch(Some((stalls_at, Fault::Stall)));
                let mut claimed = engine.claim(8).await.unwrap();
                let (one, engine) = (claimed.remove(0), Arc::clone(&engine));
                first = Some(tokio::spawn(async move { engine.run(one).await }));
                site.gate.stall().await;
            }
            let events = site.gate.heal();
            assert_eq!(events[stalls_at], Event::Call("VDI.snapshot"));
            site.gate.resume();
            first.unwrap().await.unwrap();
            site.work(&engine).await;
            let (whole, _) = taken(&site, group_snapshot.unwrap()).await;
            assert_eq!(whole.unwrap().status, GroupStatus::Available);
            let alone = site.snapshot(snapshot.unwrap()).await.unwrap();
            assert_eq!(alone.status, SnapshotStatus::Available);
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), 2 * MEMBERS + 1);
            assert!(state.vdis.values().all(|vdi| vdi.making.is_none()));
        });
    }
}

/// A member whose VDI is gone: the group goes into error, not away, and can be deleted again.
#[test]
fn a_member_that_cannot_be_removed_keeps_its_group() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let id = group(&site, false).await;
        let (service, requester) = (site.service(), site.requester());
        let mode = DeleteGroup::WithVolumes;
        groups::delete(service, &requester, id, mode).await.unwrap();
        let again = groups::delete(service, &requester, id, mode).await;
        assert!(again.unwrap_err().public.contains("deleting"));
        let engine = site.engine().await;
        site.gate.refuse("VDI.destroy");
        site.work(&engine).await;
        site.gate.heal();
        let left = find(&site, id).await.unwrap();
        assert_eq!(left.status, GroupStatus::ErrorDeleting);
        assert_eq!(left.failure, "2 of its 2 volumes are in error");
        groups::delete(service, &requester, id, mode).await.unwrap();
        site.work(&engine).await;
        assert_eq!(find(&site, id).await, None);
        assert!(site.pool.state().vdis.is_empty());
    });
}
