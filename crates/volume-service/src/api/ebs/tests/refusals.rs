//! What is refused, and in which words.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::scene::{OWNER, Scene, Signer, indices, refusal, refused};
use crate::api::ebs::is_protected;
use crate::api::ebs::route::{OPERATIONS, Verb};
use crate::api::fixture::{Fixture, send};
use crate::app::direct::BLOCK_BYTES;
use crate::driver::Trouble;
use crate::model::id::SnapshotId;

#[tokio::test]
async fn a_snapshot_that_has_no_content_is_not_there() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let body = json!({"snapshot": {"volume_id": volume}});
    let made = scene
        .fixture
        .call(Method::POST, "/v3/snapshots", body)
        .await;
    let id = made.json()["snapshot"]["id"].clone();
    let id: SnapshotId = id.as_str().expect("an id").parse().expect("an id");
    let pending = id.ec2_id();
    for path in ["blocks", "blocks/0"] {
        let path = format!("/snapshots/{pending}/{path}");
        let answer = scene.get(&path, &[("blockToken", "invalid")]).await;
        let words = format!("The snapshot '{pending}' does not exist.");
        let expected = refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", &words);
        assert_eq!((answer.status, refusal(&answer)), (404, expected));
    }
}

#[tokio::test]
async fn what_the_pool_says_is_said_in_words_of_ebs() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let (snapshot, _) = scene.snapshot(&volume, &[(0, b'a')]).await;
    let path = format!("/snapshots/{snapshot}/blocks");
    for (trouble, status, exception, reason) in [
        (
            Trouble::Gone,
            404,
            "ResourceNotFoundException",
            "SNAPSHOT_NOT_FOUND",
        ),
        (
            Trouble::Unsupported,
            400,
            "ValidationException",
            "INVALID_DEPENDENCY_REQUEST",
        ),
        (
            Trouble::Busy,
            400,
            "RequestThrottledException",
            "RESOURCE_LEVEL_THROTTLE",
        ),
        (Trouble::Unreachable, 503, "ServiceUnavailableException", ""),
    ] {
        *scene.bytes.trouble.lock().unwrap() = Some(trouble);
        let answer = scene.get(&path, &[]).await;
        let (found, why, words) = refusal(&answer);
        let expected = (status, exception, reason);
        assert_eq!((answer.status, found.as_str(), why.as_str()), expected);
        assert!(!words.is_empty());
    }
    *scene.bytes.trouble.lock().unwrap() = None;
    let listed = scene.get(&path, &[]).await;
    assert_eq!(indices(&listed, "Blocks"), [0]);
    // A process that was given no mover says so.
    let plain = Fixture::new().await;
    let bare = Scene {
        bytes: Arc::default(),
        fixture: plain,
    };
    let volume = bare.volume().await;
    let (snapshot, _) = bare.snapshot(&volume, &[]).await;
    let answer = bare
        .get(&format!("/snapshots/{snapshot}/blocks"), &[])
        .await;
    assert_eq!(refusal(&answer).1, "INVALID_DEPENDENCY_REQUEST");
}

#[tokio::test]
async fn what_breaks_the_model_is_refused_without_words() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let (snapshot, _) = scene.snapshot(&volume, &[(0, b'a')]).await;
    let long = "A".repeat(257);
    let blocks = format!("/snapshots/{snapshot}/blocks");
    let changed = format!("/snapshots/{snapshot}/changedblocks");
    for (path, query) in [
        (blocks.as_str(), ("maxResults", "99")),
        (&blocks, ("maxResults", "10001")),
        (&blocks, ("maxResults", "x")),
        (&blocks, ("startingBlockIndex", "-1")),
        (&blocks, ("startingBlockIndex", "2147483648")),
        (&blocks, ("pageToken", "a b")),
        (&blocks, ("pageToken", long.as_str())),
        (&changed, ("firstSnapshotId", "vol-0")),
        (&format!("{blocks}/0"), ("blockToken", "")),
        (&format!("{blocks}/0"), ("blockToken", "a-b")),
        (&format!("{blocks}/-1"), ("blockToken", "AAAA")),
        (&format!("{blocks}/x"), ("blockToken", "AAAA")),
        ("/snapshots/snap-XYZ/blocks", ("maxResults", "100")),
    ] {
        let answer = scene.get(path, &[query]).await;
        let expected = refused("ValidationException", "", "");
        assert_eq!(
            (answer.status, refusal(&answer)),
            (400, expected),
            "{path} {query:?}"
        );
        assert_eq!(answer.text, "{}");
    }
    for (method, path, status) in [
        (Method::GET, format!("/snapshots/{snapshot}"), 404),
        (Method::DELETE, blocks.clone(), 405),
    ] {
        let answer = scene.ask_as(OWNER, method, &path, &[], b"").await;
        let exception = refusal(&answer).0;
        assert_eq!(
            (answer.status, exception.as_str()),
            (status, "UnknownOperationException")
        );
    }
    let too_large = vec![0; BLOCK_BYTES as usize + 1];
    let path = format!("{blocks}/0");
    let answer = scene
        .ask_as(OWNER, Method::PUT, &path, &[], &too_large)
        .await;
    assert_eq!(
        (answer.status, refusal(&answer).1.as_str()),
        (400, "INVALID_BLOCK")
    );
}

#[tokio::test]
async fn who_asks_must_be_known_and_allowed() {
    let scene = Scene::new().await;
    let volume = scene.volume().await;
    let (snapshot, _) = scene.snapshot(&volume, &[(0, b'a')]).await;
    let path = format!("/snapshots/{snapshot}/blocks");
    let listed = scene.get(&path, &[]).await.json();
    let token = listed["Blocks"][0]["BlockToken"].as_str().expect("a token");
    let block = format!("{path}/0");
    let unsigned = send(&scene.fixture.ec2, Method::GET, &path, &[], "").await;
    assert_eq!(
        (unsigned.status, refusal(&unsigned).0.as_str()),
        (403, "MissingAuthenticationTokenException")
    );
    for (signer, exception) in [
        (
            Signer {
                service: "ec2",
                ..OWNER
            },
            "AccessDeniedException",
        ),
        (
            Signer {
                secret: "wrong",
                ..OWNER
            },
            "InvalidSignatureException",
        ),
        (
            Signer {
                access_key: "AKIANOBODY0000000000",
                ..OWNER
            },
            "UnrecognizedClientException",
        ),
    ] {
        let answer = scene.ask_as(signer, Method::GET, &path, &[], b"").await;
        let found = refusal(&answer);
        assert_eq!((answer.status, found.0.as_str()), (403, exception));
    }
    // Another project's snapshot is not there, whatever token is shown, for an administrator too.
    for role in ["member", "admin"] {
        let (access_key, secret) = scene.key_of(role, None).await;
        let stranger = Signer {
            access_key: &access_key,
            secret: &secret,
            ..OWNER
        };
        for path in [&path, &block] {
            let query = [("blockToken", token)];
            let answer = scene.ask_as(stranger, Method::GET, path, &query, b"").await;
            assert_eq!(answer.status, 404, "{role} {path}: {}", answer.text);
        }
    }
    // A reader may look which blocks there are, and not into them.
    let project = scene.fixture.project.clone();
    let (access_key, secret) = scene.key_of("reader", Some(&project)).await;
    let reader = Signer {
        access_key: &access_key,
        secret: &secret,
        ..OWNER
    };
    let listed = scene.ask_as(reader, Method::GET, &path, &[], b"").await;
    assert_eq!(indices(&listed, "Blocks"), [0]);
    let query = [("blockToken", token)];
    let answer = scene.ask_as(reader, Method::GET, &block, &query, b"").await;
    let found = refusal(&answer);
    assert_eq!(
        (answer.status, found.0.as_str(), found.1.as_str()),
        (403, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT")
    );
}

#[tokio::test]
async fn every_operation_that_is_not_signed_is_refused() {
    let scene = Scene::new().await;
    let names: BTreeSet<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(names.len(), 6);
    for operation in OPERATIONS {
        let method = match operation.method {
            Verb::Get => Method::GET,
            Verb::Put => Method::PUT,
            Verb::Post => Method::POST,
        };
        let path = operation
            .path
            .replace("{snapshot}", "snap-0")
            .replace("{block}", "0");
        let answer = send(&scene.fixture.ec2, method, &path, &[], "").await;
        assert_eq!(answer.status, 403, "{}", operation.name);
    }
}

#[test]
fn a_body_needs_no_signature_where_nobody_can_change_it() {
    for (url, expected) in [
        ("https://ec2.example.org", true),
        ("http://127.0.0.1:8773", true),
        ("http://localhost:8773/", true),
        ("http://[::1]:8773", true),
        ("http://[::1]", true),
        ("http://10.0.0.1:8773", false),
        ("http://127.0.0.1.example.org:8773", false),
        ("http://ec2.example.org/127.0.0.1", false),
        ("http://", false),
        ("ftp://127.0.0.1", false),
    ] {
        assert_eq!(is_protected(url), expected, "{url}");
    }
}
