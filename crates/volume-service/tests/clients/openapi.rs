//! The routes against their own OpenAPI document.

use std::time::Duration;

use testkit::tool;
use volume_service::app::identity;
use volume_service::config::Secret;
use volume_service::db::Database;
use volume_service::{Error, RequestContext};

use super::{PASSWORD, Servers, script};

/// Requests that are made of each operation; `XENSM_SCHEMATHESIS_EXAMPLES` asks for more.
const EXAMPLES: &str = "2";
/// How long the requests of one user in one microversion may take, when very many are asked for.
const DEADLINE: Duration = Duration::from_secs(3600);
/// How often what waits for a worker is let go.
const HAND: Duration = Duration::from_millis(50);

/// Does what a worker would, in its way: every operation has succeeded, and what was being made is there.
async fn lend_a_hand(database: Database) -> Result<(), Error> {
    let mut pace = tokio::time::interval(HAND);
    loop {
        pace.tick().await;
        let done = database.write(|tx| {
            for sql in [
                "UPDATE volumes SET status = 'available', vdi_uuid = id WHERE status = 'creating'",
                "UPDATE snapshots SET status = 'available', vdi_uuid = id WHERE status = 'creating'",
            ] {
                tx.execute(sql, &[])?;
            }
            let sql = "UPDATE operations SET state = 'succeeded' WHERE state <> 'succeeded'";
            if tx.execute(sql, &[])? > 0 {
                tx.wake_waiters();
            }
            Ok(())
        });
        done.await?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_the_document_says() {
    let Some(python) = tool::python_package("schemathesis") else {
        return;
    };
    let mut servers = Servers::start().await;
    let (service, operator) = (&servers.service, RequestContext::operator());
    let lab = identity::create_project(service, &operator, "lab", "")
        .await
        .unwrap();
    let password = Secret::new(PASSWORD);
    identity::create_user(service, &operator, "alice", password, &lab.id, "member")
        .await
        .unwrap();
    let database = service.database.clone();
    servers.tasks.spawn(async move {
        let stopped = lend_a_hand(database).await;
        panic!("the hand stopped: {stopped:?}");
    });
    let examples =
        std::env::var("XENSM_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    for who in ["admin", "member"] {
        for version in ["3.0", "3.71"] {
            let mut command = servers.command(&python);
            command
                .arg(script("openapi_requests.py"))
                .args([who, version, &examples])
                .arg(servers.directory.path());
            let output = tokio::time::timeout(DEADLINE, command.output())
                .await
                .expect("the requests end in time")
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "as {who} in {version}: {said}{complaint}"
            );
        }
    }
}
