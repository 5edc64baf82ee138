//! What a consumer is told: `driver_volume_type` and its data, flat as the attachments API shows them. Never a secret.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::driver::NbdEndpoint;
use crate::model::attachment::AttachMode;
use crate::model::backend::Backend;
use crate::model::volume::Volume;

/// What stays as it is in a URI's path and query: the unreserved characters and the slash.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// How the consumer is to use what it is told of.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    /// Whether it writes.
    pub(super) mode: AttachMode,
    /// The traffic that it may make.
    pub(super) qos: Option<&'a BTreeMap<String, String>>,
    /// What its connector says of several paths; it is told that again, as Cinder's consumers expect.
    pub(super) enforces_multipath: bool,
}

/// The `xensm` connection info of a placed volume; none while it has no SR or VDI.
///
/// # Source
/// The Xen Storage Manager driver of nova-volume, without the secret parameters: a Xen host of the same pool reads those from
/// its pool.
pub(super) fn of_xen_host(
    volume: &Volume,
    backend: &Backend,
    wanted: &Wanted<'_>,
) -> Option<Value> {
    let mut data = Map::new();
    for (key, value) in &backend.config {
        data.insert(key.clone(), json!(value));
    }
    let mut introduce_sr_keys: Vec<&str> = backend.config.keys().map(String::as_str).collect();
    introduce_sr_keys.push("sr_type");
    let fixed = BTreeMap::from([
        ("driver_volume_type", json!("xensm")),
        ("volume_id", json!(volume.id)),
        ("backend_id", json!(backend.id)),
        ("vdi_uuid", json!(volume.vdi_uuid?)),
        ("flavor_id", json!(volume.flavor_id)),
        ("sr_uuid", json!(backend.sr_uuid?)),
        ("sr_type", json!(backend.sr_type)),
        ("introduce_sr_keys", json!(introduce_sr_keys)),
    ]);
    for (key, value) in fixed {
        data.insert(key.to_owned(), value);
    }
    add_common(&mut data, wanted);
    Some(Value::Object(data))
}

/// The `nbd` connection info of a plugged VBD.
///
/// # Source
/// The NBD URI specification: `nbd+unix:///export?socket=path`.
pub(super) fn of_nbd(volume: &str, endpoint: &NbdEndpoint, wanted: &Wanted<'_>) -> Value {
    let export = utf8_percent_encode(&endpoint.export, KEPT);
    let socket = utf8_percent_encode(&endpoint.socket, KEPT);
    let mut data = Map::new();
    data.insert("driver_volume_type".to_owned(), json!("nbd"));
    data.insert("volume_id".to_owned(), json!(volume));
    data.insert(
        "uri".to_owned(),
        json!(format!("nbd+unix:///{export}?socket={socket}")),
    );
    data.insert("export".to_owned(), json!(endpoint.export));
    data.insert("socket".to_owned(), json!(endpoint.socket));
    add_common(&mut data, wanted);
    Value::Object(data)
}

/// The `xen_vbd` connection info of a VBD in a VM: the guest has the device, and nothing is to be connected.
pub(super) fn of_vbd(volume: &str, instance: Uuid, vbd: Uuid, wanted: &Wanted<'_>) -> Value {
    let mut data = Map::new();
    data.insert("driver_volume_type".to_owned(), json!("xen_vbd"));
    data.insert("volume_id".to_owned(), json!(volume));
    data.insert("instance_uuid".to_owned(), json!(instance));
    data.insert("vbd_uuid".to_owned(), json!(vbd));
    add_common(&mut data, wanted);
    Value::Object(data)
}

fn add_common(data: &mut Map<String, Value>, wanted: &Wanted<'_>) {
    let access = match wanted.mode {
        AttachMode::ReadWrite => "rw",
        AttachMode::ReadOnly => "ro",
    };
    data.insert("access_mode".to_owned(), json!(access));
    data.insert("encrypted".to_owned(), json!(false));
    data.insert("qos_specs".to_owned(), json!(wanted.qos));
    data.insert(
        "enforce_multipath".to_owned(),
        json!(wanted.enforces_multipath),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nbd_uri_escapes_what_a_uri_must_not_hold() {
        let endpoint = NbdEndpoint {
            socket: "/var/lib/my xensm/nbd?.sock".to_owned(),
            export: "a&b".to_owned(),
        };
        let wanted = Wanted {
            mode: AttachMode::ReadOnly,
            qos: None,
            enforces_multipath: true,
        };
        let info = of_nbd("v", &endpoint, &wanted);
        assert_eq!(info["enforce_multipath"], true);
        assert_eq!(
            info["uri"],
            "nbd+unix:///a%26b?socket=/var/lib/my%20xensm/nbd%3F.sock"
        );
        assert_eq!(info["access_mode"], "ro");
        assert_eq!(info["driver_volume_type"], "nbd");
    }
}
