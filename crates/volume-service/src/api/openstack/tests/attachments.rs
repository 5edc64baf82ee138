//! Reserving, listing and giving up attachments; connecting needs a worker and is tested end to end.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;

async fn reserve(fixture: &Fixture, volume: &str) -> Value {
    let body = json!({"attachment": {
        "volume_uuid": volume, "instance_uuid": "3b8b6631-1cf7-4fd7-9afb-c01e541a073c", "mode": "ro"}});
    let answer = fixture.call(Method::POST, "/v3/attachments", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["attachment"].clone()
}

async fn status_of(fixture: &Fixture, volume: &str) -> Value {
    let path = format!("/v3/volumes/{volume}");
    let shown = fixture.call(Method::GET, &path, Value::Null).await;
    shown.json()["volume"]["status"].clone()
}

#[tokio::test]
async fn an_attachment_is_reserved_listed_and_given_up() {
    let fixture = Fixture::new().await;
    let volume = fixture.make_volume("one").await;
    fixture.settle(&volume).await;
    let attachment = reserve(&fixture, &volume).await;
    insta::assert_json_snapshot!("reserved_attachment", attachment);
    assert_eq!(status_of(&fixture, &volume).await, "reserved");

    let id = attachment["id"].as_str().expect("an id");
    let path = format!("/v3/attachments/{id}");
    let shown = fixture.call(Method::GET, &path, Value::Null).await;
    assert_eq!(shown.json()["attachment"], attachment);
    for (query, count) in [
        ("", 1),
        (&*format!("?volume_id={volume}"), 1),
        ("?status=reserved", 1),
        ("?attach_status=attached", 0),
        ("?volume_id=x", 0),
        ("?limit=0", 0),
        ("?all_tenants=1", 1),
    ] {
        for path in ["attachments", "attachments/detail"] {
            let url = format!("/v3/{}/{path}{query}", fixture.project);
            let listed = fixture.call(Method::GET, &url, Value::Null).await.json();
            let found = listed["attachments"].as_array().expect("attachments").len();
            assert_eq!(found, count, "{path}{query}");
        }
    }
    let odd = fixture
        .call(Method::GET, "/v3/attachments?colour=red", Value::Null)
        .await;
    assert_eq!(odd.status, 400);

    let deleted = fixture.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        (deleted.status, deleted.json()),
        (200, json!({"attachments": []}))
    );
    assert_eq!(status_of(&fixture, &volume).await, "available");
    let gone = fixture.call(Method::GET, &path, Value::Null).await;
    assert_eq!(gone.status, 404);
    let message =
        format!("Volume attachment could not be found with filter: attachment_id = {id}.");
    assert_eq!(gone.json()["itemNotFound"]["message"], message);
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused() {
    let fixture = Fixture::new().await;
    let volume = fixture.make_volume("one").await;
    let path = "/v3/attachments";
    for (body, status) in [
        (json!({"attachment": {"volume_uuid": volume}}), 400),
        (json!({"attachment": {"volume_uuid": "x"}}), 400),
        (json!({"attachment": {}}), 400),
        (
            json!({"attachment": {"volume_uuid": "00000000-0000-0000-0000-000000000001"}}),
            404,
        ),
        (
            json!({"attachment": {"volume_uuid": volume, "mode": "rx"}}),
            400,
        ),
        (
            json!({"attachment": {"volume_uuid": volume, "connector": "x"}}),
            400,
        ),
        (
            json!({"attachment": {"volume_uuid": volume, "colour": "red"}}),
            400,
        ),
    ] {
        let answer = fixture.call(Method::POST, path, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    fixture.settle(&volume).await;
    let attachment = reserve(&fixture, &volume).await;
    let path = format!(
        "/v3/attachments/{}",
        attachment["id"].as_str().expect("an id")
    );
    let empty = json!({"attachment": {"connector": {}}});
    assert_eq!(fixture.call(Method::PUT, &path, empty).await.status, 400);
    let action = format!("{path}/action");
    let early = fixture
        .call(Method::POST, &action, json!({"os-complete": {}}))
        .await;
    assert_eq!(early.status, 400, "it is not connected: {}", early.text);
    let unknown = fixture
        .call(Method::POST, &action, json!({"os-fly": {}}))
        .await;
    assert_eq!(unknown.status, 400);
    let (other, _) = fixture.other_user("tenant", "member").await;
    let foreign = fixture
        .call_as(&other, "3.71", Method::DELETE, &path, Value::Null)
        .await;
    assert_eq!(foreign.status, 404);
}

#[tokio::test]
async fn the_calls_of_before_attachments() {
    let fixture = Fixture::new().await;
    let volume = fixture.make_volume("one").await;
    fixture.settle(&volume).await;
    let path = format!("/v3/volumes/{volume}/action");
    let act = async |body: Value| fixture.call(Method::POST, &path, body).await.status;
    assert_eq!(act(json!({"os-unreserve": {}})).await, 400);
    assert_eq!(act(json!({"os-detach": {}})).await, 400);
    assert_eq!(act(json!({"os-reserve": {}})).await, 202);
    assert_eq!(status_of(&fixture, &volume).await, "reserved");
    assert_eq!(act(json!({"os-reserve": {}})).await, 400, "once is enough");
    assert_eq!(act(json!({"os-unreserve": {}})).await, 202);
    assert_eq!(status_of(&fixture, &volume).await, "available");
    assert_eq!(act(json!({"os-reserve": null})).await, 202);
    assert_eq!(
        act(json!({"os-terminate_connection": {"connector": {}}})).await,
        202
    );
    assert_eq!(status_of(&fixture, &volume).await, "available");
    assert_eq!(
        act(json!({"os-attach": {"instance_uuid": "x", "mountpoint": "/dev/xvdb"}})).await,
        400
    );
    assert_eq!(act(json!({"os-attach": {"host_name": "h"}})).await, 400);
    assert_eq!(
        act(json!({"os-initialize_connection": {"connector": 5}})).await,
        400
    );
    assert_eq!(
        act(json!({"os-detach": {"attachment_id": "00000000-0000-0000-0000-000000000001"}})).await,
        404
    );
    assert_eq!(
        act(json!({"os-reserve": {}, "os-unreserve": {}})).await,
        400
    );
    assert_eq!(act(json!({})).await, 400);
    // The operation that makes this volume has not run, and force waits for operations too.
    let early = fixture.make_volume("two").await;
    let early = format!("/v3/volumes/{early}/action");
    let force = json!({"os-force_delete": {}});
    let refused = fixture.call(Method::POST, &early, force.clone()).await;
    assert_eq!(refused.status, 400);
    assert_eq!(act(force).await, 202);
}
