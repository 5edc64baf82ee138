use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;
use crate::Secret;

/// A filer that answers one call after the other so.
fn asked<T>(answers: &[&str], ask: impl FnOnce(&Client) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(Place {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        tls: None,
        authorization: Secret::new("Basic none"),
    });
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for body in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"</netapp>") {
                    let length = stream.read(&mut buffer).unwrap();
                    assert_ne!(length, 0);
                    request.extend_from_slice(&buffer[..length]);
                }
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 200 X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all((head + body).as_bytes()).unwrap();
            }
        });
        ask(&client)
    })
}

fn passed(results: &str) -> String {
    format!("<netapp version='1.180'><results status='passed'>{results}</results></netapp>")
}

/// What is not listed counts as gone, so a list is whole or none.
#[test]
fn a_list_is_whole_or_none() {
    for results in [
        "",
        "<num-records>1</num-records>",
        "<attributes-list/>",
        "<attributes-list><a/></attributes-list><num-records>2</num-records>",
        "<attributes-list><a/></attributes-list><num-records>-1</num-records>",
    ] {
        let answer = passed(results);
        let found = asked(&[&answer], |client| {
            client.records(None, "lun-get-iter", None)
        });
        assert!(found.is_err(), "{results}: {found:?}");
    }
    let pages = [
        passed(
            "<attributes-list><a/><b/></attributes-list><num-records>2</num-records><next-tag>x</next-tag>",
        ),
        passed("<num-records>0</num-records><next-tag>y</next-tag>"),
        passed("<attributes-list><c/></attributes-list><num-records>1</num-records><next-tag/>"),
    ];
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let found = asked(&pages, |client| client.records(None, "lun-get-iter", None));
    assert_eq!(found.unwrap().len(), 3);
    // One that goes on without end.
    let page = passed("<num-records>0</num-records><next-tag>x</next-tag>");
    let found = asked(&[page.as_str(); MAX_PAGES], |client| {
        client.records(None, "lun-get-iter", None)
    });
    assert!(
        matches!(found, Err(FilerError::TooMany { .. })),
        "{found:?}"
    );
}

/// What is no answer is told as such, and the filer's words fill no log, forge no line of it and tell no secret of ours.
#[test]
fn answers_are_checked() {
    let svm = Svm {
        name: "svm1".to_owned(),
        uuid: String::new(),
    };
    let make = call("lun-destroy", &[("path", "/vol/a/b")]);
    for answer in [
        "",
        "{}",
        "<html/>",
        "<netapp/>",
        "<netapp><results/></netapp>",
        "<netapp><results status='perhaps'/></netapp>",
        "<!DOCTYPE a [<!ENTITY x 'y'>]><netapp><results status='passed'/></netapp>",
    ] {
        let ended = asked(&[answer], |client| client.change(&svm, &make));
        assert!(
            matches!(ended, Err(FilerError::Malformed { .. })),
            "{answer}: {ended:?}"
        );
        // It may have been carried out.
        assert!(ended.unwrap_err().is_lost());
    }
    let reason = format!("bad&#10;2026 ERROR forged, {}", "very ".repeat(1 << 16));
    let answer =
        format!("<netapp><results status='failed' errno='13001' reason='{reason}'/></netapp>");
    let error = asked(&[&answer], |client| client.change(&svm, &make)).unwrap_err();
    assert_eq!(error.zapi_number(), Some(13_001));
    let text = error.chain_text();
    assert!(text.contains("bad 2026") && text.len() < 1000, "{text}");
    assert!(!error.without("forged").chain_text().contains("forged"));
}
