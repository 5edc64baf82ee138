//! The engines: concurrent writers, failures in a group, and several processes on one database.

use volume_service::ErrorKind;
use volume_service::config::Secret;
use volume_service::db::{Database, Param, settings};
use volume_service::error::{Error, Subject};

use crate::support::on_each;

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
