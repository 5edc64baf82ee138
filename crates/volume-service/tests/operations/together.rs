//! Snapshots of the volumes of an instance, taken at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use volume_service::app::instance_snapshots::{self, CreateSnapshots};
use volume_service::app::snapshots::{self, DeleteMode};
use volume_service::error::{ErrorKind, Subject};
use volume_service::model::id::{AttachmentId, SnapshotId, VolumeId};
use volume_service::model::snapshot::{Snapshot, SnapshotStatus};

use crate::installation::{Installation, Kind, Site, on};
use crate::scenarios::{NOW, THEN, available, used, write};

/// The instance that boots from a volume: each site of an installation has one of its own. In capitals, as some clients write ids.
fn instance_of(first: VolumeId) -> String {
    first.to_string().to_uppercase()
}

/// Puts an attachment into an instance.
async fn place(site: &Site, attachment: AttachmentId, instance: String, device: &'static str) {
    let placed = site.database().write(move |tx| {
        tx.execute(
            "UPDATE attachments SET instance_id = ?2, mountpoint = ?3 WHERE id = ?1",
            &[attachment.into(), instance.as_str().into(), device.into()],
        )
    });
    assert_eq!(placed.await.unwrap(), 1);
}

fn wanted(first: VolumeId) -> CreateSnapshots {
    CreateSnapshots {
        instance_ec2_id: first.ec2_id().replace("vol-", "i-"),
        excludes_boot: false,
        excluded: Vec::new(),
        description: "both".to_owned(),
        metadata: BTreeMap::new(),
        copies_tags: false,
    }
}

async fn take(
    site: &Site,
    wanted: CreateSnapshots,
) -> volume_service::error::Result<Vec<Snapshot>> {
    instance_snapshots::create(site.service(), &site.requester(), wanted).await
}

/// Another volume that the instance uses, beside the first one, which it boots from; both hold [`THEN`].
async fn pair(site: &Site, first: VolumeId) -> VolumeId {
    let second = site.create_volume().await;
    site.work(&site.engine().await).await;
    for (volume, device) in [(first, "/dev/xvda"), (second, "/dev/xvdb")] {
        write(site, volume, THEN).await;
        let attachment = used(site, volume).await;
        place(site, attachment, instance_of(first), device).await;
    }
    second
}

/// Asks for snapshots of the volume and another one that the instance uses, and then for the removal of the other snapshot. Returns
/// the one that stays, and the other.
pub async fn ask(site: &Site, volume: VolumeId) -> (SnapshotId, SnapshotId) {
    pair(site, volume).await;
    let taken = take(site, wanted(volume)).await.unwrap();
    let of = |is_kept: bool| {
        let found = taken
            .iter()
            .find(|one| (one.volume_id == volume) == is_kept);
        found.unwrap().id
    };
    let (kept, gone) = (of(true), of(false));
    let (service, requester) = (site.service(), site.requester());
    let asked = snapshots::delete(service, &requester, gone, DeleteMode::EvenPending).await;
    asked.unwrap();
    (kept, gone)
}

async fn on_site(installation: &Arc<Installation>) -> (Site, VolumeId, VolumeId) {
    let site = Site::new(installation).await;
    let first = available(&site).await;
    let second = pair(&site, first).await;
    (site, first, second)
}

async fn two_are_taken_at_one_moment(installation: &Arc<Installation>) {
    let (site, first, second) = on_site(installation).await;
    let taken = take(&site, wanted(first)).await.unwrap();
    assert_eq!(taken.len(), 2);
    site.work(&site.engine().await).await;
    for volume in [first, second] {
        write(&site, volume, NOW).await;
    }
    for one in taken {
        let row = site.snapshot(one.id).await.unwrap();
        assert_eq!(row.status, SnapshotStatus::Available, "{row:?}");
        assert!(row.traits.ebs.completed_at_us.is_some());
        let vdi = row.vdi_uuid.unwrap();
        assert_eq!(site.pool.state().vdis[&vdi].content, THEN);
        // Each may go alone.
        let mode = DeleteMode::Normal;
        let asked = snapshots::delete(site.service(), &site.requester(), one.id, mode).await;
        asked.unwrap();
        site.work(&site.engine().await).await;
        assert_eq!(site.snapshot(one.id).await, None);
    }
}

#[test]
fn two_snapshots_are_taken_at_one_moment_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        two_are_taken_at_one_moment(&installation).await;
    });
}

#[test]
fn two_snapshots_are_taken_at_one_moment_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        two_are_taken_at_one_moment(&installation).await;
    });
}

#[test]
fn what_stays_out_is_named_or_booted_from() {
    on(Kind::Sqlite, |installation| async move {
        let (site, first, second) = on_site(&installation).await;
        for (asked, expected) in [
            (
                CreateSnapshots {
                    excludes_boot: true,
                    ..wanted(first)
                },
                second,
            ),
            (
                CreateSnapshots {
                    excluded: vec![second.ec2_id()],
                    ..wanted(first)
                },
                first,
            ),
        ] {
            let taken = take(&site, asked).await.unwrap();
            let of: Vec<VolumeId> = taken.iter().map(|one| one.volume_id).collect();
            assert_eq!(of, [expected]);
        }
        let refusals = [
            (
                CreateSnapshots {
                    excluded: vec!["vol-0123456789abcdef0".to_owned()],
                    ..wanted(first)
                },
                (ErrorKind::Invalid, Subject::Request),
            ),
            (
                CreateSnapshots {
                    excluded: vec![first.ec2_id(), second.ec2_id()],
                    ..wanted(first)
                },
                (ErrorKind::Invalid, Subject::Request),
            ),
            (
                CreateSnapshots {
                    instance_ec2_id: "i-0123456789abcdef0".to_owned(),
                    ..wanted(first)
                },
                (ErrorKind::NotFound, Subject::Attachment),
            ),
        ];
        let count = site.snapshots().await.len();
        for (asked, expected) in refusals {
            let error = take(&site, asked).await.unwrap_err();
            assert_eq!((error.kind, error.subject), expected);
        }
        let stranger = volume_service::RequestContext::new(
            "req-test",
            "x",
            "elsewhere",
            vec!["member".to_owned()],
        );
        let foreign = instance_snapshots::create(site.service(), &stranger, wanted(first)).await;
        assert_eq!(foreign.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(site.snapshots().await.len(), count, "nothing is written");
    });
}

#[test]
fn a_pool_that_cannot_keep_a_moment_takes_one_and_not_two() {
    on(Kind::Sqlite, |installation| async move {
        let (site, first, second) = on_site(&installation).await;
        site.pool.change(|state| state.is_without_moments = true);
        let vdis = site.pool.state().vdis.len();
        let both = take(&site, wanted(first)).await.unwrap();
        site.work(&site.engine().await).await;
        for one in both {
            let row = site.snapshot(one.id).await.unwrap();
            assert_eq!(row.status, SnapshotStatus::Error, "{row:?}");
            assert!(row.failure.contains("the storage cannot"), "{row:?}");
        }
        assert_eq!(site.pool.state().vdis.len(), vdis, "nothing is left");
        let asked = CreateSnapshots {
            excluded: vec![second.ec2_id()],
            ..wanted(first)
        };
        let one = take(&site, asked).await.unwrap();
        site.work(&site.engine().await).await;
        let row = site.snapshot(one[0].id).await.unwrap();
        assert_eq!(row.status, SnapshotStatus::Available, "{row:?}");
    });
}
