//! What is on a medium, for people and for programs.

use std::time::Duration;

use serde_json::json;
use volume_service::app::Service;
use volume_service::app::backends::{self, AddBackend, Creation, Probed, sr_types};
use volume_service::context::RequestContext;

use crate::failure::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// How long `backend_add` waits for a look at the medium before it asks without.
const LOOK_PATIENCE: Duration = Duration::from_secs(20);

/// The question of the specification.
const DESTROYS: &str = "WARNING: Creating a backend will destroy all data on it!";

/// What is said of types whose SRs are the LUNs that are there.
const WRITES_NOTHING: &str = "WARNING: Creating this backend writes nothing, but its LUNs become volumes, and the LUN of a volume that is deleted is made zeros. Give it LUNs that nobody else uses.";

/// What documents call an SR.
const SR: &str = "SR";

/// Facts that are sizes in bytes.
const SIZES: [&str; 3] = ["size", "capacity", "freespace"];

/// Writes what was found: a table for each kind of thing.
pub(super) fn show(sr_type: &str, probed: &Probed, format: Format) {
    if format == Format::Json {
        ui::json(&as_json(probed));
        return;
    }
    for (kind, columns, rows) in tables(probed) {
        ui::result(kind);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        ui::table(&columns, rows);
    }
    match probed.asks_for {
        Some(key) => {
            if !probed.words.is_empty() {
                ui::talk(format!("note: {}", probed.words));
            }
            if probed.document.found.iter().all(|found| found.kind == SR) {
                ui::talk(format!("note: nothing is there that {key} could name"));
            } else {
                ui::talk(format!("hint: choose one, and say {key}= with its value"));
            }
        }
        None if probed.srs().is_empty() => {
            ui::talk("note: there is no SR; backend_add makes one");
        }
        None => {}
    }
    if let Some(first) = probed.srs().first() {
        ui::talk(format!(
            "hint: `nova-manage sm backend_add FLAVOR {sr_type} ... sr_uuid={first}` takes it over with what it holds"
        ));
    }
}

fn as_json(probed: &Probed) -> serde_json::Value {
    let found: Vec<_> = probed
        .document
        .found
        .iter()
        .map(|found| {
            let facts: Vec<_> = found
                .facts
                .iter()
                .map(|(name, text)| json!({"name": name, "value": text}))
                .collect();
            json!({"kind": found.kind, "facts": facts})
        })
        .collect();
    let srs: Vec<String> = probed.srs().iter().map(ToString::to_string).collect();
    json!({
        "document": probed.document.root,
        "asks_for": probed.asks_for,
        "srs": srs,
        "found": found,
    })
}

/// A kind, its columns in the order of first appearance, and its rows.
type Table = (String, Vec<String>, Vec<Vec<String>>);

fn tables(probed: &Probed) -> Vec<Table> {
    let found = &probed.document.found;
    let mut kinds: Vec<&str> = Vec::new();
    for one in found {
        if !kinds.contains(&one.kind.as_str()) {
            kinds.push(&one.kind);
        }
    }
    let table = |kind: &str| {
        let of_kind: Vec<_> = found.iter().filter(|one| one.kind == kind).collect();
        let mut columns: Vec<String> = Vec::new();
        for (name, _) in of_kind.iter().flat_map(|one| &one.facts) {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        let rows = of_kind.iter().map(|one| {
            let cell = |column: &String| {
                let values = one.facts.iter().filter(|(name, _)| name == column);
                let values: Vec<String> = values.map(|(name, text)| shown(name, text)).collect();
                values.join(", ")
            };
            columns.iter().map(cell).collect()
        });
        let rows = rows.collect();
        (kind.to_owned(), columns, rows)
    };
    kinds.into_iter().map(table).collect()
}

fn shown(name: &str, text: &str) -> String {
    match text.parse() {
        Ok(size) if SIZES.iter().any(|it| name.eq_ignore_ascii_case(it)) => ui::bytes(size),
        _ => text.to_owned(),
    }
}

/// What an operator is asked before a backend is added: whether the medium may be formatted, that what is on it is taken over, or
/// that its LUNs become volumes. Only a type that formats its medium has that looked at first.
///
/// # Errors
/// `Exit::Usage` when a parameter is missing or several SRs are on the medium, with what can be chosen.
pub(super) async fn warning(
    service: &Service,
    request: &RequestContext,
    wanted: &AddBackend,
) -> Result<String> {
    let facts = sr_types()
        .iter()
        .find(|facts| facts.sr_type.eq_ignore_ascii_case(&wanted.sr_type));
    let creation = facts.map(|facts| facts.creation);
    if creation == Some(Creation::Nothing) {
        return Ok(WRITES_NOTHING.to_owned());
    }
    let is_new = |(key, value): &(String, String)| key == "sr_uuid" && value == "new";
    if creation != Some(Creation::Formats) || wanted.parameters.iter().any(is_new) {
        return Ok(DESTROYS.to_owned());
    }
    let zone = wanted.zone.as_deref();
    let looked = backends::probe(service, request, &wanted.sr_type, &wanted.parameters, zone);
    let probed = match tokio::time::timeout(LOOK_PATIENCE, looked).await {
        Ok(Ok(probed)) => probed,
        Ok(Err(error)) => {
            ui::talk(format!(
                "note: what is on the medium could not be looked at: {error}"
            ));
            return Ok(DESTROYS.to_owned());
        }
        Err(_) => {
            ui::talk("note: what is on the medium could not be looked at in time");
            return Ok(DESTROYS.to_owned());
        }
    };
    if let Some(key) = probed.asks_for {
        show(&wanted.sr_type, &probed, Format::Table);
        return Err(Failure::new(
            Exit::Usage,
            format!("{key} is missing or names nothing that is there"),
        ));
    }
    match probed.srs().as_slice() {
        [] => Ok(DESTROYS.to_owned()),
        [uuid] => Ok(format!(
            "SR {uuid} is on the medium: it is taken over with all that it holds, and nothing is formatted."
        )),
        several => {
            show(&wanted.sr_type, &probed, Format::Table);
            Err(Failure::new(
                Exit::Usage,
                format!("there are {} SRs on the medium", several.len()),
            )
            .hint("say sr_uuid= with the one to take over"))
        }
    }
}
