//! Application credentials and EC2 keys through the API.

use http::Method;
use serde_json::{Value, json};

use super::{call, issue, user_of};
use crate::api::fixture::{ACCESS_KEY, Fixture, PASSWORD};

async fn by_credential(
    fixture: &Fixture,
    credential: &Value,
    secret: &str,
) -> (u16, Value, String) {
    let given = json!({"id": credential["id"], "secret": secret});
    let identity = json!({"methods": ["application_credential"], "application_credential": given});
    issue(fixture, identity, Value::Null).await
}

async fn make(fixture: &Fixture, token: &str, user: &str, body: Value) -> (u16, Value) {
    let path = format!("/v3/users/{user}/application_credentials");
    let body = json!({"application_credential": body});
    let (status, made) = call(fixture, token, Method::POST, &path, body).await;
    (status, made["application_credential"].clone())
}

#[tokio::test]
async fn application_credentials_carry_what_they_were_given_and_no_more() {
    let fixture = Fixture::new().await;
    let admin = fixture.token.as_str();
    let user = user_of(&fixture, admin).await;
    let wanted = json!({"name": "ci", "secret": "my own secret", "description": "tests",
        "roles": [{"name": "reader"}]});
    let (status, made) = make(&fixture, admin, &user, wanted).await;
    assert_eq!((status, &made["secret"]), (201, &json!("my own secret")));
    let (status, token, limited) = by_credential(&fixture, &made, "my own secret").await;
    assert_eq!(status, 201, "{token}");
    assert_eq!(token["token"]["roles"].as_array().map(Vec::len), Some(1));
    assert_eq!(token["token"]["application_credential"]["id"], made["id"]);
    assert_eq!(by_credential(&fixture, &made, "another").await.0, 401);

    let base = format!("/v3/users/{user}/application_credentials");
    let one = format!("{base}/{}", made["id"].as_str().expect("an id"));
    let (_, shown) = call(&fixture, admin, Method::GET, &one, Value::Null).await;
    assert_eq!(shown["application_credential"]["description"], "tests");
    assert!(shown["application_credential"].get("secret").is_none());
    let (_, listed) = call(
        &fixture,
        &limited,
        Method::GET,
        &format!("{base}?name=ci"),
        Value::Null,
    )
    .await;
    assert_eq!(listed["application_credentials"][0]["id"], made["id"]);

    // It reads the volumes of its project and changes nothing.
    let volumes = fixture
        .call_as(&limited, "3.0", Method::GET, "/v3/volumes", Value::Null)
        .await;
    assert_eq!(volumes.status, 200);
    let body = json!({"volume": {"size": 1, "volume_type": "gold"}});
    let refused = fixture
        .call_as(&limited, "3.0", Method::POST, "/v3/volumes", body)
        .await;
    assert_eq!(refused.status, 403);
    // It neither makes nor removes others, nor sees keys that can do more than it can.
    assert_eq!(
        make(&fixture, &limited, &user, json!({"name": "other"}))
            .await
            .0,
        403
    );
    assert_eq!(
        call(&fixture, &limited, Method::DELETE, &one, Value::Null)
            .await
            .0,
        403
    );
    for path in [
        format!("/v3/users/{user}/credentials/OS-EC2"),
        "/v3/credentials".to_owned(),
    ] {
        assert_eq!(
            call(&fixture, &limited, Method::GET, &path, Value::Null)
                .await
                .0,
            403
        );
    }
    let rescope = json!({"methods": ["token"], "token": {"id": limited}});
    assert_eq!(issue(&fixture, rescope, Value::Null).await.0, 403);

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
    assert_eq!(by_credential(&fixture, &made, "my own secret").await.0, 401);
    let gone = fixture
        .call_as(&limited, "3.0", Method::GET, "/v3/volumes", Value::Null)
        .await;
    assert_eq!(gone.status, 401, "its tokens went with it");
}

#[tokio::test]
async fn an_unrestricted_one_makes_others_with_its_own_roles() {
    let fixture = Fixture::new().await;
    let (tenant, _) = fixture.other_user("tenant", "member").await;
    let user = user_of(&fixture, &tenant).await;
    let (status, _) = make(
        &fixture,
        &tenant,
        &user,
        json!({"name": "x", "roles": [{"name": "admin"}]}),
    )
    .await;
    assert_eq!(status, 403, "a role that the user has not");
    let (status, _) = make(
        &fixture,
        &tenant,
        &user,
        json!({"name": "x", "roles": [{"name": "king"}]}),
    )
    .await;
    assert_eq!(status, 404);
    let rules = json!({"name": "x", "access_rules": [{"path": "/"}]});
    assert_eq!(make(&fixture, &tenant, &user, rules).await.0, 501);
    let wanted = json!({"name": "parent", "roles": [{"name": "reader"}], "unrestricted": true});
    let (_, parent) = make(&fixture, &tenant, &user, wanted).await;
    let secret = parent["secret"].as_str().expect("a secret").to_owned();
    let (_, _, token) = by_credential(&fixture, &parent, &secret).await;
    let (status, child) = make(&fixture, &token, &user, json!({"name": "child"})).await;
    assert_eq!(
        (status, child["roles"][0]["name"].as_str()),
        (201, Some("reader"))
    );
    let more = json!({"name": "more", "roles": [{"name": "member"}]});
    assert_eq!(make(&fixture, &token, &user, more).await.0, 403);
    // Nobody makes them for somebody else; administrators see and remove them.
    let (status, _) = make(&fixture, &fixture.token, &user, json!({"name": "y"})).await;
    assert_eq!(status, 403);
    let path = format!(
        "/v3/users/{user}/application_credentials/{}",
        child["id"].as_str().expect("an id")
    );
    let (other, _) = fixture.other_user("stranger", "member").await;
    assert_eq!(
        call(&fixture, &other, Method::GET, &path, Value::Null)
            .await
            .0,
        403
    );
    assert_eq!(
        call(&fixture, &other, Method::DELETE, &path, Value::Null)
            .await
            .0,
        403
    );
    assert_eq!(
        call(&fixture, &fixture.token, Method::GET, &path, Value::Null)
            .await
            .0,
        200
    );
    assert_eq!(
        call(&fixture, &fixture.token, Method::DELETE, &path, Value::Null)
            .await
            .0,
        204
    );
}

#[tokio::test]
async fn ec2_keys_are_their_users() {
    let fixture = Fixture::new().await;
    let admin = fixture.token.as_str();
    let (tenant, project) = fixture.other_user("tenant", "member").await;
    let user = user_of(&fixture, &tenant).await;
    let base = format!("/v3/users/{user}/credentials/OS-EC2");
    let (status, made) = call(
        &fixture,
        &tenant,
        Method::POST,
        &base,
        json!({"tenant_id": project}),
    )
    .await;
    assert_eq!(status, 201);
    let access = made["credential"]["access"]
        .as_str()
        .expect("a key")
        .to_owned();
    let one = format!("{base}/{access}");
    let (_, shown) = call(&fixture, &tenant, Method::GET, &one, Value::Null).await;
    assert_eq!(shown["credential"]["secret"], made["credential"]["secret"]);
    let (_, shown) = call(&fixture, admin, Method::GET, &one, Value::Null).await;
    assert_eq!(
        shown["credential"]["secret"],
        Value::Null,
        "an administrator sees no secret"
    );
    let (_, generic) = call(
        &fixture,
        &tenant,
        Method::GET,
        "/v3/credentials?type=ec2",
        Value::Null,
    )
    .await;
    let id = generic["credentials"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let blob = generic["credentials"][0]["blob"].as_str().expect("a blob");
    let blob: Value = serde_json::from_str(blob).expect("JSON");
    assert_eq!(blob["access"], access.as_str());
    let (other, _) = fixture.other_user("stranger", "member").await;
    assert_eq!(
        call(&fixture, &other, Method::GET, &one, Value::Null)
            .await
            .0,
        403
    );
    assert_eq!(
        call(&fixture, &other, Method::GET, &base, Value::Null)
            .await
            .0,
        403
    );
    assert_eq!(
        call(&fixture, &other, Method::DELETE, &one, Value::Null)
            .await
            .0,
        403
    );
    let foreign = format!("/v3/credentials/{id}");
    assert_eq!(
        call(&fixture, &other, Method::GET, &foreign, Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(
        call(&fixture, &other, Method::DELETE, &foreign, Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(
        call(&fixture, &tenant, Method::DELETE, &foreign, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(
        call(&fixture, &tenant, Method::GET, &one, Value::Null)
            .await
            .0,
        404
    );
    let import = |access: &str| {
        json!({"credential": {"type": "ec2", "project_id": project,
            "blob": json!({"access": access, "secret": "s3cret"}).to_string()}})
    };
    let path = "/v3/credentials";
    assert_eq!(
        call(&fixture, &tenant, Method::POST, path, import("mine"))
            .await
            .0,
        201
    );
    assert_eq!(
        call(&fixture, &tenant, Method::POST, path, import(ACCESS_KEY))
            .await
            .0,
        409
    );
    let (status, _) = call(&fixture, &other, Method::POST, path, import("theirs")).await;
    assert_eq!(status, 403, "no role in that project");
}

#[tokio::test]
async fn a_service_asks_for_the_token_behind_a_signature() {
    let fixture = Fixture::new().await;
    let stamp = "2026-11-22T07:00:00Z";
    let text = format!(
        "GET\ncloud.example.org\n/\nAWSAccessKeyId={ACCESS_KEY}&Action=DescribeVolumes&SignatureMethod=HmacSHA256\
         &SignatureVersion=2&Timestamp={}",
        stamp.replace(':', "%3A")
    );
    let key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        crate::api::fixture::SECRET_KEY.as_bytes(),
    );
    use base64::Engine as _;
    let signature =
        base64::engine::general_purpose::STANDARD.encode(ring::hmac::sign(&key, text.as_bytes()));
    let described = |signature: &str| {
        json!({"credentials": {"access": ACCESS_KEY, "signature": signature, "verb": "GET",
            "host": "cloud.example.org", "path": "/", "params": {"Action": "DescribeVolumes",
            "AWSAccessKeyId": ACCESS_KEY, "SignatureMethod": "HmacSHA256", "SignatureVersion": "2",
            "Timestamp": stamp}}})
    };
    let admin = fixture.token.as_str();
    let path = "/v3/ec2tokens";
    let (status, token) = call(&fixture, admin, Method::POST, path, described(&signature)).await;
    assert_eq!(status, 201, "{token}");
    assert_eq!(token["token"]["user"]["name"], "admin");
    assert_eq!(token["token"]["methods"], json!(["ec2credential"]));
    let wrong = signature.replace(
        &signature[..1],
        if signature.starts_with('A') { "B" } else { "A" },
    );
    assert_eq!(
        call(&fixture, admin, Method::POST, path, described(&wrong))
            .await
            .0,
        401
    );
    assert_eq!(
        call(&fixture, "", Method::POST, path, described(&signature))
            .await
            .0,
        401
    );
    fixture.advance_s(1000);
    assert_eq!(
        call(&fixture, admin, Method::POST, path, described(&signature))
            .await
            .0,
        401
    );
    assert_eq!(fixture.log_in("admin", PASSWORD, "admin").await.status, 201);
}

#[tokio::test]
async fn losing_a_role_ends_the_application_credentials_of_the_project() {
    let fixture = Fixture::new().await;
    let (tenant, project) = fixture.other_user("tenant", "member").await;
    let user = user_of(&fixture, &tenant).await;
    let (_, made) = make(&fixture, &tenant, &user, json!({"name": "ci"})).await;
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    let member = crate::api::identity::roles::role_id("member");
    let path = format!("/v3/projects/{project}/users/{user}/roles/{member}");
    let admin = fixture.token.as_str();
    assert_eq!(
        call(&fixture, admin, Method::DELETE, &path, Value::Null)
            .await
            .0,
        204
    );
    let refused = fixture
        .call_as(&tenant, "3.0", Method::GET, "/v3/volumes", Value::Null)
        .await;
    assert_eq!(refused.status, 401, "the token has no role left");
    // Even when the role comes back.
    assert_eq!(
        call(&fixture, admin, Method::PUT, &path, Value::Null)
            .await
            .0,
        204
    );
    assert_eq!(by_credential(&fixture, &made, &secret).await.0, 401);
}
