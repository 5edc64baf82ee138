//! FlexVols and their snapshots.

use serde_json::{Value, json};
use uuid::Uuid;

use super::call::{Answered, Call, Submission, id_in};
use super::query::Fields;
use super::system::{get, svm_reference};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::error::ApiError;
use crate::ontap::state::jobs::Change;
use crate::ontap::state::snapshots::Snapshot;
use crate::ontap::state::volumes::{Volume, VolumeRequest};

const VOLUMES: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "svm",
        "state",
        "style",
        "type",
        "aggregates",
        "size",
        "space",
        "guarantee",
        "snapshot_policy",
        "efficiency",
        "is_svm_root",
        "error_state",
        "nas",
        "language",
        "comment",
        "create_time",
        "qos",
        "encryption",
        "snapshot_count",
        "msid",
        "autosize",
        "snapshot_directory_access_enabled",
        "tiering",
        "clone",
        "movement",
        "analytics",
        "consistency_group",
        "quota",
        "snaplock",
        "snapmirror",
    ],
    expensive: &["analytics", "consistency_group", "snapmirror"],
};
const SNAPSHOTS: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "svm",
        "volume",
        "comment",
        "create_time",
        "expiry_time",
        "owners",
        "size",
        "state",
        "snapmirror_label",
        "version_uuid",
        "provenance_volume",
        "logical_size",
        "delta",
        "reclaimable_space",
    ],
    expensive: &["delta", "reclaimable_space", "owners"],
};

/// `/storage/volumes`.
pub fn volumes(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    let records: Vec<Value> = call
        .cluster
        .volumes
        .iter()
        .map(|one| volume(call.cluster, one))
        .collect();
    if call.method == "GET" {
        return get(call, "storage/volumes", rest, records, &VOLUMES);
    }
    if call.method == "POST" {
        let asked = request(call)?;
        let (name, svm) = (
            asked.name.clone().unwrap_or_default(),
            asked.svm.clone().unwrap_or_default(),
        );
        return call.submit(Submission {
            description: "POST /api/storage/volumes",
            change: Change::CreateVolume(asked),
            may_be_job: true,
            record: |cluster, uuid| cluster.volume(uuid).map(|one| volume(cluster, one)),
            created_at: Some((
                "storage/volumes".to_owned(),
                format!("name={name}&svm.name={svm}"),
            )),
        });
    }
    let chosen = one_of(call, rest, records, &VOLUMES)?;
    let Some(uuid) = chosen else {
        return Ok(call.made(None, None));
    };
    let asked = request(call)?;
    let change = match call.method {
        "PATCH" => Change::ChangeVolume(uuid, asked),
        "DELETE" => Change::DeleteVolume(uuid),
        _ => return call.refuse_method(),
    };
    call.cluster
        .volume(uuid)
        .ok_or_else(|| ApiError::no_entry("volume"))?;
    call.submit(Submission {
        description: &format!("{} /api/storage/volumes/{uuid}", call.method),
        change,
        may_be_job: true,
        record: |cluster, uuid| cluster.volume(uuid).map(|one| volume(cluster, one)),
        created_at: None,
    })
}

/// `/storage/volumes/{uuid}/snapshots`.
pub fn snapshots(call: &mut Call<'_>, volume: &str, rest: &[&str]) -> Answered {
    // `*` stands for all volumes.
    let volume = if volume == "*" {
        None
    } else {
        Some(id_in(volume)?)
    };
    if let Some(volume) = volume {
        let found = call.cluster.volume(volume).ok_or_else(|| {
            ApiError::missing(
                918_235,
                format!("A volume with UUID {volume} was not found."),
            )
        })?;
        if call.svm.as_ref().is_some_and(|svm| *svm != found.svm) {
            return Err(ApiError::missing(
                918_235,
                format!("A volume with UUID {volume} was not found."),
            ));
        }
    }
    let all = call.cluster.snapshots.iter();
    let inside = all.filter(|one| volume.is_none_or(|volume| one.volume == volume));
    let records: Vec<Value> = inside.map(|one| snapshot(call.cluster, one)).collect();
    let path = volume.map_or_else(|| "*".to_owned(), |volume| volume.to_string());
    let path = format!("storage/volumes/{path}/snapshots");
    match (call.method, volume) {
        ("GET", _) => get(call, &path, rest, records, &SNAPSHOTS),
        ("POST", Some(volume)) => {
            call.body.expect(&[
                "name",
                "comment",
                "expiry_time",
                "snapmirror_label",
                "svm",
                "volume",
            ])?;
            let name = call.body.text("name").ok_or_else(|| {
                ApiError::bad(262_185, "Field \"name\" is required for this operation").at("name")
            })?;
            let comment = call.body.text("comment").unwrap_or_default();
            let query = format!("name={name}");
            call.submit(Submission {
                description: &format!("POST /api/{path}"),
                change: Change::CreateSnapshot {
                    volume,
                    name,
                    comment,
                },
                may_be_job: true,
                record: one_snapshot,
                created_at: Some((path.clone(), query)),
            })
        }
        ("PATCH" | "DELETE", _) => {
            let Some(uuid) = one_of(call, rest, records, &SNAPSHOTS)? else {
                return Ok(call.made(None, None));
            };
            let change = if call.method == "DELETE" {
                Change::DeleteSnapshot(uuid)
            } else {
                call.body
                    .expect(&["name", "comment", "expiry_time", "snapmirror_label"])?;
                let (name, comment) = (call.body.text("name"), call.body.text("comment"));
                Change::ChangeSnapshot {
                    snapshot: uuid,
                    name,
                    comment,
                }
            };
            call.submit(Submission {
                description: &format!("{} /api/{path}/{uuid}", call.method),
                change,
                may_be_job: true,
                record: one_snapshot,
                created_at: None,
            })
        }
        _ => call.refuse_method(),
    }
}

/// The object of a path, or the one that a query chooses; none if it chooses nothing.
///
/// # Errors
/// When a query chooses several: this emulator changes one at a time.
fn one_of(
    call: &Call<'_>,
    rest: &[&str],
    records: Vec<Value>,
    fields: &Fields,
) -> Result<Option<Uuid>, ApiError> {
    if let [uuid] = rest {
        return id_in(uuid).map(Some);
    }
    match call.chosen(records, fields)?.as_slice() {
        [] => Ok(None),
        [uuid] => Ok(Some(*uuid)),
        _ => Err(ApiError::bad(
            2,
            "This emulator changes one object at a time: the query fits several.",
        )),
    }
}

fn request(call: &Call<'_>) -> Result<VolumeRequest, ApiError> {
    let body = &call.body;
    body.expect(&[
        "name",
        "svm",
        "aggregates",
        "size",
        "style",
        "type",
        "guarantee",
        "snapshot_policy",
        "space",
        "efficiency",
        "state",
        "comment",
        "language",
        "autosize",
        "encryption",
        "nas",
        "qos",
        "snapshot_directory_access_enabled",
        "tiering",
        "uuid",
    ])?;
    let mut aggregates = Vec::new();
    for aggregate in body.list("aggregates") {
        let by_id = aggregate.uuid("uuid")?;
        let named =
            by_id.and_then(|uuid| call.cluster.aggregates.iter().find(|one| one.uuid == uuid));
        aggregates.extend(named.map(|one| one.name.clone()).or(aggregate.text("name")));
    }
    Ok(VolumeRequest {
        name: body.text("name"),
        svm: call.named_svm()?,
        aggregates,
        size: body.number("size")?.or(body.number("space.size")?),
        guarantee: body.text("guarantee.type"),
        snapshot_reserve: body.small("space.snapshot.reserve_percent")?,
        fractional_reserve: body.small("space.fractional_reserve")?,
        snapshot_policy: body
            .text("snapshot_policy.name")
            .or(body.text("snapshot_policy")),
        dedupe: body.text("efficiency.dedupe"),
        state: body.text("state"),
        comment: body.text("comment"),
        language: body.text("language"),
    })
}

fn one_snapshot(cluster: &Cluster, uuid: Uuid) -> Option<Value> {
    let found = cluster.snapshots.iter().find(|one| one.uuid == uuid)?;
    Some(snapshot(cluster, found))
}

fn volume(cluster: &Cluster, volume: &Volume) -> Value {
    let space = cluster.volume_space(volume);
    let reserve = volume.size - space.usable;
    let aggregate = cluster.aggregate(&volume.aggregate).map(|one| one.uuid);
    let snapshots = cluster
        .snapshots
        .iter()
        .filter(|one| one.volume == volume.uuid)
        .count();
    let has_dedupe = volume.dedupe != "none";
    let mut value = json!({
        "name": volume.name, "uuid": volume.uuid, "svm": svm_reference(cluster, &volume.svm),
        "state": if volume.online { "online" } else { "offline" }, "style": "flexvol", "type": "rw",
        "aggregates": [{"name": volume.aggregate, "uuid": aggregate}], "size": volume.size,
        "space": {
            "size": volume.size, "available": space.available, "used": space.used + reserve, "afs_total": space.usable,
            "fractional_reserve": volume.fractional_reserve,
            "snapshot": {"reserve_percent": volume.snapshot_reserve, "reserve_size": reserve, "used": space.snapshots},
        },
        "guarantee": {"type": volume.guarantee.word(), "honored": volume.online},
        "snapshot_policy": {"name": volume.snapshot_policy}, "snapshot_count": snapshots,
        "efficiency": {
            "state": if has_dedupe { "enabled" } else { "disabled" }, "dedupe": volume.dedupe, "compression": "none",
            "volume_path": format!("/vol/{}", volume.name),
        },
        "is_svm_root": volume.is_root, "error_state": {"is_inconsistent": false, "has_bad_blocks": false},
        "language": volume.language, "comment": volume.comment, "create_time": volume.created,
        "encryption": {"enabled": false}, "autosize": {"mode": "off"}, "snapshot_directory_access_enabled": true,
    });
    if volume.is_root {
        value["nas"] = json!({"path": "/"});
    }
    value
}

fn snapshot(cluster: &Cluster, snapshot: &Snapshot) -> Value {
    let volume = cluster.volume(snapshot.volume);
    let size: u64 = snapshot
        .luns
        .iter()
        .map(|lun| cluster.allocated(lun.data))
        .sum();
    let mut value = json!({
        "name": snapshot.name, "uuid": snapshot.uuid, "create_time": snapshot.created, "state": "valid",
        "volume": {"name": volume.map(|volume| &volume.name), "uuid": snapshot.volume},
        "svm": svm_reference(cluster, volume.map_or("", |volume| &volume.svm)),
        "size": size, "version_uuid": snapshot.uuid,
    });
    if !snapshot.comment.is_empty() {
        value["comment"] = json!(snapshot.comment);
    }
    if !snapshot.owners.is_empty() {
        value["owners"] = json!(snapshot.owners);
    }
    value
}
