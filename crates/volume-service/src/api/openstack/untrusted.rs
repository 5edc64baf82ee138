//! Every reader of this API on any text, for the fuzz targets: what each makes of it is thrown away.

use serde_json::{Map, Value};

use super::address::Links;
use super::body::Fields;
use super::caller::{Caller, ShownOfVolumes};
use super::microversion::Microversion;
use super::paging::Paging;
use super::{metadata, schema, snapshot_list, snapshots, volume_list, volumes};
use crate::config::Endpoints;
use crate::context::RequestContext;

/// Reads bytes as the body of each request that has fields.
pub fn read_body(bytes: &[u8]) {
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    for version in [Microversion::MIN, Microversion::MAX] {
        let caller = caller(version);
        let top = Fields::top(&body);
        let _ = volumes::wanted(&top);
        let _ = volumes::wanted_change(&top);
        let _ = snapshots::wanted(&caller, &top);
        let _ = snapshots::wanted_change(&top);
        let _ = metadata::wanted(&body);
        for route in super::TABLES.iter().flat_map(|table| table.iter()) {
            if let Some(form) = route.body {
                let _ = schema::check(form, &body, version);
            }
        }
        let _ = top.single();
        read_fields(&body);
    }
}

/// Reads each field of an object as each kind of value.
fn read_fields(object: &Map<String, Value>) {
    let fields = Fields::top(object);
    for key in object.keys() {
        let _ = fields.text(key);
        let _ = fields.uuid(key);
        let _ = fields.size(key);
        let _ = fields.boolean(key);
        let _ = fields.metadata(key);
        let _ = fields.only(&[key]);
    }
}

/// Reads a query as that of each list.
pub fn read_query(query: &str) {
    for version in [Microversion::MIN, Microversion::MAX] {
        let caller = caller(version);
        if let Ok(mut paging) = Paging::parse(query) {
            let _ = volume_list::read(&caller, &mut paging);
        }
        if let Ok(mut paging) = Paging::parse(query) {
            let _ = snapshot_list::read(&caller, &mut paging);
        }
    }
}

fn caller(version: Microversion) -> Caller {
    let endpoints = Endpoints {
        volume: "http://127.0.0.1:8776".to_owned(),
        identity: "http://127.0.0.1:5000".to_owned(),
        ec2: "http://127.0.0.1:8773".to_owned(),
    };
    let context = RequestContext::operator();
    Caller {
        shown: ShownOfVolumes::to(&context),
        context,
        version,
        links: Links::new(&endpoints, None),
    }
}
