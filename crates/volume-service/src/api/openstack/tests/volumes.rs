//! Create, show, update, delete, metadata.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;

#[tokio::test]
async fn create_answers_as_cinder_does() {
    let fixture = Fixture::new().await;
    let path = format!("/v3/{}/volumes", fixture.project);
    let body = json!({"volume": {
        "name": " db ", "size": "2", "volume_type": "gold", "description": null, "metadata": {"k": "v"},
        "availability_zone": "nova"}});
    let answer = fixture.call(Method::POST, &path, body).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("openstack-api-version"), "volume 3.71");
    assert_eq!(answer.header("vary"), "OpenStack-API-Version");
    assert!(answer.header("x-openstack-request-id").starts_with("req-"));
    insta::assert_json_snapshot!("created_volume_3_71_admin", answer.json());
}

#[tokio::test]
async fn fields_depend_on_version_and_role() {
    let fixture = Fixture::new().await;
    let (token, _) = fixture.other_user("tenant", "member").await;
    let body = json!({"volume": {"size": 1, "volume_type": "gold"}});
    let fields = async |token: &str, version: &str| -> Vec<String> {
        let (post, path) = (Method::POST, "/v3/volumes");
        let answer = fixture
            .call_as(token, version, post, path, body.clone())
            .await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let volume = answer.json()["volume"]
            .as_object()
            .expect("a volume")
            .clone();
        volume.keys().cloned().collect()
    };
    let has = |fields: &[String], name: &str| fields.iter().any(|field| field == name);
    let oldest = fields(&token, "3.0").await;
    let newest = fields(&token, "3.71").await;
    let admins = fields(&fixture.token, "3.71").await;
    for (name, in_oldest, in_newest) in [
        ("id", true, true),
        ("group_id", false, true),
        ("shared_targets", false, true),
        ("volume_type_id", false, true),
        ("consumes_quota", false, true),
        ("provider_id", false, false),
        ("migration_status", false, false),
    ] {
        assert_eq!(has(&oldest, name), in_oldest, "{name} at 3.0");
        assert_eq!(has(&newest, name), in_newest, "{name} at 3.71");
        assert!(has(&admins, name), "{name} for administrators");
    }
    // Cinder's extensions add these to show and detail alone.
    for name in ["os-vol-tenant-attr:tenant_id", "os-vol-host-attr:host"] {
        assert!(!has(&admins, name), "{name} in the answer to a creation");
    }
}

#[tokio::test]
async fn a_volume_is_shown_updated_and_deleted() {
    let fixture = Fixture::new().await;
    let id = fixture.make_volume("one").await;
    let path = format!("/v3/volumes/{id}");
    let shown = fixture.call(Method::GET, &path, Value::Null).await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.json()["volume"]["name"], "one");
    assert_eq!(shown.json()["volume"]["status"], "creating");

    let body = json!({"volume": {"name": "two", "description": "d", "metadata": {"a": "b"}}});
    let updated = fixture.call(Method::PUT, &path, body).await;
    assert_eq!(updated.status, 200, "{}", updated.text);
    assert_eq!(updated.json()["volume"]["description"], "d");
    let attribute = "os-vol-tenant-attr:tenant_id";
    assert!(shown.json()["volume"].get(attribute).is_some());
    assert!(updated.json()["volume"].get(attribute).is_none());
    let body = json!({"volume": {"name": null}});
    let cleared = fixture.call(Method::PUT, &path, body).await;
    assert_eq!(cleared.json()["volume"]["name"], Value::Null);
    assert_eq!(cleared.json()["volume"]["description"], "d");
    let empty = fixture
        .call(Method::PUT, &path, json!({"volume": {}}))
        .await;
    assert_eq!(empty.status, 400);

    let refused = fixture
        .call(
            Method::DELETE,
            &format!("{path}?cascade=False&force=False"),
            Value::Null,
        )
        .await;
    assert_eq!(refused.status, 400, "a volume that is being made");
    let text = refused.json()["badRequest"]["message"]
        .as_str()
        .expect("a message")
        .to_owned();
    assert!(text.starts_with("Invalid volume: "), "{text}");
}

#[tokio::test]
async fn metadata_as_a_whole_and_by_key() {
    let fixture = Fixture::new().await;
    let id = fixture.make_volume("one").await;
    let path = format!("/v3/volumes/{id}/metadata");
    let call = async |method: Method, path: &str, body: Value| {
        let answer = fixture.call(method, path, body).await;
        (answer.status, answer.json())
    };
    let all = |value: Value| json!({ "metadata": value });
    let found = call(Method::POST, &path, all(json!({"a": "1"}))).await;
    assert_eq!(found, (200, all(json!({"a": "1"}))));
    let found = call(Method::POST, &path, all(json!({"b": "2"}))).await;
    assert_eq!(found, (200, all(json!({"a": "1", "b": "2"}))));
    let key = format!("{path}/b");
    let found = call(Method::PUT, &key, json!({"meta": {"b": "3"}})).await;
    assert_eq!(found, (200, json!({"meta": {"b": "3"}})));
    let found = call(Method::GET, &key, Value::Null).await;
    assert_eq!(found, (200, json!({"meta": {"b": "3"}})));
    assert_eq!(call(Method::DELETE, &key, Value::Null).await.0, 200);
    let message = format!("Volume {id} has no metadata with key b.");
    let missing = json!({"itemNotFound": {"code": 404, "message": message}});
    assert_eq!(
        call(Method::GET, &key, Value::Null).await,
        (404, missing.clone())
    );
    assert_eq!(
        call(Method::DELETE, &key, Value::Null).await,
        (404, missing)
    );
    let found = call(Method::PUT, &path, all(json!({"c": "4"}))).await;
    assert_eq!(found, (200, all(json!({"c": "4"}))));
    let other_key = call(Method::PUT, &key, json!({"meta": {"x": "3"}})).await;
    assert_eq!(other_key.0, 400);
    assert_eq!(
        call(Method::POST, &path, json!({"metadata": {"k": 1}}))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn what_is_not_built_is_refused_and_not_ignored() {
    let fixture = Fixture::new().await;
    let id = "0b7a4f9c-8b1f-4dd3-9d6c-2f1c4b1c7b6a";
    for (field, value, status) in [
        ("imageRef", json!(id), 400),
        ("image_id", json!(id), 400),
        ("backup_id", json!(id), 404),
        ("multiattach", json!(true), 400),
        ("group_id", json!(id), 404),
        ("consistencygroup_id", json!(id), 404),
    ] {
        let body = json!({"volume": {"size": 1, field: value}});
        let answer = fixture.call(Method::POST, "/v3/volumes", body).await;
        assert_eq!(answer.status, status, "{field}: {}", answer.text);
    }
    let id = fixture.make_volume("one").await;
    let path = format!("/v3/volumes/{id}/action");
    let unknown = fixture
        .call(Method::POST, &path, json!({"os-fly": {}}))
        .await;
    assert_eq!(unknown.status, 400);
    insta::assert_snapshot!(
        unknown.text,
        @r#"{"badRequest":{"code":400,"message":"There is no such action: os-fly. Verify the request body and Content-Type header and try again."}}"#
    );
    let backup = json!({"backup": {"volume_id": id}});
    for (path, body, status) in [("backups", backup, 503)] {
        let url = format!("/v3/{}/{path}", fixture.project);
        let listed = fixture
            .call(Method::GET, &format!("{url}/detail"), Value::Null)
            .await;
        assert_eq!(listed.status, 200, "{path}");
        let made = fixture.call(Method::POST, &url, body).await;
        assert_eq!(made.status, status, "{path}");
        let one = fixture
            .call(Method::GET, &format!("{url}/x"), Value::Null)
            .await;
        assert_eq!(one.status, 404, "{path}");
    }
}
