//! Requests that are broken, foreign, stale or too large. Each gets a clear fault, and the service goes on.

use axum::Router;
use axum::routing::get;
use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::{Fixture, send};
use crate::api::request::{Api, frame};
use crate::auth::policy::Policies;

async fn post(fixture: &Fixture, body: impl Into<axum::body::Body>) -> (u16, Value) {
    let headers = [("x-auth-token", fixture.token.as_str())];
    let answer = send(&fixture.volume, Method::POST, "/v3/volumes", &headers, body).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn broken_bodies() {
    let fixture = Fixture::new().await;
    let malformed = json!({"badRequest": {"code": 400, "message": "Malformed request body"}});
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_object = format!(
        "{{\"volume\":{}1{}}}",
        "{\"a\":".repeat(500),
        "}".repeat(500)
    );
    let bodies: [Vec<u8>; 8] = [
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\"x\"".to_vec(),
        b"{\"volume\": {\"name\": \"\xff\xfe\"}}".to_vec(),
        deep.into_bytes(),
        deep_object.into_bytes(),
    ];
    for body in bodies {
        assert_eq!(post(&fixture, body).await, (400, malformed.clone()));
    }
    let (status, body) = post(&fixture, vec![b' '; 200_000]).await;
    assert_eq!(status, 413);
    assert_eq!(body["overLimit"]["code"], 413);
    let announced = [
        ("x-auth-token", fixture.token.as_str()),
        ("content-length", "99999999999"),
    ];
    let answer = send(
        &fixture.volume,
        Method::POST,
        "/v3/volumes",
        &announced,
        "{}",
    )
    .await;
    assert_eq!(answer.status, 413);
    let xml = [
        ("x-auth-token", fixture.token.as_str()),
        ("content-type", "application/xml"),
    ];
    let answer = send(
        &fixture.volume,
        Method::POST,
        "/v3/volumes",
        &xml,
        "<volume/>",
    )
    .await;
    assert_eq!(answer.status, 415);
    let (status, _) = post(&fixture, r#"{"volume": {"size": 1, "size": 2}}"#).await;
    assert_eq!(status, 400, "no flavor is called default");
}

#[tokio::test]
async fn absurd_fields() {
    let fixture = Fixture::new().await;
    let bodies = [
        json!({"volume": {"size": -1}}),
        json!({"volume": {"size": 0}}),
        json!({"volume": {"size": 1.5}}),
        json!({"volume": {"size": "x"}}),
        json!({"volume": {"size": 1e100}}),
        json!({"volume": {"size": u64::MAX}}),
        json!({"volume": {}}),
        json!({"volume": {"size": 1, "name": "x".repeat(256)}}),
        json!({"volume": {"size": 1, "availability_zone": "atlantis"}}),
        json!({"volume": {"size": 1, "metadata": {"k": "x".repeat(256)}}}),
        json!({"volume": {"size": 1, "metadata": {"": "x"}}}),
        json!({"volume": {"size": 1}, "extra": 1}),
        json!({"volumes": {"size": 1}}),
    ];
    for body in bodies {
        let (status, answer) = post(&fixture, body.to_string()).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(
            answer["badRequest"]["message"].is_string(),
            "{body}: {answer}"
        );
    }
    let body = json!({"volume": {"size": 1, "volume_type": "lead"}});
    let (status, answer) = post(&fixture, body.to_string()).await;
    let message = "Volume type lead could not be found.";
    let expected = json!({"itemNotFound": {"code": 404, "message": message}});
    assert_eq!((status, answer), (404, expected));
    let odd = json!({"volume": {"size": 1, "colour": "red"}});
    let strict = fixture.call(Method::POST, "/v3/volumes", odd).await;
    assert_eq!(strict.status, 400, "since 3.53 unknown fields are refused");
}

#[tokio::test]
async fn tokens_that_do_not_count() {
    let fixture = Fixture::new().await;
    let id = fixture.make_volume("mine").await;
    let (other, other_project) = fixture.other_user("tenant", "member").await;
    let path = format!("/v3/volumes/{id}");
    let missing = send(&fixture.volume, Method::GET, &path, &[], "").await;
    assert_eq!(missing.status, 401);
    insta::assert_snapshot!(
        missing.text,
        @r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#
    );
    for token in ["", "x", "../../etc/passwd", &"x".repeat(5000)] {
        let answer = fixture
            .call_as(token, "3.71", Method::GET, &path, Value::Null)
            .await;
        assert_eq!(answer.status, 401, "{token}");
    }
    let foreign = fixture
        .call_as(&other, "3.71", Method::GET, &path, Value::Null)
        .await;
    let message = format!("Volume {id} could not be found.");
    let expected = json!({"itemNotFound": {"code": 404, "message": message}});
    assert_eq!((foreign.status, foreign.json()), (404, expected));
    let listed = fixture
        .call_as(
            &other,
            "3.71",
            Method::GET,
            "/v3/volumes?all_tenants=1",
            Value::Null,
        )
        .await;
    assert_eq!(listed.json(), json!({"volumes": []}));
    let deleted = fixture
        .call_as(&other, "3.71", Method::DELETE, &path, Value::Null)
        .await;
    assert_eq!(deleted.status, 404);

    let url = format!("/v3/{}/volumes", fixture.project);
    let wrong_project = fixture
        .call_as(&other, "3.71", Method::GET, &url, Value::Null)
        .await;
    let expected = json!({"badRequest": {"code": 400, "message": "Malformed request url"}});
    assert_eq!(
        (wrong_project.status, wrong_project.json()),
        (400, expected)
    );
    let admins = format!("/v3/{other_project}/volumes");
    assert_eq!(
        fixture.call(Method::GET, &admins, Value::Null).await.status,
        200
    );

    let (reader, _) = fixture.other_user("watcher", "reader").await;
    let body = json!({"volume": {"size": 1, "volume_type": "gold"}});
    let refused = fixture
        .call_as(&reader, "3.71", Method::POST, "/v3/volumes", body)
        .await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["forbidden"]["code"], 403);
    let services = fixture
        .call_as(&other, "3.71", Method::GET, "/v3/os-services", Value::Null)
        .await;
    assert_eq!(services.status, 403);

    fixture.advance_s(3601);
    let expired = fixture.call(Method::GET, &path, Value::Null).await;
    assert_eq!(expired.status, 401);
}

#[tokio::test]
async fn versions_and_routes_that_do_not_exist() {
    let fixture = Fixture::new().await;
    let token = &fixture.token;
    let call = async |version: &str, path: &str| {
        fixture
            .call_as(token, version, Method::GET, path, Value::Null)
            .await
    };
    let range = call("3.72", "/v3/volumes").await;
    assert_eq!(range.status, 406);
    insta::assert_snapshot!(
        range.text,
        @r#"{"computeFault":{"code":406,"message":"Version 3.72 is not supported by the API. Minimum is 3.0 and maximum is 3.71."}}"#
    );
    assert_eq!(call("three", "/v3/volumes").await.status, 400);
    assert_eq!(call("3.26", "/v3/attachments").await.status, 404);
    assert_eq!(call("3.27", "/v3/attachments").await.status, 200);
    assert_eq!(call("3.2", "/v3/messages").await.status, 404);
    for path in [
        "/v2/volumes",
        "/v3/nothing",
        "/v3/x/nothing",
        "/x",
        "/v3/volumes/x/y/z",
        "//",
    ] {
        let answer = call("3.71", path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["itemNotFound"]["code"], 404, "{path}");
    }
    let method = fixture
        .call(Method::PATCH, "/v3/volumes", Value::Null)
        .await;
    assert_eq!(method.status, 405);
    assert_eq!(method.json()["badMethod"]["code"], 405);
    for id in ["x", "00000000-0000-0000-0000-000000000000", "%2e%2e", "%ff"] {
        let answer = call("3.71", &format!("/v3/volumes/{id}")).await;
        assert!(
            matches!(answer.status, 400 | 404),
            "{id}: {}",
            answer.status
        );
    }
}

/// A bug in a handler must answer 500 without detail and leave the server at work.
#[tokio::test]
async fn a_panic_answers_and_the_service_goes_on() {
    let fixture = Fixture::new().await;
    async fn broken() -> &'static str {
        panic!("a secret detail")
    }
    for (api, word) in [
        (Api::Volume, "computeFault"),
        (Api::Identity, "error"),
        (Api::Ec2, "InternalError"),
    ] {
        let routes = Router::new()
            .route("/broken", get(broken))
            .route("/whole", get(async || "ok"));
        let router = frame(api, fixture.service.clone(), routes);
        let answer = send(&router, Method::GET, "/broken", &[], "").await;
        assert_eq!(answer.status, 500);
        assert!(answer.text.contains(word), "{}", answer.text);
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        let after = send(&router, Method::GET, "/whole", &[], "").await;
        assert_eq!((after.status, after.text.as_str()), (200, "ok"));
    }
}

#[tokio::test]
async fn a_policy_file_takes_from_administrators_and_gives_nothing_elsewhere() {
    let text = r#"{"context_is_admin": "role:admin or role:member", "volume_extension:type_create": "!",
        "volume_extension:volume_type_access:addProjectAccess": "!", "volume_extension:services:index": "role:admin"}"#;
    let fixture = Fixture::under(Policies::parse(text).expect("a policy file")).await;
    let (member, _) = fixture.other_user("tenant", "member").await;

    let body = json!({"volume_type": {"name": "silver"}});
    let made = fixture.call(Method::POST, "/v3/types", body).await;
    assert_eq!(made.status, 403, "{}", made.text);
    let refusal = "Policy doesn't allow volume_extension:type_create to be performed.";
    assert_eq!(made.json()["forbidden"]["message"], refusal);
    let types = fixture.call(Method::GET, "/v3/types", Value::Null).await;
    let gold = types.json()["volume_types"][0]["id"].clone();
    let path = format!("/v3/types/{}/action", gold.as_str().expect("a type"));
    let body = json!({"addProjectAccess": {"project": "x"}});
    assert_eq!(fixture.call(Method::POST, &path, body).await.status, 403);

    // Whom the file makes an administrator is one here, where no rule says otherwise, and not of identities.
    let as_member = async |path: &str| {
        let get = fixture.call_as(&member, "3.71", Method::GET, path, Value::Null);
        get.await.status
    };
    assert_eq!(as_member("/v3/qos-specs").await, 200);
    assert_eq!(as_member("/v3/os-services").await, 403);
    let headers = [("x-auth-token", member.as_str())];
    for path in ["/v3/users", "/v3/role_assignments"] {
        let listed = send(&fixture.identity, Method::GET, path, &headers, "").await;
        assert_eq!(listed.status, 403, "{path}: {}", listed.text);
    }
}
