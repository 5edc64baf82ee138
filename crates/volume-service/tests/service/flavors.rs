//! Flavors with what the Block Storage API knows of them, on both databases.

use std::collections::BTreeMap;

use volume_service::app::flavors::{FlavorChange, FlavorQuery, FlavorSortKey, NewFlavor, Shown};
use volume_service::app::qos_specs::{self, QosQuery, WhileInUse};
use volume_service::app::volumes::SortDirection;
use volume_service::app::{
    self, default_flavors, flavor_access, flavor_encryption, flavor_specs, flavors, pools,
};
use volume_service::db;
use volume_service::model::flavor::{ControlLocation, Flavor};
use volume_service::model::id::FlavorId;
use volume_service::model::qos_specs::Consumer;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, flavor, map, on_each, requester, wanted, work_on_volumes};

fn everything() -> FlavorQuery {
    FlavorQuery {
        shown: Shown::All,
        label: None,
        description: None,
        specs: BTreeMap::new(),
        sort: vec![(FlavorSortKey::Label, SortDirection::Ascending)],
        marker: None,
        offset: 0,
        limit: None,
    }
}

async fn labels(bench: &Bench, request: &RequestContext, query: FlavorQuery) -> Vec<String> {
    let page = flavors::page(&bench.service, request, query).await.unwrap();
    let labels = page.items.into_iter().map(|one| one.flavor.label);
    labels.collect()
}

async fn private(bench: &Bench, label: &str, specs: &[(&str, &str)]) -> Flavor {
    let new = NewFlavor {
        label: label.to_owned(),
        is_private: true,
        specs: map(specs),
        ..NewFlavor::default()
    };
    let made = flavors::make(&bench.service, &RequestContext::operator(), new).await;
    made.unwrap().flavor
}

#[test]
fn a_private_flavor_is_for_projects_with_access() {
    on_each(|bench| async move {
        let (operator, alice) = (RequestContext::operator(), requester("alice", "member"));
        let gold = flavor(&bench, "gold").await;
        let own = private(&bench, "own", &[("a", "b")]).await;
        assert_eq!(
            labels(&bench, &operator, everything()).await,
            ["gold", "own"]
        );
        assert_eq!(labels(&bench, &alice, everything()).await, ["gold"]);
        let only_private = FlavorQuery {
            shown: Shown::Private,
            ..everything()
        };
        assert_eq!(
            labels(&bench, &operator, only_private.clone()).await,
            ["own"]
        );
        assert_eq!(labels(&bench, &alice, only_private).await, ["gold"]);
        let error = app::volumes::create(&bench.service, &alice, wanted("own", 1)).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::NotFound);
        let add = async |id| flavor_access::add(&bench.service, &operator, id, "alice").await;
        add(own.id).await.unwrap();
        assert_eq!(add(own.id).await.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(add(gold.id).await.unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(labels(&bench, &alice, everything()).await, ["gold", "own"]);
        app::volumes::create(&bench.service, &alice, wanted("own", 1))
            .await
            .unwrap();
        flavor_access::remove(&bench.service, &operator, own.id, "alice")
            .await
            .unwrap();
        let error = flavor_access::remove(&bench.service, &operator, own.id, "alice").await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::NotFound);
        let error = flavors::get(&bench.service, &alice, "own").await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::NotFound);

        // Its volumes keep it from changing, until it is everybody's by name only.
        let specs = map(&[("c", "d")]);
        let error = flavor_specs::set(&bench.service, &operator, own.id, specs.clone()).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Invalid);
        let change = FlavorChange {
            is_public: Some(true),
            label: Some("ours".to_owned()),
            ..FlavorChange::default()
        };
        let changed = flavors::update(&bench.service, &operator, own.id, change).await;
        let changed = changed.unwrap();
        assert!(changed.flavor.is_public);
        assert_eq!(changed.specs, map(&[("a", "b")]));
        flavors::get(&bench.service, &alice, "ours").await.unwrap();
        flavor_specs::set(&bench.service, &operator, gold.id, specs)
            .await
            .unwrap();
    });
}

#[test]
fn pages_of_flavors_follow_markers() {
    on_each(|bench| async move {
        let operator = RequestContext::operator();
        for number in 0..5 {
            private(
                &bench,
                &format!("f{number}"),
                &[("odd", ["no", "yes"][number % 2])],
            )
            .await;
        }
        for key in [
            FlavorSortKey::Label,
            FlavorSortKey::CreatedAt,
            FlavorSortKey::IsPublic,
            FlavorSortKey::Description,
            FlavorSortKey::Id,
        ] {
            for direction in [SortDirection::Ascending, SortDirection::Descending] {
                let mut query = FlavorQuery {
                    sort: vec![(key, direction)],
                    limit: Some(2),
                    ..everything()
                };
                let mut seen = Vec::new();
                loop {
                    let page = flavors::page(&bench.service, &operator, query.clone())
                        .await
                        .unwrap();
                    seen.extend(page.items.iter().map(|one| one.flavor.label.clone()));
                    if !page.has_more {
                        break;
                    }
                    query.marker = page.items.last().map(|one| one.flavor.id);
                }
                seen.sort();
                assert_eq!(
                    seen,
                    ["f0", "f1", "f2", "f3", "f4"],
                    "{key:?} {direction:?}"
                );
            }
        }
        let odd = FlavorQuery {
            specs: map(&[("odd", "yes")]),
            ..everything()
        };
        assert_eq!(labels(&bench, &operator, odd).await, ["f1", "f3"]);
        let unknown = FlavorQuery {
            marker: Some(FlavorId(uuid::Uuid::nil())),
            ..everything()
        };
        let error = flavors::page(&bench.service, &operator, unknown).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Invalid);
    });
}

#[test]
fn a_flavor_goes_when_nothing_refers_to_it() {
    on_each(|bench| async move {
        let operator = RequestContext::operator();
        let project = app::identity::create_project(&bench.service, &operator, "p", "")
            .await
            .unwrap();
        let own = private(&bench, "own", &[("a", "b")]).await;
        flavor_access::add(&bench.service, &operator, own.id, "p")
            .await
            .unwrap();
        default_flavors::set(&bench.service, &operator, &project.id, "own")
            .await
            .unwrap();
        // Of use to nobody there: the project has no access.
        let alone = default_flavors::get(&bench.service, &operator, &project.id).await;
        assert_eq!(alone.unwrap().flavor_id, own.id);
        let error = flavors::delete(&bench.service, &operator, "own").await;
        assert!(
            error
                .unwrap_err()
                .public
                .contains("is a default volume type")
        );
        let of_project = requester(&project.id, "member");
        let found = flavors::default(&bench.service, &of_project).await.unwrap();
        assert_eq!(found, None, "a private default is passed over");
        let error = flavors::delete_unless_default(&bench.service, &operator, own.id).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Invalid);
        default_flavors::unset(&bench.service, &operator, &project.id)
            .await
            .unwrap();
        let qos = qos_specs::create(
            &bench.service,
            &operator,
            "q",
            Consumer::Both,
            map(&[("a", "1")]),
        )
        .await
        .unwrap();
        qos_specs::associate(&bench.service, &operator, qos.id, own.id)
            .await
            .unwrap();
        let wanted = flavor_encryption::WantedEncryption {
            provider: Some("luks".to_owned()),
            control_location: Some(ControlLocation::BackEnd),
            ..Default::default()
        };
        flavor_encryption::create(&bench.service, &operator, own.id, wanted)
            .await
            .unwrap();
        let id = own.id;
        let facts = bench
            .service
            .database
            .read(move |tx| db::flavors::facts(tx, id))
            .await
            .unwrap();
        assert!(facts.needs_encryption && !facts.has_own_backends);
        assert_eq!(facts.specs, map(&[("a", "b")]));
        flavors::delete(&bench.service, &operator, "own")
            .await
            .unwrap();
        let left = qos_specs::flavors_of(&bench.service, &operator, qos.id).await;
        assert_eq!(left.unwrap(), []);
        qos_specs::remove(&bench.service, &operator, qos.id, WhileInUse::Refuse)
            .await
            .unwrap();
        let all = qos_specs::list(&bench.service, &operator, QosQuery::default()).await;
        assert!(all.unwrap().items.is_empty());
    });
}

#[test]
fn qos_specs_are_referred_to_by_flavors() {
    on_each(|bench| async move {
        let operator = RequestContext::operator();
        let (gold, silver) = (flavor(&bench, "gold").await, flavor(&bench, "silver").await);
        let service = &bench.service;
        let qos = qos_specs::create(
            service,
            &operator,
            "q",
            Consumer::BackEnd,
            map(&[("a", "1")]),
        )
        .await
        .unwrap();
        for id in [gold.id, silver.id] {
            qos_specs::associate(service, &operator, qos.id, id)
                .await
                .unwrap();
        }
        let error = qos_specs::create(service, &operator, "q", Consumer::Both, BTreeMap::new());
        assert_eq!(error.await.unwrap_err().kind, ErrorKind::Conflict);
        let change = map(&[("a", "2"), ("b", "3")]);
        qos_specs::update(
            service,
            &operator,
            qos.id,
            Some(Consumer::Both),
            change.clone(),
        )
        .await
        .unwrap();
        let id = gold.id;
        let seen = service
            .database
            .read(move |tx| db::qos_specs::of_flavor(tx, id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((seen.consumer, seen.specs), (Consumer::Both, change));
        let error = qos_specs::remove(service, &operator, qos.id, WhileInUse::Refuse).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Invalid);
        let names = vec!["a".to_owned(), "no".to_owned()];
        let error = qos_specs::remove_keys(service, &operator, qos.id, names).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::NotFound);
        let seen = qos_specs::get(service, &operator, qos.id).await.unwrap();
        assert_eq!(seen.specs.len(), 2, "all or none");
        qos_specs::remove(service, &operator, qos.id, WhileInUse::LeaveFlavors)
            .await
            .unwrap();
        let gold = flavors::get(service, &operator, "gold").await.unwrap();
        assert_eq!(gold.qos_id, None);
        work_on_volumes(&bench).await;
        assert!(
            pools::list(service, &operator, Some("gold"))
                .await
                .unwrap()
                .is_empty()
        );
    });
}
