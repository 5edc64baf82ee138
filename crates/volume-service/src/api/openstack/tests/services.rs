//! Services, hosts, freezing, and asking for a cleanup.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::{Fixture, NOW_US};
use crate::app::log_levels::{LogFilter, LogLevel};
use crate::db::services::{self, Heartbeat};

/// A worker of the zone `nova` says that it lives.
async fn beat(fixture: &Fixture) {
    let heartbeat = Heartbeat {
        binary: "xensm-worker".to_owned(),
        machine: "m1".to_owned(),
        zone: "nova".to_owned(),
        updated_at_us: NOW_US,
    };
    let beaten = fixture
        .service
        .database
        .write(move |tx| services::beat(tx, &heartbeat));
    beaten.await.expect("the database answers");
}

async fn put(fixture: &Fixture, path: &str, body: Value) -> (u16, Value) {
    let answer = fixture.call(Method::PUT, path, body).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn services_are_listed_and_stopped() {
    let fixture = Fixture::new().await;
    beat(&fixture).await;
    let list = async |version, query: &str| {
        let path = format!("/v3/os-services{query}");
        let answer = fixture
            .call_as(&fixture.token, version, Method::GET, &path, Value::Null)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["services"].clone()
    };
    let volume = |status: &str, reason: Value, frozen: bool| {
        json!({
            "binary": "cinder-volume", "host": "xensm@nova", "zone": "nova", "status": status, "state": "up",
            "updated_at": "2026-11-22T07:00:00.123456", "disabled_reason": reason, "replication_status": "disabled",
            "active_backend_id": null, "frozen": frozen,
        })
    };
    let scheduler = json!({
        "binary": "cinder-scheduler", "host": "m1", "zone": "nova", "status": "enabled", "state": "up",
        "updated_at": "2026-11-22T07:00:00.123456", "disabled_reason": null,
    });
    assert_eq!(
        list("3.0", "").await,
        json!([scheduler, volume("enabled", Value::Null, false)])
    );
    for query in ["?host=xensm", "?host=xensm@nova", "?binary=cinder-volume"] {
        assert_eq!(
            list("3.0", query).await,
            json!([volume("enabled", Value::Null, false)]),
            "{query}"
        );
    }
    assert_eq!(list("3.0", "?host=xens").await, json!([]));
    let newest = list("3.71", "?host=xensm").await;
    assert_eq!(
        (&newest[0]["cluster"], &newest[0]["backend_state"]),
        (&Value::Null, &json!("down"))
    );

    let which = json!({"binary": "cinder-volume", "host": "xensm@nova"});
    let (status, said) = put(&fixture, "/v3/os-services/disable", which.clone()).await;
    let disabled = json!({"binary": "cinder-volume", "host": "xensm@nova", "service": "", "status": "disabled", "disabled": true});
    assert_eq!((status, said), (200, disabled));
    let why = json!({"service": "cinder-volume", "host": "xensm@nova", "disabled_reason": "rest"});
    let (status, said) = put(&fixture, "/v3/os-services/disable-log-reason", why).await;
    assert_eq!((status, &said["disabled_reason"]), (200, &json!("rest")));
    assert_eq!(
        list("3.0", "?host=xensm").await,
        json!([volume("disabled", json!("rest"), false)])
    );
    let hidden = fixture
        .call(Method::GET, "/v3/os-hosts/xensm@nova", Value::Null)
        .await;
    assert_eq!(hidden.status, 404);
    let (status, said) = put(&fixture, "/v3/os-services/enable", which).await;
    assert_eq!((status, &said["disabled"]), (200, &json!(false)));
    let host = json!({"host": "xensm@nova"});
    assert_eq!(
        put(&fixture, "/v3/os-services/freeze", host.clone())
            .await
            .0,
        200
    );
    assert_eq!(
        list("3.0", "?host=xensm").await,
        json!([volume("enabled", Value::Null, true)])
    );
    assert_eq!(put(&fixture, "/v3/os-services/thaw", host).await.0, 200);
}

#[tokio::test]
async fn what_is_frozen_is_not_changed() {
    let fixture = Fixture::new().await;
    beat(&fixture).await;
    let volume = fixture.make_volume("a").await;
    fixture.settle(&volume).await;
    let of_volume = json!({"snapshot": {"volume_id": volume}});
    let made = fixture
        .call(Method::POST, "/v3/snapshots", of_volume.clone())
        .await
        .json();
    let snapshot = made["snapshot"]["id"].as_str().expect("an id").to_owned();
    fixture.settle_snapshot(&snapshot).await;
    let host = json!({"host": "xensm@nova"});
    assert_eq!(
        put(&fixture, "/v3/os-services/freeze", host.clone())
            .await
            .0,
        200
    );
    let extend = json!({"os-extend": {"new_size": 2}});
    let (volume, snapshot) = (
        format!("/v3/volumes/{volume}"),
        format!("/v3/snapshots/{snapshot}"),
    );
    let action = format!("{volume}/action");
    let requests = [
        (Method::POST, "/v3/snapshots", of_volume),
        (Method::POST, action.as_str(), extend),
        (Method::DELETE, snapshot.as_str(), Value::Null),
        (Method::DELETE, volume.as_str(), Value::Null),
    ];
    for (method, path, body) in &requests {
        let refused = fixture.call(method.clone(), path, body.clone()).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text);
        assert!(
            refused.text.contains("frozen storage backends"),
            "{}",
            refused.text
        );
    }
    assert_eq!(put(&fixture, "/v3/os-services/thaw", host).await.0, 200);
    let deleted = fixture.call(Method::DELETE, &snapshot, Value::Null).await;
    assert_eq!(deleted.status, 202, "{}", deleted.text);
}

#[tokio::test]
async fn hosts_tell_what_lies_there() {
    let fixture = Fixture::new().await;
    beat(&fixture).await;
    fixture.make_volume("a").await;
    let hosts = fixture
        .call(Method::GET, "/v3/os-hosts", Value::Null)
        .await
        .json();
    assert_eq!(hosts["hosts"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        hosts["hosts"][1],
        json!({
            "host_name": "xensm@nova", "service": "cinder-volume", "zone": "nova", "service-status": "available",
            "service-state": "enabled", "last-update": "2026-11-22T07:00:00.123456",
        })
    );
    let none = fixture
        .call(Method::GET, "/v3/os-hosts?zone=east", Value::Null)
        .await
        .json();
    assert_eq!(none, json!({"hosts": []}));
    let shown = fixture
        .call(Method::GET, "/v3/os-hosts/xensm@nova", Value::Null)
        .await
        .json();
    for (place, project) in ["(total)", fixture.project.as_str()].iter().enumerate() {
        assert_eq!(
            shown["host"][place]["resource"],
            json!({
                "host": "xensm@nova", "project": project, "volume_count": "1", "total_volume_gb": "1",
                "snapshot_count": "0", "total_snapshot_gb": "0",
            })
        );
    }
    let path = "/v3/os-hosts/xensm@nova";
    let (status, said) = put(&fixture, path, json!({"status": "disable"})).await;
    assert_eq!(
        (status, said),
        (200, json!({"host": "xensm@nova", "status": "disabled"}))
    );
    let (status, said) = put(&fixture, path, json!({"status": "Enable "})).await;
    assert_eq!(
        (status, said),
        (200, json!({"host": "xensm@nova", "status": "enabled"}))
    );
    for body in [
        json!({"status": "perhaps"}),
        json!({"colour": "enable"}),
        json!({"status": 1}),
        json!([]),
    ] {
        let (status, said) = put(&fixture, path, body.clone()).await;
        assert_eq!(status, 400, "{body}: {said}");
    }
    let unknown = fixture
        .call(Method::GET, "/v3/os-hosts/elsewhere", Value::Null)
        .await;
    assert_eq!(unknown.status, 404);
    assert_eq!(
        put(
            &fixture,
            "/v3/os-hosts/elsewhere",
            json!({"status": "enable"})
        )
        .await
        .0,
        404
    );
}

#[tokio::test]
async fn wrong_requests_about_services_are_refused() {
    let fixture = Fixture::new().await;
    beat(&fixture).await;
    let (token, _) = fixture.other_user("tenant", "member").await;
    let host = "xensm@nova";
    for (path, body, status) in [
        (
            "enable",
            json!({"binary": "cinder-volume", "host": "elsewhere"}),
            404,
        ),
        (
            "disable",
            json!({"binary": "cinder-backup", "host": host}),
            404,
        ),
        ("disable", json!({"host": host}), 400),
        ("disable", json!({"binary": "cinder-volume"}), 400),
        (
            "disable",
            json!({"binary": "cinder-volume", "host": "a b"}),
            400,
        ),
        (
            "disable",
            json!({"binary": "cinder-volume", "host": host, "colour": 1}),
            400,
        ),
        (
            "disable-log-reason",
            json!({"binary": "cinder-volume", "host": host, "disabled_reason": null}),
            400,
        ),
        (
            "disable-log-reason",
            json!({"binary": "cinder-volume", "host": host, "disabled_reason": "  "}),
            400,
        ),
        ("freeze", json!({"host": "elsewhere"}), 400),
        ("freeze", json!({}), 400),
        ("thaw", json!({"host": 7}), 400),
        ("thaw", json!({"cluster": "c"}), 400),
        ("failover_host", json!({"host": host}), 400),
        ("failover", json!({"host": "elsewhere"}), 400),
        ("get-log", json!({"binary": "nova-api"}), 400),
        ("get-log", json!({"colour": "red"}), 400),
        ("set-log", json!({}), 400),
        ("set-log", json!({"level": "loud"}), 400),
        ("set-log", json!({"level": 7}), 400),
        ("dance", json!({}), 404),
    ] {
        let (found, said) = put(&fixture, &format!("/v3/os-services/{path}"), body.clone()).await;
        assert_eq!(found, status, "{path} {body}: {said}");
    }
    let which = json!({"binary": "cinder-volume", "host": host});
    for (method, path, body) in [
        (Method::GET, "/v3/os-services", Value::Null),
        (Method::PUT, "/v3/os-services/disable", which.clone()),
        (Method::PUT, "/v3/os-services/freeze", json!({"host": host})),
        (Method::GET, "/v3/os-hosts", Value::Null),
        (Method::GET, "/v3/os-hosts/xensm@nova", Value::Null),
        (
            Method::PUT,
            "/v3/os-hosts/xensm@nova",
            json!({"status": "disable"}),
        ),
        (Method::POST, "/v3/workers/cleanup", json!({})),
        (Method::PUT, "/v3/os-services/get-log", json!({})),
        (
            Method::PUT,
            "/v3/os-services/set-log",
            json!({"level": "debug"}),
        ),
    ] {
        let refused = fixture.call_as(&token, "3.71", method, path, body).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text);
    }
    let shown = fixture
        .call(
            Method::GET,
            "/v3/os-services?binary=cinder-volume",
            Value::Null,
        )
        .await
        .json();
    assert_eq!(
        (
            &shown["services"][0]["status"],
            &shown["services"][0]["frozen"]
        ),
        (&json!("enabled"), &json!(false))
    );
}

#[tokio::test]
async fn a_cleanup_is_asked_for() {
    let fixture = Fixture::new().await;
    let path = "/v3/workers/cleanup";
    let asked = fixture.call(Method::POST, path, json!({})).await;
    assert_eq!(
        (asked.status, asked.json()),
        (202, json!({"cleaning": [], "unavailable": []}))
    );
    let volume = fixture.make_volume("a").await;
    let of_volume = json!({"resource_id": volume, "resource_type": "Volume"});
    assert_eq!(
        fixture
            .call(Method::POST, path, of_volume.clone())
            .await
            .status,
        202
    );
    fixture.settle(&volume).await;
    for body in [
        of_volume,
        json!({"resource_type": "Backup"}),
        json!({"resource_id": "x"}),
        json!({"binary": "cinder-backup"}),
        json!({"is_up": "perhaps"}),
        json!({"colour": 1}),
    ] {
        let refused = fixture.call(Method::POST, path, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text);
    }
    let nulls = json!({"binary": "cinder-volume", "host": null, "cluster_name": null, "disabled": null, "is_up": false,
        "resource_id": null, "resource_type": null, "service_id": null});
    let as_the_sdk_does = fixture.call(Method::PUT, path, nulls).await;
    assert_eq!(as_the_sdk_does.status, 202, "{}", as_the_sdk_does.text);
    let early = fixture
        .call_as(&fixture.token, "3.23", Method::POST, path, json!({}))
        .await;
    assert_eq!(early.status, 404);
}

/// What decides about log lines in these tests.
#[derive(Default)]
struct Noted(Mutex<BTreeMap<String, LogLevel>>);

impl LogFilter for Noted {
    fn levels(&self, prefix: &str) -> BTreeMap<String, LogLevel> {
        let mut levels = self.0.lock().expect("not poisoned").clone();
        levels.retain(|part, _| part.starts_with(prefix));
        levels
    }

    fn set(&self, prefix: &str, level: LogLevel) -> crate::error::Result<()> {
        let mut levels = self.0.lock().expect("not poisoned");
        levels.insert(prefix.to_owned(), level);
        Ok(())
    }
}

#[tokio::test]
async fn log_levels_are_told_and_set_where_they_can_be() {
    let fixture = Fixture::new().await;
    let silent = put(&fixture, "/v3/os-services/get-log", json!({})).await;
    assert_eq!(silent.0, 501, "no filter is known: {}", silent.1);
    let noted = Arc::new(Noted::default());
    fixture.service.log.is_decided_by(noted.clone());
    beat(&fixture).await;
    let set = "/v3/os-services/set-log";
    let get = "/v3/os-services/get-log";
    let debug =
        |binary: &str| json!({"binary": binary, "prefix": "volume_service", "level": "debug"});

    // The worker that beats is another process: its levels cannot be reached, and nothing is changed.
    for body in [
        debug("*"),
        debug(""),
        debug("cinder-volume"),
        debug("cinder-scheduler"),
    ] {
        let (status, said) = put(&fixture, set, body.clone()).await;
        assert_eq!(status, 400, "{body}");
        let text = said["badRequest"]["message"].as_str().unwrap_or_default();
        assert!(text.contains("cannot be reached"), "{text}");
    }
    assert_eq!(
        put(&fixture, get, json!({"server": "xensm@nova"})).await.0,
        400
    );
    assert!(noted.levels("").is_empty());
    let (status, _) = put(&fixture, set, debug("cinder-api")).await;
    assert_eq!(status, 202);
    let (status, said) = put(&fixture, get, json!({"prefix": "volume"})).await;
    assert_eq!(status, 200);
    let all = said["log_levels"].as_array().expect("a list");
    assert_eq!(all.len(), 1, "the other process is left out: {said}");
    assert_eq!(all[0]["binary"], "cinder-api");
    assert_eq!(all[0]["levels"], json!({"volume_service": "DEBUG"}));

    // Of a worker in the same process they are the same.
    fixture.service.log.has_worker("m1", "nova");
    let info = json!({"server": "xensm@nova", "prefix": "xenapi", "level": "INFO"});
    assert_eq!(put(&fixture, set, info).await.0, 202);
    let (_, said) = put(&fixture, get, json!({"binary": "*"})).await;
    let hosts: Vec<_> = said["log_levels"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| (one["binary"].clone(), one["levels"]["xenapi"].clone()))
        .collect();
    let named = ["cinder-api", "cinder-scheduler", "cinder-volume"];
    assert_eq!(hosts, named.map(|name| (json!(name), json!("INFO"))));
    let nobody = json!({"binary": "cinder-backup", "level": "error"});
    assert_eq!(put(&fixture, set, nobody).await.0, 202, "as Cinder");
    for prefix in ["a,b", "a=trace", "[x]", " "] {
        let body = json!({"binary": "cinder-api", "prefix": prefix, "level": "error"});
        assert_eq!(put(&fixture, set, body).await.0, 400, "{prefix}");
    }

    let early = fixture
        .call_as(&fixture.token, "3.31", Method::PUT, get, json!({}))
        .await;
    assert_eq!(early.status, 404, "{}", early.text);
}
