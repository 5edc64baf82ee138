//! Tokens of a real Keystone, over TLS.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::keystone::{Keystone, PASSWORD};
use testkit::tool;
use volume_service::app::Service;
use volume_service::app::identity::{validate, validate_expired};
use volume_service::config::{KeystoneConfig, Limits, Secret, Trust};
use volume_service::{Context, ErrorKind, api};

use crate::support::{TestWorld, config, now};

/// A client of Keystone that is not ours: curl.
struct Admin<'a> {
    keystone: &'a Keystone,
    token: String,
}

/// One request by curl; the status, the headers' text and the body.
fn curl(
    keystone: &Keystone,
    method: &str,
    path: &str,
    token: &str,
    body: &Value,
) -> (u16, String, Value) {
    let mut command = std::process::Command::new("curl");
    command
        .args(["-sS", "-i", "--max-time", "60", "-X", method, "--cacert"])
        .arg(&keystone.ca_file)
        .args(["-H", "content-type: application/json", "-H"])
        .arg(format!("x-auth-token: {token}"));
    if !body.is_null() {
        command.args(["-d", &body.to_string()]);
    }
    command.arg(format!("{}{path}", keystone.url));
    let said = tool::run(&mut command);
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(status < 500, "{method} {path}: {body}\n{}", keystone.log());
    (
        status,
        head.to_owned(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

/// Logs in and returns the token.
fn log_in(keystone: &Keystone, user: &str, password: &str) -> String {
    let domain = json!({"id": "default"});
    let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
        "name": user, "domain": domain, "password": password}}},
        "scope": {"project": {"name": "admin", "domain": domain}}}});
    let (status, head, answer) = curl(keystone, "POST", "/auth/tokens", "", &body);
    assert_eq!(status, 201, "{answer}");
    let line = head
        .lines()
        .find(|line| line.to_lowercase().starts_with("x-subject-token:"));
    line.unwrap().split_once(':').unwrap().1.trim().to_owned()
}

impl Admin<'_> {
    fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, answer) = curl(self.keystone, method, path, &self.token, &body);
        (status, answer)
    }

    /// A user with a role in the project `admin`; its id.
    fn user(&self, name: &str, role: &str) -> String {
        let body = json!({"user": {"name": name, "password": PASSWORD}});
        let (status, made) = self.call("POST", "/users", body);
        assert_eq!(status, 201, "{made}");
        let id = made["user"]["id"].as_str().unwrap().to_owned();
        let project = self.id_of("projects", "admin");
        let role = self.id_of("roles", role);
        let path = format!("/projects/{project}/users/{id}/roles/{role}");
        assert_eq!(self.call("PUT", &path, Value::Null).0, 204);
        id
    }

    fn id_of(&self, plural: &str, name: &str) -> String {
        let (_, found) = self.call("GET", &format!("/{plural}?name={name}"), Value::Null);
        found[plural][0]["id"].as_str().unwrap().to_owned()
    }
}

async fn open(
    keystone: &Keystone,
    world: &Arc<TestWorld>,
    trust: Trust,
    password: &str,
) -> (Service, tempfile::TempDir) {
    let directory = testkit::scratch::directory();
    let url = format!("sqlite://{}/xensm.db", directory.path().display());
    let mut config = config(&url, Limits::default());
    config.keystone = Some(KeystoneConfig {
        url: keystone.url.clone(),
        username: "admin".to_owned(),
        password: Secret::new(password),
        project: "admin".to_owned(),
        domain: "Default".to_owned(),
        trust,
        service_roles: vec!["service".to_owned()],
    });
    let service = Service::open(Context::with(world.clone()), config).await;
    (service.unwrap(), directory)
}

async fn volumes(service: &Service, token: &str, service_token: Option<&str>) -> u16 {
    use tower::ServiceExt;
    let mut request = http::Request::builder()
        .method(Method::GET)
        .uri("/v3/volumes")
        .header("x-auth-token", token);
    if let Some(token) = service_token {
        request = request.header("x-service-token", token);
    }
    let request = request.body(axum::body::Body::empty()).unwrap();
    let router = api::volume_router(service.clone());
    router.oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_real_keystone() {
    let Some(mut keystone) = Keystone::start() else {
        return;
    };
    let world = Arc::new(TestWorld::at(now()));
    let forward_s = |seconds: i64| {
        world
            .now_us
            .fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    };
    let trust = Trust::CaFile(keystone.ca_file.clone());
    let admin = Admin {
        token: log_in(&keystone, "admin", PASSWORD),
        keystone: &keystone,
    };
    let (service, _kept) = open(&keystone, &world, trust.clone(), PASSWORD).await;

    // Who an administrator, a member and a reader are.
    let seen = validate(&service, &Secret::new(admin.token.as_str()))
        .await
        .unwrap();
    assert!(seen.roles.contains(&"admin".to_owned()), "{:?}", seen.roles);
    assert_eq!(seen.project.as_ref().unwrap().name, "admin");
    assert_eq!(volumes(&service, &admin.token, None).await, 200);
    let member_id = admin.user("tenant", "member");
    let member = log_in(&keystone, "tenant", PASSWORD);
    let seen = validate(&service, &Secret::new(member.as_str()))
        .await
        .unwrap();
    assert_eq!(seen.roles, ["member", "reader"]);
    assert_eq!(seen.user.id, member_id);

    // What is no token of it is refused, also when its form is hopeless.
    for wrong in ["", "x", "gAAAAAbbbb", "with blank", &"x".repeat(5000)] {
        let error = validate(&service, &Secret::new(wrong)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated, "{wrong}");
    }
    assert_eq!(volumes(&service, "x", None).await, 401);

    // A revoked token is refused as soon as the list of revocations is looked at again.
    let mut revoke = std::process::Command::new("curl");
    revoke
        .args(["-sS", "-X", "DELETE", "--cacert"])
        .arg(&keystone.ca_file)
        .args([
            "-H",
            &format!("x-auth-token: {member}"),
            "-H",
            &format!("x-subject-token: {member}"),
        ])
        .arg(format!("{}/auth/tokens", keystone.url));
    tool::run(&mut revoke);
    forward_s(6);
    let error = validate(&service, &Secret::new(member.as_str()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthenticated);

    // A token that expired is good beside a service's token, and only there.
    admin.user("nova", "service");
    let fresh = log_in(&keystone, "tenant", PASSWORD);
    let helper = log_in(&keystone, "nova", PASSWORD);
    assert_eq!(volumes(&service, &fresh, Some(&helper)).await, 200);
    assert_eq!(
        volumes(&service, &fresh, Some(&fresh)).await,
        200,
        "no service, no harm"
    );
    assert_eq!(volumes(&service, &fresh, Some("x")).await, 401);
    let late = validate_expired(&service, &Secret::new(fresh.as_str()))
        .await
        .unwrap();
    assert_eq!(late.user.id, member_id);

    // Its EC2 keys sign as they do at the built-in identity.
    let project = admin.id_of("projects", "admin");
    let path = format!("/users/{member_id}/credentials/OS-EC2");
    let (status, _, key) = curl(
        &keystone,
        "POST",
        &path,
        &fresh,
        &json!({"tenant_id": project}),
    );
    assert_eq!(status, 201, "{key}");
    let (access, secret) = (&key["credential"]["access"], &key["credential"]["secret"]);
    let (access, secret) = (access.as_str().unwrap(), secret.as_str().unwrap());
    if let Some(aws) = tool::python_client("aws") {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = api::ec2_router(service.clone());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        for (secret, succeeds) in [(secret, true), ("wrong", false)] {
            let mut command = tokio::process::Command::new(&aws);
            command
                .args(["ec2", "describe-volumes", "--endpoint-url", &url])
                .env("AWS_ACCESS_KEY_ID", access)
                .env("AWS_SECRET_ACCESS_KEY", secret)
                .env("AWS_DEFAULT_REGION", "RegionOne")
                .env("AWS_EC2_METADATA_DISABLED", "true");
            let output = command.output().await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.success(), succeeds, "{said}");
            assert!(succeeds || said.contains("AuthFailure"), "{said}");
        }
    }

    // Keystone away: what is remembered goes on for a minute, everything else waits; then it is back.
    let remembered = log_in(&keystone, "tenant", PASSWORD);
    let other = log_in(&keystone, "tenant", PASSWORD);
    validate(&service, &Secret::new(remembered.as_str()))
        .await
        .unwrap();
    keystone.freeze();
    validate(&service, &Secret::new(remembered.as_str()))
        .await
        .unwrap();
    let error = validate(&service, &Secret::new(other.as_str()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    keystone.resume();
    validate(&service, &Secret::new(other.as_str()))
        .await
        .unwrap();

    // A server that is not known is told nothing; wrong credentials of ours are nobody else's fault.
    let (stranger, _kept) = open(&keystone, &world, Trust::NotNeeded, PASSWORD).await;
    let error = validate(&stranger, &Secret::new(other.as_str()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let (misled, _kept) = open(&keystone, &world, trust, "wrong").await;
    assert_eq!(
        volumes(&misled, &other, None).await,
        StatusCode::SERVICE_UNAVAILABLE.as_u16()
    );

    keystone.kill();
    forward_s(70);
    assert_eq!(volumes(&service, &remembered, None).await, 503);
}
