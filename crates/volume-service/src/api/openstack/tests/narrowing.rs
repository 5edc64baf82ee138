//! Filters that few lists have, sums over lists, and metadata that is changed only as it was read.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::{Fixture, send};

/// The names that a list with this query shows, sorted.
async fn names(
    fixture: &Fixture,
    token: &str,
    version: &str,
    query: &str,
) -> Result<Vec<String>, u16> {
    let path = format!("/v3/volumes?{query}");
    let answer = fixture
        .call_as(token, version, Method::GET, &path, Value::Null)
        .await;
    if answer.status != 200 {
        return Err(answer.status);
    }
    let listed = answer.json()["volumes"].as_array().expect("a list").clone();
    let mut names: Vec<String> = listed
        .iter()
        .map(|volume| volume["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn lists_are_narrowed_by_times_and_by_what_administrators_ask() {
    let fixture = Fixture::new().await;
    fixture.make_volume("one").await;
    fixture.advance_s(60);
    let two = fixture.make_volume("two").await;
    let renamed = json!({"volume": {"description": "changed"}});
    let path = format!("/v3/volumes/{two}");
    assert_eq!(fixture.call(Method::PUT, &path, renamed).await.status, 200);
    let action = format!("{path}/action");
    let image = json!({"os-set_image_metadata": {"metadata": {"os": "linux"}}});
    assert_eq!(fixture.call(Method::POST, &action, image).await.status, 200);
    // They were made at 07:00:00.123456 and a minute later.
    let token = &fixture.token;
    for (query, expected) in [
        ("created_at=gt:2026-11-22T07:00:30", vec!["two"]),
        ("created_at=lt:2026-11-22T07:00:30Z", vec!["one"]),
        (
            "created_at=gte:2026-11-22T07:00:00,lte:2026-11-22T07:00:30",
            vec!["one"],
        ),
        ("created_at=neq:2026-11-22T07:00:00.123456", vec!["two"]),
        ("created_at=eq:2026-11-22T07:00:00.123456", vec!["one"]),
        ("created_at=gt:2026-11-21", vec!["one", "two"]),
        ("updated_at=gt:2026-11-21", vec!["two"]),
        ("updated_at=neq:2026-11-21", vec!["two"]),
        ("glance_metadata=%7B'os':'linux'%7D", vec!["two"]),
        ("host=xensm@nova", vec![]),
        ("host=elsewhere", vec![]),
        ("user_id=nobody", vec![]),
        ("snapshot_id=x", vec![]),
        ("source_volid=0b7a4f9c-8b1f-4dd3-9d6c-2f1c4b1c7b6a", vec![]),
        ("group_id=0b7a4f9c-8b1f-4dd3-9d6c-2f1c4b1c7b6a", vec![]),
        ("migration_status=migrating", vec![]),
        ("color=red", vec![]),
    ] {
        let found = names(&fixture, token, "3.71", query).await;
        assert_eq!(
            found,
            Ok(expected.iter().map(|name| (*name).to_owned()).collect()),
            "{query}"
        );
    }
    for query in [
        "created_at=2026-11-22",
        "created_at=ge:2026-11-22",
        "updated_at=gt:x",
        "bootable=maybe",
    ] {
        assert_eq!(
            names(&fixture, token, "3.71", query).await,
            Err(400),
            "{query}"
        );
    }
    // Before 3.60 they filter nothing.
    let both = Ok(vec!["one".to_owned(), "two".to_owned()]);
    assert_eq!(
        names(&fixture, token, "3.59", "created_at=gt:x").await,
        both
    );
    let insider = fixture.insider("member").await;
    assert_eq!(
        names(&fixture, &insider, "3.71", "user_id=nobody").await,
        Err(400)
    );
    assert_eq!(
        names(&fixture, &insider, "3.30", "user_id=nobody").await,
        both
    );
}

#[tokio::test]
async fn a_summary_counts_what_a_list_would_show() {
    let fixture = Fixture::new().await;
    for (name, size, value) in [("one", 1, "a"), ("two", 2, "b"), ("three", 3, "a")] {
        let body = json!({"volume": {"name": name, "size": size, "volume_type": "gold", "metadata": {"k": value}}});
        assert_eq!(
            fixture.call(Method::POST, "/v3/volumes", body).await.status,
            202
        );
    }
    let summary = async |version: &str, token: &str, query: &str| {
        let path = format!("/v3/volumes/summary?{query}");
        let answer = fixture
            .call_as(token, version, Method::GET, &path, Value::Null)
            .await;
        (answer.status, answer.json()["volume-summary"].clone())
    };
    let token = &fixture.token;
    assert_eq!(
        summary("3.71", token, "").await,
        (
            200,
            json!({"total_count": 3, "total_size": 6, "metadata": {"k": ["a", "b"]}})
        )
    );
    assert_eq!(
        summary("3.12", token, "").await,
        (200, json!({"total_count": 3, "total_size": 6}))
    );
    let (stranger, _) = fixture.other_user("stranger", "member").await;
    let nothing = json!({"total_count": 0, "total_size": 0, "metadata": {}});
    assert_eq!(
        summary("3.71", &stranger, "all_tenants=1").await,
        (200, nothing.clone())
    );
    assert_eq!(
        summary("3.71", token, "all_tenants=1&name=two").await.1["total_size"],
        2
    );
    for query in ["status=flying", "color=red"] {
        let found = summary("3.71", token, query).await;
        assert_eq!(found, (200, nothing.clone()), "{query}");
    }
    assert_eq!(summary("3.11", token, "").await.0, 404);
}

#[tokio::test]
async fn metadata_is_changed_only_as_it_was_read() {
    let fixture = Fixture::new().await;
    let id = fixture.make_volume("one").await;
    let path = format!("/v3/volumes/{id}/metadata");
    let read = fixture.call(Method::GET, &path, Value::Null).await;
    let tag = read.header("etag").to_owned();
    assert_eq!(tag.len(), 32, "{tag:?}");
    let put = async |version: &str, path: &str, tag: &str, body: Value| {
        let version = format!("volume {version}");
        let headers = [
            ("x-auth-token", fixture.token.as_str()),
            ("openstack-api-version", version.as_str()),
            ("if-match", tag),
        ];
        let answer = send(
            &fixture.volume,
            Method::PUT,
            path,
            &headers,
            body.to_string(),
        )
        .await;
        (answer.status, answer.text)
    };
    let all = json!({"metadata": {"a": "1"}});
    assert_eq!(put("3.71", &path, "\"stale\"", all.clone()).await.0, 412);
    assert_eq!(put("3.14", &path, "\"stale\"", all.clone()).await.0, 200);
    assert_eq!(
        put("3.71", &path, &tag, all.clone()).await.0,
        412,
        "it changed since"
    );
    let read = fixture.call(Method::GET, &path, Value::Null).await;
    let tag = format!("\"{}\"", read.header("etag"));
    let one = json!({"meta": {"b": "2"}});
    let key = format!("{path}/b");
    assert_eq!(put("3.71", &key, &tag, one.clone()).await.0, 200);
    assert_eq!(put("3.71", &key, &tag, one).await.0, 412);
    let old = fixture
        .call_as(&fixture.token, "3.14", Method::GET, &path, Value::Null)
        .await;
    assert_eq!(old.header("etag"), "");
}
