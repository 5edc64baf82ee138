//! The iSCSI service, credentials, sessions, and the interfaces that serve it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::call::{Answered, Call, id_in, id_of};
use super::query::Fields;
use super::system::{get, svm_reference};
use crate::ontap::state::cluster::{Cluster, Interface};
use crate::ontap::state::error::ApiError;
use crate::ontap::state::iscsi::{Account, Authentication, Credentials};

const SERVICES: Fields = Fields {
    id: &["svm.uuid"],
    keys: &["svm"],
    known: &["svm", "enabled", "target", "metric", "statistics"],
    expensive: &["metric", "statistics"],
};
const CREDENTIALS: Fields = Fields {
    id: &["svm.uuid", "initiator"],
    keys: &["svm", "initiator"],
    known: &[
        "svm",
        "initiator",
        "authentication_type",
        "chap",
        "initiator_address",
    ],
    expensive: &[],
};
const SESSIONS: Fields = Fields {
    id: &["svm.uuid", "target_portal_group", "tsih"],
    keys: &["svm", "target_portal_group", "tsih"],
    known: &[
        "svm",
        "target_portal_group",
        "target_portal_group_tag",
        "tsih",
        "isid",
        "initiator",
        "igroups",
        "connections",
    ],
    expensive: &[],
};
const INTERFACES: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "ip",
        "enabled",
        "state",
        "svm",
        "location",
        "services",
        "scope",
        "service_policy",
        "ipspace",
        "vip",
        "subnet",
        "statistics",
        "metric",
        "ddns_enabled",
        "dns_zone",
        "probe_port",
        "rdma_protocols",
    ],
    expensive: &["statistics", "metric"],
};

/// `/protocols/san/iscsi/services`.
pub fn services(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    const PATH: &str = "protocols/san/iscsi/services";
    let svms = call.cluster.svms.iter();
    let records: Vec<Value> = svms
        .filter_map(|svm| {
            let service = svm.iscsi.as_ref()?;
            let target = json!({"name": service.target, "alias": service.alias});
            Some(json!({"svm": {"name": svm.name, "uuid": svm.uuid}, "enabled": service.enabled, "target": target}))
        })
        .collect();
    match (call.method, rest) {
        ("GET", []) => call.list(PATH, records, &SERVICES),
        ("GET", [svm]) => {
            let svm = id_in(svm)?;
            let is_it = |one: &Value| id_of(&one["svm"], "uuid") == Some(svm);
            call.show(&format!("{PATH}/{svm}"), records, &SERVICES, is_it)
        }
        ("POST", []) => {
            call.body.expect(&["svm", "enabled", "target"])?;
            let svm = call.required_svm()?;
            let enabled = call.body.flag("enabled")?.unwrap_or(true);
            let alias = call.body.text("target.alias");
            call.cluster.create_service(&svm, enabled, alias)?;
            let uuid = call.cluster.svm(&svm)?.uuid;
            Ok(call.made(Some(format!("{PATH}/{uuid}")), None))
        }
        ("PATCH", [svm]) => {
            let svm = id_in(svm)?;
            let enabled = call.body.flag("enabled")?;
            let (name, alias) = (
                call.body.text("target.name"),
                call.body.text("target.alias"),
            );
            let service = service_of(call.cluster, svm)?;
            service.enabled = enabled.unwrap_or(service.enabled);
            service.target = name.unwrap_or(std::mem::take(&mut service.target));
            service.alias = alias.unwrap_or(std::mem::take(&mut service.alias));
            Ok(call.made(None, None))
        }
        ("DELETE", [svm]) => {
            let svm = id_in(svm)?;
            if service_of(call.cluster, svm)?.enabled {
                let text = "The iSCSI service must be disabled before it can be deleted.";
                return Err(ApiError::conflict(5_374_079, text));
            }
            let found = call.cluster.svms.iter_mut().find(|one| one.uuid == svm);
            found.expect("the service was found above").iscsi = None;
            Ok(call.made(None, None))
        }
        _ => call.refuse_method(),
    }
}

fn service_of(
    cluster: &mut Cluster,
    svm: Uuid,
) -> Result<&mut crate::ontap::state::iscsi::IscsiService, ApiError> {
    let found = cluster.svms.iter_mut().find(|one| one.uuid == svm);
    let found = found.and_then(|one| one.iscsi.as_mut());
    found.ok_or_else(|| ApiError::missing(5_374_078, "The SVM does not have an iSCSI service."))
}

/// `/protocols/san/iscsi/credentials`.
pub fn credentials(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    const PATH: &str = "protocols/san/iscsi/credentials";
    let records: Vec<Value> = call
        .cluster
        .credentials
        .iter()
        .map(|one| shown(call.cluster, one))
        .collect();
    let named = match rest {
        [svm, initiator] => {
            let svm = id_in(svm)?;
            let found = call.cluster.svms.iter().find(|one| one.uuid == svm);
            let found = found
                .ok_or_else(|| ApiError::missing(2_621_462, "The specified SVM does not exist."))?;
            Some((found.name.clone(), (*initiator).to_owned()))
        }
        _ => None,
    };
    match (call.method, named) {
        ("GET", None) => call.list(PATH, records, &CREDENTIALS),
        ("GET", Some((svm, initiator))) => {
            let is_it = |one: &Value| one["svm"]["name"] == svm && one["initiator"] == initiator;
            call.show(
                &format!("{PATH}/{}", rest.join("/")),
                records,
                &CREDENTIALS,
                is_it,
            )
        }
        ("POST", None) => {
            call.body.expect(&[
                "svm",
                "initiator",
                "authentication_type",
                "chap",
                "initiator_address",
            ])?;
            let text = "Field \"initiator\" is required for this operation";
            let initiator = call
                .body
                .text("initiator")
                .ok_or_else(|| ApiError::bad(262_185, text))?;
            let new = Credentials {
                svm: call.required_svm()?,
                authentication: authentication(call, &Authentication::None)?,
                initiator: initiator.clone(),
            };
            let svm = call.cluster.svm(&new.svm)?.uuid;
            call.cluster.create_credentials(new)?;
            Ok(call.made(Some(format!("{PATH}/{svm}/{initiator}")), None))
        }
        ("PATCH", Some((svm, initiator))) => {
            let old = call.cluster.credentials_of(&svm, &initiator);
            let old = old.map_or(Authentication::None, |one| one.authentication.clone());
            let new = authentication(call, &old)?;
            call.cluster.change_credentials(&svm, &initiator, new)?;
            Ok(call.made(None, None))
        }
        ("DELETE", Some((svm, initiator))) => {
            call.cluster.delete_credentials(&svm, &initiator)?;
            Ok(call.made(None, None))
        }
        _ => call.refuse_method(),
    }
}

/// `/protocols/san/iscsi/sessions`.
pub fn sessions(call: &Call<'_>) -> Answered {
    let sessions = call.cluster.sessions.iter();
    let records = sessions
        .map(|session| {
            let igroups = call.cluster.igroups.iter().filter(|igroup| {
                igroup.svm == session.svm && igroup.initiators.iter().any(|(name, _)| *name == session.initiator)
            });
            let igroups: Vec<Value> =
                igroups.map(|igroup| json!({"name": igroup.name, "uuid": igroup.uuid})).collect();
            json!({
                "svm": svm_reference(call.cluster, &session.svm), "target_portal_group": session.interface,
                "target_portal_group_tag": 1026, "tsih": session.number, "initiator": {"name": session.initiator},
                "igroups": igroups,
            })
        })
        .collect();
    match call.method {
        "GET" => call.list("protocols/san/iscsi/sessions", records, &SESSIONS),
        _ => call.refuse_method(),
    }
}

/// `/network/ip/interfaces`.
pub fn interfaces(call: &Call<'_>, rest: &[&str]) -> Answered {
    let records = call
        .cluster
        .interfaces
        .iter()
        .map(|one| interface(call.cluster, one))
        .collect();
    get(call, "network/ip/interfaces", rest, records, &INTERFACES)
}

fn authentication(call: &Call<'_>, old: &Authentication) -> Result<Authentication, ApiError> {
    let kind = call
        .body
        .text("authentication_type")
        .map(|kind| kind.to_lowercase());
    let kind = kind.unwrap_or_else(|| kind_of(old).to_lowercase());
    let account = |way: &str, old: Option<&Account>| {
        let user = call.body.text(&format!("chap.{way}.user"));
        let password = call.body.text(&format!("chap.{way}.password"));
        if user.is_none() && password.is_none() {
            return old.cloned();
        }
        Some(Account {
            user: user.or(old.map(|old| old.user.clone())).unwrap_or_default(),
            password: password.unwrap_or_default(),
        })
    };
    let (old_inbound, old_outbound) = match old {
        Authentication::Chap { inbound, outbound } => (Some(inbound), outbound.as_ref()),
        _ => (None, None),
    };
    match kind.as_str() {
        "none" => Ok(Authentication::None),
        "deny" => Ok(Authentication::Deny),
        "chap" => {
            let inbound = account("inbound", old_inbound).ok_or_else(|| {
                let text = "Inbound CHAP authentication requires both a user name and a password.";
                ApiError::bad(5_374_149, text)
            })?;
            Ok(Authentication::Chap {
                inbound,
                outbound: account("outbound", old_outbound),
            })
        }
        other => Err(ApiError::bad(
            262_247,
            format!("Invalid value \"{other}\" for field \"authentication_type\""),
        )),
    }
}

fn kind_of(authentication: &Authentication) -> &'static str {
    match authentication {
        Authentication::None => "none",
        Authentication::Deny => "deny",
        Authentication::Chap { .. } => "CHAP",
    }
}

fn shown(cluster: &Cluster, one: &Credentials) -> Value {
    let mut value = json!({
        "svm": svm_reference(cluster, &one.svm), "initiator": one.initiator,
        "authentication_type": kind_of(&one.authentication),
    });
    if let Authentication::Chap { inbound, outbound } = &one.authentication {
        // Passwords are never shown.
        value["chap"] = json!({"inbound": {"user": inbound.user}});
        if let Some(outbound) = outbound {
            value["chap"]["outbound"] = json!({"user": outbound.user});
        }
    }
    value
}

fn interface(cluster: &Cluster, interface: &Interface) -> Value {
    let node = json!({"name": cluster.node, "uuid": cluster.node_uuid});
    json!({
        "name": interface.name, "uuid": interface.uuid, "svm": svm_reference(cluster, &interface.svm), "scope": "svm",
        "ip": {"address": interface.address, "netmask": "8", "family": "ipv4"}, "enabled": interface.enabled,
        "state": if interface.enabled { "up" } else { "down" }, "services": ["data_core", "data_iscsi"],
        "service_policy": {"name": "default-data-blocks"}, "ipspace": {"name": "Default"}, "vip": false,
        "location": {"node": node, "home_node": node, "is_home": true, "auto_revert": false},
    })
}
