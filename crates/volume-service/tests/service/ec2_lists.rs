//! What EC2's lists ask of the database: many names at once, filters with several values, pages behind what is gone.

use volume_service::app::any_of::AnyOf;
use volume_service::app::snapshots::{self, CreateSnapshot, InUse, SnapshotQuery, SnapshotSortKey};
use volume_service::app::volumes::{self, CreateVolume, SortDirection, SortKey, VolumeQuery};
use volume_service::app::volumes::{VolumeSource, create};
use volume_service::model::id::VolumeId;
use volume_service::model::volume::Volume;

use crate::support::{Bench, flavor, map, on_each, requester, wanted, work_on_volumes};

/// Ten volumes of alice's, oldest first, half of them gold, each with its number as a tag, those of odd numbers with another one.
async fn fill(bench: &Bench) -> Vec<Volume> {
    flavor(bench, "gold").await;
    flavor(bench, "lead").await;
    let alice = requester("alice", "member");
    let mut made = Vec::new();
    for number in 0..10_usize {
        let text = number.to_string();
        let mut metadata = map(&[("number", &text)]);
        if number % 2 == 1 {
            metadata.insert("odd".to_owned(), String::new());
        }
        let wanted = CreateVolume {
            metadata,
            ..wanted(["gold", "lead"][number / 5], 1)
        };
        made.push(create(&bench.service, &alice, wanted).await.unwrap());
    }
    work_on_volumes(bench).await;
    made
}

fn names(all: &[Volume], numbers: &[usize]) -> Vec<String> {
    let name = |number: &usize| all[*number].ec2_id.clone();
    numbers.iter().map(name).collect()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn many_names_are_looked_up_at_once() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let service = &bench.service;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        // More than one statement's worth, with one of each kind of odd name.
        let mut asked = names(&made, &[3, 0, 9, 3]);
        asked.push(made[4].ec2_id[.."vol-01234567".len()].to_owned());
        asked.extend(texts(&[
            "vol-0123456789abcdef0",
            "vol-00000000",
            "snap-00000000",
            "x",
            "",
        ]));
        asked.extend((0..140).map(|number| format!("vol-{number:017x}")));
        asked.push(made[7].ec2_id.clone());
        let found = volumes::get_by_ec2_ids(service, &alice, asked.clone()).await;
        let found: Vec<Option<VolumeId>> = found
            .unwrap()
            .into_iter()
            .map(|volume| volume.map(|volume| volume.id))
            .collect();
        let mut expected = vec![None; asked.len()];
        for (place, number) in [(0, 3), (1, 0), (2, 9), (3, 3), (4, 4), (asked.len() - 1, 7)] {
            expected[place] = Some(made[number].id);
        }
        assert_eq!(found, expected);
        let foreign = volumes::get_by_ec2_ids(service, &bob, asked.clone()).await;
        assert!(foreign.unwrap().iter().all(Option::is_none));
        let admin = requester("bob", "admin");
        let all = volumes::get_by_ec2_ids(service, &admin, asked.clone()).await;
        assert_eq!(all.unwrap().iter().flatten().count(), 6);
        let bound = admin.within_project();
        let none = volumes::get_by_ec2_ids(service, &bound, asked).await;
        assert!(none.unwrap().iter().all(Option::is_none));
    });
}

#[test]
fn filters_with_several_values_are_decided_by_the_database() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let alice = requester("alice", "member");
        let cases: Vec<(AnyOf, Vec<usize>)> = vec![
            (AnyOf::default(), (0..10).collect()),
            (
                AnyOf {
                    ec2_ids: vec![names(&made, &[1, 8]), names(&made, &[8, 2])],
                    ..AnyOf::default()
                },
                vec![8],
            ),
            (
                AnyOf {
                    flavor_labels: vec![texts(&["gold", "tin"])],
                    tags: vec![("number".to_owned(), texts(&["1", "2", "7"]))],
                    ..AnyOf::default()
                },
                vec![1, 2],
            ),
            (
                AnyOf {
                    tag_keys: vec![texts(&["odd", "even"]), texts(&["number"])],
                    ..AnyOf::default()
                },
                vec![1, 3, 5, 7, 9],
            ),
            (
                AnyOf {
                    tag_keys: vec![Vec::new()],
                    ..AnyOf::default()
                },
                vec![],
            ),
            (
                AnyOf {
                    instance_ids: vec![texts(&["i-1"])],
                    ..AnyOf::default()
                },
                vec![],
            ),
            (
                AnyOf {
                    source_ec2_ids: vec![texts(&["snap-0123456789abcdef0", "snap-01234567"])],
                    ..AnyOf::default()
                },
                vec![],
            ),
        ];
        for (any_of, expected) in cases {
            let query = VolumeQuery {
                any_of: any_of.clone(),
                sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
                with_total: true,
                ..VolumeQuery::default()
            };
            let page = volumes::list(&bench.service, &alice, query).await.unwrap();
            let found: Vec<VolumeId> = page.items.iter().map(|volume| volume.id).collect();
            let ids: Vec<VolumeId> = expected.iter().map(|number| made[*number].id).collect();
            assert_eq!(found, ids, "{any_of:?}");
            assert_eq!(page.total, Some(ids.len() as u64), "{any_of:?}");
        }
    });
}

#[test]
fn snapshots_are_found_by_their_volume_and_volumes_by_their_snapshot() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let mut taken = Vec::new();
        for number in [0, 0, 1] {
            let wanted = CreateSnapshot {
                volume_id: made[number].id,
                name: String::new(),
                description: String::new(),
                metadata: map(&[("of", &number.to_string())]),
                in_use: InUse::Allow,
            };
            taken.push(snapshots::create(service, &alice, wanted).await.unwrap());
        }
        work_on_volumes(&bench).await;
        let copy = CreateVolume {
            source: VolumeSource::Snapshot(taken[1].id),
            ..wanted("gold", 1)
        };
        let copy = create(service, &alice, copy).await.unwrap();
        let of_snapshot = VolumeQuery {
            any_of: AnyOf {
                source_ec2_ids: vec![vec![taken[1].ec2_id.clone(), taken[2].ec2_id.clone()]],
                ..AnyOf::default()
            },
            ..VolumeQuery::default()
        };
        let found = volumes::list(service, &alice, of_snapshot).await.unwrap();
        assert_eq!(found.items.len(), 1);
        assert_eq!(found.items[0].id, copy.id);

        let listed = async |any_of: AnyOf, after| {
            let query = SnapshotQuery {
                any_of,
                after,
                sort: vec![(SnapshotSortKey::CreatedAt, SortDirection::Ascending)],
                ..SnapshotQuery::default()
            };
            let page = snapshots::list(service, &alice, query).await.unwrap();
            let ids = page.items.iter().map(|snapshot| snapshot.id);
            ids.collect::<Vec<_>>()
        };
        let of_volume = AnyOf {
            source_ec2_ids: vec![names(&made, &[0, 5])],
            ..AnyOf::default()
        };
        assert_eq!(listed(of_volume, None).await, [taken[0].id, taken[1].id]);
        let of_tag = AnyOf {
            tags: vec![("of".to_owned(), texts(&["1", "2"]))],
            tag_keys: vec![texts(&["of"])],
            ec2_ids: vec![taken.iter().map(|taken| taken.ec2_id.clone()).collect()],
            ..AnyOf::default()
        };
        assert_eq!(listed(of_tag, None).await, [taken[2].id]);
        let after = (taken[0].created_at_us, taken[0].id);
        let behind = listed(AnyOf::default(), Some(after)).await;
        assert_eq!(behind, [taken[1].id, taken[2].id]);
        let mut asked: Vec<String> = taken.iter().map(|taken| taken.ec2_id.clone()).collect();
        asked.push(taken[0].ec2_id[.."snap-01234567".len()].to_owned());
        asked.push("snap-0123456789abcdef0".to_owned());
        let found = snapshots::get_by_ec2_ids(service, &alice, asked)
            .await
            .unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|found| found.as_ref().map(|one| one.id))
            .collect();
        let [first, second, third] = [0, 1, 2].map(|number| Some(taken[number].id));
        assert_eq!(found, [first, second, third, first, None]);
    });
}

#[test]
fn a_page_begins_behind_what_is_gone() {
    on_each(|bench| async move {
        let made = fill(&bench).await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let gone = made[3].id;
        let removed = service.database.write(move |tx| {
            tx.execute("DELETE FROM operations", &[])?;
            tx.execute("DELETE FROM volumes WHERE id = ?1", &[gone.into()])
        });
        assert_eq!(removed.await.unwrap(), 1);
        let query = VolumeQuery {
            sort: vec![(SortKey::CreatedAt, SortDirection::Ascending)],
            after: Some((made[3].created_at_us, gone)),
            limit: Some(4),
            ..VolumeQuery::default()
        };
        let page = volumes::list(service, &alice, query).await.unwrap();
        let found: Vec<VolumeId> = page.items.iter().map(|volume| volume.id).collect();
        let expected: Vec<VolumeId> = made[4..8].iter().map(|volume| volume.id).collect();
        assert_eq!((found, page.has_more), (expected, true));
    });
}
