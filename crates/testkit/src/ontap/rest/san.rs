//! Initiator groups and LUN maps.

use serde_json::{Value, json};
use uuid::Uuid;

use super::call::{Answered, Call, id_in, id_of};
use super::query::Fields;
use super::system::{get, svm_reference};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::error::ApiError;
use crate::ontap::state::igroups::{Igroup, LunMap};

const IGROUPS: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid", "svm"],
    known: &[
        "name",
        "uuid",
        "svm",
        "protocol",
        "os_type",
        "comment",
        "initiators",
        "lun_maps",
        "delete_on_unmap",
        "igroups",
        "portset",
        "supports_igroups",
        "connectivity_tracking",
        "target",
    ],
    expensive: &["lun_maps", "connectivity_tracking"],
};
const INITIATORS: Fields = Fields {
    id: &["name"],
    keys: &["name"],
    known: &["name", "comment", "igroup"],
    expensive: &[],
};
const MAPS: Fields = Fields {
    id: &["lun.uuid", "igroup.uuid"],
    keys: &["lun", "igroup", "svm"],
    known: &[
        "lun",
        "igroup",
        "svm",
        "logical_unit_number",
        "reporting_nodes",
    ],
    expensive: &["reporting_nodes"],
};

/// `/protocols/san/igroups`.
pub fn igroups(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    if let [uuid, "initiators", rest @ ..] = rest {
        return initiators(call, id_in(uuid)?, rest);
    }
    let records: Vec<Value> = call
        .cluster
        .igroups
        .iter()
        .map(|one| igroup(call.cluster, one))
        .collect();
    match call.method {
        "GET" => get(call, "protocols/san/igroups", rest, records, &IGROUPS),
        "POST" => {
            call.body.expect(&[
                "name",
                "svm",
                "protocol",
                "os_type",
                "comment",
                "initiators",
                "delete_on_unmap",
            ])?;
            let required = |name: &'static str| {
                let text = format!("Field \"{name}\" is required for this operation");
                call.body
                    .text(name)
                    .ok_or_else(|| ApiError::bad(262_185, text).at(name))
            };
            let initiators = call.body.list("initiators").into_iter();
            let initiators = initiators.map(|one| {
                (
                    one.text("name").unwrap_or_default(),
                    one.text("comment").unwrap_or_default(),
                )
            });
            let new = Igroup {
                uuid: Uuid::new_v4(),
                name: required("name")?,
                svm: call.required_svm()?,
                protocol: call
                    .body
                    .text("protocol")
                    .unwrap_or_else(|| "mixed".to_owned()),
                os_type: required("os_type")?,
                comment: call.body.text("comment").unwrap_or_default(),
                initiators: initiators.collect(),
            };
            let uuid = call.cluster.create_igroup(new)?;
            let made = call
                .cluster
                .igroup(uuid)
                .ok()
                .map(|one| igroup(call.cluster, one));
            Ok(call.made(Some(format!("protocols/san/igroups/{uuid}")), made))
        }
        "PATCH" | "DELETE" => {
            let chosen = match rest {
                [uuid] => vec![id_in(uuid)?],
                _ => call.chosen(records, &IGROUPS)?,
            };
            for uuid in chosen {
                change(call, uuid)?;
            }
            Ok(call.made(None, None))
        }
        _ => call.refuse_method(),
    }
}

fn change(call: &mut Call<'_>, uuid: Uuid) -> Result<(), ApiError> {
    if call.method == "DELETE" {
        let force = call.query.flag("allow_delete_while_mapped", false);
        return call.cluster.delete_igroup(uuid, force);
    }
    call.body.expect(&["name", "os_type", "comment"])?;
    let svm = call.cluster.igroup(uuid)?.svm.clone();
    let name = call.body.text("name");
    if let Some(name) = &name
        && call
            .cluster
            .igroup_named(&svm, name)
            .is_ok_and(|other| other.uuid != uuid)
    {
        let text = format!("An initiator group with the name \"{name}\" already exists.");
        return Err(ApiError::conflict(5_374_023, text).at("name"));
    }
    let (os_type, comment) = (call.body.text("os_type"), call.body.text("comment"));
    if let Some(found) = call
        .cluster
        .igroups
        .iter_mut()
        .find(|igroup| igroup.uuid == uuid)
    {
        found.name = name.unwrap_or(std::mem::take(&mut found.name));
        found.os_type = os_type.unwrap_or(std::mem::take(&mut found.os_type));
        found.comment = comment.unwrap_or(std::mem::take(&mut found.comment));
    }
    Ok(())
}

/// `/protocols/san/igroups/{uuid}/initiators`.
fn initiators(call: &mut Call<'_>, uuid: Uuid, rest: &[&str]) -> Answered {
    let found = call.cluster.igroup(uuid)?;
    let records = found
        .initiators
        .iter()
        .map(|(name, comment)| json!({"name": name, "comment": comment}));
    let records: Vec<Value> = records.collect();
    let path = format!("protocols/san/igroups/{uuid}/initiators");
    match (call.method, rest) {
        ("GET", []) => call.list(&path, records, &INITIATORS),
        ("GET", [name]) => call.show(&format!("{path}/{name}"), records, &INITIATORS, |one| {
            one["name"] == **name
        }),
        ("POST", []) => {
            call.body.expect(&["name", "comment", "records"])?;
            let mut new = call.body.list("records");
            if new.is_empty() {
                new.push(call.body.clone());
            }
            for one in &new {
                let comment = one.text("comment").unwrap_or_default();
                call.cluster.add_initiator(
                    uuid,
                    &one.text("name").unwrap_or_default(),
                    &comment,
                )?;
            }
            let name = new[0].text("name").unwrap_or_default();
            let record = json!({"name": name, "igroup": {"uuid": uuid}});
            Ok(call.made(Some(format!("{path}/{name}")), Some(record)))
        }
        ("DELETE", [name]) => {
            let force = call.query.flag("allow_delete_while_mapped", false);
            call.cluster.remove_initiator(uuid, name, force)?;
            Ok(call.made(None, None))
        }
        _ => call.refuse_method(),
    }
}

/// `/protocols/san/lun-maps`.
pub fn maps(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    let records: Vec<Value> = call
        .cluster
        .maps
        .iter()
        .map(|one| map(call.cluster, one))
        .collect();
    match (call.method, rest) {
        ("GET", []) => call.list("protocols/san/lun-maps", records, &MAPS),
        ("GET", [lun, igroup]) => {
            let (lun, igroup) = (id_in(lun)?, id_in(igroup)?);
            let is_it = |record: &Value| {
                id_of(&record["lun"], "uuid") == Some(lun)
                    && id_of(&record["igroup"], "uuid") == Some(igroup)
            };
            let path = format!("protocols/san/lun-maps/{lun}/{igroup}");
            call.show(&path, records, &MAPS, is_it)
                .map_err(|error| match error.code {
                    4 => ApiError::missing(5_374_922, "The specified LUN map was not found."),
                    _ => error,
                })
        }
        ("POST", []) => create_map(call),
        ("DELETE", [lun, igroup]) => {
            call.cluster.unmap_lun(id_in(lun)?, id_in(igroup)?)?;
            Ok(call.made(None, None))
        }
        ("DELETE", []) => {
            let chosen = call.query.select(call.in_sight(records), &MAPS)?;
            for one in chosen {
                if let (Some(lun), Some(igroup)) =
                    (id_of(&one["lun"], "uuid"), id_of(&one["igroup"], "uuid"))
                {
                    call.cluster.unmap_lun(lun, igroup)?;
                }
            }
            Ok(call.made(None, None))
        }
        _ => call.refuse_method(),
    }
}

fn create_map(call: &mut Call<'_>) -> Answered {
    call.body
        .expect(&["svm", "lun", "igroup", "logical_unit_number"])?;
    let svm = call.required_svm()?;
    let missing = |code, text: &str| ApiError::bad(code, text);
    let lun = match (call.body.uuid("lun.uuid")?, call.body.text("lun.name")) {
        (Some(uuid), _) => uuid,
        (None, Some(path)) => call.cluster.lun_at(&svm, &path)?.uuid,
        (None, None) => {
            return Err(missing(
                5_374_901,
                "No LUN was specified: lun.name or lun.uuid is required.",
            ));
        }
    };
    let igroup = match (
        call.body.uuid("igroup.uuid")?,
        call.body.text("igroup.name"),
    ) {
        (Some(uuid), _) => uuid,
        (None, Some(name)) => {
            call.cluster
                .igroup_named(&svm, &name)
                .map_err(no_igroup)?
                .uuid
        }
        (None, None) => {
            return Err(missing(
                5_374_902,
                "No initiator group was specified: igroup.name or igroup.uuid is required.",
            ));
        }
    };
    let number = call.body.small("logical_unit_number")?;
    let number = number.map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    let new = call.cluster.map_lun(lun, igroup, number)?;
    let record = map(call.cluster, &new);
    Ok(call.made(
        Some(format!("protocols/san/lun-maps/{lun}/{igroup}")),
        Some(record),
    ))
}

fn no_igroup(error: ApiError) -> ApiError {
    ApiError::missing(5_374_878, error.message).at("igroup.name")
}

fn igroup(cluster: &Cluster, igroup: &Igroup) -> Value {
    let initiators = igroup
        .initiators
        .iter()
        .map(|(name, comment)| match comment.as_str() {
            "" => json!({"name": name}),
            comment => json!({"name": name, "comment": comment}),
        });
    let initiators: Vec<Value> = initiators.collect();
    let maps = cluster.maps.iter().filter(|map| map.igroup == igroup.uuid);
    let maps: Vec<Value> = maps
        .map(|map| {
            let path = cluster.lun(map.lun).map(|lun| cluster.lun_path(lun)).ok();
            let node = json!({"name": cluster.node, "uuid": cluster.node_uuid});
            json!({"logical_unit_number": map.number, "lun": {"name": path, "uuid": map.lun, "node": node}})
        })
        .collect();
    let mut value = json!({
        "name": igroup.name, "uuid": igroup.uuid, "svm": svm_reference(cluster, &igroup.svm), "protocol": igroup.protocol,
        "os_type": igroup.os_type, "delete_on_unmap": false, "supports_igroups": true,
    });
    if !igroup.comment.is_empty() {
        value["comment"] = json!(igroup.comment);
    }
    if !initiators.is_empty() {
        value["initiators"] = json!(initiators);
    }
    if !maps.is_empty() {
        value["lun_maps"] = json!(maps);
    }
    value
}

fn map(cluster: &Cluster, map: &LunMap) -> Value {
    let igroup = cluster.igroup(map.igroup).ok();
    let path = cluster.lun(map.lun).map(|lun| cluster.lun_path(lun)).ok();
    let initiators = igroup.map(|igroup| {
        igroup
            .initiators
            .iter()
            .map(|(name, _)| name.clone())
            .collect()
    });
    let initiators: Vec<String> = initiators.unwrap_or_default();
    json!({
        "svm": svm_reference(cluster, igroup.map_or("", |igroup| &igroup.svm)),
        "lun": {"name": path, "uuid": map.lun, "node": {"name": cluster.node, "uuid": cluster.node_uuid}},
        "igroup": {
            "name": igroup.map(|igroup| &igroup.name), "uuid": map.igroup, "protocol": igroup.map(|igroup| &igroup.protocol),
            "os_type": igroup.map(|igroup| &igroup.os_type), "initiators": initiators,
        },
        "logical_unit_number": map.number,
        "reporting_nodes": [{"name": cluster.node, "uuid": cluster.node_uuid}],
    })
}
