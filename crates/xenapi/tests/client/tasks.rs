//! Calls that are made as tasks.

use crate::pool_server::{Server, with_login};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use xenapi::client::{Client, Credentials, Endpoint, Error, Options, Outcome};
use xenapi::{Value, schema};

/// A pool whose one task is pending at the first looks and then ends so.
async fn pool(
    pending: usize,
    status: &'static str,
    result: &'static str,
    error_info: &'static [&'static str],
) -> Server {
    let looks = AtomicUsize::new(0);
    Server::tcp(
        "127.0.0.1:0",
        with_login(move |call| match call.method.as_str() {
            "Async.VDI.copy" => "OpaqueRef:task".into(),
            "task.destroy" => Value::Nil.into(),
            "task.get_record" => {
                let mut record = schema::class("task").unwrap().initial_record();
                let ended = looks.fetch_add(1, Ordering::SeqCst) >= pending;
                record.insert("name_label".to_owned(), "Async.VDI.copy".into());
                record.insert(
                    "status".to_owned(),
                    if ended { status } else { "pending" }.into(),
                );
                record.insert("result".to_owned(), result.into());
                record.insert("error_info".to_owned(), Value::from(error_info.to_vec()));
                Value::Struct(record).into()
            }
            method => panic!("{method}"),
        }),
    )
    .await
}

async fn copy(server: &Server, limit: Duration) -> Result<Value, Error> {
    let endpoint = Endpoint::parse(&server.url("http")).unwrap();
    let credentials = Credentials::new("root", "hunter2");
    let client = Client::connect(endpoint, None, credentials, Options::default()).unwrap();
    client
        .run(
            "VDI.copy",
            vec!["OpaqueRef:v".into(), "OpaqueRef:sr".into()],
            limit,
        )
        .await
}

#[tokio::test]
async fn a_task_is_awaited_and_destroyed() {
    let server = pool(3, "success", "<value>OpaqueRef:copy</value>", &[]).await;
    assert_eq!(
        copy(&server, Duration::from_secs(20)).await.unwrap(),
        Value::from("OpaqueRef:copy")
    );
    assert_eq!(
        (
            server.count("task.get_record"),
            server.count("task.destroy")
        ),
        (4, 1)
    );
}

#[tokio::test]
async fn a_task_that_failed_gives_its_failure() {
    let server = pool(1, "failure", "", &["SR_FULL", "2", "1"]).await;
    let error = copy(&server, Duration::from_secs(20)).await.unwrap_err();
    assert_eq!(error.failure().unwrap().params, ["2", "1"]);
    assert!(error.is("SR_FULL") && error.outcome() == Outcome::Refused);
    assert_eq!(server.count("task.destroy"), 1);
}

#[tokio::test]
async fn a_task_that_was_cancelled_says_so() {
    let server = pool(0, "cancelled", "", &[]).await;
    assert!(
        copy(&server, Duration::from_secs(20))
            .await
            .unwrap_err()
            .is("TASK_CANCELLED")
    );
}

#[tokio::test]
async fn a_task_that_does_not_end_is_left_running() {
    let server = pool(usize::MAX, "success", "", &[]).await;
    let error = copy(&server, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(&error, Error::TaskPending { task, .. } if task == "OpaqueRef:task"));
    assert_eq!(
        (error.outcome(), server.count("task.destroy")),
        (Outcome::Unknown, 0)
    );
}
