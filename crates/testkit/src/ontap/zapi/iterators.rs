//! The calls of ZAPI that list: `*-get-iter`, with queries and pages.

use super::element::Element;
use super::system::{Answered, unknown};
use crate::ontap::state::cluster::{Aggregate, Cluster};
use crate::ontap::state::igroups::{Igroup, LunMap};
use crate::ontap::state::luns::Lun;
use crate::ontap::state::volumes::Volume;

/// Records of a page unless the call says otherwise.
const PAGE: usize = 20;

/// Answers a call that lists.
pub fn answer(cluster: &Cluster, svm: Option<&str>, call: &Element) -> Answered {
    let records = records(cluster, svm, &call.name).ok_or_else(|| unknown(&call.name))?;
    let query = call.child("query").and_then(|query| query.children.first());
    let fits = |record: &Element| query.is_none_or(|query| record.fits(query));
    let records: Vec<Element> = records.into_iter().filter(fits).collect();
    let number = |name: &str| {
        call.value(name)
            .and_then(|value| value.parse::<usize>().ok())
    };
    let (start, most) = (
        number("tag").unwrap_or(0),
        number("max-records").unwrap_or(PAGE).max(1),
    );
    let total = records.len();
    let page: Vec<Element> = records.into_iter().skip(start).take(most).collect();
    let count = page.len();
    let mut results = vec![Element::new("attributes-list", page)];
    if count == 0 {
        // A real array leaves an empty list out.
        results.clear();
    }
    if start + count < total {
        results.push(Element::leaf("next-tag", start + count));
    }
    results.push(Element::leaf("num-records", count));
    Ok(results)
}

fn records(cluster: &Cluster, svm: Option<&str>, name: &str) -> Option<Vec<Element>> {
    let is_seen = |owner: &str| svm.is_none_or(|svm| svm == owner);
    let volumes = || cluster.volumes.iter().filter(|volume| is_seen(&volume.svm));
    let igroups = || cluster.igroups.iter().filter(|igroup| is_seen(&igroup.svm));
    let found = match name {
        "system-node-get-iter" => vec![node(cluster)],
        "vserver-get-iter" => vservers(cluster, svm),
        // What a cluster shows to nobody but its own administrators.
        "aggr-get-iter" if svm.is_some() => return None,
        "aggr-get-iter" => cluster
            .aggregates
            .iter()
            .map(|one| aggregate(cluster, one))
            .collect(),
        "storage-disk-get-iter" => cluster.aggregates.iter().map(disk).collect(),
        "volume-get-iter" => volumes().map(|one| volume(cluster, one)).collect(),
        "sis-get-iter" => volumes()
            .filter(|one| one.dedupe != "none")
            .map(efficiency)
            .collect(),
        "snapmirror-get-iter" => Vec::new(),
        "system-user-capability-get-iter" => vec![capabilities()],
        "lun-get-iter" => {
            let luns = cluster.luns.iter().filter(|lun| is_seen(&lun.svm));
            luns.map(|one| lun(cluster, one)).collect()
        }
        "lun-map-get-iter" => {
            let maps = cluster.maps.iter();
            maps.filter_map(|one| map(cluster, one))
                .filter(|one| one.value("vserver").is_some_and(is_seen))
                .collect()
        }
        "igroup-get-iter" => igroups().map(igroup).collect(),
        "iscsi-service-get-iter" => services(cluster)
            .into_iter()
            .filter(|one| one.value("vserver").is_some_and(is_seen))
            .collect(),
        "iscsi-interface-get-iter" | "net-interface-get-iter" => {
            let container = if name.starts_with("iscsi") {
                "iscsi-interface-list-entry-info"
            } else {
                "net-interface-info"
            };
            interfaces(cluster, container)
                .into_iter()
                .filter(|one| one.value("vserver").is_some_and(is_seen))
                .collect()
        }
        "snapshot-get-iter" => snapshots(cluster)
            .into_iter()
            .filter(|one| one.value("vserver").is_some_and(is_seen))
            .collect(),
        _ => return None,
    };
    Some(found)
}

fn leaves(name: &str, pairs: &[(&str, String)]) -> Element {
    Element::new(
        name,
        pairs
            .iter()
            .map(|(name, text)| Element::leaf(name, text))
            .collect(),
    )
}

fn node(cluster: &Cluster) -> Element {
    leaves(
        "node-details-info",
        &[
            ("node", cluster.node.clone()),
            ("node-model", "AFF-A400".to_owned()),
            ("is-all-flash-optimized", "true".to_owned()),
            ("is-all-flash-select-optimized", "false".to_owned()),
        ],
    )
}

fn vservers(cluster: &Cluster, scope: Option<&str>) -> Vec<Element> {
    let others = [(&cluster.name, "admin"), (&cluster.node, "node")];
    let others = others.into_iter().filter(|_| scope.is_none());
    let others = others.map(|(name, kind)| {
        let pairs = [
            ("vserver-name", name.clone()),
            ("vserver-type", kind.to_owned()),
        ];
        leaves("vserver-info", &pairs)
    });
    let data = cluster.svms.iter();
    let data = data.filter(|svm| scope.is_none_or(|scope| scope == svm.name));
    let data = data.map(|svm| {
        let pairs = [
            ("vserver-name", svm.name.clone()),
            ("vserver-type", "data".to_owned()),
            ("uuid", svm.uuid.to_string()),
            ("state", svm.state.clone()),
        ];
        let mut record = leaves("vserver-info", &pairs);
        let own = svm.aggregates.iter().map(|name| {
            let free = cluster.aggregate(name).map_or(0, |aggregate| {
                aggregate.size.saturating_sub(cluster.aggregate_used(name))
            });
            let pairs = [
                ("aggr-name", name.clone()),
                ("aggr-availsize", free.to_string()),
            ];
            leaves("vserver-aggr-info", &pairs)
        });
        let own = own.collect();
        record
            .children
            .push(Element::new("vserver-aggr-info-list", own));
        record
    });
    others.chain(data).collect()
}

fn aggregate(cluster: &Cluster, aggregate: &Aggregate) -> Element {
    let used = cluster.aggregate_used(&aggregate.name);
    let space = [
        (
            "percent-used-capacity",
            (used * 100 / aggregate.size.max(1)).to_string(),
        ),
        (
            "size-available",
            aggregate.size.saturating_sub(used).to_string(),
        ),
        ("size-total", aggregate.size.to_string()),
        ("size-used", used.to_string()),
    ];
    let raid = [
        ("raid-type", aggregate.raid_type.clone()),
        ("is-hybrid", "false".to_owned()),
        ("is-root-aggregate", "false".to_owned()),
        ("disk-count", aggregate.disks.to_string()),
    ];
    Element::new(
        "aggr-attributes",
        vec![
            Element::leaf("aggregate-name", &aggregate.name),
            leaves("aggr-space-attributes", &space),
            leaves("aggr-raid-attributes", &raid),
            leaves(
                "aggr-ownership-attributes",
                &[("home-name", cluster.node.clone())],
            ),
        ],
    )
}

fn disk(aggregate: &Aggregate) -> Element {
    let owner = leaves(
        "disk-aggregate-info",
        &[("aggregate-name", aggregate.name.clone())],
    );
    let raid = vec![owner, Element::leaf("effective-disk-type", "SSD")];
    Element::new(
        "storage-disk-info",
        vec![
            Element::leaf("disk-name", "1.0.0"),
            Element::new("disk-raid-info", raid),
        ],
    )
}

fn volume(cluster: &Cluster, volume: &Volume) -> Element {
    let space = cluster.volume_space(volume);
    let id = [
        ("name", volume.name.clone()),
        ("owning-vserver-name", volume.svm.clone()),
        ("containing-aggregate-name", volume.aggregate.clone()),
        ("type", "rw".to_owned()),
        ("style", "flex".to_owned()),
        ("style-extended", "flexvol".to_owned()),
        ("uuid", volume.uuid.to_string()),
        ("comment", volume.comment.clone()),
    ];
    let state = [
        ("is-vserver-root", volume.is_root.to_string()),
        ("is-inconsistent", "false".to_owned()),
        ("is-invalid", "false".to_owned()),
        (
            "state",
            if volume.online { "online" } else { "offline" }.to_owned(),
        ),
    ];
    let room = [
        ("is-space-guarantee-enabled", "true".to_owned()),
        ("space-guarantee", volume.guarantee.word().to_owned()),
        (
            "percentage-snapshot-reserve",
            volume.snapshot_reserve.to_string(),
        ),
        ("size", volume.size.to_string()),
        ("size-total", space.usable.to_string()),
        ("size-available", space.available.to_string()),
        ("size-used", space.used.to_string()),
    ];
    Element::new(
        "volume-attributes",
        vec![
            Element::leaf("encrypt", false),
            leaves("volume-id-attributes", &id),
            leaves("volume-state-attributes", &state),
            leaves("volume-space-attributes", &room),
            leaves(
                "volume-snapshot-attributes",
                &[("snapshot-policy", volume.snapshot_policy.clone())],
            ),
            leaves(
                "volume-language-attributes",
                &[("language-code", volume.language.clone())],
            ),
            leaves(
                "volume-mirror-attributes",
                &[
                    ("is-data-protection-mirror", "false".to_owned()),
                    ("is-replica-volume", "false".to_owned()),
                ],
            ),
        ],
    )
}

fn efficiency(volume: &Volume) -> Element {
    leaves(
        "sis-status-info",
        &[
            ("path", format!("/vol/{}", volume.name)),
            ("state", "enabled".to_owned()),
            ("is-compression-enabled", "false".to_owned()),
            ("logical-data-size", "0".to_owned()),
            ("logical-data-limit", (640_u64 << 40).to_string()),
        ],
    )
}

/// The account may do everything: what is asked for is in the query, and comes back.
fn capabilities() -> Element {
    let all = [
        ("storage.aggregate", "show", "aggr-options-list-info"),
        ("storage.disk", "show", "storage-disk-get-iter"),
        ("snapmirror", "show", "snapmirror-get-iter"),
        ("volume.efficiency", "show", "sis-get-iter"),
        ("volume", "show", "volume-get-iter"),
    ];
    let mut operations = Vec::new();
    let mut record = Vec::new();
    for (object, operation, api) in all {
        record.push(Element::leaf("object-name", object));
        let names = [("api-name", api.to_owned()), ("name", operation.to_owned())];
        operations.push(leaves("operation-info", &names));
        operations.push(leaves(
            "operation-info",
            &[
                ("api-name", api.to_owned()),
                ("name", format!("*{operation}")),
            ],
        ));
    }
    record.push(Element::new("operation-list", operations));
    Element::new("capability-info", record)
}

fn lun(cluster: &Cluster, lun: &Lun) -> Element {
    let volume = cluster.volume(lun.volume).map_or("", |volume| &volume.name);
    let is_mapped = cluster.maps.iter().any(|map| map.lun == lun.uuid);
    leaves(
        "lun-info",
        &[
            ("path", cluster.lun_path(lun)),
            ("vserver", lun.svm.clone()),
            ("volume", volume.to_owned()),
            ("qtree", String::new()),
            ("size", lun.size.to_string()),
            ("size-used", cluster.allocated(lun.data).to_string()),
            ("uuid", lun.uuid.to_string()),
            ("serial-number", lun.serial.clone()),
            ("multiprotocol-type", lun.os_type.clone()),
            ("is-space-reservation-enabled", lun.reserve.to_string()),
            ("is-space-alloc-enabled", lun.thin_provisioning.to_string()),
            ("block-size", "512".to_owned()),
            ("comment", lun.comment.clone()),
            ("mapped", is_mapped.to_string()),
            ("online", lun.enabled.to_string()),
            (
                "state",
                if lun.enabled { "online" } else { "offline" }.to_owned(),
            ),
        ],
    )
}

fn map(cluster: &Cluster, map: &LunMap) -> Option<Element> {
    let (lun, igroup) = (cluster.lun(map.lun).ok()?, cluster.igroup(map.igroup).ok()?);
    let pairs = [
        ("path", cluster.lun_path(lun)),
        ("vserver", lun.svm.clone()),
        ("initiator-group", igroup.name.clone()),
        ("lun-id", map.number.to_string()),
        ("lun-uuid", lun.uuid.to_string()),
        ("initiator-group-uuid", igroup.uuid.to_string()),
    ];
    Some(leaves("lun-map-info", &pairs))
}

fn igroup(igroup: &Igroup) -> Element {
    let initiators = igroup.initiators.iter();
    let initiators =
        initiators.map(|(name, _)| leaves("initiator-info", &[("initiator-name", name.clone())]));
    let mut record = leaves(
        "initiator-group-info",
        &[
            ("initiator-group-name", igroup.name.clone()),
            ("initiator-group-type", igroup.protocol.clone()),
            ("initiator-group-os-type", igroup.os_type.clone()),
            ("initiator-group-uuid", igroup.uuid.to_string()),
            ("vserver", igroup.svm.clone()),
        ],
    );
    record
        .children
        .push(Element::new("initiators", initiators.collect()));
    record
}

fn services(cluster: &Cluster) -> Vec<Element> {
    let with = cluster
        .svms
        .iter()
        .filter_map(|svm| Some((svm, svm.iscsi.as_ref()?)));
    with.map(|(svm, service)| {
        let pairs = [
            ("vserver", svm.name.clone()),
            ("node-name", service.target.clone()),
            ("alias-name", service.alias.clone()),
            ("is-available", service.enabled.to_string()),
        ];
        leaves("iscsi-service-info", &pairs)
    })
    .collect()
}

fn interfaces(cluster: &Cluster, container: &str) -> Vec<Element> {
    let all = cluster.interfaces.iter().enumerate();
    all.map(|(index, interface)| {
        let pairs = [
            ("vserver", interface.svm.clone()),
            ("interface-name", interface.name.clone()),
            ("ip-address", interface.address.clone()),
            ("address", interface.address.clone()),
            ("ip-port", "3260".to_owned()),
            ("tpgroup-tag", (1026 + index).to_string()),
            ("is-interface-enabled", interface.enabled.to_string()),
            (
                "operational-status",
                if interface.enabled { "up" } else { "down" }.to_owned(),
            ),
        ];
        leaves(container, &pairs)
    })
    .collect()
}

fn snapshots(cluster: &Cluster) -> Vec<Element> {
    let all = cluster
        .snapshots
        .iter()
        .filter_map(|one| Some((one, cluster.volume(one.volume)?)));
    all.map(|(snapshot, volume)| {
        let pairs = [
            ("name", snapshot.name.clone()),
            ("volume", volume.name.clone()),
            ("vserver", volume.svm.clone()),
            ("comment", snapshot.comment.clone()),
            ("busy", (!snapshot.owners.is_empty()).to_string()),
            ("snapshot-instance-uuid", snapshot.uuid.to_string()),
        ];
        leaves("snapshot-info", &pairs)
    })
    .collect()
}
