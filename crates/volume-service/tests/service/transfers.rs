//! Transfers: who may offer, see, take back and accept, and what goes along.

use volume_service::app::messages::{self, MessageQuery};
use volume_service::app::snapshots::{self, CreateSnapshot, InUse};
use volume_service::app::transfers::{
    self, CreateTransfer, Encrypted, Snapshots, TransferQuery, TransferSortKey,
};
use volume_service::app::volumes::{self, DeleteMode, SortDirection};
use volume_service::app::{attachments, quotas, retype};
use volume_service::config::Secret;
use volume_service::db;
use volume_service::error::Subject;
use volume_service::model::attachment::AttachMode;
use volume_service::model::id::{SnapshotId, VolumeId};
use volume_service::model::snapshot::SnapshotStatus;
use volume_service::model::transfer::Transfer;
use volume_service::model::volume::VolumeStatus;
use volume_service::{ErrorKind, RequestContext};

use crate::support::{Bench, available, flavor, map, on_each, requester, wanted, work_on_volumes};
use crate::volumes::assert_usage_is_true;

fn offer(volume_id: VolumeId, snapshots: Snapshots) -> CreateTransfer {
    CreateTransfer {
        volume_id,
        name: "gift".to_owned(),
        snapshots,
        encrypted: Encrypted::Refuse,
    }
}

async fn offered(
    bench: &Bench,
    who: &RequestContext,
    id: VolumeId,
    how: Snapshots,
) -> (Transfer, Secret) {
    transfers::create(&bench.service, who, offer(id, how))
        .await
        .unwrap()
}

async fn snapshot(bench: &Bench, who: &RequestContext, volume_id: VolumeId) -> SnapshotId {
    let wanted = CreateSnapshot {
        volume_id,
        name: String::new(),
        description: String::new(),
        metadata: map(&[]),
        in_use: InUse::Refuse,
    };
    let made = snapshots::create(&bench.service, who, wanted)
        .await
        .unwrap();
    work_on_volumes(bench).await;
    made.id
}

async fn status(bench: &Bench, id: VolumeId) -> VolumeStatus {
    let admin = RequestContext::operator();
    volumes::get(&bench.service, &admin, id)
        .await
        .unwrap()
        .status
}

#[test]
fn a_volume_goes_over_with_its_snapshots_or_without() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let s = &bench.service;
        for (how, owner) in [(Snapshots::GoAlong, "bob"), (Snapshots::Stay, "alice")] {
            let volume = available(&bench, &alice, "gold").await;
            let snap = snapshot(&bench, &alice, volume).await;
            let (transfer, key) = offered(&bench, &alice, volume, how).await;
            assert_eq!(status(&bench, volume).await, VolumeStatus::AwaitingTransfer);
            assert_eq!(key.expose().len(), 16);
            let accepted = transfers::accept(s, &bob, transfer.id, key).await.unwrap();
            assert_eq!(accepted, transfer);
            let taken = volumes::get(s, &bob, volume).await.unwrap();
            assert_eq!(
                (taken.status, taken.user_id.as_str()),
                (VolumeStatus::Available, "user-of-bob")
            );
            let admin = RequestContext::operator();
            let kept = snapshots::get(s, &admin, snap).await.unwrap();
            assert_eq!(kept.project_id, owner);
            for gone in [
                volumes::get(s, &alice, volume).await.unwrap_err(),
                transfers::get(s, &alice, transfer.id).await.unwrap_err(),
                transfers::delete(s, &admin, transfer.id).await.unwrap_err(),
            ] {
                assert_eq!(gone.kind, ErrorKind::NotFound, "{gone}");
            }
            assert_usage_is_true(&bench, "alice").await;
            assert_usage_is_true(&bench, "bob").await;
            let deleted = volumes::delete(s, &bob, volume, DeleteMode::Cascade).await;
            match how {
                Snapshots::GoAlong => deleted.unwrap(),
                Snapshots::Stay => {
                    let refused = deleted.unwrap_err();
                    assert!(refused.public.contains("another project"), "{refused}");
                    // Nor does an administrator's word on the volume reach another project's snapshots.
                    let refused = volumes::delete(s, &admin, volume, DeleteMode::Cascade)
                        .await
                        .unwrap_err();
                    assert!(refused.public.contains("another project"), "{refused}");
                    let kept = snapshots::get(s, &alice, snap).await.unwrap();
                    assert_eq!(kept.status, SnapshotStatus::Available);
                    assert_eq!(status(&bench, volume).await, VolumeStatus::Available);
                }
            }
        }
    });
}

#[test]
fn only_who_knows_the_key_and_has_room_gets_it() {
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let (s, admin) = (&bench.service, RequestContext::operator());
        let volume = available(&bench, &alice, "gold").await;
        snapshot(&bench, &alice, volume).await;
        let (transfer, key) = offered(&bench, &alice, volume, Snapshots::GoAlong).await;
        let wrong = Secret::new("0123456789abcdef");
        let refused = transfers::accept(s, &bob, transfer.id, wrong)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid);
        assert!(
            refused.public.contains("with invalid auth key"),
            "{refused}"
        );
        let reader = requester("bob", "reader");
        let refused = transfers::accept(s, &reader, transfer.id, key.clone()).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
        for (name, limit) in [
            ("volumes", 0),
            ("snapshots_gold", 0),
            ("gigabytes", 1),
            ("per_volume_gigabytes", 0),
        ] {
            let limits = [(name.to_owned(), limit)].into();
            quotas::update(s, &admin, "bob", limits).await.unwrap();
            let refused = transfers::accept(s, &bob, transfer.id, key.clone()).await;
            assert_eq!(
                refused.unwrap_err().kind,
                ErrorKind::QuotaExceeded,
                "{name}"
            );
            assert_eq!(status(&bench, volume).await, VolumeStatus::AwaitingTransfer);
            quotas::delete(s, &admin, "bob").await.unwrap();
        }
        assert_usage_is_true(&bench, "bob").await;
        // An operator gave the volume another state meanwhile: the offer means nothing any more.
        let states = [VolumeStatus::AwaitingTransfer, VolumeStatus::Available];
        let reset = s
            .database
            .write(move |tx| db::volumes::change_status(tx, volume, &states[..1], states[1], 1));
        assert!(reset.await.unwrap());
        let refused = transfers::accept(s, &bob, transfer.id, key.clone())
            .await
            .unwrap_err();
        assert!(
            refused.public.contains("expected in awaiting-transfer"),
            "{refused}"
        );
        let (second, key) = offered(&bench, &alice, volume, Snapshots::GoAlong).await;
        let gone = transfers::get(s, &alice, transfer.id).await.unwrap_err();
        assert_eq!(
            gone.kind,
            ErrorKind::NotFound,
            "the later offer took its place"
        );
        // Both at once: one of them has it.
        let carol = requester("carol", "member");
        let (first, other) = tokio::join!(
            transfers::accept(s, &bob, second.id, key.clone()),
            transfers::accept(s, &carol, second.id, key)
        );
        assert!(first.is_ok() != other.is_ok(), "{first:?} {other:?}");
        let used = s
            .database
            .read(move |tx| db::quotas::standing(tx, "alice", gold.id));
        assert_eq!(used.await.unwrap().project, Default::default());
    });
}

#[test]
fn what_cannot_be_offered_and_who_may_not() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let (s, reader) = (&bench.service, requester("alice", "reader"));
        let volume = volumes::create(s, &alice, wanted("gold", 1))
            .await
            .unwrap()
            .id;
        let refusal = async |who: &RequestContext, how| {
            let refused = transfers::create(s, who, offer(volume, how)).await;
            let refused = refused.unwrap_err();
            (refused.kind, refused.subject)
        };
        let conflict = (ErrorKind::Conflict, Subject::Volume);
        assert_eq!(refusal(&alice, Snapshots::GoAlong).await, conflict);
        work_on_volumes(&bench).await;
        assert_eq!(
            refusal(&bob, Snapshots::GoAlong).await.0,
            ErrorKind::NotFound
        );
        assert_eq!(
            refusal(&reader, Snapshots::GoAlong).await.0,
            ErrorKind::Forbidden
        );
        let taking = CreateSnapshot {
            volume_id: volume,
            name: String::new(),
            description: String::new(),
            metadata: map(&[]),
            in_use: InUse::Refuse,
        };
        snapshots::create(s, &alice, taking).await.unwrap();
        assert_eq!(
            refusal(&alice, Snapshots::GoAlong).await,
            (ErrorKind::Conflict, Subject::Snapshot)
        );
        assert_eq!(status(&bench, volume).await, VolumeStatus::Available);
        work_on_volumes(&bench).await;
        let (transfer, _) = offered(&bench, &alice, volume, Snapshots::GoAlong).await;
        assert_eq!(refusal(&alice, Snapshots::GoAlong).await, conflict);
        let refused = volumes::delete(s, &alice, volume, DeleteMode::Cascade).await;
        assert_eq!(
            refused.unwrap_err().kind,
            ErrorKind::Conflict,
            "awaiting transfer"
        );
        for (what, refused, kind) in [
            (
                "see",
                transfers::get(s, &bob, transfer.id).await.err(),
                ErrorKind::NotFound,
            ),
            (
                "take back",
                transfers::delete(s, &bob, transfer.id).await.err(),
                ErrorKind::NotFound,
            ),
            (
                "reader",
                transfers::delete(s, &reader, transfer.id).await.err(),
                ErrorKind::Forbidden,
            ),
        ] {
            assert_eq!(refused.unwrap().kind, kind, "{what}");
        }
        transfers::get(s, &reader, transfer.id).await.unwrap();
        transfers::delete(s, &alice, transfer.id).await.unwrap();
        assert_eq!(status(&bench, volume).await, VolumeStatus::Available);
        let again = transfers::delete(s, &alice, transfer.id).await.unwrap_err();
        assert_eq!(again.kind, ErrorKind::NotFound);
    });
}

#[test]
fn offers_are_listed_page_by_page() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let (s, admin) = (&bench.service, requester("ops", "admin"));
        let mut made = Vec::new();
        for who in [&alice, &alice, &alice, &bob] {
            let volume = available(&bench, who, "gold").await;
            made.push(offered(&bench, who, volume, Snapshots::GoAlong).await.0);
        }
        let list = async |who: &RequestContext, all, query: TransferQuery, limit| {
            let page = transfers::list(s, who, all, query, limit).await.unwrap();
            let ids: Vec<_> = page.items.into_iter().map(|transfer| transfer.id).collect();
            (ids, page.has_more)
        };
        let ids: Vec<_> = made.iter().map(|transfer| transfer.id).collect();
        let all = TransferQuery::default;
        assert_eq!(
            list(&alice, true, all(), None).await,
            (ids[..3].to_vec(), false)
        );
        assert_eq!(list(&admin, true, all(), None).await.0, ids);
        assert!(list(&admin, false, all(), None).await.0.is_empty());
        let newest = TransferQuery {
            sort: vec![(TransferSortKey::CreatedAt, SortDirection::Descending)],
            ..all()
        };
        let (page, has_more) = list(&alice, false, newest.clone(), Some(2)).await;
        assert_eq!((page, has_more), (vec![ids[2], ids[1]], true));
        let next = TransferQuery {
            marker: Some(ids[1]),
            ..newest
        };
        assert_eq!(
            list(&alice, false, next, Some(2)).await,
            (vec![ids[0]], false)
        );
        let of_volume = TransferQuery {
            volume_id: Some(made[1].volume_id),
            ..all()
        };
        assert_eq!(list(&alice, false, of_volume, None).await.0, [ids[1]]);
        let foreign = TransferQuery {
            marker: Some(ids[3]),
            ..all()
        };
        let refused = transfers::list(s, &alice, false, foreign, None).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn another_flavor_has_a_quota_of_its_own() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        flavor(&bench, "silver").await;
        let alice = requester("alice", "member");
        let (s, admin) = (&bench.service, RequestContext::operator());
        let volume = available(&bench, &alice, "gold").await;
        snapshot(&bench, &alice, volume).await;
        let backend = crate::backends::add_nfs(&bench, "gold").await.id;
        let placed = s
            .database
            .write(move |tx| tx.execute("UPDATE volumes SET backend_id = ?1", &[backend.0.into()]));
        placed.await.unwrap();
        let never = retype::MigrationPolicy::Never;
        let limits = [("gigabytes_silver".to_owned(), 1)].into();
        quotas::update(s, &admin, "alice", limits).await.unwrap();
        let refused = retype::retype(s, &alice, volume, "silver", never).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::QuotaExceeded);
        assert_eq!(
            volumes::get(s, &alice, volume).await.unwrap().flavor_label,
            "gold"
        );
        quotas::delete(s, &admin, "alice").await.unwrap();
        retype::retype(s, &alice, volume, "silver", never)
            .await
            .unwrap();
        assert_eq!(
            volumes::get(s, &alice, volume).await.unwrap().flavor_label,
            "silver"
        );
        assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn who_is_refused_finds_out_why_afterwards() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        flavor(&bench, "silver").await;
        let (alice, bob) = (requester("alice", "member"), requester("bob", "member"));
        let (s, admin) = (&bench.service, RequestContext::operator());
        let volume = available(&bench, &alice, "gold").await;
        let told = async |who: &RequestContext| {
            let all = messages::list(s, who, MessageQuery::default()).await;
            let mut all: Vec<(String, String)> = all
                .unwrap()
                .items
                .into_iter()
                .map(|message| (message.event(), message.resource_id))
                .collect();
            all.sort_unstable();
            all
        };
        let about = |events: &[&str]| -> Vec<(String, String)> {
            let pair = |event: &&str| ((*event).to_owned(), volume.to_string());
            events.iter().map(pair).collect()
        };

        // A type that has no room, and an acceptor who has none.
        let limits = [("volumes_silver".to_owned(), 0)].into();
        quotas::update(s, &admin, "alice", limits).await.unwrap();
        let never = retype::MigrationPolicy::Never;
        let backend = crate::backends::add_nfs(&bench, "gold").await.id;
        let placed = s
            .database
            .write(move |tx| tx.execute("UPDATE volumes SET backend_id = ?1", &[backend.0.into()]));
        placed.await.unwrap();
        let refused = retype::retype(s, &alice, volume, "silver", never).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::QuotaExceeded);
        let (transfer, key) = offered(&bench, &alice, volume, Snapshots::GoAlong).await;
        let limits = [("volumes".to_owned(), 0)].into();
        quotas::update(s, &admin, "bob", limits).await.unwrap();
        transfers::accept(s, &bob, transfer.id, key)
            .await
            .unwrap_err();
        assert_eq!(told(&bob).await, about(&["VOLUME_VOLUME_001_006"]));
        assert_eq!(told(&alice).await, about(&["VOLUME_VOLUME_001_006"]));

        // A wrong key is told to nobody: it would say which volume it is.
        let carol = requester("carol", "member");
        let wrong = transfers::accept(s, &carol, transfer.id, Secret::new("0123456789abcdef"));
        assert_eq!(wrong.await.unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(told(&carol).await, []);

        // What is awaiting a transfer is neither attached nor offered again; who asks twice is told once.
        let claim = attachments::CreateAttachment {
            volume_id: volume,
            instance_id: None,
            connector: None,
            mode: AttachMode::ReadWrite,
            mountpoint: None,
        };
        for _ in 0..2 {
            attachments::create(s, &alice, claim.clone())
                .await
                .unwrap_err();
            transfers::create(s, &alice, offer(volume, Snapshots::Stay))
                .await
                .unwrap_err();
        }
        let events = [
            "VOLUME_VOLUME_001_006",
            "VOLUME_VOLUME_001_027",
            "VOLUME_VOLUME_002_027",
        ];
        assert_eq!(told(&alice).await, about(&events));
    });
}
