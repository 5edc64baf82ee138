//! What a request that waits for another process's lock goes by, and what it holds meanwhile. PostgreSQL only: on SQLite nobody else
//! writes while a closure runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use volume_service::app::volumes::{DeleteMode, create, delete};
use volume_service::config::{Limits, Secret};
use volume_service::db::service_states::{self, volume_host};
use volume_service::db::{Database, Fate, quotas, settings};
use volume_service::error::{Error, Result, Subject};
use volume_service::model::quota::{QuotaKey, Resource};
use volume_service::{ErrorKind, RequestContext};

use crate::support::{
    Bench, PATIENCE, available, flavor, on_each, on_each_with, requester, wanted,
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// What who adds to the project alice takes first.
const PROJECT: &str =
    "SELECT CAST(1 AS BIGINT) FROM pg_advisory_xact_lock(2019913331, hashtext('alice'))";
const VOLUMES: &str = "SELECT CAST(1 AS BIGINT) FROM volumes FOR UPDATE";

/// A lock that another process holds.
struct Held {
    release: SyncSender<()>,
    holder: JoinHandle<Result<()>>,
}

impl Held {
    async fn take(bench: &Bench, statement: &'static str) -> Self {
        let there = elsewhere(bench).await;
        let (release, is_released) = sync_channel(1);
        let taken = Arc::new(Notify::new());
        let tell = Arc::clone(&taken);
        let holder = tokio::spawn(async move {
            let held = there.write(move |tx| {
                tx.query(statement, &[], |row| row.int(0))?;
                tell.notify_one();
                is_released.recv_timeout(PATIENCE).unwrap();
                Ok(())
            });
            held.await
        });
        taken.notified().await;
        Held { release, holder }
    }

    async fn release(self) {
        self.release.send(()).unwrap();
        self.holder.await.unwrap().unwrap();
    }
}

async fn elsewhere(bench: &Bench) -> Database {
    let url = Secret::new(bench.url.as_str());
    Database::open(&url).await.unwrap()
}

fn is_shared(bench: &Bench) -> bool {
    !bench.url.starts_with("sqlite:")
}

/// The connection that groups of writes go through.
async fn writer(bench: &Bench) -> i64 {
    let asked = bench.service.database.write(|tx| {
        let sql = "SELECT CAST(pg_backend_pid() AS BIGINT)";
        tx.query(sql, &[], |row| row.int(0))
    });
    asked.await.unwrap()[0]
}

/// Waits until a closure waits for a lock alone, which it does longer than the writer.
async fn until_beside(bench: &Bench, writer: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let waiting = bench.service.database.read(|tx| {
            let sql = "SELECT CAST(pid AS BIGINT) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
            tx.query(sql, &[], |row| row.int(0))
        });
        if waiting.await.unwrap().iter().any(|pid| *pid != writer) {
            return;
        }
        assert!(Instant::now() < deadline, "nobody waits for the lock");
        tokio::time::sleep(PAUSE).await;
    }
}

fn unlimited() -> Limits {
    Limits {
        volumes_per_project: -1,
        gigabytes_per_project: -1,
        ..Limits::default()
    }
}

#[test]
fn a_limit_that_is_set_while_a_request_waits_for_its_project_holds_for_it() {
    on_each_with(unlimited(), |bench| async move {
        if !is_shared(&bench) {
            return;
        }
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let ask = || create(&bench.service, &alice, wanted("gold", 1));
        for _ in 0..2 {
            ask().await.unwrap();
        }
        let (writer, there) = (writer(&bench).await, elsewhere(&bench).await);
        let held = Held::take(&bench, PROJECT).await;
        let meanwhile = async {
            until_beside(&bench, writer).await;
            let set = there.write(|tx| {
                let key = QuotaKey::of_project(Resource::Volumes);
                quotas::set_of_project(tx, "alice", key, 2)
            });
            set.await.unwrap();
            held.release().await;
        };
        let (asked, ()) = tokio::join!(ask(), meanwhile);
        assert_eq!(asked.unwrap_err().kind, ErrorKind::QuotaExceeded);
    });
}

#[test]
fn a_zone_that_is_frozen_while_a_delete_waits_for_its_volume_is_frozen_for_it() {
    on_each_with(unlimited(), |bench| async move {
        if !is_shared(&bench) {
            return;
        }
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let mut volumes = Vec::new();
        for _ in 0..3 {
            volumes.push(available(&bench, &alice, "gold").await);
        }
        let remove = |alice: RequestContext, id| {
            let service = bench.service.clone();
            async move { delete(&service, &alice, id, DeleteMode::Normal).await }
        };
        // What is kept says that it is not.
        for volume in &volumes[..2] {
            remove(alice.clone(), *volume).await.unwrap();
        }
        let (writer, there) = (writer(&bench).await, elsewhere(&bench).await);
        let held = Held::take(&bench, VOLUMES).await;
        let meanwhile = async {
            until_beside(&bench, writer).await;
            let host = volume_host("nova");
            let frozen = there.write(move |tx| service_states::set_frozen(tx, &host, true, 1));
            frozen.await.unwrap();
            held.release().await;
        };
        let (removed, ()) = tokio::join!(remove(alice.clone(), volumes[2]), meanwhile);
        let refused = removed.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
    });
}

/// What a closure has taken for its commit is free as soon as its run is rolled back, not only when it runs again.
#[test]
fn a_closure_holds_nothing_between_its_runs() {
    const WAITING: u32 = 12;
    on_each(|bench| async move {
        if !is_shared(&bench) {
            return;
        }
        let database = bench.service.database.clone();
        let held = Held::take(&bench, PROJECT).await;
        let (place, runs) = (Arc::new(()), Arc::new(AtomicU32::new(0)));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            let (database, place, runs) = (database.clone(), Arc::clone(&place), Arc::clone(&runs));
            writers.spawn(async move {
                let written = database.write(move |tx| {
                    if tx.assume() {
                        let place = Arc::clone(&place);
                        tx.after_commit(move |_| drop(place));
                        runs.fetch_add(1, Ordering::SeqCst);
                    }
                    tx.post(PROJECT, Vec::new(), missed)
                });
                written.await
            });
        }
        // Each closure has a clone of its own, besides the one here.
        let deadline = Instant::now() + PATIENCE;
        while runs.load(Ordering::SeqCst) < WAITING {
            assert!(Instant::now() < deadline, "not all have run");
            tokio::time::sleep(PAUSE).await;
        }
        // Behind the last group of them: their first runs are over.
        let behind = database.write(|tx| settings::insert(tx, "behind", b"x"));
        behind.await.unwrap();
        assert!(Arc::strong_count(&place) <= WAITING as usize + 1);
        held.release().await;
        // On a slow machine some of them have waited too long, and say so.
        drop(writers.join_all().await);
    });
}

fn missed() -> Error {
    Error::new(ErrorKind::Busy, Subject::Request, "there is no lock")
}

/// What was to follow a commit that is not answered is told so.
#[test]
fn a_commit_that_is_not_answered_is_told_to_what_follows_it() {
    on_each(|bench| async move {
        if !is_shared(&bench) {
            return;
        }
        let database = bench.service.database.clone();
        let prepared = database.write(|tx| {
            tx.execute(
                "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
                &[],
            )?;
            tx.execute(
                "CREATE CONSTRAINT TRIGGER hangs_up AFTER INSERT ON settings DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW WHEN (NEW.name = 'last') EXECUTE FUNCTION hang_up()",
                &[],
            )
        });
        prepared.await.unwrap();
        let write = |name: &'static str| {
            let (told, is_told) = sync_channel(8);
            let written = database.write(move |tx| {
                settings::insert(tx, name, b"x")?;
                let told = told.clone();
                tx.after_commit(move |fate| told.try_send(fate).unwrap());
                Ok(())
            });
            async move {
                let written = written.await.map_err(|error| error.kind);
                (written, is_told.try_iter().collect::<Vec<Fate>>())
            }
        };
        let unknown = (Err(ErrorKind::Unavailable), vec![Fate::Unknown]);
        assert_eq!(write("last").await, unknown);
        assert_eq!(write("other").await, (Ok(()), vec![Fate::Committed]));
    });
}
