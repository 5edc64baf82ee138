//! The calls of ZAPI about LUNs, their clones, groups and maps, and snapshots.

use uuid::Uuid;

use super::element::Element;
use super::system::{Answered, Refusal, number, unknown};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::igroups::Igroup;
use crate::ontap::state::luns::{CloneSource, LunRequest};

/// Bytes to which sizes are rounded unless a call says otherwise.
const CYLINDER: u64 = 512 * 63 * 255;

/// Answers a call within an SVM.
pub fn answer(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    match call.name.as_str() {
        "lun-create-by-size" => create(cluster, svm, call),
        "lun-destroy" => {
            let lun = lun(cluster, svm, call, "path")?;
            cluster
                .delete_lun(lun, flag(call, "force"))
                .map_err(number)?;
            Ok(vec![])
        }
        "lun-resize" => {
            let uuid = lun(cluster, svm, call, "path")?;
            let size = amount(call, "size")?;
            if size > cluster.limits.lun_geometry {
                let text = "The new size exceeds the geometry of the LUN.";
                return Err((13_001, text.to_owned()));
            }
            let asked = LunRequest {
                size: Some(size),
                may_shrink: flag(call, "force"),
                ..LunRequest::default()
            };
            cluster.change_lun(uuid, asked).map_err(number)?;
            Ok(vec![Element::leaf("actual-size", size)])
        }
        "lun-move" => {
            let uuid = lun(cluster, svm, call, "path")?;
            let path = Some(required(call, "new-path")?.to_owned());
            let asked = LunRequest {
                path,
                ..LunRequest::default()
            };
            cluster.change_lun(uuid, asked).map_err(number)?;
            Ok(vec![])
        }
        "lun-set-comment" => {
            let uuid = lun(cluster, svm, call, "path")?;
            let comment = Some(required(call, "comment")?.to_owned());
            let asked = LunRequest {
                comment,
                ..LunRequest::default()
            };
            cluster.change_lun(uuid, asked).map_err(number)?;
            Ok(vec![])
        }
        "lun-set-space-reservation-info" => {
            let uuid = lun(cluster, svm, call, "path")?;
            let reserve = Some(flag(call, "enable"));
            let asked = LunRequest {
                reserve,
                ..LunRequest::default()
            };
            cluster.change_lun(uuid, asked).map_err(number)?;
            Ok(vec![])
        }
        "lun-get-serial-number" => {
            let uuid = lun(cluster, svm, call, "path")?;
            let serial = &cluster.lun(uuid).map_err(number)?.serial;
            Ok(vec![Element::leaf("serial-number", serial)])
        }
        "lun-get-geometry" => geometry(cluster, svm, call),
        "lun-map" => map(cluster, svm, call),
        "lun-unmap" => {
            let uuid = lun(cluster, svm, call, "path")?;
            let igroup = igroup(cluster, svm, call)?;
            cluster.unmap_lun(uuid, igroup).map_err(number)?;
            Ok(vec![])
        }
        _ => answer_of_others(cluster, svm, call),
    }
}

/// The calls about groups, clones and snapshots.
fn answer_of_others(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    match call.name.as_str() {
        "lun-initiator-list-map-info" => Ok(seen(cluster, svm, required(call, "initiator")?)),
        "igroup-create" => create_igroup(cluster, svm, call),
        "igroup-add" => {
            let group = igroup(cluster, svm, call)?;
            cluster
                .add_initiator(group, required(call, "initiator")?, "")
                .map_err(number)?;
            Ok(vec![])
        }
        "igroup-destroy" => {
            let group = igroup(cluster, svm, call)?;
            cluster
                .delete_igroup(group, flag(call, "force"))
                .map_err(number)?;
            Ok(vec![])
        }
        "clone-create" => clone(cluster, svm, call),
        "snapshot-create" => {
            let comment = call.value("comment").unwrap_or_default();
            let volume = cluster
                .volume_named(svm, required(call, "volume")?)
                .map_err(number)?
                .uuid;
            cluster
                .create_snapshot(volume, required(call, "snapshot")?, comment)
                .map_err(number)?;
            Ok(vec![])
        }
        "snapshot-delete" => {
            let volume = cluster
                .volume_named(svm, required(call, "volume")?)
                .map_err(number)?
                .uuid;
            let name = required(call, "snapshot")?;
            let found = cluster
                .snapshot_named(volume, name)
                .map(|snapshot| snapshot.uuid);
            let found = found.ok_or((15_661, format!("Snapshot {name} does not exist.")))?;
            cluster.delete_snapshot(found).map_err(number)?;
            Ok(vec![])
        }
        _ => Err(unknown(&call.name)),
    }
}

/// The text of a parameter that must be there.
pub fn required<'a>(call: &'a Element, name: &str) -> Result<&'a str, Refusal> {
    let value = call.value(name).filter(|value| !value.is_empty());
    value.ok_or_else(|| (13_115, format!("Invalid input: {name} is missing.")))
}

/// A truth value; false where there is none.
pub fn flag(call: &Element, name: &str) -> bool {
    call.value(name)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// A number that must be there.
pub fn amount(call: &Element, name: &str) -> Result<u64, Refusal> {
    let value = required(call, name)?;
    value.parse().map_err(|_| {
        (
            13_115,
            format!("Invalid input: {name} is no number: {value}."),
        )
    })
}

fn lun(cluster: &Cluster, svm: &str, call: &Element, name: &str) -> Result<Uuid, Refusal> {
    let found = cluster.lun_at(svm, required(call, name)?);
    found.map(|lun| lun.uuid).map_err(number)
}

fn igroup(cluster: &Cluster, svm: &str, call: &Element) -> Result<Uuid, Refusal> {
    let name = call
        .value("initiator-group-name")
        .or(call.value("initiator-group"));
    let found = cluster.igroup_named(svm, name.unwrap_or(""));
    found.map(|igroup| igroup.uuid).map_err(number)
}

fn create(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let mut size = amount(call, "size")?;
    if !flag(call, "use-exact-size") {
        // To whole cylinders, as before there was that flag.
        size = size.next_multiple_of(CYLINDER);
    }
    let asked = LunRequest {
        svm: Some(svm.to_owned()),
        path: Some(required(call, "path")?.to_owned()),
        size: Some(size),
        os_type: Some(call.value("ostype").unwrap_or("image").to_owned()),
        // Reserved unless the call says otherwise, unlike in REST.
        reserve: Some(call.value("space-reservation-enabled") != Some("false")),
        thin_provisioning: Some(flag(call, "space-allocation-enabled")),
        comment: call.value("comment").map(str::to_owned),
        ..LunRequest::default()
    };
    cluster.create_lun(asked).map_err(number)?;
    Ok(vec![Element::leaf("actual-size", size)])
}

fn clone(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    if call.child("block-ranges").is_some() {
        return Err((
            13_001,
            "Cloning ranges of blocks is not supported by this emulator.".to_owned(),
        ));
    }
    let volume = required(call, "volume")?;
    let inside = |path: &str| {
        path.strip_prefix(&format!("/vol/{volume}/"))
            .unwrap_or(path)
            .to_owned()
    };
    let source = inside(required(call, "source-path")?);
    let source = match call.value("snapshot-name") {
        Some(snapshot) => format!("/vol/{volume}/.snapshot/{snapshot}/{source}"),
        None => format!("/vol/{volume}/{source}"),
    };
    let path = format!(
        "/vol/{volume}/{}",
        inside(required(call, "destination-path")?)
    );
    if flag(call, "destination-exists")
        && let Ok(there) = cluster.lun_at(svm, &path)
    {
        let uuid = there.uuid;
        let asked = LunRequest {
            source: Some(CloneSource::Path(source)),
            ..LunRequest::default()
        };
        cluster.change_lun(uuid, asked).map_err(number)?;
        return Ok(vec![]);
    }
    let asked = LunRequest {
        svm: Some(svm.to_owned()),
        path: Some(path),
        reserve: call
            .child("space-reserve")
            .map(|_| flag(call, "space-reserve")),
        source: Some(CloneSource::Path(source)),
        ..LunRequest::default()
    };
    cluster.create_lun(asked).map_err(number)?;
    Ok(vec![])
}

fn map(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let uuid = lun(cluster, svm, call, "path")?;
    let group = igroup(cluster, svm, call)?;
    let wanted = call.value("lun-id").and_then(|value| value.parse().ok());
    let made = cluster.map_lun(uuid, group, wanted).map_err(number)?;
    Ok(vec![Element::leaf("lun-id-assigned", made.number)])
}

fn create_igroup(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let new = Igroup {
        uuid: Uuid::new_v4(),
        name: required(call, "initiator-group-name")?.to_owned(),
        svm: svm.to_owned(),
        protocol: required(call, "initiator-group-type")?.to_owned(),
        os_type: call.value("os-type").unwrap_or("default").to_owned(),
        comment: String::new(),
        initiators: Vec::new(),
    };
    cluster.create_igroup(new).map_err(number)?;
    Ok(vec![])
}

fn seen(cluster: &Cluster, svm: &str, initiator: &str) -> Vec<Element> {
    let maps = cluster.seen_by(svm, initiator).filter_map(|map| {
        let path = cluster.lun_path(cluster.lun(map.lun).ok()?);
        let children = vec![
            Element::leaf("path", path),
            Element::leaf("lun-id", map.number),
        ];
        Some(Element::new("lun-map-info", children))
    });
    vec![Element::new("lun-maps", maps.collect())]
}

fn geometry(cluster: &Cluster, svm: &str, call: &Element) -> Answered {
    let uuid = lun(cluster, svm, call, "path")?;
    let size = cluster.lun(uuid).map_err(number)?.size;
    Ok(vec![
        Element::leaf("size", size),
        Element::leaf("bytes-per-sector", 512),
        Element::leaf("sectors-per-track", 63),
        Element::leaf("tracks-per-cylinder", 255),
        Element::leaf("cylinders", size / (512 * 63 * 255)),
        Element::leaf(
            "max-resize-size",
            cluster.limits.lun_size.min(cluster.limits.lun_geometry),
        ),
    ])
}
