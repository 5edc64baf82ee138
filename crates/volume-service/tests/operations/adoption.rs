//! What is adopted counts as what it is, and not where its project has no room for it.

use std::collections::BTreeMap;

use volume_service::app::adoption::{self, ManageSnapshot, ManageVolume};
use volume_service::db::{quotas, volumes};
use volume_service::error::ErrorKind;
use volume_service::model::adoption::Reference;
use volume_service::model::id::VolumeId;
use volume_service::model::quota::{QuotaKey, Resource};
use volume_service::model::volume::VolumeStatus;

use crate::gate::{Event, Fault};
use crate::installation::{Kind, Site, on};
use crate::scenarios::{Scenario, available, begin};

async fn allow(site: &Site, resource: Resource, limit: i64) {
    let project = site.requester().project_id;
    let key = QuotaKey::of_project(resource);
    let set = site
        .database()
        .write(move |tx| quotas::set_of_project(tx, &project, key, limit));
    set.await.unwrap();
}

async fn gigabytes(site: &Site) -> u64 {
    let project = site.requester().project_id;
    let used = site.database().read(move |tx| quotas::usage(tx, &project));
    used.await.unwrap().gigabytes
}

fn on_both<F, Fut>(body: F)
where
    F: Fn(Site) -> Fut,
    Fut: Future<Output = ()>,
{
    let body = &body;
    for kind in [Kind::Sqlite, Kind::Postgresql] {
        on(kind, |installation| async move {
            body(Site::new(&installation).await).await;
        });
    }
}

#[test]
fn an_adoption_that_the_quota_does_not_allow_leaves_the_vdi_as_it_is() {
    on_both(|site| async move {
        // The VDI has a little more than 2 GiB.
        let actors = begin(&site, Scenario::ManageVolume).await;
        allow(&site, Resource::Gigabytes, 2).await;
        site.gate.watch(None);
        site.work(&site.engine().await).await;
        let events = site.gate.heal();
        assert!(
            !events.contains(&Event::Call("VDI.set_other_config")),
            "{events:?}"
        );
        let volume = site.volume(actors.volume.unwrap()).await.unwrap();
        assert_eq!(volume.status, VolumeStatus::ErrorManaging);
        assert!(
            volume.failure.contains("Requested 3G, quota is 2G"),
            "{volume:?}"
        );
        // It counts with the least that a volume has, until it is deleted.
        assert_eq!((volume.size_gib, gigabytes(&site).await), (1, 1));
    });
}

#[test]
fn an_adoption_that_the_quota_allows_counts_with_the_size_of_its_vdi() {
    on_both(|site| async move {
        let actors = begin(&site, Scenario::ManageVolume).await;
        allow(&site, Resource::Gigabytes, 3).await;
        allow(&site, Resource::Volumes, 1).await;
        site.work(&site.engine().await).await;
        let volume = site.volume(actors.volume.unwrap()).await.unwrap();
        assert_eq!(volume.status, VolumeStatus::Available, "{volume:?}");
        assert_eq!((volume.size_gib, gigabytes(&site).await), (3, 3));
    });
}

/// Seen: an adoption that an earlier version had begun, which set the size at the end only, ended with that of no VDI.
#[test]
fn an_adoption_that_an_earlier_version_began_counts_with_the_size_of_its_vdi() {
    on_both(|site| async move {
        let actors = begin(&site, Scenario::ManageVolume).await;
        let id = actors.volume.unwrap();
        let mark = Event::Call("VDI.set_other_config");
        let first = site.engine().await;
        // The claim, the list of VDIs, the claim of the VDI, and the mark.
        site.gate.watch(Some((3, Fault::DieAfter)));
        assert!(site.work_or_die(&first).await);
        let events = site.gate.heal();
        assert_eq!(events.last(), Some(&mark), "{events:?}");
        let set = site
            .database()
            .write(move |tx| volumes::set_size(tx, id, 1));
        assert!(set.await.unwrap());
        site.outlive_leases();
        site.work(&site.engine().await).await;
        let volume = site.volume(id).await.unwrap();
        assert_eq!(volume.status, VolumeStatus::Available, "{volume:?}");
        assert_eq!((volume.size_gib, gigabytes(&site).await), (3, 3));
    });
}

/// Asks for the adoption of a VDI on the only backend of the zone.
async fn ask(site: &Site) -> volume_service::error::Result<VolumeId> {
    let wanted = ManageVolume {
        host: format!("xensm@{}", site.zone),
        reference: Some(Reference::Name("somebody's".to_owned())),
        name: String::new(),
        description: String::new(),
        flavor: Some(site.flavor.label.clone()),
        zone: None,
        metadata: BTreeMap::new(),
        bootable: false,
    };
    let asked = adoption::manage_volume(site.service(), &site.requester(), wanted).await;
    asked.map(|volume| volume.id)
}

#[test]
fn an_adoption_is_refused_at_once_where_not_even_the_smallest_volume_may_be_had() {
    on_both(|site| async move {
        available(&site).await;
        for (resource, limit) in [(Resource::Volumes, 1), (Resource::Gigabytes, 1)] {
            allow(&site, resource, limit).await;
            let refused = ask(&site).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::QuotaExceeded, "{refused}");
            assert_eq!(gigabytes(&site).await, 1, "nothing was taken");
            allow(&site, resource, 2).await;
        }
        ask(&site).await.unwrap();
        assert_eq!(gigabytes(&site).await, 2);
    });
}

#[test]
fn a_snapshot_that_the_quota_does_not_allow_is_refused_at_once() {
    on_both(|site| async move {
        let volume_id = available(&site).await;
        allow(&site, Resource::Snapshots, 0).await;
        let wanted = ManageSnapshot {
            volume_id,
            reference: Some(Reference::Name("somebody's".to_owned())),
            name: String::new(),
            description: String::new(),
            metadata: BTreeMap::new(),
        };
        let refused = adoption::manage_snapshot(site.service(), &site.requester(), wanted).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::QuotaExceeded);
        assert!(site.snapshots().await.is_empty());
    });
}
