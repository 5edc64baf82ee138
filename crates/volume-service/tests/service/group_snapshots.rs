//! Group snapshots: what they need, what they hold, and that their snapshots stay together.

use volume_service::app::adoption;
use volume_service::app::group_snapshots::{self, CreateGroupSnapshot};
use volume_service::app::groups::{self, CreateFromSource, DeleteGroup, GroupQuery, GroupSource};
use volume_service::app::reset_status;
use volume_service::app::snapshots::{self, SnapshotQuery};
use volume_service::app::transfers::{self, CreateTransfer, Encrypted, Snapshots};
use volume_service::app::volumes::{self, CreateVolume, DeleteMode, VolumeSource};
use volume_service::app::webhooks::{self, NewWebhook};
use volume_service::model::group::{GroupSnapshot, GroupStatus};
use volume_service::model::id::{GroupId, GroupSnapshotId};
use volume_service::model::snapshot::{Snapshot, SnapshotStatus};
use volume_service::model::volume::VolumeStatus;
use volume_service::{ErrorKind, RequestContext};

use crate::groups::{change, group, member, prepare};
use crate::support::{Bench, on_each, requester, work_on_volumes};
use crate::volumes::assert_usage_is_true;

fn wanted(group_id: GroupId) -> CreateGroupSnapshot {
    CreateGroupSnapshot {
        group_id,
        name: "both".to_owned(),
        description: String::new(),
    }
}

async fn taken(bench: &Bench, who: &RequestContext, group_id: GroupId) -> GroupSnapshot {
    let made = group_snapshots::create(&bench.service, who, wanted(group_id)).await;
    work_on_volumes(bench).await;
    let id = made.unwrap().id;
    group_snapshots::get(&bench.service, who, id).await.unwrap()
}

async fn parts(bench: &Bench, who: &RequestContext, id: GroupSnapshotId) -> Vec<Snapshot> {
    let listed = snapshots::list(&bench.service, who, SnapshotQuery::default()).await;
    let is_part = |snapshot: &Snapshot| snapshot.traits.group_snapshot_id == Some(id.0);
    listed.unwrap().items.into_iter().filter(is_part).collect()
}

#[test]
fn they_are_taken_of_all_members_together() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let s = &bench.service;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let (reader, admin) = (requester("alice", "reader"), RequestContext::operator());
        let pair = group(&bench, &alice).await;
        let empty = group_snapshots::create(s, &alice, wanted(pair.id))
            .await
            .unwrap_err();
        assert!(empty.public.contains("Group is empty"), "{empty}");
        let ids = [
            member(&bench, &alice, pair.id).await,
            member(&bench, &alice, pair.id).await,
        ];
        let forbidden = group_snapshots::create(s, &reader, wanted(pair.id)).await;
        assert_eq!(forbidden.unwrap_err().kind, ErrorKind::Forbidden);
        let foreign = group_snapshots::create(s, &bob, wanted(pair.id)).await;
        assert_eq!(foreign.unwrap_err().kind, ErrorKind::NotFound);
        let made = group_snapshots::create(s, &alice, wanted(pair.id))
            .await
            .unwrap();
        assert_eq!(made.status, GroupStatus::Creating);
        for part in parts(&bench, &alice, made.id).await {
            assert_eq!(part.status, SnapshotStatus::Creating);
            assert_eq!(part.name, "both");
            let reset = reset_status::snapshot(s, &admin, part.id, SnapshotStatus::Error).await;
            assert_eq!(reset.unwrap_err().kind, ErrorKind::Conflict);
        }
        let second = group_snapshots::create(s, &alice, wanted(pair.id))
            .await
            .unwrap_err();
        assert_eq!(second.kind, ErrorKind::Invalid);
        assert!(second.public.contains("still being created"), "{second}");
        for refused in [
            group_snapshots::delete(s, &alice, made.id).await,
            group_snapshots::reset_status(s, &admin, made.id, GroupStatus::Error).await,
            groups::delete(s, &alice, pair.id, DeleteGroup::WithVolumes).await,
        ] {
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
        }
        work_on_volumes(&bench).await;
        let whole = group_snapshots::get(s, &reader, made.id).await.unwrap();
        assert_eq!(whole.status, GroupStatus::Available);
        let mut of: Vec<_> = parts(&bench, &alice, made.id).await;
        of.sort_by_key(|part| part.volume_id);
        let mut expected = ids;
        expected.sort();
        assert_eq!(
            of.iter().map(|part| part.volume_id).collect::<Vec<_>>(),
            expected
        );
        for (who, all_projects, count) in [(&alice, false, 1), (&bob, true, 0), (&admin, true, 1)] {
            let query = GroupQuery {
                all_projects,
                group_id: Some(pair.id),
                status: Some(GroupStatus::Available),
                ..GroupQuery::default()
            };
            let page = group_snapshots::list(s, who, query).await.unwrap();
            assert_eq!(page.items.len(), count);
        }
        for gone in [
            group_snapshots::get(s, &bob, made.id).await.map(drop),
            group_snapshots::delete(s, &bob, made.id).await,
        ] {
            assert_eq!(gone.unwrap_err().kind, ErrorKind::NotFound);
        }
        let forbidden = group_snapshots::delete(s, &reader, made.id).await;
        assert_eq!(forbidden.unwrap_err().kind, ErrorKind::Forbidden);
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn their_snapshots_stay_together() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let admin = RequestContext::operator();
        let pair = group(&bench, &alice).await;
        let id = member(&bench, &alice, pair.id).await;
        member(&bench, &alice, pair.id).await;
        let whole = taken(&bench, &alice, pair.id).await;
        let part = parts(&bench, &alice, whole.id).await;
        let part = part.iter().find(|part| part.volume_id == id).unwrap().id;
        for mode in [snapshots::DeleteMode::Normal, snapshots::DeleteMode::Force] {
            let refused = snapshots::delete(s, &admin, part, mode).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Conflict, "{mode:?}");
            assert!(
                refused.public.contains("must not be part of a group"),
                "{refused}"
            );
        }
        let refused = adoption::unmanage_snapshot(s, &admin, part)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Conflict);
        // Also when the volume leaves the group.
        groups::update(s, &alice, pair.id, change(&[], &[id]))
            .await
            .unwrap();
        let refused = volumes::delete(s, &alice, id, DeleteMode::Cascade)
            .await
            .unwrap_err();
        assert!(
            refused.public.contains("is part of a group snapshot"),
            "{refused}"
        );
        let transfer = CreateTransfer {
            volume_id: id,
            name: String::new(),
            snapshots: Snapshots::GoAlong,
            encrypted: Encrypted::Refuse,
        };
        let refused = transfers::create(s, &alice, transfer).await.unwrap_err();
        assert!(
            refused.public.contains("is part of a group snapshot"),
            "{refused}"
        );
        let kept = volumes::get(s, &alice, id).await.unwrap();
        assert_eq!(kept.status, VolumeStatus::Available);
        let refused = groups::delete(s, &alice, pair.id, DeleteGroup::WithVolumes).await;
        assert!(refused.unwrap_err().public.contains("existing snapshots"));
        // Not while a volume is being made from one of them, and then nothing is changed.
        let wanted = CreateVolume {
            source: VolumeSource::Snapshot(part),
            ..CreateVolume::default()
        };
        volumes::create(s, &alice, wanted).await.unwrap();
        let busy = group_snapshots::delete(s, &alice, whole.id)
            .await
            .unwrap_err();
        assert!(
            busy.public.contains("a volume is being made from it"),
            "{busy}"
        );
        for part in parts(&bench, &alice, whole.id).await {
            assert_eq!(part.status, SnapshotStatus::Available);
        }
        work_on_volumes(&bench).await;
        group_snapshots::delete(s, &alice, whole.id).await.unwrap();
        work_on_volumes(&bench).await;
        let gone = group_snapshots::get(s, &alice, whole.id).await.unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
        assert!(parts(&bench, &alice, whole.id).await.is_empty());
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn a_group_is_made_from_one() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let admin = RequestContext::operator();
        let pair = group(&bench, &alice).await;
        let id = member(&bench, &alice, pair.id).await;
        let whole = taken(&bench, &alice, pair.id).await;
        groups::update(s, &alice, pair.id, change(&[], &[id]))
            .await
            .unwrap();
        let copy = || CreateFromSource {
            name: "copy".to_owned(),
            description: String::new(),
            source: GroupSource::Snapshot(whole.id),
        };
        group_snapshots::reset_status(s, &admin, whole.id, GroupStatus::Error)
            .await
            .unwrap();
        let refused = groups::create_from_source(s, &alice, copy())
            .await
            .unwrap_err();
        assert!(
            refused.public.contains("Originating group snapshot"),
            "{refused}"
        );
        let back = GroupStatus::Available;
        group_snapshots::reset_status(s, &admin, whole.id, back)
            .await
            .unwrap();
        let foreign = groups::create_from_source(s, &requester("bob", "member"), copy()).await;
        assert_eq!(foreign.unwrap_err().kind, ErrorKind::NotFound);
        let made = groups::create_from_source(s, &alice, copy()).await.unwrap();
        assert_eq!(made.group_snapshot_id, Some(whole.id));
        let busy = group_snapshots::delete(s, &alice, whole.id)
            .await
            .unwrap_err();
        assert!(busy.public.contains("using it as source"), "{busy}");
        work_on_volumes(&bench).await;
        let made = groups::get(s, &alice, made.id).await.unwrap();
        assert_eq!(
            (made.status, made.zone.as_str()),
            (GroupStatus::Available, "nova")
        );
        group_snapshots::delete(s, &alice, whole.id).await.unwrap();
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn webhooks_are_told_of_groups() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let wanted = NewWebhook {
            url: "https://127.0.0.1/hook".to_owned(),
            project_id: None,
            kinds: "group".to_owned(),
            allows_local: true,
        };
        let operator = RequestContext::operator();
        let (webhook, _) = webhooks::add(s, &operator, wanted).await.unwrap();
        let pair = group(&bench, &alice).await;
        member(&bench, &alice, pair.id).await;
        let whole = taken(&bench, &alice, pair.id).await;
        group_snapshots::delete(s, &alice, whole.id).await.unwrap();
        work_on_volumes(&bench).await;
        let mode = DeleteGroup::WithVolumes;
        groups::delete(s, &alice, pair.id, mode).await.unwrap();
        work_on_volumes(&bench).await;
        let told = s
            .database
            .read(move |tx| volume_service::db::webhooks::pending(tx, &webhook.id, 100));
        let told = told.await.unwrap();
        let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "group.available",
                "group_snapshot.creating",
                "group_snapshot.available",
                "group_snapshot.deleting",
                "group_snapshot.deleted",
                "group.deleting",
                "group.deleted",
            ]
        );
        assert!(told.iter().all(|event| event.project_id == "alice"));
    });
}
