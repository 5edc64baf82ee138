//! The client against a pool that behaves, expires sessions, redirects, breaks and hangs.

use crate::pool_server::{Reply, Server, with_login};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use xenapi::client::{
    Client, Credentials, Endpoint, Error, MAX_READ_REPEATS, MAX_REDIRECTS, NewVdi, Operation,
    Options, Outcome,
};
use xenapi::record::VdiRecord;
use xenapi::reference::{SrRef, VdiRef};
use xenapi::wire::Limits;
use xenapi::{Failure, Value, schema};

fn client(url: &str) -> Client {
    client_with(
        url,
        Options {
            call_deadline: Duration::from_secs(120),
            ..Options::default()
        },
    )
}

fn client_with(url: &str, options: Options) -> Client {
    Client::connect(
        Endpoint::parse(url).unwrap(),
        None,
        Credentials::new("root", "hunter2"),
        options,
    )
    .unwrap()
}

fn new_vdi() -> NewVdi {
    NewVdi::new(SrRef::from("OpaqueRef:sr"), "v", 1 << 30)
}

fn vdi_record(name: &str) -> Value {
    let mut record = schema::class("VDI").unwrap().initial_record();
    record.insert("name_label".to_owned(), Value::from(name));
    record.insert("virtual_size".to_owned(), Value::Int(1 << 40));
    record.insert("other_config".to_owned(), Value::from([("k", "v")]));
    Value::Struct(record)
}

#[tokio::test]
async fn one_login_serves_many_calls_and_records_are_typed() {
    let server = Server::tcp(
        "127.0.0.1:0",
        with_login(|call| {
            assert_eq!(call.params[0], Value::from("OpaqueRef:the-session"));
            match call.method.as_str() {
                "VDI.get_record" => vdi_record("a & b").into(),
                "session.logout" => Value::Nil.into(),
                method => panic!("{method}"),
            }
        }),
    )
    .await;
    let client = client(&server.url("http"));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.vdi().get_record(&VdiRef::from("OpaqueRef:v")).await })
        })
        .collect();
    for call in calls {
        let record = call.await.unwrap().unwrap();
        assert_eq!(
            (record.name_label.as_str(), record.virtual_size),
            ("a & b", 1 << 40)
        );
        assert_eq!(record.other_config["k"], "v");
        assert!(record.snapshot_of.is_null() && record.managed);
        assert_eq!(record.fields["virtual_size"], Value::Int(1 << 40));
    }
    client.log_out().await.unwrap();
    assert_eq!(server.count("session.login_with_password"), 1);
    assert_eq!(server.count("VDI.get_record"), 20);
    assert_eq!(server.count("session.logout"), 1);
}

#[tokio::test]
async fn an_expired_session_is_renewed_once_and_the_call_repeated() {
    let creates = Arc::new(AtomicUsize::new(0));
    let server = Server::tcp(
        "127.0.0.1:0",
        with_login({
            let creates = creates.clone();
            move |_| match creates.fetch_add(1, Ordering::SeqCst) {
                0 => Failure::session_invalid("OpaqueRef:the-session").into(),
                _ => "OpaqueRef:new".into(),
            }
        }),
    )
    .await;
    let created = client(&server.url("http"))
        .vdi()
        .create(&new_vdi())
        .await
        .unwrap();
    assert_eq!(created.as_str(), "OpaqueRef:new");
    assert_eq!(
        (
            server.count("session.login_with_password"),
            server.count("VDI.create")
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn a_session_that_is_never_valid_is_given_up_without_being_told() {
    let server = Server::tcp(
        "127.0.0.1:0",
        with_login(|call| Failure::session_invalid(call.params[0].as_str().unwrap()).into()),
    )
    .await;
    let error = client(&server.url("http"))
        .vdi()
        .create(&new_vdi())
        .await
        .unwrap_err();
    assert!(error.is("SESSION_INVALID") && error.is_retriable());
    assert!(!format!("{error} {error:?}").contains("the-session"));
    assert_eq!(server.count("VDI.create"), 2);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let refuse = |_: &_| Reply::from(Failure::session_authentication_failed("root", "no"));
    let server = Server::tcp("127.0.0.1:0", refuse).await;
    let client = client(&server.url("http"));
    let error = client.vdi().create(&new_vdi()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(!error.is_retriable());
    assert!(
        matches!(&error, Error::Login { source, .. } if source.is("SESSION_AUTHENTICATION_FAILED"))
    );
    assert!(
        !format!(
            "{error:?} {client:?} {:?}",
            Credentials::new("root", "hunter2")
        )
        .contains("hunter2")
    );
}

#[tokio::test]
async fn the_login_follows_the_pool_to_its_master() {
    let member = Server::tcp("127.0.0.1:0", |_| {
        Failure::host_is_slave("127.0.0.2").into()
    })
    .await;
    let master = Server::tcp(
        &format!("127.0.0.2:{}", member.port()),
        with_login(|_| Value::Array(vec!["file".into()]).into()),
    )
    .await;
    let client = client(&member.url("http"));
    assert_eq!(client.sr().get_supported_types().await.unwrap(), ["file"]);
    assert_eq!(client.sr().get_supported_types().await.unwrap(), ["file"]);
    assert_eq!(member.calls(), ["session.login_with_password"]);
    assert_eq!(master.count("SR.get_supported_types"), 2);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::tcp("127.0.0.1:0", |_| {
        Failure::host_is_slave("127.0.0.1").into()
    })
    .await;
    let error = client(&server.url("http")).log_in().await.unwrap_err();
    assert!(
        matches!(&error, Error::Login { source, .. } if matches!(**source, Error::TooManyRedirects { .. }))
    );
    assert_eq!(server.calls().len(), MAX_REDIRECTS + 1);
}

#[tokio::test]
async fn what_changes_something_is_never_repeated_after_the_connection_broke() {
    let server = Server::tcp("127.0.0.1:0", with_login(|_| Reply::Break)).await;
    let client = client(&server.url("http"));
    let vdi = VdiRef::from("OpaqueRef:v");
    let sr = SrRef::from("OpaqueRef:sr");
    let errors = [
        (
            "VDI.create",
            client.vdi().create(&new_vdi()).await.unwrap_err(),
        ),
        ("VDI.destroy", client.vdi().destroy(&vdi).await.unwrap_err()),
        (
            "VDI.add_to_other_config",
            client
                .vdi()
                .add_to_other_config(&vdi, "k", "v")
                .await
                .unwrap_err(),
        ),
        ("SR.scan", client.sr().scan(&sr).await.unwrap_err()),
        (
            "Async.VDI.copy",
            client
                .start("VDI.copy", vec![(&vdi).into()])
                .await
                .unwrap_err(),
        ),
    ];
    for (method, error) in errors {
        assert_eq!(server.count(method), 1, "{method}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{method}");
        assert!(
            error.is_retriable() && error.to_string().contains("outcome is unknown"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_read_is_repeated_after_the_connection_broke() {
    let left = Arc::new(AtomicUsize::new(MAX_READ_REPEATS as usize));
    let server = Server::tcp(
        "127.0.0.1:0",
        with_login(move |_| {
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            }) {
                Ok(_) => Reply::Break,
                Err(_) => vdi_record("v").into(),
            }
        }),
    )
    .await;
    let client = client(&server.url("http"));
    assert_eq!(
        client
            .vdi()
            .get_record(&VdiRef::from("OpaqueRef:v"))
            .await
            .unwrap()
            .name_label,
        "v"
    );
    assert_eq!(
        server.count("VDI.get_record"),
        MAX_READ_REPEATS as usize + 1
    );
}

#[tokio::test]
async fn a_read_is_given_up_when_the_connection_always_breaks() {
    let server = Server::tcp("127.0.0.1:0", with_login(|_| Reply::Break)).await;
    let error = client(&server.url("http"))
        .sr()
        .get_all_records()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Transport { .. }));
    assert_eq!(
        server.count("SR.get_all_records"),
        MAX_READ_REPEATS as usize + 1
    );
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    // A port that was free a moment ago may be another test's by now.
    let error = client("http://127.0.0.1:1")
        .vdi()
        .create(&new_vdi())
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.is_retriable());
}

#[tokio::test]
async fn a_deadline_says_whether_the_call_was_sent() {
    let server = Server::tcp("127.0.0.1:0", with_login(|_| Reply::Hang)).await;
    let client = client(&server.url("http"));
    client.log_in().await.unwrap();
    let deadline = Duration::from_secs(3600);
    let impatient = client.with_deadline(deadline);
    let call = tokio::spawn(async move { impatient.vdi().create(&new_vdi()).await });
    // The clock passes the deadline when the call has come to the server, and not before.
    while server.count("VDI.create") == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::advance(deadline).await;
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(server.count("VDI.create"), 1);
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_was_not_sent() {
    let server = Server::tcp("127.0.0.1:0", with_login(|_| Reply::Hang)).await;
    let client = client_with(
        &server.url("http"),
        Options {
            max_calls: 1,
            ..Options::default()
        },
    );
    client.log_in().await.unwrap();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.vdi().create(&new_vdi()).await }
    });
    tokio::time::timeout(Duration::from_secs(120), async {
        while server.count("VDI.create") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let error = client
        .with_deadline(Duration::from_millis(100))
        .vdi()
        .create(&new_vdi())
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(server.count("VDI.create"), 1);
    first.abort();
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    let replies = Mutex::new(vec![
        Reply::Body(vec![b' '; 4096]),
        Reply::Body(b"<html>".to_vec()),
        Reply::Status(500),
        Reply::Status(413),
        Reply::from(Value::from([("not", "a ref")])),
        Reply::Body(xenapi::xmlrpc::write_fault(7, "no").unwrap()),
    ]);
    let server = Server::tcp(
        "127.0.0.1:0",
        with_login(move |_| replies.lock().unwrap().remove(0)),
    )
    .await;
    let response = Limits {
        body_bytes: 2048,
        ..Limits::RESPONSE
    };
    let client = client_with(
        &server.url("http"),
        Options {
            response,
            ..Options::default()
        },
    );
    let mut errors = Vec::new();
    for _ in 0..6 {
        errors.push(client.vdi().create(&new_vdi()).await.unwrap_err());
    }
    assert!(
        matches!(errors[0], Error::TooLarge { limit: 2048, .. }),
        "{:?}",
        errors[0]
    );
    assert!(
        matches!(errors[1], Error::Protocol { .. }),
        "{:?}",
        errors[1]
    );
    assert!(
        matches!(errors[2], Error::HttpStatus { status: 500, .. }),
        "{:?}",
        errors[2]
    );
    assert!(
        matches!(errors[3], Error::HttpStatus { status: 413, .. }),
        "{:?}",
        errors[3]
    );
    assert!(
        matches!(errors[4], Error::UnexpectedResult { .. }),
        "{:?}",
        errors[4]
    );
    assert!(
        matches!(errors[5], Error::Fault { code: 7, .. }),
        "{:?}",
        errors[5]
    );
    let outcomes: Vec<Outcome> = errors.iter().map(Error::outcome).collect();
    use Outcome::{Refused, Unknown};
    assert_eq!(
        outcomes,
        [Unknown, Unknown, Unknown, Refused, Unknown, Refused]
    );
}

#[tokio::test]
async fn a_parameter_that_xml_cannot_carry_is_not_sent() {
    let server = Server::tcp("127.0.0.1:0", with_login(|_| Reply::Hang)).await;
    let client = client(&server.url("http"));
    let error = client
        .vdi()
        .get_by_name_label("bell \u{7}")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Parameter { .. }), "{error:?}");
    assert_eq!(
        (error.outcome(), server.count("VDI.get_by_name_label")),
        (Outcome::NotSent, 0)
    );
}

#[tokio::test]
async fn a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xapi");
    let server = Server::unix(
        &path,
        with_login(|_| Value::Struct([("OpaqueRef:v".into(), vdi_record("v"))].into()).into()),
    );
    let client = client(&format!("unix://{}", path.display()));
    let records = client
        .vdi()
        .get_all_records_where(r#"field "SR" = "OpaqueRef:sr""#)
        .await
        .unwrap();
    assert_eq!(
        (records[0].0.as_str(), records[0].1.name_label.as_str()),
        ("OpaqueRef:v", "v")
    );
    assert_eq!(
        server.calls(),
        ["session.login_with_password", "VDI.get_all_records_where"]
    );
}

#[tokio::test]
async fn events_are_typed() {
    let server = Server::tcp(
        "127.0.0.1:0",
        with_login(|call| {
            assert_eq!(call.params[3], Value::Float(30.0));
            let event = |operation: &str, snapshot: Option<Value>| {
                let texts = [
                    ("class", "vdi"),
                    ("operation", operation),
                    ("ref", "OpaqueRef:v"),
                    ("id", "7"),
                    ("timestamp", "0.0"),
                ];
                let mut event: std::collections::BTreeMap<String, Value> = texts
                    .into_iter()
                    .map(|(name, text)| (name.to_owned(), Value::from(text)))
                    .collect();
                event.extend(snapshot.map(|snapshot| ("snapshot".to_owned(), snapshot)));
                Value::Struct(event)
            };
            Value::from([
                (
                    "events",
                    Value::Array(vec![
                        event("add", Some(vdi_record("v"))),
                        event("del", None),
                    ]),
                ),
                ("valid_ref_counts", Value::from([("vdi", Value::Int32(3))])),
                ("token", Value::from("1,0")),
            ])
            .into()
        }),
    )
    .await;
    let client = client(&server.url("http"));
    let batch = client
        .event()
        .from(&["vdi"], "", Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(
        (batch.token.as_str(), batch.valid_ref_counts["vdi"]),
        ("1,0", 3)
    );
    assert_eq!(batch.events[1].operation, Operation::Del);
    assert!(batch.events[1].snapshot.is_empty());
    let record: VdiRecord = batch.events[0].clone().record().unwrap();
    assert_eq!(
        (record.name_label.as_str(), record.virtual_size),
        ("v", 1 << 40)
    );
}
