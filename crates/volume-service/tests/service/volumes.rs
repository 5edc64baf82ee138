//! Volumes: what is accepted, what is refused, and what a request leaves in the database.

use volume_service::ErrorKind;
use volume_service::app::volumes::{
    self, CreateVolume, DeleteMode, UpdateVolume, VolumeQuery, create, delete, get, list,
};
use volume_service::config::Limits;
use volume_service::db::{self, operations};
use volume_service::error::Subject;
use volume_service::model::operation::{OperationKind, OperationState};
use volume_service::model::volume::VolumeStatus;

use crate::support::{
    Bench, available, flavor, map, on_each, on_each_with, requester, wanted, work_on_volumes,
};

#[test]
fn a_request_leaves_a_volume_and_its_operation() {
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = create(
            &bench.service,
            &alice,
            CreateVolume {
                description: "what I keep".to_owned(),
                metadata: map(&[("a", "1"), ("b", "2")]),
                zone: Some("east".to_owned()),
                ..wanted("gold", 7)
            },
        )
        .await
        .unwrap();
        assert_eq!(volume.status, VolumeStatus::Creating);
        assert_eq!((volume.size_gib, volume.zone.as_str()), (7, "east"));
        assert_eq!(
            (volume.flavor_id, volume.flavor_label.as_str()),
            (gold.id, "gold")
        );
        assert_eq!(volume.ec2_id, volume.id.ec2_id());
        assert_eq!(
            get(&bench.service, &alice, volume.id).await.unwrap(),
            volume
        );
        let by_name = volumes::get_by_ec2_id(&bench.service, &alice, &volume.ec2_id).await;
        assert_eq!(by_name.unwrap(), volume);
        let short = &volume.ec2_id[..12];
        let by_short = volumes::get_by_ec2_id(&bench.service, &alice, short).await;
        assert_eq!(by_short.unwrap(), volume);

        let target = volume.id.to_string();
        let operation = bench
            .service
            .database
            .read(move |tx| operations::find_unfinished(tx, &target))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(operation.kind, OperationKind::CreateVolume);
        assert_eq!(
            (operation.state, operation.zone.as_str()),
            (OperationState::Pending, "east")
        );
        assert_eq!(operation.request_id, "req-test");
    });
}

#[test]
fn wrong_requests_are_refused_and_leave_nothing() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let long = "x".repeat(257);
        let gold = wanted("gold", 1);
        let refused = [
            (ErrorKind::Invalid, Subject::Request, wanted("gold", 0)),
            (ErrorKind::Invalid, Subject::Request, wanted("gold", 2041)),
            (
                ErrorKind::Invalid,
                Subject::Request,
                wanted("gold", u64::MAX),
            ),
            (ErrorKind::NotFound, Subject::Flavor, wanted("copper", 1)),
            (
                ErrorKind::Invalid,
                Subject::Flavor,
                CreateVolume {
                    flavor: None,
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::Invalid,
                Subject::Zone,
                CreateVolume {
                    zone: Some("west".into()),
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::Invalid,
                Subject::Request,
                CreateVolume {
                    name: long.clone(),
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::Invalid,
                Subject::Request,
                CreateVolume {
                    description: long.clone(),
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::Invalid,
                Subject::Request,
                CreateVolume {
                    name: "a\0b".into(),
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::Invalid,
                Subject::Metadata,
                CreateVolume {
                    metadata: map(&[("", "x")]),
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::Invalid,
                Subject::Metadata,
                CreateVolume {
                    metadata: map(&[(&long, "x")]),
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::Invalid,
                Subject::Metadata,
                CreateVolume {
                    metadata: map(&[("x", &long)]),
                    ..gold.clone()
                },
            ),
            (
                ErrorKind::QuotaExceeded,
                Subject::Metadata,
                CreateVolume {
                    metadata: (0..129).map(|n| (n.to_string(), String::new())).collect(),
                    ..gold.clone()
                },
            ),
        ];
        for (kind, subject, wrong) in refused {
            let error = create(&bench.service, &alice, wrong.clone())
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind, error.subject),
                (kind, subject),
                "{wrong:?}: {error}"
            );
        }
        for name in [
            "vol-",
            "vol-xyz",
            "vol-0123456789",
            "VOL-01234567",
            "snap-01234567",
            "vol-0123456g",
        ] {
            let error = volumes::get_by_ec2_id(&bench.service, &alice, name)
                .await
                .unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{name}");
        }
        let all = list(&bench.service, &alice, VolumeQuery::default())
            .await
            .unwrap();
        assert!(all.items.is_empty());
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn the_flavor_called_default_serves_requests_that_name_none() {
    on_each(|bench| async move {
        flavor(&bench, "default").await;
        let wanted = CreateVolume {
            flavor: None,
            ..wanted("", 1)
        };
        let made = create(&bench.service, &requester("alice", "member"), wanted)
            .await
            .unwrap();
        assert_eq!(made.flavor_label, "default");
    });
}

#[test]
fn a_client_token_makes_one_volume_however_often_it_is_sent() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let with_token = CreateVolume {
            client_token: Some("t-1".to_owned()),
            ..wanted("gold", 3)
        };
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (service, alice, with_token) =
                (bench.service.clone(), alice.clone(), with_token.clone());
            requests.spawn(async move { create(&service, &alice, with_token).await.unwrap().id });
        }
        let ids: std::collections::BTreeSet<_> = requests.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 1);

        let other = CreateVolume {
            size_gib: 4,
            ..with_token.clone()
        };
        let error = create(&bench.service, &alice, other).await.unwrap_err();
        assert_eq!(
            (error.kind, error.subject),
            (ErrorKind::Conflict, Subject::Request)
        );
        assert_eq!(error.object, "t-1");
        // Another project's token is another token.
        let bob = create(&bench.service, &requester("bob", "member"), with_token)
            .await
            .unwrap();
        assert!(!ids.contains(&bob.id));
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn a_quota_holds_under_concurrent_requests() {
    let limits = Limits {
        volumes_per_project: 5,
        gigabytes_per_project: 100,
        ..Limits::default()
    };
    on_each_with(limits, |bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (service, alice) = (bench.service.clone(), alice.clone());
            requests.spawn(async move { create(&service, &alice, wanted("gold", 1)).await });
        }
        let (made, refused): (Vec<_>, Vec<_>) = requests
            .join_all()
            .await
            .into_iter()
            .partition(Result::is_ok);
        assert_eq!(made.len(), 5);
        for error in refused {
            assert_eq!(error.unwrap_err().kind, ErrorKind::QuotaExceeded);
        }
        // Another project is not touched by it; its GiB are judged with the new volume.
        let bob = requester("bob", "member");
        create(&bench.service, &bob, wanted("gold", 99))
            .await
            .unwrap();
        let error = create(&bench.service, &bob, wanted("gold", 2))
            .await
            .unwrap_err();
        assert!(
            error
                .public
                .contains("quota is 100G and 99G has been consumed"),
            "{error}"
        );
        create(&bench.service, &bob, wanted("gold", 1))
            .await
            .unwrap();
        assert_usage_is_true(&bench, "alice").await;
        assert_usage_is_true(&bench, "bob").await;
    });
}

#[test]
fn a_volume_is_deleted_once_and_frees_its_quota() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let id = available(&bench, &alice, "gold").await;
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (service, alice) = (bench.service.clone(), alice.clone());
            requests.spawn(async move { delete(&service, &alice, id, DeleteMode::Normal).await });
        }
        let outcomes = requests.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(
                (error.kind, error.subject),
                (ErrorKind::Conflict, Subject::Volume)
            );
        }
        assert_eq!(
            get(&bench.service, &alice, id).await.unwrap().status,
            VolumeStatus::Deleting
        );
        work_on_volumes(&bench).await;
        let error = get(&bench.service, &alice, id).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_usage_is_true(&bench, "alice").await;
    });
}

/// Tempest deletes such a volume, and its type in the next request, as Cinder lets it.
#[test]
fn what_was_never_placed_is_gone_at_once() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let id = available(&bench, &alice, "gold").await;
        let fail = move |tx: &mut db::Transaction<'_>| {
            let from = [VolumeStatus::Available];
            db::volumes::change_status(tx, id, &from, VolumeStatus::Error, 1)
        };
        bench.service.database.write(fail).await.unwrap();
        delete(&bench.service, &alice, id, DeleteMode::Normal)
            .await
            .unwrap();
        let error = get(&bench.service, &alice, id).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn force_deletes_what_no_operation_is_at_work_on() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, admin) = (requester("alice", "member"), requester("ops", "admin"));
        let creating = create(&bench.service, &alice, wanted("gold", 1))
            .await
            .unwrap()
            .id;
        let error = delete(&bench.service, &admin, creating, DeleteMode::Force)
            .await
            .unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::Conflict,
            "it is being created: {error}"
        );
        work_on_volumes(&bench).await;
        bench
            .service
            .database
            .write(move |tx| {
                let from = [VolumeStatus::Available];
                db::volumes::change_status(tx, creating, &from, VolumeStatus::Detaching, 1)
            })
            .await
            .unwrap();
        let error = delete(&bench.service, &admin, creating, DeleteMode::Normal)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let error = delete(&bench.service, &alice, creating, DeleteMode::Force)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden);
        delete(&bench.service, &admin, creating, DeleteMode::Force)
            .await
            .unwrap();
        work_on_volumes(&bench).await;
    });
}

#[test]
fn names_and_metadata_change() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let id = available(&bench, &alice, "gold").await;
        let change = UpdateVolume {
            name: Some("new".to_owned()),
            metadata: Some(map(&[("a", "1")])),
            ..UpdateVolume::default()
        };
        let volume = volumes::update(&bench.service, &alice, id, change)
            .await
            .unwrap();
        assert_eq!(
            (volume.name.as_str(), volume.description.as_str()),
            ("new", "")
        );
        assert!(volume.updated_at_us.is_some());
        let merged =
            volumes::merge_metadata(&bench.service, &alice, id, map(&[("a", "2"), ("b", "3")]));
        assert_eq!(merged.await.unwrap(), map(&[("a", "2"), ("b", "3")]));
        volumes::delete_metadata_key(&bench.service, &alice, id, "a")
            .await
            .unwrap();
        let error = volumes::delete_metadata_key(&bench.service, &alice, id, "a")
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.subject),
            (ErrorKind::NotFound, Subject::Metadata)
        );
        let volume = get(&bench.service, &alice, id).await.unwrap();
        assert_eq!(volume.metadata, map(&[("b", "3")]));
        let many = (0..128).map(|n| (n.to_string(), String::new())).collect();
        let error = volumes::merge_metadata(&bench.service, &alice, id, many)
            .await
            .unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::QuotaExceeded,
            "128 and one that was there"
        );
        let volume = get(&bench.service, &alice, id).await.unwrap();
        assert_eq!(volume.metadata, map(&[("b", "3")]), "refused as a whole");
    });
}

/// What the triggers counted equals a count of volumes, snapshots and extensions.
pub async fn assert_usage_is_true(bench: &Bench, project: &'static str) {
    bench
        .service
        .database
        .read(move |tx| {
            let mut kept = db::quotas::usage_by_flavor(tx, project)?;
            kept.retain(|_, usage| *usage != Default::default());
            assert_eq!(kept, db::quotas::counted_by_flavor(tx, project)?);
            Ok(())
        })
        .await
        .unwrap();
}
