//! Copies of snapshots that another project shares: whose bytes they hold, and what they outlive.

use std::collections::BTreeMap;
use std::sync::Arc;

use volume_service::RequestContext;
use volume_service::app::copy_snapshot::{self, CopySnapshot};
use volume_service::app::identity;
use volume_service::app::snapshot_sharing::{self, ShareChange};
use volume_service::app::snapshots::{self, DeleteMode};
use volume_service::app::volumes::{self, CreateVolume, VolumeSource};
use volume_service::error::{ErrorKind, Subject};
use volume_service::model::snapshot::{Snapshot, SnapshotStatus};
use volume_service::model::volume::VolumeStatus;

use crate::installation::{Installation, Kind, Site, on};
use crate::scenarios::{NOW, THEN, available, write};

async fn copy(site: &Site, who: &RequestContext, source: &Snapshot) -> Snapshot {
    let wanted = CopySnapshot {
        source_ec2_id: Some(source.ec2_id.clone()),
        description: String::new(),
        metadata: BTreeMap::new(),
        completion_minutes: None,
    };
    let copied = copy_snapshot::copy(site.service(), who, wanted).await;
    copied.unwrap()
}

async fn delete(site: &Site, who: &RequestContext, snapshot: &Snapshot) {
    let mode = DeleteMode::Normal;
    let asked = snapshots::delete(site.service(), who, snapshot.id, mode).await;
    asked.unwrap();
    site.work(&site.engine().await).await;
    assert_eq!(site.snapshot(snapshot.id).await, None);
}

#[test]
fn a_volume_from_a_copy_of_a_shared_snapshot_holds_the_owners_bytes_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        bytes_go_from_project_to_project(&installation).await;
    });
}

#[test]
fn a_volume_from_a_copy_of_a_shared_snapshot_holds_the_owners_bytes_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        bytes_go_from_project_to_project(&installation).await;
    });
}

async fn bytes_go_from_project_to_project(installation: &Arc<Installation>) {
    let site = Site::new(installation).await;
    let (service, owner) = (site.service(), site.requester().within_project());
    let operator = RequestContext::operator();
    let project = identity::create_project(service, &operator, &site.zone, "");
    let project = project.await.unwrap().id;
    let guest = RequestContext::new("req-test", "g", &project, vec!["member".to_owned()]);
    let volume = available(&site).await;
    write(&site, volume, THEN).await;
    let source = site.create_snapshot(volume).await.unwrap();
    site.work(&site.engine().await).await;
    write(&site, volume, NOW).await;
    let source = site.snapshot(source).await.unwrap();

    let unshared = copy(&site, &guest, &source).await;
    assert_eq!(unshared.status, SnapshotStatus::Error, "{unshared:?}");
    let from_source = CreateVolume {
        source: VolumeSource::Snapshot(source.id),
        flavor: Some(site.flavor.label.clone()),
        ..CreateVolume::default()
    };
    let refused = volumes::create(service, &guest, from_source.clone()).await;
    let error = refused.unwrap_err();
    assert_eq!(
        (error.kind, error.subject),
        (ErrorKind::NotFound, Subject::Snapshot)
    );

    let change = ShareChange::Add(vec![project.clone()]);
    let shared = snapshot_sharing::change_shares(service, &owner, source.id, change).await;
    shared.unwrap();
    let direct = volumes::create(service, &guest, from_source).await.unwrap();
    let copied = copy(&site, &guest, &source).await;
    // What is in hand goes on.
    let ended = snapshot_sharing::change_shares(service, &owner, source.id, ShareChange::Clear);
    ended.await.unwrap();
    site.work(&site.engine().await).await;
    let copied = site.snapshot(copied.id).await.unwrap();
    assert_eq!(copied.status, SnapshotStatus::Available, "{copied:?}");
    let of_copy = copy(&site, &guest, &copied).await;
    site.work(&site.engine().await).await;
    assert_eq!(of_copy.traits.ebs.lineage, Some(volume));
    delete(&site, &owner, &source).await;
    delete(&site, &guest, &copied).await;

    let wanted = CreateVolume {
        source: VolumeSource::Snapshot(of_copy.id),
        flavor: Some(site.flavor.label.clone()),
        ..CreateVolume::default()
    };
    let from_copy = volumes::create(service, &guest, wanted).await.unwrap();
    site.work(&site.engine().await).await;
    for made in [direct.id, from_copy.id] {
        let made = site.volume(made).await.unwrap();
        assert_eq!(made.status, VolumeStatus::Available, "{}", made.failure);
        assert_eq!(made.project_id, project);
        let state = site.pool.state();
        assert_eq!(state.vdis[&made.vdi_uuid.unwrap()].content, THEN);
    }
}

#[test]
fn a_snapshot_that_is_being_copied_stays() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let owner = site.requester().within_project();
        let volume = available(&site).await;
        let source = site.create_snapshot(volume).await.unwrap();
        site.work(&site.engine().await).await;
        let source = site.snapshot(source).await.unwrap();
        let copied = copy(&site, &owner, &source).await;
        let mode = DeleteMode::EvenPending;
        let held = snapshots::delete(site.service(), &owner, source.id, mode).await;
        assert_eq!(held.unwrap_err().kind, ErrorKind::Conflict);
        let mode = volumes::DeleteMode::Cascade;
        let held = volumes::delete(site.service(), &owner, volume, mode).await;
        assert_eq!(held.unwrap_err().kind, ErrorKind::Conflict);
        site.work(&site.engine().await).await;
        delete(&site, &owner, &source).await;
        let copied = site.snapshot(copied.id).await.unwrap();
        assert_eq!(copied.status, SnapshotStatus::Available, "{copied:?}");
    });
}
