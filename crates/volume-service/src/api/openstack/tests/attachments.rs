//! Reserving, listing and giving up attachments; connecting needs a worker and is tested end to end.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;
use crate::db::{attachments, volumes};
use crate::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, VolumeId};

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
    assert_eq!(odd.json(), json!({"attachments": []}));

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
    assert_eq!(act(json!({"os-unreserve": {}})).await, 202);
    assert_eq!(act(json!({"os-detach": {}})).await, 400);
    assert_eq!(act(json!({"os-reserve": {}})).await, 202);
    assert_eq!(status_of(&fixture, &volume).await, "attaching");
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

/// An attachment that is in use, as a worker and its consumer leave it.
async fn attached(fixture: &Fixture, volume: &str, instance: &str, mode: AttachMode) -> String {
    let volume_id: VolumeId = volume.parse().expect("an id");
    let now_us = fixture.service.context.now_us();
    let mut attachment = Attachment {
        id: AttachmentId(fixture.service.context.new_uuid()),
        volume_id,
        project_id: fixture.project.clone(),
        instance_id: Some(instance.to_owned()),
        host_name: Some("h".to_owned()),
        mountpoint: Some("/dev/xvdb".to_owned()),
        status: AttachmentStatus::Attached,
        mode,
        connector: json!({"host": "h", "enforce_multipath": true}),
        connection_info: json!({"driver_volume_type": "nbd", "uri": "nbd+unix:///x"}),
        failure: String::new(),
        attached_at_us: Some(now_us),
        detached_at_us: None,
        created_at_us: now_us,
        delete_on_termination: false,
    };
    let id = attachment.id.to_string();
    let written = fixture.service.database.write(move |tx| {
        attachment.created_at_us = now_us;
        attachments::insert(tx, &attachment)?;
        volumes::settle(tx, volume_id, now_us)
    });
    written.await.expect("written");
    id
}

const SERVER: &str = "3b8b6631-1cf7-4fd7-9afb-c01e541a073c";
const OTHER_SERVER: &str = "3b8b6631-1cf7-4fd7-9afb-c01e541a073d";

#[tokio::test]
async fn the_same_instance_attaches_twice_and_another_one_does_not() {
    let fixture = Fixture::new().await;
    let volume = fixture.make_volume("one").await;
    fixture.settle(&volume).await;
    let id = attached(&fixture, &volume, SERVER, AttachMode::ReadWrite).await;
    let action = format!("/v3/volumes/{volume}/action");
    let attach = |instance: &str| json!({"os-attach": {"instance_uuid": instance, "mountpoint": "/dev/xvdc"}});
    let again = fixture.call(Method::POST, &action, attach(SERVER)).await;
    assert_eq!(again.status, 202, "{}", again.text);
    let other = fixture
        .call(Method::POST, &action, attach(OTHER_SERVER))
        .await;
    assert_eq!(other.status, 400, "{}", other.text);
    let shown = fixture
        .call(Method::GET, &format!("/v3/volumes/{volume}"), Value::Null)
        .await
        .json();
    let held = shown["volume"]["attachments"]
        .as_array()
        .expect("attachments");
    assert_eq!(held.len(), 1);
    assert_eq!(held[0]["attachment_id"], json!(id));
    assert_eq!(held[0]["device"], "/dev/xvdb", "what was said first stays");

    // Said again, with what its connector says of several paths.
    let connect = json!({"os-initialize_connection": {"connector": {"host": "h", "enforce_multipath": true}}});
    let told = fixture.call(Method::POST, &action, connect).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(told.json()["connection_info"]["enforce_multipath"], true);
}

#[tokio::test]
async fn one_of_several_attachments_is_ended_by_its_id() {
    let fixture = Fixture::new().await;
    let volume = fixture.make_volume("one").await;
    fixture.settle(&volume).await;
    attached(&fixture, &volume, SERVER, AttachMode::ReadOnly).await;
    attached(&fixture, &volume, OTHER_SERVER, AttachMode::ReadOnly).await;
    let action = format!("/v3/volumes/{volume}/action");
    let refused = fixture
        .call(Method::POST, &action, json!({"os-detach": {}}))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(
        refused.text.contains("no attachment_id provided"),
        "{}",
        refused.text
    );
    let listed = |query: &str| format!("/v3/attachments/detail?{query}");
    for (query, status, count) in [
        ("offset=1", 200, 1),
        ("sort=instance_uuid:asc,attach_time&limit=1", 200, 1),
        ("sort_key=attach_status&sort_dir=asc", 200, 2),
        ("sort=colour", 400, 0),
        ("sort=id:up", 400, 0),
        ("offset=-1", 400, 0),
    ] {
        let answer = fixture.call(Method::GET, &listed(query), Value::Null).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
        let found = answer.json()["attachments"].as_array().map_or(0, Vec::len);
        assert_eq!(found, count, "{query}");
    }
    let sorted = fixture
        .call(Method::GET, &listed("sort=instance_uuid:desc"), Value::Null)
        .await
        .json();
    assert_eq!(sorted["attachments"][0]["instance"], OTHER_SERVER);
}
