//! Requests to adopt VDIs and to let go of them; no worker runs, so that what is adopted stays `creating`.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;
use crate::app::flavors;
use crate::context::RequestContext;
use crate::db::backends::{self, NewBackend};
use crate::db::volumes;
use crate::model::backend::BackendState;
use crate::model::id::{BackendId, VolumeId};

/// A connected backend of the flavor `gold`, and its host.
async fn connected(fixture: &Fixture) -> (BackendId, String) {
    let operator = RequestContext::operator();
    let gold = flavors::get(&fixture.service, &operator, "gold").await;
    let new = NewBackend {
        flavor_id: gold.expect("the flavor").id,
        zone: "nova".to_owned(),
        position: None,
        sr_type: "file".to_owned(),
        sr_uuid: Some(fixture.service.context.new_uuid()),
        name_label: String::new(),
        name_description: String::new(),
        config: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    let (vault, now_us) = (
        fixture.service.vault.clone(),
        fixture.service.context.now_us(),
    );
    let added = fixture.service.database.write(move |tx| {
        let id = backends::insert(tx, &vault, &new, now_us)?;
        let sql = "UPDATE backends SET state = ?2 WHERE id = ?1";
        tx.execute(sql, &[id.into(), BackendState::Connected.as_str().into()])?;
        Ok(id)
    });
    let id = added.await.expect("a backend");
    (id, format!("xensm@nova#backend-{id}"))
}

#[tokio::test]
async fn a_vdi_is_adopted_as_a_volume() {
    let fixture = Fixture::new().await;
    let (_, host) = connected(&fixture).await;
    let body = |host: &str, reference: Value, volume_type: &str| {
        json!({"volume": {"host": host, "ref": reference, "name": " mine ", "volume_type": volume_type, "bootable": "yes",
            "metadata": {"k": "v"}}})
    };
    let named = || json!({"source-name": "somebody's disk"});
    let good = body(&host, named(), "gold");
    let (member, _) = fixture.other_user("tenant", "member").await;
    for path in ["/v3/os-volume-manage", "/v3/manageable_volumes"] {
        let refused = fixture
            .call_as(&member, "3.71", Method::POST, path, good.clone())
            .await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        for (body, expected) in [
            (json!({}), "'volume' is a required property"),
            (
                json!({"volume": {"host": host}}),
                "'ref' is a required property",
            ),
            (
                json!({"volume": {"ref": named()}}),
                "One and only one of cluster and host",
            ),
            (body("xensm@nova#backend-77", named(), "gold"), "not found"),
            (body("lvm@nova", named(), "gold"), "not found"),
            (
                body(&host, json!({"source-name": ""}), "gold"),
                "source-name",
            ),
            (body(&host, json!({"source-id": "x"}), "gold"), "source-id"),
            (body(&host, json!(5), "gold"), "Invalid input"),
            (body(&host, named(), "lead"), "Cannot find requested 'lead'"),
            (
                json!({"volume": {"host": host, "ref": named(), "volume_type": "gold", "availability_zone": "mars"}}),
                "mars",
            ),
            (
                json!({"volume": {"host": host, "ref": named(), "size": 5}}),
                "Additional properties",
            ),
        ] {
            let answer = fixture.call(Method::POST, path, body.clone()).await;
            assert_eq!(answer.status, 400, "{body}: {}", answer.text);
            assert!(answer.text.contains(expected), "{body}: {}", answer.text);
        }
    }
    let listed = fixture.call(Method::GET, "/v3/volumes", Value::Null).await;
    assert_eq!(listed.json()["volumes"], json!([]), "nothing was changed");
    let old = fixture
        .call_as(
            &fixture.token,
            "3.7",
            Method::POST,
            "/v3/manageable_volumes",
            good.clone(),
        )
        .await;
    assert_eq!(old.status, 404, "{}", old.text);

    let answer = fixture
        .call(Method::POST, "/v3/os-volume-manage", good)
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let volume = &answer.json()["volume"];
    assert_eq!(volume["status"], "creating");
    assert_eq!(volume["size"], 0);
    assert_eq!(volume["name"], "mine");
    assert_eq!(volume["bootable"], "true");
    assert_eq!(volume["volume_type"], "gold");
    let again = format!("vol-{}", volume["id"].as_str().expect("an id"));
    let managed = body(&host, json!({"source-name": again}), "gold");
    let answer = fixture
        .call(Method::POST, "/v3/manageable_volumes", managed)
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("already managed"), "{}", answer.text);
}

#[tokio::test]
async fn lists_of_what_could_be_adopted_are_for_administrators() {
    let fixture = Fixture::new().await;
    let (_, host) = connected(&fixture).await;
    let (member, _) = fixture.other_user("tenant", "member").await;
    let host = host.replace('#', "%23");
    for path in [
        "manageable_volumes",
        "manageable_snapshots/detail",
        "os-volume-manage/detail",
        "os-snapshot-manage",
    ] {
        let path = |query: &str| format!("/v3/{path}?{query}");
        let refused = fixture
            .call_as(
                &member,
                "3.71",
                Method::GET,
                &path(&format!("host={host}")),
                Value::Null,
            )
            .await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        for (query, status, expected) in [
            (String::new(), 400, "One and only one of cluster and host"),
            (
                format!("host={host}&sort_key=color"),
                400,
                "Invalid sort keys passed: color",
            ),
            (format!("host={host}&limit=-1"), 400, "limit"),
            ("host=nowhere".to_owned(), 404, "could not be found"),
            // The zone of these tests has no pool.
            (format!("host={host}"), 400, "Service is unavailable"),
        ] {
            let answer = fixture.call(Method::GET, &path(&query), Value::Null).await;
            assert_eq!(answer.status, status, "{query}: {}", answer.text);
            assert!(answer.text.contains(expected), "{query}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn volumes_and_snapshots_are_let_go_of_and_adopted() {
    let fixture = Fixture::new().await;
    let (backend, _) = connected(&fixture).await;
    let id = fixture.make_volume("one").await;
    fixture.settle(&id).await;
    let volume: VolumeId = id.parse().expect("a volume's id");
    let vdi = fixture.service.context.new_uuid();
    let placed = fixture.service.database.write(move |tx| {
        volumes::set_backend(tx, volume, Some(backend))?;
        volumes::set_vdi(tx, volume, Some(vdi))
    });
    assert!(placed.await.expect("the database answers"));
    let (stranger, _) = fixture.other_user("stranger", "member").await;
    let insider = fixture.insider("member").await;

    let adopt = json!({"snapshot": {"volume_id": id, "ref": {"source-name": "s"}, "name": "mine"}});
    for path in ["/v3/os-snapshot-manage", "/v3/manageable_snapshots"] {
        for (token, status) in [(&stranger, 404), (&insider, 403)] {
            let answer = fixture
                .call_as(token, "3.71", Method::POST, path, adopt.clone())
                .await;
            assert_eq!(answer.status, status, "{}", answer.text);
        }
        // Who may not adopt is told so before what is wrong with the reference.
        let unknown = json!({"snapshot": {"volume_id": id, "ref": {"name": "s"}}});
        let answer = fixture
            .call_as(&insider, "3.71", Method::POST, path, unknown)
            .await;
        assert_eq!(answer.status, 403, "{}", answer.text);
        for (body, status) in [
            (json!({"snapshot": {"volume_id": id}}), 400),
            (json!({"snapshot": {"ref": {"source-name": "s"}}}), 400),
            (json!({"snapshot": {"volume_id": id, "ref": null}}), 400),
            (
                json!({"snapshot": {"volume_id": "0b7a4f9c-8b1f-4dd3-9d6c-2f1c4b1c7b6a", "ref": {"source-name": "s"}}}),
                404,
            ),
        ] {
            let answer = fixture.call(Method::POST, path, body.clone()).await;
            assert_eq!(answer.status, status, "{body}: {}", answer.text);
        }
    }
    let unmanage = json!({"os-unmanage": null});
    let action = format!("/v3/volumes/{id}/action");
    for (token, status) in [(&stranger, 404), (&insider, 403)] {
        let answer = fixture
            .call_as(token, "3.71", Method::POST, &action, unmanage.clone())
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }

    let taken = json!({"snapshot": {"volume_id": id}});
    let taken = fixture.call(Method::POST, "/v3/snapshots", taken).await;
    let snapshot = taken.json()["snapshot"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let of_snapshot = format!("/v3/snapshots/{snapshot}/action");
    let busy = fixture
        .call(Method::POST, &of_snapshot, unmanage.clone())
        .await;
    assert_eq!(busy.status, 400, "it is being taken: {}", busy.text);
    fixture.settle_snapshot(&snapshot).await;
    let held = fixture.call(Method::POST, &action, unmanage.clone()).await;
    assert_eq!(held.status, 400, "it has a snapshot: {}", held.text);
    for (token, status) in [(&stranger, 404), (&insider, 403), (&fixture.token, 202)] {
        let answer = fixture
            .call_as(token, "3.71", Method::POST, &of_snapshot, unmanage.clone())
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    let shown = fixture
        .call(
            Method::GET,
            &format!("/v3/snapshots/{snapshot}"),
            Value::Null,
        )
        .await;
    assert_eq!(shown.json()["snapshot"]["status"], "unmanaging");

    let adopted = fixture
        .call(Method::POST, "/v3/manageable_snapshots", adopt)
        .await;
    assert_eq!(adopted.status, 202, "{}", adopted.text);
    assert_eq!(adopted.json()["snapshot"]["status"], "creating");
    assert_eq!(adopted.json()["snapshot"]["size"], 1);
}
