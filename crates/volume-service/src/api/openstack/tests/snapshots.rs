//! Snapshots: create, show, list, change, delete; volumes made from them, extended and reverted. No worker runs.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;

const NOWHERE: &str = "00000000-0000-4000-8000-000000000000";

async fn volume(fixture: &Fixture, name: &str) -> String {
    let id = fixture.make_volume(name).await;
    fixture.settle(&id).await;
    id
}

/// Takes a snapshot that is available at once.
async fn snapshot(fixture: &Fixture, volume: &str, name: &str) -> String {
    let body = json!({"snapshot": {"volume_id": volume, "name": name}});
    let answer = fixture.call(Method::POST, "/v3/snapshots", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["snapshot"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    fixture.settle_snapshot(&id).await;
    id
}

async fn message(fixture: &Fixture, method: Method, path: &str, body: Value) -> (u16, String) {
    let answer = fixture.call(method, path, body).await;
    let body = answer.json();
    let fault = body.as_object().and_then(|body| body.values().next());
    let text = fault
        .and_then(|fault| fault["message"].as_str())
        .unwrap_or_default();
    (answer.status, text.to_owned())
}

async fn make_in_use(fixture: &Fixture, volume: &str) {
    fixture.set_status(volume, "available", "in-use").await;
}

#[tokio::test]
async fn create_answers_as_cinder_does() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture, "base").await;
    let path = format!("/v3/{}/snapshots", fixture.project);
    let body = json!({"snapshot": {
        "volume_id": base, "name": " first ", "description": null, "metadata": {"k": "v"}, "force": true}});
    let answer = fixture.call(Method::POST, &path, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    insta::assert_json_snapshot!("created_snapshot_3_71", answer.json());
    let id = answer.json()["snapshot"]["id"].clone();
    let url = format!("/v3/snapshots/{}", id.as_str().expect("an id"));
    let shown = fixture.call(Method::GET, &url, Value::Null).await.json();
    insta::assert_json_snapshot!("shown_snapshot_3_71", shown);
    let oldest = fixture
        .call_as(&fixture.token, "3.0", Method::GET, &url, Value::Null)
        .await
        .json();
    for field in ["group_snapshot_id", "user_id", "consumes_quota"] {
        assert!(shown["snapshot"].get(field).is_some(), "{field} at 3.71");
        assert!(oldest["snapshot"].get(field).is_none(), "{field} at 3.0");
    }
}

#[tokio::test]
async fn a_volume_in_use_needs_force_until_it_does_not() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture, "base").await;
    make_in_use(&fixture, &base).await;
    let create = async |version: &str, force: Value| {
        let mut body = json!({"snapshot": {"volume_id": base}});
        if !force.is_null() {
            body["snapshot"]["force"] = force;
        }
        let token = &fixture.token;
        let (post, path) = (Method::POST, "/v3/snapshots");
        fixture.call_as(token, version, post, path, body).await
    };
    for (version, force, status) in [
        ("3.0", Value::Null, 400),
        ("3.65", json!(false), 400),
        ("3.65", json!("False"), 400),
        ("3.65", json!("maybe"), 400),
        ("3.65", json!(1), 400),
        ("3.65", json!(true), 202),
        ("3.65", json!("yes"), 202),
        ("3.66", Value::Null, 202),
        ("3.66", json!(true), 202),
        ("3.66", json!(false), 400),
    ] {
        let answer = create(version, force.clone()).await;
        assert_eq!(answer.status, status, "{version} {force}: {}", answer.text);
    }
    let refused = create("3.66", json!(false)).await;
    assert!(
        refused
            .text
            .contains("Since microversion 3.66 the 'force' flag is invalid"),
        "{}",
        refused.text
    );
    let refused = create("3.65", Value::Null).await.json();
    let text = refused["badRequest"]["message"]
        .as_str()
        .expect("a message");
    assert!(
        text.starts_with("Invalid volume: ") && text.contains("in-use"),
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused() {
    let fixture = Fixture::new().await;
    let base = fixture.make_volume("being made").await;
    for (body, status) in [
        (json!({}), 400),
        (json!({"snapshot": []}), 400),
        (json!({"snapshot": {}}), 400),
        (json!({"snapshot": {"volume_id": "x"}}), 400),
        (json!({"snapshot": {"volume_id": null}}), 404),
        (json!({"snapshot": {"volume_id": NOWHERE}}), 404),
        (json!({"snapshot": {"volume_id": base}}), 400),
        (
            json!({"snapshot": {"volume_id": base, "colour": "red"}}),
            400,
        ),
        (
            json!({"snapshot": {"volume_id": base, "name": "x".repeat(256)}}),
            400,
        ),
        (
            json!({"snapshot": {"volume_id": base, "metadata": {"k": 1}}}),
            400,
        ),
        (json!({"snapshot": {"volume_id": base}, "more": 1}), 400),
    ] {
        let (found, text) = message(&fixture, Method::POST, "/v3/snapshots", body.clone()).await;
        assert_eq!(found, status, "{body}: {text}");
        assert!(!text.is_empty(), "{body}");
    }
    let nothing = json!({"snapshot": {"volume_id": NOWHERE}});
    let (_, text) = message(&fixture, Method::POST, "/v3/snapshots", nothing).await;
    assert_eq!(text, format!("Volume {NOWHERE} could not be found."));
    let missing = format!("/v3/snapshots/{NOWHERE}");
    let found = message(&fixture, Method::GET, &missing, Value::Null).await;
    assert_eq!(
        found,
        (404, format!("Snapshot {NOWHERE} could not be found."))
    );
    let found = message(&fixture, Method::DELETE, "/v3/snapshots/x", Value::Null).await;
    assert_eq!(found, (404, "Snapshot x could not be found.".to_owned()));
}

#[tokio::test]
async fn lists_are_filtered_sorted_paged_and_counted() {
    let fixture = Fixture::new().await;
    let (one, two) = (volume(&fixture, "one").await, volume(&fixture, "two").await);
    for number in 0..6 {
        fixture.advance_s(1);
        let of = if number < 4 { &one } else { &two };
        let id = snapshot(&fixture, of, &format!("s{number}")).await;
        if number == 3 {
            let tag = json!({"metadata": {"k": "v"}});
            let path = format!("/v3/snapshots/{id}/metadata");
            fixture.call(Method::POST, &path, tag).await;
        }
    }
    let get = async |version: &str, query: &str| {
        let path = format!("/v3/snapshots{query}");
        let answer = fixture
            .call_as(&fixture.token, version, Method::GET, &path, Value::Null)
            .await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer.json()
    };
    let names = |list: &Value| -> Vec<String> {
        let snapshots = list["snapshots"].as_array().expect("snapshots");
        let names = snapshots.iter().filter_map(|one| one["name"].as_str());
        names.map(str::to_owned).collect()
    };
    let mut query = "/detail?limit=4&sort=created_at:asc&with_count=true".to_owned();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let page = get("3.71", &query).await;
        assert_eq!(page["count"], 6);
        seen.extend(names(&page));
        let Some(next) = page["snapshots_links"][0]["href"].as_str() else {
            break;
        };
        let rest = next.strip_prefix("http://127.0.0.1:8776/v3/snapshots");
        query = rest.expect("our base").to_owned();
    }
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4", "s5"]);
    for (query, expected) in [
        (
            format!("?volume_id={two}&sort_key=name&sort_dir=asc"),
            vec!["s4", "s5"],
        ),
        ("?volume_id=x".to_owned(), vec![]),
        ("?name=s2".to_owned(), vec!["s2"]),
        ("?status=available&limit=1".to_owned(), vec!["s5"]),
        ("?status=creating".to_owned(), vec![]),
        ("?status=no-such".to_owned(), vec![]),
        ("?metadata=%7B'k':%20'v'%7D".to_owned(), vec!["s3"]),
        ("?metadata=%7B'k':%20'w'%7D".to_owned(), vec![]),
        ("?availability_zone=nova&name=s1".to_owned(), vec!["s1"]),
        ("?availability_zone=atlantis".to_owned(), vec![]),
        ("?consumes_quota=false".to_owned(), vec![]),
        ("?limit=2&offset=1".to_owned(), vec!["s4", "s3"]),
        ("?all_tenants=1&name=s0".to_owned(), vec!["s0"]),
        ("?limit=0".to_owned(), vec![]),
    ] {
        assert_eq!(names(&get("3.71", &query).await), expected, "{query}");
    }
    // Not filters yet: passed over.
    assert_eq!(
        names(&get("3.21", "?metadata=%7B'k':%20'v'%7D&limit=1").await),
        ["s5"]
    );
    assert_eq!(get("3.30", "?with_count=true").await["count"], Value::Null);
    let summary = get("3.71", "?name=s3").await;
    let progress = "os-extended-snapshot-attributes:progress";
    assert_eq!(summary["snapshots"][0].get(progress), None);
    assert_eq!(
        get("3.71", "/detail?name=s3").await["snapshots"][0][progress],
        "100%"
    );
    for query in [
        "?sort=password",
        "?marker=x",
        "?limit=-1",
        "?with_count=maybe",
    ] {
        let path = format!("/v3/snapshots{query}");
        let (status, text) = message(&fixture, Method::GET, &path, Value::Null).await;
        assert_eq!(status, 400, "{query}: {text}");
    }
    let unknown = get("3.71", "?colour=red").await;
    assert_eq!(unknown["snapshots"], json!([]));
    let part = get("3.71", "?name~=s").await;
    assert_eq!(part["snapshots"], get("3.71", "").await["snapshots"]);
    let (other, _) = fixture.other_user("tenant", "member").await;
    let path = "/v3/snapshots?name~=s&colour=red";
    let refused = fixture
        .call_as(&other, "3.71", Method::GET, path, Value::Null)
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let listed = fixture
        .call_as(
            &other,
            "3.71",
            Method::GET,
            "/v3/snapshots?all_tenants=1",
            Value::Null,
        )
        .await;
    assert_eq!(listed.json(), json!({"snapshots": []}));
}

#[tokio::test]
async fn a_snapshot_is_changed_and_deleted() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture, "base").await;
    let id = snapshot(&fixture, &base, "one").await;
    let path = format!("/v3/snapshots/{id}");
    let body = json!({"snapshot": {"name": "two", "description": "d"}});
    let updated = fixture.call(Method::PUT, &path, body).await;
    assert_eq!(
        (updated.status, &updated.json()["snapshot"]["name"]),
        (200, &json!("two"))
    );
    for body in [
        json!({"snapshot": {}}),
        json!({"snapshot": {"metadata": {}}}),
        json!({}),
    ] {
        assert_eq!(fixture.call(Method::PUT, &path, body).await.status, 400);
    }
    let metadata = format!("{path}/metadata");
    let call = async |method: Method, path: &str, body: Value| {
        let answer = fixture.call(method, path, body).await;
        (answer.status, answer.json())
    };
    let all = |value: Value| json!({ "metadata": value });
    let both = all(json!({"a": "1", "b": "2"}));
    assert_eq!(
        call(Method::POST, &metadata, both.clone()).await,
        (200, both)
    );
    let key = format!("{metadata}/b");
    let meta = json!({"meta": {"b": "3"}});
    assert_eq!(
        call(Method::PUT, &key, meta.clone()).await,
        (200, meta.clone())
    );
    assert_eq!(call(Method::GET, &key, Value::Null).await, (200, meta));
    assert_eq!(call(Method::DELETE, &key, Value::Null).await.0, 200);
    let message_of_missing = format!("Snapshot {id} has no metadata with key b.");
    let missing = json!({"itemNotFound": {"code": 404, "message": message_of_missing}});
    assert_eq!(
        call(Method::DELETE, &key, Value::Null).await,
        (404, missing)
    );
    let only = all(json!({"c": "4"}));
    assert_eq!(
        call(Method::PUT, &metadata, only.clone()).await,
        (200, only)
    );

    let action = format!("{path}/action");
    for (name, status) in [
        ("os-reset_status", 400),
        ("os-update_snapshot_status", 400),
        ("os-fly", 400),
    ] {
        let (found, text) = message(&fixture, Method::POST, &action, json!({name: {}})).await;
        assert_eq!(found, status, "{name}: {text}");
    }
    let (reader, _) = fixture.other_user("watcher", "reader").await;
    let foreign = fixture
        .call_as(&reader, "3.71", Method::GET, &path, Value::Null)
        .await;
    assert_eq!(foreign.status, 404);

    // Its volume stays as long as it does.
    let of_volume = format!("/v3/volumes/{base}");
    let (status, text) = message(&fixture, Method::DELETE, &of_volume, Value::Null).await;
    assert_eq!(status, 400, "{text}");
    assert!(
        text.starts_with("Invalid volume: ") && text.contains("snapshots"),
        "{text}"
    );
    assert_eq!(call(Method::DELETE, &path, Value::Null).await.0, 202);
    let (status, text) = message(&fixture, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 400, "it is being deleted");
    assert!(text.starts_with("Invalid snapshot: "), "{text}");
    let shown = call(Method::GET, &path, Value::Null).await.1;
    assert_eq!(shown["snapshot"]["status"], "deleting");
}

#[tokio::test]
async fn a_volume_goes_with_its_snapshots_only_by_cascade() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture, "base").await;
    let id = snapshot(&fixture, &base, "one").await;
    let path = format!("/v3/volumes/{base}");
    for (query, status) in [
        ("", 400),
        ("?cascade=False&force=False", 400),
        ("?cascade=maybe", 400),
        ("?cascade=True", 202),
    ] {
        let url = format!("{path}{query}");
        let (found, text) = message(&fixture, Method::DELETE, &url, Value::Null).await;
        assert_eq!(found, status, "{query}: {text}");
    }
    let url = format!("/v3/snapshots/{id}");
    let shown = fixture.call(Method::GET, &url, Value::Null).await.json();
    assert_eq!(shown["snapshot"]["status"], "deleting");
}

#[tokio::test]
async fn volumes_are_made_from_snapshots_and_volumes() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture, "base").await;
    let source = snapshot(&fixture, &base, "one").await;
    let create = async |fields: Value| {
        let answer = fixture
            .call(Method::POST, "/v3/volumes", json!({ "volume": fields }))
            .await;
        (answer.status, answer.json())
    };
    let (status, made) = create(json!({"snapshot_id": source})).await;
    assert_eq!(status, 202, "{made}");
    let made = &made["volume"];
    assert_eq!(
        (&made["size"], &made["volume_type"]),
        (&json!(1), &json!("gold"))
    );
    assert_eq!(
        (&made["snapshot_id"], &made["source_volid"]),
        (&json!(source), &Value::Null)
    );
    let (status, made) = create(json!({"source_volid": base, "size": 3, "name": "copy"})).await;
    assert_eq!(status, 202, "{made}");
    let made = &made["volume"];
    assert_eq!(
        (&made["size"], &made["source_volid"]),
        (&json!(3), &json!(base))
    );
    let larger = made["id"].as_str().expect("an id").to_owned();
    fixture.settle(&larger).await;
    for (fields, status) in [
        (json!({"snapshot_id": NOWHERE}), 404),
        (json!({"source_volid": NOWHERE}), 404),
        (json!({"snapshot_id": "x"}), 400),
        (json!({"snapshot_id": 5}), 400),
        (json!({"snapshot_id": source, "source_volid": base}), 400),
        (
            json!({"snapshot_id": source, "availability_zone": "atlantis"}),
            400,
        ),
        (json!({"source_volid": larger, "size": 2}), 400),
        (json!({"snapshot_id": null, "source_volid": null}), 400),
    ] {
        let (found, body) = create(fields.clone()).await;
        assert_eq!(found, status, "{fields}: {body}");
    }
    let being_taken = json!({"snapshot": {"volume_id": larger}});
    let taken = fixture
        .call(Method::POST, "/v3/snapshots", being_taken)
        .await;
    let pending = taken.json()["snapshot"]["id"].clone();
    let (status, body) = create(json!({"snapshot_id": pending})).await;
    assert_eq!(status, 400, "{body}");
    let text = body["badRequest"]["message"].as_str().expect("a message");
    assert!(text.starts_with("Invalid snapshot: "), "{text}");
}

#[tokio::test]
async fn volumes_are_extended_and_reverted() {
    let fixture = Fixture::new().await;
    let base = volume(&fixture, "base").await;
    let (old, new) = (snapshot(&fixture, &base, "old").await, {
        fixture.advance_s(1);
        snapshot(&fixture, &base, "new").await
    });
    let path = format!("/v3/volumes/{base}/action");
    let act = async |version: &str, body: Value| {
        let answer = fixture
            .call_as(&fixture.token, version, Method::POST, &path, body)
            .await;
        let status = answer.status;
        (status, answer.text)
    };
    let revert = |id: &str| json!({"revert": {"snapshot_id": id}});
    for (version, body, expected) in [
        ("3.71", revert(&old), 400),
        ("3.71", revert(NOWHERE), 400),
        ("3.71", revert("x"), 400),
        ("3.71", json!({"revert": {}}), 400),
        ("3.71", json!({"revert": {"snapshot_id": 5}}), 400),
        ("3.39", revert(&new), 400),
        ("3.71", json!({"os-extend": {}}), 400),
        ("3.71", json!({"os-extend": {"new_size": 1}}), 400),
        ("3.71", json!({"os-extend": {"new_size": "x"}}), 400),
        ("3.71", json!({"os-extend": {"new_size": 3000}}), 400),
        (
            "3.71",
            json!({"os-extend": {"new_size": 2, "colour": 1}}),
            400,
        ),
        ("3.71", json!({"os-roll_detaching": {}}), 202),
        ("3.71", json!({"os-begin_detaching": {}}), 400),
        ("3.40", revert(&new), 202),
        ("3.71", revert(&new), 409),
        ("3.71", json!({"os-extend": {"new_size": 2}}), 400),
    ] {
        let (status, text) = act(version, body.clone()).await;
        assert_eq!(status, expected, "{version} {body}: {text}");
    }
    let shown = fixture
        .call(Method::GET, &format!("/v3/volumes/{base}"), Value::Null)
        .await;
    assert_eq!(shown.json()["volume"]["status"], "reverting");

    let other = volume(&fixture, "other").await;
    make_in_use(&fixture, &other).await;
    let path = format!("/v3/volumes/{other}/action");
    let body = json!({"os-extend": {"new_size": "2"}});
    let token = &fixture.token;
    let early = fixture
        .call_as(token, "3.41", Method::POST, &path, body.clone())
        .await;
    assert_eq!(early.status, 400, "{}", early.text);
    let online = fixture
        .call_as(token, "3.42", Method::POST, &path, body)
        .await;
    assert_eq!(online.status, 202, "{}", online.text);
    let usage = format!("/v3/os-quota-sets/{}?usage=True", fixture.project);
    let usage = fixture.call(Method::GET, &usage, Value::Null).await.json();
    let set = &usage["quota_set"];
    // Two volumes, one being extended by a GiB, and two snapshots.
    assert_eq!(
        (&set["gigabytes"]["in_use"], &set["snapshots"]["in_use"]),
        (&json!(5), &json!(2))
    );
    let limits = fixture
        .call(Method::GET, "/v3/limits", Value::Null)
        .await
        .json();
    assert_eq!(limits["limits"]["absolute"]["totalSnapshotsUsed"], 2);
}

#[tokio::test]
async fn a_volume_in_use_is_marked_as_detaching_and_back() {
    let fixture = Fixture::new().await;
    let id = volume(&fixture, "one").await;
    make_in_use(&fixture, &id).await;
    let path = format!("/v3/volumes/{id}");
    let action = format!("{path}/action");
    let act = async |name: &str| {
        fixture
            .call(Method::POST, &action, json!({name: {}}))
            .await
            .status
    };
    let status = async || {
        let shown = fixture.call(Method::GET, &path, Value::Null).await;
        shown.json()["volume"]["status"].clone()
    };
    assert_eq!(act("os-begin_detaching").await, 202);
    assert_eq!(status().await, "detaching");
    assert_eq!(act("os-begin_detaching").await, 400, "once is enough");
    assert_eq!(act("os-roll_detaching").await, 202);
    // This volume has no attachment, and its state says so again.
    assert_eq!(status().await, "available");
    assert_eq!(act("os-roll_detaching").await, 202, "nothing to take back");
}
