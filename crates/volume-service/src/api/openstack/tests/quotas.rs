//! Quota sets, quota classes and limits.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;

#[tokio::test]
async fn quota_sets_are_set_shown_and_removed() {
    let fixture = Fixture::new().await;
    fixture.make_volume("a").await;
    let (token, project) = fixture.other_user("tenant", "member").await;
    let path = format!("/v3/os-quota-sets/{project}");
    let body =
        json!({"quota_set": {"volumes": 3, "volumes_gold": "1", "groups": 2, "tenant_id": "x"}});
    let set = fixture.call(Method::PUT, &path, body).await;
    assert_eq!(set.status, 200, "{}", set.text);
    let set = set.json();
    assert_eq!(set["quota_set"].get("id"), None);
    let all = json!({
        "volumes": 3, "snapshots": 100_000, "gigabytes": -1, "per_volume_gigabytes": -1, "backups": 0, "backup_gigabytes": 0,
        "groups": 2, "volumes_gold": 1, "snapshots_gold": -1, "gigabytes_gold": -1,
    });
    assert_eq!(set["quota_set"], all);

    let small = json!({"volume": {"size": 1, "volume_type": "gold"}});
    let made = fixture
        .call_as(&token, "3.0", Method::POST, "/v3/volumes", small.clone())
        .await;
    assert_eq!(made.status, 202, "{}", made.text);
    let refused = fixture
        .call_as(&token, "3.0", Method::POST, "/v3/volumes", small)
        .await;
    assert_eq!((refused.status, refused.header("retry-after")), (413, "0"));
    assert_eq!(refused.json()["overLimit"]["code"], 413);
    assert!(refused.text.contains("'volumes_gold'"), "{}", refused.text);

    let own = fixture
        .call_as(
            &token,
            "3.0",
            Method::GET,
            &format!("{path}?usage=True"),
            Value::Null,
        )
        .await;
    let own = own.json();
    assert_eq!(own["quota_set"]["id"], json!(project));
    assert_eq!(
        own["quota_set"]["volumes_gold"],
        json!({"in_use": 1, "limit": 1, "reserved": 0})
    );
    let removed = fixture.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!((removed.status, removed.text.as_str()), (200, ""));
    let shown = fixture.call(Method::GET, &path, Value::Null).await.json();
    assert_eq!(shown["quota_set"]["volumes"], 10_000);
    let defaults = fixture
        .call(Method::GET, &format!("{path}/defaults"), Value::Null)
        .await
        .json();
    assert_eq!(defaults["quota_set"], shown["quota_set"]);
}

#[tokio::test]
async fn classes_are_what_projects_begin_with() {
    let fixture = Fixture::new().await;
    let (token, project) = fixture.other_user("tenant", "member").await;
    let path = "/v3/os-quota-class-sets/default";
    let body = json!({"quota_class_set": {"volumes": 4, "gigabytes_gold": "7"}});
    let set = fixture.call(Method::PUT, path, body).await;
    assert_eq!(set.status, 200, "{}", set.text);
    assert_eq!(set.json()["quota_class_set"]["gigabytes_gold"], 7);
    assert_eq!(set.json()["quota_class_set"].get("id"), None);
    let shown = fixture.call(Method::GET, path, Value::Null).await.json();
    assert_eq!(shown["quota_class_set"]["id"], "default");
    let limits = fixture
        .call_as(&token, "3.39", Method::GET, "/v3/limits", Value::Null)
        .await
        .json();
    assert_eq!(limits["limits"]["absolute"]["maxTotalVolumes"], 4);

    // Another project's limits, for administrators from 3.39 on.
    let quota = json!({"quota_set": {"volumes": 2}});
    fixture
        .call(Method::PUT, &format!("/v3/os-quota-sets/{project}"), quota)
        .await;
    let of_other = format!("/v3/limits?project_id={project}");
    for (version, most) in [("3.39", 2), ("3.38", 4)] {
        let limits = fixture
            .call_as(&fixture.token, version, Method::GET, &of_other, Value::Null)
            .await;
        assert_eq!(
            limits.json()["limits"]["absolute"]["maxTotalVolumes"],
            most,
            "{version}"
        );
    }
}

#[tokio::test]
async fn wrong_quotas_are_refused_and_change_nothing() {
    let fixture = Fixture::new().await;
    let (token, project) = fixture.other_user("tenant", "member").await;
    let path = format!("/v3/os-quota-sets/{project}");
    let class = "/v3/os-quota-class-sets/default";
    for body in [
        json!({}),
        json!({"quota_set": null}),
        json!({"quota_set": {}}),
        json!({"quota_set": {"volumes": 1}, "more": 1}),
        json!({"quota_set": {"volumes": "one"}}),
        json!({"quota_set": {"volumes": 1.5}}),
        json!({"quota_set": {"volumes": true}}),
        json!({"quota_set": {"volumes": null}}),
        json!({"quota_set": {"volumes": [1]}}),
        json!({"quota_set": {"volumes": -2}}),
        json!({"quota_set": {"volumes": 2_147_483_648_u64}}),
        json!({"quota_set": {"volumes": 1, "colours": 1}}),
    ] {
        let refused = fixture.call(Method::PUT, &path, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text);
        let of_class = body.to_string().replace("quota_set", "quota_class_set");
        let of_class: Value = serde_json::from_str(&of_class).expect("JSON");
        let refused = fixture.call(Method::PUT, class, of_class).await;
        assert_eq!(refused.status, 400, "class {body}: {}", refused.text);
    }
    let shown = fixture.call(Method::GET, &path, Value::Null).await.json();
    assert_eq!(shown["quota_set"]["volumes"], 10_000);
    let other = format!("/v3/os-quota-sets/{}", fixture.project);
    let set = json!({"quota_set": {"volumes": 1}});
    let set_class = json!({"quota_class_set": {"volumes": 1}});
    for (method, path, body) in [
        (Method::GET, other.as_str(), Value::Null),
        (Method::PUT, path.as_str(), set),
        (Method::DELETE, path.as_str(), Value::Null),
        (Method::GET, class, Value::Null),
        (Method::PUT, class, set_class),
    ] {
        let refused = fixture
            .call_as(&token, "3.71", method.clone(), path, body)
            .await;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text);
    }
}
