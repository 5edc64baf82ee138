//! QoS specs: made, changed, referred to by types, refused.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::{Answer, Fixture};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

async fn ask(fixture: &Fixture, method: Method, path: &str, body: Value) -> Answer {
    let path = format!("/v3/qos-specs{path}");
    fixture.call(method, &path, body).await
}

/// Asks for something that must be answered with a status, and returns the body.
async fn want(fixture: &Fixture, what: (Method, &str, Value), status: u16) -> Value {
    let (method, path, body) = what;
    let answer = ask(fixture, method.clone(), path, body.clone()).await;
    assert_eq!(
        answer.status, status,
        "{method} {path} {body}: {}",
        answer.text
    );
    answer.json()
}

async fn made(fixture: &Fixture, fields: Value) -> String {
    let made = want(fixture, (POST, "", json!({ "qos_specs": fields })), 200).await;
    made["qos_specs"]["id"].as_str().expect("an id").to_owned()
}

async fn type_id(fixture: &Fixture) -> String {
    let list = fixture.call(GET, "/v3/types", Value::Null).await.json();
    let id = list["volume_types"][0]["id"].as_str();
    id.expect("an id").to_owned()
}

#[tokio::test]
async fn figures_are_kept_changed_and_removed() {
    let fixture = Fixture::new().await;
    let body = json!({"qos_specs": {"name": " fast ", "consumer": "both", "read_iops_sec": "9"}});
    let answer = want(&fixture, (POST, "", body.clone()), 200).await;
    let id = answer["qos_specs"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let expected =
        json!({"id": id, "name": "fast", "consumer": "both", "specs": {"read_iops_sec": "9"}});
    assert_eq!(answer["qos_specs"], expected);
    assert_eq!(answer["links"].as_array().map(Vec::len), Some(2));
    want(&fixture, (POST, "", body), 409).await;
    let path = format!("/{id}");
    assert_eq!(want(&fixture, (GET, &path, Value::Null), 200).await, answer);
    for body in [
        json!({}),
        json!({"qos_specs": {}}),
        json!({"qos_specs": {"name": " "}}),
        json!({"qos_specs": {"name": 1}}),
        json!({"qos_specs": {"name": "x", "consumer": "nobody"}}),
        json!({"qos_specs": {"name": "x", "iops": 5}}),
        json!({"qos_specs": {"name": "x", "iops": "5".repeat(256)}}),
        json!({"qos_specs": {"name": "x"}, "more": 1}),
    ] {
        want(&fixture, (POST, "", body), 400).await;
    }
    for body in [
        json!({}),
        json!({"qos_specs": {"a": 1}}),
        json!({"qos_specs": {"consumer": "nobody"}}),
    ] {
        want(&fixture, (PUT, &path, body), 400).await;
    }
    assert_eq!(want(&fixture, (GET, &path, Value::Null), 200).await, answer);

    let change = json!({"qos_specs": {"consumer": "front-end", "a": "1", "b": "2"}});
    assert_eq!(
        want(&fixture, (PUT, &path, change.clone()), 200).await,
        change
    );
    let keys = |keys: &[&str]| json!({ "keys": keys });
    let delete_keys = format!("/{id}/delete_keys");
    want(&fixture, (PUT, &delete_keys, keys(&["a", "nothing"])), 404).await;
    want(&fixture, (PUT, &delete_keys, keys(&["a", "b"])), 202).await;
    want(&fixture, (PUT, &delete_keys, json!({"keys": [1]})), 400).await;
    want(&fixture, (PUT, &delete_keys, json!({})), 400).await;
    let shown = want(&fixture, (GET, &path, Value::Null), 200).await;
    let expected =
        json!({"id": id, "name": "fast", "consumer": "front-end", "specs": {"read_iops_sec": "9"}});
    assert_eq!(shown["qos_specs"], expected);
    want(&fixture, (DELETE, &path, Value::Null), 202).await;
    for (method, tail, body) in [
        (GET, "", Value::Null),
        (PUT, "", change),
        (DELETE, "", Value::Null),
        (PUT, "/delete_keys", keys(&["a"])),
        (GET, "/associations", Value::Null),
        (GET, "/disassociate_all", Value::Null),
    ] {
        want(&fixture, (method, &format!("{path}{tail}"), body), 404).await;
    }
    want(&fixture, (GET, "/fast", Value::Null), 404).await;
}

#[tokio::test]
async fn types_refer_to_one_of_them_at_most() {
    let fixture = Fixture::new().await;
    let (first, second) = (
        made(&fixture, json!({"name": "a"})).await,
        made(&fixture, json!({"name": "b"})).await,
    );
    let gold = type_id(&fixture).await;
    let associate = format!("/{first}/associate?vol_type_id={gold}");
    want(&fixture, (GET, &associate, Value::Null), 202).await;
    want(&fixture, (GET, &associate, Value::Null), 202).await;
    let other = format!("/{second}/associate?vol_type_id={gold}");
    want(&fixture, (GET, &other, Value::Null), 400).await;
    for (tail, status) in [
        (format!("/{first}/associate"), 400),
        (format!("/{first}/disassociate"), 400),
        (format!("/{first}/associate?vol_type_id={UNKNOWN}"), 404),
        (format!("/{first}/disassociate?vol_type_id={UNKNOWN}"), 404),
        (format!("/{UNKNOWN}/associate?vol_type_id={gold}"), 404),
    ] {
        want(&fixture, (GET, &tail, Value::Null), status).await;
    }
    let list = want(
        &fixture,
        (GET, &format!("/{first}/associations"), Value::Null),
        200,
    )
    .await;
    let expected = json!([{"association_type": "volume_type", "id": gold, "name": "gold"}]);
    assert_eq!(list["qos_associations"], expected);
    let shown = fixture
        .call(GET, &format!("/v3/types/{gold}"), Value::Null)
        .await;
    assert_eq!(shown.json()["volume_type"]["qos_specs_id"], json!(first));
    assert_eq!(shown.json()["volume_type"]["is_public"], true);

    let path = format!("/{first}");
    want(&fixture, (DELETE, &path, Value::Null), 400).await;
    want(
        &fixture,
        (DELETE, &format!("{path}?force=perhaps"), Value::Null),
        400,
    )
    .await;
    // Not its type: nothing to do.
    want(
        &fixture,
        (
            GET,
            &format!("/{second}/disassociate?vol_type_id={gold}"),
            Value::Null,
        ),
        202,
    )
    .await;
    want(&fixture, (DELETE, &path, Value::Null), 400).await;
    want(
        &fixture,
        (
            GET,
            &format!("/{first}/disassociate?vol_type_id={gold}"),
            Value::Null,
        ),
        202,
    )
    .await;
    let list = want(
        &fixture,
        (GET, &format!("/{first}/associations"), Value::Null),
        200,
    )
    .await;
    assert_eq!(list, json!({"qos_associations": []}));
    want(&fixture, (GET, &associate, Value::Null), 202).await;
    want(
        &fixture,
        (GET, &format!("/{first}/disassociate_all"), Value::Null),
        202,
    )
    .await;
    want(&fixture, (GET, &associate, Value::Null), 202).await;
    want(
        &fixture,
        (DELETE, &format!("{path}?force=true"), Value::Null),
        202,
    )
    .await;
    want(&fixture, (GET, &other, Value::Null), 202).await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let fixture = Fixture::new().await;
    for number in 0..6 {
        fixture.advance_s(1);
        let consumer = if number % 2 == 0 { "both" } else { "back-end" };
        let fields = json!({"name": format!("q{number}"), "consumer": consumer, "k": "v"});
        made(&fixture, fields).await;
    }
    let names = |list: &Value| -> String {
        let found = list["qos_specs"].as_array().expect("QoS specs");
        found
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect()
    };
    let page = want(&fixture, (GET, "", Value::Null), 200).await;
    assert_eq!(names(&page), "q5q4q3q2q1");
    let next = page["qos_specs_links"][0]["href"].as_str().expect("a link");
    let query = next.split_once("/qos-specs").expect("a path").1;
    let rest = want(&fixture, (GET, query, Value::Null), 200).await;
    assert_eq!(
        (names(&rest).as_str(), rest.get("qos_specs_links")),
        ("q0", None)
    );
    for (query, expected) in [
        ("?consumer=both", "q4q2q0"),
        ("?name=q3", "q3"),
        ("?id=none", ""),
        ("?consumer=nobody", ""),
        ("?sort=name:asc&limit=2", "q0q1"),
        ("?sort_key=consumer&sort_dir=asc&limit=3", "q1q3q5"),
    ] {
        let list = want(&fixture, (GET, query, Value::Null), 200).await;
        if query.contains("consumer&sort_dir") {
            assert_eq!(list["qos_specs"].as_array().map(Vec::len), Some(3));
        } else {
            assert_eq!(names(&list), expected, "{query}");
        }
    }
    want(&fixture, (GET, "?sort=color", Value::Null), 400).await;
    want(
        &fixture,
        (GET, &format!("?marker={UNKNOWN}"), Value::Null),
        404,
    )
    .await;
}

#[tokio::test]
async fn members_have_no_business_with_them() {
    let fixture = Fixture::new().await;
    let (token, _) = fixture.other_user("tenant", "member").await;
    let id = made(&fixture, json!({"name": "a"})).await;
    let gold = type_id(&fixture).await;
    for (method, path, body) in [
        (GET, String::new(), Value::Null),
        (POST, String::new(), json!({"qos_specs": {"name": "b"}})),
        (GET, format!("/{id}"), Value::Null),
        (PUT, format!("/{id}"), json!({"qos_specs": {"a": "b"}})),
        (DELETE, format!("/{id}"), Value::Null),
        (PUT, format!("/{id}/delete_keys"), json!({"keys": ["a"]})),
        (GET, format!("/{id}/associations"), Value::Null),
        (
            GET,
            format!("/{id}/associate?vol_type_id={gold}"),
            Value::Null,
        ),
        (
            GET,
            format!("/{id}/disassociate?vol_type_id={gold}"),
            Value::Null,
        ),
        (GET, format!("/{id}/disassociate_all"), Value::Null),
    ] {
        let path = format!("/v3/qos-specs{path}");
        let answer = fixture
            .call_as(&token, "3.71", method.clone(), &path, body)
            .await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
    }
}
