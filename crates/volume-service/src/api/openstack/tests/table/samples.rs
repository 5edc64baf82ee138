//! For each route and action a request that is granted to those who may make it.

use serde_json::{Value, json};

use super::world::Ids;
use crate::api::openstack::TABLES;
use crate::api::openstack::route::{Access, Action, Route, Support, Verb};
use crate::api::openstack::schema::Schema;
use crate::auth::rule::Rule;

/// A request, without `/v3`.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) whose: Whose,
    /// The status, where it is not the route's: of what is known and refused.
    pub(super) status: Option<u16>,
}

/// Whose things a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// None that belong to a project.
    Nobodys,
    /// A project's, which others do not find.
    Projects,
    /// A project itself, which others may not ask about.
    Project,
}

impl Sample {
    fn body(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    fn of_project(mut self) -> Self {
        self.whose = Whose::Projects;
        self
    }

    fn about_project(mut self) -> Self {
        self.whose = Whose::Project;
        self
    }

    fn says(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

fn at(path: impl Into<String>) -> Sample {
    Sample {
        path: path.into(),
        body: Value::Null,
        whose: Whose::Nobodys,
        status: None,
    }
}

/// One line of the table: a route, or one action of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) route: &'static Route,
    pub(super) action: Option<&'static Action>,
}

impl Entry {
    /// All of them.
    pub(super) fn all() -> Vec<Entry> {
        let mut all = Vec::new();
        for route in TABLES.iter().copied().flatten() {
            match route.access {
                Access::Actions(actions) => all.extend(actions.iter().map(|action| Entry {
                    route,
                    action: Some(action),
                })),
                _ => all.push(Entry {
                    route,
                    action: None,
                }),
            }
        }
        assert!(all.len() > 150, "the table is whole");
        all
    }

    /// `POST /volumes/{id}/action os-extend`
    pub(super) fn name(&self) -> String {
        let (verb, path) = (self.route.verb.as_str(), self.route.path);
        match self.action {
            Some(action) => format!("{verb} {path} {}", action.name),
            None => format!("{verb} {path}"),
        }
    }

    pub(super) fn rule(&self) -> Option<Rule> {
        match self.action {
            Some(action) => Some(action.rule),
            None => self.route.rule_of_all(),
        }
    }

    /// The status of success.
    pub(super) fn status(&self) -> u16 {
        self.action
            .map_or(self.route.status, |action| action.status)
    }

    /// The body of success.
    pub(super) fn answer(&self) -> Option<&'static Schema> {
        match self.action {
            Some(action) => action.answer,
            None => self.route.answer,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.route.access, Access::Open)
    }

    /// True when what is asked for has no lasting effect.
    pub(super) fn only_reads(&self) -> bool {
        self.route.verb == Verb::Get && !self.route.path.contains("associate")
    }

    /// The request that is granted.
    pub(super) fn sample(&self, ids: &Ids) -> Sample {
        let name = self.name();
        let found = match self.action {
            Some(action) => of_action(ids, self.route.path, action.name),
            None => of_route(ids, &name),
        };
        found
            .or_else(|| self.unbuilt())
            .unwrap_or_else(|| panic!("{name} needs a request in samples.rs"))
    }

    /// A collection that is always empty.
    fn unbuilt(&self) -> Option<Sample> {
        (self.route.state == Support::Refused).then_some(())?;
        let path = self.route.path.replace("{id}", NOT_THERE);
        let status = match self.route.verb {
            _ if self.route.path.contains("{id}") => 404,
            Verb::Get => 200,
            _ => 501,
        };
        Some(at(path).body(json!({})).says(status))
    }
}

/// The id of nothing.
const NOT_THERE: &str = "0b7a4f9c-8b1f-4dd3-9d6c-2f1c4b1c7b6a";

fn of_action(ids: &Ids, path: &str, action: &str) -> Option<Sample> {
    let (sample, value) = match path {
        "/volumes/{id}/action" => of_volume(ids, action)?,
        "/snapshots/{id}/action" => {
            let value = match action {
                "os-reset_status" => json!({"status": "error"}),
                "os-update_snapshot_status" => json!({"status": "available"}),
                _ => json!({}),
            };
            let path = format!("/snapshots/{}/action", ids.snapshot);
            // What a hypervisor says is heard of a snapshot in the making only.
            let sample = match action {
                "os-update_snapshot_status" => at(path).says(400),
                _ => at(path),
            };
            (sample.of_project(), value)
        }
        "/attachments/{id}/action" => {
            let path = format!("/attachments/{}/action", ids.connection);
            (at(path).of_project(), json!({}))
        }
        "/backups/{id}/action" => {
            let path = format!("/backups/{NOT_THERE}/action");
            (at(path).says(404), json!({"status": "error"}))
        }
        "/groups/{id}/action" => {
            let path = format!("/groups/{}/action", ids.group);
            match action {
                "delete" => (at(path).of_project(), json!({"delete-volumes": true})),
                "reset_status" => (at(path).of_project(), json!({"status": "error"})),
                _ => (at(path).of_project().says(400), json!({})),
            }
        }
        "/group_snapshots/{id}/action" => {
            let path = format!("/group_snapshots/{}/action", ids.group_snapshot);
            (at(path).of_project(), json!({"status": "error"}))
        }
        "/types/{id}/action" => {
            let project = match action {
                "addProjectAccess" => &ids.other_project,
                _ => &ids.project,
            };
            let path = format!("/types/{}/action", ids.private);
            (at(path), json!({ "project": project }))
        }
        _ => return None,
    };
    Some(sample.body(json!({ action: value })))
}

fn of_volume(ids: &Ids, action: &str) -> Option<(Sample, Value)> {
    let of = |id: &String| at(format!("/volumes/{id}/action")).of_project();
    let connector = json!({"connector": {"host": "h1"}});
    Some(match action {
        "os-reserve" | "os-force_delete" | "os-unmanage" | "os-show_image_metadata" => {
            (of(&ids.free), json!({}))
        }
        "os-unreserve" | "os-terminate_connection" | "os-detach" | "os-force_detach" => {
            (of(&ids.reserved), json!({}))
        }
        "os-initialize_connection" => (of(&ids.connected), connector),
        "os-attach" => (
            of(&ids.connected),
            json!({"mountpoint": "/dev/xvdb", "host_name": "h1"}),
        ),
        "os-begin_detaching" | "os-roll_detaching" => (of(&ids.in_use), json!({})),
        "os-extend" => (of(&ids.free), json!({"new_size": 2})),
        "revert" => (of(&ids.source), json!({"snapshot_id": ids.snapshot})),
        "os-extend_volume_completion" => (of(&ids.free).says(400), json!({"error": false})),
        "os-retype" => (of(&ids.free), json!({"new_type": "idle"})),
        "os-reset_status" => (of(&ids.free), json!({"status": "error"})),
        "os-set_bootable" => (of(&ids.free), json!({"bootable": true})),
        "os-update_readonly_flag" => (of(&ids.free), json!({"readonly": true})),
        "os-volume_upload_image" => (of(&ids.free).says(400), json!({"image_name": "i"})),
        "os-reimage" => (of(&ids.free).says(404), json!({"image_id": NOT_THERE})),
        "os-migrate_volume" => (of(&ids.free).says(400), json!({"host": ids.pool})),
        "os-migrate_volume_completion" => {
            (of(&ids.free).says(400), json!({"new_volume": ids.source}))
        }
        "os-set_image_metadata" => (of(&ids.free), json!({"metadata": {"a": "b"}})),
        "os-unset_image_metadata" => (of(&ids.free), json!({"key": "k"})),
        _ => return None,
    })
}

fn of_route(ids: &Ids, name: &str) -> Option<Sample> {
    of_volumes(ids, name)
        .or_else(|| of_snapshots(ids, name))
        .or_else(|| of_transfers(ids, name))
        .or_else(|| of_groups(ids, name))
        .or_else(|| of_adoption(ids, name))
        .or_else(|| of_types(ids, name))
        .or_else(|| of_qos(ids, name))
        .or_else(|| of_quotas(ids, name))
        .or_else(|| of_installation(ids, name))
        .or_else(|| of_nothing(ids, name))
}

/// What there is none of.
fn of_nothing(ids: &Ids, name: &str) -> Option<Sample> {
    let backup = |rest: &str| at(format!("/backups/{NOT_THERE}{rest}")).says(404);
    let record = json!({"backup_service": "s", "backup_url": "u"});
    let which = json!({"name": "c"});
    Some(match name {
        "GET /backups" => at("/backups"),
        "GET /backups/detail" => at("/backups/detail"),
        "POST /backups" => at("/backups")
            .of_project()
            .body(json!({"backup": {"volume_id": ids.free}}))
            .says(503),
        "GET /backups/{id}" | "DELETE /backups/{id}" => backup(""),
        "PUT /backups/{id}" => backup("").body(json!({"backup": {"name": "other"}})),
        "POST /backups/{id}/restore" => backup("/restore").body(json!({"restore": null})),
        "GET /backups/{id}/export_record" => backup("/export_record"),
        "POST /backups/import_record" => at("/backups/import_record")
            .body(json!({ "backup-record": record }))
            .says(503),
        "GET /clusters" => at("/clusters"),
        "GET /clusters/detail" => at("/clusters/detail"),
        "GET /clusters/{id}" => at("/clusters/c").says(404),
        "PUT /clusters/enable" => at("/clusters/enable").body(which).says(404),
        "PUT /clusters/disable" => at("/clusters/disable").body(which).says(404),
        _ => return None,
    })
}

fn of_volumes(ids: &Ids, name: &str) -> Option<Sample> {
    let of = |rest: &str| at(format!("/volumes/{}{rest}", ids.free)).of_project();
    let attachments = |id: &str| at(format!("/attachments/{id}")).of_project();
    let pairs = json!({"metadata": {"a": "b"}});
    Some(match name {
        "GET /volumes" => at("/volumes"),
        "GET /volumes/detail" => at("/volumes/detail"),
        "GET /volumes/summary" => at("/volumes/summary"),
        "POST /volumes" => at("/volumes").body(json!({"volume": {"size": 1, "name": "new"}})),
        "GET /volumes/{id}" | "DELETE /volumes/{id}" => of(""),
        "PUT /volumes/{id}" => of("").body(json!({"volume": {"name": "other"}})),
        "GET /volumes/{id}/metadata" => of("/metadata"),
        "POST /volumes/{id}/metadata" | "PUT /volumes/{id}/metadata" => of("/metadata").body(pairs),
        "GET /volumes/{id}/metadata/{key}" | "DELETE /volumes/{id}/metadata/{key}" => {
            of("/metadata/k")
        }
        "PUT /volumes/{id}/metadata/{key}" => of("/metadata/k").body(json!({"meta": {"k": "w"}})),
        "GET /volumes/{id}/encryption" => of("/encryption"),
        "GET /volumes/{id}/encryption/{key}" => of("/encryption/encryption_key_id"),
        "GET /attachments" => at("/attachments"),
        "GET /attachments/detail" => at("/attachments/detail"),
        "POST /attachments" => at("/attachments")
            .of_project()
            .body(json!({"attachment": {"volume_uuid": ids.free}})),
        "GET /attachments/{id}" | "DELETE /attachments/{id}" => attachments(&ids.reservation),
        "PUT /attachments/{id}" => {
            attachments(&ids.connection).body(json!({"attachment": {"connector": {"host": "h1"}}}))
        }
        "GET /messages" => at("/messages"),
        "GET /messages/{id}" | "DELETE /messages/{id}" => {
            at(format!("/messages/{}", ids.message)).of_project()
        }
        _ => return None,
    })
}

fn of_snapshots(ids: &Ids, name: &str) -> Option<Sample> {
    let of = |rest: &str| at(format!("/snapshots/{}{rest}", ids.snapshot)).of_project();
    let pairs = json!({"metadata": {"a": "b"}});
    Some(match name {
        "GET /snapshots" => at("/snapshots"),
        "GET /snapshots/detail" => at("/snapshots/detail"),
        "POST /snapshots" => at("/snapshots")
            .of_project()
            .body(json!({"snapshot": {"volume_id": ids.free}})),
        "GET /snapshots/{id}" | "DELETE /snapshots/{id}" => of(""),
        "PUT /snapshots/{id}" => of("").body(json!({"snapshot": {"name": "other"}})),
        "GET /snapshots/{id}/metadata" => of("/metadata"),
        "POST /snapshots/{id}/metadata" | "PUT /snapshots/{id}/metadata" => {
            of("/metadata").body(pairs)
        }
        "GET /snapshots/{id}/metadata/{key}" | "DELETE /snapshots/{id}/metadata/{key}" => {
            of("/metadata/k")
        }
        "PUT /snapshots/{id}/metadata/{key}" => of("/metadata/k").body(json!({"meta": {"k": "w"}})),
        _ => return None,
    })
}

fn of_groups(ids: &Ids, name: &str) -> Option<Sample> {
    let wanted = json!({"group_type": ids.group_type, "volume_types": ["gold"]});
    let kind = format!("/group_types/{}", ids.idle_group_type);
    let group = format!("/groups/{}", ids.group);
    let taken = format!("/group_snapshots/{}", ids.group_snapshot);
    let old = format!("/consistencygroups/{}", ids.group);
    let old_taken = format!("/cgsnapshots/{}", ids.group_snapshot);
    let renamed = json!({"name": "new"});
    Some(match name {
        "GET /group_types" => at("/group_types"),
        "POST /group_types" => at("/group_types").body(json!({"group_type": {"name": "new"}})),
        "GET /group_types/default" => at("/group_types/default").says(404),
        "GET /group_types/{id}" | "DELETE /group_types/{id}" => at(kind),
        "PUT /group_types/{id}" => at(kind).body(json!({ "group_type": renamed })),
        "GET /group_types/{id}/group_specs" => at(format!("{kind}/group_specs")),
        "POST /group_types/{id}/group_specs" => {
            at(format!("{kind}/group_specs")).body(json!({"group_specs": {"a": "b"}}))
        }
        "GET /group_types/{id}/group_specs/{key}"
        | "DELETE /group_types/{id}/group_specs/{key}" => at(format!("{kind}/group_specs/k")),
        "PUT /group_types/{id}/group_specs/{key}" => {
            at(format!("{kind}/group_specs/k")).body(json!({"k": "w"}))
        }
        "GET /groups" => at("/groups"),
        "GET /groups/detail" => at("/groups/detail"),
        "POST /groups" => at("/groups").body(json!({ "group": wanted })),
        "GET /groups/{id}" => at(group).of_project(),
        "PUT /groups/{id}" => at(group).of_project().body(json!({ "group": renamed })),
        "POST /groups/action" => at("/groups/action")
            .of_project()
            .body(json!({"create-from-src": {"source_group_id": ids.group}})),
        "GET /group_snapshots" => at("/group_snapshots"),
        "GET /group_snapshots/detail" => at("/group_snapshots/detail"),
        "POST /group_snapshots" => at("/group_snapshots")
            .of_project()
            .body(json!({"group_snapshot": {"group_id": ids.group}})),
        "GET /group_snapshots/{id}" | "DELETE /group_snapshots/{id}" => at(taken).of_project(),
        "GET /consistencygroups" => at("/consistencygroups"),
        "GET /consistencygroups/detail" => at("/consistencygroups/detail"),
        "POST /consistencygroups" => {
            at("/consistencygroups").body(json!({"consistencygroup": {"volume_types": "gold"}}))
        }
        "POST /consistencygroups/create_from_src" => at("/consistencygroups/create_from_src")
            .of_project()
            .body(json!({"consistencygroup-from-src": {"source_cgid": ids.group}})),
        "GET /consistencygroups/{id}" => at(old).of_project(),
        "POST /consistencygroups/{id}/delete" => at(format!("{old}/delete"))
            .of_project()
            .body(json!({"consistencygroup": {"force": true}})),
        "PUT /consistencygroups/{id}" => at(&old)
            .of_project()
            .body(json!({ "consistencygroup": renamed })),
        "PUT /consistencygroups/{id}/update" => at(format!("{old}/update"))
            .of_project()
            .body(json!({ "consistencygroup": renamed })),
        "GET /cgsnapshots" => at("/cgsnapshots"),
        "GET /cgsnapshots/detail" => at("/cgsnapshots/detail"),
        "POST /cgsnapshots" => at("/cgsnapshots")
            .of_project()
            .body(json!({"cgsnapshot": {"consistencygroup_id": ids.group}})),
        "GET /cgsnapshots/{id}" | "DELETE /cgsnapshots/{id}" => at(old_taken).of_project(),
        _ => return None,
    })
}

fn of_transfers(ids: &Ids, name: &str) -> Option<Sample> {
    let (verb, path) = name.split_once(' ')?;
    let (root, rest) = path
        .get(1..)?
        .split_once('/')
        .unwrap_or((path.get(1..)?, ""));
    ["os-volume-transfer", "volume-transfers"]
        .contains(&root)
        .then_some(())?;
    let one = format!("/{root}/{}", ids.transfer);
    Some(match (verb, rest) {
        ("GET", "" | "detail") => at(path),
        ("POST", "") => at(path)
            .of_project()
            .body(json!({"transfer": {"volume_id": ids.free}})),
        ("GET" | "DELETE", "{id}") => at(one).of_project(),
        // Whoever has the key may take it, and nobody else.
        ("POST", "{id}/accept") => {
            at(format!("{one}/accept")).body(json!({"accept": {"auth_key": ids.transfer_key}}))
        }
        _ => return None,
    })
}

fn of_adoption(ids: &Ids, name: &str) -> Option<Sample> {
    let (verb, path) = name.split_once(' ')?;
    let is_of_volumes = match path.get(1..)?.split('/').next()? {
        "os-volume-manage" | "manageable_volumes" => true,
        "os-snapshot-manage" | "manageable_snapshots" => false,
        _ => return None,
    };
    let named = json!({"source-name": "somebody's"});
    Some(match (verb, is_of_volumes) {
        // The zone of these tests has no pool to look into.
        ("GET", _) => at(format!("{path}?host={}", ids.pool.replace('#', "%23"))).says(400),
        (_, true) => at(path)
            .body(json!({"volume": {"host": ids.pool, "ref": named, "volume_type": "gold"}})),
        (_, false) => at(path)
            .of_project()
            .body(json!({"snapshot": {"volume_id": ids.source, "ref": named}})),
    })
}

fn of_types(ids: &Ids, name: &str) -> Option<Sample> {
    let of = |id: &str, rest: &str| at(format!("/types/{id}{rest}"));
    let encryption = || of(&ids.coded, &format!("/encryption/{}", ids.encryption));
    let default = || at(format!("/default-types/{}", ids.project));
    let layer = json!({"provider": "luks", "control_location": "front-end"});
    Some(match name {
        "GET /types" => at("/types"),
        "POST /types" => at("/types").body(json!({"volume_type": {"name": "new"}})),
        "GET /types/default" => at("/types/default"),
        "GET /types/{id}" | "DELETE /types/{id}" => of(&ids.idle, ""),
        "PUT /types/{id}" => of(&ids.idle, "").body(json!({"volume_type": {"name": "other"}})),
        "GET /types/{id}/extra_specs" => of(&ids.idle, "/extra_specs"),
        "POST /types/{id}/extra_specs" => {
            of(&ids.idle, "/extra_specs").body(json!({"extra_specs": {"a": "b"}}))
        }
        "GET /types/{id}/extra_specs/{key}" => of(&ids.idle, "/extra_specs/multiattach"),
        "PUT /types/{id}/extra_specs/{key}" => {
            of(&ids.idle, "/extra_specs/k").body(json!({"k": "w"}))
        }
        "DELETE /types/{id}/extra_specs/{key}" => of(&ids.idle, "/extra_specs/k"),
        "GET /types/{id}/os-volume-type-access" => of(&ids.private, "/os-volume-type-access"),
        "GET /types/{id}/encryption" => of(&ids.coded, "/encryption"),
        "POST /types/{id}/encryption" => {
            of(&ids.idle, "/encryption").body(json!({ "encryption": layer }))
        }
        "GET /types/{id}/encryption/{key}" => of(&ids.coded, "/encryption/provider"),
        "PUT /types/{id}/encryption/{key}" => {
            encryption().body(json!({"encryption": {"cipher": "aes-xts-plain64"}}))
        }
        "DELETE /types/{id}/encryption/{key}" => encryption(),
        "GET /default-types" => at("/default-types"),
        "GET /default-types/{project}" | "DELETE /default-types/{project}" => default(),
        "PUT /default-types/{project}" => {
            default().body(json!({"default_type": {"volume_type": "idle"}}))
        }
        _ => return None,
    })
}

fn of_qos(ids: &Ids, name: &str) -> Option<Sample> {
    let of = |id: &str, rest: &str| at(format!("/qos-specs/{id}{rest}"));
    let which = |word: &str, id: &str| format!("/{word}?vol_type_id={id}");
    Some(match name {
        "GET /qos-specs" => at("/qos-specs"),
        "POST /qos-specs" => at("/qos-specs").body(json!({"qos_specs": {"name": "new"}})),
        "GET /qos-specs/{id}" => of(&ids.qos, ""),
        "PUT /qos-specs/{id}" => of(&ids.qos, "").body(json!({"qos_specs": {"a": "b"}})),
        "DELETE /qos-specs/{id}" => of(&ids.loose_qos, ""),
        "PUT /qos-specs/{id}/delete_keys" => {
            of(&ids.qos, "/delete_keys").body(json!({"keys": ["k"]}))
        }
        "GET /qos-specs/{id}/associations" => of(&ids.qos, "/associations"),
        "GET /qos-specs/{id}/associate" => of(&ids.loose_qos, &which("associate", &ids.gold)),
        "GET /qos-specs/{id}/disassociate" => of(&ids.qos, &which("disassociate", &ids.idle)),
        "GET /qos-specs/{id}/disassociate_all" => of(&ids.qos, "/disassociate_all"),
        _ => return None,
    })
}

fn of_quotas(ids: &Ids, name: &str) -> Option<Sample> {
    let of = |rest: &str| at(format!("/os-quota-sets/{}{rest}", ids.project)).about_project();
    let class = || at("/os-quota-class-sets/default");
    Some(match name {
        "GET /limits" => at("/limits"),
        "GET /os-quota-sets/{id}" | "DELETE /os-quota-sets/{id}" => of(""),
        "GET /os-quota-sets/{id}/defaults" => of("/defaults"),
        "PUT /os-quota-sets/{id}" => of("").body(json!({"quota_set": {"volumes": 77}})),
        "GET /os-quota-class-sets/{id}" => class(),
        "PUT /os-quota-class-sets/{id}" => {
            class().body(json!({"quota_class_set": {"volumes": 77}}))
        }
        _ => return None,
    })
}

fn of_installation(ids: &Ids, name: &str) -> Option<Sample> {
    let service = json!({"binary": "cinder-volume", "host": ids.host});
    let host = json!({"host": ids.host});
    Some(match name {
        "GET " => at(""),
        "GET /" => at("/"),
        "GET /openapi.json" => at("/openapi.json"),
        "GET /extensions" => at("/extensions"),
        "GET /extensions/{alias}" => at("/extensions/os-hosts"),
        "GET /resource_filters" => at("/resource_filters"),
        "GET /os-availability-zone" => at("/os-availability-zone"),
        "GET /scheduler-stats/get_pools" => at("/scheduler-stats/get_pools?detail=true"),
        "GET /capabilities/{host}" => at(format!("/capabilities/{}", ids.host)),
        "GET /os-hosts" => at("/os-hosts"),
        "GET /os-hosts/{id}" => at(format!("/os-hosts/{}", ids.host)),
        "PUT /os-hosts/{id}" => {
            at(format!("/os-hosts/{}", ids.host)).body(json!({"status": "disable"}))
        }
        "GET /os-services" => at("/os-services"),
        "PUT /os-services/enable" => at("/os-services/enable").body(service),
        "PUT /os-services/disable" => at("/os-services/disable").body(service),
        "PUT /os-services/disable-log-reason" => at("/os-services/disable-log-reason")
            .body(json!({"binary": "cinder-volume", "host": ids.host, "disabled_reason": "rest"})),
        "PUT /os-services/freeze" => at("/os-services/freeze").body(host),
        "PUT /os-services/thaw" => at("/os-services/thaw").body(host),
        "PUT /os-services/failover_host" => at("/os-services/failover_host").body(host).says(400),
        "PUT /os-services/failover" => at("/os-services/failover").body(host).says(400),
        "PUT /os-services/get-log" => at("/os-services/get-log").body(json!({})),
        "PUT /os-services/set-log" => {
            at("/os-services/set-log").body(json!({"binary": "cinder-api", "level": "debug"}))
        }
        "POST /workers/cleanup" => at("/workers/cleanup").body(json!({})),
        "PUT /workers/cleanup" => at("/workers/cleanup").body(json!({})),
        _ => return None,
    })
}
