//! Volumes whose request is taken in the process of their worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use volume_service::app::Service;
use volume_service::app::groups::{self, DeleteGroup};
use volume_service::app::volumes::{CreateVolume, DeleteMode, VolumeSource, create, delete};
use volume_service::config::{Config, Limits};
use volume_service::db::backends::{self, Space};
use volume_service::db::service_states::{self, VOLUME_BINARY, volume_host};
use volume_service::db::{self, Database};
use volume_service::error::Result;
use volume_service::model::backend::{BackendState, BackendUse};
use volume_service::model::id::BackendId;
use volume_service::model::volume::{Volume, VolumeStatus};
use volume_service::operation::Worker;
use volume_service::{Context, ErrorKind};

use crate::gate::Verdict;
use crate::groups::empty_group;
use crate::installation::{Kind, Site, on};

/// Pause between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Requests at once.
const MANY: usize = 100;

#[test]
fn a_volume_is_its_workers_from_the_request_on_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        live(Site::new(&installation).await, 128).await;
        live(Site::new(&installation).await, 3).await;
    });
}

#[test]
fn a_volume_is_its_workers_from_the_request_on_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        live(Site::new(&installation).await, 128).await;
        live(Site::new(&installation).await, 3).await;
    });
}

/// A service of the site's zone without limits, with so many places at its worker.
pub(crate) fn service(site: &Site, places: usize) -> Service {
    let mut service = site.installation.service.clone();
    service.config = Arc::new(Config {
        default_zone: site.zone.clone(),
        limits: Limits {
            volumes_per_project: -1,
            gigabytes_per_project: -1,
            worker_concurrency: places,
            ..service.config.limits.clone()
        },
        ..(*service.config).clone()
    });
    service
}

pub(crate) struct Living {
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Living {
    pub(crate) fn start(site: &Site, service: &Service) -> Self {
        let stop = CancellationToken::new();
        let worker = Worker::with_pool(service.clone(), &site.zone, site.pool.clone());
        let task = tokio::spawn(worker.run(stop.clone()));
        Living { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn live(site: Site, places: usize) {
    let mut service = service(&site, places);
    service.context = Context::real();
    let early = ask(&site, &service).await;
    assert_eq!(early.backend_id, None, "nobody is there to place it");
    let backend = site.add_backend("file", None).await;
    let worker = Living::start(&site, &service);
    until(&site, &early, Some(VolumeStatus::Available)).await;
    assert_eq!(site.backends().await[0].state, BackendState::Connected);

    // Many at once, which share transactions, and more than the worker takes at a time.
    until_placed(&site, &service, backend).await;
    let before = site.pool.state().vdis.len();
    let made = ask_many(&site, &service).await;
    for volume in &made {
        until(&site, volume, Some(VolumeStatus::Available)).await;
    }
    let after = site.pool.state().vdis.len();
    assert_eq!(after, before + MANY, "one VDI for each");
    remove_many(&site, &service, &made).await;
    assert_eq!(site.pool.state().vdis.len(), before);

    // What has a source is placed where that is, as ever.
    let copy = CreateVolume {
        source: VolumeSource::Volume(early.id),
        ..CreateVolume::default()
    };
    let copy = create(&service, &site.requester(), copy).await.unwrap();
    assert_eq!(copy.backend_id, None);
    until(&site, &copy, Some(VolumeStatus::Available)).await;

    in_a_group(&site, &service).await;
    elsewhere(&site, &service, backend).await;
    worker.stop().await;
    let late = ask(&site, &service).await;
    assert_eq!(late.backend_id, None, "the worker has left");
}

/// Members of a group begin as ever, whose end settles the group.
async fn in_a_group(site: &Site, service: &Service) {
    let group = empty_group(site, false).await;
    let before = site.pool.state().vdis.len();
    let mut members = Vec::new();
    for _ in 0..3 {
        let wanted = CreateVolume {
            size_gib: 1,
            flavor: Some(site.flavor.label.clone()),
            group_id: Some(group),
            ..CreateVolume::default()
        };
        let member = create(service, &site.requester(), wanted).await.unwrap();
        assert_eq!(member.backend_id, None);
        members.push(member);
    }
    for member in &members {
        until(site, member, Some(VolumeStatus::Available)).await;
    }
    let requester = site.requester();
    let refused = delete(service, &requester, members[0].id, DeleteMode::Normal).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
    let mode = DeleteGroup::WithVolumes;
    let removed = groups::delete(service, &requester, group, mode).await;
    removed.unwrap();
    for member in &members {
        until(site, member, None).await;
    }
    // The last member takes it along in its own transaction.
    let left = site.database().read(move |tx| db::groups::find(tx, group));
    assert_eq!(left.await.unwrap(), None);
    assert_eq!(site.pool.state().vdis.len(), before);
}

/// What is kept is never older than what another process has stored.
async fn elsewhere(site: &Site, service: &Service, backend: BackendId) {
    let there = Database::open(&service.config.database_url).await.unwrap();
    let host = volume_host(&site.zone);
    let disable = |is_disabled| {
        let host = host.clone();
        there.write(move |tx| {
            service_states::set_disabled(tx, (VOLUME_BINARY, &host), is_disabled, "test", 1)
        })
    };
    let usable = |usage| there.write(move |tx| backends::set_use(tx, backend, usage));
    for _ in 0..3 {
        disable(true).await.unwrap();
        let refused = ask(site, service).await;
        assert_eq!(refused.backend_id, None);
        until(site, &refused, Some(VolumeStatus::Error)).await;
        disable(false).await.unwrap();
        until_placed(site, service, backend).await;
        assert!(usable(BackendUse::Disabled).await.unwrap());
        let refused = ask(site, service).await;
        assert_eq!(refused.backend_id, None);
        until(site, &refused, Some(VolumeStatus::Error)).await;
        assert!(usable(BackendUse::Enabled).await.unwrap());
        until_placed(site, service, backend).await;
    }
    // Nor is its room, but for a moment: no reconciler is faster.
    let fill = |physical_utilisation| {
        let space = Space {
            physical_size: 1 << 40,
            physical_utilisation,
            virtual_allocation: 0,
        };
        there.write(move |tx| backends::set_space(tx, backend, space, 1))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The worker's own looks may come in between.
        assert!(fill(1 << 40).await.unwrap());
        let volume = ask(site, service).await;
        if until_made(site, &volume).await == VolumeStatus::Error {
            break;
        }
        assert!(Instant::now() < deadline, "{volume:?}");
    }
    assert!(fill(0).await.unwrap());
    until_placed(site, service, backend).await;
}

/// A worker that stops loses nothing of what is asked for meanwhile: nobody has to wait for a lease to end.
#[test]
fn nothing_is_held_by_a_worker_that_has_stopped_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        stopped_amid_requests(Site::new(&installation).await).await;
    });
}

#[test]
fn nothing_is_held_by_a_worker_that_has_stopped_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        stopped_amid_requests(Site::new(&installation).await).await;
    });
}

async fn stopped_amid_requests(site: Site) {
    let mut service = service(&site, 16);
    service.context = Context::real();
    let backend = site.add_backend("file", None).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let worker = Living::start(&site, &service);
        until_placed(&site, &service, backend).await;
        let before = count(&site).await;
        let asked = {
            let (site, service) = (site.clone(), service.clone());
            tokio::spawn(async move { ask_many(&site, &service).await })
        };
        let deadline = Instant::now() + PATIENCE;
        while count(&site).await == before {
            assert!(Instant::now() < deadline, "nothing is asked for");
            tokio::task::yield_now().await;
        }
        worker.stop().await;
        let held = site.unfinished().await;
        let held = held.iter().filter(|one| one.lease_owner.is_some());
        assert_eq!(held.count(), 0);
        made.extend(asked.await.unwrap());
    }
    let worker = Living::start(&site, &service);
    for volume in &made {
        until(&site, volume, Some(VolumeStatus::Available)).await;
    }
    remove_many(&site, &service, &made).await;
    worker.stop().await;
}

/// A process that dies behind the commit of its requests, before its pool has heard of them or before it has answered, leaves volumes
/// that another worker makes, and removes, once the leases have ended.
#[test]
fn what_a_dead_process_began_is_ended_by_another_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        died_amid_requests(Site::new(&installation).await, Verdict::DieBefore).await;
        died_amid_requests(Site::new(&installation).await, Verdict::DieAfter).await;
    });
}

#[test]
fn what_a_dead_process_began_is_ended_by_another_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        died_amid_requests(Site::new(&installation).await, Verdict::DieBefore).await;
        died_amid_requests(Site::new(&installation).await, Verdict::DieAfter).await;
    });
}

async fn died_amid_requests(site: Site, verdict: Verdict) {
    let service = service(&site, 4);
    let engine = site.engine().await;
    let backend = site.add_backend("file", None).await;
    site.connect(backend).await;
    site.work(&engine).await;

    let worker = Living::start(&site, &service);
    until_placed(&site, &service, backend).await;
    site.gate.whenever("VDI.create", verdict);
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(ask(&site, &service).await);
    }
    assert!(is_any_placed(&made, backend));
    worker.task.abort();
    assert!(worker.task.await.unwrap_err().is_cancelled());
    let orphan = ask(&site, &service).await;
    assert_eq!(orphan.backend_id, None, "nobody is there to place it");
    made.push(orphan);
    site.gate.heal();
    site.outlive_leases();
    site.work(&engine).await;
    for volume in &made {
        until(&site, volume, Some(VolumeStatus::Available)).await;
    }

    let worker = Living::start(&site, &service);
    made.push(until_placed(&site, &service, backend).await);
    site.gate.whenever("VDI.destroy", verdict);
    for volume in &made {
        remove(&site, &service, volume).await;
    }
    worker.task.abort();
    assert!(worker.task.await.unwrap_err().is_cancelled());
    site.gate.heal();
    site.outlive_leases();
    site.work(&engine).await;
    for volume in &made {
        until(&site, volume, None).await;
    }
    site.reconcile(&engine).await;
    let vdis = site.pool.state().vdis.len() as i64;
    assert_eq!(vdis, count(&site).await, "one VDI for each that is left");
}

pub(crate) async fn ask(site: &Site, service: &Service) -> Volume {
    let requester = site.requester();
    create(service, &requester, wanted(site)).await.unwrap()
}

pub(crate) fn wanted(site: &Site) -> CreateVolume {
    CreateVolume {
        size_gib: 1,
        flavor: Some(site.flavor.label.clone()),
        ..CreateVolume::default()
    }
}

async fn ask_many(site: &Site, service: &Service) -> Vec<Volume> {
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..MANY {
        let (site, service) = (site.clone(), service.clone());
        asked.spawn(async move { ask(&site, &service).await });
    }
    asked.join_all().await
}

pub(crate) async fn remove(site: &Site, service: &Service, volume: &Volume) {
    let requester = site.requester();
    let removed = delete(service, &requester, volume.id, DeleteMode::Normal);
    removed.await.unwrap();
}

async fn remove_many(site: &Site, service: &Service, made: &[Volume]) {
    let mut removed = tokio::task::JoinSet::new();
    for volume in made {
        let (site, service, volume) = (site.clone(), service.clone(), volume.clone());
        removed.spawn(async move {
            remove(&site, &service, &volume).await;
            until(&site, &volume, None).await;
        });
    }
    removed.join_all().await;
}

fn is_any_placed(made: &[Volume], backend: BackendId) -> bool {
    made.iter().any(|volume| volume.backend_id == Some(backend))
}

/// Asks for volumes until one is placed by its request: the worker may still be starting, or have others waiting.
pub(crate) async fn until_placed(site: &Site, service: &Service, backend: BackendId) -> Volume {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let volume = ask(site, service).await;
        until(site, &volume, Some(VolumeStatus::Available)).await;
        if volume.backend_id == Some(backend) {
            return volume;
        }
        assert!(Instant::now() < deadline, "{volume:?}");
    }
}

/// How many volumes the zone has.
async fn count(site: &Site) -> i64 {
    let zone = site.zone.clone();
    let found = site.database().read(move |tx| {
        let sql = "SELECT COUNT(*) FROM volumes WHERE zone = ?1";
        tx.query(sql, &[zone.as_str().into()], |row| row.int(0))
    });
    found.await.unwrap()[0]
}

/// Waits until a volume is made, or could not be.
async fn until_made(site: &Site, volume: &Volume) -> VolumeStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = site.volume(volume.id).await.unwrap().status;
        if found != VolumeStatus::Creating {
            return found;
        }
        assert!(Instant::now() < deadline, "{volume:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until a volume is in a state, or gone.
pub(crate) async fn until(site: &Site, volume: &Volume, wanted: Option<VolumeStatus>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = site.volume(volume.id).await.map(|volume| volume.status);
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {wanted:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
