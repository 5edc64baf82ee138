use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;
use crate::Secret;

/// A filer that answers one question after the other so, and its questions.
fn asked<T>(answers: &[(u16, &str)], ask: impl FnOnce(&Client) -> T) -> (T, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(Place {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        tls: None,
        authorization: Secret::new("Basic none"),
    });
    std::thread::scope(|scope| {
        let served = scope.spawn(move || {
            let serve = |(status, body): &(u16, &str)| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let length = stream.read(&mut buffer).unwrap();
                    assert_ne!(length, 0);
                    request.extend_from_slice(&buffer[..length]);
                }
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all((head + body).as_bytes()).unwrap();
                let request = String::from_utf8_lossy(&request).into_owned();
                request.lines().next().unwrap_or_default().to_owned()
            };
            answers.iter().map(serve).collect::<Vec<_>>()
        });
        let answer = ask(&client);
        (answer, served.join().unwrap())
    })
}

/// What is not listed counts as gone, so a list is whole or none.
#[test]
fn a_list_is_whole_or_none() {
    for answer in [
        "",
        "null",
        "{}",
        r#"{"records": null}"#,
        r#"{"records": {"uuid": 1}}"#,
        r#"{"records": [{}], "_links": {"next": {"href": "http://127.0.0.1:1/api/storage/luns"}}}"#,
        r#"{"records": [{}], "_links": {"next": {"href": "//127.0.0.1:1/api/storage/luns"}}}"#,
        r#"{"records": [{}], "_links": {"next": {}}}"#,
    ] {
        let (found, _) = asked(&[(200, answer)], |client| {
            client.records("/storage/luns", &[])
        });
        assert!(found.is_err(), "{answer}: {found:?}");
    }
    let pages = [
        (
            200,
            r#"{"records": [{}, {}], "_links": {"next": {"href": "/api/storage/luns?start.index=2"}}}"#,
        ),
        (200, r#"{"records": [{}], "_links": {"next": null}}"#),
    ];
    let (found, questions) = asked(&pages, |client| client.records("/storage/luns", &[]));
    assert_eq!(found.unwrap().len(), 3);
    assert_eq!(questions[1], "GET /api/storage/luns?start.index=2 HTTP/1.1");
    // More on one page than there may be on all.
    let many = format!(r#"{{"records": [{}0]}}"#, "0,".repeat(MAX_RECORDS));
    let (found, _) = asked(&[(200, &many)], |client| {
        client.records("/storage/luns", &[])
    });
    assert!(matches!(found, Err(FilerError::TooMany { .. })));
}

/// What is no uuid becomes no part of a path.
#[test]
fn a_job_has_a_uuid() {
    let answer = r#"{"job": {"uuid": "../../svm/svms"}}"#;
    let (ended, questions) = asked(&[(202, answer)], |client| {
        client.change(Method::POST, "/storage/luns", &[], None)
    });
    assert!(
        matches!(ended, Err(FilerError::Malformed { .. })),
        "{ended:?}"
    );
    assert_eq!(questions.len(), 1);
}

/// The filer's words fill no log and forge no line of it, and tell no secret of ours.
#[test]
fn words_of_the_filer_are_short_and_plain() {
    let message = format!("bad\\n2026 ERROR forged, {}", "very ".repeat(1 << 16));
    let answer =
        format!(r#"{{"error": {{"code": "2", "message": "{message}"}}}}"#).replace("\\\\n", "\\n");
    let (ended, _) = asked(&[(400, &answer)], |client| client.get("/cluster", &[]));
    let error = ended.unwrap_err();
    let text = error.chain_text();
    assert!(text.contains("bad 2026") && text.len() < 1000, "{text}");
    let text = error.without("forged").chain_text();
    assert!(
        !text.contains("forged") && text.contains("(secret)"),
        "{text}"
    );
}
