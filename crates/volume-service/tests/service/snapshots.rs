//! Snapshots: lists, quotas, tenancy, sources of volumes, and what stands in whose way.

use std::cmp::Ordering;

use volume_service::app::modifications::{self, ModificationState};
use volume_service::app::snapshots::{
    self, CreateSnapshot, DeleteMode, InUse, SnapshotQuery, SnapshotSortKey, UpdateSnapshot,
};
use volume_service::app::volumes::{self, CreateVolume, SortDirection, VolumeSource};
use volume_service::app::{detaching, flavors, limits, overview};
use volume_service::config::Limits;
use volume_service::db;
use volume_service::error::{Error, Subject};
use volume_service::model::id::{SnapshotId, VolumeId};
use volume_service::model::snapshot::{Snapshot, SnapshotStatus, SnapshotTraits};
use volume_service::model::volume::VolumeStatus;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{
    Bench, available, flavor, map, on_each, on_each_with, requester, wanted, work_on_volumes,
};

fn of(volume_id: VolumeId) -> CreateSnapshot {
    CreateSnapshot {
        volume_id,
        name: String::new(),
        description: String::new(),
        metadata: Default::default(),
        in_use: InUse::Refuse,
    }
}

async fn taken(bench: &Bench, request: &RequestContext, volume: VolumeId) -> SnapshotId {
    let snapshot = snapshots::create(&bench.service, request, of(volume)).await;
    work_on_volumes(bench).await;
    snapshot.unwrap().id
}

async fn set_status(bench: &Bench, id: VolumeId, from: VolumeStatus, to: VolumeStatus) {
    let changed = bench
        .service
        .database
        .write(move |tx| db::volumes::change_status(tx, id, &[from], to, 1))
        .await;
    assert!(changed.unwrap());
}

fn about(error: &Error) -> (ErrorKind, Subject) {
    (error.kind, error.subject)
}

/// Snapshots with many equal values, so that ties are the rule.
async fn fill(bench: &Bench) -> Vec<Snapshot> {
    flavor(bench, "gold").await;
    let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
    let of_alice = [
        available(bench, &alice, "gold").await,
        available(bench, &alice, "gold").await,
    ];
    let of_bob = available(bench, &bob, "gold").await;
    let made: Vec<Snapshot> = (0..48)
        .map(|number| {
            let id = SnapshotId(uuid::Uuid::new_v4());
            let is_bobs = number % 6 == 5;
            Snapshot {
                id,
                ec2_id: id.ec2_id(),
                project_id: if is_bobs { "bob" } else { "alice" }.to_owned(),
                user_id: "someone".to_owned(),
                volume_id: if is_bobs {
                    of_bob
                } else {
                    of_alice[number % 2]
                },
                name: ["", "a", "B", "b", "\u{e4}"][number % 5].to_owned(),
                description: ["", "d"][number % 2].to_owned(),
                size_gib: 1 + (number as u64 * 7) % 4,
                status: SnapshotStatus::ALL[number % 3],
                zone: ["nova", "east"][number % 2].to_owned(),
                backend_id: None,
                vdi_uuid: None,
                metadata: map(&[("parity", ["even", "odd"][number % 2])]),
                traits: SnapshotTraits::default(),
                failure: String::new(),
                created_at_us: 1000 + (number as i64 * 13) % 10,
                updated_at_us: None,
            }
        })
        .collect();
    let rows = made.clone();
    let inserted = bench.service.database.write(move |tx| {
        for snapshot in &rows {
            assert!(db::snapshots::insert(tx, snapshot)?);
        }
        Ok(())
    });
    inserted.await.unwrap();
    made
}

fn compare(left: &Snapshot, right: &Snapshot, key: SnapshotSortKey) -> Ordering {
    match key {
        SnapshotSortKey::CreatedAt => left.created_at_us.cmp(&right.created_at_us),
        SnapshotSortKey::UpdatedAt => left.updated_at_us.cmp(&right.updated_at_us),
        SnapshotSortKey::Name => left.name.cmp(&right.name),
        SnapshotSortKey::Size => left.size_gib.cmp(&right.size_gib),
        SnapshotSortKey::Status => left.status.as_str().cmp(right.status.as_str()),
        SnapshotSortKey::Volume => left.volume_id.to_string().cmp(&right.volume_id.to_string()),
        SnapshotSortKey::Id => left.id.to_string().cmp(&right.id.to_string()),
    }
}

#[test]
fn a_walk_by_marker_equals_the_sorted_list() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let admin = requester("nobody", "admin");
        for key in [
            SnapshotSortKey::CreatedAt,
            SnapshotSortKey::UpdatedAt,
            SnapshotSortKey::Name,
            SnapshotSortKey::Size,
            SnapshotSortKey::Status,
            SnapshotSortKey::Volume,
            SnapshotSortKey::Id,
        ] {
            for (direction, limit) in [
                (SortDirection::Ascending, 7),
                (SortDirection::Descending, 20),
            ] {
                let mut expected = made.clone();
                expected.sort_by(|left, right| {
                    let id = compare(left, right, SnapshotSortKey::Id);
                    let order = compare(left, right, key).then(id);
                    match direction {
                        SortDirection::Ascending => order,
                        SortDirection::Descending => order.reverse(),
                    }
                });
                let mut query = SnapshotQuery {
                    all_projects: true,
                    sort: vec![(key, direction)],
                    limit: Some(limit),
                    with_total: true,
                    ..SnapshotQuery::default()
                };
                let mut seen = Vec::new();
                loop {
                    let page = snapshots::list(&bench.service, &admin, query.clone()).await;
                    let page = page.unwrap();
                    assert_eq!(page.total, Some(made.len() as u64));
                    seen.extend(page.items.iter().map(|snapshot| snapshot.id));
                    if !page.has_more {
                        break;
                    }
                    query.marker = seen.last().copied();
                }
                let expected: Vec<_> = expected.iter().map(|snapshot| snapshot.id).collect();
                assert_eq!(seen, expected, "{key:?} {direction:?}");
            }
        }
    });
}

#[test]
fn filters_find_what_a_look_at_all_rows_finds() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let alice = requester("alice", "reader");
        let volume = made[0].volume_id;
        type Judge = Box<dyn Fn(&Snapshot) -> bool>;
        let cases: Vec<(SnapshotQuery, Judge)> = vec![
            (SnapshotQuery::default(), Box::new(|_| true)),
            (
                SnapshotQuery {
                    name: Some("b".into()),
                    ..Default::default()
                },
                Box::new(|one| one.name == "b"),
            ),
            (
                SnapshotQuery {
                    description: Some("d".into()),
                    zone: Some("east".into()),
                    ..Default::default()
                },
                Box::new(|one| one.description == "d" && one.zone == "east"),
            ),
            (
                SnapshotQuery {
                    statuses: vec![SnapshotStatus::Available, SnapshotStatus::Restoring],
                    size_gib: Some(2),
                    ..Default::default()
                },
                Box::new(|one| one.status != SnapshotStatus::Creating && one.size_gib == 2),
            ),
            (
                SnapshotQuery {
                    volume_ids: vec![volume],
                    metadata: map(&[("parity", "even")]),
                    ..Default::default()
                },
                Box::new(move |one| one.volume_id == volume && one.metadata["parity"] == "even"),
            ),
            (
                SnapshotQuery {
                    ids: vec![made[0].id, made[5].id],
                    ..Default::default()
                },
                Box::new({
                    let id = made[0].id;
                    move |one| one.id == id
                }),
            ),
        ];
        for (query, judge) in cases {
            let page = snapshots::list(&bench.service, &alice, query.clone()).await;
            let mut found: Vec<_> = page.unwrap().items;
            found.sort_by_key(|snapshot| snapshot.id.to_string());
            let mut expected: Vec<_> = made
                .iter()
                .filter(|one| one.project_id == "alice" && judge(one))
                .cloned()
                .collect();
            expected.sort_by_key(|snapshot| snapshot.id.to_string());
            assert_eq!(found, expected, "{query:?}");
        }
        // Bob's snapshot is no marker of Alice's list.
        let query = SnapshotQuery {
            marker: Some(made[5].id),
            ..Default::default()
        };
        let refused = snapshots::list(&bench.service, &alice, query).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn snapshots_and_extensions_count_in_the_quotas_and_are_given_back() {
    let tight = Limits {
        snapshots_per_project: 2,
        gigabytes_per_project: 6,
        ..Limits::default()
    };
    on_each_with(tight, |bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let s = &bench.service;
        let volume = available(&bench, &alice, "gold").await;
        let used = async || {
            let usage = overview::usage(s, &alice).await.unwrap();
            (usage.volumes, usage.snapshots, usage.gigabytes)
        };
        let first = taken(&bench, &alice, volume).await;
        taken(&bench, &alice, volume).await;
        assert_eq!(used().await, (1, 2, 3));
        let refused = snapshots::create(s, &alice, of(volume)).await.unwrap_err();
        assert_eq!(
            about(&refused),
            (ErrorKind::QuotaExceeded, Subject::Snapshot)
        );
        assert_eq!(used().await, (1, 2, 3), "a refusal costs nothing");
        let refused = volumes::extend(s, &alice, volume, 5, InUse::Refuse).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::QuotaExceeded);
        let extended = volumes::extend(s, &alice, volume, 4, InUse::Refuse).await;
        let extended = extended.unwrap();
        assert_eq!(
            (
                extended.status,
                extended.size_gib,
                extended.extending_to_gib
            ),
            (VolumeStatus::Extending, 1, Some(4))
        );
        assert_eq!(used().await, (1, 2, 6), "from the request on");
        let seen = modifications::of_volumes(s, &alice, vec![extended.id])
            .await
            .unwrap();
        let (original, target) = (&seen[0].original, &seen[0].target);
        assert_eq!(
            (seen[0].state, original.size_gib, target.size_gib),
            (ModificationState::Modifying, 1, 4)
        );
        work_on_volumes(&bench).await;
        assert_eq!(volumes::get(s, &alice, volume).await.unwrap().size_gib, 4);
        assert_eq!(used().await, (1, 2, 6));
        let refused = volumes::create(s, &alice, wanted("gold", 1)).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::QuotaExceeded);
        snapshots::delete(s, &alice, first, DeleteMode::Normal)
            .await
            .unwrap();
        work_on_volumes(&bench).await;
        assert_eq!(used().await, (1, 1, 5));
        let bob = requester("bob", "member");
        let usage = overview::usage(s, &bob).await.unwrap();
        assert_eq!((usage.snapshots, usage.gigabytes), (0, 0));
    });
}

#[test]
fn states_that_stand_in_the_way() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, admin) = (requester("alice", "member"), requester("alice", "admin"));
        let s = &bench.service;
        let volume = available(&bench, &alice, "gold").await;
        let of_volume = (ErrorKind::Conflict, Subject::Volume);
        let of_snapshot = (ErrorKind::Conflict, Subject::Snapshot);

        let being_taken = snapshots::create(s, &alice, of(volume)).await.unwrap().id;
        let from_it = CreateVolume {
            source: VolumeSource::Snapshot(being_taken),
            ..CreateVolume::default()
        };
        let refused = volumes::create(s, &alice, from_it.clone())
            .await
            .unwrap_err();
        assert_eq!(about(&refused), of_snapshot, "{refused}");
        let extend = async || {
            let done = volumes::extend(s, &alice, volume, 2, InUse::Refuse).await;
            about(&done.unwrap_err())
        };
        assert_eq!(extend().await, of_volume);
        for mode in [DeleteMode::Normal, DeleteMode::Force] {
            let refused = snapshots::delete(s, &admin, being_taken, mode).await;
            assert_eq!(about(&refused.unwrap_err()), of_snapshot, "{mode:?}");
        }
        let shown = snapshots::get(s, &alice, being_taken).await.unwrap();
        assert_eq!(
            shown.status,
            SnapshotStatus::Creating,
            "refusals change nothing"
        );
        work_on_volumes(&bench).await;

        // A volume is being made from it: it stays until that is done.
        let child = volumes::create(s, &alice, from_it).await.unwrap();
        assert_eq!(child.source_snapshot_id, Some(being_taken));
        let refused = snapshots::delete(s, &alice, being_taken, DeleteMode::Normal).await;
        assert_eq!(about(&refused.unwrap_err()), of_snapshot);
        let refused = volumes::delete(s, &alice, volume, volumes::DeleteMode::Cascade).await;
        assert!(refused.is_err());
        work_on_volumes(&bench).await;

        // A volume that is being cloned keeps its size: the clone was asked for, and counted, with that.
        let clone = CreateVolume {
            source: VolumeSource::Volume(volume),
            ..CreateVolume::default()
        };
        volumes::create(s, &alice, clone).await.unwrap();
        assert_eq!(extend().await, of_volume);
        let shown = volumes::get(s, &alice, volume).await.unwrap();
        assert_eq!(
            (shown.status, shown.extending_to_gib),
            (VolumeStatus::Available, None)
        );
        work_on_volumes(&bench).await;

        // With a snapshot, only together with it.
        let refused = volumes::delete(s, &alice, volume, volumes::DeleteMode::Normal).await;
        assert_eq!(about(&refused.unwrap_err()), of_volume);
        set_status(&bench, volume, VolumeStatus::Available, VolumeStatus::InUse).await;
        let refused = snapshots::create(s, &alice, of(volume)).await.unwrap_err();
        assert_eq!(about(&refused), of_volume);
        let in_use = CreateSnapshot {
            in_use: InUse::Allow,
            ..of(volume)
        };
        snapshots::create(s, &alice, in_use).await.unwrap();
        work_on_volumes(&bench).await;
        let refused = volumes::revert(s, &alice, volume, being_taken).await;
        assert_eq!(about(&refused.unwrap_err()), of_volume);
        detaching::begin(s, &alice, volume).await.unwrap();
        let refused = snapshots::create(s, &alice, of(volume)).await.unwrap_err();
        assert_eq!(about(&refused), of_volume);
        detaching::roll_back(s, &alice, volume).await.unwrap();
        let shown = volumes::get(s, &alice, volume).await.unwrap();
        assert_eq!(
            shown.status,
            VolumeStatus::Available,
            "it has no attachment"
        );
        let refused = volumes::revert(s, &alice, volume, being_taken).await;
        assert_eq!(
            refused.unwrap_err().kind,
            ErrorKind::Invalid,
            "not the latest"
        );
    });
}

#[test]
fn a_snapshot_outlives_its_volume() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, admin) = (requester("alice", "member"), requester("alice", "admin"));
        let s = &bench.service;
        let volume = available(&bench, &alice, "gold").await;
        let keep = async || {
            let mode = volumes::DeleteMode::KeepSnapshots;
            volumes::delete(s, &alice, volume, mode).await
        };
        let snapshot = snapshots::create(s, &alice, of(volume)).await.unwrap().id;
        let refused = keep().await.unwrap_err();
        assert_eq!(about(&refused), (ErrorKind::Conflict, Subject::Volume));
        work_on_volumes(&bench).await;
        keep().await.unwrap();
        work_on_volumes(&bench).await;
        let gone = volumes::get(s, &alice, volume).await.unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
        let shown = snapshots::get(s, &alice, snapshot).await.unwrap();
        assert_eq!(
            (shown.status, shown.volume_id),
            (SnapshotStatus::Available, volume)
        );
        let usage = overview::usage(s, &alice).await.unwrap();
        assert_eq!((usage.volumes, usage.snapshots, usage.gigabytes), (0, 1, 1));
        let query = SnapshotQuery {
            volume_ids: vec![volume],
            ..SnapshotQuery::default()
        };
        let listed = snapshots::list(s, &alice, query).await.unwrap();
        assert_eq!(listed.items.len(), 1);

        // A volume that is made from it is as the first one was.
        let from_it = CreateVolume {
            source: VolumeSource::Snapshot(snapshot),
            ..CreateVolume::default()
        };
        let made = volumes::create(s, &alice, from_it.clone()).await.unwrap();
        assert_eq!((made.flavor_label.as_str(), made.size_gib), ("gold", 1));
        work_on_volumes(&bench).await;
        volumes::delete(s, &alice, made.id, volumes::DeleteMode::Normal)
            .await
            .unwrap();
        work_on_volumes(&bench).await;
        // Its flavor may be gone too: then another one is to be named.
        flavors::delete(s, &admin, "gold").await.unwrap();
        flavor(&bench, "silver").await;
        let refused = volumes::create(s, &alice, from_it.clone()).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
        let named = CreateVolume {
            flavor: Some("silver".to_owned()),
            ..from_it
        };
        volumes::create(s, &alice, named).await.unwrap();
        work_on_volumes(&bench).await;
        snapshots::delete(s, &alice, snapshot, DeleteMode::Normal)
            .await
            .unwrap();
        work_on_volumes(&bench).await;
        let gone = snapshots::get(s, &alice, snapshot).await.unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
    });
}

#[test]
fn a_cascade_takes_a_bounded_number_of_snapshots_along() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let s = &bench.service;
        let volume = available(&bench, &alice, "gold").await;
        let first = taken(&bench, &alice, volume).await;
        let pattern = snapshots::get(s, &alice, first).await.unwrap();
        let inserted = s.database.write(move |tx| {
            for _ in 0..volumes::CASCADE_MAX {
                let id = SnapshotId(uuid::Uuid::new_v4());
                let another = Snapshot {
                    id,
                    ec2_id: id.ec2_id(),
                    ..pattern.clone()
                };
                assert!(db::snapshots::insert(tx, &another)?);
            }
            Ok(())
        });
        inserted.await.unwrap();
        let cascade = async || {
            let mode = volumes::DeleteMode::Cascade;
            volumes::delete(s, &alice, volume, mode).await
        };
        let refused = cascade().await.unwrap_err();
        assert_eq!(about(&refused), (ErrorKind::Conflict, Subject::Volume));
        assert!(refused.public.contains("more than 1000"), "{refused}");
        snapshots::delete(s, &alice, first, DeleteMode::Normal)
            .await
            .unwrap();
        work_on_volumes(&bench).await;
        cascade().await.unwrap();
    });
}

#[test]
fn another_projects_snapshots_do_not_exist_and_readers_change_nothing() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let reader = requester("alice", "reader");
        let s = &bench.service;
        let volume = available(&bench, &alice, "gold").await;
        let id = taken(&bench, &alice, volume).await;
        let change = || UpdateSnapshot {
            name: Some("mine".into()),
            ..Default::default()
        };
        let from_it = || CreateVolume {
            source: VolumeSource::Snapshot(id),
            ..CreateVolume::default()
        };
        for (who, kind) in [(&bob, ErrorKind::NotFound), (&reader, ErrorKind::Forbidden)] {
            let refusals = [
                snapshots::create(s, who, of(volume)).await.err(),
                snapshots::update(s, who, id, change()).await.err(),
                snapshots::merge_metadata(s, who, id, map(&[("a", "b")]))
                    .await
                    .err(),
                snapshots::delete_metadata_key(s, who, id, "a").await.err(),
                snapshots::delete(s, who, id, DeleteMode::Normal)
                    .await
                    .err(),
                volumes::create(s, who, from_it()).await.err(),
                volumes::extend(s, who, volume, 2, InUse::Allow).await.err(),
                volumes::revert(s, who, volume, id).await.err(),
                detaching::begin(s, who, volume).await.err(),
                detaching::roll_back(s, who, volume).await.err(),
            ];
            for (place, refusal) in refusals.into_iter().enumerate() {
                let refusal = refusal.unwrap_or_else(|| panic!("{place} was let through"));
                assert_eq!(refusal.kind, kind, "{place}: {refusal}");
            }
        }
        let hidden = snapshots::get_by_ec2_id(s, &bob, &id.ec2_id()).await;
        assert_eq!(hidden.unwrap_err().kind, ErrorKind::NotFound);
        let everybody = SnapshotQuery {
            all_projects: true,
            ..Default::default()
        };
        let refused = snapshots::list(s, &bob, everybody).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
        let forced = snapshots::delete(s, &alice, id, DeleteMode::Force).await;
        assert_eq!(forced.unwrap_err().kind, ErrorKind::Forbidden);
        let shown = snapshots::get_by_ec2_id(s, &reader, &id.ec2_id())
            .await
            .unwrap();
        assert_eq!((shown.id, shown.name.as_str()), (id, ""));
    });
}

#[test]
fn a_volume_takes_size_flavor_and_zone_of_its_source() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        flavor(&bench, "silver").await;
        let alice = requester("alice", "member");
        let s = &bench.service;
        let wanted = CreateVolume {
            zone: Some("east".into()),
            ..wanted("gold", 3)
        };
        let source = volumes::create(s, &alice, wanted).await.unwrap();
        work_on_volumes(&bench).await;
        let snapshot = taken(&bench, &alice, source.id).await;
        for from in [
            VolumeSource::Snapshot(snapshot),
            VolumeSource::Volume(source.id),
        ] {
            let plain = CreateVolume {
                source: from,
                ..CreateVolume::default()
            };
            let made = volumes::create(s, &alice, plain.clone()).await.unwrap();
            assert_eq!(
                (
                    made.size_gib,
                    made.flavor_label.as_str(),
                    made.zone.as_str()
                ),
                (3, "gold", "east")
            );
            let shown = volumes::get(s, &alice, made.id).await.unwrap();
            assert_eq!(shown.source_snapshot_id, from.snapshot_id());
            assert_eq!(shown.source_volume_id, from.volume_id());
            let other = CreateVolume {
                size_gib: 4,
                flavor: Some("silver".into()),
                client_token: Some(format!("{from:?}")),
                ..plain.clone()
            };
            let made = volumes::create(s, &alice, other.clone()).await.unwrap();
            assert_eq!((made.size_gib, made.flavor_label.as_str()), (4, "silver"));
            let again = volumes::create(s, &alice, other.clone()).await.unwrap();
            assert_eq!(again.id, made.id);
            let blank = CreateVolume {
                source: VolumeSource::Blank,
                ..other
            };
            let mismatch = volumes::create(s, &alice, blank).await.unwrap_err();
            assert_eq!(about(&mismatch), (ErrorKind::Conflict, Subject::Request));
            for wrong in [
                CreateVolume {
                    size_gib: 2,
                    ..plain.clone()
                },
                CreateVolume {
                    size_gib: limits::SIZE_GIB_MAX + 1,
                    ..plain.clone()
                },
                CreateVolume {
                    zone: Some("nova".into()),
                    ..plain.clone()
                },
            ] {
                let refused = volumes::create(s, &alice, wrong).await.unwrap_err();
                assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
            }
            work_on_volumes(&bench).await;
        }
    });
}

#[test]
fn ten_thousand_snapshots_are_walked_by_pages() {
    const SNAPSHOTS: usize = 10_000;
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = available(&bench, &alice, "gold").await;
        let first = taken(&bench, &alice, volume).await;
        let first = snapshots::get(&bench.service, &alice, first).await.unwrap();
        let row = first.clone();
        let filled = bench.service.database.write(move |tx| {
            for number in 1..SNAPSHOTS {
                let mut snapshot = row.clone();
                snapshot.id = SnapshotId(uuid::Uuid::new_v4());
                snapshot.ec2_id = snapshot.id.ec2_id();
                snapshot.created_at_us += (number % 100) as i64;
                assert!(db::snapshots::insert(tx, &snapshot)?);
            }
            Ok(())
        });
        filled.await.unwrap();
        let mut found = std::collections::BTreeSet::new();
        let mut query = SnapshotQuery {
            with_total: true,
            ..SnapshotQuery::default()
        };
        loop {
            let page = snapshots::list(&bench.service, &alice, query.clone()).await;
            let page = page.unwrap();
            assert_eq!(page.total, Some(SNAPSHOTS as u64));
            query.marker = page.items.last().map(|snapshot| snapshot.id);
            found.extend(page.items.into_iter().map(|snapshot| snapshot.id));
            if !page.has_more {
                break;
            }
        }
        assert_eq!(found.len(), SNAPSHOTS);
        let usage = overview::usage(&bench.service, &alice).await.unwrap();
        assert_eq!(usage.snapshots, SNAPSHOTS as u64);
        assert_eq!(usage.gigabytes, SNAPSHOTS as u64 + 1);
    });
}
