//! Tags of many things at once, on both databases.

use std::collections::BTreeMap;

use volume_service::app::snapshots::{self, CreateSnapshot, InUse};
use volume_service::app::tags::{self, Change, Kind, Removal, TagQuery};
use volume_service::app::volumes::{self, create};
use volume_service::error::{ErrorKind, Subject};

use crate::support::{Bench, flavor, map, on_each, requester, wanted, work_on_volumes};

/// EC2 names of so many volumes of alice's, and of a snapshot of the first.
async fn fill(bench: &Bench, count: usize) -> Vec<String> {
    flavor(bench, "gold").await;
    let (service, alice) = (&bench.service, requester("alice", "member"));
    let mut names = Vec::new();
    let mut first = None;
    for _ in 0..count {
        let volume = create(service, &alice, wanted("gold", 1)).await.unwrap();
        first.get_or_insert(volume.id);
        names.push(volume.ec2_id);
    }
    work_on_volumes(bench).await;
    let wanted = CreateSnapshot {
        volume_id: first.unwrap(),
        name: String::new(),
        description: String::new(),
        metadata: map(&[("of", "first")]),
        in_use: InUse::Allow,
    };
    let snapshot = snapshots::create(service, &alice, wanted).await.unwrap();
    names.push(snapshot.ec2_id);
    names
}

fn query() -> TagQuery {
    TagQuery {
        kinds: Kind::ALL.to_vec(),
        ..TagQuery::default()
    }
}

#[test]
fn one_change_writes_to_more_things_than_one_statement_holds() {
    on_each(|bench| async move {
        let names = fill(&bench, 130).await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let added = map(&[("a", "1"), ("b", "2")]);
        let change = Change::Add(added);
        tags::change(service, &alice, names.clone(), change)
            .await
            .unwrap();
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let query = TagQuery {
                after,
                limit: Some(50),
                ..query()
            };
            let page = tags::list(service, &alice, query).await.unwrap();
            let last = page.items.last().unwrap();
            after = Some((last.resource.clone(), last.key.clone()));
            found.extend(page.items);
            if !page.has_more {
                break;
            }
        }
        let mut expected: Vec<(String, String)> = names
            .iter()
            .flat_map(|name| {
                [
                    (name.clone(), "a".to_owned()),
                    (name.clone(), "b".to_owned()),
                ]
            })
            .collect();
        expected.push((names[130].clone(), "of".to_owned()));
        expected.sort();
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|tag| (tag.resource, tag.key))
            .collect();
        assert_eq!(found, expected);

        // OpenStack's metadata are the same.
        let volume = volumes::get_by_ec2_id(service, &alice, &names[129])
            .await
            .unwrap();
        assert_eq!(volume.metadata, map(&[("a", "1"), ("b", "2")]));
        assert!(volume.updated_at_us.is_some());

        let gone = Removal::Pair("a".to_owned(), "1".to_owned());
        let kept = Removal::Pair("b".to_owned(), "1".to_owned());
        let change = Change::Remove(vec![gone, kept]);
        tags::change(service, &alice, names.clone(), change)
            .await
            .unwrap();
        let narrowed = TagQuery {
            kinds: vec![Kind::Volume],
            resources: vec![vec![names[0].clone(), names[129].clone()]],
            values: vec![vec!["1".to_owned(), "2".to_owned()]],
            keys: vec![vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()]],
            ..query()
        };
        let left = tags::list(service, &alice, narrowed).await.unwrap();
        assert_eq!(left.items.len(), 2);
        assert!(
            left.items
                .iter()
                .all(|tag| tag.key == "b" && tag.value == "2")
        );
        let change = Change::Remove(vec![Removal::AllBut(tags::RESERVED)]);
        tags::change(service, &alice, names, change).await.unwrap();
        let none = tags::list(service, &alice, query()).await.unwrap();
        assert!(none.items.is_empty(), "{:?}", none.items);
    });
}

#[test]
fn all_or_none_are_written_and_only_the_projects_own() {
    on_each(|bench| async move {
        let names = fill(&bench, 2).await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let bob = requester("bob", "member");
        let colour = Change::Add(map(&[("colour", "red")]));
        let refused = tags::change(service, &bob, names.clone(), colour.clone()).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
        let mut more = names.clone();
        more.push("vol-0123456789abcdef0".to_owned());
        let refused = tags::change(service, &alice, more, colour.clone()).await;
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.kind, refused.subject),
            (ErrorKind::NotFound, Subject::Volume)
        );
        assert_eq!(refused.object, "vol-0123456789abcdef0");
        let reader = requester("alice", "reader");
        let refused = tags::change(service, &reader, names.clone(), colour).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
        // One of them has 49 already: with two more it would have 51.
        let many: BTreeMap<String, String> = (0..49)
            .map(|number| (format!("k{number}"), String::new()))
            .collect();
        tags::change(service, &alice, names[..1].to_vec(), Change::Add(many))
            .await
            .unwrap();
        let two = Change::Add(map(&[("x", ""), ("y", "")]));
        let refused = tags::change(service, &alice, names.clone(), two).await;
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.kind, refused.subject),
            (ErrorKind::QuotaExceeded, Subject::Metadata)
        );
        let written = TagQuery {
            keys: vec![vec!["colour".to_owned(), "x".to_owned(), "y".to_owned()]],
            ..query()
        };
        let none = tags::list(service, &alice, written).await.unwrap();
        assert!(none.items.is_empty(), "{:?}", none.items);
        let foreign = tags::list(service, &bob, query()).await.unwrap();
        assert!(foreign.items.is_empty(), "{:?}", foreign.items);
    });
}
