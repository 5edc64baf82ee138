//! Volume types: who may see and change what of them, and what is refused.

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::{Answer, Fixture};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

async fn ask(fixture: &Fixture, method: Method, path: &str, body: Value) -> Answer {
    fixture.call(method, &format!("/v3{path}"), body).await
}

/// Asks for something that must be answered with a status, and returns the body.
async fn want(fixture: &Fixture, what: (Method, &str, Value), status: u16) -> Value {
    let (method, path, body) = what;
    let answer = ask(fixture, method.clone(), path, body.clone()).await;
    assert_eq!(
        answer.status, status,
        "{method} {path} {body}: {}",
        answer.text
    );
    answer.json()
}

async fn made(fixture: &Fixture, fields: Value) -> String {
    let body = json!({ "volume_type": fields });
    let made = want(fixture, (POST, "/types", body), 200).await;
    made["volume_type"]["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    let types = list["volume_types"].as_array().expect("types");
    let names = types.iter().filter_map(|one| one["name"].as_str());
    names.collect()
}

#[tokio::test]
async fn a_type_is_made_changed_and_removed() {
    let fixture = Fixture::new().await;
    let fields = json!({"name": "silver", "description": "less", "extra_specs": {"a": "b", "multiattach": "<is> False"}});
    let body = json!({ "volume_type": fields });
    let made = want(&fixture, (POST, "/types", body.clone()), 200).await;
    let id = made["volume_type"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let expected = json!({"volume_type": {
        "id": id, "name": "silver", "description": "less", "is_public": true, "os-volume-type-access:is_public": true,
        "extra_specs": {"a": "b", "multiattach": "<is> False"}}});
    assert_eq!(made, expected, "without its QoS specs");
    want(&fixture, (POST, "/types", body), 409).await;
    let path = format!("/types/{id}");
    let body = json!({"volume_type": {"name": "bronze", "description": "", "is_public": false}});
    let changed = want(&fixture, (PUT, &path, body), 200).await;
    let expected = json!({"volume_type": {
        "id": id, "name": "bronze", "description": null, "is_public": false,
        "extra_specs": {"a": "b", "multiattach": "<is> False"}}});
    assert_eq!(changed, expected, "and here without access");
    let taken = json!({"volume_type": {"name": "gold"}});
    want(&fixture, (PUT, &path, taken), 409).await;
    let same = json!({"volume_type": {"name": "bronze"}});
    want(&fixture, (PUT, &path, same.clone()), 200).await;
    let shown = want(&fixture, (GET, &path, Value::Null), 200).await;
    assert_eq!(shown["volume_type"]["qos_specs_id"], Value::Null);
    for (body, words) in [
        (json!({"volume_type": {}}), "Specify volume type name"),
        (json!({"volume_type": {"name": "  "}}), "can not be empty"),
        (json!({"volume_type": {"name": ""}}), "non-empty"),
        (json!({"volume_type": {"name": 7}}), "is not of type"),
        (
            json!({"volume_type": {"is_public": "maybe"}}),
            "is not one of",
        ),
        (json!({"volume_type": {"color": "red"}}), "unexpected"),
        (json!({}), "required"),
    ] {
        let refused = want(&fixture, (PUT, &path, body), 400).await;
        let message = refused["badRequest"]["message"].as_str().expect("words");
        assert!(message.contains(words), "{message}");
    }
    for body in [
        json!({"volume_type": {"name": ""}}),
        json!({"volume_type": {"name": "x".repeat(256)}}),
        json!({"volume_type": {"name": "y", "extra_specs": {"k": 1}}}),
        json!({"volume_type": {"name": "y", "extra_specs": {"": "v"}}}),
        json!({"volume_type": {"name": "y", "is_public": true}}),
        json!({"volume_type": {"name": "y", "os-volume-type-access:is_public": "so so"}}),
    ] {
        want(&fixture, (POST, "/types", body), 400).await;
    }
    let after = want(&fixture, (GET, &path, Value::Null), 200).await;
    assert_eq!(after, shown, "refusals change nothing");
    want(&fixture, (DELETE, &path, Value::Null), 202).await;
    for (method, body) in [(GET, Value::Null), (PUT, same), (DELETE, Value::Null)] {
        want(&fixture, (method, &path, body), 404).await;
    }
    want(&fixture, (GET, "/types/gold", Value::Null), 404).await;
}

#[tokio::test]
async fn a_type_in_use_stays_as_it_is() {
    let fixture = Fixture::new().await;
    fixture.make_volume("a").await;
    let list = want(&fixture, (GET, "/types", Value::Null), 200).await;
    let id = list["volume_types"][0]["id"].as_str().expect("an id");
    let (specs, encryption) = (
        format!("/types/{id}/extra_specs"),
        format!("/types/{id}/encryption"),
    );
    let full = json!({"encryption": {"provider": "luks", "control_location": "front-end"}});
    for (method, path, body, words) in [
        (
            DELETE,
            format!("/types/{id}"),
            Value::Null,
            "Target volume type is still in use.",
        ),
        (
            POST,
            specs.clone(),
            json!({"extra_specs": {"a": "b"}}),
            "Volume Type is currently in use.",
        ),
        (
            PUT,
            format!("{specs}/a"),
            json!({"a": "b"}),
            "Volume Type is currently in use.",
        ),
        (
            DELETE,
            format!("{specs}/a"),
            Value::Null,
            "Volume Type is currently in use.",
        ),
        (
            POST,
            encryption.clone(),
            full.clone(),
            "Cannot create encryption specs.",
        ),
        (
            PUT,
            format!("{encryption}/provider"),
            full,
            "Cannot update encryption specs.",
        ),
        (
            DELETE,
            format!("{encryption}/provider"),
            Value::Null,
            "Cannot delete encryption specs.",
        ),
    ] {
        let refused = want(&fixture, (method, &path, body), 400).await;
        let message = refused["badRequest"]["message"].as_str().expect("words");
        assert!(message.starts_with(words), "{message}");
    }
    // What says nothing of backends may change.
    let renamed = json!({"volume_type": {"name": "au"}});
    want(&fixture, (PUT, &format!("/types/{id}"), renamed), 200).await;
    let volumes = want(&fixture, (GET, "/volumes/detail", Value::Null), 200).await;
    assert_eq!(volumes["volumes"][0]["volume_type"], "au");
}

#[tokio::test]
async fn extra_specs_are_kept_by_name() {
    let fixture = Fixture::new().await;
    let id = made(&fixture, json!({"name": "s"})).await;
    let path = format!("/types/{id}/extra_specs");
    let body = json!({"extra_specs": {"a": "1", "multiattach": "<is> True", "b": null}});
    let echo = want(&fixture, (POST, &path, body.clone()), 200).await;
    assert_eq!(echo, body);
    let body = json!({"a": "2"});
    assert_eq!(
        want(&fixture, (PUT, &format!("{path}/a"), body.clone()), 200).await,
        body
    );
    let all = want(&fixture, (GET, &path, Value::Null), 200).await;
    assert_eq!(
        all,
        json!({"extra_specs": {"a": "2", "b": "", "multiattach": "<is> True"}})
    );
    let one = want(&fixture, (GET, &format!("{path}/a"), Value::Null), 200).await;
    assert_eq!(one, json!({"a": "2"}));
    for (method, tail, body) in [
        (POST, "", json!({"extra_specs": {"cacheable": "<is> True"}})),
        (POST, "", json!({"extra_specs": {"with space": "x"}})),
        (POST, "", json!({"extra_specs": {"a": 1}})),
        (POST, "", json!({"specs": {}})),
        (PUT, "/a", json!({"b": "1"})),
        (PUT, "/a", json!({"a": "1", "b": "1"})),
        (PUT, "/a", json!({})),
        (PUT, "/a", json!({"a": []})),
    ] {
        want(&fixture, (method, &format!("{path}{tail}"), body), 400).await;
    }
    let same = want(&fixture, (GET, &path, Value::Null), 200).await;
    assert_eq!(same, all, "refusals change nothing");
    want(&fixture, (DELETE, &format!("{path}/a"), Value::Null), 202).await;
    want(&fixture, (DELETE, &format!("{path}/a"), Value::Null), 404).await;
    want(&fixture, (GET, &format!("{path}/a"), Value::Null), 404).await;
    want(
        &fixture,
        (GET, &format!("/types/{UNKNOWN}/extra_specs"), Value::Null),
        404,
    )
    .await;

    // A member reads only what tells nothing of the installation.
    let (token, _) = fixture.other_user("tenant", "member").await;
    let told = fixture
        .call_as(&token, "3.71", GET, &format!("/v3{path}"), Value::Null)
        .await;
    assert_eq!(
        told.json(),
        json!({"extra_specs": {"multiattach": "<is> True"}})
    );
    let hidden = format!("/v3{path}/b");
    let told = fixture
        .call_as(&token, "3.71", GET, &hidden, Value::Null)
        .await;
    assert_eq!(told.status, 404);
}

#[tokio::test]
async fn a_private_type_is_for_those_who_have_access() {
    let fixture = Fixture::new().await;
    let (token, project) = fixture.other_user("tenant", "member").await;
    let id = made(
        &fixture,
        json!({"name": "own", "os-volume-type-access:is_public": false}),
    )
    .await;
    let path = format!("/v3/types/{id}");
    let as_tenant = |method, path: String, body| {
        let (fixture, token) = (&fixture, &token);
        async move { fixture.call_as(token, "3.71", method, &path, body).await }
    };
    let volume = json!({"volume": {"size": 1, "volume_type": "own"}});
    assert_eq!(as_tenant(GET, path.clone(), Value::Null).await.status, 404);
    let refused = as_tenant(POST, "/v3/volumes".to_owned(), volume.clone()).await;
    assert_eq!(refused.status, 404, "{}", refused.text);
    let seen = as_tenant(GET, "/v3/types?is_public=None".to_owned(), Value::Null).await;
    assert_eq!(names(&seen.json()), ["gold"]);

    let access = format!("/types/{id}/os-volume-type-access");
    let action = format!("/types/{id}/action");
    let add = json!({"addProjectAccess": {"project": project}});
    let remove = json!({"removeProjectAccess": {"project": project}});
    want(&fixture, (POST, &action, add.clone()), 202).await;
    want(&fixture, (POST, &action, add.clone()), 409).await;
    let list = want(&fixture, (GET, &access, Value::Null), 200).await;
    let expected = json!({"volume_type_access": [{"volume_type_id": id, "project_id": project}]});
    assert_eq!(list, expected);
    assert_eq!(as_tenant(GET, path.clone(), Value::Null).await.status, 200);
    let seen = as_tenant(GET, "/v3/types".to_owned(), Value::Null).await;
    assert_eq!(names(&seen.json()).len(), 2);
    let made = as_tenant(POST, "/v3/volumes".to_owned(), volume).await;
    assert_eq!(made.status, 202, "{}", made.text);
    want(&fixture, (POST, &action, remove.clone()), 202).await;
    want(&fixture, (POST, &action, remove.clone()), 404).await;
    assert_eq!(as_tenant(GET, path, Value::Null).await.status, 404);

    // What an administrator sees depends on what is asked for.
    for (query, expected) in [
        ("", vec!["gold"]),
        ("?is_public=True", vec!["gold"]),
        ("?is_public=False", vec!["own"]),
        ("?is_public=None&sort=name:asc", vec!["gold", "own"]),
        (
            "?is_public=none&sort_key=name&sort_dir=desc",
            vec!["own", "gold"],
        ),
        ("?is_public=None&name=own", vec!["own"]),
        ("?is_public=None&sort=name&limit=1&offset=1", vec!["gold"]),
    ] {
        let list = want(&fixture, (GET, &format!("/types{query}"), Value::Null), 200).await;
        assert_eq!(names(&list), expected, "{query}");
    }
    want(
        &fixture,
        (GET, "/types?is_public=perhaps", Value::Null),
        400,
    )
    .await;
    want(&fixture, (GET, "/types?sort=color", Value::Null), 400).await;
    want(
        &fixture,
        (GET, &format!("/types?marker={UNKNOWN}"), Value::Null),
        400,
    )
    .await;

    // A public type has no such list.
    let list = want(&fixture, (GET, "/types", Value::Null), 200).await;
    let public = list["volume_types"][0]["id"].as_str().expect("an id");
    want(
        &fixture,
        (
            GET,
            &format!("/types/{public}/os-volume-type-access"),
            Value::Null,
        ),
        404,
    )
    .await;
    for body in [add, remove] {
        want(
            &fixture,
            (POST, &format!("/types/{public}/action"), body.clone()),
            400,
        )
        .await;
        want(
            &fixture,
            (POST, &format!("/types/{UNKNOWN}/action"), body),
            404,
        )
        .await;
    }
    for body in [
        json!({"addProjectAccess": {}}),
        json!({"addProjectAccess": {"project": ""}}),
        json!({"addProjectAccess": {"project": 1}}),
        json!({"grant": {"project": project}}),
        json!({}),
    ] {
        want(&fixture, (POST, &action, body), 400).await;
    }
}

#[tokio::test]
async fn lists_are_filtered_by_specs_and_paged() {
    let fixture = Fixture::new().await;
    for (name, zones) in [("a", "nova"), ("b", "east, nova"), ("c", "east")] {
        fixture.advance_s(1);
        let specs = json!({"RESKEY:availability_zones": zones, "secret": name});
        made(&fixture, json!({"name": name, "extra_specs": specs})).await;
    }
    let page = want(&fixture, (GET, "/types?limit=3", Value::Null), 200).await;
    assert_eq!(names(&page), ["c", "b", "a"]);
    let next = page["volume_type_links"][0]["href"]
        .as_str()
        .expect("a link");
    let query = next.split_once("/v3").expect("a path").1;
    let rest = want(&fixture, (GET, query, Value::Null), 200).await;
    assert_eq!(names(&rest), ["gold"]);
    assert_eq!(rest.get("volume_type_links"), None);
    for (query, expected) in [
        ("?extra_specs=%7B%27secret%27:%20%27b%27%7D", vec!["b"]),
        (
            "?extra_specs=%7B%27RESKEY:availability_zones%27:%20%27east%27%7D",
            vec!["c", "b"],
        ),
        (
            "?extra_specs=%7B%27secret%27:%27b%27,%27RESKEY:availability_zones%27:%27mars%27%7D",
            vec![],
        ),
    ] {
        let list = want(&fixture, (GET, &format!("/types{query}"), Value::Null), 200).await;
        assert_eq!(names(&list), expected, "{query}");
    }
    want(&fixture, (GET, "/types?extra_specs=many", Value::Null), 400).await;
    let (token, _) = fixture.other_user("tenant", "member").await;
    let hidden = "/v3/types?extra_specs=%7B%27secret%27:%20%27b%27%7D";
    let told = fixture
        .call_as(&token, "3.71", GET, hidden, Value::Null)
        .await;
    assert!(names(&told.json()).is_empty());
    let told = fixture
        .call_as(&token, "3.51", GET, hidden, Value::Null)
        .await;
    assert_eq!(names(&told.json()).len(), 4, "no filter yet");

    // A type for another zone is for nobody here, one for ours decides nothing.
    let ask_for = |name: &str, zone: Value| json!({"volume": {"size": 1, "volume_type": name, "availability_zone": zone}});
    want(&fixture, (POST, "/volumes", ask_for("b", Value::Null)), 202).await;
    want(
        &fixture,
        (POST, "/volumes", ask_for("a", json!("nova"))),
        202,
    )
    .await;
    want(&fixture, (POST, "/volumes", ask_for("c", Value::Null)), 400).await;
    want(
        &fixture,
        (POST, "/volumes", ask_for("c", json!("nova"))),
        400,
    )
    .await;
}

#[tokio::test]
async fn a_type_says_how_its_volumes_are_encrypted() {
    let fixture = Fixture::new().await;
    let id = made(&fixture, json!({"name": "sealed"})).await;
    let path = format!("/types/{id}/encryption");
    assert_eq!(
        want(&fixture, (GET, &path, Value::Null), 200).await,
        json!({})
    );
    want(
        &fixture,
        (GET, &format!("{path}/provider"), Value::Null),
        404,
    )
    .await;
    let change = json!({"encryption": {"cipher": "serpent"}});
    want(&fixture, (PUT, &format!("{path}/x"), change.clone()), 404).await;
    want(&fixture, (DELETE, &format!("{path}/x"), Value::Null), 404).await;
    for body in [
        json!({"encryption": {"provider": "luks"}}),
        json!({"encryption": {"control_location": "front-end"}}),
        json!({"encryption": {"provider": "luks", "control_location": "middle"}}),
        json!({"encryption": {"provider": "luks", "control_location": "front-end", "key_size": -1}}),
        json!({"encryption": {"provider": "luks", "control_location": "front-end", "key_size": "big"}}),
        json!({"provider": "luks"}),
    ] {
        want(&fixture, (POST, &path, body), 400).await;
    }
    assert_eq!(
        want(&fixture, (GET, &path, Value::Null), 200).await,
        json!({})
    );
    let body = json!({"encryption": {
        "provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": "256"}});
    let echo = want(&fixture, (POST, &path, body.clone()), 200).await;
    assert_eq!(echo["encryption"]["key_size"], 256);
    assert_eq!(echo["encryption"]["volume_type_id"], json!(id));
    assert!(echo["encryption"]["encryption_id"].is_string(), "{echo}");
    want(&fixture, (POST, &path, body), 400).await;
    let shown = want(&fixture, (GET, &path, Value::Null), 200).await;
    assert_eq!(shown["volume_type_id"], json!(id));
    assert_eq!(
        (
            &shown["deleted"],
            &shown["deleted_at"],
            &shown["updated_at"]
        ),
        (&json!(false), &Value::Null, &Value::Null)
    );
    fixture.advance_s(1);
    assert_eq!(
        want(&fixture, (PUT, &format!("{path}/x"), change.clone()), 200).await,
        change
    );
    let one = want(&fixture, (GET, &format!("{path}/cipher"), Value::Null), 200).await;
    assert_eq!(one, json!({"cipher": "serpent"}));
    let one = want(
        &fixture,
        (GET, &format!("{path}/key_size"), Value::Null),
        200,
    )
    .await;
    assert_eq!(one, json!({"key_size": 256}));
    want(
        &fixture,
        (GET, &format!("/types/{UNKNOWN}/encryption"), Value::Null),
        404,
    )
    .await;
    want(&fixture, (DELETE, &format!("{path}/x"), Value::Null), 202).await;
    assert_eq!(
        want(&fixture, (GET, &path, Value::Null), 200).await,
        json!({})
    );
}

#[tokio::test]
async fn a_compute_service_is_told_of_a_volumes_encryption() {
    let fixture = Fixture::new().await;
    let plain = fixture.make_volume("plain").await;
    let told = want(
        &fixture,
        (GET, &format!("/volumes/{plain}/encryption"), Value::Null),
        200,
    )
    .await;
    assert_eq!(told, json!({"encryption_key_id": null}));
    let id = made(&fixture, json!({"name": "sealed"})).await;
    let body = json!({"encryption": {"provider": "luks", "control_location": "front-end", "key_size": 256}});
    want(
        &fixture,
        (POST, &format!("/types/{id}/encryption"), body),
        200,
    )
    .await;
    let volume = json!({"volume": {"size": 1, "volume_type": "sealed"}});
    let volume = want(&fixture, (POST, "/volumes", volume), 202).await;
    let path = format!(
        "/volumes/{}/encryption",
        volume["volume"]["id"].as_str().expect("an id")
    );
    let told = want(&fixture, (GET, &path, Value::Null), 200).await;
    assert_eq!(told["provider"], "luks");
    assert_eq!(volume["volume"]["encrypted"], true);
    assert_eq!(
        told["encryption_key_id"],
        volume["volume"]["encryption_key_id"]
    );
    assert!(told["encryption_key_id"].is_string(), "{told}");
    assert_eq!(
        (&told["key_size"], &told["cipher"]),
        (&json!(256), &Value::Null)
    );
    let item = ask(
        &fixture,
        GET,
        &format!("{path}/control_location"),
        Value::Null,
    )
    .await;
    assert_eq!((item.status, item.text.as_str()), (200, "front-end"));
    want(&fixture, (GET, &format!("{path}/color"), Value::Null), 404).await;
}

#[tokio::test]
async fn a_project_may_have_a_default_of_its_own() {
    let fixture = Fixture::new().await;
    let (token, project) = fixture.other_user("tenant", "member").await;
    let id = made(&fixture, json!({"name": "silver"})).await;
    made(&fixture, json!({"name": "default"})).await;
    let path = format!("/default-types/{project}");
    want(&fixture, (GET, &path, Value::Null), 404).await;
    let set = |name: &str| json!({"default_type": {"volume_type": name}});
    let expected = json!({"default_type": {"project_id": project, "volume_type_id": id}});
    for name in ["silver", &id] {
        assert_eq!(want(&fixture, (PUT, &path, set(name)), 200).await, expected);
    }
    assert_eq!(
        want(&fixture, (GET, &path, Value::Null), 200).await,
        expected
    );
    let all = want(&fixture, (GET, "/default-types", Value::Null), 200).await;
    assert_eq!(all, json!({"default_types": [expected["default_type"]]}));
    want(&fixture, (PUT, &path, set("no such")), 400).await;
    want(&fixture, (PUT, "/default-types/nobody", set("silver")), 404).await;
    want(&fixture, (GET, "/default-types/nobody", Value::Null), 404).await;
    for body in [
        json!({}),
        json!({"default_type": {}}),
        json!({"default_type": {"volume_type": ""}}),
    ] {
        want(&fixture, (PUT, &path, body), 400).await;
    }
    let own = fixture
        .call_as(&token, "3.71", GET, "/v3/types/default", Value::Null)
        .await;
    assert_eq!(own.json()["volume_type"]["name"], "silver");
    let volume = json!({"volume": {"size": 1}});
    let made = fixture
        .call_as(&token, "3.71", POST, "/v3/volumes", volume.clone())
        .await;
    assert_eq!(
        made.json()["volume"]["volume_type"],
        "silver",
        "{}",
        made.text
    );
    let made = want(&fixture, (POST, "/volumes", volume), 202).await;
    assert_eq!(made["volume"]["volume_type"], "default");
    let older = fixture
        .call_as(
            &fixture.token,
            "3.61",
            GET,
            "/v3/default-types",
            Value::Null,
        )
        .await;
    assert_eq!(older.status, 404);

    // No default goes.
    let list = want(&fixture, (GET, "/types?name=default", Value::Null), 200).await;
    let default = list["volume_types"][0]["id"].as_str().expect("an id");
    for id in [default, &id] {
        let refused = want(
            &fixture,
            (DELETE, &format!("/types/{id}"), Value::Null),
            400,
        )
        .await;
        let message = refused["badRequest"]["message"].as_str().expect("words");
        assert!(message.contains("is a default volume type"), "{message}");
    }
    want(&fixture, (DELETE, &path, Value::Null), 204).await;
    want(&fixture, (DELETE, &path, Value::Null), 204).await;
    want(&fixture, (GET, &path, Value::Null), 404).await;
}

#[tokio::test]
async fn pools_and_their_capabilities_are_for_administrators() {
    let fixture = Fixture::new().await;
    let list = want(
        &fixture,
        (GET, "/scheduler-stats/get_pools?detail=true", Value::Null),
        200,
    )
    .await;
    assert_eq!(list, json!({"pools": []}));
    want(
        &fixture,
        (
            GET,
            "/scheduler-stats/get_pools?volume_type=none",
            Value::Null,
        ),
        404,
    )
    .await;
    let zone = want(
        &fixture,
        (GET, "/capabilities/xensm@nova", Value::Null),
        200,
    )
    .await;
    assert_eq!(zone["namespace"], "OS::Storage::Capabilities::xensm@nova");
    assert_eq!(
        (&zone["vendor_name"], &zone["pool_name"]),
        (&json!("xensm"), &Value::Null)
    );
    for host in ["xensm@mars", "nova", "xensm@nova%23backend-1"] {
        want(
            &fixture,
            (GET, &format!("/capabilities/{host}"), Value::Null),
            404,
        )
        .await;
    }
}

#[tokio::test]
async fn what_is_the_administrators_is_refused_to_members() {
    let fixture = Fixture::new().await;
    let (token, project) = fixture.other_user("tenant", "member").await;
    let id = made(&fixture, json!({"name": "s"})).await;
    let encryption = json!({"encryption": {"provider": "p", "control_location": "back-end"}});
    let access = json!({"addProjectAccess": {"project": project}});
    let default = json!({"default_type": {"volume_type": "s"}});
    for (method, path, body) in [
        (
            POST,
            "/types".to_owned(),
            json!({"volume_type": {"name": "t"}}),
        ),
        (
            PUT,
            format!("/types/{id}"),
            json!({"volume_type": {"name": "t"}}),
        ),
        (DELETE, format!("/types/{id}"), Value::Null),
        (
            POST,
            format!("/types/{id}/extra_specs"),
            json!({"extra_specs": {"a": "b"}}),
        ),
        (PUT, format!("/types/{id}/extra_specs/a"), json!({"a": "b"})),
        (DELETE, format!("/types/{id}/extra_specs/a"), Value::Null),
        (
            GET,
            format!("/types/{id}/os-volume-type-access"),
            Value::Null,
        ),
        (POST, format!("/types/{id}/action"), access),
        (GET, format!("/types/{id}/encryption"), Value::Null),
        (GET, format!("/types/{id}/encryption/cipher"), Value::Null),
        (POST, format!("/types/{id}/encryption"), encryption.clone()),
        (PUT, format!("/types/{id}/encryption/x"), encryption),
        (DELETE, format!("/types/{id}/encryption/x"), Value::Null),
        (GET, "/default-types".to_owned(), Value::Null),
        (GET, format!("/default-types/{project}"), Value::Null),
        (PUT, format!("/default-types/{project}"), default),
        (DELETE, format!("/default-types/{project}"), Value::Null),
        (GET, "/scheduler-stats/get_pools".to_owned(), Value::Null),
        (GET, "/capabilities/xensm@nova".to_owned(), Value::Null),
    ] {
        let path = format!("/v3{path}");
        let answer = fixture
            .call_as(&token, "3.71", method.clone(), &path, body)
            .await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
    }
}
