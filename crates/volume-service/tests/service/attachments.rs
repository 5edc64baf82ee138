//! Attachments: claims, connections and their ends, with a worker whose pool answers at once.

use serde_json::json;
use volume_service::app::attachments::{
    AttachmentQuery, CreateAttachment, complete, connect, create, delete, get, list, of_volumes,
};
use volume_service::app::volumes;
use volume_service::db::{attachments, operations, volumes as rows};
use volume_service::model::attachment::{AttachMode, AttachmentStatus};
use volume_service::model::id::{AttachmentId, VolumeId};
use volume_service::model::operation::{Operation, OperationKind, OperationState};
use volume_service::model::volume::VolumeStatus;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, available, flavor, on_each, requester};

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
        for _ in 0..6 {
            let (service, alice) = (bench.service.clone(), alice.clone());
            claims.spawn(async move {
                create(&service, &alice, claim(volume, AttachMode::ReadWrite)).await
            });
        }
        let outcomes = claims.join_all().await;
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            1,
            "writers are alone"
        );
        let error = create(&bench.service, &alice, claim(volume, AttachMode::ReadOnly))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let writer = outcomes.into_iter().find_map(Result::ok).unwrap();
        delete(&bench.service, &alice, writer.id).await.unwrap();

        let first = create(&bench.service, &alice, claim(volume, AttachMode::ReadOnly))
            .await
            .unwrap();
        let second = create(&bench.service, &alice, claim(volume, AttachMode::ReadOnly))
            .await
            .unwrap();
        let error = create(&bench.service, &alice, claim(volume, AttachMode::ReadWrite))
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
        assert_eq!((page.items[0].id, page.has_more), (first.id, true));
        query.marker = Some(first.id);
        let page = list(&bench.service, &alice, query).await.unwrap();
        assert_eq!((page.items[0].id, page.has_more), (second.id, false));
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
