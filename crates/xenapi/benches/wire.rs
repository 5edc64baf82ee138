//! How long a VDI's record takes on each wire: `cargo bench -p xenapi`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;
use xenapi::record::{Record as _, VdiRecord};
use xenapi::schema::{self, coerce_result};
use xenapi::wire::Limits;
use xenapi::xmlrpc::Response;
use xenapi::{Value, jsonrpc, xmlrpc};

const BATCHES: u32 = 50;
const ROUNDS: u32 = 200;

/// Prints the time of one round in the fastest batch, which other programs on the machine disturbed least.
fn measure<T>(what: &str, mut work: impl FnMut() -> T) {
    let mut fastest = f64::INFINITY;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(work());
        }
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    println!("{what:40} {:8.2} us", fastest * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let class = schema::class("VDI").unwrap();
    let mut record = class.initial_record();
    for name in ["uuid", "location"] {
        record.insert(
            name.to_owned(),
            "ad507ab3-3a08-4899-8586-308aec036136".into(),
        );
    }
    record.insert(
        "SR".to_owned(),
        "OpaqueRef:7a7b41fe-7fae-c806-3a7f-457e646370a1".into(),
    );
    record.insert(
        "allowed_operations".to_owned(),
        vec!["copy", "clone", "resize", "snapshot", "destroy"].into(),
    );
    record.insert(
        "other_config".to_owned(),
        [("xensm:volume", "v"), ("xensm:operation", "o")].into(),
    );
    let result = Ok(Value::Struct(record));
    let xml = xmlrpc::write_response(&result).unwrap();
    let json =
        jsonrpc::write_response(jsonrpc::Version::V2, &jsonrpc::Id::Int(1), &result).unwrap();
    println!(
        "a VDI's record: {} bytes of XML, {} bytes of JSON",
        xml.len(),
        json.len()
    );

    measure("XML-RPC encode", || {
        xmlrpc::write_response(&result).unwrap()
    });
    measure("XML-RPC decode", || {
        xmlrpc::parse_response(&xml, &Limits::RESPONSE).unwrap()
    });
    measure("XML-RPC decode to VdiRecord", || {
        let Response::Success(value) = xmlrpc::parse_response(&xml, &Limits::RESPONSE).unwrap()
        else {
            unreachable!()
        };
        let Value::Struct(fields) = coerce_result(value, &class.record).unwrap() else {
            unreachable!()
        };
        VdiRecord::from_fields(fields).unwrap()
    });
    measure("JSON-RPC encode", || {
        jsonrpc::write_response(jsonrpc::Version::V2, &jsonrpc::Id::Int(1), &result).unwrap()
    });
    measure("JSON-RPC decode", || {
        jsonrpc::parse_response(&json, &Limits::RESPONSE).unwrap()
    });
    measure("schema::resolve", || {
        schema::resolve("Async.VDI.create").unwrap()
    });
}
