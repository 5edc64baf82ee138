//! Groups and group types as clients see them: fields by version, refusals, lists.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;

/// A group type, and a group of it for volumes of type `gold`.
pub(super) async fn made(fixture: &Fixture) -> (String, String) {
    let body = json!({"group_type": {"name": "pairs", "group_specs": {"k": "v"}}});
    let answer = fixture.call(Method::POST, "/v3/group_types", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let made_type = answer.json()["group_type"]["id"].clone();
    let body = json!({"group": {
        "name": "pair", "group_type": "pairs", "volume_types": ["gold"]}});
    let answer = fixture.call(Method::POST, "/v3/groups", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let group = answer.json()["group"].clone();
    assert_eq!(keys(&group), ["id", "name"]);
    let text = |id: &Value| id.as_str().expect("an id").to_owned();
    (text(&made_type), text(&group["id"]))
}

/// A volume of the group.
pub(super) async fn member(fixture: &Fixture, group: &str) -> String {
    let body = json!({"volume": {"size": 1, "volume_type": "gold", "group_id": group}});
    let answer = fixture.call(Method::POST, "/v3/volumes", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let volume = answer.json()["volume"].clone();
    assert_eq!(volume["group_id"], group);
    assert_eq!(volume["consistencygroup_id"], Value::Null);
    let id = volume["id"].as_str().expect("an id").to_owned();
    fixture.settle(&id).await;
    id
}

pub(super) fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn groups_have_the_fields_of_each_version() {
    let fixture = Fixture::new().await;
    let (made_type, group) = made(&fixture).await;
    let volume = member(&fixture, &group).await;
    let member_token = fixture.insider("member").await;
    let oldest = [
        "availability_zone",
        "created_at",
        "description",
        "group_type",
        "id",
        "name",
        "status",
        "volume_types",
    ];
    for (version, query, token, more) in [
        ("3.13", "?list_volume=true", &fixture.token, &[][..]),
        (
            "3.14",
            "",
            &fixture.token,
            &["group_snapshot_id", "source_group_id"],
        ),
        (
            "3.25",
            "?list_volume=true",
            &fixture.token,
            &["group_snapshot_id", "source_group_id", "volumes"],
        ),
        (
            "3.58",
            "",
            &member_token,
            &["group_snapshot_id", "replication_status", "source_group_id"],
        ),
        (
            "3.58",
            "",
            &fixture.token,
            &[
                "group_snapshot_id",
                "project_id",
                "replication_status",
                "source_group_id",
            ],
        ),
    ] {
        let mut expected = oldest.to_vec();
        expected.extend(more);
        expected.sort_unstable();
        let path = format!("/v3/groups/{group}{query}");
        let shown = fixture
            .call_as(token, version, Method::GET, &path, Value::Null)
            .await;
        let shown = shown.json()["group"].clone();
        assert_eq!(keys(&shown), expected, "{version}");
        assert_eq!(shown["group_type"], made_type);
        let path = format!("/v3/groups/detail{query}");
        let listed = fixture
            .call_as(token, version, Method::GET, &path, Value::Null)
            .await;
        assert_eq!(listed.json()["groups"], json!([shown]), "{version}");
    }
    let path = format!("/v3/groups/{group}?list_volume=1");
    let shown = fixture.call(Method::GET, &path, Value::Null).await.json();
    assert_eq!(shown["group"]["volumes"], json!([volume]));
    let listed = fixture
        .call(Method::GET, "/v3/groups?name=pair", Value::Null)
        .await;
    assert_eq!(
        listed.json(),
        json!({"groups": [{"id": group, "name": "pair"}]})
    );
    for (part, found) in [("ai", 1), ("x", 0), ("%25", 0)] {
        let path = format!("/v3/groups?name~={part}");
        let listed = fixture.call(Method::GET, &path, Value::Null).await;
        let groups = listed.json()["groups"].clone();
        assert_eq!(groups.as_array().expect("a list").len(), found, "{part}");
    }
    let none = fixture
        .call(Method::GET, "/v3/groups?name=x", Value::Null)
        .await;
    assert_eq!(none.json(), json!({"groups": []}));
    let found = fixture
        .call(Method::GET, "/v3/groups?status=deleting", Value::Null)
        .await;
    assert_eq!(found.json(), json!({"groups": []}));
    for path in ["/v3/groups?sort=color", "/v3/groups?limit=x"] {
        let refused = fixture.call(Method::GET, path, Value::Null).await;
        assert_eq!(refused.status, 400, "{path}");
    }
    for (version, path, status) in [
        ("3.12", "/v3/groups", 404),
        ("3.10", "/v3/group_types", 404),
        ("3.30", "/v3/groups?status=available", 200),
    ] {
        let answer = fixture
            .call_as(&fixture.token, version, Method::GET, path, Value::Null)
            .await;
        assert_eq!(answer.status, status, "{version} {path}");
    }
}

#[tokio::test]
async fn bodies_are_checked_and_nothing_is_made_of_wrong_ones() {
    let fixture = Fixture::new().await;
    let (made_type, group) = made(&fixture).await;
    let volume = member(&fixture, &group).await;
    let good = json!({"group_type": made_type, "volume_types": ["gold"]});
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        json!({ "group": body })
    };
    let long = "x".repeat(256);
    let one = format!("/v3/groups/{group}");
    let action = format!("{one}/action");
    for (method, path, body, status) in [
        (Method::POST, "/v3/groups", json!({}), 400),
        (
            Method::POST,
            "/v3/groups",
            json!({"group": {"group_type": made_type}}),
            400,
        ),
        (
            Method::POST,
            "/v3/groups",
            with("volume_types", json!([])),
            400,
        ),
        (
            Method::POST,
            "/v3/groups",
            with("volume_types", json!("gold")),
            400,
        ),
        (
            Method::POST,
            "/v3/groups",
            with("volume_types", json!([1])),
            400,
        ),
        (
            Method::POST,
            "/v3/groups",
            with("volume_types", json!(["gold", "gold"])),
            400,
        ),
        (
            Method::POST,
            "/v3/groups",
            with("volume_types", json!(["none"])),
            404,
        ),
        (
            Method::POST,
            "/v3/groups",
            with("group_type", json!("none")),
            404,
        ),
        (
            Method::POST,
            "/v3/groups",
            with("group_type", json!("")),
            400,
        ),
        (Method::POST, "/v3/groups", with("name", json!(long)), 400),
        (Method::POST, "/v3/groups", with("color", json!("red")), 400),
        (
            Method::POST,
            "/v3/groups",
            with("availability_zone", json!("mars")),
            400,
        ),
        (Method::PUT, &one, json!({"group": {}}), 400),
        (Method::PUT, &one, json!({"group": {"name": 5}}), 400),
        (
            Method::PUT,
            &one,
            json!({"group": {"add_volumes": volume}}),
            400,
        ),
        (
            Method::PUT,
            &one,
            json!({"group": {"remove_volumes": "x"}}),
            400,
        ),
        (
            Method::PUT,
            "/v3/groups/x",
            json!({"group": {"name": "n"}}),
            404,
        ),
        (
            Method::POST,
            &action,
            json!({"delete": {"delete-volumes": "perhaps"}}),
            400,
        ),
        (Method::POST, &action, json!({"delete": {}}), 400),
        (
            Method::POST,
            &action,
            json!({"reset_status": {"status": "odd"}}),
            400,
        ),
        (
            Method::POST,
            &action,
            json!({"reset_status": {"status": ""}}),
            400,
        ),
        (Method::POST, &action, json!({"reset_status": {}}), 400),
        (
            Method::POST,
            &action,
            json!({"enable_replication": {}}),
            400,
        ),
        (
            Method::POST,
            &action,
            json!({"disable_replication": {}}),
            400,
        ),
        (
            Method::POST,
            &action,
            json!({"failover_replication": {}}),
            400,
        ),
        (
            Method::POST,
            &action,
            json!({"list_replication_targets": {}}),
            400,
        ),
        (Method::POST, &action, json!({"fly": {}}), 400),
        (
            Method::POST,
            "/v3/groups/action",
            json!({"create-from-src": {}}),
            400,
        ),
        (
            Method::POST,
            "/v3/groups/action",
            json!({"create-from-src": {"source_group_id": group, "group_snapshot_id": group}}),
            400,
        ),
        (
            Method::POST,
            "/v3/groups/action",
            json!({"create-from-src": {"group_snapshot_id": group}}),
            404,
        ),
        (
            Method::POST,
            "/v3/group_types",
            json!({"group_type": {}}),
            400,
        ),
        (
            Method::POST,
            "/v3/group_types",
            json!({"group_type": {"name": ""}}),
            400,
        ),
        (
            Method::POST,
            "/v3/group_types",
            json!({"group_type": {"name": "pairs"}}),
            409,
        ),
        (
            Method::POST,
            "/v3/group_types",
            json!({"group_type": {"name": "n", "is_public": "perhaps"}}),
            400,
        ),
    ] {
        let answer = fixture.call(method.clone(), path, body.clone()).await;
        assert_eq!(
            answer.status, status,
            "{method} {path} {body}: {}",
            answer.text
        );
    }
    let path = "/v3/groups/detail?list_volume=true";
    let listed = fixture.call(Method::GET, path, Value::Null).await.json();
    assert_eq!(listed["groups"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["groups"][0]["name"], "pair");
    assert_eq!(listed["groups"][0]["status"], "available");
    assert_eq!(listed["groups"][0]["volumes"], json!([volume]));
    let refused = fixture
        .call(Method::POST, &action, json!({"enable_replication": {}}))
        .await;
    let text = format!("Invalid group type: Group {group} is not a replication group type.");
    assert_eq!(refused.json()["badRequest"]["message"], text);
}

#[tokio::test]
async fn groups_are_changed_and_deleted() {
    let fixture = Fixture::new().await;
    let (_, group) = made(&fixture).await;
    let volume = member(&fixture, &group).await;
    let one = format!("/v3/groups/{group}");
    let out = json!({"group": {"name": " new ", "remove_volumes": format!("{volume},")}});
    assert_eq!(fixture.call(Method::PUT, &one, out).await.status, 202);
    let shown = fixture.call(Method::GET, &one, Value::Null).await.json();
    assert_eq!(shown["group"]["name"], "new");
    let back = json!({"group": {"add_volumes": volume}});
    assert_eq!(fixture.call(Method::PUT, &one, back).await.status, 202);
    let listed = format!("/v3/volumes?group_id={group}");
    let listed = fixture.call(Method::GET, &listed, Value::Null).await.json();
    assert_eq!(listed["volumes"][0]["id"], volume);
    let path = format!("/v3/volumes/{volume}");
    let alone = fixture.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!(alone.status, 400);
    let said = alone.json()["badRequest"]["message"].to_string();
    assert!(said.contains("must not belong to a group"), "{said}");
    let action = format!("{one}/action");
    for status in ["creating", "Error", "available"] {
        let body = json!({"reset_status": {"status": status}});
        assert_eq!(fixture.call(Method::POST, &action, body).await.status, 202);
        let shown = fixture.call(Method::GET, &one, Value::Null).await.json();
        assert_eq!(shown["group"]["status"], status.to_lowercase());
    }
    let whole = json!({"delete": {"delete-volumes": true}});
    assert_eq!(
        fixture
            .call(Method::POST, &action, whole.clone())
            .await
            .status,
        202
    );
    let shown = fixture.call(Method::GET, &one, Value::Null).await.json();
    assert_eq!(shown["group"]["status"], "deleting");
    let again = fixture.call(Method::POST, &action, whole).await;
    assert_eq!(again.status, 400);
}

#[tokio::test]
async fn group_types_and_their_specs() {
    let fixture = Fixture::new().await;
    let (id, _) = made(&fixture).await;
    let one = format!("/v3/group_types/{id}");
    let specs = format!("{one}/group_specs");
    let member = fixture.insider("member").await;
    let as_member = async |method: Method, path: &str, body: Value| {
        fixture.call_as(&member, "3.71", method, path, body).await
    };
    let shown = fixture.call(Method::GET, &one, Value::Null).await.json();
    assert_eq!(
        shown["group_type"],
        json!({"id": id, "name": "pairs", "description": null, "is_public": true, "group_specs": {"k": "v"}})
    );
    let shown = as_member(Method::GET, &one, Value::Null).await.json();
    assert_eq!(
        keys(&shown["group_type"]),
        ["description", "id", "is_public", "name"]
    );
    let added = json!({"group_specs": {"a": "b"}});
    let answer = fixture.call(Method::POST, &specs, added.clone()).await;
    assert_eq!((answer.status, answer.json()), (202, added));
    let key = format!("{specs}/a");
    let changed = fixture.call(Method::PUT, &key, json!({"a": "c"})).await;
    assert_eq!((changed.status, changed.json()), (200, json!({"a": "c"})));
    let all = fixture.call(Method::GET, &specs, Value::Null).await.json();
    assert_eq!(all, json!({"group_specs": {"k": "v", "a": "c"}}));
    let found = fixture.call(Method::GET, &key, Value::Null).await;
    assert_eq!(found.json(), json!({"a": "c"}));
    let renamed = json!({"group_type": {"description": "two of them"}});
    let renamed = fixture.call(Method::PUT, &one, renamed).await;
    assert_eq!(renamed.json()["group_type"]["description"], "two of them");
    for (method, path, body, status) in [
        (Method::PUT, &key, json!({"x": "c"}), 400),
        (Method::PUT, &key, json!({"a": "c", "x": "d"}), 400),
        (
            Method::POST,
            &specs,
            json!({"group_specs": {"a b": "c"}}),
            400,
        ),
        (Method::PUT, &one, json!({"group_type": {}}), 400),
        (
            Method::PUT,
            &one,
            json!({"group_type": {"name": "  "}}),
            400,
        ),
        (Method::DELETE, &one, Value::Null, 400),
        (Method::DELETE, &key, Value::Null, 202),
        (Method::DELETE, &key, Value::Null, 404),
        (Method::GET, &key, Value::Null, 404),
        (
            Method::GET,
            &"/v3/group_types/default".to_owned(),
            Value::Null,
            404,
        ),
        (
            Method::GET,
            &"/v3/group_types/x".to_owned(),
            Value::Null,
            404,
        ),
    ] {
        let answer = fixture.call(method.clone(), path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    let body = json!({"group_specs": {"a": "b"}});
    assert_eq!(as_member(Method::POST, &specs, body).await.status, 403);
    assert_eq!(
        as_member(Method::GET, &specs, Value::Null).await.status,
        403
    );
    let listed = fixture
        .call(
            Method::GET,
            "/v3/group_types?is_public=none&sort=name:asc",
            Value::Null,
        )
        .await;
    assert_eq!(listed.json()["group_types"][0]["name"], "pairs");
}
