//! LUNs and their attributes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::call::{Answered, Call, Submission, id_in};
use super::query::Fields;
use super::system::{get, svm_reference};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::error::ApiError;
use crate::ontap::state::jobs::Change;
use crate::ontap::state::luns::{CloneSource, Lun, LunRequest, check_attributes};

const LUNS: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "svm",
        "size",
        "space.size",
        "space.used",
        "space.guarantee",
        "space.scsi_thin_provisioning_support_enabled",
        "serial_number",
        "serial_number_hex",
        "os_type",
        "enabled",
        "comment",
        "attributes",
        "status",
        "location",
        "lun_maps",
        "create_time",
        "class",
        "qos_policy",
        "auto_delete",
        "movement",
        "copy",
        "clone",
        "vvol",
        "consistency_group",
        "statistics",
        "metric",
        "space.physical_used",
        "space.snapshot",
        "space.efficiency_ratio",
    ],
    expensive: &[
        "attributes",
        "auto_delete",
        "lun_maps",
        "movement",
        "copy",
        "statistics",
        "metric",
        "vvol.bindings",
    ],
};
const ATTRIBUTES: Fields = Fields {
    id: &["name"],
    keys: &["name", "lun"],
    known: &["name", "value", "lun", "svm"],
    expensive: &[],
};

/// `/storage/luns`.
pub fn luns(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    if call
        .query
        .0
        .iter()
        .any(|(name, _)| name.starts_with("data."))
    {
        return Err(ApiError::bad(
            3,
            "Reading and writing LUN data by REST is not supported by this emulator.",
        ));
    }
    let records: Vec<Value> = call
        .cluster
        .luns
        .iter()
        .map(|one| lun(call.cluster, one))
        .collect();
    match call.method {
        "GET" => get(call, "storage/luns", rest, records, &LUNS),
        "POST" => {
            let mut asked = request(call)?;
            asked.svm = call.named_svm()?;
            let query = format!("name={}", asked.path.clone().unwrap_or_default());
            let is_clone = asked.source.is_some();
            let may_be_job = call.cluster.behaviour.lun_create_is_async && !is_clone;
            call.submit(Submission {
                description: "POST /api/storage/luns",
                change: Change::CreateLun(asked),
                may_be_job,
                record: |cluster, uuid| cluster.lun(uuid).ok().map(|one| lun(cluster, one)),
                created_at: Some(("storage/luns".to_owned(), query)),
            })
        }
        "PATCH" | "DELETE" => {
            let chosen = match rest {
                [uuid] => {
                    let uuid = id_in(uuid)?;
                    let found = call.cluster.lun(uuid)?;
                    if call.svm.as_ref().is_some_and(|svm| *svm != found.svm) {
                        return Err(ApiError::missing(
                            5_374_875,
                            "The specified LUN was not found.",
                        ));
                    }
                    vec![uuid]
                }
                _ => call.chosen(records, &LUNS)?,
            };
            change(call, &chosen)
        }
        _ => call.refuse_method(),
    }
}

/// `/storage/luns/{uuid}/attributes`.
pub fn attributes(call: &mut Call<'_>, lun: &str, rest: &[&str]) -> Answered {
    let uuid = id_in(lun)?;
    let found = call.cluster.lun(uuid)?;
    let (mut all, path) = (found.attributes.clone(), call.cluster.lun_path(found));
    let owner = json!({"name": path, "uuid": uuid});
    let records = all
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value, "lun": owner}));
    let at = format!("storage/luns/{uuid}/attributes");
    match (call.method, rest) {
        ("GET", []) => return call.list(&at, records.collect(), &ATTRIBUTES),
        ("GET", [name]) => {
            return call.show(
                &format!("{at}/{name}"),
                records.collect(),
                &ATTRIBUTES,
                |one| one["name"] == **name,
            );
        }
        ("POST", []) => {
            let (name, value) = (call.body.text("name"), call.body.text("value"));
            let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
            if all.contains_key(&name) {
                return Err(ApiError::conflict(
                    5_374_930,
                    "The attribute already exists for the LUN.",
                ));
            }
            all.insert(name, value);
        }
        ("PATCH", [name]) => {
            let value = call.body.text("value").unwrap_or_default();
            *all.get_mut(*name).ok_or_else(no_attribute)? = value;
        }
        ("DELETE", [name]) => {
            all.remove(*name).ok_or_else(no_attribute)?;
        }
        _ => return call.refuse_method(),
    }
    check_attributes(&all)?;
    let found = call.cluster.luns.iter_mut().find(|lun| lun.uuid == uuid);
    found.expect("the LUN was found above").attributes = all;
    Ok(call.made((call.method == "POST").then_some(at), None))
}

fn no_attribute() -> ApiError {
    ApiError::missing(
        5_374_931,
        "The specified attribute was not found for the LUN.",
    )
}

fn change(call: &mut Call<'_>, chosen: &[Uuid]) -> Answered {
    if call.method == "DELETE" {
        let force = call.query.flag("allow_delete_while_mapped", false);
        for uuid in chosen {
            call.cluster.delete_lun(*uuid, force)?;
        }
        return Ok(call.made(None, None));
    }
    let asked = request(call)?;
    for uuid in chosen {
        call.cluster.change_lun(*uuid, asked.clone())?;
    }
    let record = match chosen {
        [uuid] => call
            .cluster
            .lun(*uuid)
            .ok()
            .map(|one| lun(call.cluster, one)),
        _ => None,
    };
    Ok(call.made(None, record))
}

fn request(call: &Call<'_>) -> Result<LunRequest, ApiError> {
    let body = &call.body;
    body.expect(&[
        "name",
        "svm",
        "os_type",
        "space",
        "comment",
        "attributes",
        "enabled",
        "clone",
        "qos_policy",
        "location",
        "auto_delete",
        "class",
    ])?;
    let source = match (
        body.text("clone.source.name"),
        body.uuid("clone.source.uuid")?,
    ) {
        (Some(path), _) => Some(CloneSource::Path(path)),
        (None, Some(uuid)) => Some(CloneSource::Uuid(uuid)),
        (None, None) => None,
    };
    let attributes = body.text("attributes").is_some().then(|| {
        let pairs = body.list("attributes").into_iter();
        let pairs = pairs.map(|pair| {
            (
                pair.text("name").unwrap_or_default(),
                pair.text("value").unwrap_or_default(),
            )
        });
        pairs.collect::<BTreeMap<String, String>>()
    });
    Ok(LunRequest {
        svm: None,
        path: path(call)?,
        size: body.number("space.size")?,
        may_shrink: false,
        os_type: body.text("os_type"),
        comment: body.text("comment"),
        attributes,
        reserve: body.flag("space.guarantee.requested")?,
        thin_provisioning: body.flag("space.scsi_thin_provisioning_support_enabled")?,
        enabled: body.flag("enabled")?,
        source,
        policy: body.text("qos_policy.name"),
    })
}

/// The path, given whole or as a place and a base name.
fn path(call: &Call<'_>) -> Result<Option<String>, ApiError> {
    let body = &call.body;
    let by_id = body.uuid("location.volume.uuid")?;
    let by_id = by_id
        .and_then(|uuid| call.cluster.volume(uuid))
        .map(|volume| volume.name.clone());
    let volume = by_id.or(body.text("location.volume.name"));
    let name = body.text("name").or(body.text("location.logical_unit"));
    match (volume, name) {
        (Some(volume), Some(name)) if !name.starts_with("/vol/") => {
            Ok(Some(format!("/vol/{volume}/{name}")))
        }
        (Some(volume), Some(name)) if !name.starts_with(&format!("/vol/{volume}/")) => {
            let text = "The volume specified by name is not the same as that specified by location.volume.";
            Err(ApiError::bad(5_374_858, text).at("location.volume.name"))
        }
        (_, name) => Ok(name),
    }
}

fn lun(cluster: &Cluster, lun: &Lun) -> Value {
    let volume = cluster.volume(lun.volume);
    let hex: String = lun
        .serial
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (qtree, unit) = lun.name.rsplit_once('/').unwrap_or(("", &lun.name));
    let is_mapped = cluster.maps.iter().any(|map| map.lun == lun.uuid);
    let is_online = lun.enabled && volume.is_some_and(|volume| volume.online);
    let maps: Vec<Value> = cluster
        .maps
        .iter()
        .filter(|map| map.lun == lun.uuid)
        .map(|map| {
            let name = cluster
                .igroup(map.igroup)
                .map(|igroup| igroup.name.clone())
                .ok();
            json!({"igroup": {"name": name, "uuid": map.igroup}, "logical_unit_number": map.number})
        })
        .collect();
    let attributes: Vec<Value> = lun
        .attributes
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let mut value = json!({
        "name": cluster.lun_path(lun), "uuid": lun.uuid, "svm": svm_reference(cluster, &lun.svm), "class": "regular",
        "os_type": lun.os_type, "enabled": lun.enabled, "serial_number": lun.serial, "serial_number_hex": hex,
        "create_time": lun.created, "auto_delete": false,
        "space": {
            "size": lun.size, "used": cluster.allocated(lun.data),
            "guarantee": {"requested": lun.reserve, "reserved": cluster.is_reserved(lun)},
            "scsi_thin_provisioning_support_enabled": lun.thin_provisioning,
        },
        "status": {
            "state": if is_online { "online" } else { "offline" }, "container_state": "online", "mapped": is_mapped,
            "read_only": false,
        },
        "location": {
            "logical_unit": unit, "node": {"name": cluster.node, "uuid": cluster.node_uuid},
            "volume": {"name": volume.map(|volume| &volume.name), "uuid": lun.volume},
        },
    });
    if !qtree.is_empty() {
        value["location"]["qtree"] = json!({"name": qtree});
    }
    if !lun.comment.is_empty() {
        value["comment"] = json!(lun.comment);
    }
    if !maps.is_empty() {
        value["lun_maps"] = json!(maps);
    }
    if !attributes.is_empty() {
        value["attributes"] = json!(attributes);
    }
    if let Some(policy) = &lun.policy {
        value["qos_policy"] = json!({"name": policy});
    }
    value
}
