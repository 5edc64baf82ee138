//! What the router tests run against: a real service on a fresh SQLite file, in a world whose clock and chance are known.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{ec2_router, identity_router, volume_router};
use crate::app::identity::{self, FirstCredentials};
use crate::app::{Service, flavors};
use crate::auth::policy::Policies;
use crate::config::{Config, Endpoints, Limits, MasterKey, Secret, ZoneConfig};
use crate::context::{Context, RequestContext, World};
use crate::db::{Transaction, instances, snapshots, volumes};
use crate::model::id::{InstanceId, SnapshotId, VolumeId};
use crate::model::instance::{Instance, PowerState};
use crate::model::snapshot::SnapshotStatus;
use crate::model::volume::VolumeStatus;

/// 2026-11-22T07:00:00.123456Z
pub(super) const NOW_US: i64 = 1_795_330_800_123_456;
/// The password of the first user.
pub(super) const PASSWORD: &str = "a-password-of-the-tests";
/// The EC2 access key of the first user.
pub(super) const ACCESS_KEY: &str = "AKIAXENSMTEST0000001";
/// Its secret.
pub(super) const SECRET_KEY: &str = "secret/key+of=the~tests";

/// The name of the database in its directory.
const DATABASE: &str = "xensm.sqlite";

/// A world in which time stands still until told, and chance counts upwards.
pub(super) struct KnownWorld {
    now_us: AtomicI64,
    next: AtomicU64,
}

impl World for KnownWorld {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        // Different bytes in every place, so that truncated ids differ too.
        let seed = ring::digest::digest(&ring::digest::SHA256, &number.to_be_bytes());
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = seed.as_ref()[index % 32];
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    /// The body as JSON; null when there is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("our headers are ASCII"))
    }
}

/// A service with one user, its project and a flavor `gold`.
pub(super) struct Fixture {
    pub(super) service: Service,
    pub(super) world: Arc<KnownWorld>,
    pub(super) volume: Router,
    pub(super) identity: Router,
    pub(super) ec2: Router,
    /// A token of the first user, who is an administrator.
    pub(super) token: String,
    pub(super) project: String,
    directory: tempfile::TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Fixture::under(Policies::default()).await
    }

    /// The same with a policy file.
    pub(super) async fn under(policies: Policies) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let world = Arc::new(KnownWorld {
            now_us: AtomicI64::new(NOW_US),
            next: AtomicU64::new(0),
        });
        let mut fixture = Fixture::over(directory, world, policies).await;
        let service = &fixture.service;
        let first = FirstCredentials {
            user_name: "admin".to_owned(),
            password: Secret::new(PASSWORD),
            project_name: "admin".to_owned(),
            ec2_access_key: ACCESS_KEY.to_owned(),
            ec2_secret_key: Secret::new(SECRET_KEY),
        };
        assert!(
            identity::bootstrap(service, &first)
                .await
                .expect("a first start")
        );
        flavors::create(
            service,
            &RequestContext::operator(),
            "gold",
            "Not all that glitters",
        )
        .await
        .expect("a flavor");
        let issued = fixture.log_in("admin", PASSWORD, "admin").await;
        fixture.token = issued.header("x-subject-token").to_owned();
        fixture.project = issued.json()["token"]["project"]["id"]
            .as_str()
            .expect("a project")
            .to_owned();
        fixture
    }

    /// A service over the database of a directory.
    async fn over(
        directory: tempfile::TempDir,
        world: Arc<KnownWorld>,
        policies: Policies,
    ) -> Self {
        let config = Config {
            policies,
            ..config(&directory.path().join(DATABASE))
        };
        let service = Service::open(Context::with(world.clone()), config)
            .await
            .expect("the service opens");
        Fixture {
            volume: volume_router(service.clone()),
            identity: identity_router(service.clone()),
            ec2: ec2_router(service.clone()),
            service,
            world,
            token: String::new(),
            project: String::new(),
            directory,
        }
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.directory.path().join(DATABASE)
    }

    /// Writes the rows as they are now to a file.
    pub(super) fn save(&self, target: &Path) {
        let source = rusqlite::Connection::open(self.database()).expect("the database");
        source
            .execute(
                "VACUUM INTO ?1",
                [target.to_str().expect("a path in UTF-8")],
            )
            .expect("a copy");
    }

    /// The same under other policies, with a database of its own that holds the rows of a file.
    pub(super) async fn copy(&self, saved: &Path, policies: Policies) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::copy(saved, directory.path().join(DATABASE)).expect("a copy");
        let copy = Fixture::over(directory, self.world.clone(), policies).await;
        Fixture {
            token: self.token.clone(),
            project: self.project.clone(),
            ..copy
        }
    }

    /// The same rows under other policies.
    pub(super) fn ruled_by(&self, policies: Policies) -> Router {
        let mut service = self.service.clone();
        service.config = Arc::new(Config {
            policies,
            ..Config::clone(&service.config)
        });
        volume_router(service)
    }

    /// Lets time pass.
    pub(super) fn advance_s(&self, seconds: i64) {
        self.world
            .now_us
            .fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(super) async fn log_in(&self, user: &str, password: &str, project: &str) -> Answer {
        let domain = json!({"name": "Default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "password": password, "domain": domain}}},
            "scope": {"project": {"name": project, "domain": domain}}}});
        send(
            &self.identity,
            Method::POST,
            "/v3/auth/tokens",
            &[],
            body.to_string(),
        )
        .await
    }

    /// A second user with a role in a project of its own; returns a token and the project.
    pub(super) async fn other_user(&self, name: &str, role: &str) -> (String, String) {
        let operator = RequestContext::operator();
        let project = identity::create_project(&self.service, &operator, name, "")
            .await
            .expect("a project");
        let password = Secret::new("another-password");
        identity::create_user(&self.service, &operator, name, password, &project.id, role)
            .await
            .expect("a user");
        let issued = self.log_in(name, "another-password", name).await;
        (issued.header("x-subject-token").to_owned(), project.id)
    }

    /// A second user with a role in the first one's project; returns a token.
    pub(super) async fn insider(&self, role: &str) -> String {
        let operator = RequestContext::operator();
        let name = format!("insider-{}", self.service.context.new_uuid());
        let password = Secret::new("another-password");
        identity::create_user(
            &self.service,
            &operator,
            &name,
            password,
            &self.project,
            role,
        )
        .await
        .expect("a user");
        let issued = self.log_in(&name, "another-password", "admin").await;
        issued.header("x-subject-token").to_owned()
    }

    /// A call of the volume API as the first user, at 3.71.
    pub(super) async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.call_as(&self.token, "3.71", method, path, body).await
    }

    pub(super) async fn call_as(
        &self,
        token: &str,
        version: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Answer {
        let version = format!("volume {version}");
        let headers = [
            ("x-auth-token", token),
            ("openstack-api-version", version.as_str()),
        ];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        send(&self.volume, method, path, &headers, body).await
    }

    /// Makes a volume and returns its id.
    pub(super) async fn make_volume(&self, name: &str) -> String {
        let body = json!({"volume": {"name": name, "size": 1, "volume_type": "gold"}});
        let answer = self.call(Method::POST, "/v3/volumes", body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["volume"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }
}

impl Fixture {
    /// Does what a worker would: the volume was made.
    pub(super) async fn settle(&self, id: &str) {
        self.set_status(id, "creating", "available").await;
    }

    /// Does what a worker would: the volume goes from one state to another.
    pub(super) async fn set_status(&self, id: &str, from: &str, to: &str) {
        let id: VolumeId = id.parse().expect("a volume's id");
        let state = |word| VolumeStatus::parse(word).expect("a state");
        let (from, to) = ([state(from)], state(to));
        let changed = self
            .service
            .database
            .write(move |tx| {
                finish(tx, &id.to_string())?;
                volumes::change_status(tx, id, &from, to, NOW_US)
            })
            .await;
        assert!(changed.expect("the database answers"));
    }

    /// Does what a reconciler would that found an instance of a project in a pool; returns its EC2 name.
    pub(super) async fn see_instance(
        &self,
        project: &str,
        change: impl FnOnce(&mut Instance),
    ) -> String {
        let mut instance = Instance {
            id: InstanceId(self.service.context.new_uuid()),
            zone: "nova".to_owned(),
            name: "web".to_owned(),
            power_state: PowerState::Running,
            is_control_domain: false,
            instance_type: "xen.2x4".to_owned(),
            vcpus: 2,
            memory_mib: 4096,
            started_at_us: NOW_US,
            devices: Vec::new(),
            created_at_us: NOW_US,
            gone_at_us: None,
        };
        change(&mut instance);
        let (id, projects) = (instance.id, [project.to_owned()]);
        let written = self.service.database.write(move |tx| {
            instances::put(tx, &instance)?;
            instances::set_projects(tx, instance.id, &projects)
        });
        written.await.expect("the database answers");
        id.ec2_id()
    }

    /// Does what a worker would: the snapshot was taken.
    pub(super) async fn settle_snapshot(&self, id: &str) {
        let id: SnapshotId = id.parse().expect("a snapshot's id");
        let (from, to) = ([SnapshotStatus::Creating], SnapshotStatus::Available);
        let changed = self
            .service
            .database
            .write(move |tx| {
                finish(tx, &id.to_string())?;
                snapshots::change_status(tx, id, &from, to, NOW_US)
            })
            .await;
        assert!(changed.expect("the database answers"));
    }
}

/// The operation at work on a target is done.
fn finish(tx: &mut Transaction<'_>, target: &str) -> crate::error::Result<()> {
    let sql = "UPDATE operations SET state = 'succeeded' WHERE target = ?1";
    tx.execute(sql, &[target.into()]).map(drop)
}

fn config(database: &std::path::Path) -> Config {
    Config {
        database_url: Secret::new(format!("sqlite://{}", database.display())),
        master_key: MasterKey(zeroize::Zeroizing::new([7; 32])),
        zones: vec![ZoneConfig {
            name: "nova".to_owned(),
            pools: Vec::new(),
        }],
        default_zone: "nova".to_owned(),
        endpoints: Endpoints {
            volume: "http://127.0.0.1:8776".to_owned(),
            identity: "http://127.0.0.1:5000".to_owned(),
            ec2: "http://127.0.0.1:8773".to_owned(),
        },
        limits: Limits {
            page_max: 5,
            ..Limits::default()
        },
        token_lifetime_s: 3600,
        keystone: None,
        audit_dir: None,
        policies: Policies::default(),
    }
}

/// One request to a router.
pub(super) async fn send(
    router: &Router,
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).expect("a good request");
    let response = router
        .clone()
        .oneshot(request)
        .await
        .expect("routers answer");
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 24)
        .await
        .expect("a whole body");
    Answer {
        status,
        headers,
        text: String::from_utf8(bytes.to_vec()).expect("our bodies are UTF-8"),
    }
}
