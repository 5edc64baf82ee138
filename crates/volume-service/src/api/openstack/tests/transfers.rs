//! Transfers by both paths, in the fields of each microversion.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;

async fn settled(fixture: &Fixture, name: &str) -> String {
    let id = fixture.make_volume(name).await;
    fixture.settle(&id).await;
    id
}

fn keys(object: &Value) -> Vec<&str> {
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
async fn both_paths_offer_and_give() {
    let fixture = Fixture::new().await;
    let (token, project) = fixture.other_user("taker", "member").await;
    let brief = ["id", "links", "name", "volume_id"];
    let old = ["created_at", "id", "links", "name", "volume_id"];
    let middle = [
        "created_at",
        "id",
        "links",
        "name",
        "no_snapshots",
        "volume_id",
    ];
    let new = [
        "accepted",
        "created_at",
        "destination_project_id",
        "id",
        "links",
        "name",
        "no_snapshots",
        "source_project_id",
        "volume_id",
    ];
    for (path, version, fields) in [
        ("/v3/os-volume-transfer", "3.0", &old[..]),
        ("/v3/volume-transfers", "3.55", &middle),
        ("/v3/volume-transfers", "3.71", &new),
    ] {
        let volume = settled(&fixture, "gift").await;
        let own = |method, path: String, body| {
            let token = fixture.token.as_str();
            let fixture = &fixture;
            async move { fixture.call_as(token, version, method, &path, body).await }
        };
        let body = json!({"transfer": {"volume_id": volume, "name": " gift "}});
        let made = own(Method::POST, path.to_owned(), body).await;
        assert_eq!(made.status, 202, "{}", made.text);
        let made = made.json()["transfer"].clone();
        let (id, key) = (made["id"].as_str().expect("an id"), &made["auth_key"]);
        assert_eq!(key.as_str().map(str::len), Some(16));
        assert_eq!(made["name"], "gift");
        let shown = own(Method::GET, format!("{path}/{id}"), Value::Null)
            .await
            .json();
        assert_eq!(keys(&shown["transfer"]), fields, "{version}");
        let listed = own(Method::GET, path.to_owned(), Value::Null).await.json();
        assert_eq!(keys(&listed["transfers"][0]), brief);
        let detail = own(Method::GET, format!("{path}/detail?name=gift"), Value::Null)
            .await
            .json();
        assert_eq!(detail["transfers"][0], shown["transfer"]);
        let none = own(Method::GET, format!("{path}?name=other"), Value::Null)
            .await
            .json();
        assert_eq!(none, json!({"transfers": []}));
        for (path, body, status) in [
            (format!("{path}/{id}"), Value::Null, 404),
            (
                format!("{path}/{id}/accept"),
                json!({"accept": {"auth_key": "wrong"}}),
                400,
            ),
            (
                format!("{path}/{id}/accept"),
                json!({"accept": {"auth_key": 17}}),
                400,
            ),
            (format!("{path}/{id}/accept"), json!({"accept": {}}), 400),
        ] {
            let method = if body.is_null() {
                Method::GET
            } else {
                Method::POST
            };
            let refused = fixture.call_as(&token, version, method, &path, body).await;
            assert_eq!(refused.status, status, "{path}: {}", refused.text);
        }
        let accept = json!({"accept": {"auth_key": key}});
        let path = format!("{path}/{id}/accept");
        let taken = fixture
            .call_as(&token, version, Method::POST, &path, accept)
            .await;
        assert_eq!(taken.status, 202, "{}", taken.text);
        assert_eq!(keys(&taken.json()["transfer"]), brief);
        let path = format!("/v3/volumes/{volume}");
        let volume = fixture.call(Method::GET, &path, Value::Null).await.json();
        assert_eq!(volume["volume"]["status"], "available");
        assert_eq!(
            volume["volume"]["os-vol-tenant-attr:tenant_id"],
            json!(project)
        );
    }
}

#[tokio::test]
async fn offers_are_taken_back_and_paged() {
    let fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let volume = settled(&fixture, name).await;
        let body = json!({"transfer": {"volume_id": volume, "name": name, "no_snapshots": true}});
        let made = fixture
            .call(Method::POST, "/v3/volume-transfers", body)
            .await
            .json();
        assert_eq!(made["transfer"]["no_snapshots"], true);
        ids.push(made["transfer"]["id"].as_str().expect("an id").to_owned());
        fixture.advance_s(1);
    }
    let page = fixture
        .call(Method::GET, "/v3/volume-transfers?limit=2", Value::Null)
        .await
        .json();
    let names = |page: &Value| -> Vec<String> {
        let transfers = page["transfers"].as_array().expect("transfers");
        transfers
            .iter()
            .map(|t| t["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(names(&page), ["c", "b"]);
    let next = page["transfers_links"][0]["href"].as_str().expect("a link");
    let next = next
        .strip_prefix("http://127.0.0.1:8776")
        .expect("our base");
    let page = fixture.call(Method::GET, next, Value::Null).await.json();
    assert_eq!(
        (names(&page), page.get("transfers_links")),
        (vec!["a".to_owned()], None)
    );
    let sorted = "/v3/volume-transfers/detail?sort=name:asc&offset=1";
    let page = fixture.call(Method::GET, sorted, Value::Null).await.json();
    assert_eq!(names(&page), ["b", "c"]);
    let path = format!("/v3/volume-transfers/{}", ids[0]);
    assert_eq!(
        fixture
            .call(Method::DELETE, &path, Value::Null)
            .await
            .status,
        202
    );
    assert_eq!(
        fixture
            .call(Method::DELETE, &path, Value::Null)
            .await
            .status,
        404
    );
    let old = fixture
        .call(Method::GET, "/v3/os-volume-transfer", Value::Null)
        .await
        .json();
    assert_eq!(names(&old), ["b", "c"], "the oldest first");
}

#[tokio::test]
async fn wrong_offers_are_refused() {
    let fixture = Fixture::new().await;
    let (reader, _) = fixture.other_user("reader", "reader").await;
    let (token, _) = fixture.other_user("tenant", "member").await;
    let volume = settled(&fixture, "gift").await;
    let good = json!({"transfer": {"volume_id": volume}});
    for body in [
        json!({}),
        json!({"transfer": []}),
        json!({"transfer": {"name": "x"}}),
        json!({"transfer": {"volume_id": "x"}}),
        json!({"transfer": {"volume_id": volume, "name": 7}}),
        json!({"transfer": {"volume_id": volume, "name": "x".repeat(256)}}),
        json!({"transfer": {"volume_id": volume, "no_snapshots": "perhaps"}}),
        json!({"transfer": {"volume_id": volume, "colour": 1}}),
    ] {
        for path in ["/v3/os-volume-transfer", "/v3/volume-transfers"] {
            let refused = fixture.call(Method::POST, path, body.clone()).await;
            assert_eq!(refused.status, 400, "{path} {body}: {}", refused.text);
        }
    }
    let path = "/v3/os-volume-transfer";
    let with_new_field = json!({"transfer": {"volume_id": volume, "no_snapshots": true}});
    assert_eq!(
        fixture
            .call(Method::POST, path, with_new_field)
            .await
            .status,
        400
    );
    for (token, status) in [(&token, 404), (&reader, 404)] {
        let refused = fixture
            .call_as(token, "3.71", Method::POST, path, good.clone())
            .await;
        assert_eq!(refused.status, status, "{}", refused.text);
    }
    let early = fixture
        .call_as(
            &fixture.token,
            "3.54",
            Method::GET,
            "/v3/volume-transfers",
            Value::Null,
        )
        .await;
    assert_eq!(early.status, 404);
    for path in [
        "/v3/volume-transfers/x",
        "/v3/volume-transfers/00000000-0000-0000-0000-000000000000",
    ] {
        assert_eq!(
            fixture.call(Method::GET, path, Value::Null).await.status,
            404,
            "{path}"
        );
    }
    let refused = fixture
        .call(Method::GET, "/v3/volume-transfers?sort=colour", Value::Null)
        .await;
    assert_eq!(refused.status, 400);
    let made = fixture.call(Method::POST, path, good.clone()).await;
    assert_eq!(made.status, 202, "nothing had changed: {}", made.text);
    let twice = fixture.call(Method::POST, path, good).await;
    assert_eq!(twice.status, 400);
    assert!(
        twice.text.contains("Status must be available"),
        "{}",
        twice.text
    );
}
