//! A service on a fresh database of each kind.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use volume_service::app::volumes::CreateVolume;
use volume_service::app::{self, Service, flavors};
use volume_service::config::{
    Config, Endpoints, Limits, MasterKey, PoolConfig, Secret, Trust, ZoneConfig,
};
use volume_service::context::{RealWorld, World};
use volume_service::db::{
    Database, group_snapshots, groups, operations, snapshots, volume_extensions,
    volume_modifications, volumes,
};
use volume_service::model::flavor::Flavor;
use volume_service::model::group::GroupStatus;
use volume_service::model::id::{GroupId, GroupSnapshotId, VolumeId};
use volume_service::model::modification::ModificationState;
use volume_service::model::operation::{OperationKind, OperationState};
use volume_service::model::snapshot::SnapshotStatus;
use volume_service::model::volume::VolumeStatus;
use volume_service::{Context, RequestContext};

/// Longest wait for anything in these tests; a password hash takes seconds in a debug build on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Real chance, and a clock that a test moves.
pub struct TestWorld {
    random: RealWorld,
    pub now_us: AtomicI64,
}

/// Microseconds since 1970, by the clock of the machine.
pub fn now() -> i64 {
    RealWorld::default().now_us()
}

impl TestWorld {
    /// A world at a moment.
    pub fn at(now_us: i64) -> Self {
        TestWorld {
            random: RealWorld::default(),
            now_us: AtomicI64::new(now_us),
        }
    }
}

impl World for TestWorld {
    fn now_us(&self) -> i64 {
        // Each look is a little later, so that rows made one after another are told apart.
        self.now_us.fetch_add(1, Ordering::Relaxed)
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.random.fill_random(buffer);
    }
}

/// What a test works with.
pub struct Bench {
    pub service: Service,
    pub world: std::sync::Arc<TestWorld>,
    pub url: String,
}

/// Runs a test on each database.
pub fn on_each<F, Fut>(body: F)
where
    F: Fn(Bench) -> Fut,
    Fut: Future<Output = ()>,
{
    on_each_with(Limits::default(), body);
}

/// Runs a test on each database with limits of its own.
pub fn on_each_with<F, Fut>(limits: Limits, body: F)
where
    F: Fn(Bench) -> Fut,
    Fut: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for kind in [Kind::Sqlite, Kind::Postgresql] {
        let directory = testkit::scratch::directory();
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}/xensm.db", directory.path().display()),
            Kind::Postgresql => match postgresql_url() {
                Some(url) => url,
                None => continue,
            },
        };
        runtime.block_on(async {
            let bench = open(url, limits.clone()).await;
            tokio::time::timeout(PATIENCE, body(bench))
                .await
                .expect("the test ends in time");
        });
    }
}

enum Kind {
    Sqlite,
    Postgresql,
}

/// A database copied from a migrated one.
fn postgresql_url() -> Option<String> {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let cluster = testkit::postgres::cluster()?;
    let template = TEMPLATE.get_or_init(|| {
        let url = cluster.create_database().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime
            .block_on(Database::open(&Secret::new(url.as_str())))
            .unwrap();
        url
    });
    Some(cluster.clone_database(template).unwrap())
}

async fn open(url: String, limits: Limits) -> Bench {
    let world = std::sync::Arc::new(TestWorld::at(1_800_000_000_000_000));
    let service = Service::open(Context::with(world.clone()), config(&url, limits))
        .await
        .unwrap();
    Bench {
        service,
        world,
        url,
    }
}

/// A configuration with the zones `nova` and `east`.
pub fn config(url: &str, limits: Limits) -> Config {
    let zone = |name: &str| ZoneConfig {
        name: name.to_owned(),
        pools: vec![PoolConfig {
            url: "unix:/nowhere".to_owned(),
            username: "root".to_owned(),
            password: Secret::new("secret"),
            trust: Trust::NotNeeded,
        }],
    };
    Config {
        database_url: Secret::new(url),
        master_key: MasterKey(zeroize::Zeroizing::new([7; 32])),
        zones: vec![zone("nova"), zone("east")],
        default_zone: "nova".to_owned(),
        endpoints: Endpoints {
            volume: "http://127.0.0.1:8776".to_owned(),
            identity: "http://127.0.0.1:5000".to_owned(),
            ec2: "http://127.0.0.1:8773".to_owned(),
        },
        limits,
        token_lifetime_s: 3600,
        keystone: None,
        audit_dir: None,
        policies: volume_service::auth::policy::Policies::default(),
    }
}

/// A requester in a project with one role.
pub fn requester(project: &str, role: &str) -> RequestContext {
    let user = format!("user-of-{project}");
    RequestContext::new("req-test", user, project, vec![role.to_owned()])
}

/// A map from pairs.
pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A flavor made by the operator.
pub async fn flavor(bench: &Bench, label: &str) -> Flavor {
    flavors::create(
        &bench.service,
        &RequestContext::operator(),
        label,
        "made by a test",
    )
    .await
    .unwrap()
}

/// A request for a volume of a flavor.
pub fn wanted(flavor: &str, size_gib: u64) -> CreateVolume {
    CreateVolume {
        name: "data".to_owned(),
        size_gib,
        flavor: Some(flavor.to_owned()),
        ..CreateVolume::default()
    }
}

/// Ends every operation on volumes as a worker would whose pool answers at once.
pub async fn work_on_volumes(bench: &Bench) {
    let now_us = bench.service.context.now_us();
    bench
        .service
        .database
        .write(move |tx| {
            for zone in ["nova", "east"] {
                for operation in operations::claim(tx, zone, "test", now_us, 1_000_000, 1000)? {
                    match operation.kind {
                        OperationKind::CreateVolume => {
                            let id = operation.target.parse().unwrap();
                            let from = [VolumeStatus::Creating];
                            volumes::change_status(tx, id, &from, VolumeStatus::Available, now_us)?;
                            let group = volumes::get(tx, id)?.traits.group_id.map(GroupId);
                            if let Some(group) = group {
                                groups::settle(tx, group, now_us)?;
                            }
                        }
                        OperationKind::DeleteVolume => {
                            let id = operation.target.parse().unwrap();
                            let group = volumes::get(tx, id)?.traits.group_id.map(GroupId);
                            volumes::remove(tx, id)?;
                            if let Some(group) = group {
                                groups::settle(tx, group, now_us)?;
                            }
                        }
                        OperationKind::ExtendVolume => {
                            let volume = volumes::get(tx, operation.target.parse().unwrap())?;
                            volume_extensions::finish(tx, &volume)?;
                            volumes::leave(tx, volume.id, VolumeStatus::Extending, now_us)?;
                            let done = ModificationState::Completed;
                            volume_modifications::end(tx, volume.id, done, "", now_us)?;
                        }
                        OperationKind::CreateSnapshot => {
                            let id = operation.target.parse().unwrap();
                            let (from, to) =
                                ([SnapshotStatus::Creating], SnapshotStatus::Available);
                            snapshots::change_status(tx, id, &from, to, now_us)?;
                        }
                        OperationKind::DeleteSnapshot => {
                            let id = operation.target.parse().unwrap();
                            let traits = snapshots::get(tx, id)?.traits;
                            snapshots::remove(tx, id)?;
                            if let Some(together) = traits.group_snapshot_id {
                                let together = GroupSnapshotId(together);
                                group_snapshots::settle(tx, together, now_us)?;
                            }
                        }
                        OperationKind::CreateGroupSnapshot => {
                            let id = operation.target.parse().unwrap();
                            let (from, to) =
                                ([SnapshotStatus::Creating], SnapshotStatus::Available);
                            for snapshot in group_snapshots::members(tx, id)? {
                                snapshots::change_status(tx, snapshot.id, &from, to, now_us)?;
                            }
                            let to = GroupStatus::Available;
                            group_snapshots::set_status(tx, id, to, "", false, now_us)?;
                        }
                        other => panic!("not expected here: {other:?}"),
                    }
                    operations::finish(
                        tx,
                        operation.lease(),
                        OperationState::Succeeded,
                        "",
                        now_us,
                    )?;
                }
            }
            Ok(())
        })
        .await
        .unwrap();
}

/// A volume that is ready.
pub async fn available(bench: &Bench, request: &RequestContext, flavor: &str) -> VolumeId {
    let volume = app::volumes::create(&bench.service, request, wanted(flavor, 1))
        .await
        .unwrap();
    work_on_volumes(bench).await;
    volume.id
}
