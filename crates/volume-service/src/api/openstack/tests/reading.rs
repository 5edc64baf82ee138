//! Discovery, lists, paging, filters, and the smaller resources.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::{Fixture, send};

async fn get(fixture: &Fixture, path: &str) -> Value {
    let answer = fixture.call(Method::GET, path, Value::Null).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

fn names(list: &Value) -> Vec<&str> {
    let volumes = list["volumes"].as_array().expect("volumes");
    volumes
        .iter()
        .filter_map(|volume| volume["name"].as_str())
        .collect()
}

#[tokio::test]
async fn discovery_needs_no_token() {
    let fixture = Fixture::new().await;
    let root = send(&fixture.volume, Method::GET, "/", &[], "").await;
    assert_eq!(root.status, 300);
    insta::assert_json_snapshot!("version_list", root.json());
    for path in ["/v3", "/v3/"] {
        let shown = send(&fixture.volume, Method::GET, path, &[], "").await;
        assert_eq!(shown.status, 200, "{path}");
        assert_eq!(shown.json(), root.json(), "{path}");
    }
    let health = send(&fixture.volume, Method::GET, "/healthz", &[], "").await;
    assert_eq!((health.status, health.text.as_str()), (200, "ok\n"));
    let metrics = send(&fixture.volume, Method::GET, "/metrics", &[], "").await;
    assert!(
        metrics
            .text
            .contains("xensm_http_requests_total{api=\"volume\""),
        "{}",
        metrics.text
    );
}

#[tokio::test]
async fn pages_follow_links_until_the_end() {
    let fixture = Fixture::new().await;
    for number in 0..7 {
        fixture.make_volume(&format!("v{number}")).await;
        fixture.advance_s(1);
    }
    let mut path = "/v3/volumes/detail?limit=3&sort=created_at:asc&with_count=true".to_owned();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let page = get(&fixture, &path).await;
        assert_eq!(page["count"], 7);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        let Some(next) = page["volumes_links"][0]["href"].as_str() else {
            break;
        };
        path = next
            .strip_prefix("http://127.0.0.1:8776")
            .expect("our base")
            .to_owned();
    }
    assert_eq!(seen, ["v0", "v1", "v2", "v3", "v4", "v5", "v6"]);
    // A page that is full leads on, even when nothing is behind it, as Tempest wants it.
    let full = get(&fixture, "/v3/volumes?limit=1&sort=name:desc&offset=6").await;
    assert_eq!(names(&full), ["v0"]);
    let next = full["volumes_links"][0]["href"].as_str().expect("a link");
    assert!(next.contains("&marker="), "{next}");

    let newest_first = get(&fixture, "/v3/volumes").await;
    assert_eq!(
        names(&newest_first),
        ["v6", "v5", "v4", "v3", "v2"],
        "the page size is 5"
    );
    let skipped = get(
        &fixture,
        "/v3/volumes?limit=2&offset=1&sort_key=name&sort_dir=asc",
    )
    .await;
    assert_eq!(names(&skipped), ["v1", "v2"]);
    let none = get(&fixture, "/v3/volumes?limit=0").await;
    assert_eq!(names(&none), [""; 0]);
    let project_link = format!("/v3/{}/volumes?limit=1", fixture.project);
    let page = get(&fixture, &project_link).await;
    let next = page["volumes_links"][0]["href"].as_str().expect("a link");
    assert!(
        next.contains(&format!("/v3/{}/volumes?limit=1&marker=", fixture.project)),
        "{next}"
    );
}

#[tokio::test]
async fn filters_as_cinders_defaults_allow_them() {
    let fixture = Fixture::new().await;
    fixture.make_volume("a").await;
    let b = fixture.make_volume("b").await;
    let tag = json!({"metadata": {"k": "v"}});
    let tagged = fixture
        .call(Method::POST, &format!("/v3/volumes/{b}/metadata"), tag)
        .await;
    assert_eq!(tagged.status, 200);
    for (query, expected) in [
        ("name=a", vec!["a"]),
        ("status=creating&sort=name:asc", vec!["a", "b"]),
        ("status=available", vec![]),
        ("status=no-such", vec![]),
        ("metadata=%7B'k':%20'v'%7D", vec!["b"]),
        ("metadata=%7B%22k%22:%22w%22%7D", vec![]),
        ("bootable=true", vec![]),
        ("bootable=false&name=b", vec!["b"]),
        ("availability_zone=nova&name=a", vec!["a"]),
        ("size=1&name=a", vec!["a"]),
        ("size=2", vec![]),
        ("group_id=x", vec![]),
        ("all_tenants=1&name=b", vec!["b"]),
        ("consumes_quota=false", vec![]),
    ] {
        let found = get(&fixture, &format!("/v3/volumes?{query}")).await;
        assert_eq!(names(&found), expected, "{query}");
    }
    // Before 3.2 everything is true that is not false.
    for (text, expected) in [("false", vec!["b"]), ("maybe", vec![])] {
        let query = format!("/v3/volumes?bootable={text}&name=b");
        let found = fixture
            .call_as(&fixture.token, "3.1", Method::GET, &query, Value::Null)
            .await;
        assert_eq!(names(&found.json()), expected, "{query}");
    }
    let (member, _) = fixture.other_user("tenant", "member").await;
    let get_as = async |token: &str, version: &str, path: &str| {
        fixture
            .call_as(token, version, Method::GET, path, Value::Null)
            .await
    };
    let path = "/v3/volumes?colour=red&all_tenants=1";
    let refused = get_as(&member, "3.71", path).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .text
            .contains("Invalid filters colour are found in query options.")
    );
    let old = get_as(&member, "3.30", path).await;
    assert_eq!(old.status, 200, "before 3.31 they are passed over");
    for version in ["3.0", "3.71"] {
        let found = get_as(&fixture.token, version, path).await;
        assert!(
            names(&found.json()).is_empty(),
            "an administrator's matches nothing"
        );
    }
    for (version, query, expected) in [
        ("3.71", "name~=b", vec!["b"]),
        ("3.71", "name~=B", vec![]),
        ("3.71", "name~=%25", vec![]),
        ("3.71", "name~=&name=a", vec!["a"]),
        ("3.33", "name~=b", vec![]),
    ] {
        let found = get_as(&fixture.token, version, &format!("/v3/volumes?{query}")).await;
        assert_eq!(names(&found.json()), expected, "{version} {query}");
    }
    let refused = get_as(&member, "3.71", "/v3/volumes?name~=b").await;
    assert_eq!(refused.status, 400, "it would have to be configured");
    for query in [
        "limit=-1",
        "limit=x",
        "offset=-1",
        "marker=x",
        "sort=password",
        "bootable=7",
    ] {
        let refused = fixture
            .call(Method::GET, &format!("/v3/volumes?{query}"), Value::Null)
            .await;
        assert_eq!(refused.status, 400, "{query}: {}", refused.text);
    }
}

#[tokio::test]
async fn the_smaller_resources() {
    let fixture = Fixture::new().await;
    fixture.make_volume("a").await;
    let project = &fixture.project;
    let types = get(&fixture, "/v3/types").await;
    insta::assert_json_snapshot!("volume_types", types);
    let id = types["volume_types"][0]["id"].as_str().expect("an id");
    let by_id = get(&fixture, &format!("/v3/types/{id}")).await;
    assert_eq!(by_id["volume_type"], types["volume_types"][0]);
    let no_default = fixture
        .call(Method::GET, "/v3/types/default", Value::Null)
        .await;
    assert_eq!(no_default.status, 404);
    insta::assert_json_snapshot!("limits", get(&fixture, "/v3/limits").await);
    let quota = get(&fixture, &format!("/v3/os-quota-sets/{project}?usage=True")).await;
    assert_eq!(quota["quota_set"]["volumes"]["in_use"], 1);
    let zones = get(&fixture, "/v3/os-availability-zone").await;
    assert_eq!(zones["availabilityZoneInfo"][0]["zoneName"], "nova");
    assert!(get(&fixture, "/v3/os-services").await["services"].is_array());
    assert_eq!(
        get(&fixture, "/v3/scheduler-stats/get_pools?detail=True").await,
        json!({"pools": []})
    );
    assert_eq!(get(&fixture, "/v3/messages").await, json!({"messages": []}));
    assert_eq!(
        get(&fixture, "/v3/attachments").await,
        json!({"attachments": []})
    );
    let extensions = get(&fixture, "/v3/extensions").await;
    let all = extensions["extensions"].as_array().expect("a list");
    let hosts = all.iter().find(|extension| extension["name"] == "Hosts");
    let shown = get(&fixture, "/v3/extensions/os-hosts").await;
    assert_eq!(Some(&shown["extension"]), hosts);
    let unknown = fixture
        .call(Method::GET, "/v3/extensions/os-nothing", Value::Null)
        .await;
    assert_eq!(unknown.status, 404);
    assert!(get(&fixture, "/v3/resource_filters").await["resource_filters"].is_array());
    let summary = get(&fixture, "/v3/volumes/summary").await;
    let expected = json!({"total_count": 1, "total_size": 1, "metadata": {}});
    assert_eq!(summary["volume-summary"], expected);
}
