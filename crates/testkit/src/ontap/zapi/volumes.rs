//! The calls of ZAPI that make, change and delete FlexVols.

use uuid::Uuid;

use super::element::Element;
use super::luns::{amount, flag, required};
use super::system::{Answered, Refusal, number};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::volumes::VolumeRequest;

/// Answers a call within an SVM; none for one of another family.
pub fn answer(cluster: &mut Cluster, svm: &str, call: &Element) -> Option<Answered> {
    Some(match call.name.as_str() {
        "volume-create" => create(cluster, svm, call),
        "volume-size" => size(cluster, svm, call),
        "volume-offline" => change(
            cluster,
            svm,
            call,
            VolumeRequest {
                state: Some("offline".to_owned()),
                ..VolumeRequest::default()
            },
        ),
        "volume-destroy" => destroy(cluster, svm, call),
        "volume-modify-iter" => Ok(modify(cluster, svm, call)),
        "sis-enable" => deduplicate(cluster, svm, call),
        _ => return None,
    })
}

fn create(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let text = |name: &str| call.value(name).map(str::to_owned);
    let percent = call.value("percentage-snapshot-reserve");
    let asked = VolumeRequest {
        name: Some(required(call, "volume")?.to_owned()),
        svm: Some(svm.to_owned()),
        aggregates: vec![required(call, "containing-aggr-name")?.to_owned()],
        size: Some(amount(call, "size")?),
        guarantee: text("space-reserve"),
        snapshot_reserve: percent.and_then(|percent| percent.parse().ok()),
        snapshot_policy: text("snapshot-policy"),
        comment: text("volume-comment"),
        ..VolumeRequest::default()
    };
    cluster.create_volume(asked).map_err(number)?;
    Ok(vec![])
}

fn size(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let uuid = named(cluster, svm, required(call, "volume")?)?;
    let asked = VolumeRequest {
        size: Some(amount(call, "new-size")?),
        ..VolumeRequest::default()
    };
    cluster.change_volume(uuid, asked).map_err(number)?;
    Ok(vec![Element::leaf(
        "volume-size",
        required(call, "new-size")?,
    )])
}

/// A FlexVol must be offline, or be taken offline on the way.
fn destroy(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let uuid = named(cluster, svm, required(call, "name")?)?;
    let is_online = cluster.volume(uuid).is_some_and(|volume| volume.online);
    if is_online && !flag(call, "unmount-and-offline") {
        let text = "Volume must be offline to be destroyed.";
        return Err((13_001, text.to_owned()));
    }
    cluster.delete_volume(uuid).map_err(number)?;
    Ok(vec![])
}

fn change(cluster: &mut Cluster, svm: &str, call: &Element, asked: VolumeRequest) -> Answered {
    let uuid = named(cluster, svm, required(call, "name")?)?;
    cluster.change_volume(uuid, asked).map_err(number)?;
    Ok(vec![])
}

/// Comments only. Says how many it changed, and passes in any case.
fn modify(cluster: &mut Cluster, svm: &str, call: &Element) -> Vec<Element> {
    let of = |part: &str, name: &str| {
        let record = call.child(part)?.child("volume-attributes")?;
        record.child("volume-id-attributes")?.value(name)
    };
    let comment = of("attributes", "comment").map(str::to_owned);
    let found = named(cluster, svm, of("query", "name").unwrap_or(""));
    let changed = found.and_then(|uuid| {
        let asked = VolumeRequest {
            comment,
            ..VolumeRequest::default()
        };
        cluster.change_volume(uuid, asked).map_err(number)
    });
    let (succeeded, failure) = match changed {
        Ok(()) => (1, vec![]),
        Err((code, text)) => (
            0,
            vec![Element::new(
                "volume-modify-iter-info",
                vec![
                    Element::leaf("error-code", code),
                    Element::leaf("error-message", text),
                ],
            )],
        ),
    };
    vec![
        Element::leaf("num-succeeded", succeeded),
        Element::leaf("num-failed", failure.len()),
        Element::new("failure-list", failure),
    ]
}

fn deduplicate(cluster: &mut Cluster, svm: &str, call: &Element) -> Answered {
    let path = required(call, "path")?;
    let uuid = named(cluster, svm, path.strip_prefix("/vol/").unwrap_or(path))?;
    let asked = VolumeRequest {
        dedupe: Some("background".to_owned()),
        ..VolumeRequest::default()
    };
    cluster.change_volume(uuid, asked).map_err(number)?;
    Ok(vec![])
}

fn named(cluster: &Cluster, svm: &str, name: &str) -> Result<Uuid, Refusal> {
    let found = cluster.volume_named(svm, name);
    found.map(|volume| volume.uuid).map_err(number)
}
