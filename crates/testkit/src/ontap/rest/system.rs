//! The cluster, its nodes, jobs and licences; SVMs; aggregates; policies of quality of service.

use serde_json::{Value, json};
use uuid::Uuid;

use super::call::{Answered, Call, id_in, id_of};
use super::query::Fields;
use crate::ontap::http::Response;
use crate::ontap::state::cluster::{Aggregate, Cluster, Policy, Svm};
use crate::ontap::state::error::ApiError;
use crate::ontap::state::jobs::Job;

const CLUSTER: Fields = Fields {
    id: &[],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "version",
        "contact",
        "location",
        "timezone",
        "san_optimized",
        "disaggregated",
    ],
    expensive: &[],
};
const NODES: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "model",
        "serial_number",
        "version",
        "state",
        "is_all_flash_optimized",
        "is_all_flash_select_optimized",
        "is_capacity_optimized",
        "is_performance_optimized",
    ],
    // Not in the documented model, but Cinder asks for them and gets them.
    expensive: &[
        "is_all_flash_optimized",
        "is_all_flash_select_optimized",
        "is_capacity_optimized",
        "is_performance_optimized",
    ],
};
const JOBS: Fields = Fields {
    id: &["uuid"],
    keys: &["uuid"],
    known: &[
        "uuid",
        "description",
        "state",
        "message",
        "code",
        "error",
        "start_time",
        "end_time",
        "svm",
        "node",
    ],
    expensive: &[],
};
const LICENSES: Fields = Fields {
    id: &["name"],
    keys: &["name"],
    known: &[
        "name",
        "scope",
        "state",
        "description",
        "entitlement",
        "licenses",
    ],
    expensive: &[],
};
const SVMS: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "state",
        "subtype",
        "aggregates",
        "iscsi",
        "comment",
        "language",
        "max_volumes",
        "ipspace",
        "nfs",
        "cifs",
        "fcp",
        "nvme",
    ],
    expensive: &[],
};
const AGGREGATES: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "space",
        "block_storage",
        "home_node",
        "node",
        "state",
        "volume_count",
        "data_encryption",
        "snaplock_type",
        "create_time",
    ],
    expensive: &["space.efficiency"],
};
const DISKS: Fields = Fields {
    id: &["name"],
    keys: &["name"],
    known: &[
        "name",
        "type",
        "effective_type",
        "aggregates",
        "state",
        "class",
    ],
    expensive: &[],
};
const POLICIES: Fields = Fields {
    id: &["uuid"],
    keys: &["name", "uuid"],
    known: &[
        "name",
        "uuid",
        "svm",
        "fixed",
        "adaptive",
        "object_count",
        "policy_class",
        "scope",
    ],
    expensive: &[],
};
const ROWS: Fields = Fields {
    id: &["id"],
    keys: &["id"],
    known: &["id", "counters", "counter_table", "properties"],
    expensive: &[],
};
const NOTHING: Fields = Fields {
    id: &[],
    keys: &[],
    known: &[
        "source",
        "destination",
        "state",
        "volume",
        "volumes",
        "vserver",
        "svm",
        "name",
        "uuid",
        "unsplit_size",
        "pending_splits",
        "logical-data-size",
        "logical-data-limit",
    ],
    expensive: &[],
};

/// `/cluster` and what is below it.
pub fn cluster(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    if call.method != "GET" {
        return call.refuse_method();
    }
    let cluster = &call.cluster;
    match rest {
        [] => {
            let value = call.query.instance(record(cluster), &CLUSTER)?;
            Ok(Response::json(200, &value))
        }
        ["nodes"] => call.list("cluster/nodes", vec![node(cluster)], &NODES),
        ["jobs"] => {
            let jobs = cluster
                .jobs
                .iter()
                .filter(|job| !job.is_lost)
                .map(job)
                .collect();
            call.list("cluster/jobs", jobs, &JOBS)
        }
        ["jobs", uuid] => {
            let uuid = id_in(uuid)?;
            let jobs = cluster
                .jobs
                .iter()
                .filter(|job| !job.is_lost)
                .map(job)
                .collect();
            call.show(&format!("cluster/jobs/{uuid}"), jobs, &JOBS, |job| {
                id_of(job, "uuid") == Some(uuid)
            })
        }
        ["licensing", "licenses"] => {
            call.list("cluster/licensing/licenses", licenses(cluster), &LICENSES)
        }
        ["licensing", "licenses", name] => {
            let path = format!("cluster/licensing/licenses/{name}");
            call.show(&path, licenses(cluster), &LICENSES, |license| {
                license["name"] == **name
            })
        }
        ["counter", "tables", table] => Ok(Response::json(200, &counters(call, table))),
        ["counter", "tables", table, "rows"] => {
            let path = format!("cluster/counter/tables/{table}/rows");
            call.list(&path, Vec::new(), &ROWS)
        }
        _ => Err(ApiError::missing(
            3,
            format!("API not found: /api/cluster/{}", rest.join("/")),
        )),
    }
}

/// A table of counters, as far as Cinder's driver cannot start without it: what it asks for has a base, and no row has a value.
fn counters(call: &Call<'_>, table: &str) -> Value {
    let name = call
        .query
        .get("counter_schemas.name")
        .unwrap_or("average_processor_busy_percent");
    let base = json!({"name": "elapsed_time"});
    json!({"name": table, "counter_schemas": [{"name": name, "type": "percent", "unit": "percent", "denominator": base}]})
}

/// `/svm/svms`.
pub fn svms(call: &Call<'_>, rest: &[&str]) -> Answered {
    let svms = call.cluster.svms.iter();
    let svms = svms.filter(|svm| {
        call.svm
            .as_ref()
            .is_none_or(|confined| *confined == svm.name)
    });
    let records = svms.map(|one| svm(call.cluster, one)).collect();
    get(call, "svm/svms", rest, records, &SVMS)
}

/// `/storage/aggregates`.
pub fn aggregates(call: &Call<'_>, rest: &[&str]) -> Answered {
    let aggregates = call.cluster.aggregates.iter();
    let records = aggregates.map(|one| aggregate(call.cluster, one)).collect();
    get(call, "storage/aggregates", rest, records, &AGGREGATES)
}

/// `/storage/disks`.
pub fn disks(call: &Call<'_>) -> Answered {
    let mut records = Vec::new();
    for (shelf, aggregate) in call.cluster.aggregates.iter().enumerate() {
        for bay in 0..aggregate.disks {
            records.push(json!({
                "name": format!("1.{shelf}.{bay}"), "type": "ssd", "effective_type": "ssd", "state": "present",
                "class": "solid_state", "aggregates": [{"name": aggregate.name, "uuid": aggregate.uuid}],
            }));
        }
    }
    get(call, "storage/disks", &[], records, &DISKS)
}

/// `/storage/qos/policies`: names only, nothing is slowed down.
pub fn policies(call: &mut Call<'_>, rest: &[&str]) -> Answered {
    let record = |policy: &Policy| json!({"name": policy.name, "uuid": policy.uuid, "svm": {"name": policy.svm}});
    let records: Vec<Value> = call.cluster.policies.iter().map(record).collect();
    let chosen: Vec<Uuid> = match rest {
        [uuid] => vec![id_in(uuid)?],
        _ => call.chosen(records.clone(), &POLICIES)?,
    };
    match call.method {
        "GET" => get(call, "storage/qos/policies", rest, records, &POLICIES),
        "POST" => {
            call.body.expect(&["name", "svm", "fixed", "adaptive"])?;
            let name = call.body.text("name").unwrap_or_default();
            let svm = call.required_svm()?;
            if call
                .cluster
                .policies
                .iter()
                .any(|policy| policy.name == name)
            {
                return Err(ApiError::conflict(1, "duplicate entry").at("name"));
            }
            let uuid = Uuid::new_v4();
            call.cluster.policies.push(Policy { name, uuid, svm });
            Ok(call.made(Some(format!("storage/qos/policies/{uuid}")), None))
        }
        "PATCH" => {
            let name = call.body.text("name");
            for policy in call
                .cluster
                .policies
                .iter_mut()
                .filter(|policy| chosen.contains(&policy.uuid))
            {
                policy.name = name.clone().unwrap_or(std::mem::take(&mut policy.name));
            }
            Ok(call.made(None, None))
        }
        "DELETE" => {
            call.cluster
                .policies
                .retain(|policy| !chosen.contains(&policy.uuid));
            Ok(call.made(None, None))
        }
        _ => call.refuse_method(),
    }
}

/// A collection in which there never is anything.
pub fn nothing(call: &Call<'_>, path: &str) -> Answered {
    get(call, path, &[], Vec::new(), &NOTHING)
}

/// Answers a GET of a collection whose objects have ids.
pub fn get(
    call: &Call<'_>,
    path: &str,
    rest: &[&str],
    records: Vec<Value>,
    fields: &Fields,
) -> Answered {
    match (call.method, rest) {
        ("GET", []) => call.list(path, records, fields),
        ("GET", [uuid]) => {
            let uuid = id_in(uuid)?;
            call.show(&format!("{path}/{uuid}"), records, fields, |record| {
                id_of(record, "uuid") == Some(uuid)
            })
        }
        _ => call.refuse_method(),
    }
}

/// How another record names an SVM.
pub fn svm_reference(cluster: &Cluster, name: &str) -> Value {
    let uuid = cluster
        .svms
        .iter()
        .find(|svm| svm.name == name)
        .map(|svm| svm.uuid);
    json!({"name": name, "uuid": uuid})
}

fn record(cluster: &Cluster) -> Value {
    json!({
        "name": cluster.name, "uuid": cluster.uuid, "version": version(cluster), "san_optimized": false,
        "timezone": {"name": "Etc/UTC"}, "_links": {"self": {"href": "/api/cluster"}},
    })
}

fn version(cluster: &Cluster) -> Value {
    let [generation, major, minor] = cluster.version;
    let full = format!("NetApp Release {generation}.{major}.{minor}: Wed Jan 01 00:00:00 UTC 2025");
    json!({"full": full, "generation": generation, "major": major, "minor": minor})
}

fn node(cluster: &Cluster) -> Value {
    json!({
        "name": cluster.node, "uuid": cluster.node_uuid, "model": "AFF-A400", "serial_number": "4082368511",
        "version": version(cluster), "state": "up", "is_all_flash_optimized": true, "is_all_flash_select_optimized": false,
        "is_capacity_optimized": false, "is_performance_optimized": false,
    })
}

fn job(job: &Job) -> Value {
    let mut value = json!({
        "uuid": job.uuid, "description": job.description, "state": job.state(), "start_time": job.started,
    });
    if let Some(ended) = &job.ended {
        value["end_time"] = json!(ended);
        value["message"] = json!("success");
        value["code"] = json!(0);
    }
    if let Some(error) = &job.error {
        value["message"] = json!(error.message);
        value["code"] = json!(error.code);
        value["error"] = json!({"message": error.message, "code": error.code.to_string()});
    }
    value
}

fn licenses(cluster: &Cluster) -> Vec<Value> {
    let all = [
        ("iscsi", cluster.licences.iscsi),
        ("flexclone", cluster.licences.flexclone),
        ("base", true),
    ];
    all.into_iter()
        .map(|(name, is_there)| {
            let state = if is_there { "compliant" } else { "unlicensed" };
            json!({"name": name, "scope": "cluster", "state": state})
        })
        .collect()
}

fn svm(cluster: &Cluster, svm: &Svm) -> Value {
    let aggregates = cluster
        .aggregates
        .iter()
        .filter(|one| svm.aggregates.contains(&one.name));
    let aggregates: Vec<Value> = aggregates
        .map(|one| {
            json!({
                "name": one.name, "uuid": one.uuid, "state": "online", "type": "ssd",
                "available_size": cluster.aggregate_available(&one.name),
            })
        })
        .collect();
    let is_on = svm.iscsi.as_ref().is_some_and(|service| service.enabled);
    json!({
        "name": svm.name, "uuid": svm.uuid, "state": svm.state, "subtype": "default", "language": "c.utf_8",
        "aggregates": aggregates, "iscsi": {"enabled": is_on, "allowed": true}, "comment": "", "max_volumes": "unlimited",
        "ipspace": {"name": "Default"},
    })
}

fn aggregate(cluster: &Cluster, aggregate: &Aggregate) -> Value {
    let used = cluster.aggregate_used(&aggregate.name);
    let node = json!({"name": cluster.node, "uuid": cluster.node_uuid});
    json!({
        "name": aggregate.name, "uuid": aggregate.uuid, "state": "online",
        "home_node": node, "node": node, "snaplock_type": "non_snaplock",
        "space": {"block_storage": {
            "size": aggregate.size, "used": used, "available": aggregate.size.saturating_sub(used),
            "full_threshold_percent": 98,
        }},
        "block_storage": {
            "primary": {"raid_type": aggregate.raid_type, "disk_count": aggregate.disks, "disk_class": "solid_state", "raid_size": 24},
            "storage_type": "ssd", "mirror": {"enabled": false, "state": "unmirrored"},
        },
    })
}
