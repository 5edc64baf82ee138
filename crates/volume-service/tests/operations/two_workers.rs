//! Real workers with real clocks, started at the same moment.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use volume_service::Context;
use volume_service::db::{Database, adoptions};
use volume_service::model::backend::BackendState;
use volume_service::model::volume::VolumeStatus;
use volume_service::operation::Worker;

use crate::gate::Event;
use crate::installation::{Kind, Site, on};
use crate::scenarios::{Scenario, begin};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn two_workers_at_once_make_each_sr_once_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        start_two(Site::new(&installation).await).await;
    });
}

#[test]
fn two_workers_at_once_make_each_sr_once_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        start_two(Site::new(&installation).await).await;
    });
}

async fn start_two(site: Site) {
    for _ in 0..5 {
        site.add_backend("file", None).await;
    }
    let mut volumes = Vec::new();
    for _ in 0..20 {
        volumes.push(site.create_volume().await);
    }
    // Each has its own connections, as a process of its own would.
    let (stop, mut workers) = (CancellationToken::new(), Vec::new());
    for _ in 0..2 {
        let mut service = site.installation.service.clone();
        service.context = Context::real();
        let url = &service.config.database_url;
        service.database = Database::open(url).await.unwrap();
        let worker = Worker::with_pool(service, &site.zone, site.pool.clone());
        workers.push(tokio::spawn(worker.run(stop.clone())));
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut waiting = site.backends().await;
        waiting.retain(|backend| backend.state != BackendState::Connected);
        let mut unmade = 0;
        for id in &volumes {
            let volume = site.volume(*id).await.unwrap();
            unmade += usize::from(volume.status != VolumeStatus::Available);
        }
        if waiting.is_empty() && unmade == 0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{} backends, {unmade} volumes wait",
            waiting.len()
        );
        tokio::time::sleep(PAUSE).await;
    }
    stop.cancel();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    let state = site.pool.state();
    assert_eq!(state.srs.len(), 5, "one SR for each backend");
    assert!(state.created_srs.values().all(|created| *created == 1));
    assert_eq!(state.vdis.len(), 20, "one VDI for each volume");
}

/// The undo of an adoption that lost the race touches no mark: they are the winner's.
#[test]
fn who_comes_second_to_a_vdi_leaves_its_marks_alone() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let actors = begin(&site, Scenario::ManageVolume).await;
        let (engine, second) = (site.engine().await, actors.volume.unwrap());
        let vdi = *site.pool.state().vdis.keys().next().unwrap();
        let first = site
            .database()
            .write(move |tx| adoptions::claim(tx, vdi, None, "another volume"));
        assert!(first.await.unwrap());
        site.gate.watch(None);
        site.work(&engine).await;
        let events = site.gate.heal();
        assert!(
            !events.contains(&Event::Call("VDI.set_other_config")),
            "{events:?}"
        );
        let volume = site.volume(second).await.unwrap();
        assert_eq!(volume.status, VolumeStatus::ErrorManaging);
        assert!(volume.failure.contains("managed already"), "{volume:?}");
    });
}
