//! What is told of volumes that were made larger, and of those that were not.

use std::collections::BTreeMap;
use std::sync::Arc;

use volume_service::RequestContext;
use volume_service::app::modifications::{self, ModificationState};
use volume_service::app::modify_volume::{self, Modified, ModifyVolume};
use volume_service::app::snapshots::InUse;
use volume_service::app::volume_performance::{self, Performance};
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
    let told = modifications::of_volumes(service, &requester, vec![id]).await;
    let told = told.unwrap();
    let (original, target) = (&told[0].original, &told[0].target);
    assert_eq!(
        (told[0].state, original.size_gib, target.size_gib),
        (ModificationState::Failed, 1, 3)
    );
    assert!(!told[0].failure.is_empty());
    assert_eq!(told[0].failure, volume.failure, "in words for tenants");
    assert!(!told[0].failure.contains("SR_BACKEND_FAILURE"));
}

#[test]
fn a_modification_that_fails_leaves_what_was_there_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        a_failed_modification(&installation).await;
    });
}

#[test]
fn a_modification_that_fails_leaves_what_was_there_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        a_failed_modification(&installation).await;
    });
}

/// Of a volume with another type and figures, which are rows and written at once, and another size, which the pool refuses and then
/// does not.
async fn a_failed_modification(installation: &Arc<Installation>) {
    let site = Site::new(installation).await;
    let engine = site.engine().await;
    site.add_backend("file", None).await;
    let id = site.create_volume().await;
    site.work(&engine).await;
    let (service, requester) = (site.service(), site.requester());
    let operator = RequestContext::operator();
    let fast = app::flavors::create(service, &operator, "fast", "").await;
    let specs = BTreeMap::from([("ec2:iops".to_owned(), "100..500".to_owned())]);
    let set = app::flavor_specs::set(service, &operator, fast.unwrap().id, specs).await;
    set.unwrap();
    let before = site.volume(id).await.unwrap();
    let vdi = before.vdi_uuid.unwrap();
    let resize = |size_bytes| {
        site.pool.change(|state| {
            state.vdis.get_mut(&vdi).unwrap().size_bytes = size_bytes;
        });
    };
    let ask = async || {
        let wanted = ModifyVolume {
            size_gib: Some(3),
            flavor: Some("fast".to_owned()),
            asked: Performance {
                iops: Some(200),
                throughput: None,
            },
            multiattach: None,
        };
        let begun = modify_volume::modify(service, &requester, id, wanted).await;
        assert!(matches!(begun, Ok(Modified::Begun(_))), "{begun:?}");
        site.work(&engine).await;
        let told = modifications::of_volumes(service, &requester, vec![id]).await;
        let volume = site.volume(id).await.unwrap();
        let shown = volume_performance::of_volumes(service, &requester, [&volume].into_iter());
        let shown = shown.await.unwrap().remove(&id).unwrap();
        let told = told.unwrap().remove(0);
        (volume, shown.performance.iops, told)
    };
    resize(8 << 30);
    let (volume, iops, told) = ask().await;
    assert_eq!(told.state, ModificationState::Failed);
    assert_eq!(told.failure, volume.failure);
    assert_eq!(
        (volume.status, volume.size_gib, volume.flavor_id, iops),
        (VolumeStatus::Available, 1, before.flavor_id, None)
    );
    resize(1 << 30);
    let (volume, iops, told) = ask().await;
    assert_eq!(
        (
            told.state,
            told.failure.as_str(),
            told.ended_at_us.is_some()
        ),
        (ModificationState::Completed, "", true)
    );
    assert_eq!(
        (volume.size_gib, volume.flavor_label.as_str(), iops),
        (3, "fast", Some(200))
    );
}
