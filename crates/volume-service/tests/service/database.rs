//! The engines: concurrent writers, failures in a group, and several processes on one database.

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;

use volume_service::ErrorKind;
use volume_service::app::volumes::{CreateVolume, create};
use volume_service::config::{Limits, Secret};
use volume_service::db::{Database, Param, settings};
use volume_service::error::{Error, Subject};

use crate::support::{PATIENCE, flavor, on_each, on_each_with, requester, wanted};

async fn is_set(database: &Database, name: String) -> bool {
    database
        .read(move |tx| settings::find(tx, &name))
        .await
        .unwrap()
        .is_some()
}

#[test]
fn concurrent_writers_fail_alone() {
    on_each(|bench| async move {
        let database = bench.service.database;
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..300 {
            let database = database.clone();
            writers.spawn(async move {
                let outcome = database
                    .write(move |tx| {
                        settings::insert(tx, &format!("n{number}"), b"x")?;
                        match number % 10 {
                            3 => Err(Error::new(ErrorKind::Conflict, Subject::Request, "no")),
                            7 => panic!("a bug in a closure (this panic is part of the test)"),
                            _ => Ok(number),
                        }
                    })
                    .await;
                (number, outcome)
            });
        }
        for (number, outcome) in writers.join_all().await {
            let expected = match number % 10 {
                3 => Err(ErrorKind::Conflict),
                7 => Err(ErrorKind::Internal),
                _ => Ok(number),
            };
            assert_eq!(outcome.map_err(|error| error.kind), expected);
            let is_kept = is_set(&database, format!("n{number}")).await;
            assert_eq!(is_kept, expected.is_ok(), "number {number}");
        }
    });
}

/// What a closure wrote is not kept when it dies over what the statement returns.
#[test]
fn a_panic_over_a_returned_row_keeps_nothing() {
    on_each(|bench| async move {
        let database = bench.service.database;
        let died = database
            .write(|tx| {
                tx.query_first(
                    "INSERT INTO settings (name, value) VALUES (?1, ?2) RETURNING name",
                    &["torn".into(), vec![1_u8].into()],
                    |_| -> volume_service::error::Result<()> {
                        panic!("a bug in a closure (this panic is part of the test)")
                    },
                )
            })
            .await;
        assert_eq!(died.unwrap_err().kind, ErrorKind::Internal);
        assert!(!is_set(&database, "torn".to_owned()).await);
    });
}

/// Requests that are committed together see each other's volumes: a quota is met exactly, and one that is refused takes nothing from
/// the others.
#[test]
fn creators_meet_a_quota_exactly() {
    const CREATORS: usize = 32;
    const EACH: usize = 5;
    const QUOTA: usize = 70;
    let limits = Limits {
        volumes_per_project: QUOTA as i64,
        gigabytes_per_project: -1,
        ..Limits::default()
    };
    on_each_with(limits, |bench| async move {
        flavor(&bench, "gold").await;
        let mut creators = tokio::task::JoinSet::new();
        for creator in 0..CREATORS {
            let service = bench.service.clone();
            creators.spawn(async move {
                // Two projects take the same rows in another order.
                let (mut made, mut refused) = (Vec::new(), 0);
                for number in 0..EACH * 2 {
                    let project = ["alice", "bob"][(creator + number) % 2];
                    match create(&service, &requester(project, "member"), wanted("gold", 1)).await {
                        Ok(volume) => made.push((project, volume.id)),
                        Err(error) => {
                            assert_eq!(error.kind, ErrorKind::QuotaExceeded, "{error}");
                            refused += 1;
                        }
                    }
                }
                (made, refused)
            });
        }
        let (mut made, mut refused) = (Vec::new(), 0);
        for (theirs, not) in creators.join_all().await {
            made.extend(theirs);
            refused += not;
        }
        assert_eq!(
            (made.len(), made.len() + refused),
            (2 * QUOTA, 2 * CREATORS * EACH)
        );
        for project in ["alice", "bob"] {
            let here: BTreeSet<_> = made.iter().filter(|(owner, _)| *owner == project).collect();
            assert_eq!(here.len(), QUOTA);
            let (usage, rows, operations) = bench
                .service
                .database
                .read(move |tx| {
                    let count = "SELECT COUNT(*) FROM volumes WHERE project_id = ?1";
                    let rows = tx.query_first(count, &[project.into()], |row| row.int(0))?;
                    let count = "SELECT COUNT(*) FROM operations o JOIN volumes v ON v.id = o.target WHERE v.project_id = ?1";
                    let operations = tx.query_first(count, &[project.into()], |row| row.int(0))?;
                    Ok((volume_service::db::quotas::usage(tx, project)?.volumes, rows, operations))
                })
                .await
                .unwrap();
            assert_eq!(usage, QUOTA as u64);
            assert_eq!((rows, operations), (Some(QUOTA as i64), Some(QUOTA as i64)));
        }
    });
}

#[test]
fn a_client_token_makes_one_volume_whoever_uses_it_first() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let mut creators = tokio::task::JoinSet::new();
        for creator in 0..32_u64 {
            let service = bench.service.clone();
            creators.spawn(async move {
                let token = format!("token-{}", creator % 4);
                // One of eight asks for something else under the same token.
                let size_gib = if creator < 4 { 2 } else { 1 };
                let wanted = CreateVolume {
                    client_token: Some(token.clone()),
                    ..wanted("gold", size_gib)
                };
                let made = create(&service, &requester("alice", "member"), wanted).await;
                (
                    token,
                    made.map(|volume| (volume.id, volume.size_gib))
                        .map_err(|error| error.kind),
                )
            });
        }
        let outcomes = creators.join_all().await;
        let made: BTreeSet<_> = outcomes
            .iter()
            .filter_map(|(token, made)| made.ok().map(|made| (token, made)))
            .collect();
        assert_eq!(made.len(), 4, "one volume for each token");
        for (_, made) in &outcomes {
            assert!(matches!(made, Ok(_) | Err(ErrorKind::Conflict)));
        }
        let rows = bench
            .service
            .database
            .read(|tx| tx.query("SELECT COUNT(*) FROM volumes", &[], |row| row.int(0)));
        assert_eq!(rows.await.unwrap(), [4]);
    });
}

/// A row that another process holds locked keeps those waiting that need it, and nobody else.
#[test]
fn a_lock_of_another_process_keeps_only_its_own_waiting() {
    on_each(|bench| async move {
        if bench.url.starts_with("sqlite:") {
            // One process writes at a time there.
            return;
        }
        let here = bench.service.database.clone();
        let there = Database::open(&Secret::new(bench.url.as_str()))
            .await
            .unwrap();
        here.write(|tx| settings::insert(tx, "held", b"x"))
            .await
            .unwrap();
        const TOUCH: &str = "UPDATE settings SET value = value WHERE name = 'held'";
        let (locked, is_locked) = sync_channel(8);
        let (release, is_released) = sync_channel::<()>(1);
        let is_released = std::sync::Mutex::new(is_released);
        let holder = tokio::spawn(async move {
            there
                .write(move |tx| {
                    tx.execute(TOUCH, &[])?;
                    let _ = locked.try_send(());
                    let released = is_released.lock().unwrap();
                    released.recv_timeout(PATIENCE).unwrap();
                    Ok(())
                })
                .await
        });
        tokio::task::spawn_blocking(move || is_locked.recv_timeout(PATIENCE))
            .await
            .unwrap()
            .unwrap();
        let waits = {
            let here = here.clone();
            tokio::spawn(async move { here.write(|tx| tx.execute(TOUCH, &[])).await })
        };
        for number in 0..20 {
            let name = format!("free-{number}");
            here.write(move |tx| settings::insert(tx, &name, b"x"))
                .await
                .unwrap();
        }
        assert!(!waits.is_finished(), "it needs the row");
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        assert_eq!(waits.await.unwrap().unwrap(), 1);
    });
}

/// What a closure posted is judged before it is believed to have succeeded, and takes only its own changes along.
#[test]
fn a_posted_statement_that_misses_fails_its_closure() {
    on_each(|bench| async move {
        let database = bench.service.database;
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..40 {
            let database = database.clone();
            writers.spawn(async move {
                let missing = if number % 5 == 0 {
                    "nobody"
                } else {
                    "master_key_proof"
                };
                let written = database
                    .write(move |tx| {
                        settings::insert(tx, &format!("n{number}"), b"x")?;
                        tx.post(
                            "UPDATE settings SET value = value WHERE name = ?1",
                            vec![missing.into()],
                            || Error::new(ErrorKind::Conflict, Subject::Request, "missed"),
                        )
                    })
                    .await;
                (number, written.map_err(|error| error.kind))
            });
        }
        for (number, written) in writers.join_all().await {
            let expected = if number % 5 == 0 {
                Err(ErrorKind::Conflict)
            } else {
                Ok(())
            };
            assert_eq!(written, expected, "{number}");
            assert_eq!(
                is_set(&database, format!("n{number}")).await,
                expected.is_ok()
            );
        }
    });
}

/// Closures that only post go out together; each is judged by its own rows all the same, and one that refuses posts nothing.
#[test]
fn closures_that_only_post_fail_alone() {
    const INSERT: &str = "INSERT INTO settings (name, value) VALUES (?1, ?2)";
    on_each(|bench| async move {
        let database = bench.service.database;
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..200 {
            let database = database.clone();
            writers.spawn(async move {
                let missed = || Error::new(ErrorKind::NotFound, Subject::Request, "missed");
                let written = database
                    .write(move |tx| {
                        let value = || vec![b'x'].into();
                        tx.post(INSERT, vec![format!("n{number}").into(), value()], missed)?;
                        match number % 10 {
                            2 => {
                                let sql = "UPDATE settings SET value = value WHERE name = ?1";
                                tx.post(sql, vec!["nobody".into()], missed)
                            }
                            5 => tx.post(INSERT, vec!["master_key_proof".into(), value()], missed),
                            7 => Err(Error::new(ErrorKind::Invalid, Subject::Request, "no")),
                            // Any number of rows will do.
                            8 => tx.send(
                                "DELETE FROM settings WHERE name = ?1",
                                vec!["nobody".into()],
                            ),
                            _ => Ok(()),
                        }
                    })
                    .await;
                (number, written.map_err(|error| error.kind))
            });
        }
        for (number, written) in writers.join_all().await {
            let expected = match number % 10 {
                2 => Err(ErrorKind::NotFound),
                5 => Err(ErrorKind::Conflict),
                7 => Err(ErrorKind::Invalid),
                _ => Ok(()),
            };
            assert_eq!(written, expected, "{number}");
            let is_kept = is_set(&database, format!("n{number}")).await;
            assert_eq!(is_kept, expected.is_ok(), "{number}");
        }
    });
}

#[test]
fn a_failed_statement_is_told_apart() {
    on_each(|bench| async move {
        let database = bench.service.database;
        let twice = database
            .write(|tx| {
                for _ in 0..2 {
                    tx.execute(
                        "INSERT INTO settings (name, value) VALUES (?1, ?2)",
                        &["same".into(), Param::Bytes(vec![1])],
                    )?;
                }
                Ok(())
            })
            .await;
        assert_eq!(twice.unwrap_err().kind, ErrorKind::Conflict);
        let wrong = database
            .write(|tx| tx.execute("INSERT INTO nowhere (x) VALUES (1)", &[]))
            .await;
        assert_eq!(wrong.unwrap_err().kind, ErrorKind::Internal);
        let ignoring = database
            .write(|tx| {
                settings::insert(tx, "before", b"x")?;
                let _ = tx.execute("INSERT INTO nowhere (x) VALUES (1)", &[]);
                Ok(())
            })
            .await;
        assert_eq!(ignoring.unwrap_err().kind, ErrorKind::Internal);
        assert!(
            !is_set(&database, "before".to_owned()).await,
            "rolled back on both"
        );
        let forbidden = database.read(|tx| settings::insert(tx, "a", b"b")).await;
        assert!(forbidden.is_err(), "a reader does not write");
        assert!(!is_set(&database, "same".to_owned()).await);
        assert!(
            database
                .write(|tx| settings::insert(tx, "same", b"x"))
                .await
                .unwrap()
        );
    });
}

#[test]
fn many_processes_start_and_write_together() {
    on_each(|bench| async move {
        let mut openers = tokio::task::JoinSet::new();
        for opener in 0..5 {
            let url = Secret::new(bench.url.as_str());
            openers.spawn(async move {
                let database = Database::open(&url).await.unwrap();
                for number in 0..20 {
                    database
                        .write(move |tx| settings::insert(tx, &format!("{opener}-{number}"), b"x"))
                        .await
                        .unwrap();
                }
            });
        }
        openers.join_all().await;
        let count = bench
            .service
            .database
            .read(|tx| {
                tx.query(
                    "SELECT COUNT(*) FROM settings WHERE name LIKE '%-%'",
                    &[],
                    |row| row.int(0),
                )
            })
            .await
            .unwrap();
        assert_eq!(count, [100]);
    });
}

/// SQLite rolls the whole transaction back when the medium is full: everybody in the group is refused, nobody is told that
/// something is stored which is not, and the service goes on when there is space again.
#[test]
fn a_full_medium_refuses_and_recovers() {
    on_each(|bench| async move {
        if !bench.url.starts_with("sqlite:") {
            return;
        }
        let database = bench.service.database;
        let pages = |count: i64| {
            let database = database.clone();
            async move {
                database
                    .write(move |tx| {
                        let sql = format!("PRAGMA max_page_count = {count}");
                        tx.query(&sql, &[], |row| row.int(0))
                    })
                    .await
                    .unwrap()
            }
        };
        pages(1).await;
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..20 {
            let database = database.clone();
            writers.spawn(async move {
                let size = if number % 4 == 0 { 1 << 20 } else { 10 };
                let name = format!("n{number}");
                let written = database
                    .write(move |tx| settings::insert(tx, &name, &vec![1; size]))
                    .await;
                (number, written)
            });
        }
        let outcomes = writers.join_all().await;
        for (number, written) in outcomes {
            assert_eq!(
                is_set(&database, format!("n{number}")).await,
                written.is_ok()
            );
            if number % 4 == 0 {
                assert_eq!(written.unwrap_err().kind, ErrorKind::Unavailable);
            }
        }
        pages(1_000_000).await;
        assert!(
            database
                .write(|tx| settings::insert(tx, "big", &vec![1; 1 << 20]))
                .await
                .unwrap()
        );
    });
}

#[tokio::test]
async fn unusable_urls_are_refused_clearly() {
    let refused = [
        ("mysql://x", ErrorKind::Invalid),
        ("postgresql://[", ErrorKind::Invalid),
        (
            "postgresql://u:p@localhost/x?sslmode=require",
            ErrorKind::NotSupported,
        ),
        ("postgresql://u:p@db.example.org/x", ErrorKind::NotSupported),
        ("postgresql://u@127.0.0.1:1/x", ErrorKind::Unavailable),
        ("sqlite:///nowhere/at/all/x.db", ErrorKind::Unavailable),
    ];
    for (url, kind) in refused {
        let error = Database::open(&Secret::new(url)).await.err().unwrap();
        assert_eq!(error.kind, kind, "{url}: {error}");
        assert!(
            !error.to_string().contains("u:p"),
            "no password in a message: {error}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.db");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let url = Secret::new(format!("sqlite://{}", path.display()));
    assert!(
        Database::open(&url).await.is_err(),
        "a file that is no database"
    );
}
