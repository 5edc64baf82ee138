//! A process is killed while it writes: every answered write is there afterwards.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use volume_service::config::Secret;
use volume_service::db::{Database, settings};

/// The variable that tells the child which database to write.
const URL: &str = "XENSM_TEST_CRASH_URL";
/// Answered writes before the kill.
const ENOUGH: usize = 400;

#[test]
fn answered_writes_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut urls = vec![format!("sqlite://{}/xensm.db", directory.path().display())];
    urls.extend(testkit::postgres::cluster().map(|cluster| cluster.create_database().unwrap()));
    for url in urls {
        kill_a_writer_of(url);
    }
}

fn kill_a_writer_of(url: String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::write_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(URL, &url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut answered = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(name) = line.strip_prefix("answered ") {
            answered.push(name.to_owned());
        }
        if answered.len() == ENOUGH {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(
        answered.len() >= ENOUGH,
        "only {} writes were answered",
        answered.len()
    );

    let is_sqlite = url.starts_with("sqlite:");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = Database::open(&Secret::new(url)).await.unwrap();
        if is_sqlite {
            let verdict = database
                .read(|tx| tx.query("PRAGMA integrity_check", &[], |row| row.text(0)))
                .await
                .unwrap();
            assert_eq!(verdict, ["ok"]);
        }
        database
            .read(move |tx| {
                for name in &answered {
                    assert!(
                        settings::find(tx, name)?.is_some(),
                        "{name} was answered and is lost"
                    );
                }
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
#[ignore = "the child of answered_writes_survive_a_kill"]
fn write_until_killed() {
    let url = std::env::var(URL).expect("the parent names the database");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = Database::open(&Secret::new(url)).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..16 {
            let database = database.clone();
            writers.spawn(async move {
                // Bounded, should the parent be gone.
                for number in 0..100_000 {
                    let name = format!("{writer}-{number}");
                    let row = name.clone();
                    database
                        .write(move |tx| settings::insert(tx, &row, b"x"))
                        .await
                        .unwrap();
                    // One write per line, so that a kill leaves no half of one that counts.
                    if std::io::stdout()
                        .write_all(format!("answered {name}\n").as_bytes())
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        writers.join_all().await;
    });
}
