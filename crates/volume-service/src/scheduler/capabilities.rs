//! What a backend says of itself, and its operator of it: the capabilities that scheduler pools show and that extra specs are compared
//! with.

use serde_json::{Map, Value, json};

use super::space::Allocation;
use crate::model::backend::{Backend, BackendState, BackendUse};

/// What a backend says itself; an operator does not say it in its place.
pub const OWN_NAMES: [&str; 19] = [
    "QoS_support",
    "allocated_capacity_gb",
    "availability_zone",
    "backend_state",
    "driver_version",
    "free_capacity_gb",
    "multiattach",
    "online_extend_support",
    "pool_name",
    "provisioned_capacity_gb",
    "reserved_percentage",
    "sr_type",
    "storage_protocol",
    "thick_provisioning_support",
    "thin_provisioning_support",
    "total_capacity_gb",
    "vendor_name",
    "volume_backend_name",
    "volume_type",
];

/// Who made the driver, as Cinder's drivers say it.
pub const VENDOR: &str = "xensm";

/// Capabilities by name; a value is a text, a number, a boolean, a list of them, or names with values again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capabilities(pub Map<String, Value>);

/// The capabilities of a backend, under the names that Cinder's drivers use.
///
/// Room is in GiB with two decimals, or the word `unknown` where the pool has not measured yet.
pub fn capabilities(backend: &Backend) -> Capabilities {
    let allocation = Allocation::of(backend);
    let free = backend
        .physical_size
        .zip(backend.physical_utilisation)
        .map(|(size, used)| size.saturating_sub(used));
    let is_usable =
        backend.state == BackendState::Connected && backend.usage == BackendUse::Enabled;
    let named = [
        ("volume_backend_name", json!(backend.name_label)),
        ("pool_name", json!(pool(backend))),
        (
            "backend_state",
            json!(if is_usable { "up" } else { "down" }),
        ),
        ("vendor_name", json!(VENDOR)),
        ("driver_version", json!(env!("CARGO_PKG_VERSION"))),
        ("storage_protocol", json!(backend.sr_type)),
        ("sr_type", json!(backend.sr_type)),
        ("availability_zone", json!(backend.zone)),
        ("volume_type", json!(backend.flavor_label)),
        ("total_capacity_gb", gib(backend.physical_size)),
        ("free_capacity_gb", gib(free)),
        ("allocated_capacity_gb", gib(backend.virtual_allocation)),
        ("provisioned_capacity_gb", gib(backend.virtual_allocation)),
        ("reserved_percentage", json!(0)),
        (
            "thin_provisioning_support",
            json!(allocation == Allocation::Thin),
        ),
        (
            "thick_provisioning_support",
            json!(allocation == Allocation::Thick),
        ),
        (
            "online_extend_support",
            json!(allocation != Allocation::Existing),
        ),
        // A pool is told a volume's QoS specs with each VBD; whether it obeys them only the pool knows.
        ("QoS_support", json!(false)),
        ("multiattach", json!(false)),
    ];
    let own = named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let operators = backend.capabilities.iter();
    // A later version may say itself what an operator said.
    Capabilities(
        operators
            .map(|(name, value)| (name.clone(), json!(value)))
            .chain(own)
            .collect(),
    )
}

/// A backend's name within its zone: `backend-<number>`.
pub fn pool(backend: &Backend) -> String {
    format!("backend-{}", backend.id)
}

fn gib(bytes: Option<u64>) -> Value {
    const GIB: f64 = 1_073_741_824.0;
    match bytes {
        Some(bytes) => json!(((bytes as f64 / GIB) * 100.0).round() / 100.0),
        None => json!("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scheduler::placement::tests::backend;
    use crate::scheduler::satisfies;

    #[test]
    fn what_a_backend_says_itself_is_listed() {
        let names: Vec<String> = capabilities(&backend(1)).0.keys().cloned().collect();
        assert_eq!(names, OWN_NAMES);
    }

    #[test]
    fn extra_specs_find_what_an_operator_says() {
        let mut backend = backend(1);
        for (name, value) in [
            ("tier", "fast"),
            ("rack", "7"),
            ("raid", "yes"),
            ("sr_type", "x"),
        ] {
            backend.capabilities.insert(name.into(), value.into());
        }
        let has = capabilities(&backend);
        let fits = |name: &str, wanted: &str| {
            satisfies(
                &BTreeMap::from([(name.to_owned(), wanted.to_owned())]),
                &has,
            )
            .is_ok()
        };
        for (name, wanted, expected) in [
            ("tier", "fast", true),
            ("capabilities:tier", "<or> slow <or> fast", true),
            ("tier", "slow", false),
            ("rack", "<= 7", true),
            ("rack", "> 7", false),
            ("raid", "<is> True", true),
            ("raid", "<is> False", false),
            ("sr_type", "x", false),
            ("sr_type", "lvm", true),
        ] {
            assert_eq!(fits(name, wanted), expected, "{name}={wanted}");
        }
    }
}
