//! What is told of volumes that were made larger, and of those that were not.

use std::sync::Arc;

use volume_service::app::modifications::{self, ModificationState};
use volume_service::app::snapshots::InUse;
use volume_service::app::{self};
use volume_service::model::volume::VolumeStatus;

use crate::installation::{Installation, Kind, Site, on};

#[test]
fn a_failed_extension_tells_tenants_nothing_of_the_pool_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        a_failed_extension(&installation).await;
    });
}

#[test]
fn a_failed_extension_tells_tenants_nothing_of_the_pool_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        a_failed_extension(&installation).await;
    });
}

async fn a_failed_extension(installation: &Arc<Installation>) {
    let site = Site::new(installation).await;
    let engine = site.engine().await;
    site.add_backend("file", None).await;
    let id = site.create_volume().await;
    site.work(&engine).await;
    let vdi = site.volume(id).await.unwrap().vdi_uuid.unwrap();
    // The pool refuses: it would have to make the VDI smaller.
    site.pool.change(|state| {
        state.vdis.get_mut(&vdi).unwrap().size_bytes = 8 << 30;
    });
    let (service, requester) = (site.service(), site.requester());
    let asked = app::volumes::extend(service, &requester, id, 3, InUse::Refuse).await;
    asked.unwrap();
    site.work(&engine).await;
    let volume = site.volume(id).await.unwrap();
    assert_eq!(
        (volume.status, volume.size_gib),
        (VolumeStatus::Available, 1)
    );
    let told = modifications::of_volumes(service, &requester, vec![volume.clone()]).await;
    let told = told.unwrap();
    assert_eq!(
        (told[0].state, told[0].original_gib, told[0].target_gib),
        (ModificationState::Failed, 1, 3)
    );
    assert!(!told[0].failure.is_empty());
    assert_eq!(told[0].failure, volume.failure, "in words for tenants");
    assert!(!told[0].failure.contains("SR_BACKEND_FAILURE"));
}
