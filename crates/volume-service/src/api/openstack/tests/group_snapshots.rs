//! Group snapshots and consistency groups as clients see them.

use http::Method;
use serde_json::{Value, json};

use super::groups::{keys, made, member};
use crate::api::fixture::Fixture;

/// Does what a worker would: the snapshots of a group were taken.
async fn settle(fixture: &Fixture, id: &str) {
    let id: crate::model::id::GroupSnapshotId = id.parse().expect("an id");
    let settled = fixture.service.database.write(move |tx| {
        let sql = "UPDATE operations SET state = 'succeeded' WHERE target = ?1";
        tx.execute(sql, &[id.into()])?;
        for snapshot in crate::db::group_snapshots::members(tx, id)? {
            use crate::model::snapshot::SnapshotStatus::{Available, Creating};
            crate::db::snapshots::change_status(tx, snapshot.id, &[Creating], Available, 1)?;
        }
        let to = crate::model::group::GroupStatus::Available;
        crate::db::group_snapshots::set_status(tx, id, to, "", false, 1)
    });
    assert!(settled.await.expect("the database answers"));
}

#[tokio::test]
async fn group_snapshots_live_their_life() {
    let fixture = Fixture::new().await;
    let (made_type, group) = made(&fixture).await;
    let volume = member(&fixture, &group).await;
    let body = json!({"group_snapshot": {"group_id": group, "name": "both"}});
    let answer = fixture
        .call(Method::POST, "/v3/group_snapshots", body)
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let taken = answer.json()["group_snapshot"].clone();
    assert_eq!(keys(&taken), ["group_type_id", "id", "name"]);
    assert_eq!(taken["group_type_id"], made_type);
    let id = taken["id"].as_str().expect("an id");
    let one = format!("/v3/group_snapshots/{id}");
    settle(&fixture, id).await;
    let oldest = [
        "created_at",
        "description",
        "group_id",
        "group_type_id",
        "id",
        "name",
        "status",
    ];
    for (version, more) in [("3.14", None), ("3.58", Some("project_id"))] {
        let shown = fixture
            .call_as(&fixture.token, version, Method::GET, &one, Value::Null)
            .await;
        let shown = shown.json()["group_snapshot"].clone();
        let mut expected = oldest.to_vec();
        expected.extend(more);
        expected.sort_unstable();
        assert_eq!(keys(&shown), expected);
        let path = "/v3/group_snapshots/detail";
        let listed = fixture
            .call_as(&fixture.token, version, Method::GET, path, Value::Null)
            .await;
        assert_eq!(listed.json(), json!({"group_snapshots": [shown]}));
    }
    let part = "/v3/snapshots/detail";
    let part = fixture.call(Method::GET, part, Value::Null).await.json()["snapshots"][0].clone();
    assert_eq!(part["group_snapshot_id"], id);
    assert_eq!(part["volume_id"], volume);
    let part = part["id"].as_str().expect("an id");
    let alone = fixture
        .call(
            Method::DELETE,
            &format!("/v3/snapshots/{part}"),
            Value::Null,
        )
        .await;
    assert_eq!(alone.status, 400);
    for (query, count) in [
        ("?status=available", 1),
        ("?status=error", 0),
        (&format!("?group_id={group}")[..], 1),
        ("?group_id=x", 0),
        ("?name=both&limit=1", 1),
        ("?name~=oth", 1),
        ("?name~=_oth", 0),
    ] {
        let path = format!("/v3/group_snapshots{query}");
        let listed = fixture.call(Method::GET, &path, Value::Null).await.json();
        let listed = listed["group_snapshots"].as_array().expect("a list");
        assert_eq!(listed.len(), count, "{query}");
    }
    let action = format!("{one}/action");
    for (method, path, body, status) in [
        (
            Method::POST,
            "/v3/group_snapshots",
            json!({"group_snapshot": {}}),
            400,
        ),
        (
            Method::POST,
            "/v3/group_snapshots",
            json!({"group_snapshot": {"group_id": "x"}}),
            400,
        ),
        (
            Method::POST,
            "/v3/group_snapshots",
            json!({"group_snapshot": {"group_id": part}}),
            404,
        ),
        (
            Method::POST,
            &action,
            json!({"reset_status": {"status": "in-use"}}),
            400,
        ),
        (
            Method::POST,
            &action,
            json!({"reset_status": {"status": "error"}}),
            202,
        ),
        (Method::GET, "/v3/group_snapshots/x", Value::Null, 404),
        (Method::DELETE, "/v3/group_snapshots/x", Value::Null, 404),
        (Method::DELETE, &one, Value::Null, 202),
        (Method::DELETE, &one, Value::Null, 400),
    ] {
        let answer = fixture.call(method.clone(), path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    let (foreign, _) = fixture.other_user("stranger", "member").await;
    for (method, body) in [(Method::GET, Value::Null), (Method::DELETE, Value::Null)] {
        let answer = fixture.call_as(&foreign, "3.71", method, &one, body).await;
        assert_eq!(answer.status, 404);
    }
    let path = "/v3/group_snapshots?color=red";
    let answer = fixture
        .call_as(&foreign, "3.71", Method::GET, path, Value::Null)
        .await;
    assert_eq!(answer.status, 400);
    let answer = fixture.call(Method::GET, path, Value::Null).await;
    assert_eq!(
        answer.json(),
        json!({"group_snapshots": []}),
        "an administrator's matches nothing"
    );
}

#[tokio::test]
async fn consistency_groups_are_groups_of_a_type_of_their_own() {
    let fixture = Fixture::new().await;
    let body = json!({"consistencygroup": {"name": "cg", "volume_types": "gold,"}});
    let answer = fixture
        .call(Method::POST, "/v3/consistencygroups", body)
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let group = answer.json()["consistencygroup"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let body = json!({"volume": {"size": 1, "volume_type": "gold", "consistencygroup_id": group}});
    let answer = fixture.call(Method::POST, "/v3/volumes", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json()["volume"]["consistencygroup_id"], group);
    let volume = answer.json()["volume"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    fixture.settle(&volume).await;
    let listed = fixture
        .call(Method::GET, "/v3/volumes/detail", Value::Null)
        .await;
    let listed = listed.json()["volumes"][0].clone();
    assert_eq!(listed["consistencygroup_id"], group);
    assert_eq!(listed["group_id"], group);
    let one = format!("/v3/consistencygroups/{group}");
    let shown = fixture.call(Method::GET, &one, Value::Null).await.json();
    assert_eq!(
        keys(&shown["consistencygroup"]),
        [
            "availability_zone",
            "created_at",
            "description",
            "id",
            "name",
            "status",
            "volume_types"
        ]
    );
    let other = fixture
        .call(Method::GET, &format!("/v3/groups/{group}"), Value::Null)
        .await;
    assert_eq!(other.status, 400, "it is no group of the new API");
    let other = fixture.call(Method::GET, "/v3/groups", Value::Null).await;
    assert_eq!(other.json(), json!({"groups": []}));
    let body = json!({"cgsnapshot": {"consistencygroup_id": group, "name": "cgs"}});
    let answer = fixture.call(Method::POST, "/v3/cgsnapshots", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let taken = answer.json()["cgsnapshot"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    settle(&fixture, &taken).await;
    let shown = fixture
        .call(Method::GET, "/v3/cgsnapshots/detail", Value::Null)
        .await
        .json();
    assert_eq!(shown["cgsnapshots"][0]["consistencygroup_id"], group);
    let hidden = fixture
        .call(Method::GET, "/v3/group_snapshots", Value::Null)
        .await;
    assert_eq!(hidden.json(), json!({"group_snapshots": []}));
    let snapshot = format!("/v3/cgsnapshots/{taken}");
    let update = format!("{one}/update");
    let delete = format!("{one}/delete");
    for (method, path, body, status) in [
        (Method::GET, &snapshot, Value::Null, 200),
        (
            Method::POST,
            &"/v3/consistencygroups".to_owned(),
            json!({"consistencygroup": {"volume_types": ""}}),
            400,
        ),
        (
            Method::POST,
            &"/v3/consistencygroups/create_from_src".to_owned(),
            json!({"consistencygroup-from-src": {}}),
            400,
        ),
        (
            Method::PUT,
            &update,
            json!({"consistencygroup": {"name": ""}}),
            400,
        ),
        (
            Method::PUT,
            &update,
            json!({"consistencygroup": {"name": "new"}}),
            202,
        ),
        (
            Method::POST,
            &delete,
            json!({"consistencygroup": {"force": true}}),
            400,
        ),
        (
            Method::POST,
            &"/v3/consistencygroups/create_from_src".to_owned(),
            json!({"consistencygroup-from-src": {"cgsnapshot_id": taken, "name": "copy"}}),
            202,
        ),
    ] {
        let answer = fixture.call(method.clone(), path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    let listed = fixture
        .call(Method::GET, "/v3/consistencygroups/detail", Value::Null)
        .await;
    let listed = listed.json()["consistencygroups"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
}
