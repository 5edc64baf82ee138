//! What few volumes have, states set by hand, filters and sums, and claims on VDIs: on both databases.

use volume_service::app::narrowing::{Comparison, Moment, Narrowing, Place, TimeBound};
use volume_service::app::reset_status::{self, AttachStatus, ResetVolume};
use volume_service::app::volume_summary::summarize;
use volume_service::app::volumes::{self, DeleteMode, VolumeQuery};
use volume_service::app::{attachments, retype, snapshots, volume_flags};
use volume_service::db::adoptions::{self, Adoption};
use volume_service::db::{self, volume_traits};
use volume_service::error::{ErrorKind, Subject};
use volume_service::model::adoption::Reference;
use volume_service::model::attachment::AttachMode;
use volume_service::model::id::{BackendId, VolumeId};
use volume_service::model::snapshot::SnapshotStatus;
use volume_service::model::volume::{VolumeStatus, VolumeTraits};

use crate::support::{Bench, available, flavor, map, on_each, requester, wanted, work_on_volumes};

/// A volume with a VDI.
async fn made(bench: &Bench) -> VolumeId {
    let id = available(bench, &requester("alice", "member"), "gold").await;
    let vdi = uuid::Uuid::new_v4();
    let set = bench
        .service
        .database
        .write(move |tx| db::volumes::set_vdi(tx, id, Some(vdi)));
    assert!(set.await.unwrap());
    id
}

#[test]
fn what_few_volumes_have_is_kept_and_read_with_the_rest() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let (id, plain) = (made(&bench).await, made(&bench).await);
        let expected = VolumeTraits {
            group_id: Some(uuid::Uuid::new_v4()),
            in_consistency_group: false,
            multiattach: true,
            read_only: Some(false),
            encryption_key_id: Some(uuid::Uuid::new_v4()),
            migration_status: Some("migrating".to_owned()),
            is_hand_set: true,
            image_metadata: map(&[("a|b", "c\"d|"), ("os", "linux")]),
        };
        let traits = expected.clone();
        let written = bench.service.database.write(move |tx| {
            volume_traits::set_group(tx, id, traits.group_id)?;
            volume_traits::set_multiattach(tx, id, true)?;
            volume_traits::set_read_only(tx, id, false)?;
            volume_traits::set_encryption_key(tx, id, traits.encryption_key_id)?;
            volume_traits::set_migration_status(tx, id, traits.migration_status.as_deref())?;
            volume_traits::set_hand_set(tx, id, true)?;
            volume_traits::merge_image_metadata(tx, id, &traits.image_metadata)
        });
        written.await.unwrap();
        let found = volumes::get(&bench.service, &alice, id).await.unwrap();
        assert_eq!(found.traits, expected);
        let all = volumes::list(&bench.service, &alice, VolumeQuery::default()).await;
        for volume in all.unwrap().items {
            let traits = if volume.id == id {
                expected.clone()
            } else {
                VolumeTraits::default()
            };
            assert_eq!(volume.traits, traits);
        }
        for key in ["a|b", "os"] {
            volume_flags::remove_image_metadata(&bench.service, &alice, id, key)
                .await
                .unwrap();
        }
        let found = volumes::get(&bench.service, &alice, id).await.unwrap();
        assert_eq!(found.traits.image_metadata, map(&[]));
        let missing =
            volume_flags::remove_image_metadata(&bench.service, &alice, plain, "os").await;
        assert_eq!(missing.unwrap_err().subject, Subject::Metadata);
        // A clone takes them along.
        volume_flags::merge_image_metadata(&bench.service, &alice, plain, map(&[("os", "bsd")]))
            .await
            .unwrap();
        let mut clone = wanted("gold", 1);
        clone.source = volumes::VolumeSource::Volume(plain);
        let clone = volumes::create(&bench.service, &alice, clone)
            .await
            .unwrap();
        let clone = volumes::get(&bench.service, &alice, clone.id)
            .await
            .unwrap();
        assert_eq!(clone.traits.image_metadata, map(&[("os", "bsd")]));
    });
}

#[test]
fn states_are_set_by_hand_and_end_with_what_attachments_imply() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, admin) = (requester("alice", "member"), requester("ops", "admin"));
        let id = made(&bench).await;
        let reset = async |status: Option<VolumeStatus>, attach_status: Option<AttachStatus>| {
            let wanted = ResetVolume {
                status,
                attach_status,
                migration_status: None,
            };
            let done = reset_status::volume(&bench.service, &admin, id, wanted).await;
            done.map_err(|error| error.kind)
        };
        let status = async || {
            volumes::get(&bench.service, &alice, id)
                .await
                .unwrap()
                .status
        };
        for word in VolumeStatus::ALL {
            let expected = match word {
                VolumeStatus::Deleting | VolumeStatus::InUse => Err(ErrorKind::Invalid),
                _ => Ok(()),
            };
            assert_eq!(reset(Some(word), None).await, expected, "{word:?}");
            if expected.is_ok() {
                assert_eq!(status().await, word);
            }
        }
        assert_eq!(reset(Some(VolumeStatus::Available), None).await, Ok(()));
        let reserve = attachments::CreateAttachment {
            volume_id: id,
            instance_id: None,
            connector: None,
            mode: AttachMode::ReadWrite,
            mountpoint: None,
        };
        let held = attachments::create(&bench.service, &alice, reserve)
            .await
            .unwrap();
        assert_eq!(
            reset(Some(VolumeStatus::Available), None).await,
            Err(ErrorKind::Invalid)
        );
        assert_eq!(reset(Some(VolumeStatus::InUse), None).await, Ok(()));
        assert_eq!(
            status().await,
            VolumeStatus::Reserved,
            "what the attachment implies"
        );
        assert_eq!(reset(Some(VolumeStatus::Error), None).await, Ok(()));
        attachments::force_detach(&bench.service, &admin, id, Some(held.id))
            .await
            .unwrap();
        assert_eq!(status().await, VolumeStatus::Available);
        let unknown = attachments::force_detach(&bench.service, &admin, id, Some(held.id)).await;
        assert_eq!(unknown.unwrap_err().kind, ErrorKind::Invalid);

        // One that was never made cannot be said to be there.
        let bare = available(&bench, &alice, "gold").await;
        let wanted = ResetVolume {
            status: Some(VolumeStatus::Available),
            ..ResetVolume::default()
        };
        let refused = reset_status::volume(&bench.service, &admin, bare, wanted.clone()).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid);
        let foreign = reset_status::volume(
            &bench.service,
            &requester("bob", "member"),
            bare,
            wanted.clone(),
        )
        .await;
        assert_eq!(foreign.unwrap_err().kind, ErrorKind::NotFound);
        let own = reset_status::volume(&bench.service, &alice, bare, wanted).await;
        assert_eq!(own.unwrap_err().kind, ErrorKind::Forbidden);

        let taken = snapshots::CreateSnapshot {
            volume_id: id,
            name: String::new(),
            description: String::new(),
            metadata: map(&[]),
            in_use: snapshots::InUse::Refuse,
        };
        let snapshot = snapshots::create(&bench.service, &alice, taken)
            .await
            .unwrap()
            .id;
        work_on_volumes(&bench).await;
        let vdi = uuid::Uuid::new_v4();
        let set = bench
            .service
            .database
            .write(move |tx| db::snapshots::set_vdi(tx, snapshot, Some(vdi)));
        assert!(set.await.unwrap());
        for word in SnapshotStatus::ALL {
            reset_status::snapshot(&bench.service, &admin, snapshot, word)
                .await
                .unwrap();
            let found = snapshots::get(&bench.service, &alice, snapshot)
                .await
                .unwrap();
            assert_eq!(found.status, word);
            assert_eq!(found.traits.is_hand_set, word != SnapshotStatus::Available);
        }
        snapshots::delete(
            &bench.service,
            &admin,
            snapshot,
            snapshots::DeleteMode::Force,
        )
        .await
        .unwrap();
        work_on_volumes(&bench).await;
        assert_eq!(reset(Some(VolumeStatus::Maintenance), None).await, Ok(()));
        let renamed = volumes::UpdateVolume {
            name: Some("x".to_owned()),
            ..volumes::UpdateVolume::default()
        };
        let refused = volumes::update(&bench.service, &alice, id, renamed).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
        volumes::delete(&bench.service, &admin, id, DeleteMode::Force)
            .await
            .unwrap();
    });
}

/// What an operator does in the wrong order: an operation that removes a volume is not overtaken by a state that is set by hand.
#[test]
fn states_set_by_hand_do_not_overtake_a_removal() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, admin) = (requester("alice", "member"), requester("ops", "admin"));
        let id = made(&bench).await;
        let taken = snapshots::CreateSnapshot {
            volume_id: id,
            name: String::new(),
            description: String::new(),
            metadata: map(&[]),
            in_use: snapshots::InUse::Refuse,
        };
        let snapshot = snapshots::create(&bench.service, &alice, taken)
            .await
            .unwrap()
            .id;
        work_on_volumes(&bench).await;
        let vdi = uuid::Uuid::new_v4();
        let set = bench
            .service
            .database
            .write(move |tx| db::snapshots::set_vdi(tx, snapshot, Some(vdi)));
        assert!(set.await.unwrap());
        let settled = SnapshotStatus::Available;
        reset_status::snapshot(&bench.service, &admin, snapshot, settled)
            .await
            .unwrap();
        let wanted = ResetVolume {
            status: Some(VolumeStatus::Error),
            ..ResetVolume::default()
        };
        reset_status::volume(&bench.service, &admin, id, wanted)
            .await
            .unwrap();
        volumes::delete(&bench.service, &alice, id, DeleteMode::Cascade)
            .await
            .unwrap();
        attachments::force_detach(&bench.service, &admin, id, None)
            .await
            .unwrap();
        let found = volumes::get(&bench.service, &alice, id).await.unwrap();
        assert_eq!(found.status, VolumeStatus::Deleting);
        for word in [SnapshotStatus::Available, SnapshotStatus::Error] {
            let refused = reset_status::snapshot(&bench.service, &admin, snapshot, word).await;
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
        }
        let found = snapshots::get(&bench.service, &alice, snapshot)
            .await
            .unwrap();
        assert_eq!(found.status, SnapshotStatus::Deleting);
    });
}

#[test]
fn filters_and_sums_find_what_a_look_at_all_rows_finds() {
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let mut all = Vec::new();
        for size in 1..=4u64 {
            let mut new = wanted("gold", size);
            new.metadata = map(&[("parity", ["even", "odd"][size as usize % 2])]);
            all.push(volumes::create(&bench.service, &alice, new).await.unwrap());
        }
        let (second, third) = (all[1].clone(), all[2].clone());
        work_on_volumes(&bench).await;
        let traced = (second.id, third.id);
        let written = bench.service.database.write(move |tx| {
            volume_traits::set_migration_status(tx, traced.0, Some("error"))?;
            volume_traits::merge_image_metadata(tx, traced.1, &map(&[("os", "linux")]))
        });
        written.await.unwrap();
        let sizes = async |narrowing: Narrowing| {
            let query = VolumeQuery {
                narrowing,
                ..VolumeQuery::default()
            };
            let found = volumes::list(&bench.service, &alice, query.clone())
                .await
                .unwrap();
            let mut sizes: Vec<u64> = found.items.iter().map(|volume| volume.size_gib).collect();
            sizes.sort_unstable();
            let sum = summarize(&bench.service, &alice, query, true)
                .await
                .unwrap();
            assert_eq!(
                (sum.count, sum.size_gib),
                (sizes.len() as u64, sizes.iter().sum())
            );
            sizes
        };
        let at = |comparison| Narrowing {
            times: vec![TimeBound {
                moment: Moment::Created,
                comparison,
                at_us: second.created_at_us,
            }],
            ..Narrowing::default()
        };
        assert_eq!(sizes(at(Comparison::After)).await, [3, 4]);
        assert_eq!(sizes(at(Comparison::NotBefore)).await, [2, 3, 4]);
        assert_eq!(sizes(at(Comparison::At)).await, [2]);
        assert_eq!(sizes(at(Comparison::NotAt)).await, [1, 3, 4]);
        assert_eq!(sizes(at(Comparison::Before)).await, [1]);
        assert_eq!(sizes(at(Comparison::NotAfter)).await, [1, 2]);
        let narrowed = |change: fn(&mut Narrowing)| {
            let mut narrowing = Narrowing::default();
            change(&mut narrowing);
            narrowing
        };
        assert_eq!(sizes(Narrowing::default()).await, [1, 2, 3, 4]);
        let migrated = narrowed(|it| it.migration_status = Some("error".to_owned()));
        assert_eq!(sizes(migrated).await, [2]);
        let linux = narrowed(|it| it.image_metadata = map(&[("os", "linux")]));
        assert_eq!(sizes(linux).await, [3]);
        let users = narrowed(|it| it.user_id = Some("user-of-alice".to_owned()));
        assert_eq!(sizes(users).await, [1, 2, 3, 4]);
        let placed = narrowed(|it| {
            it.place = Some(Place {
                zone: "nova".to_owned(),
                backend_id: Some(BackendId(7)),
            });
        });
        assert_eq!(sizes(placed).await, [] as [u64; 0]);
        let grouped = narrowed(|it| it.group_id = Some(uuid::Uuid::from_u128(1)));
        assert_eq!(sizes(grouped).await, [] as [u64; 0]);
        let cloned = narrowed(|it| it.source_volume_id = Some(VolumeId(uuid::Uuid::from_u128(1))));
        assert_eq!(sizes(cloned).await, [] as [u64; 0]);

        let query = VolumeQuery {
            flavor: Some(gold.label.clone()),
            ..VolumeQuery::default()
        };
        let sum = summarize(&bench.service, &alice, query, true)
            .await
            .unwrap();
        let pairs = sum.metadata.unwrap();
        assert_eq!(pairs["parity"], ["even", "odd"]);
        let others = VolumeQuery {
            all_projects: true,
            ..VolumeQuery::default()
        };
        let refused = summarize(&bench.service, &alice, others, false).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
    });
}

#[test]
fn a_vdi_is_claimed_once() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let held = available(&bench, &alice, "gold").await;
        let (free, vdi) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let adoption = Adoption {
            reference: Reference::Name("disk".to_owned()),
            backend_id: BackendId(1),
        };
        let done = bench.service.database.write(move |tx| {
            db::volumes::set_vdi(tx, held, Some(vdi))?;
            adoptions::insert(tx, "a", &adoption)?;
            assert_eq!(adoptions::find(tx, "a")?, Some(adoption.clone()));
            assert_eq!(adoptions::find(tx, "b")?, None);
            assert!(adoptions::claim(tx, free, None, "a")?);
            assert!(adoptions::claim(tx, free, None, "a")?, "its own again");
            assert!(!adoptions::claim(tx, free, None, "b")?);
            adoptions::remove(tx, "a")?;
            assert_eq!(adoptions::find(tx, "a")?, None);
            assert!(adoptions::claim(tx, free, None, "b")?);
            adoptions::remove(tx, "b")
        });
        done.await.unwrap();
    });
}

#[test]
fn another_type_is_refused_where_it_is_none() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        flavor(&bench, "silver").await;
        let alice = requester("alice", "member");
        let id = made(&bench).await;
        let change = async |who: &str, role: &str, flavor: &str| {
            let who = requester(who, role);
            let policy = retype::MigrationPolicy::OnDemand;
            let done = retype::retype(&bench.service, &who, id, flavor, policy).await;
            done.map_err(|error| error.kind)
        };
        assert_eq!(
            change("bob", "member", "silver").await,
            Err(ErrorKind::NotFound)
        );
        assert_eq!(
            change("alice", "reader", "silver").await,
            Err(ErrorKind::Forbidden)
        );
        assert_eq!(
            change("alice", "member", "lead").await,
            Err(ErrorKind::Invalid)
        );
        assert_eq!(
            change("alice", "member", "gold").await,
            Err(ErrorKind::Conflict)
        );
        // It lies nowhere, so that nobody can say that it may stay there.
        assert_eq!(change("alice", "member", "silver").await, Ok(()));
        let found = volumes::get(&bench.service, &alice, id).await.unwrap();
        assert_eq!(found.flavor_label, "gold");
    });
}
