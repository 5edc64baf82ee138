//! Lists of volumes: a walk by marker equals the whole sorted list, whatever the order and the page.

use std::cmp::Ordering;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use volume_service::ErrorKind;
use volume_service::app::volumes::{SortDirection, SortKey, VolumeQuery, list};
use volume_service::db::volumes;
use volume_service::model::id::VolumeId;
use volume_service::model::volume::{Volume, VolumeStatus, VolumeTraits};

use crate::support::{Bench, flavor, map, on_each, requester};

const VOLUMES: usize = 60;
const CASES: usize = 80;

/// Volumes with many equal values, so that ties are the rule.
async fn fill(bench: &Bench) -> Vec<Volume> {
    let gold = flavor(bench, "gold").await;
    let made: Vec<Volume> = (0..VOLUMES)
        .map(|number| {
            let id = VolumeId(uuid::Uuid::new_v4());
            Volume {
                id,
                ec2_id: id.ec2_id(),
                project_id: if number % 6 == 5 { "bob" } else { "alice" }.to_owned(),
                user_id: "someone".to_owned(),
                name: ["", "a", "B", "b", "\u{e4}"][number % 5].to_owned(),
                description: String::new(),
                size_gib: 1 + (number as u64 * 7) % 4,
                extending_to_gib: None,
                source_snapshot_id: None,
                source_volume_id: None,
                status: VolumeStatus::ALL[number % 3],
                flavor_id: gold.id,
                flavor_label: "gold".to_owned(),
                zone: ["nova", "east"][number % 2].to_owned(),
                backend_id: None,
                vdi_uuid: None,
                bootable: number % 7 == 0,
                metadata: map(&[("parity", ["even", "odd"][number % 2])]),
                traits: VolumeTraits::default(),
                failure: String::new(),
                created_at_us: 1000 + (number as i64 * 13) % 10,
                updated_at_us: None,
            }
        })
        .collect();
    let rows = made.clone();
    bench
        .service
        .database
        .write(move |tx| {
            for volume in &rows {
                volumes::insert(tx, volume)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    made
}

fn compare(left: &Volume, right: &Volume, key: SortKey) -> Ordering {
    match key {
        SortKey::CreatedAt => left.created_at_us.cmp(&right.created_at_us),
        SortKey::UpdatedAt => left.updated_at_us.cmp(&right.updated_at_us),
        SortKey::Name => left.name.cmp(&right.name),
        SortKey::Size => left.size_gib.cmp(&right.size_gib),
        SortKey::Status => left.status.as_str().cmp(right.status.as_str()),
        SortKey::Zone => left.zone.cmp(&right.zone),
        SortKey::Bootable => left.bootable.cmp(&right.bootable),
        SortKey::Id => left.id.to_string().cmp(&right.id.to_string()),
    }
}

fn sorted(mut volumes: Vec<Volume>, sort: &[(SortKey, SortDirection)]) -> Vec<VolumeId> {
    let mut sort = sort.to_vec();
    if sort.is_empty() {
        sort.push((SortKey::CreatedAt, SortDirection::Descending));
    }
    let last = sort.last().unwrap().1;
    sort.extend([(SortKey::CreatedAt, last), (SortKey::Id, last)]);
    volumes.sort_by(|left, right| {
        sort.iter()
            .map(|(key, direction)| match direction {
                SortDirection::Ascending => compare(left, right, *key),
                SortDirection::Descending => compare(right, left, *key),
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    volumes.into_iter().map(|volume| volume.id).collect()
}

fn any_sort() -> impl Strategy<Value = Vec<(SortKey, SortDirection)>> {
    let key = prop::sample::select(vec![
        SortKey::CreatedAt,
        SortKey::UpdatedAt,
        SortKey::Name,
        SortKey::Size,
        SortKey::Status,
        SortKey::Zone,
        SortKey::Bootable,
        SortKey::Id,
    ]);
    let direction = prop::sample::select(vec![SortDirection::Ascending, SortDirection::Descending]);
    prop::collection::vec((key, direction), 0..4)
}

#[test]
fn a_walk_by_marker_equals_the_sorted_list() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let mut runner = TestRunner::deterministic();
        for _ in 0..CASES {
            let (sort, limit, all_projects) = (any_sort(), 1..20_usize, any::<bool>())
                .new_tree(&mut runner)
                .unwrap()
                .current();
            let request = requester("alice", if all_projects { "admin" } else { "reader" });
            let expected = sorted(
                made.iter()
                    .filter(|volume| all_projects || volume.project_id == "alice")
                    .cloned()
                    .collect(),
                &sort,
            );
            let mut query = VolumeQuery {
                all_projects,
                sort: sort.clone(),
                limit: Some(limit),
                with_total: true,
                ..VolumeQuery::default()
            };
            let mut walked = Vec::new();
            loop {
                let page = list(&bench.service, &request, query.clone()).await.unwrap();
                assert!(page.items.len() <= limit);
                assert_eq!(page.total, Some(expected.len() as u64));
                walked.extend(page.items.iter().map(|volume| volume.id));
                assert_eq!(page.has_more, walked.len() < expected.len(), "{sort:?}");
                if !page.has_more {
                    break;
                }
                query.marker = walked.last().copied();
            }
            assert_eq!(walked, expected, "{sort:?} by {limit}");
        }
    });
}

#[test]
fn filters_select_and_markers_must_exist() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let alice = requester("alice", "reader");
        let own: Vec<&Volume> = made.iter().filter(|v| v.project_id == "alice").collect();
        type Case = (VolumeQuery, Box<dyn Fn(&Volume) -> bool>);
        let all = VolumeQuery::default;
        let third = own[3].id;
        let cases: Vec<Case> = vec![
            (
                VolumeQuery {
                    name: Some("b".into()),
                    ..all()
                },
                Box::new(|v| v.name == "b"),
            ),
            (
                VolumeQuery {
                    statuses: vec![VolumeStatus::Creating, VolumeStatus::Reserved],
                    ..all()
                },
                Box::new(|v| matches!(v.status, VolumeStatus::Creating | VolumeStatus::Reserved)),
            ),
            (
                VolumeQuery {
                    flavor: Some("gold".into()),
                    ..all()
                },
                Box::new(|_| true),
            ),
            (
                VolumeQuery {
                    flavor: Some("lead".into()),
                    ..all()
                },
                Box::new(|_| false),
            ),
            (
                VolumeQuery {
                    zone: Some("east".into()),
                    ..all()
                },
                Box::new(|v| v.zone == "east"),
            ),
            (
                VolumeQuery {
                    size_gib: Some(3),
                    ..all()
                },
                Box::new(|v| v.size_gib == 3),
            ),
            (
                VolumeQuery {
                    bootable: Some(true),
                    ..all()
                },
                Box::new(|v| v.bootable),
            ),
            (
                VolumeQuery {
                    metadata: map(&[("parity", "odd")]),
                    ..all()
                },
                Box::new(|v| v.metadata["parity"] == "odd"),
            ),
            (
                VolumeQuery {
                    metadata: map(&[("parity", "odd"), ("x", "")]),
                    ..all()
                },
                Box::new(|_| false),
            ),
            (
                VolumeQuery {
                    ids: vec![third, VolumeId(uuid::Uuid::nil())],
                    ..all()
                },
                Box::new(move |v| v.id == third),
            ),
        ];
        for (query, is_wanted) in cases {
            let page = list(&bench.service, &alice, query.clone()).await.unwrap();
            let expected = own.iter().filter(|v| is_wanted(v)).count();
            assert_eq!(page.items.len(), expected, "{query:?}");
            assert!(page.items.iter().all(&is_wanted), "{query:?}");
            for volume in &page.items {
                assert!(own.contains(&volume), "metadata and all: {volume:?}");
            }
        }
        let skipped = list(
            &bench.service,
            &alice,
            VolumeQuery {
                offset: 48,
                ..all()
            },
        )
        .await
        .unwrap();
        assert_eq!(skipped.items.len(), own.len() - 48);
        let foreign = made.iter().find(|v| v.project_id == "bob").unwrap().id;
        for marker in [foreign, VolumeId(uuid::Uuid::nil())] {
            let query = VolumeQuery {
                marker: Some(marker),
                ..all()
            };
            let error = list(&bench.service, &alice, query).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::NotFound);
        }
        let wrong = [
            VolumeQuery {
                ids: vec![third; 1001],
                ..all()
            },
            VolumeQuery {
                offset: 100_001,
                ..all()
            },
        ];
        for query in wrong {
            let error = list(&bench.service, &alice, query).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
        }
    });
}

/// What is listed of large projects again and again: by time, name and state, filtered or sorted. Each plan is looked at.
#[test]
fn usual_lists_have_an_index() {
    on_each(|bench| async move {
        if !bench.url.starts_with("sqlite:") {
            return;
        }
        fill(&bench).await;
        for (filter, sort, index) in [
            (
                "v.project_id = 'a'",
                "created_at_us",
                "volumes_by_project_created",
            ),
            ("v.project_id = 'a'", "name", "volumes_named_in_project"),
            (
                "v.project_id = 'a'",
                "status",
                "volumes_by_status_in_project",
            ),
            (
                "v.project_id = 'a' AND v.name = 'x'",
                "created_at_us",
                "volumes_named_in_project",
            ),
            (
                "v.project_id = 'a' AND v.status = 'x'",
                "created_at_us",
                "volumes_by_status_in_project",
            ),
            ("v.name = 'x'", "created_at_us", "volumes_named"),
            ("1 = 1", "created_at_us", "volumes_by_created"),
            ("1 = 1", "name", "volumes_named"),
        ] {
            let (keys, values, order) = if sort == "created_at_us" {
                (
                    "v.created_at_us, v.id",
                    "?1, ?2",
                    "v.created_at_us DESC, v.id DESC",
                )
            } else {
                (
                    &*format!("v.{sort}, v.created_at_us, v.id"),
                    "?1, ?2, ?3",
                    &*format!("v.{sort} DESC, v.created_at_us DESC, v.id DESC"),
                )
            };
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT id, vdi_uuid FROM volumes v WHERE {filter} AND ({keys}) < ({values}) \
                 ORDER BY {order} LIMIT 10"
            );
            let count = values.matches('?').count();
            let plan = bench
                .service
                .database
                .read(move |tx| tx.query(&sql, &vec!["x".into(); count], |row| row.text(3)))
                .await
                .unwrap()
                .join("; ");
            assert!(
                plan.contains(&format!("INDEX {index} ")),
                "{filter}, {sort}: {plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{filter}, {sort}: {plan}");
        }
    });
}
