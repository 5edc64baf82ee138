//! Every function with a stranger's, a reader's and an administrator's eyes.

use std::collections::BTreeMap;

use serde_json::json;
use volume_service::app::attachments::{self, AttachmentQuery, CreateAttachment};
use volume_service::app::backends::{self, AddBackend};
use volume_service::app::messages::{self, Message, MessageQuery};
use volume_service::app::volumes::{self, DeleteMode, UpdateVolume, VolumeQuery};
use volume_service::app::{self, flavors, identity, overview, services};
use volume_service::config::Secret;
use volume_service::error::Error;
use volume_service::model::attachment::AttachMode;
use volume_service::model::backend::BackendUse;
use volume_service::model::id::BackendId;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{available, flavor, map, on_each, requester, wanted};

fn claim(volume_id: volume_service::model::id::VolumeId) -> CreateAttachment {
    CreateAttachment {
        volume_id,
        instance_id: None,
        connector: None,
        mode: AttachMode::ReadWrite,
        mountpoint: None,
    }
}

#[test]
fn another_projects_objects_do_not_exist() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let s = &bench.service;
        let volume = available(&bench, &alice, "gold").await;
        let before = volumes::get(s, &alice, volume).await.unwrap();
        let attached = available(&bench, &alice, "gold").await;
        let attachment = attachments::create(s, &alice, claim(attached))
            .await
            .unwrap();
        let message = message(&bench, "alice").await;

        let refusals: Vec<(&str, Error)> = vec![
            ("get", volumes::get(s, &bob, volume).await.unwrap_err()),
            (
                "ec2",
                volumes::get_by_ec2_id(s, &bob, &volume.ec2_id())
                    .await
                    .unwrap_err(),
            ),
            (
                "update",
                volumes::update(
                    s,
                    &bob,
                    volume,
                    UpdateVolume {
                        name: Some("mine".into()),
                        ..Default::default()
                    },
                )
                .await
                .unwrap_err(),
            ),
            (
                "merge",
                volumes::merge_metadata(s, &bob, volume, map(&[("a", "b")]))
                    .await
                    .unwrap_err(),
            ),
            (
                "delete key",
                volumes::delete_metadata_key(s, &bob, volume, "a")
                    .await
                    .unwrap_err(),
            ),
            (
                "delete",
                volumes::delete(s, &bob, volume, DeleteMode::Normal)
                    .await
                    .unwrap_err(),
            ),
            (
                "attach",
                attachments::create(s, &bob, claim(volume))
                    .await
                    .unwrap_err(),
            ),
            (
                "attachment",
                attachments::get(s, &bob, attachment.id).await.unwrap_err(),
            ),
            (
                "connect",
                attachments::connect(s, &bob, attachment.id, json!({}))
                    .await
                    .unwrap_err(),
            ),
            (
                "complete",
                attachments::complete(s, &bob, attachment.id)
                    .await
                    .unwrap_err(),
            ),
            (
                "detach",
                attachments::delete(s, &bob, attachment.id)
                    .await
                    .unwrap_err(),
            ),
            (
                "message",
                messages::get(s, &bob, message.id).await.unwrap_err(),
            ),
            (
                "delete message",
                messages::delete(s, &bob, message.id).await.unwrap_err(),
            ),
        ];
        for (what, error) in refusals {
            assert_eq!(error.kind, ErrorKind::NotFound, "{what}: {error}");
        }
        assert!(
            volumes::list(s, &bob, VolumeQuery::default())
                .await
                .unwrap()
                .items
                .is_empty()
        );
        let named = VolumeQuery {
            ids: vec![volume],
            ..VolumeQuery::default()
        };
        assert!(
            volumes::list(s, &bob, named)
                .await
                .unwrap()
                .items
                .is_empty()
        );
        assert!(
            attachments::list(s, &bob, AttachmentQuery::default())
                .await
                .unwrap()
                .items
                .is_empty()
        );
        assert!(
            attachments::of_volumes(s, &bob, &[attached])
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            messages::list(s, &bob, MessageQuery::default())
                .await
                .unwrap()
                .items
                .is_empty()
        );
        assert_eq!(overview::usage(s, &bob).await.unwrap().volumes, 0);
        assert_eq!(
            volumes::get(s, &alice, volume).await.unwrap(),
            before,
            "nothing has changed"
        );
        assert_eq!(
            attachments::get(s, &alice, attachment.id).await.unwrap(),
            attachment
        );

        let admin = requester("ops", "admin");
        assert_eq!(volumes::get(s, &admin, volume).await.unwrap().id, volume);
        assert!(
            volumes::list(s, &admin, VolumeQuery::default())
                .await
                .unwrap()
                .items
                .is_empty()
        );
        let everybody = VolumeQuery {
            all_projects: true,
            ..VolumeQuery::default()
        };
        assert_eq!(
            volumes::list(s, &admin, everybody)
                .await
                .unwrap()
                .items
                .len(),
            2
        );
        let alices = VolumeQuery {
            project_id: Some("alice".into()),
            ..VolumeQuery::default()
        };
        assert_eq!(
            volumes::list(s, &admin, alices).await.unwrap().items.len(),
            2
        );
        let all = AttachmentQuery {
            all_projects: true,
            ..AttachmentQuery::default()
        };
        assert_eq!(
            attachments::list(s, &admin, all).await.unwrap().items.len(),
            1
        );
    });
}

async fn message(bench: &crate::support::Bench, project: &str) -> Message {
    let now_us = bench.service.context.now_us();
    let message = Message {
        id: uuid::Uuid::new_v4(),
        project_id: project.to_owned(),
        request_id: "req-1".to_owned(),
        resource_type: "VOLUME".to_owned(),
        resource_id: "v".to_owned(),
        action_id: "001".to_owned(),
        detail_id: "002".to_owned(),
        text: "No backend could take it.".to_owned(),
        created_at_us: now_us,
        expires_at_us: now_us + 1_000_000,
    };
    let row = message.clone();
    bench
        .service
        .database
        .write(move |tx| volume_service::db::messages::insert(tx, &row))
        .await
        .unwrap();
    message
}

#[test]
fn readers_change_nothing() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (member, reader) = (requester("alice", "member"), requester("alice", "reader"));
        let s = &bench.service;
        let volume = available(&bench, &member, "gold").await;
        let attached = available(&bench, &member, "gold").await;
        let attachment = attachments::create(s, &member, claim(attached))
            .await
            .unwrap();
        let message = message(&bench, "alice").await;
        let refusals: Vec<(&str, Error)> = vec![
            (
                "create",
                volumes::create(s, &reader, wanted("gold", 1))
                    .await
                    .unwrap_err(),
            ),
            (
                "update",
                volumes::update(s, &reader, volume, UpdateVolume::default())
                    .await
                    .unwrap_err(),
            ),
            (
                "merge",
                volumes::merge_metadata(s, &reader, volume, BTreeMap::new())
                    .await
                    .unwrap_err(),
            ),
            (
                "delete key",
                volumes::delete_metadata_key(s, &reader, volume, "a")
                    .await
                    .unwrap_err(),
            ),
            (
                "delete",
                volumes::delete(s, &reader, volume, DeleteMode::Normal)
                    .await
                    .unwrap_err(),
            ),
            (
                "attach",
                attachments::create(s, &reader, claim(volume))
                    .await
                    .unwrap_err(),
            ),
            (
                "connect",
                attachments::connect(s, &reader, attachment.id, json!({}))
                    .await
                    .unwrap_err(),
            ),
            (
                "complete",
                attachments::complete(s, &reader, attachment.id)
                    .await
                    .unwrap_err(),
            ),
            (
                "detach",
                attachments::delete(s, &reader, attachment.id)
                    .await
                    .unwrap_err(),
            ),
            (
                "delete message",
                messages::delete(s, &reader, message.id).await.unwrap_err(),
            ),
        ];
        for (what, error) in refusals {
            assert_eq!(error.kind, ErrorKind::Forbidden, "{what}: {error}");
        }
        assert_eq!(
            volumes::list(s, &reader, VolumeQuery::default())
                .await
                .unwrap()
                .items
                .len(),
            2
        );
        assert_eq!(
            messages::get(s, &reader, message.id).await.unwrap(),
            message
        );
        assert_eq!(flavors::list(s, &reader).await.unwrap().len(), 1);
        assert_eq!(overview::zones(s, &reader).await.unwrap().len(), 2);

        let nobody = RequestContext {
            roles: Vec::new(),
            ..requester("alice", "")
        };
        let refusals: Vec<Error> = vec![
            volumes::get(s, &nobody, volume).await.unwrap_err(),
            volumes::list(s, &nobody, VolumeQuery::default())
                .await
                .unwrap_err(),
            attachments::get(s, &nobody, attachment.id)
                .await
                .unwrap_err(),
            attachments::list(s, &nobody, AttachmentQuery::default())
                .await
                .unwrap_err(),
            attachments::of_volumes(s, &nobody, &[volume])
                .await
                .unwrap_err(),
            messages::list(s, &nobody, MessageQuery::default())
                .await
                .unwrap_err(),
            flavors::list(s, &nobody).await.unwrap_err(),
            overview::usage(s, &nobody).await.unwrap_err(),
        ];
        for error in refusals {
            assert_eq!(error.kind, ErrorKind::Forbidden, "{error}");
        }
        // Cinder has no rule for them.
        assert_eq!(overview::zones(s, &nobody).await.unwrap().len(), 2);
    });
}

#[test]
fn only_administrators_administer() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let member = requester("alice", "member");
        let s = &bench.service;
        let volume = available(&bench, &member, "gold").await;
        let id = BackendId(1);
        let new = AddBackend {
            flavor: "gold".into(),
            sr_type: "file".into(),
            parameters: vec![("location".into(), "/x".into())],
            zone: None,
            position: None,
            capabilities: Vec::new(),
        };
        let all = VolumeQuery {
            all_projects: true,
            ..VolumeQuery::default()
        };
        let theirs = VolumeQuery {
            project_id: Some("bob".into()),
            ..VolumeQuery::default()
        };
        let attached = AttachmentQuery {
            all_projects: true,
            ..AttachmentQuery::default()
        };
        let refusals: Vec<(&str, Error)> = vec![
            (
                "all volumes",
                volumes::list(s, &member, all).await.unwrap_err(),
            ),
            (
                "their volumes",
                volumes::list(s, &member, theirs).await.unwrap_err(),
            ),
            (
                "force",
                volumes::delete(s, &member, volume, DeleteMode::Force)
                    .await
                    .unwrap_err(),
            ),
            (
                "all attachments",
                attachments::list(s, &member, attached).await.unwrap_err(),
            ),
            (
                "new flavor",
                flavors::create(s, &member, "x", "").await.unwrap_err(),
            ),
            (
                "no flavor",
                flavors::delete(s, &member, "gold").await.unwrap_err(),
            ),
            (
                "backends",
                backends::list(s, &member, None).await.unwrap_err(),
            ),
            ("backend", backends::get(s, &member, id).await.unwrap_err()),
            ("add", backends::add(s, &member, new).await.unwrap_err()),
            (
                "remove",
                backends::remove(s, &member, id).await.unwrap_err(),
            ),
            (
                "use",
                backends::set_use(s, &member, id, BackendUse::Enabled)
                    .await
                    .unwrap_err(),
            ),
            (
                "position",
                backends::set_position(s, &member, id, 1).await.unwrap_err(),
            ),
            (
                "pools",
                app::pools::list(s, &member, None).await.unwrap_err(),
            ),
            ("services", services::list(s, &member).await.unwrap_err()),
            (
                "project",
                identity::create_project(s, &member, "p", "")
                    .await
                    .unwrap_err(),
            ),
            (
                "user",
                identity::create_user(s, &member, "u", Secret::new("p"), "p", "admin")
                    .await
                    .unwrap_err(),
            ),
            (
                "ec2 key",
                identity::create_ec2_key(s, &member, "somebody else", "alice")
                    .await
                    .unwrap_err(),
            ),
        ];
        for (what, error) in refusals {
            assert_eq!(error.kind, ErrorKind::Forbidden, "{what}: {error}");
        }
    });
}
