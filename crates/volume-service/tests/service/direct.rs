//! The EBS direct APIs: which snapshots are related, on both databases.

use std::sync::Arc;

use uuid::Uuid;
use volume_service::RequestContext;
use volume_service::app::direct::{self, DirectError, Paging, Reason, StartUpload};
use volume_service::app::snapshots::{self, CreateSnapshot, InUse};
use volume_service::app::volumes::{self, CreateVolume, VolumeSource};
use volume_service::db;
use volume_service::db::direct_uploads::{self, UploadState};
use volume_service::driver::{Disk, Mover, NbdEndpoint, PoolError, PoolFuture, RangeMap, Run};
use volume_service::model::id::{SnapshotId, VolumeId};

use crate::support::{Bench, available, flavor, on_each, requester, work_on_volumes};

/// A pool whose VDIs are zeros, and whose comparisons fail nobody.
struct Zeros;

impl Mover for Zeros {
    fn open<'a>(&'a self, _: &'a str, _: Uuid) -> PoolFuture<'a, Box<dyn Disk>> {
        Box::pin(std::future::ready(Ok(Box::new(Zeros) as Box<dyn Disk>)))
    }

    fn takes_writes<'a>(&'a self, _: &'a str) -> PoolFuture<'a, bool> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn open_plugged<'a>(&'a self, _: &'a NbdEndpoint) -> PoolFuture<'a, Box<dyn Disk>> {
        Box::pin(std::future::ready(Ok(Box::new(Zeros) as Box<dyn Disk>)))
    }

    fn differing<'a>(&'a self, _: &'a str, _: Uuid, _: Uuid) -> PoolFuture<'a, Option<RangeMap>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl Disk for Zeros {
    fn size_bytes(&self) -> u64 {
        1 << 30
    }

    fn read(&mut self, buffer: &mut [u8], _: u64) -> Result<(), PoolError> {
        buffer.fill(0);
        Ok(())
    }

    fn write(&mut self, _: &[u8], _: u64) -> Result<(), PoolError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PoolError> {
        Ok(())
    }

    fn runs(&mut self, _: u64, length: u64) -> Result<Vec<Run>, PoolError> {
        Ok(vec![Run {
            length,
            is_zero: true,
        }])
    }
}

async fn snapshot(bench: &Bench, request: &RequestContext, volume_id: VolumeId) -> SnapshotId {
    let wanted = CreateSnapshot {
        volume_id,
        name: String::new(),
        description: String::new(),
        metadata: Default::default(),
        in_use: InUse::Refuse,
    };
    let made = snapshots::create(&bench.service, request, wanted).await;
    work_on_volumes(bench).await;
    let id = made.unwrap().id;
    let noted = bench
        .service
        .database
        .write(move |tx| db::snapshots::set_vdi(tx, id, Some(id.0)));
    assert!(noted.await.unwrap());
    id
}

async fn volume_of(bench: &Bench, request: &RequestContext, source: VolumeSource) -> VolumeId {
    let wanted = CreateVolume {
        source,
        ..CreateVolume::default()
    };
    let made = volumes::create(&bench.service, request, wanted).await;
    work_on_volumes(bench).await;
    made.unwrap().id
}

#[test]
fn snapshots_are_related_when_they_go_back_to_one_volume() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        bench.service.moves_bytes_by(Arc::new(Zeros));
        let alice = requester("alice", "member");
        let base = available(&bench, &alice, "gold").await;
        let first = snapshot(&bench, &alice, base).await;
        let second = snapshot(&bench, &alice, base).await;
        let child = volume_of(&bench, &alice, VolumeSource::Snapshot(first)).await;
        let of_child = snapshot(&bench, &alice, child).await;
        let copy = volume_of(&bench, &alice, VolumeSource::Volume(child)).await;
        let of_copy = snapshot(&bench, &alice, copy).await;
        let other = available(&bench, &alice, "gold").await;
        let stranger = snapshot(&bench, &alice, other).await;
        let list = async |request: &RequestContext, one: SnapshotId, two: SnapshotId| {
            let paging = Paging {
                token: None,
                start: 0,
                max_results: 100,
            };
            let first = one.ec2_id();
            let (first, second) = (Some(first.as_str()), two.ec2_id());
            direct::list_changed(&bench.service, request, first, &second, paging).await
        };
        for (one, two) in [
            (first, first),
            (first, second),
            (second, first),
            (first, of_child),
            (second, of_child),
            (of_child, of_copy),
            (of_copy, second),
        ] {
            let page = list(&alice, one, two).await.unwrap();
            assert!(page.blocks.is_empty() && page.next.is_none());
        }
        for (one, two) in [(first, stranger), (stranger, of_copy)] {
            match list(&alice, one, two).await {
                Err(DirectError::Refused(Reason::UnrelatedSnapshots, _)) => {}
                other => panic!("{other:?}"),
            }
        }
        // Another project's snapshots are not there.
        let bob = requester("bob", "member").within_project();
        match list(&bob, first, second).await {
            Err(DirectError::Refused(Reason::SnapshotNotFound, _)) => {}
            other => panic!("{other:?}"),
        }
    });
}

fn of_a_disk(token: &str) -> StartUpload {
    StartUpload {
        size_gib: 1,
        parent: None,
        description: String::new(),
        metadata: Default::default(),
        client_token: Some(token.to_owned()),
        timeout_s: 600,
    }
}

/// Before every upload.
const FIRST: (i64, VolumeId) = (i64::MIN, VolumeId(Uuid::nil()));

#[test]
fn an_upload_keeps_its_blocks_until_it_is_closed_and_forgotten() {
    on_each(|bench| async move {
        flavor(&bench, "default").await;
        bench.service.moves_bytes_by(Arc::new(Zeros));
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let made = direct::start(service, &alice, of_a_disk("one")).await;
        let made = made.unwrap();
        let again = direct::start(service, &alice, of_a_disk("one")).await;
        assert_eq!(again.unwrap().id, made.id);
        let now_us = service.context.now_us();
        let id = made.id;
        let told = service.database.write(move |tx| {
            let upload = direct_uploads::of_snapshot(tx, id)?.unwrap();
            let volume = upload.volume_id;
            assert_eq!(direct_uploads::find(tx, volume)?, Some(upload.clone()));
            assert_eq!(direct_uploads::count_open(tx, "alice")?, 1);
            assert_eq!(direct_uploads::count_open(tx, "bob")?, 0);
            for (block, checksum) in [(9, "nine"), (1, "one"), (9, "new")] {
                let later = now_us + 1_000_000;
                assert!(direct_uploads::note_block(
                    tx, volume, block, checksum, later
                )?);
            }
            assert_eq!(direct_uploads::checksums(tx, volume)?, ["one", "new"]);
            assert!(direct_uploads::due(tx, now_us + 600_000_000, FIRST, 10)?.is_empty());
            let late = now_us + 601_000_000;
            assert_eq!(direct_uploads::due(tx, late, FIRST, 10)?.len(), 1);
            assert!(!direct_uploads::note_block(tx, volume, 1, "late", late)?);
            assert!(direct_uploads::close(tx, volume, UploadState::Sealed, "")?);
            assert!(!direct_uploads::close(
                tx,
                volume,
                UploadState::Failed,
                "why"
            )?);
            assert!(!direct_uploads::note_block(tx, volume, 1, "late", now_us)?);
            let due = direct_uploads::due(tx, now_us, FIRST, 10)?;
            assert_eq!((due.len(), due[0].state), (1, UploadState::Sealed));
            direct_uploads::remove(tx, volume)?;
            assert_eq!(direct_uploads::of_snapshot(tx, id)?, None);
            assert!(direct_uploads::checksums(tx, volume)?.is_empty());
            Ok(())
        });
        told.await.unwrap();
    });
}
