//! Operations whose signal was lost: PostgreSQL tells nobody who was not listening, and another process's SQLite tells nobody at all.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use volume_service::model::id::VolumeId;
use volume_service::model::volume::VolumeStatus;
use volume_service::operation::Worker;

use crate::installation::{Kind, Site, on};

/// Longest wait for a worker that polls every second, on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_lost_signal_is_made_up_for_by_polling_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        lost_and_found(&Site::new(&installation).await).await;
    });
}

#[test]
fn a_lost_signal_is_made_up_for_by_polling_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        lost_and_found(&Site::new(&installation).await).await;
    });
}

async fn lost_and_found(site: &Site) {
    let engine = site.engine().await;
    let backend = site.add_backend("file", None).await;
    site.connect(backend).await;
    site.work(&engine).await;
    drop(engine);
    // By hand, as no code of ours writes without a signal: at first nobody may claim it, then it is there, and nobody is told.
    let unheard = site.create_volume().await;
    let not_before = async |us: i64| {
        let sql = "UPDATE operations SET not_before_us = ?1 WHERE target = ?2";
        let written = site
            .database()
            .write(move |tx| tx.execute(sql, &[us.into(), unheard.to_string().into()]));
        assert_eq!(written.await.unwrap(), 1);
    };
    not_before(i64::MAX / 2).await;
    let stop = CancellationToken::new();
    let worker = Worker::with_pool(site.service().clone(), &site.zone, site.pool.clone());
    let running = tokio::spawn(worker.run(stop.clone()));
    // The worker listens, and what it was told of is behind it.
    let heard = site.create_volume().await;
    until_available(site, heard).await;
    let waiting = site.volume(unheard).await.unwrap();
    assert_eq!(waiting.status, VolumeStatus::Creating);
    not_before(0).await;
    until_available(site, unheard).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn until_available(site: &Site, id: VolumeId) {
    let mut ended = site.database().operations_ended();
    let wait = async {
        loop {
            ended.borrow_and_update();
            if site.volume(id).await.unwrap().status == VolumeStatus::Available {
                return;
            }
            // Looked at again, signal or not: signals are what is doubted here.
            let _ = tokio::time::timeout(Duration::from_millis(500), ended.changed()).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the worker finds the operation by itself");
}
