//! A database, a zone of its own for each run, a pool, and workers that are driven by hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use volume_service::app::snapshots::{CreateSnapshot, InUse};
use volume_service::app::volumes::{CreateVolume, VolumeSource};
use volume_service::app::{self, Service};
use volume_service::auth::vault::Vault;
use volume_service::config::{Config, Endpoints, Limits, MasterKey, Secret};
use volume_service::context::World;
use volume_service::db::backends::NewBackend;
use volume_service::db::operations::NewOperation;
use volume_service::db::{
    Database, attachments, backends, flavors, operations, snapshots, volumes,
};
use volume_service::model::attachment::{AttachMode, Attachment, AttachmentStatus};
use volume_service::model::backend::Backend;
use volume_service::model::flavor::Flavor;
use volume_service::model::id::{
    AttachmentId, BackendId, FlavorId, OperationId, SnapshotId, VolumeId,
};
use volume_service::model::operation::{Operation, OperationKind};
use volume_service::model::snapshot::{Snapshot, SnapshotStatus};
use volume_service::model::volume::{Volume, VolumeStatus, VolumeTraits};
use volume_service::operation::{Engine, LEASE_US};
use volume_service::reconcile::{self, Connections, Operations, Srs, Vdis};
use volume_service::{Context, RequestContext};

use crate::fake_pool::FakePool;
use crate::gate::{Chance, Gate, WriteGate};

/// Longest wait for one run.
const PATIENCE: Duration = Duration::from_secs(180);
/// Rounds after which operations must have come to their end.
const ROUNDS_MAX: usize = 400;

/// A clock that only a test moves, and chance with a seed.
pub struct TestWorld {
    now_us: AtomicI64,
    chance: Mutex<Chance>,
}

impl TestWorld {
    pub fn advance(&self, by_us: i64) {
        self.now_us.fetch_add(by_us, Ordering::SeqCst);
    }

    fn advance_to(&self, at_us: i64) {
        self.now_us.fetch_max(at_us, Ordering::SeqCst);
    }
}

impl World for TestWorld {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        let mut chance = self.chance.lock().unwrap();
        for byte in buffer {
            *byte = chance.below(256) as u8;
        }
    }
}

/// The kinds of database.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Sqlite,
    Postgresql,
}

/// A service on a fresh database; dropped with it.
pub struct Installation {
    pub service: Service,
    pub world: Arc<TestWorld>,
    _directory: tempfile::TempDir,
}

/// Runs a test on a database; says so plainly where PostgreSQL is not installed.
pub fn on<F, Fut>(kind: Kind, body: F)
where
    F: FnOnce(Arc<Installation>) -> Fut,
    Fut: Future<Output = ()>,
{
    let directory = testkit::scratch::directory();
    let url = match kind {
        Kind::Sqlite => format!("sqlite://{}/xensm.db", directory.path().display()),
        Kind::Postgresql => match postgresql_url() {
            Some(url) => url,
            None => return,
        },
    };
    runtime().block_on(async {
        let world = Arc::new(TestWorld {
            now_us: AtomicI64::new(1_700_000_000_000_000),
            chance: Mutex::new(Chance::new(1)),
        });
        let context = Context::with(world.clone());
        let service = Service::open(context, config(&url)).await.unwrap();
        let installation = Arc::new(Installation {
            service,
            world,
            _directory: directory,
        });
        body(installation).await;
    });
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn postgresql_url() -> Option<String> {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let cluster = testkit::postgres::cluster()?;
    let template = TEMPLATE.get_or_init(|| {
        let url = cluster.create_database().unwrap();
        let opened = runtime().block_on(Database::open(&Secret::new(url.as_str())));
        drop(opened.unwrap());
        url
    });
    Some(cluster.clone_database(template).unwrap())
}

pub fn config(url: &str) -> Config {
    Config {
        database_url: Secret::new(url),
        master_key: MasterKey(zeroize::Zeroizing::new([7; 32])),
        zones: Vec::new(),
        default_zone: "nova".to_owned(),
        endpoints: Endpoints {
            volume: "http://127.0.0.1:8776".to_owned(),
            identity: "http://127.0.0.1:5000".to_owned(),
            ec2: "http://127.0.0.1:8773".to_owned(),
        },
        limits: Limits::default(),
        token_lifetime_s: 3600,
        keystone: None,
        audit_dir: None,
        policies: volume_service::auth::policy::Policies::default(),
    }
}

/// One run: a zone, a flavor, a pool.
#[derive(Clone)]
pub struct Site {
    pub installation: Arc<Installation>,
    pub gate: Arc<Gate>,
    pub pool: Arc<FakePool>,
    pub zone: String,
    pub flavor: Flavor,
}

/// A flavor and its number.
async fn new_flavor(installation: &Arc<Installation>) -> (u64, Flavor) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let context = &installation.service.context;
    let flavor = Flavor {
        id: FlavorId(context.new_uuid()),
        label: format!("flavor-{number}"),
        description: String::new(),
        is_public: true,
        qos_id: None,
        encryption: None,
        zones: Vec::new(),
        created_at_us: context.now_us(),
    };
    let row = flavor.clone();
    let database = &installation.service.database;
    let inserted = database.write(move |tx| flavors::insert(tx, &row));
    assert!(inserted.await.unwrap());
    (number, flavor)
}

impl Site {
    /// An empty zone with a flavor.
    pub async fn new(installation: &Arc<Installation>) -> Site {
        let (number, flavor) = new_flavor(installation).await;
        let gate = Arc::new(Gate::default());
        Site {
            installation: Arc::clone(installation),
            pool: Arc::new(FakePool::new(Arc::clone(&gate))),
            gate,
            zone: format!("zone-{number}"),
            flavor,
        }
    }

    /// The same zone with another flavor, which has no backends.
    pub async fn with_another_flavor(&self) -> Site {
        let (_, flavor) = new_flavor(&self.installation).await;
        Site {
            flavor,
            ..self.clone()
        }
    }

    pub fn database(&self) -> &Database {
        &self.installation.service.database
    }

    fn context(&self) -> &Context {
        &self.installation.service.context
    }

    pub fn vault(&self) -> Vault {
        let key = &self.installation.service.config.master_key;
        Vault::new(self.context().clone(), key)
    }

    /// A worker's engine, whose calls and writes pass the gate.
    pub async fn engine(&self) -> Arc<Engine> {
        let gate = Arc::new(WriteGate::new(Arc::clone(&self.gate)));
        let service = &self.installation.service;
        let engine = Engine::open(service, &self.zone, self.pool.clone()).await;
        Arc::new(engine.unwrap().with_checkpoint(gate))
    }

    /// Adds a backend.
    pub async fn add_backend(&self, sr_type: &str, sr_uuid: Option<Uuid>) -> BackendId {
        self.add_backend_with(sr_type, sr_uuid, &[("location", "/srv/a b")])
            .await
    }

    /// Adds a backend with a configuration.
    pub async fn add_backend_with(
        &self,
        sr_type: &str,
        sr_uuid: Option<Uuid>,
        config: &[(&str, &str)],
    ) -> BackendId {
        let config = config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let new = NewBackend {
            flavor_id: self.flavor.id,
            zone: self.zone.clone(),
            position: None,
            sr_type: sr_type.to_owned(),
            sr_uuid,
            name_label: String::new(),
            name_description: String::new(),
            config: config.collect(),
            secrets: BTreeMap::from([("password".to_owned(), Secret::new("hidden"))]),
        };
        let (vault, now_us) = (self.vault(), self.context().now_us());
        let added = self
            .database()
            .write(move |tx| backends::insert(tx, &vault, &new, now_us));
        added.await.unwrap()
    }

    /// Adds a volume that is to be made.
    pub async fn create_volume(&self) -> VolumeId {
        let id = VolumeId(self.context().new_uuid());
        let volume = Volume {
            id,
            ec2_id: id.ec2_id(),
            project_id: "p".to_owned(),
            user_id: "u".to_owned(),
            name: String::new(),
            description: String::new(),
            size_gib: 1,
            extending_to_gib: None,
            source_snapshot_id: None,
            source_volume_id: None,
            status: VolumeStatus::Creating,
            flavor_id: self.flavor.id,
            flavor_label: self.flavor.label.clone(),
            zone: self.zone.clone(),
            backend_id: None,
            vdi_uuid: None,
            bootable: false,
            metadata: BTreeMap::new(),
            traits: VolumeTraits::default(),
            failure: String::new(),
            created_at_us: self.context().now_us(),
            updated_at_us: None,
        };
        let new = self.new_operation(OperationKind::CreateVolume, id.to_string());
        let inserted = self.database().write(move |tx| {
            volumes::insert(tx, &volume)?;
            assert!(operations::insert(tx, &new, new.not_before_us)?);
            Ok(())
        });
        inserted.await.unwrap();
        id
    }

    /// Who asks.
    pub fn requester(&self) -> RequestContext {
        RequestContext::new("req-test", "u", "p", vec!["admin".to_owned()])
    }

    pub fn service(&self) -> &Service {
        &self.installation.service
    }

    /// Asks for a volume with content.
    pub async fn create_from(
        &self,
        source: VolumeSource,
        size_gib: u64,
    ) -> volume_service::error::Result<VolumeId> {
        let wanted = CreateVolume {
            source,
            size_gib,
            ..CreateVolume::default()
        };
        let made = app::volumes::create(self.service(), &self.requester(), wanted).await;
        made.map(|volume| volume.id)
    }

    /// Asks for a snapshot of a volume, attached or not.
    pub async fn create_snapshot(
        &self,
        volume_id: VolumeId,
    ) -> volume_service::error::Result<SnapshotId> {
        let wanted = CreateSnapshot {
            volume_id,
            name: String::new(),
            description: String::new(),
            metadata: BTreeMap::new(),
            in_use: InUse::Allow,
        };
        let taken = app::snapshots::create(self.service(), &self.requester(), wanted).await;
        taken.map(|snapshot| snapshot.id)
    }

    pub async fn snapshot(&self, id: SnapshotId) -> Option<Snapshot> {
        let found = self.database().read(move |tx| snapshots::find(tx, id));
        found.await.unwrap()
    }

    /// Every snapshot of the zone.
    pub async fn snapshots(&self) -> Vec<Snapshot> {
        let zone = self.zone.clone();
        let found = self.database().read(move |tx| {
            let mut all = Vec::new();
            for status in SnapshotStatus::ALL {
                all.extend(snapshots::in_status(tx, &zone, status, 1000)?);
            }
            Ok(all)
        });
        found.await.unwrap()
    }

    /// Marks a snapshot as deleted whatever is at work on it.
    pub async fn force_delete_snapshot(&self, id: SnapshotId) {
        let at_us = self.context().now_us();
        let asked = self.database().write(move |tx| {
            let all = SnapshotStatus::ALL;
            snapshots::change_status(tx, id, &all, SnapshotStatus::Deleting, at_us)
        });
        assert!(asked.await.unwrap());
    }

    /// Asks for a volume's removal; false when its state does not allow it now.
    pub async fn delete_volume(&self, id: VolumeId) -> bool {
        let new = self.new_operation(OperationKind::DeleteVolume, id.to_string());
        let asked = self.database().write(move |tx| {
            let (to, at_us) = (VolumeStatus::Deleting, new.not_before_us);
            let from = [
                VolumeStatus::Available,
                VolumeStatus::Error,
                VolumeStatus::ErrorDeleting,
            ];
            if !volumes::change_status(tx, id, &from, to, at_us)? {
                return Ok(false);
            }
            assert!(operations::insert(tx, &new, at_us)?);
            Ok(true)
        });
        asked.await.unwrap()
    }

    /// Marks a volume as deleted whatever is at work on it.
    pub async fn force_delete(&self, id: VolumeId) {
        let at_us = self.context().now_us();
        let asked = self.database().write(move |tx| {
            let all = VolumeStatus::ALL;
            volumes::change_status(tx, id, &all, VolumeStatus::Deleting, at_us)
        });
        assert!(asked.await.unwrap());
    }

    /// Adds an attachment that is to be connected.
    pub async fn attach(&self, volume_id: VolumeId, connector: Value) -> AttachmentId {
        let id = AttachmentId(self.context().new_uuid());
        let attachment = Attachment {
            id,
            volume_id,
            project_id: "p".to_owned(),
            instance_id: None,
            host_name: None,
            mountpoint: None,
            status: AttachmentStatus::Attaching,
            mode: AttachMode::ReadWrite,
            connector,
            connection_info: json!({}),
            failure: String::new(),
            attached_at_us: None,
            detached_at_us: None,
            created_at_us: self.context().now_us(),
            delete_on_termination: false,
        };
        let new = self.new_operation(OperationKind::AttachVolume, id.to_string());
        let asked = self.database().write(move |tx| {
            attachments::insert(tx, &attachment)?;
            let (from, to) = (VolumeStatus::Available, VolumeStatus::Attaching);
            let at_us = new.not_before_us;
            assert!(volumes::change_status(tx, volume_id, &[from], to, at_us)?);
            assert!(operations::insert(tx, &new, at_us)?);
            Ok(())
        });
        asked.await.unwrap();
        id
    }

    /// Asks for an attachment's end.
    pub async fn detach(&self, volume_id: VolumeId, id: AttachmentId) {
        let new = self.new_operation(OperationKind::DetachVolume, id.to_string());
        let asked = self.database().write(move |tx| {
            let (all, at_us) = (AttachmentStatus::ALL, new.not_before_us);
            attachments::change_status(tx, id, &all, AttachmentStatus::Detaching)?;
            let all = VolumeStatus::ALL;
            volumes::change_status(tx, volume_id, &all, VolumeStatus::Detaching, at_us)?;
            assert!(operations::insert(tx, &new, at_us)?);
            Ok(())
        });
        asked.await.unwrap();
    }

    /// Asks for a backend to be connected.
    pub async fn connect(&self, id: BackendId) {
        let new = self.new_operation(OperationKind::ConnectBackend, id.to_string());
        let asked = self
            .database()
            .write(move |tx| operations::insert(tx, &new, new.not_before_us));
        assert!(asked.await.unwrap());
    }

    fn new_operation(&self, kind: OperationKind, target: String) -> NewOperation {
        NewOperation {
            id: OperationId(self.context().new_uuid()),
            kind,
            target,
            zone: self.zone.clone(),
            request_id: "req-test".to_owned(),
            not_before_us: self.context().now_us(),
        }
    }

    pub async fn volume(&self, id: VolumeId) -> Option<Volume> {
        let found = self.database().read(move |tx| volumes::find(tx, id));
        found.await.unwrap()
    }

    pub async fn attachment(&self, id: AttachmentId) -> Option<Attachment> {
        let found = self.database().read(move |tx| attachments::find(tx, id));
        found.await.unwrap()
    }

    pub async fn backend(&self, id: BackendId) -> Backend {
        let vault = self.vault();
        let found = self
            .database()
            .read(move |tx| backends::get(tx, &vault, id));
        found.await.unwrap()
    }

    pub async fn backends(&self) -> Vec<Backend> {
        let (vault, zone) = (self.vault(), self.zone.clone());
        let found = self
            .database()
            .read(move |tx| backends::of_zone(tx, &vault, &zone));
        found.await.unwrap()
    }

    pub async fn unfinished(&self) -> Vec<Operation> {
        let zone = self.zone.clone();
        let found = self
            .database()
            .read(move |tx| operations::unfinished(tx, &zone, 1000));
        found.await.unwrap()
    }

    /// Works until no operation is left, moving the clock over every wait.
    pub async fn work(&self, engine: &Arc<Engine>) {
        let worked = async {
            for _ in 0..ROUNDS_MAX {
                let left = self.unfinished().await;
                let due = left.iter().map(|operation| {
                    let lease = operation.lease_expires_at_us.unwrap_or(0);
                    lease.max(operation.not_before_us)
                });
                match due.min() {
                    None => return,
                    Some(due_us) => self.installation.world.advance_to(due_us),
                }
                if let Ok(claimed) = engine.claim(8).await {
                    for one in claimed {
                        engine.run(one).await;
                    }
                }
            }
            panic!("operations do not end: {:?}", self.unfinished().await);
        };
        tokio::time::timeout(PATIENCE, worked)
            .await
            .expect("the work ends in time");
    }

    /// Works until no operation is left or the worker dies; a dead worker is dropped where it was. True when it died.
    pub async fn work_or_die(&self, engine: &Arc<Engine>) -> bool {
        tokio::select! {
            biased;
            () = self.gate.death() => true,
            () = self.work(engine) => false,
        }
    }

    /// Lets the leases of a dead worker run out.
    pub fn outlive_leases(&self) {
        self.installation.world.advance(LEASE_US + 1);
    }

    /// Runs the reconcilers for longer than every grace period, and the operations that they ask for.
    pub async fn reconcile(&self, engine: &Arc<Engine>) {
        let backends = reconcile::Backends::new(Arc::clone(engine));
        let operations = Operations::new(Arc::clone(engine));
        let connections = Connections::new(Arc::clone(engine));
        let (srs, vdis) = (Srs::new(Arc::clone(engine)), Vdis::new(Arc::clone(engine)));
        let usage = reconcile::Usage::new(Arc::clone(engine));
        let instances = reconcile::Instances::new(Arc::clone(engine));
        for _ in 0..2 {
            if !self.pool.state().vms.is_empty() {
                instances.pass().await.unwrap();
            }
            backends.pass().await.unwrap();
            operations.pass().await.unwrap();
            self.work(engine).await;
            connections.pass().await.unwrap();
            srs.pass().await.unwrap();
            vdis.pass().await.unwrap();
            let repaired = usage.pass().await.unwrap().repaired;
            assert_eq!(repaired, 0, "what is counted is what is there");
            self.installation.world.advance(reconcile::VDI_GRACE_US + 1);
        }
    }
}
