//! The objects that a pool has before anybody made one.

use std::collections::BTreeMap;
use std::sync::Arc;

use xenapi::{Failure, Value};

use super::barrier;
use super::context::{Home, now};
use crate::database::{Object, Transaction, text_map, text_set};
use crate::sr::{DriverInfo, SrType};

/// The version of the API that is spoken.
const API_VERSION: (i64, i64) = (2, 23);

/// The product version that clients compare; the API is that of this release of XenServer.
const PRODUCT_VERSION: &str = "8.4.0";

/// The platform version of that release.
const PLATFORM_VERSION: &str = "3.4.0";

/// The key of `host.other_config` that holds the initiator's name. Source: reference 4.7.
pub const INITIATOR_KEY: &str = "iscsi_iqn";

/// Finds the objects that there is one of, and makes them on a first start.
pub fn home(
    transaction: &mut Transaction<'_>,
    host_name: &str,
    address: &str,
) -> Result<Home, Failure> {
    let one = |object: &Arc<Object>| object.reference.to_string();
    let found = transaction.all("host").next().map(one);
    let host = match found {
        Some(host) => host,
        None => make_pool(transaction, host_name),
    };
    transaction.set("host", &host, "address", address)?;
    transaction.set(
        "host",
        &host,
        "software_version",
        software_version(host_name),
    )?;
    name_initiator(transaction, &host)?;
    let control_domain = transaction
        .get("host", &host)?
        .text("control_domain")
        .to_owned();
    let metrics = transaction.get("host", &host)?.text("metrics").to_owned();
    transaction.set(
        "host_metrics",
        &metrics,
        "last_updated",
        Value::DateTime(now()),
    )?;
    Ok(Home {
        host,
        control_domain,
    })
}

/// Gives the host the name under which it logs in to iSCSI targets, if it has none. It stays for good: targets' access lists
/// hold it.
fn name_initiator(transaction: &mut Transaction<'_>, host: &str) -> Result<(), Failure> {
    let record = transaction.get("host", host)?;
    if record.entry("other_config", INITIATOR_KEY).is_some() {
        return Ok(());
    }
    let uuid = record.text("uuid");
    let unique = uuid.get(..8).unwrap_or(uuid);
    let name = format!("iqn.2026-11.local.xensm:{unique}");
    transaction.set("host", host, INITIATOR_KEY, name.as_str())?;
    transaction.set_entry("host", host, "other_config", INITIATOR_KEY, Some(&name))
}

/// Makes the pool and all that is in it; returns the host.
fn make_pool(transaction: &mut Transaction<'_>, host_name: &str) -> String {
    let metrics = transaction.insert(
        "host_metrics",
        [
            ("live", true.into()),
            ("last_updated", Value::DateTime(now())),
        ],
    );
    let host = transaction.insert("host", host_fields(host_name, &metrics));
    let label = format!("Control domain on host: {host_name}");
    let control_domain = transaction.insert(
        "VM",
        [
            ("name_label", label.into()),
            (
                "name_description",
                "The domain which manages physical devices and manages other domains".into(),
            ),
            ("power_state", "Running".into()),
            ("user_version", Value::Int(1)),
            ("resident_on", host.as_str().into()),
            ("affinity", host.as_str().into()),
            ("is_control_domain", true.into()),
            ("domid", Value::Int(0)),
            ("domarch", "x64".into()),
            ("domain_type", "pv".into()),
            ("VCPUs_max", Value::Int(1)),
            ("VCPUs_at_startup", Value::Int(1)),
            ("HVM_shadow_multiplier", Value::Float(1.0)),
        ],
    );
    // Both are there: they were made above, in this transaction.
    let _ = transaction.set("host", &host, "control_domain", control_domain.as_str());
    transaction.insert(
        "network",
        [
            ("name_label", "Host internal management network".into()),
            (
                "name_description",
                "Stands for the network of the machine that the storage manager runs on".into(),
            ),
            ("bridge", "xenapi".into()),
            ("MTU", Value::Int(1500)),
            ("managed", true.into()),
        ],
    );
    transaction.insert(
        "pool",
        [
            ("master", host.as_str().into()),
            (
                "restrictions",
                text_map([
                    ("restrict_cifs", "false"),
                    ("restrict_read_caching", "false"),
                    ("restrict_cbt", "false"),
                ]),
            ),
        ],
    );
    host
}

fn host_fields(host_name: &str, metrics: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("name_label", host_name.into()),
        ("name_description", "xensm storage manager".into()),
        ("hostname", host_name.into()),
        ("API_version_major", Value::Int(API_VERSION.0)),
        ("API_version_minor", Value::Int(API_VERSION.1)),
        ("API_version_vendor", "xensm".into()),
        ("enabled", true.into()),
        ("metrics", metrics.into()),
        ("capabilities", text_set(["xen-3.0-x86_64"])),
        (
            "other_config",
            text_map([("agent_start_time", format!("{}.", now()))]),
        ),
    ]
}

fn software_version(host_name: &str) -> Value {
    let most_members = barrier::MEMBERS.to_string();
    text_map([
        (barrier::KEY, most_members.as_str()),
        ("product_version", PRODUCT_VERSION),
        ("product_version_text", "8"),
        ("product_version_text_short", "8"),
        ("platform_name", "XCP"),
        ("platform_version", PLATFORM_VERSION),
        ("product_brand", "xensm"),
        ("build_number", "0"),
        ("git_id", ""),
        ("hostname", host_name),
        ("date", ""),
        ("xapi", env!("CARGO_PKG_VERSION")),
        ("xapi_build", env!("CARGO_PKG_VERSION")),
        ("xen", ""),
        ("linux", ""),
        ("network_backend", "bridge"),
    ])
}

/// Makes one SM object for each registered type, and removes those of types that are gone and that no SR uses.
pub fn types(transaction: &mut Transaction<'_>, types: &[Arc<dyn SrType>]) -> Result<(), Failure> {
    let present: BTreeMap<String, String> = transaction
        .all("SM")
        .map(|sm| (sm.text("type").to_owned(), sm.reference.to_string()))
        .collect();
    for sr_type in types {
        let info = sr_type.info();
        match present.get(info.sr_type) {
            Some(reference) => transaction.update("SM", reference, |sm| {
                sm_fields(info)
                    .into_iter()
                    .for_each(|(field, value)| sm.put(field, value));
            })?,
            None => {
                transaction.insert("SM", sm_fields(info));
            }
        }
    }
    for (name, reference) in present {
        let is_known = types.iter().any(|sr_type| sr_type.info().sr_type == name);
        if !is_known && !transaction.all("SR").any(|sr| sr.text("type") == name) {
            transaction.remove("SM", &reference);
        }
    }
    Ok(())
}

fn sm_fields(info: &DriverInfo) -> Vec<(&'static str, Value)> {
    let features = info
        .capabilities
        .iter()
        .map(|name| ((*name).to_owned(), Value::Int(1)));
    vec![
        ("name_label", info.name_label.into()),
        ("name_description", info.name_description.into()),
        ("type", info.sr_type.into()),
        ("vendor", "xensm".into()),
        ("copyright", "".into()),
        ("version", "1.0".into()),
        ("required_api_version", "1.0".into()),
        (
            "configuration",
            text_map(info.configuration.iter().copied()),
        ),
        ("capabilities", text_set(info.capabilities.iter().copied())),
        ("features", Value::Struct(features.collect())),
        ("driver_filename", "".into()),
    ]
}
