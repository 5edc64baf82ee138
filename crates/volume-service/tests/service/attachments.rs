//! Attachments: claims, connections and their ends, with a worker whose pool answers at once.

use serde_json::json;
use volume_service::app::Service;
use volume_service::app::attachments::{
    AttachmentQuery, AttachmentSortKey, CreateAttachment, check_end, complete, connect, create,
    delete, force_detach, get, list, of_volumes,
};
use volume_service::app::reset_status::{self, AttachStatus, ResetVolume};
use volume_service::app::volumes::{self, SortDirection};
use volume_service::config::{KeystoneConfig, Limits, Secret, Trust};
use volume_service::db::{attachments, operations, volumes as rows};
use volume_service::model::attachment::{AttachMode, AttachmentStatus};
use volume_service::model::id::{AttachmentId, VolumeId};
use volume_service::model::operation::{Operation, OperationKind, OperationState};
use volume_service::model::volume::VolumeStatus;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, available, config, flavor, on_each, requester};

fn claim(volume_id: VolumeId, mode: AttachMode) -> CreateAttachment {
    CreateAttachment {
        volume_id,
        instance_id: Some("server-1".to_owned()),
        connector: None,
        mode,
        mountpoint: None,
    }
}

async fn status(bench: &Bench, request: &RequestContext, id: VolumeId) -> VolumeStatus {
    volumes::get(&bench.service, request, id)
        .await
        .unwrap()
        .status
}

/// Serves attach and detach operations until it is dropped; fails those whose connector says so.
fn worker(bench: &Bench) -> tokio_util::task::AbortOnDropHandle<()> {
    let service = bench.service.clone();
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let mut changed = service.database.operations_added();
        loop {
            let now_us = service.context.now_us();
            let done = service
                .database
                .write(move |tx| {
                    let claimed = operations::claim(tx, "nova", "test", now_us, 1_000_000, 10)?;
                    for operation in &claimed {
                        carry_out(tx, operation, now_us)?;
                    }
                    Ok(claimed.len())
                })
                .await
                .unwrap();
            if done == 0 {
                changed.changed().await.unwrap();
            }
        }
    }))
}

fn carry_out(
    tx: &mut volume_service::db::Transaction<'_>,
    operation: &Operation,
    now_us: i64,
) -> volume_service::error::Result<()> {
    let id: AttachmentId = operation.target.parse().unwrap();
    let attachment = attachments::get(tx, id)?;
    let mut outcome = OperationState::Succeeded;
    match operation.kind {
        OperationKind::AttachVolume if attachment.connector.get("fail").is_some() => {
            let from = [AttachmentStatus::Attaching];
            attachments::change_status(tx, id, &from, AttachmentStatus::ErrorAttaching)?;
            attachments::set_failure(tx, id, "the pool said no")?;
            outcome = OperationState::Failed;
        }
        OperationKind::AttachVolume => {
            attachments::set_connection_info(tx, id, &json!({"driver_volume_type": "nbd"}))?;
            let from = [AttachmentStatus::Attaching];
            attachments::change_status(tx, id, &from, AttachmentStatus::Attached)?;
            attachments::set_attached_at(tx, id, now_us)?;
        }
        OperationKind::DetachVolume => {
            attachments::remove(tx, id)?;
        }
        other => panic!("{other:?}"),
    }
    rows::settle(tx, attachment.volume_id, now_us)?;
    operations::finish(tx, operation.lease(), outcome, "VBD.plug failed", now_us)
}

#[test]
fn an_attachment_lives_from_claim_to_removal() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = available(&bench, &alice, "gold").await;
        let _worker = worker(&bench);

        let claimed = create(&bench.service, &alice, claim(volume, AttachMode::ReadWrite))
            .await
            .unwrap();
        assert_eq!(claimed.status, AttachmentStatus::Reserved);
        assert_eq!(status(&bench, &alice, volume).await, VolumeStatus::Reserved);
        let error = complete(&bench.service, &alice, claimed.id)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "nothing is connected");
        let error = volumes::delete(&bench.service, &alice, volume, volumes::DeleteMode::Normal)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);

        let connector = json!({"host": "compute-1", "mountpoint": "/dev/xvdb"});
        let connected = connect(&bench.service, &alice, claimed.id, connector.clone())
            .await
            .unwrap();
        assert_eq!(connected.status, AttachmentStatus::Attached);
        assert_eq!(
            connected.connection_info,
            json!({"driver_volume_type": "nbd"})
        );
        assert_eq!(connected.host_name.as_deref(), Some("compute-1"));
        assert_eq!(connected.mountpoint.as_deref(), Some("/dev/xvdb"));
        assert_eq!(status(&bench, &alice, volume).await, VolumeStatus::InUse);
        let again = connect(&bench.service, &alice, claimed.id, connector)
            .await
            .unwrap();
        assert_eq!(again, connected, "the same request again");
        let error = connect(&bench.service, &alice, claimed.id, json!({"host": "b"}))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(
            complete(&bench.service, &alice, claimed.id).await.unwrap(),
            connected
        );

        let left = delete(&bench.service, &alice, claimed.id).await.unwrap();
        assert!(left.is_empty());
        assert_eq!(
            status(&bench, &alice, volume).await,
            VolumeStatus::Available
        );
        let error = get(&bench.service, &alice, claimed.id).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    });
}

#[test]
fn a_claim_without_a_connector_is_given_back_at_once() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = available(&bench, &alice, "gold").await;
        let claimed = create(&bench.service, &alice, claim(volume, AttachMode::ReadWrite))
            .await
            .unwrap();
        delete(&bench.service, &alice, claimed.id).await.unwrap();
        assert_eq!(
            status(&bench, &alice, volume).await,
            VolumeStatus::Available
        );
    });
}

#[test]
fn a_failed_connection_says_why_and_can_be_tried_again() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = available(&bench, &alice, "gold").await;
        let _worker = worker(&bench);
        let mut wanted = claim(volume, AttachMode::ReadWrite);
        wanted.connector = Some(json!({"host": "h", "fail": true}));
        let error = create(&bench.service, &alice, wanted).await.unwrap_err();
        assert!(error.public.contains("the pool said no"), "{error}");
        assert_eq!(error.detail, "VBD.plug failed");
        let found = list(&bench.service, &alice, AttachmentQuery::default())
            .await
            .unwrap();
        assert_eq!(found.items[0].status, AttachmentStatus::ErrorAttaching);
        assert_eq!(status(&bench, &alice, volume).await, VolumeStatus::Reserved);
        let id = found.items[0].id;
        connect(&bench.service, &alice, id, json!({"host": "h"}))
            .await
            .unwrap();
        assert_eq!(status(&bench, &alice, volume).await, VolumeStatus::InUse);
        delete(&bench.service, &alice, id).await.unwrap();
    });
}

#[test]
fn only_readers_share_a_volume() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = available(&bench, &alice, "gold").await;
        let mut claims = tokio::task::JoinSet::new();
        let by = |instance: &str, mode| CreateAttachment {
            instance_id: Some(instance.to_owned()),
            ..claim(volume, mode)
        };
        for number in 0..6 {
            let wanted = by(&format!("writer-{number}"), AttachMode::ReadWrite);
            let (service, alice) = (bench.service.clone(), alice.clone());
            claims.spawn(async move { create(&service, &alice, wanted).await });
        }
        let outcomes = claims.join_all().await;
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            1,
            "writers are alone"
        );
        let error = create(&bench.service, &alice, by("reader-0", AttachMode::ReadOnly))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let writer = outcomes.into_iter().find_map(Result::ok).unwrap();
        delete(&bench.service, &alice, writer.id).await.unwrap();

        let first = create(&bench.service, &alice, by("reader-1", AttachMode::ReadOnly))
            .await
            .unwrap();
        let second = create(&bench.service, &alice, by("reader-2", AttachMode::ReadOnly))
            .await
            .unwrap();
        let error = create(&bench.service, &alice, by("writer", AttachMode::ReadWrite))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let both = of_volumes(&bench.service, &alice, &[volume]).await.unwrap();
        assert_eq!(
            both.iter().map(|a| a.id).collect::<Vec<_>>(),
            [first.id, second.id]
        );
        let mut query = AttachmentQuery {
            volume_id: Some(volume),
            limit: Some(1),
            ..AttachmentQuery::default()
        };
        let page = list(&bench.service, &alice, query.clone()).await.unwrap();
        assert_eq!(
            (page.items[0].id, page.has_more),
            (second.id, true),
            "newest first"
        );
        query.marker = Some(second.id);
        let page = list(&bench.service, &alice, query).await.unwrap();
        assert_eq!((page.items[0].id, page.has_more), (first.id, false));
        let left = delete(&bench.service, &alice, first.id).await.unwrap();
        assert_eq!(left, [second]);
        assert_eq!(status(&bench, &alice, volume).await, VolumeStatus::Reserved);
    });
}

#[test]
fn absurd_connectors_are_refused() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = available(&bench, &alice, "gold").await;
        for connector in [
            json!([]),
            json!("x"),
            json!({"host": "x".repeat(256)}),
            json!({"x": "x".repeat(20_000)}),
        ] {
            let mut wanted = claim(volume, AttachMode::ReadWrite);
            wanted.connector = Some(connector);
            let error = create(&bench.service, &alice, wanted).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
        }
        assert_eq!(
            status(&bench, &alice, volume).await,
            VolumeStatus::Available
        );
    });
}

#[test]
fn an_instance_claims_a_volume_again_and_connects_it_once() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let volume = available(&bench, &alice, "gold").await;
        let _worker = worker(&bench);
        let wanted = || claim(volume, AttachMode::ReadWrite);
        let here = create(&bench.service, &alice, wanted()).await.unwrap();
        let connector = json!({"host": "here"});
        let here = connect(&bench.service, &alice, here.id, connector.clone()).await;
        let here = here.unwrap();

        // Another instance, or nobody's, may not.
        for instance_id in [Some("server-2".to_owned()), None] {
            let other = CreateAttachment {
                instance_id,
                ..wanted()
            };
            let error = create(&bench.service, &alice, other).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Conflict);
        }
        let there = create(&bench.service, &alice, wanted()).await.unwrap();
        assert_eq!(there.status, AttachmentStatus::Reserved);
        assert_ne!(there.id, here.id);
        assert_eq!(status(&bench, &alice, volume).await, VolumeStatus::InUse);

        // One of them is connected at a time, however it is asked for.
        let to = json!({"host": "there"});
        let error = connect(&bench.service, &alice, there.id, to.clone())
            .await
            .unwrap_err();
        assert_eq!(
            error.public,
            format!("duplicate connectors detected on volume {volume}")
        );
        let at_once = CreateAttachment {
            connector: Some(to.clone()),
            ..wanted()
        };
        let error = create(&bench.service, &alice, at_once).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let again = connect(&bench.service, &alice, here.id, connector)
            .await
            .unwrap();
        assert_eq!(again, here, "the first one stays what it was");
        let left = delete(&bench.service, &alice, here.id).await.unwrap();
        assert_eq!(left, std::slice::from_ref(&there));
        connect(&bench.service, &alice, there.id, to).await.unwrap();
        assert_eq!(status(&bench, &alice, volume).await, VolumeStatus::InUse);
    });
}

#[test]
fn attachments_are_sorted_and_skipped() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let mut made = Vec::new();
        for instance in [Some("b"), None, Some("a"), Some("b")] {
            let volume = available(&bench, &alice, "gold").await;
            let instance_id = instance.map(str::to_owned);
            let wanted = CreateAttachment {
                instance_id,
                ..claim(volume, AttachMode::ReadOnly)
            };
            made.push(create(&bench.service, &alice, wanted).await.unwrap().id);
        }
        use AttachmentSortKey::{
            AttachedAt, CreatedAt, Host, Id, Instance, Mode, Mountpoint, Status, Volume,
        };
        use SortDirection::{Ascending, Descending};
        let by_instance = vec![(Instance, Ascending), (CreatedAt, Descending)];
        let query = AttachmentQuery {
            sort: by_instance,
            ..AttachmentQuery::default()
        };
        let ids = |page: volume_service::app::Page<_>| -> Vec<AttachmentId> {
            let items: Vec<volume_service::model::attachment::Attachment> = page.items;
            items.iter().map(|one| one.id).collect()
        };
        let whole = ids(list(&bench.service, &alice, query.clone()).await.unwrap());
        assert_eq!(whole, [made[1], made[2], made[3], made[0]]);
        let skipped = AttachmentQuery {
            offset: 3,
            ..query.clone()
        };
        assert_eq!(
            ids(list(&bench.service, &alice, skipped).await.unwrap()),
            [made[0]]
        );

        // Page by page nothing is lost or doubled, whatever it is sorted by.
        for key in [
            AttachedAt, CreatedAt, Host, Id, Instance, Mode, Mountpoint, Status, Volume,
        ] {
            for direction in [Ascending, Descending] {
                let mut query = AttachmentQuery {
                    sort: vec![(key, direction)],
                    limit: Some(1),
                    ..AttachmentQuery::default()
                };
                let mut seen = Vec::new();
                loop {
                    let page = list(&bench.service, &alice, query.clone()).await.unwrap();
                    let has_more = page.has_more;
                    seen.extend(ids(page));
                    query.marker = seen.last().copied();
                    if !has_more {
                        break;
                    }
                }
                seen.sort_unstable();
                let mut all = made.clone();
                all.sort_unstable();
                assert_eq!(seen, all, "{key:?} {direction:?}");
            }
        }
    });
}

/// The same database under the tokens of a Keystone, which nothing here asks.
async fn under_keystone(bench: Bench) -> Bench {
    let mut config = config(&bench.url, Limits::default());
    config.keystone = Some(KeystoneConfig {
        url: "http://127.0.0.1:9/v3".to_owned(),
        username: "xensm".to_owned(),
        password: Secret::new("nobody asks"),
        project: "service".to_owned(),
        domain: "Default".to_owned(),
        trust: Trust::NotNeeded,
        service_roles: vec!["service".to_owned()],
    });
    let service = Service::open(bench.service.context.clone(), config).await;
    Bench {
        service: service.unwrap(),
        ..bench
    }
}

#[test]
fn with_a_keystone_only_services_end_what_instances_use() {
    // CVE-2023-2088: a user deleted the attachment of a running instance, the device stayed on its host, and what was
    // exported next under the same address was another project's volume. Cinder lets only Nova end such attachments.
    on_each(|bench| async move {
        let bench = under_keystone(bench).await;
        flavor(&bench, "gold").await;
        let (alice, admin) = (requester("alice", "member"), requester("ops", "admin"));
        let mut nova = alice.clone();
        nova.is_service = true;
        let volume = available(&bench, &alice, "gold").await;
        let _worker = worker(&bench);
        let connected = |instance: Option<&str>| CreateAttachment {
            instance_id: instance.map(str::to_owned),
            connector: Some(json!({"host": "h"})),
            ..claim(volume, AttachMode::ReadWrite)
        };
        let s = &bench.service;

        let used = create(s, &alice, connected(Some("server-1")))
            .await
            .unwrap();
        let words = "Detach volume from instance server-1 using the Compute API";
        for refused in [
            delete(s, &alice, used.id).await.map(drop),
            delete(s, &admin, used.id).await.map(drop),
            force_detach(s, &admin, volume, None).await,
            force_detach(s, &admin, volume, Some(used.id)).await,
            check_end(s, &alice, std::slice::from_ref(&used), None),
            check_end(s, &alice, std::slice::from_ref(&used), Some(used.id)),
        ] {
            let error = refused.unwrap_err();
            assert_eq!((error.kind, &*error.public), (ErrorKind::Conflict, words));
        }
        assert_eq!(
            get(s, &alice, used.id).await.unwrap(),
            used,
            "nothing changed"
        );
        // Which of several is meant must be said, even to what is not in use.
        let both = [used.clone(), used.clone()];
        assert!(check_end(s, &alice, &both, None).is_err());
        assert!(check_end(s, &alice, &[], Some(used.id)).is_err());
        check_end(s, &nova, &both, None).unwrap();
        check_end(s, &alice, &[], None).unwrap();
        delete(s, &nova, used.id).await.unwrap();

        // What no instance uses, or what is only claimed for one, everybody ends who may.
        let own = create(s, &alice, connected(None)).await.unwrap();
        delete(s, &alice, own.id).await.unwrap();
        let claimed = create(s, &alice, claim(volume, AttachMode::ReadWrite)).await;
        delete(s, &alice, claimed.unwrap().id).await.unwrap();

        // The way out when the compute service is gone for good.
        let stuck = create(s, &alice, connected(Some("server-2")))
            .await
            .unwrap();
        let detached = ResetVolume {
            attach_status: Some(AttachStatus::Detached),
            ..ResetVolume::default()
        };
        reset_status::volume(s, &admin, volume, detached)
            .await
            .unwrap();
        delete(s, &nova, stuck.id).await.unwrap_or_default();
        assert_eq!(
            status(&bench, &alice, volume).await,
            VolumeStatus::Available
        );
    });
}
