//! What a flavor without backends of its own is placed on, and what QoS specs come to.

use std::sync::Arc;

use serde_json::json;
use volume_service::app::qos_specs;
use volume_service::db::flavor_specs;
use volume_service::model::qos_specs::Consumer;
use volume_service::model::volume::VolumeStatus;

use crate::installation::{Installation, Kind, Site, on};

#[test]
fn a_flavor_without_backends_uses_those_that_meet_its_specs_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        a_flavor_without_backends(&installation).await;
    });
}

#[test]
fn a_flavor_without_backends_uses_those_that_meet_its_specs_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        a_flavor_without_backends(&installation).await;
    });
}

async fn a_flavor_without_backends(installation: &Arc<Installation>) {
    let site = Site::new(installation).await;
    let engine = site.engine().await;
    let free = site.with_another_flavor().await;
    let lonely = free.create_volume().await;
    site.work(&engine).await;
    let failure = site.volume(lonely).await.unwrap().failure;
    assert!(failure.contains("has no backend"), "{failure}");

    let of_file = site.add_backend("file", None).await;
    let of_nfs = site.add_backend("nfs", None).await;
    let unasked = free.create_volume().await;
    let specs = [("storage_protocol".to_owned(), "<in> nf".to_owned())].into();
    let id = free.flavor.id;
    site.work(&engine).await;
    let set = site
        .database()
        .write(move |tx| flavor_specs::merge(tx, id, &specs));
    set.await.unwrap();
    let asked = free.create_volume().await;
    let own = site.create_volume().await;
    site.work(&engine).await;
    for (volume, backend) in [(unasked, of_file), (asked, of_nfs), (own, of_file)] {
        let volume = site.volume(volume).await.unwrap();
        assert_eq!(volume.status, VolumeStatus::Available, "{volume:?}");
        assert_eq!(volume.backend_id, Some(backend), "{volume:?}");
    }

    let specs = [("multiattach".to_owned(), "<is> True".to_owned())].into();
    let set = site
        .database()
        .write(move |tx| flavor_specs::merge(tx, id, &specs));
    set.await.unwrap();
    let unmet = free.create_volume().await;
    site.work(&engine).await;
    let volume = site.volume(unmet).await.unwrap();
    assert_eq!(volume.status, VolumeStatus::Error);
    assert!(
        volume
            .failure
            .contains("does not meet the flavor's extra specs"),
        "{}",
        volume.failure
    );
    assert!(
        !volume.failure.contains("multiattach"),
        "{}",
        volume.failure
    );

    // Backends of its own end that.
    let added = free.add_backend("file", None).await;
    let sql = "DELETE FROM flavor_specs WHERE flavor_id = ?1";
    let cleared = site
        .database()
        .write(move |tx| tx.execute(sql, &[id.into()]));
    cleared.await.unwrap();
    let own = free.create_volume().await;
    site.work(&engine).await;
    let volume = site.volume(own).await.unwrap();
    assert_eq!(volume.backend_id, Some(added), "{volume:?}");
}

#[test]
fn qos_specs_reach_the_pool_and_the_consumer() {
    on(Kind::Sqlite, |installation| async move {
        for (consumer, key, algorithm, is_told) in [
            (Consumer::BackEnd, "sched", "ionice", false),
            (Consumer::Both, "total_iops_sec", "xensm", true),
            (Consumer::FrontEnd, "total_iops_sec", "", true),
        ] {
            let site = Site::new(&installation).await;
            let engine = site.engine().await;
            site.add_backend("file", None).await;
            let (service, requester) = (site.service(), site.requester());
            let specs = [(key.to_owned(), "5".to_owned())].into();
            let name = site.flavor.label.as_str();
            let qos = qos_specs::create(service, &requester, name, consumer, specs);
            let qos = qos.await.unwrap();
            qos_specs::associate(service, &requester, qos.id, site.flavor.id)
                .await
                .unwrap();
            let volume = site.create_volume().await;
            site.work(&engine).await;
            let attachment = site.attach(volume, json!({"host": "h"})).await;
            site.work(&engine).await;
            let state = site.pool.state();
            let vbd = state.vbds.values().next().expect("a VBD was made");
            assert_eq!(vbd.spec.qos_algorithm(), algorithm);
            let has_figures = vbd.spec.qos.get(key).is_some_and(|value| value == "5");
            assert_eq!(has_figures, consumer.is_back_end(), "{:?}", vbd.spec);
            let info = site.attachment(attachment).await.unwrap().connection_info;
            let told = if is_told {
                json!({key: "5"})
            } else {
                json!(null)
            };
            assert_eq!(info["qos_specs"], told);
            site.detach(volume, attachment).await;
            site.work(&engine).await;
        }
    });
}
