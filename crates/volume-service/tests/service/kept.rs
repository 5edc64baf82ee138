//! What a process keeps of flavors, services and limits is never older than what another one has stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;

use volume_service::app::volumes::{CreateVolume, DeleteMode, create, delete};
use volume_service::app::{Service, flavors, quotas};
use volume_service::config::Limits;
use volume_service::db::service_states::{self, volume_host};
use volume_service::db::{Database, default_flavors, flavor_access, flavor_specs, settings};
use volume_service::error::{Error, Result, Subject};
use volume_service::model::id::VolumeId;
use volume_service::{Context, ErrorKind, RequestContext};

use crate::support::{
    Bench, PATIENCE, available, config, flavor, on_each, on_each_with, requester, wanted,
};

/// No limits but those that the test sets.
fn unlimited() -> Limits {
    Limits {
        volumes_per_project: -1,
        gigabytes_per_project: -1,
        ..Limits::default()
    }
}

/// The same service in another process.
async fn another(bench: &Bench) -> Service {
    let config = config(&bench.url, unlimited());
    let context = Context::with(bench.world.clone());
    Service::open(context, config).await.unwrap()
}

async fn ask(
    bench: &Bench,
    label: Option<&str>,
    size_gib: u64,
) -> std::result::Result<VolumeId, ErrorKind> {
    let wanted = CreateVolume {
        flavor: label.map(str::to_owned),
        ..wanted("", size_gib)
    };
    let made = create(&bench.service, &requester("alice", "member"), wanted).await;
    made.map(|volume| volume.id).map_err(|error| error.kind)
}

#[test]
fn a_flavor_that_another_process_changes_is_seen_by_the_next_request() {
    on_each_with(unlimited(), |bench| async move {
        let (there, admin) = (another(&bench).await, RequestContext::operator());
        let missing = Err(ErrorKind::NotFound);
        for _ in 0..2 {
            assert_eq!(ask(&bench, Some("gold"), 1).await, missing);
            assert_eq!(
                ask(&bench, None, 1).await,
                Err(ErrorKind::Invalid),
                "no default"
            );
        }
        let gold = flavors::create(&there, &admin, "gold", "").await.unwrap();
        let made = ask(&bench, Some("gold"), 1).await.unwrap();
        assert!(ask(&bench, Some("gold"), 1).await.is_ok());
        let id = gold.id;
        let change = |step: u32| {
            there.database.write(move |tx| match step {
                10 => default_flavors::set(tx, "alice", id),
                11 => default_flavors::unset(tx, "alice"),
                0 => volume_service::db::flavors::set_public(tx, id, false, 1),
                1 => flavor_access::add(tx, id, "alice").map(drop),
                2 => flavor_access::remove(tx, id, "alice").map(drop),
                3 => volume_service::db::flavors::set_public(tx, id, true, 2),
                4 => {
                    let zones = ("RESKEY:availability_zones".to_owned(), "east".to_owned());
                    flavor_specs::merge(tx, id, &BTreeMap::from([zones]))
                }
                _ => volume_service::db::flavors::rename(tx, id, Some("silver"), None).map(drop),
            })
        };
        change(10).await.unwrap();
        assert!(ask(&bench, None, 1).await.is_ok());
        change(11).await.unwrap();
        assert_eq!(ask(&bench, None, 1).await, Err(ErrorKind::Invalid));
        change(0).await.unwrap();
        assert_eq!(ask(&bench, Some("gold"), 1).await, missing, "it is private");
        change(1).await.unwrap();
        assert!(ask(&bench, Some("gold"), 1).await.is_ok());
        change(2).await.unwrap();
        assert_eq!(ask(&bench, Some("gold"), 1).await, missing);
        change(3).await.unwrap();
        assert!(ask(&bench, Some("gold"), 1).await.is_ok());
        change(4).await.unwrap();
        let east = ask(&bench, Some("gold"), 1).await.unwrap();
        let zone = bench
            .service
            .database
            .read(move |tx| volume_service::db::volumes::get(tx, east));
        assert_eq!(zone.await.unwrap().zone, "east");
        change(5).await.unwrap();
        assert_eq!(ask(&bench, Some("gold"), 1).await, missing);
        assert!(ask(&bench, Some("silver"), 1).await.is_ok());
        let found = bench
            .service
            .database
            .read(move |tx| volume_service::db::volumes::get(tx, made));
        assert_eq!(found.await.unwrap().flavor_label, "silver");
    });
}

#[test]
fn a_limit_that_another_process_sets_holds_for_the_next_request() {
    on_each_with(unlimited(), |bench| async move {
        flavor(&bench, "gold").await;
        let (there, admin) = (another(&bench).await, RequestContext::operator());
        let set = async |name: &str, limit: i64| {
            let limits = BTreeMap::from([(name.to_owned(), limit)]);
            quotas::update(&there, &admin, "alice", limits)
                .await
                .unwrap();
        };
        let class = async |name: &str, limit: i64| {
            let limits = BTreeMap::from([(name.to_owned(), limit)]);
            quotas::update_class(&there, &admin, "default", limits)
                .await
                .unwrap();
        };
        let ask = async |size_gib| ask(&bench, Some("gold"), size_gib).await.map(drop);
        let refused = Err(ErrorKind::QuotaExceeded);
        for _ in 0..2 {
            assert_eq!(ask(1).await, Ok(()));
        }
        set("volumes", 2).await;
        assert_eq!(ask(1).await, refused);
        set("volumes", 3).await;
        assert_eq!(ask(1).await, Ok(()));
        assert_eq!(ask(1).await, refused);
        set("volumes", -1).await;
        assert_eq!(ask(1).await, Ok(()));
        assert_eq!(ask(7).await, Ok(()));
        set("per_volume_gigabytes", 6).await;
        assert_eq!(ask(7).await, refused);
        assert_eq!(ask(7).await, refused, "also by what is kept");
        set("per_volume_gigabytes", 7).await;
        assert_eq!(ask(7).await, Ok(()));
        set("gigabytes_gold", 19).await;
        assert_eq!(ask(2).await, refused, "there are 18");
        assert_eq!(ask(1).await, Ok(()));
        quotas::delete(&there, &admin, "alice").await.unwrap();
        assert_eq!(ask(1).await, Ok(()));
        class("volumes", 8).await;
        assert_eq!(ask(1).await, refused, "there are 8");
        class("volumes", -1).await;
        assert_eq!(ask(1).await, Ok(()));
        crate::volumes::assert_usage_is_true(&bench, "alice").await;
    });
}

#[test]
fn a_zone_that_another_process_freezes_is_frozen_for_the_next_request() {
    on_each_with(unlimited(), |bench| async move {
        flavor(&bench, "gold").await;
        let alice = requester("alice", "member");
        let there = another(&bench).await;
        let freeze = |is_frozen| {
            let host = volume_host("nova");
            there
                .database
                .write(move |tx| service_states::set_frozen(tx, &host, is_frozen, 1))
        };
        let mut volumes = Vec::new();
        for _ in 0..4 {
            volumes.push(available(&bench, &alice, "gold").await);
        }
        let remove = |id| delete(&bench.service, &alice, id, DeleteMode::Normal);
        remove(volumes[0]).await.unwrap();
        remove(volumes[1]).await.unwrap();
        freeze(true).await.unwrap();
        for _ in 0..2 {
            let refused = remove(volumes[2]).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
        }
        freeze(false).await.unwrap();
        remove(volumes[2]).await.unwrap();
        remove(volumes[3]).await.unwrap();
        let again = remove(volumes[3]).await.unwrap_err();
        assert_eq!(again.kind, ErrorKind::Conflict, "{again}");
    });
}

fn missed() -> Error {
    Error::new(
        ErrorKind::Busy,
        Subject::Request,
        "what was assumed is wrong",
    )
}

fn refusal() -> Error {
    Error::new(ErrorKind::Invalid, Subject::Request, "no")
}

/// A closure that assumes: wrong in its posts, wrong in what it refuses, or right. It says how often it ran.
async fn assuming(database: Database, number: u32) -> Result<u32> {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let written = database.write(move |tx| {
        counted.fetch_add(1, Ordering::Relaxed);
        settings::insert(tx, &format!("n{number}"), b"x")?;
        if !tx.assume() {
            return match number % 4 {
                2 => Err(refusal()),
                _ => Ok(()),
            };
        }
        match number % 4 {
            0 => tx.post(
                "UPDATE settings SET value = value WHERE name = ?1",
                vec!["nobody".into()],
                missed,
            ),
            1 => Err(refusal()),
            2 => tx.post(
                "UPDATE settings SET value = value WHERE name = ?1",
                vec!["nobody".into()],
                missed,
            ),
            _ => Ok(()),
        }
    });
    written.await.map(|()| runs.load(Ordering::Relaxed))
}

/// Whoever assumed something wrong runs again and finds out; nobody is told what came of the assumption, alone or in a group.
#[test]
fn what_was_assumed_wrongly_is_nobodys_answer() {
    on_each(|bench| async move {
        let database = bench.service.database.clone();
        let expected = |number: u32| match number % 4 {
            2 => Err(ErrorKind::Invalid),
            _ => Ok(()),
        };
        let check = |number: u32, written: Result<u32>| {
            let told = written.as_ref().map(drop).map_err(|error| error.kind);
            assert_eq!(told, expected(number), "{number}");
        };
        for number in 0..4 {
            check(number, assuming(database.clone(), number).await);
        }
        let mut writers = tokio::task::JoinSet::new();
        for number in 4..200 {
            let database = database.clone();
            writers.spawn(async move { (number, assuming(database, number).await) });
        }
        for (number, written) in writers.join_all().await {
            check(number, written);
        }
        for number in 0..200 {
            let name = format!("n{number}");
            let found = database.read(move |tx| settings::find(tx, &name));
            let is_kept = found.await.unwrap().is_some();
            assert_eq!(is_kept, expected(number).is_ok(), "{number}");
        }
        // Right from the start, and nothing else in the group: one run.
        assert_eq!(assuming(database, 203).await.unwrap(), 1);
    });
}

/// What is to be done behind the commit is done once, also when nobody waits for it, and not when nothing is kept.
#[test]
fn what_follows_a_commit_follows_no_refusal() {
    on_each(|bench| async move {
        let database = bench.service.database.clone();
        let (done, is_done) = sync_channel(1024);
        let write = |number: u32| {
            let (done, database) = (done.clone(), database.clone());
            async move {
                let written = database.write(move |tx| {
                    settings::insert(tx, &format!("n{number}"), b"x")?;
                    let done = done.clone();
                    tx.after_commit(move |_| done.try_send(number).unwrap());
                    match number % 3 {
                        0 => Err(refusal()),
                        _ => Ok(()),
                    }
                });
                written.await
            }
        };
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..90 {
            writers.spawn(write(number));
        }
        let refused = writers.join_all().await.into_iter().filter(Result::is_err);
        assert_eq!(refused.count(), 30);
        // Nobody waits for this one: its caller is gone when it is queued.
        let mut alone = Box::pin(write(100));
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(alone.as_mut().poll(context).is_ready())
        });
        polled.await;
        drop(alone);
        let all = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            while !all.contains(&100) {
                all.push(is_done.recv_timeout(PATIENCE).unwrap());
            }
            all
        });
        let mut all = all.await.unwrap();
        all.sort_unstable();
        let mut expected: Vec<u32> = (0..90).filter(|number| number % 3 != 0).collect();
        expected.push(100);
        assert_eq!(all, expected);
    });
}
