//! Something of everything that a path or a body can name, in one project, and people of all kinds who ask for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use crate::api::fixture::{Fixture, NOW_US};
use crate::app::identity;
use crate::app::log_levels::{LogFilter, LogLevel};
use crate::app::messages::Message;
use crate::auth::policy::Policies;
use crate::db::backends::{self, NewBackend};
use crate::db::services::{self, Heartbeat};
use crate::db::{messages, settings};
use crate::model::backend::BackendState;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// An administrator, in the project that owns everything.
    Admin,
    /// A member of that project.
    Member,
    /// A reader of it.
    Reader,
    /// Somebody in it with a role that no policy knows.
    NoRole,
    /// A member of another project.
    Foreign,
    /// Somebody without a token.
    Nobody,
}

impl Who {
    pub(super) const ALL: [Who; 6] = [
        Who::Admin,
        Who::Member,
        Who::Reader,
        Who::NoRole,
        Who::Foreign,
        Who::Nobody,
    ];
}

/// Ids of what there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    pub(super) project: String,
    pub(super) other_project: String,
    /// `xensm@nova`, whose services live.
    pub(super) host: String,
    /// Its only backend, as a scheduler's pool.
    pub(super) pool: String,
    /// A volume with metadata, and nothing that holds it.
    pub(super) free: String,
    /// A volume with a snapshot.
    pub(super) source: String,
    /// The snapshot.
    pub(super) snapshot: String,
    /// A volume that is reserved by an attachment.
    pub(super) reserved: String,
    pub(super) reservation: String,
    /// A volume that an attachment has just connected.
    pub(super) connected: String,
    pub(super) connection: String,
    /// A volume that an instance uses.
    pub(super) in_use: String,
    /// A volume that is offered to other projects.
    pub(super) offered: String,
    pub(super) transfer: String,
    pub(super) transfer_key: String,
    /// A group type with groups and the spec `k`.
    pub(super) group_type: String,
    /// A group type without groups, with the spec `k`.
    pub(super) idle_group_type: String,
    /// A group with a volume.
    pub(super) group: String,
    /// A group with a volume and a group snapshot.
    pub(super) taken_group: String,
    pub(super) group_snapshot: String,
    pub(super) message: String,
    /// A public type with volumes, which is the project's default.
    pub(super) gold: String,
    /// A public type without volumes, with extra specs and QoS specs.
    pub(super) idle: String,
    /// A type that only the project may use.
    pub(super) private: String,
    /// A public type with encryption.
    pub(super) coded: String,
    pub(super) encryption: String,
    /// QoS specs of the type `idle`.
    pub(super) qos: String,
    /// QoS specs of no type.
    pub(super) loose_qos: String,
}

pub(super) struct World {
    pub(super) fixture: Fixture,
    pub(super) ids: Ids,
    tokens: Vec<String>,
}

/// What decides about log lines here: nothing.
struct Deaf;

impl LogFilter for Deaf {
    fn levels(&self, _: &str) -> BTreeMap<String, LogLevel> {
        BTreeMap::from([("volume_service".to_owned(), LogLevel::Info)])
    }

    fn set(&self, _: &str, _: LogLevel) -> crate::error::Result<()> {
        Ok(())
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let fixture = Fixture::new().await;
        fixture.service.log.is_decided_by(Arc::new(Deaf));
        let (foreign, other_project) = fixture.other_user("tenant", "member").await;
        let tokens = vec![
            fixture.token.clone(),
            fixture.insider("member").await,
            fixture.insider("reader").await,
            fixture.insider(identity::SERVICE_ROLE).await,
            foreign,
        ];
        let ids = Ids {
            project: fixture.project.clone(),
            other_project,
            host: "xensm@nova".to_owned(),
            pool: connect_backend(&fixture).await,
            ..Ids::default()
        };
        let mut world = World {
            fixture,
            ids,
            tokens,
        };
        world.make_types().await;
        world.make_volumes().await;
        world.make_groups().await;
        world.make_attachments().await;
        world.make_message().await;
        world.fixture.save(&world.saved());
        world
    }

    /// The same world once more, with rows of its own.
    pub(super) async fn copy(&self, policies: Policies) -> Fixture {
        let copy = self.fixture.copy(&self.saved(), policies).await;
        copy.service.log.is_decided_by(Arc::new(Deaf));
        copy
    }

    fn saved(&self) -> PathBuf {
        self.fixture.database().with_extension("saved")
    }

    /// The token of one who has one.
    pub(super) fn token(&self, who: Who) -> Option<&str> {
        let place = Who::ALL.iter().position(|other| *other == who)?;
        self.tokens.get(place).map(String::as_str)
    }

    /// What a request of an administrator makes: the id under the key of the answer.
    async fn make(&self, path: &str, body: Value, key: &str) -> String {
        let answer = self.fixture.call(Method::POST, path, body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
        let made = &answer.json()[key];
        made["id"].as_str().expect("an id").to_owned()
    }

    async fn make_types(&mut self) {
        let of = |name: &str, is_public: bool| json!({"volume_type": {"name": name, "os-volume-type-access:is_public": is_public}});
        let listed = self
            .fixture
            .call(Method::GET, "/v3/types", Value::Null)
            .await;
        let gold = &listed.json()["volume_types"][0]["id"];
        self.ids.gold = gold.as_str().expect("a type").to_owned();
        let make = async |name, is_public| {
            self.make("/v3/types", of(name, is_public), "volume_type")
                .await
        };
        make("default", true).await;
        let (idle, coded, private) = (
            make("idle", true).await,
            make("coded", true).await,
            make("private", false).await,
        );
        let access = json!({"addProjectAccess": {"project": self.ids.project}});
        self.done(Method::POST, &format!("/v3/types/{private}/action"), access)
            .await;
        let specs = json!({"extra_specs": {"multiattach": "<is> False", "k": "v"}});
        self.done(
            Method::POST,
            &format!("/v3/types/{idle}/extra_specs"),
            specs,
        )
        .await;
        let encryption =
            json!({"encryption": {"provider": "luks", "control_location": "front-end"}});
        let made = self
            .done(
                Method::POST,
                &format!("/v3/types/{coded}/encryption"),
                encryption,
            )
            .await;
        let encryption = made["encryption"]["encryption_id"].as_str();
        self.ids.encryption = encryption.expect("an encryption").to_owned();
        let default = json!({"default_type": {"volume_type": "gold"}});
        let path = format!("/v3/default-types/{}", self.ids.project);
        self.done(Method::PUT, &path, default).await;
        let qos = |name: &str| json!({"qos_specs": {"name": name, "k": "v"}});
        self.ids.qos = self.make("/v3/qos-specs", qos("one"), "qos_specs").await;
        self.ids.loose_qos = self.make("/v3/qos-specs", qos("two"), "qos_specs").await;
        let path = format!(
            "/v3/qos-specs/{}/associate?vol_type_id={idle}",
            self.ids.qos
        );
        self.done(Method::GET, &path, Value::Null).await;
        (self.ids.idle, self.ids.coded, self.ids.private) = (idle, coded, private);
    }

    async fn make_volumes(&mut self) {
        let mut made = Vec::new();
        for name in ["free", "source", "reserved", "connected", "used", "offered"] {
            let id = self.fixture.make_volume(name).await;
            self.fixture.settle(&id).await;
            made.push(id);
        }
        let [free, source, reserved, connected, in_use, offered] = &made[..] else {
            panic!("six volumes");
        };
        self.change("UPDATE volumes SET backend_id = 1, vdi_uuid = id");
        let pair = json!({"metadata": {"k": "v"}});
        let of_image = json!({"os-set_image_metadata": {"metadata": {"k": "v"}}});
        let path = format!("/v3/volumes/{free}");
        self.done(Method::POST, &format!("{path}/metadata"), pair.clone())
            .await;
        self.done(Method::POST, &format!("{path}/action"), of_image)
            .await;
        let snapshot = json!({"snapshot": {"volume_id": source}});
        let snapshot = self.make("/v3/snapshots", snapshot, "snapshot").await;
        self.fixture.settle_snapshot(&snapshot).await;
        self.change("UPDATE snapshots SET backend_id = 1, vdi_uuid = id");
        let path = format!("/v3/snapshots/{snapshot}/metadata");
        self.done(Method::POST, &path, pair).await;
        let transfer = json!({"transfer": {"volume_id": offered, "name": "t"}});
        let made = self
            .done(Method::POST, "/v3/volume-transfers", transfer)
            .await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        self.ids.transfer = text(&made["transfer"]["id"]);
        self.ids.transfer_key = text(&made["transfer"]["auth_key"]);
        self.ids.snapshot = snapshot;
        self.ids.free.clone_from(free);
        self.ids.source.clone_from(source);
        self.ids.reserved.clone_from(reserved);
        self.ids.connected.clone_from(connected);
        self.ids.in_use.clone_from(in_use);
        self.ids.offered.clone_from(offered);
    }

    /// No worker takes anything here: rows say that it happened.
    async fn make_groups(&mut self) {
        for name in ["pairs", "idle-pairs"] {
            let body = json!({"group_type": {"name": name, "group_specs": {"k": "v"}}});
            let id = self.make("/v3/group_types", body, "group_type").await;
            match name {
                "pairs" => self.ids.group_type = id,
                _ => self.ids.idle_group_type = id,
            }
        }
        let mut made = Vec::new();
        for name in ["whole", "taken"] {
            let body =
                json!({"group": {"name": name, "group_type": "pairs", "volume_types": ["gold"]}});
            let group = self.make("/v3/groups", body, "group").await;
            let body = json!({"volume": {"size": 1, "volume_type": "gold", "group_id": group}});
            let volume = self.make("/v3/volumes", body, "volume").await;
            self.fixture.settle(&volume).await;
            made.push(group);
        }
        self.change("UPDATE volumes SET backend_id = 1, vdi_uuid = id WHERE vdi_uuid IS NULL");
        let body = json!({"group_snapshot": {"group_id": made[1], "name": "both"}});
        let path = "/v3/group_snapshots";
        self.ids.group_snapshot = self.make(path, body, "group_snapshot").await;
        self.change("UPDATE operations SET state = 'succeeded'");
        self.change(
            "UPDATE snapshots SET status = 'available', vdi_uuid = id WHERE status = 'creating'",
        );
        self.change("UPDATE group_snapshots SET status = 'available'");
        self.ids.group.clone_from(&made[0]);
        self.ids.taken_group.clone_from(&made[1]);
    }

    /// No worker connects anything here: rows say that it happened.
    async fn make_attachments(&mut self) {
        let mut made = Vec::new();
        for volume in [&self.ids.reserved, &self.ids.connected, &self.ids.in_use] {
            let body = json!({"attachment": {"volume_uuid": volume}});
            made.push(self.make("/v3/attachments", body, "attachment").await);
        }
        self.ids.reservation.clone_from(&made[0]);
        self.ids.connection.clone_from(&made[1]);
        let connected = "UPDATE attachments SET status = ?2, connector = '{\"host\":\"h1\"}', \
             connection_info = '{\"driver_volume_type\":\"nbd\"}' WHERE id = ?1";
        let of_volume = "UPDATE volumes SET status = ?2 WHERE id = ?1";
        let connection = self.sql();
        for (sql, id, status) in [
            (connected, &made[1], "attaching"),
            (connected, &made[2], "attached"),
            (of_volume, &self.ids.connected, "attaching"),
            (of_volume, &self.ids.in_use, "in-use"),
        ] {
            connection.execute(sql, [id, status]).expect("a row");
        }
    }

    async fn make_message(&mut self) {
        let id = self.fixture.service.context.new_uuid();
        let message = Message {
            id,
            project_id: self.ids.project.clone(),
            request_id: "req-1".to_owned(),
            resource_type: "VOLUME".to_owned(),
            resource_id: self.ids.free.clone(),
            action_id: "001".to_owned(),
            detail_id: "003".to_owned(),
            text: "There was no room.".to_owned(),
            created_at_us: NOW_US,
            expires_at_us: i64::MAX,
        };
        let filed = self.fixture.service.database.write(move |tx| {
            settings::insert(tx, "deployment", id.as_bytes())?;
            messages::insert(tx, &message)
        });
        filed.await.expect("the database answers");
        self.ids.message = id.to_string();
    }

    /// A request of an administrator that must be granted.
    async fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.fixture.call(method, path, body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
        answer.json()
    }

    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.fixture.database()).expect("the database")
    }

    fn change(&self, sql: &str) {
        self.sql().execute(sql, []).expect("rows to change");
    }

    /// Every row of every table, a line each.
    pub(super) fn dump(&self) -> Vec<String> {
        dump(&self.fixture)
    }
}

/// Every row of every table, a line each.
fn dump(fixture: &Fixture) -> Vec<String> {
    let connection = rusqlite::Connection::open(fixture.database()).expect("the database");
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
    let mut tables = connection.prepare(sql).expect("tables");
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .expect("tables")
        .collect::<Result<_, _>>()
        .expect("names");
    let mut lines = Vec::new();
    for table in tables {
        let mut rows = connection
            .prepare(&format!("SELECT * FROM \"{table}\""))
            .expect("a table");
        let columns = rows.column_count();
        let mut rows = rows.query([]).expect("rows");
        let first = lines.len();
        while let Some(row) = rows.next().expect("a row") {
            let values = (0..columns).map(|column| match row.get_ref(column) {
                Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
                Ok(other) => format!("{other:?}"),
                Err(error) => panic!("{table}: {error}"),
            });
            lines.push(format!("{table}: {}", values.collect::<Vec<_>>().join("|")));
        }
        lines[first..].sort();
    }
    assert!(lines.len() > 50, "there is something of everything");
    lines
}

/// A connected backend of the type `gold`, and a worker that lives; returns the backend as a pool.
async fn connect_backend(fixture: &Fixture) -> String {
    let listed = fixture.call(Method::GET, "/v3/types", Value::Null).await;
    let gold = &listed.json()["volume_types"][0]["id"];
    let new = NewBackend {
        flavor_id: gold.as_str().expect("a type").parse().expect("an id"),
        zone: "nova".to_owned(),
        position: None,
        sr_type: "file".to_owned(),
        sr_uuid: Some(fixture.service.context.new_uuid()),
        name_label: String::new(),
        name_description: String::new(),
        config: Default::default(),
        secrets: Default::default(),
    };
    let heartbeat = Heartbeat {
        binary: "xensm-worker".to_owned(),
        machine: "m1".to_owned(),
        zone: "nova".to_owned(),
        updated_at_us: NOW_US,
    };
    let vault = fixture.service.vault.clone();
    let added = fixture.service.database.write(move |tx| {
        services::beat(tx, &heartbeat)?;
        let id = backends::insert(tx, &vault, &new, NOW_US)?;
        let sql = "UPDATE backends SET state = ?2 WHERE id = ?1";
        tx.execute(sql, &[id.into(), BackendState::Connected.as_str().into()])?;
        Ok(id)
    });
    format!("xensm@nova#backend-{}", added.await.expect("a backend"))
}
