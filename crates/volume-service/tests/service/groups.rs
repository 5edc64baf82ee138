//! Groups: who makes, sees, changes and deletes them, what may be in them, and what may not be done to what is in them.

use std::sync::mpsc::sync_channel;

use volume_service::app::group_types::{self, NewGroupType};
use volume_service::app::groups::{
    self, ChangeMembers, CreateFromSource, CreateGroup, DeleteGroup, GroupQuery, GroupSource,
    WantedType,
};
use volume_service::app::snapshots::{self, CreateSnapshot, InUse};
use volume_service::app::transfers::{self, CreateTransfer, Encrypted, Snapshots};
use volume_service::app::volumes::{self, CreateVolume, DeleteMode, VolumeSource};
use volume_service::app::{adoption, quotas};
use volume_service::config::Secret;
use volume_service::db;
use volume_service::model::group::{Group, GroupStatus, MEMBERS_MAX};
use volume_service::model::id::{GroupId, VolumeId};
use volume_service::model::volume::VolumeStatus;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{
    Bench, PATIENCE, available, flavor, map, on_each, requester, wanted, work_on_volumes,
};
use crate::volumes::assert_usage_is_true;

/// A request for a group of type `pairs`.
pub fn group_wanted(flavors: &[&str]) -> CreateGroup {
    CreateGroup {
        name: "pair".to_owned(),
        description: "of two".to_owned(),
        group_type: WantedType::Named("pairs".to_owned()),
        flavors: flavors.iter().map(|label| (*label).to_owned()).collect(),
        zone: None,
    }
}

/// Makes the flavors `gold` and `tin`, and the group type `pairs`.
pub async fn prepare(bench: &Bench) {
    flavor(bench, "gold").await;
    flavor(bench, "tin").await;
    let new = NewGroupType {
        name: "pairs".to_owned(),
        ..NewGroupType::default()
    };
    let operator = RequestContext::operator();
    group_types::create(&bench.service, &operator, new)
        .await
        .unwrap();
}

/// A group for volumes of flavor `gold`.
pub async fn group(bench: &Bench, who: &RequestContext) -> Group {
    groups::create(&bench.service, who, group_wanted(&["gold"]))
        .await
        .unwrap()
}

fn member_wanted(group_id: GroupId) -> CreateVolume {
    CreateVolume {
        group_id: Some(group_id),
        ..wanted("gold", 1)
    }
}

/// A volume of the group that is ready.
pub async fn member(bench: &Bench, who: &RequestContext, group_id: GroupId) -> VolumeId {
    let made = volumes::create(&bench.service, who, member_wanted(group_id)).await;
    work_on_volumes(bench).await;
    made.unwrap().id
}

/// Puts volumes in and takes others out.
pub fn change(add: &[VolumeId], remove: &[VolumeId]) -> ChangeMembers {
    let texts = |ids: &[VolumeId]| ids.iter().map(VolumeId::to_string).collect();
    ChangeMembers {
        add: texts(add),
        remove: texts(remove),
        ..ChangeMembers::default()
    }
}

async fn members(bench: &Bench, id: GroupId) -> Vec<VolumeId> {
    let mut all = groups::members(&bench.service, vec![id]).await.unwrap();
    all.remove(&id).unwrap_or_default()
}

#[test]
fn they_are_made_seen_and_listed() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let s = &bench.service;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let (reader, admin) = (requester("alice", "reader"), RequestContext::operator());
        let made = group(&bench, &alice).await;
        assert_eq!(made.status, GroupStatus::Available);
        assert_eq!(made.zone, "nova");
        assert_eq!(groups::get(s, &reader, made.id).await.unwrap(), made);
        assert_eq!(groups::get(s, &admin, made.id).await.unwrap(), made);
        for (who, all_projects, count) in [
            (&alice, false, 1),
            (&bob, false, 0),
            (&bob, true, 0),
            (&admin, true, 1),
        ] {
            let query = GroupQuery {
                all_projects,
                ..GroupQuery::default()
            };
            let page = groups::list(s, who, query).await.unwrap();
            assert_eq!(page.items.len(), count, "{}", who.project_id);
        }
        let refused = groups::create(s, &reader, group_wanted(&["gold"])).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
        for gone in [
            groups::get(s, &bob, made.id).await.map(drop),
            groups::update(s, &bob, made.id, change(&[], &[])).await,
            groups::delete(s, &bob, made.id, DeleteGroup::Empty).await,
            volumes::create(s, &bob, member_wanted(made.id))
                .await
                .map(drop),
        ] {
            let gone = gone.unwrap_err();
            assert_eq!(gone.kind, ErrorKind::NotFound);
            assert_eq!(
                gone.public,
                format!("Group {} could not be found.", made.id)
            );
        }
        let unknown = |what: &str| {
            let mut wanted = group_wanted(&["gold"]);
            match what {
                "type" => wanted.group_type = WantedType::Named("none".to_owned()),
                "flavor" => wanted.flavors = vec!["none".to_owned()],
                "flavors" => wanted.flavors = Vec::new(),
                _ => wanted.zone = Some("mars".to_owned()),
            }
            wanted
        };
        for (what, kind) in [
            ("type", ErrorKind::NotFound),
            ("flavor", ErrorKind::NotFound),
            ("flavors", ErrorKind::Invalid),
            ("zone", ErrorKind::Invalid),
        ] {
            let refused = groups::create(s, &alice, unknown(what)).await.unwrap_err();
            assert_eq!(refused.kind, kind, "{what}: {refused}");
        }
        let kept = group_types::delete(s, &admin, made.type_id)
            .await
            .unwrap_err();
        assert_eq!(kept.public, "Target group type is still in use.");
        groups::delete(s, &alice, made.id, DeleteGroup::Empty)
            .await
            .unwrap();
        group_types::delete(s, &admin, made.type_id).await.unwrap();
    });
}

#[test]
fn no_project_has_more_than_its_quota() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let operator = RequestContext::operator();
        let limits = [("groups".to_owned(), 1)].into_iter().collect();
        quotas::update(s, &operator, "alice", limits).await.unwrap();
        let made = group(&bench, &alice).await;
        let refused = groups::create(s, &alice, group_wanted(&["gold"]))
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
        let id = member(&bench, &alice, made.id).await;
        let copy = CreateFromSource {
            name: String::new(),
            description: String::new(),
            source: GroupSource::Group(made.id),
        };
        let refused = groups::create_from_source(s, &alice, copy)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
        assert_eq!(members(&bench, made.id).await, [id]);
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn volumes_are_made_in_them_and_come_and_go() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let made = group(&bench, &alice).await;
        let first = volumes::create(s, &alice, member_wanted(made.id))
            .await
            .unwrap();
        assert_eq!(first.traits.group_id, Some(made.id.0));
        work_on_volumes(&bench).await;
        for (flavor, why) in [
            (
                Some("tin"),
                "requested type must be supported by this group",
            ),
            (None, "volume_type must be provided"),
        ] {
            let wanted = CreateVolume {
                flavor: flavor.map(str::to_owned),
                ..member_wanted(made.id)
            };
            let refused = volumes::create(s, &alice, wanted).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Invalid);
            assert!(refused.public.contains(why), "{refused}");
        }
        let gold = available(&bench, &alice, "gold").await;
        let tin = available(&bench, &alice, "tin").await;
        let foreign = available(&bench, &requester("bob", "member"), "gold").await;
        let in_other = member(&bench, &alice, group(&bench, &alice).await.id).await;
        let unfinished = volumes::create(s, &alice, wanted("gold", 1))
            .await
            .unwrap()
            .id;
        let east = CreateVolume {
            zone: Some("east".to_owned()),
            ..wanted("gold", 1)
        };
        let east = volumes::create(s, &alice, east).await.unwrap().id;
        for (volume, why) in [
            (tin, "is not supported by the group"),
            (foreign, "because volume cannot be found"),
            (in_other, "because it is already in group"),
            (
                unfinished,
                "because volume is in an invalid state: creating",
            ),
            (
                VolumeId(uuid::Uuid::from_u128(1)),
                "because volume cannot be found",
            ),
        ] {
            // What could come in does not come in alone.
            let refused = groups::update(s, &alice, made.id, change(&[gold, volume], &[])).await;
            let refused = refused.unwrap_err();
            assert!(refused.public.contains(why), "{why}: {refused}");
            assert_eq!(members(&bench, made.id).await, [first.id]);
        }
        work_on_volumes(&bench).await;
        let refused = groups::update(s, &alice, made.id, change(&[east], &[])).await;
        assert!(refused.unwrap_err().public.contains("it is in zone east"));
        for (wanted, why) in [
            (change(&[gold], &[gold]), "in both add and remove"),
            (change(&[], &[gold]), "it is not in the group"),
            (change(&[first.id], &[]), "no valid name"),
        ] {
            let refused = groups::update(s, &alice, made.id, wanted)
                .await
                .unwrap_err();
            assert!(refused.public.contains(why), "{refused}");
        }
        let swap = ChangeMembers {
            name: Some("swapped".to_owned()),
            ..change(&[gold], &[first.id])
        };
        groups::update(s, &alice, made.id, swap).await.unwrap();
        assert_eq!(members(&bench, made.id).await, [gold]);
        assert_eq!(
            groups::get(s, &alice, made.id).await.unwrap().name,
            "swapped"
        );
        let free = volumes::get(s, &alice, first.id).await.unwrap();
        assert_eq!(free.traits.group_id, None);
        let admin = RequestContext::operator();
        groups::reset_status(s, &admin, made.id, GroupStatus::Error)
            .await
            .unwrap();
        for refused in [
            groups::update(s, &alice, made.id, change(&[first.id], &[])).await,
            volumes::create(s, &alice, member_wanted(made.id))
                .await
                .map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
        }
        let forbidden = groups::reset_status(s, &alice, made.id, GroupStatus::Available).await;
        assert_eq!(forbidden.unwrap_err().kind, ErrorKind::Forbidden);
    });
}

#[test]
fn a_group_holds_no_more_than_can_be_taken_at_one_moment() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let made = group(&bench, &alice).await;
        for _ in 0..MEMBERS_MAX {
            volumes::create(s, &alice, member_wanted(made.id))
                .await
                .unwrap();
        }
        work_on_volumes(&bench).await;
        let refused = volumes::create(s, &alice, member_wanted(made.id))
            .await
            .unwrap_err();
        let why = format!("A group has at most {MEMBERS_MAX} volumes");
        assert!(refused.public.contains(&why), "{refused}");
        let other = available(&bench, &alice, "gold").await;
        let refused = groups::update(s, &alice, made.id, change(&[other], &[])).await;
        assert!(refused.unwrap_err().public.contains(&why));
        assert_eq!(members(&bench, made.id).await.len(), MEMBERS_MAX);
    });
}

#[test]
fn what_is_in_a_group_is_not_removed_alone() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let admin = RequestContext::operator();
        let made = group(&bench, &alice).await;
        let id = member(&bench, &alice, made.id).await;
        for mode in [
            DeleteMode::Normal,
            DeleteMode::Cascade,
            DeleteMode::KeepSnapshots,
            DeleteMode::Force,
        ] {
            let refused = volumes::delete(s, &admin, id, mode).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Conflict, "{mode:?}");
            assert!(
                refused.public.contains("must not belong to a group"),
                "{refused}"
            );
        }
        let transfer = CreateTransfer {
            volume_id: id,
            name: String::new(),
            snapshots: Snapshots::GoAlong,
            encrypted: Encrypted::Refuse,
        };
        for refused in [
            transfers::create(s, &alice, transfer).await.map(drop),
            adoption::unmanage_volume(s, &admin, id).await,
        ] {
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
        }
        let kept = volumes::get(s, &alice, id).await.unwrap();
        assert_eq!(kept.status, VolumeStatus::Available);
        groups::update(s, &alice, made.id, change(&[], &[id]))
            .await
            .unwrap();
        volumes::delete(s, &alice, id, DeleteMode::Normal)
            .await
            .unwrap();
    });
}

#[test]
fn groups_go_with_their_volumes_or_not_at_all() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let made = group(&bench, &alice).await;
        let ids = [
            member(&bench, &alice, made.id).await,
            member(&bench, &alice, made.id).await,
        ];
        let delete = async |mode| groups::delete(s, &alice, made.id, mode).await;
        let refused = delete(DeleteGroup::Empty).await.unwrap_err();
        assert!(
            refused.public.contains("delete-volumes flag is required"),
            "{refused}"
        );
        let wanted = CreateSnapshot {
            volume_id: ids[1],
            name: String::new(),
            description: String::new(),
            metadata: map(&[]),
            in_use: InUse::Refuse,
        };
        let snapshot = snapshots::create(s, &alice, wanted).await.unwrap();
        work_on_volumes(&bench).await;
        let refused = delete(DeleteGroup::WithVolumes).await.unwrap_err();
        assert!(refused.public.contains("dependent snapshots"), "{refused}");
        for id in ids {
            let kept = volumes::get(s, &alice, id).await.unwrap();
            assert_eq!(kept.status, VolumeStatus::Available, "nothing was changed");
        }
        let mode = snapshots::DeleteMode::Normal;
        snapshots::delete(s, &alice, snapshot.id, mode)
            .await
            .unwrap();
        work_on_volumes(&bench).await;
        let reader = requester("alice", "reader");
        let refused = groups::delete(s, &reader, made.id, DeleteGroup::WithVolumes).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
        delete(DeleteGroup::WithVolumes).await.unwrap();
        let going = groups::get(s, &alice, made.id).await.unwrap();
        assert_eq!(going.status, GroupStatus::Deleting);
        work_on_volumes(&bench).await;
        let gone = groups::get(s, &alice, made.id).await.unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn a_group_is_made_from_another_one() {
    on_each(|bench| async move {
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let made = group(&bench, &alice).await;
        let copy = || CreateFromSource {
            name: "copy".to_owned(),
            description: String::new(),
            source: GroupSource::Group(made.id),
        };
        let refused = groups::create_from_source(s, &alice, copy())
            .await
            .unwrap_err();
        assert!(
            refused.public.contains("Source Group is empty"),
            "{refused}"
        );
        let id = member(&bench, &alice, made.id).await;
        let twin = groups::create_from_source(s, &alice, copy()).await.unwrap();
        assert_eq!(twin.status, GroupStatus::Creating);
        assert_eq!(
            (twin.source_group_id, &twin.flavors),
            (Some(made.id), &made.flavors)
        );
        for refused in [
            groups::delete(s, &alice, twin.id, DeleteGroup::WithVolumes).await,
            groups::delete(s, &alice, made.id, DeleteGroup::WithVolumes).await,
        ] {
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
        }
        work_on_volumes(&bench).await;
        let twin = groups::get(s, &alice, twin.id).await.unwrap();
        assert_eq!(twin.status, GroupStatus::Available);
        let copies = members(&bench, twin.id).await;
        let copied = volumes::get(s, &alice, copies[0]).await.unwrap();
        assert_eq!((copies.len(), copied.source_volume_id), (1, Some(id)));
        // A member that fails is told by the group.
        let third = groups::create_from_source(s, &alice, copy()).await.unwrap();
        let failing = members(&bench, third.id).await[0];
        let failed = s.database.write(move |tx| {
            let (from, to) = ([VolumeStatus::Creating], VolumeStatus::Error);
            db::volumes::change_status(tx, failing, &from, to, 1)?;
            db::groups::settle(tx, third.id, 1)
        });
        assert!(failed.await.unwrap());
        let third = groups::get(s, &alice, third.id).await.unwrap();
        assert_eq!(third.status, GroupStatus::Error);
        assert_eq!(third.failure, "1 of its 1 volumes are in error");
        assert_usage_is_true(&bench, "alice").await;
    });
}

/// Seen: a request locked what it named before it found out whose that is, so that anybody could keep another project waiting.
#[test]
fn what_another_project_names_is_not_locked() {
    on_each(|bench| async move {
        if bench.url.starts_with("sqlite:") {
            // Nothing is locked there but the whole database.
            return;
        }
        prepare(&bench).await;
        let (s, alice) = (&bench.service, requester("alice", "member"));
        let made = group(&bench, &alice).await;
        let id = member(&bench, &alice, made.id).await;
        let there = db::Database::open(&Secret::new(bench.url.as_str()))
            .await
            .unwrap();
        let (locked, is_locked) = sync_channel(8);
        let (release, is_released) = sync_channel::<()>(1);
        let is_released = std::sync::Mutex::new(is_released);
        let holder = tokio::spawn(async move {
            there
                .write(move |tx| {
                    db::groups::lock(tx, made.id)?;
                    db::volumes::lock(tx, id)?;
                    let _ = locked.try_send(());
                    let released = is_released.lock().unwrap();
                    released.recv_timeout(PATIENCE).unwrap();
                    Ok(())
                })
                .await
        });
        tokio::task::spawn_blocking(move || is_locked.recv_timeout(PATIENCE))
            .await
            .unwrap()
            .unwrap();
        // All are answered while the rows are held: they wait for nothing.
        let bob = requester("bob", "member");
        let copy = CreateFromSource {
            name: "copy".to_owned(),
            description: String::new(),
            source: GroupSource::Group(made.id),
        };
        let clone = CreateVolume {
            source: VolumeSource::Volume(id),
            ..CreateVolume::default()
        };
        for refused in [
            volumes::delete(s, &bob, id, DeleteMode::Normal).await,
            volumes::create(s, &bob, clone).await.map(drop),
            groups::update(s, &bob, made.id, change(&[], &[id])).await,
            groups::delete(s, &bob, made.id, DeleteGroup::WithVolumes).await,
            groups::create_from_source(s, &bob, copy).await.map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
        }
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
    });
}
