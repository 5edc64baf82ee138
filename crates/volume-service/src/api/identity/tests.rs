//! Tokens, catalogue and directory against a real service.

mod credentials;
mod directory;

use http::Method;
use serde_json::{Value, json};

use crate::api::fixture::{Fixture, PASSWORD, send};

async fn issue(fixture: &Fixture, identity: Value, scope: Value) -> (u16, Value, String) {
    let mut body = json!({"auth": {"identity": identity}});
    if !scope.is_null() {
        body["auth"]["scope"] = scope;
    }
    let path = "/v3/auth/tokens";
    let answer = send(&fixture.identity, Method::POST, path, &[], body.to_string()).await;
    let token = answer.header("x-subject-token").to_owned();
    (answer.status, answer.json(), token)
}

fn password(user: Value) -> Value {
    json!({"methods": ["password"], "password": {"user": user}})
}

async fn get(fixture: &Fixture, token: &str, path: &str) -> (u16, Value) {
    let headers = [("x-auth-token", token)];
    let answer = send(&fixture.identity, Method::GET, path, &headers, "").await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn discovery() {
    let fixture = Fixture::new().await;
    let root = send(&fixture.identity, Method::GET, "/", &[], "").await;
    assert_eq!(root.status, 300);
    let shown = send(&fixture.identity, Method::GET, "/v3", &[], "").await;
    assert_eq!(shown.status, 200);
    assert_eq!(
        root.json()["versions"]["values"][0],
        shown.json()["version"]
    );
    insta::assert_json_snapshot!("identity_version", shown.json());
}

#[tokio::test]
async fn a_token_says_who_where_and_what() {
    let fixture = Fixture::new().await;
    let issued = fixture.log_in("admin", PASSWORD, "admin").await;
    assert_eq!(issued.status, 201);
    let mut body = issued.json();
    let roles = body["token"]["roles"].as_array().expect("roles").clone();
    assert!(roles.iter().any(|role| role["name"] == "admin"));
    body["token"]["audit_ids"] = json!(["<audit id>"]);
    insta::assert_json_snapshot!("token", body);
}

#[tokio::test]
async fn every_way_to_log_in() {
    let fixture = Fixture::new().await;
    let (_, body, token) = issue(
        &fixture,
        password(json!({"name": "admin", "domain": {"id": "default"}, "password": PASSWORD})),
        Value::Null,
    )
    .await;
    assert_eq!(
        body["token"]["project"]["name"], "admin",
        "the default project"
    );
    let user = body["token"]["user"]["id"]
        .as_str()
        .expect("a user")
        .to_owned();
    let project = json!({"project": {"id": fixture.project}});
    let by_id = password(json!({"id": user, "password": PASSWORD}));
    assert_eq!(issue(&fixture, by_id.clone(), project.clone()).await.0, 201);
    let (status, body, unscoped) = issue(&fixture, by_id, json!("unscoped")).await;
    assert_eq!((status, &body["token"]["project"]), (201, &Value::Null));
    let by_token = json!({"methods": ["token"], "token": {"id": unscoped}});
    assert_eq!(issue(&fixture, by_token, project).await.0, 201);
    let headers = [("x-auth-token", unscoped.as_str())];
    let refused = send(&fixture.volume, Method::GET, "/v3/volumes", &headers, "").await;
    assert_eq!(refused.status, 403, "the volume API needs a project");

    let path = format!("/v3/users/{user}/application_credentials");
    let body = json!({"application_credential": {"name": "ci"}}).to_string();
    let headers = [("x-auth-token", token.as_str())];
    let made = send(&fixture.identity, Method::POST, &path, &headers, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json()["application_credential"].clone();
    let credential = json!({"id": made["id"], "secret": made["secret"]});
    let by_credential =
        json!({"methods": ["application_credential"], "application_credential": credential});
    let (status, body, _) = issue(&fixture, by_credential, Value::Null).await;
    assert_eq!(status, 201);
    assert_eq!(body["token"]["methods"], json!(["application_credential"]));
}

#[tokio::test]
async fn an_application_credential_makes_no_other_credentials() {
    let fixture = Fixture::new().await;
    let issued = fixture.log_in("admin", PASSWORD, "admin").await;
    let user = issued.json()["token"]["user"]["id"].clone();
    let user = user.as_str().expect("a user id");
    let path = format!("/v3/users/{user}/application_credentials");
    let body = json!({"application_credential": {"name": "ci"}}).to_string();
    let headers = [("x-auth-token", issued.header("x-subject-token"))];
    let made = send(&fixture.identity, Method::POST, &path, &headers, body).await;
    let made = made.json()["application_credential"].clone();
    let credential = json!({"id": made["id"], "secret": made["secret"]});
    let by_credential =
        json!({"methods": ["application_credential"], "application_credential": credential});
    let (_, _, token) = issue(&fixture, by_credential, Value::Null).await;

    let headers = [("x-auth-token", token.as_str())];
    let body = json!({"application_credential": {"name": "forever"}}).to_string();
    let refused = send(&fixture.identity, Method::POST, &path, &headers, body).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    let path = format!("/v3/users/{user}/credentials/OS-EC2");
    let body = json!({"tenant_id": fixture.project}).to_string();
    let refused = send(&fixture.identity, Method::POST, &path, &headers, body).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
}

#[tokio::test]
async fn every_way_to_be_refused() {
    let fixture = Fixture::new().await;
    let domain = json!({"name": "Default"});
    let admin = |password: &str| json!({"name": "admin", "domain": domain, "password": password});
    let good = password(admin(PASSWORD));
    let refused = [
        (password(admin("wrong")), Value::Null),
        (
            password(json!({"name": "nobody", "domain": domain, "password": "x"})),
            Value::Null,
        ),
        (
            password(json!({"name": "admin", "domain": {"name": "other"}, "password": PASSWORD})),
            Value::Null,
        ),
        (
            json!({"methods": ["token"], "token": {"id": "x"}}),
            Value::Null,
        ),
        (json!({"methods": ["totp"], "totp": {}}), Value::Null),
        (good.clone(), json!({"project": {"id": "no-such"}})),
        (good.clone(), json!({"system": {"all": true}})),
    ];
    for (identity, scope) in refused {
        let (status, body, token) = issue(&fixture, identity.clone(), scope).await;
        assert_eq!(status, 401, "{identity}");
        assert_eq!(body["error"]["title"], "Unauthorized");
        assert_eq!(token, "");
    }
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"auth": {}}"#,
        r#"{"auth": {"identity": {"methods": []}}}"#,
    ] {
        let answer = send(
            &fixture.identity,
            Method::POST,
            "/v3/auth/tokens",
            &[],
            body,
        )
        .await;
        assert!(
            matches!(answer.status, 400 | 401),
            "{body}: {}",
            answer.status
        );
        assert!(answer.json()["error"]["message"].is_string(), "{body}");
    }
    let huge = vec![b' '; 200_000];
    let answer = send(
        &fixture.identity,
        Method::POST,
        "/v3/auth/tokens",
        &[],
        huge,
    )
    .await;
    assert_eq!(answer.status, 413);
    assert_eq!(get(&fixture, "", "/v3/auth/tokens").await.0, 401);
    assert_eq!(get(&fixture, &fixture.token, "/v3/nothing").await.0, 404);
}

#[tokio::test]
async fn tokens_are_validated_and_revoked() {
    let fixture = Fixture::new().await;
    let (other, _) = fixture.other_user("tenant", "member").await;
    let admin = fixture.token.clone();
    let subject = async |method: Method, bearer: &str, subject: &str| {
        let headers = [("x-auth-token", bearer), ("x-subject-token", subject)];
        send(&fixture.identity, method, "/v3/auth/tokens", &headers, "")
            .await
            .status
    };
    assert_eq!(subject(Method::GET, &admin, &other).await, 200);
    assert_eq!(subject(Method::HEAD, &other, &other).await, 200);
    assert_eq!(subject(Method::GET, &other, &admin).await, 403);
    assert_eq!(subject(Method::GET, &admin, "x").await, 404);
    assert_eq!(subject(Method::DELETE, &other, &admin).await, 403);
    assert_eq!(subject(Method::DELETE, &other, &other).await, 204);
    assert_eq!(subject(Method::GET, &admin, &other).await, 404);
    assert_eq!(subject(Method::GET, &other, &other).await, 401);
}

#[tokio::test]
async fn the_directory_shows_ones_own() {
    let fixture = Fixture::new().await;
    let token = &fixture.token;
    let (_, projects) = get(&fixture, token, "/v3/auth/projects").await;
    assert_eq!(projects["projects"][0]["name"], "admin");
    let (_, found) = get(&fixture, token, "/v3/projects?name=admin").await;
    assert_eq!(found["projects"][0]["id"], fixture.project.as_str());
    let path = format!("/v3/projects/{}", fixture.project);
    assert_eq!(get(&fixture, token, &path).await.0, 200);
    let (status, missing) = get(&fixture, token, "/v3/projects/admin").await;
    assert_eq!(status, 404);
    assert_eq!(
        missing["error"]["message"],
        "Could not find project: admin."
    );
    let (_, users) = get(&fixture, token, "/v3/users?name=admin").await;
    let user = users["users"][0]["id"].as_str().expect("a user").to_owned();
    assert_eq!(
        get(&fixture, token, &format!("/v3/users/{user}")).await.0,
        200
    );
    assert_eq!(get(&fixture, token, "/v3/users/x").await.0, 404);
    assert_eq!(get(&fixture, token, "/v3/domains/default").await.0, 200);
    let (_, catalog) = get(&fixture, token, "/v3/auth/catalog").await;
    assert_eq!(catalog["catalog"][0]["type"], "block-storage");

    let headers = [("x-auth-token", token.as_str())];
    let body = json!({"project": {"name": "second"}}).to_string();
    let made = send(
        &fixture.identity,
        Method::POST,
        "/v3/projects",
        &headers,
        body,
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = format!("/v3/users/{user}/credentials/OS-EC2");
    let body = json!({"tenant_id": fixture.project}).to_string();
    let key = send(&fixture.identity, Method::POST, &path, &headers, body).await;
    assert_eq!(key.status, 201, "{}", key.text);
    assert!(key.json()["credential"]["access"].is_string());
}

/// A request with a token and a JSON body (null: none).
async fn call(
    fixture: &Fixture,
    token: &str,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let headers = [("x-auth-token", token)];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = send(&fixture.identity, method, path, &headers, body).await;
    (answer.status, answer.json())
}

/// The id of a user by its own token.
async fn user_of(fixture: &Fixture, token: &str) -> String {
    let headers = [("x-auth-token", token), ("x-subject-token", token)];
    let path = "/v3/auth/tokens";
    let shown = send(&fixture.identity, Method::GET, path, &headers, "").await;
    let id = shown.json()["token"]["user"]["id"].clone();
    id.as_str().expect("a user").to_owned()
}
