//! States, flags, image metadata and types that are set by hand: what is taken, what is refused, and what then shows.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::Fixture;
use crate::app::flavors;
use crate::context::RequestContext;
use crate::db::{snapshots, volumes};
use crate::model::id::{SnapshotId, VolumeId};

/// A volume that has a VDI.
async fn made(fixture: &Fixture, name: &str) -> String {
    let id = fixture.make_volume(name).await;
    fixture.settle(&id).await;
    let volume: VolumeId = id.parse().expect("a volume's id");
    let vdi = fixture.service.context.new_uuid();
    let changed = fixture
        .service
        .database
        .write(move |tx| volumes::set_vdi(tx, volume, Some(vdi)));
    assert!(changed.await.expect("the database answers"));
    id
}

/// The volume as its project sees it.
async fn shown(fixture: &Fixture, id: &str) -> Value {
    let path = format!("/v3/volumes/{id}");
    let answer = fixture.call(Method::GET, &path, Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["volume"].clone()
}

/// Asks for an action of a volume as the administrator.
async fn act(fixture: &Fixture, id: &str, body: Value) -> (u16, String) {
    let path = format!("/v3/volumes/{id}/action");
    let answer = fixture.call(Method::POST, &path, body).await;
    (answer.status, answer.text)
}

/// Asserts that another project is told 404, a member of the volume's own (where only administrators may) 403, and that nothing is
/// changed by either.
async fn refused_to_others(fixture: &Fixture, id: &str, body: &Value, is_for_admins: bool) {
    let before = shown(fixture, id).await;
    let path = format!("/v3/volumes/{id}/action");
    let name = format!("other-{}", fixture.service.context.new_uuid());
    let (stranger, _) = fixture.other_user(&name, "member").await;
    let call = async |token: &str| {
        let call = fixture.call_as(token, "3.71", Method::POST, &path, body.clone());
        call.await.status
    };
    assert_eq!(call(&stranger).await, 404, "{body}");
    let role = if is_for_admins { "member" } else { "reader" };
    let insider = fixture.insider(role).await;
    assert_eq!(call(&insider).await, 403, "{body}");
    assert_eq!(shown(fixture, id).await, before, "{body}");
}

#[tokio::test]
async fn a_state_is_set_by_hand() {
    let fixture = Fixture::new().await;
    let id = made(&fixture, "one").await;
    let reset = |status: &str| json!({"os-reset_status": {"status": status}});
    for word in ["error", "available", "maintenance", "Attaching", "in-use"] {
        let (status, text) = act(&fixture, &id, reset(word)).await;
        let expected = if word == "in-use" { 400 } else { 202 };
        assert_eq!(status, expected, "{word}: {text}");
        if expected == 202 {
            assert_eq!(shown(&fixture, &id).await["status"], word.to_lowercase());
        }
    }
    let maintenance = reset("maintenance");
    assert_eq!(act(&fixture, &id, maintenance).await.0, 202);
    let path = format!("/v3/volumes/{id}");
    let renamed = json!({"volume": {"name": "two"}});
    let answer = fixture.call(Method::PUT, &path, renamed).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("maintenance"), "{}", answer.text);
    for (body, expected) in [
        (json!({}), "Must specify 'status'"),
        (
            json!({"status": "deleting"}),
            "Cannot reset-state to deleting",
        ),
        (
            json!({"status": "flying"}),
            "Volume status: flying is invalid",
        ),
        (json!({"status": 5}), "5 is not of type"),
        (
            json!({"attach_status": "none"}),
            "Volume attach status: none",
        ),
        (json!({"attach_status": "attached"}), "attachments"),
        (
            json!({"migration_status": "x"}),
            "Volume migration status: x",
        ),
        (json!({"state": "error"}), "Additional properties"),
    ] {
        let (status, text) = act(&fixture, &id, json!({"os-reset_status": body})).await;
        assert_eq!(status, 400, "{body}: {text}");
        assert!(text.contains(expected), "{body}: {text}");
    }
    refused_to_others(&fixture, &id, &reset("error"), true).await;
    let migrating = json!({"os-reset_status": {"migration_status": "migrating"}});
    assert_eq!(act(&fixture, &id, migrating).await.0, 202);
    assert_eq!(shown(&fixture, &id).await["migration_status"], "migrating");
    let none = json!({"os-reset_status": {"migration_status": "none", "status": "available"}});
    assert_eq!(act(&fixture, &id, none).await.0, 202);
    let volume = shown(&fixture, &id).await;
    assert_eq!(volume["migration_status"], Value::Null);
    assert_eq!(volume["status"], "available");

    let busy = fixture.make_volume("busy").await;
    let (status, text) = act(&fixture, &busy, reset("error")).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("operation is at work"), "{text}");
}

#[tokio::test]
async fn attachments_are_ended_by_hand() {
    let fixture = Fixture::new().await;
    let id = made(&fixture, "one").await;
    assert_eq!(act(&fixture, &id, json!({"os-reserve": null})).await.0, 202);
    let reset = json!({"os-reset_status": {"status": "available"}});
    let (status, text) = act(&fixture, &id, reset).await;
    assert_eq!(status, 400, "it has an attachment: {text}");
    let both = json!({"os-reset_status": {"status": "available", "attach_status": "detached"}});
    let (status, text) = act(&fixture, &id, both).await;
    assert_eq!(status, 202, "{text}");
    assert_eq!(shown(&fixture, &id).await["status"], "available");

    assert_eq!(act(&fixture, &id, json!({"os-reserve": null})).await.0, 202);
    let error = json!({"os-reset_status": {"status": "error"}});
    assert_eq!(act(&fixture, &id, error).await.0, 202);
    for (body, expected) in [
        (
            json!({"attachment_id": "0b7a4f9c-8b1f-4dd3-9d6c-2f1c4b1c7b6a"}),
            "could not be found",
        ),
        (json!({"attachment_id": "x"}), "could not be found"),
        (json!({"attachment_id": 5}), "5 is not of type"),
        (json!({"attachment": "x"}), "Additional properties"),
    ] {
        let (status, text) = act(&fixture, &id, json!({"os-force_detach": body})).await;
        assert_eq!(status, 400, "{body}: {text}");
        assert!(text.contains(expected), "{body}: {text}");
    }
    let force = json!({"os-force_detach": {"connector": null, "attachment_id": null}});
    refused_to_others(&fixture, &id, &force, true).await;
    let (status, text) = act(&fixture, &id, force).await;
    assert_eq!(status, 202, "{text}");
    assert_eq!(shown(&fixture, &id).await["status"], "available");
}

#[tokio::test]
async fn flags_and_image_metadata_show() {
    let fixture = Fixture::new().await;
    let id = made(&fixture, "one").await;
    for (value, shows) in [(json!(true), "true"), (json!("no"), "false")] {
        let body = json!({"os-set_bootable": {"bootable": value}});
        assert_eq!(act(&fixture, &id, body).await.0, 200);
        assert_eq!(shown(&fixture, &id).await["bootable"], shows);
    }
    let bootable = json!({"os-set_bootable": {"bootable": true}});
    refused_to_others(&fixture, &id, &bootable, false).await;
    let read_only = json!({"os-update_readonly_flag": {"readonly": true}});
    refused_to_others(&fixture, &id, &read_only, false).await;
    assert_eq!(act(&fixture, &id, read_only.clone()).await.0, 202);
    assert_eq!(
        shown(&fixture, &id).await["metadata"],
        json!({"readonly": "True"})
    );
    let attach = json!({"os-attach": {"mountpoint": "/dev/xvdb", "host_name": "h", "mode": "rw"}});
    let (status, text) = act(&fixture, &id, attach).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("Invalid attaching mode 'rw'"), "{text}");
    let reserve = json!({"attachment": {"volume_uuid": id}});
    let answer = fixture.call(Method::POST, "/v3/attachments", reserve).await;
    assert_eq!(
        answer.json()["attachment"]["attach_mode"],
        "ro",
        "{}",
        answer.text
    );
    let (status, text) = act(&fixture, &id, read_only).await;
    assert_eq!(status, 400, "it is reserved: {text}");

    let set = json!({"os-set_image_metadata": {"metadata": {"os": "linux", "hw": "x"}}});
    refused_to_others(&fixture, &id, &set, false).await;
    let (status, text) = act(&fixture, &id, set).await;
    assert_eq!(
        (status, text.as_str()),
        (200, r#"{"metadata":{"hw":"x","os":"linux"}}"#)
    );
    let unset = json!({"os-unset_image_metadata": {"key": "hw"}});
    refused_to_others(&fixture, &id, &unset, false).await;
    assert_eq!(
        act(&fixture, &id, unset.clone()).await,
        (200, String::new())
    );
    assert_eq!(act(&fixture, &id, unset).await.0, 404);
    let show = json!({"os-show_image_metadata": null});
    let (status, text) = act(&fixture, &id, show).await;
    assert_eq!(
        (status, text.as_str()),
        (200, r#"{"metadata":{"os":"linux"}}"#)
    );
    let listed = fixture
        .call(Method::GET, "/v3/volumes/detail", Value::Null)
        .await;
    let listed = &listed.json()["volumes"][0];
    assert_eq!(listed["volume_image_metadata"], json!({"os": "linux"}));
    for body in [
        json!({"os-set_bootable": {}}),
        json!({"os-set_bootable": {"bootable": "maybe"}}),
        json!({"os-update_readonly_flag": {"readonly": 5}}),
        json!({"os-set_image_metadata": {}}),
        json!({"os-set_image_metadata": {"metadata": {"k": 1}}}),
        json!({"os-unset_image_metadata": {"key": ""}}),
        json!({"os-unset_image_metadata": {}}),
    ] {
        let (status, text) = act(&fixture, &id, body.clone()).await;
        assert_eq!(status, 400, "{body}: {text}");
    }
}

#[tokio::test]
async fn a_type_is_changed_where_the_volume_may_stay() {
    let fixture = Fixture::new().await;
    let operator = RequestContext::operator();
    let other = flavors::create(&fixture.service, &operator, "silver", "").await;
    let other = other.expect("a flavor").id.to_string();
    let id = made(&fixture, "one").await;
    let retype = |flavor: &str| json!({"os-retype": {"new_type": flavor}});
    refused_to_others(&fixture, &id, &retype("silver"), false).await;
    for (body, expected) in [
        (
            json!({"new_type": "lead"}),
            "Invalid volume_type passed: lead",
        ),
        (json!({"new_type": "gold"}), "Retype needs volume"),
        (
            json!({"new_type": other, "migration_policy": "now"}),
            "is not one of",
        ),
        (json!({}), "'new_type' is a required property"),
    ] {
        let (status, text) = act(&fixture, &id, json!({"os-retype": body})).await;
        assert_eq!(status, 400, "{body}: {text}");
        assert!(text.contains(expected), "{body}: {text}");
    }
    // It lies on no backend: it stays what it is, and a message says so.
    assert_eq!(act(&fixture, &id, retype("silver")).await.0, 202);
    assert_eq!(shown(&fixture, &id).await["volume_type"], "gold");
    let messages = fixture.call(Method::GET, "/v3/messages", Value::Null).await;
    let text = messages.json()["messages"].to_string();
    assert!(text.contains("keeps its type"), "{text}");
}

#[tokio::test]
async fn what_needs_other_services_or_places_is_refused_as_cinder_does() {
    let fixture = Fixture::new().await;
    let id = made(&fixture, "one").await;
    let image = "0b7a4f9c-8b1f-4dd3-9d6c-2f1c4b1c7b6a";
    for (body, expected) in [
        (json!({"os-volume_upload_image": {"image_name": "i"}}), 400),
        (
            json!({"os-volume_upload_image": {"image_name": "i", "disk_format": "tar"}}),
            400,
        ),
        (json!({"os-volume_upload_image": {}}), 400),
        (json!({"os-reimage": {"image_id": image}}), 404),
        (json!({"os-reimage": {"image_id": "x"}}), 400),
        (json!({"os-migrate_volume": {"host": "nowhere@x#y"}}), 400),
        (json!({"os-migrate_volume": {}}), 400),
        (
            json!({"os-migrate_volume_completion": {"new_volume": image}}),
            404,
        ),
        (
            json!({"os-migrate_volume_completion": {"new_volume": id}}),
            400,
        ),
        (json!({"os-extend_volume_completion": {}}), 400),
    ] {
        let (status, text) = act(&fixture, &id, body.clone()).await;
        assert_eq!(status, expected, "{body}: {text}");
    }
    let migrate = json!({"os-migrate_volume": {"host": "nowhere@x#y"}});
    refused_to_others(&fixture, &id, &migrate, true).await;
}

#[tokio::test]
async fn a_snapshots_state_and_progress_are_set_by_hand() {
    let fixture = Fixture::new().await;
    let id = made(&fixture, "one").await;
    let body = json!({"snapshot": {"volume_id": id}});
    let answer = fixture.call(Method::POST, "/v3/snapshots", body).await;
    let snapshot = answer.json()["snapshot"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v3/snapshots/{snapshot}");
    let action = format!("{path}/action");
    let post = async |token: &str, body: Value| {
        let call = fixture.call_as(token, "3.71", Method::POST, &action, body);
        let answer = call.await;
        (answer.status, answer.text)
    };
    let reset = |word: &str| json!({"os-reset_status": {"status": word}});
    let (status, text) = post(&fixture.token, reset("error")).await;
    assert_eq!(status, 400, "it is being taken: {text}");
    fixture.settle_snapshot(&snapshot).await;
    let row: SnapshotId = snapshot.parse().expect("a snapshot's id");
    let vdi = fixture.service.context.new_uuid();
    let changed = fixture
        .service
        .database
        .write(move |tx| snapshots::set_vdi(tx, row, Some(vdi)));
    assert!(changed.await.expect("the database answers"));

    let (stranger, _) = fixture.other_user("stranger", "member").await;
    assert_eq!(post(&stranger, reset("error")).await.0, 404);
    let insider = fixture.insider("member").await;
    assert_eq!(post(&insider, reset("error")).await.0, 403);
    for body in [reset("flying"), reset(""), json!({"os-reset_status": {}})] {
        let (status, text) = post(&fixture.token, body.clone()).await;
        assert_eq!(status, 400, "{body}: {text}");
    }
    let update = |word: &str, progress: &str| json!({"os-update_snapshot_status": {"status": word, "progress": progress}});
    let (status, text) = post(&fixture.token, update("error", "80%")).await;
    assert_eq!(status, 400, "it is available: {text}");
    assert_eq!(post(&fixture.token, reset("creating")).await.0, 202);
    for (word, progress) in [
        ("error_deleting", "80%"),
        ("error", "80"),
        ("error", "101%"),
        ("error", "\u{e9}"),
    ] {
        let (status, text) = post(&fixture.token, update(word, progress)).await;
        assert_eq!(status, 400, "{word} {progress}: {text}");
    }
    assert_eq!(post(&stranger, update("error", "80%")).await.0, 404);
    assert_eq!(post(&insider, update("error", "80%")).await.0, 202);
    let shown = fixture.call(Method::GET, &path, Value::Null).await.json();
    assert_eq!(shown["snapshot"]["status"], "error");
    assert_eq!(
        shown["snapshot"]["os-extended-snapshot-attributes:progress"],
        "80%"
    );
    assert_eq!(post(&fixture.token, reset("available")).await.0, 202);
    let shown = fixture.call(Method::GET, &path, Value::Null).await.json();
    assert_eq!(shown["snapshot"]["status"], "available");
    assert_eq!(
        shown["snapshot"]["os-extended-snapshot-attributes:progress"],
        "100%"
    );
}
