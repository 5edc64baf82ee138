//! Users, projects, roles and grants: what administrators do, and what nobody else may.

use http::Method;
use serde_json::{Value, json};

use super::{call, user_of};
use crate::api::fixture::{Fixture, PASSWORD};
use crate::api::identity::roles::role_id;

#[tokio::test]
async fn a_user_from_its_making_to_its_end() {
    let fixture = Fixture::new().await;
    let admin = fixture.token.as_str();
    let user = json!({"user": {"name": "eve", "password": "first-password", "email": "eve@example.org",
        "description": "tests", "default_project_id": fixture.project}});
    let (status, made) = call(&fixture, admin, Method::POST, "/v3/users", user.clone()).await;
    assert_eq!(status, 201, "{made}");
    assert!(made["user"].get("password").is_none());
    let id = made["user"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v3/users/{id}");
    assert_eq!(
        call(&fixture, admin, Method::POST, "/v3/users", user)
            .await
            .0,
        409
    );
    let (_, found) = call(
        &fixture,
        admin,
        Method::GET,
        "/v3/users?name=eve",
        Value::Null,
    )
    .await;
    assert_eq!(found["users"], json!([made["user"]]));

    // No role anywhere: a token without a project, whatever the default is.
    let unscoped = fixture.log_in("eve", "first-password", "admin").await;
    assert_eq!(unscoped.status, 401, "no role in that project");
    let grant = format!(
        "/v3/projects/{}/users/{id}/roles/{}",
        fixture.project,
        role_id("member")
    );
    assert_eq!(
        call(&fixture, admin, Method::HEAD, &grant, Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(
        call(&fixture, admin, Method::PUT, &grant, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, admin, Method::PUT, &grant, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, admin, Method::HEAD, &grant, Value::Null)
            .await
            .0,
        204
    );
    let issued = fixture.log_in("eve", "first-password", "admin").await;
    assert_eq!(issued.status, 201);
    let eve = issued.header("x-subject-token").to_owned();

    // Changing one's password ends the tokens that there are.
    fixture.advance_s(1);
    let change =
        |old: &str| json!({"user": {"original_password": old, "password": "second-password"}});
    let own = format!("{path}/password");
    assert_eq!(
        call(&fixture, &eve, Method::POST, &own, change("wrong"))
            .await
            .0,
        401
    );
    assert_eq!(
        call(&fixture, &eve, Method::GET, &path, Value::Null)
            .await
            .0,
        200
    );
    assert_eq!(
        call(&fixture, &eve, Method::POST, &own, change("first-password"))
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, &eve, Method::GET, &path, Value::Null)
            .await
            .0,
        401
    );
    assert_eq!(
        fixture
            .log_in("eve", "first-password", "admin")
            .await
            .status,
        401
    );
    fixture.advance_s(1);
    let issued = fixture.log_in("eve", "second-password", "admin").await;
    let eve = issued.header("x-subject-token").to_owned();
    assert_eq!(
        call(&fixture, &eve, Method::GET, &path, Value::Null)
            .await
            .0,
        200
    );

    // Disabling ends tokens and logins, and enabling does not bring old tokens back.
    fixture.advance_s(1);
    let set = |enabled: bool| json!({"user": {"enabled": enabled, "email": null}});
    let (status, shown) = call(&fixture, admin, Method::PATCH, &path, set(false)).await;
    assert_eq!((status, &shown["user"]["enabled"]), (200, &json!(false)));
    assert!(shown["user"].get("email").is_none(), "null clears");
    assert_eq!(
        call(&fixture, &eve, Method::GET, &path, Value::Null)
            .await
            .0,
        401
    );
    assert_eq!(
        fixture
            .log_in("eve", "second-password", "admin")
            .await
            .status,
        401
    );
    let listed = call(
        &fixture,
        admin,
        Method::GET,
        "/v3/users?enabled=false",
        Value::Null,
    )
    .await
    .1;
    assert_eq!(listed["users"][0]["name"], "eve");
    assert_eq!(
        call(&fixture, admin, Method::PATCH, &path, set(true))
            .await
            .0,
        200
    );
    assert_eq!(
        call(&fixture, &eve, Method::GET, &path, Value::Null)
            .await
            .0,
        401
    );
    let name = json!({"user": {"name": "admin"}});
    assert_eq!(
        call(&fixture, admin, Method::PATCH, &path, name).await.0,
        409
    );

    assert_eq!(
        call(&fixture, admin, Method::DELETE, &path, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, admin, Method::DELETE, &path, Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(
        fixture
            .log_in("eve", "second-password", "admin")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_project_from_its_making_to_its_end() {
    let fixture = Fixture::new().await;
    let admin = fixture.token.as_str();
    let (tenant, id) = fixture.other_user("tenant", "member").await;
    let path = format!("/v3/projects/{id}");
    assert_eq!(
        call(&fixture, &tenant, Method::GET, &path, Value::Null)
            .await
            .0,
        200
    );
    let (_, listed) = call(&fixture, admin, Method::GET, "/v3/projects", Value::Null).await;
    let names: Vec<&str> = listed["projects"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|project| project["name"].as_str())
        .collect();
    assert_eq!(names, ["admin", "tenant"]);
    let (_, page) = call(
        &fixture,
        admin,
        Method::GET,
        "/v3/projects?limit=1",
        Value::Null,
    )
    .await;
    assert_eq!(page["truncated"], true);
    let next = page["links"]["next"].as_str().expect("a link").to_owned();
    let next = next.strip_prefix("http://127.0.0.1:5000").expect("our own");
    let (_, page) = call(&fixture, admin, Method::GET, next, Value::Null).await;
    assert_eq!(page["projects"][0]["name"], "tenant");
    for empty in [
        "?domain_id=other",
        "?parent_id=x",
        "?is_domain=true",
        "?tags=red",
    ] {
        let (_, none) = call(
            &fixture,
            admin,
            Method::GET,
            &format!("/v3/projects{empty}"),
            Value::Null,
        )
        .await;
        assert_eq!(none["projects"], json!([]), "{empty}");
    }
    assert_eq!(
        call(
            &fixture,
            admin,
            Method::GET,
            "/v3/projects?name__contains=a",
            Value::Null
        )
        .await
        .0,
        501
    );

    let tags = format!("{path}/tags");
    let body = json!({"tags": ["red", "blue"]});
    let (status, set) = call(&fixture, admin, Method::PUT, &tags, body).await;
    assert_eq!((status, &set["tags"]), (200, &json!(["blue", "red"])));
    let (_, red) = call(
        &fixture,
        admin,
        Method::GET,
        "/v3/projects?tags=red",
        Value::Null,
    )
    .await;
    assert_eq!(red["projects"][0]["name"], "tenant");
    let one = format!("{tags}/red");
    assert_eq!(
        call(&fixture, &tenant, Method::GET, &one, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, &tenant, Method::DELETE, &one, Value::Null)
            .await
            .0,
        403
    );
    assert_eq!(
        call(&fixture, admin, Method::DELETE, &one, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, admin, Method::GET, &one, Value::Null)
            .await
            .0,
        404
    );

    // A disabled project gives no tokens and takes none.
    fixture.advance_s(1);
    let set = |enabled: bool| json!({"project": {"enabled": enabled, "description": "x"}});
    assert_eq!(
        call(&fixture, admin, Method::PATCH, &path, set(false))
            .await
            .0,
        200
    );
    assert_eq!(
        call(&fixture, &tenant, Method::GET, &path, Value::Null)
            .await
            .0,
        401
    );
    let refused = fixture
        .call_as(&tenant, "3.0", Method::GET, "/v3/volumes", Value::Null)
        .await;
    assert_eq!(refused.status, 401);
    assert_eq!(
        fixture
            .log_in("tenant", "another-password", "tenant")
            .await
            .status,
        401
    );
    assert_eq!(
        call(&fixture, admin, Method::PATCH, &path, set(true))
            .await
            .0,
        200
    );
    assert_eq!(
        call(&fixture, &tenant, Method::GET, &path, Value::Null)
            .await
            .0,
        401
    );
    fixture.advance_s(1);
    let issued = fixture.log_in("tenant", "another-password", "tenant").await;
    let tenant = issued.header("x-subject-token").to_owned();

    // Nobody could reach its volumes any more.
    let body = json!({"volume": {"size": 1, "volume_type": "gold"}});
    let made = fixture
        .call_as(&tenant, "3.0", Method::POST, "/v3/volumes", body)
        .await;
    assert_eq!(made.status, 202, "{}", made.text);
    let (status, refused) = call(&fixture, admin, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 409, "{refused}");
    let body = json!({"project": {"name": "empty"}});
    let (_, empty) = call(&fixture, admin, Method::POST, "/v3/projects", body.clone()).await;
    assert_eq!(
        call(&fixture, admin, Method::POST, "/v3/projects", body)
            .await
            .0,
        409
    );
    let path = format!(
        "/v3/projects/{}",
        empty["project"]["id"].as_str().expect("an id")
    );
    assert_eq!(
        call(&fixture, admin, Method::DELETE, &path, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, admin, Method::GET, &path, Value::Null)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn nobody_else_administers() {
    let fixture = Fixture::new().await;
    let (tenant, project) = fixture.other_user("tenant", "member").await;
    let (reader, _) = fixture.other_user("onlooker", "reader").await;
    let own = user_of(&fixture, &tenant).await;
    let admin_role = role_id("admin");
    let foreign = &fixture.project;
    let refused = [
        (Method::GET, "/v3/users".to_owned(), Value::Null),
        (Method::GET, "/v3/projects".to_owned(), Value::Null),
        (Method::GET, format!("/v3/projects/{foreign}"), Value::Null),
        (Method::GET, "/v3/role_assignments".to_owned(), Value::Null),
        (
            Method::GET,
            format!("/v3/role_assignments?user.id={own}"),
            Value::Null,
        ),
        (Method::GET, "/v3/services".to_owned(), Value::Null),
        (Method::GET, "/v3/endpoints".to_owned(), Value::Null),
        (Method::GET, "/v3/groups".to_owned(), Value::Null),
        (
            Method::POST,
            "/v3/users".to_owned(),
            json!({"user": {"name": "x"}}),
        ),
        (
            Method::POST,
            "/v3/projects".to_owned(),
            json!({"project": {"name": "x"}}),
        ),
        (
            Method::PATCH,
            format!("/v3/users/{own}"),
            json!({"user": {"password": "x"}}),
        ),
        (
            Method::PATCH,
            format!("/v3/projects/{project}"),
            json!({"project": {"name": "x"}}),
        ),
        (Method::DELETE, format!("/v3/users/{own}"), Value::Null),
        (
            Method::DELETE,
            format!("/v3/projects/{project}"),
            Value::Null,
        ),
        (
            Method::PUT,
            format!("/v3/projects/{project}/users/{own}/roles/{admin_role}"),
            Value::Null,
        ),
        (
            Method::PUT,
            format!("/v3/projects/{foreign}/users/{own}/roles/{admin_role}"),
            Value::Null,
        ),
        (
            Method::DELETE,
            format!("/v3/projects/{project}/users/{own}/roles/{admin_role}"),
            Value::Null,
        ),
        (
            Method::PUT,
            format!("/v3/system/users/{own}/roles/{admin_role}"),
            Value::Null,
        ),
        (
            Method::POST,
            "/v3/roles".to_owned(),
            json!({"role": {"name": "king"}}),
        ),
        (
            Method::DELETE,
            format!("/v3/roles/{admin_role}"),
            Value::Null,
        ),
        (Method::POST, "/v3/services".to_owned(), json!({})),
        (Method::POST, "/v3/domains".to_owned(), json!({})),
        (
            Method::POST,
            "/v3/ec2tokens".to_owned(),
            json!({"credentials": {}}),
        ),
    ];
    for (method, path, body) in refused {
        for token in [&tenant, &reader] {
            let (status, answer) = call(&fixture, token, method.clone(), &path, body.clone()).await;
            assert_eq!(status, 403, "{method} {path}: {answer}");
        }
        let (status, _) = call(&fixture, "", method.clone(), &path, body).await;
        assert_eq!(status, 401, "{method} {path}");
    }
    let admin = user_of(&fixture, &fixture.token).await;
    let (status, _) = call(
        &fixture,
        &tenant,
        Method::GET,
        &format!("/v3/users/{admin}"),
        Value::Null,
    )
    .await;
    assert_eq!(status, 403);
    // What is everybody's own.
    for path in [
        format!("/v3/users/{own}"),
        format!("/v3/users/{own}/projects"),
        format!("/v3/users/{own}/groups"),
        format!("/v3/projects/{project}"),
        "/v3/auth/projects".to_owned(),
        "/v3/roles".to_owned(),
        "/v3/role_inferences".to_owned(),
        "/v3/regions/RegionOne".to_owned(),
    ] {
        let (status, answer) = call(&fixture, &tenant, Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let fixture = Fixture::new().await;
    let admin = fixture.token.as_str();
    let own = user_of(&fixture, admin).await;
    let grant = |user: &str| {
        let role = role_id("admin");
        format!("/v3/projects/{}/users/{user}/roles/{role}", fixture.project)
    };
    let last = [
        (Method::DELETE, format!("/v3/users/{own}"), Value::Null),
        (
            Method::PATCH,
            format!("/v3/users/{own}"),
            json!({"user": {"enabled": false}}),
        ),
        (Method::DELETE, grant(&own), Value::Null),
        (
            Method::DELETE,
            format!("/v3/projects/{}", fixture.project),
            Value::Null,
        ),
        (
            Method::PATCH,
            format!("/v3/projects/{}", fixture.project),
            json!({"project": {"enabled": false}}),
        ),
    ];
    for (method, path, body) in &last {
        let (status, answer) = call(&fixture, admin, method.clone(), path, body.clone()).await;
        assert_eq!(status, 409, "{method} {path}: {answer}");
    }
    assert_eq!(
        call(&fixture, admin, Method::GET, "/v3/users", Value::Null)
            .await
            .0,
        200
    );
    // With a second one, the first may go; the second one is the last then.
    let (other, _) = fixture.other_user("second", "admin").await;
    let (status, answer) = call(&fixture, admin, Method::DELETE, &grant(&own), Value::Null).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(
        call(&fixture, admin, Method::GET, "/v3/users", Value::Null)
            .await
            .0,
        403
    );
    let second = user_of(&fixture, &other).await;
    let path = format!("/v3/users/{second}");
    assert_eq!(
        call(&fixture, &other, Method::DELETE, &path, Value::Null)
            .await
            .0,
        409
    );
}

#[tokio::test]
async fn roles_and_assignments_are_listed() {
    let fixture = Fixture::new().await;
    let admin = fixture.token.as_str();
    let (_, project) = fixture.other_user("tenant", "member").await;
    let (_, roles) = call(
        &fixture,
        admin,
        Method::GET,
        "/v3/roles?name=admin",
        Value::Null,
    )
    .await;
    assert_eq!(roles["roles"].as_array().map(Vec::len), Some(1));
    assert_eq!(roles["roles"][0]["id"], role_id("admin"));
    let path = format!("/v3/roles/{}/implies", role_id("admin"));
    let (_, implies) = call(&fixture, admin, Method::GET, &path, Value::Null).await;
    assert_eq!(implies["role_inference"]["implies"][0]["name"], "member");
    let path = format!("/v3/role_assignments?scope.project.id={project}&include_names");
    let (_, found) = call(&fixture, admin, Method::GET, &path, Value::Null).await;
    let found = found["role_assignments"]
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["user"]["name"], "tenant");
    assert_eq!(found[0]["scope"]["project"]["domain"]["id"], "default");
    let path = format!("/v3/role_assignments?scope.project.id={project}&effective=true");
    let (_, found) = call(&fixture, admin, Method::GET, &path, Value::Null).await;
    assert_eq!(found["role_assignments"].as_array().map(Vec::len), Some(2));
    let path = "/v3/role_assignments?scope.system=all";
    let (_, found) = call(&fixture, admin, Method::GET, path, Value::Null).await;
    assert_eq!(found["role_assignments"], json!([]));
    let (_, services) = call(
        &fixture,
        admin,
        Method::GET,
        "/v3/services?type=identity",
        Value::Null,
    )
    .await;
    let id = services["services"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v3/endpoints?service_id={id}&interface=public");
    let (_, endpoints) = call(&fixture, admin, Method::GET, &path, Value::Null).await;
    assert_eq!(endpoints["endpoints"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn bad_bodies_change_nothing() {
    let fixture = Fixture::new().await;
    let admin = fixture.token.as_str();
    let own = user_of(&fixture, admin).await;
    let long = "x".repeat(256);
    let bad = [
        (Method::POST, "/v3/users".to_owned(), json!({})),
        (Method::POST, "/v3/users".to_owned(), json!({"user": {}})),
        (
            Method::POST,
            "/v3/users".to_owned(),
            json!({"user": {"name": long}}),
        ),
        (
            Method::POST,
            "/v3/users".to_owned(),
            json!({"user": {"name": ""}}),
        ),
        (
            Method::POST,
            "/v3/users".to_owned(),
            json!({"user": {"name": "x", "password": 7}}),
        ),
        (
            Method::POST,
            "/v3/users".to_owned(),
            json!({"user": {"name": "x", "enabled": "yes"}}),
        ),
        (
            Method::PATCH,
            format!("/v3/users/{own}"),
            json!({"user": {"name": 1}}),
        ),
        (
            Method::POST,
            format!("/v3/users/{own}/password"),
            json!({"user": {"password": "x"}}),
        ),
        (
            Method::POST,
            "/v3/projects".to_owned(),
            json!({"project": {"name": "x", "tags": [1]}}),
        ),
        (
            Method::POST,
            "/v3/projects".to_owned(),
            json!({"project": {"name": "x", "tags": ["a,b"]}}),
        ),
        (
            Method::PATCH,
            format!("/v3/projects/{}", fixture.project),
            json!({"project": {"enabled": 1}}),
        ),
        (
            Method::POST,
            format!("/v3/users/{own}/application_credentials"),
            json!({"application_credential": {"name": "x", "roles": [{}]}}),
        ),
        (
            Method::POST,
            format!("/v3/users/{own}/application_credentials"),
            json!({"application_credential": {"name": "x", "expires_at": "soon"}}),
        ),
        (
            Method::POST,
            "/v3/credentials".to_owned(),
            json!({"credential": {"type": "ec2", "project_id": fixture.project, "blob": "{}"}}),
        ),
    ];
    let before = call(&fixture, admin, Method::GET, "/v3/users", Value::Null)
        .await
        .1;
    for (method, path, body) in bad {
        let (status, answer) = call(&fixture, admin, method.clone(), &path, body.clone()).await;
        assert_eq!(status, 400, "{method} {path} {body}: {answer}");
    }
    let after = call(&fixture, admin, Method::GET, "/v3/users", Value::Null)
        .await
        .1;
    assert_eq!(before, after);
    let body = json!({"user": {"name": "x", "domain_id": "other"}});
    assert_eq!(
        call(&fixture, admin, Method::POST, "/v3/users", body)
            .await
            .0,
        404
    );
    assert_eq!(fixture.log_in("admin", PASSWORD, "admin").await.status, 201);
}
