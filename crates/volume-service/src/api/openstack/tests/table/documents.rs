//! The documents that are made of the table: `docs/api/openapi.json`, and the list of routes in `docs/api/openstack.md`.
//! `XENSM_UPDATE_API_DOCS=1` writes them anew.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::samples::Entry;
use crate::api::fixture::{Fixture, send};
use crate::api::openstack::microversion::Microversion;
use crate::api::openstack::openapi::openapi;
use crate::api::openstack::route::{Access, Support};

/// The lines between which the list of routes stands.
const MARKS: [&str; 2] = [
    "<!-- The table of routes: `XENSM_UPDATE_API_DOCS=1 cargo test -p volume-service --lib documents` writes it. -->\n",
    "<!-- The end of the table of routes. -->\n",
];

fn docs(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../../docs/api").join(name)
}

fn compare(name: &str, kept: &str, made: &str) {
    if kept == made {
        return;
    }
    if std::env::var_os("XENSM_UPDATE_API_DOCS").is_some() {
        std::fs::write(docs(name), made).expect("docs can be written");
        return;
    }
    panic!(
        "docs/api/{name} is not what the table of routes says: set XENSM_UPDATE_API_DOCS=1 and run this test again"
    );
}

#[test]
fn the_openapi_document_is_the_one_that_is_kept() {
    let made = serde_json::to_string_pretty(&openapi(Microversion::MAX)).expect("JSON") + "\n";
    let kept = std::fs::read_to_string(docs("openapi.json")).unwrap_or_default();
    compare("openapi.json", &kept, &made);
}

#[test]
fn the_list_of_routes_is_the_one_that_is_kept() {
    let kept = std::fs::read_to_string(docs("openstack.md")).expect("the document");
    let (before, rest) = kept.split_once(MARKS[0]).expect("the first mark");
    let (_, after) = rest.split_once(MARKS[1]).expect("the last mark");
    let made = format!("{before}{}{}{}{after}", MARKS[0], matrix(), MARKS[1]);
    compare("openstack.md", &kept, &made);
}

fn matrix() -> String {
    let mut table = String::from("| request | since | policy | |\n|---|---|---|---|\n");
    for entry in Entry::all() {
        let since = entry.action.map_or(entry.route.since, |action| {
            action.since.max(entry.route.since)
        });
        let policy = match (entry.rule(), entry.route.access) {
            (Some(rule), _) => format!("`{}`", rule.name()),
            (None, Access::Open) => "none, no token".to_owned(),
            (None, _) => "none".to_owned(),
        };
        let state = entry
            .action
            .map_or(entry.route.state, |action| action.state);
        let state = match state {
            Support::Built => "",
            Support::Refused => "refused",
        };
        let name = entry.name();
        writeln!(table, "| `{name}` | 3.{since} | {policy} | {state} |").expect("a string");
    }
    table
}

#[tokio::test]
async fn everybody_may_read_the_document_of_a_microversion() {
    let fixture = Fixture::new().await;
    let read = async |headers: &[(&str, &str)]| {
        let path = "/v3/openapi.json";
        let answer = send(&fixture.volume, http::Method::GET, path, headers, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let newest = read(&[]).await;
    assert_eq!(newest, openapi(Microversion::MAX));
    let oldest = read(&[("openstack-api-version", "volume 3.0")]).await;
    assert_eq!(oldest["info"]["version"], "3.0");
    assert_eq!(oldest["paths"]["/v3/attachments"], Value::Null);
    assert_eq!(newest["paths"]["/v3/attachments"]["get"]["x-since"], "3.27");
}
