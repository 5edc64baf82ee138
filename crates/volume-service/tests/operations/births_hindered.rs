//! Volumes whose request is taken in the process of their worker, where something is in the way.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use tokio::sync::Notify;
use volume_service::app::volumes::create;
use volume_service::db::{Database, volumes};
use volume_service::model::volume::VolumeStatus;
use volume_service::{Context, RequestContext};

use crate::births::{Living, PATIENCE, PAUSE, ask, remove, service, until, until_placed, wanted};
use crate::installation::{Kind, Site, on};

/// Where a volume is placed does not depend on secrets, which somebody may have damaged.
#[test]
fn a_secret_that_cannot_be_opened_fails_no_request_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        damaged_secret(Site::new(&installation).await).await;
    });
}

#[test]
fn a_secret_that_cannot_be_opened_fails_no_request_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        damaged_secret(Site::new(&installation).await).await;
    });
}

async fn damaged_secret(site: Site) {
    let mut service = service(&site, 16);
    service.context = Context::real();
    let backend = site.add_backend("file", None).await;
    let worker = Living::start(&site, &service);
    let early = until_placed(&site, &service, backend).await;
    let damaged = site.database().write(move |tx| {
        let sql = "UPDATE backends SET secrets = ?2, name_description = 'damaged' WHERE id = ?1";
        tx.execute(sql, &[backend.into(), vec![1_u8].into()])
    });
    assert_eq!(damaged.await.unwrap(), 1);
    let late = ask(&site, &service).await;
    until(&site, &late, Some(VolumeStatus::Available)).await;
    for volume in [early, late] {
        remove(&site, &service, &volume).await;
        until(&site, &volume, None).await;
    }
    worker.stop().await;
}

/// The removal looks on the backend that a try was made on.
#[test]
fn a_volume_that_is_being_deleted_keeps_its_backend() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let (backend, id) = (
            site.add_backend("file", None).await,
            site.create_volume().await,
        );
        let forgotten = site.database().write(move |tx| {
            volumes::place_on(tx, id, backend)?;
            volumes::begin_deleting(tx, id, 1)?;
            volumes::forget_backend(tx, id)
        });
        assert!(!forgotten.await.unwrap());
        let kept = site.volume(id).await.unwrap().backend_id;
        assert_eq!(kept, Some(backend));
    });
}

/// Requests that wait for another process's lock hold no place at the worker meanwhile.
#[test]
fn a_request_that_waits_for_its_project_holds_up_no_other() {
    on(Kind::Postgresql, |installation| async move {
        let site = Site::new(&installation).await;
        let mut service = service(&site, 3);
        service.context = Context::real();
        let backend = site.add_backend("file", None).await;
        let worker = Living::start(&site, &service);
        until_placed(&site, &service, backend).await;
        let there = Database::open(&service.config.database_url).await.unwrap();
        let (release, is_released) = sync_channel(1);
        let taken = Arc::new(Notify::new());
        let tell = Arc::clone(&taken);
        let holder = tokio::spawn(async move {
            let held = there.write(move |tx| {
                let sql = "SELECT CAST(1 AS BIGINT) FROM pg_advisory_xact_lock(2019913331, hashtext('p'))";
                tx.query(sql, &[], |row| row.int(0))?;
                tell.notify_one();
                is_released.recv_timeout(PATIENCE).unwrap();
                Ok(())
            });
            held.await
        });
        taken.notified().await;
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (requester, service) = (site.requester(), service.clone());
            let wanted = wanted(&site);
            waiting.spawn(async move { create(&service, &requester, wanted).await });
        }
        until_two_wait(&site).await;
        let other = RequestContext::new("req-test", "u", "other", vec!["admin".to_owned()]);
        for _ in 0..4 {
            let volume = create(&service, &other, wanted(&site)).await.unwrap();
            until(&site, &volume, Some(VolumeStatus::Available)).await;
        }
        release.send(()).unwrap();
        // On a slow machine the server has ended this transaction, and some of the requests have waited too long.
        drop(holder.await.unwrap());
        for volume in waiting.join_all().await.into_iter().flatten() {
            until(&site, &volume, Some(VolumeStatus::Available)).await;
        }
        worker.stop().await;
    });
}

/// Waits until closures wait for a lock on both threads that run them alone, or on one of them and the writer.
async fn until_two_wait(site: &Site) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let waiting = site.database().read(|tx| {
            let sql = "SELECT COUNT(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
            tx.query(sql, &[], |row| row.int(0))
        });
        if waiting.await.unwrap()[0] >= 2 {
            return;
        }
        assert!(Instant::now() < deadline, "nobody waits for the lock");
        tokio::time::sleep(PAUSE).await;
    }
}
