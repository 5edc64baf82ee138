//! Volumes that are asked for while an administrator has stopped the zone's service, and a usage that is not true.

use std::sync::Arc;

use volume_service::app::messages::{self, MessageQuery};
use volume_service::db::service_states::{self, VOLUME_BINARY};
use volume_service::model::volume::VolumeStatus;
use volume_service::reconcile;

use crate::installation::{Installation, Kind, Site, on};

#[test]
fn nothing_is_placed_where_the_service_is_stopped_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        a_stopped_service(&installation).await;
    });
}

#[test]
fn nothing_is_placed_where_the_service_is_stopped_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        a_stopped_service(&installation).await;
    });
}

async fn a_stopped_service(installation: &Arc<Installation>) {
    let site = Site::new(installation).await;
    let engine = site.engine().await;
    site.add_backend("file", None).await;
    let host = service_states::volume_host(engine.zone());
    let stop = |is_disabled| {
        let host = host.clone();
        site.database().write(move |tx| {
            let service = (VOLUME_BINARY, host.as_str());
            service_states::set_disabled(tx, service, is_disabled, "new disks", 1)
        })
    };
    stop(true).await.unwrap();
    let refused = site.create_volume().await;
    site.work(&engine).await;
    let volume = site.volume(refused).await.unwrap();
    assert_eq!(
        (volume.status, volume.backend_id),
        (VolumeStatus::Error, None)
    );
    assert!(
        volume.failure.contains("disabled (new disks)"),
        "{}",
        volume.failure
    );
    let query = MessageQuery::default();
    let told = messages::list(site.service(), &site.requester(), query).await;
    assert_eq!(told.unwrap().items[0].event(), "VOLUME_VOLUME_001_003");
    assert_eq!(site.pool.state().vdis.len(), 0);
    stop(false).await.unwrap();
    let made = site.create_volume().await;
    site.work(&engine).await;
    let volume = site.volume(made).await.unwrap();
    assert_eq!(volume.status, VolumeStatus::Available);

    // Somebody changed the database by hand.
    let usage = reconcile::Usage::new(Arc::clone(&engine));
    assert_eq!(usage.pass().await.unwrap().repaired, 0);
    let spoilt = site
        .database()
        .write(|tx| tx.execute("UPDATE type_usage SET gigabytes = gigabytes + 7", &[]));
    spoilt.await.unwrap();
    assert_eq!(usage.pass().await.unwrap().repaired, 1);
    assert_eq!(usage.pass().await.unwrap().repaired, 0);
}
