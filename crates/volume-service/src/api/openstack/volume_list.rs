//! Which volumes a list shows: filters as Cinder's default `resource_filters` allow them, paging, sorting.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::caller::Caller;
use super::fault::{Fault, Result};
use super::paging::Paging;
use crate::app::volumes::VolumeQuery;
use crate::model::volume::VolumeStatus;

/// The filters that are carried out, in the order in which `resource_filters` names them.
const FILTERS: [&str; 10] = [
    "name",
    "status",
    "metadata",
    "bootable",
    "migration_status",
    "availability_zone",
    "group_id",
    "size",
    "consumes_quota",
    "volume_type",
];

/// What a list request comes to.
pub(super) enum Selection {
    /// Ask for these.
    Query(VolumeQuery),
    /// Nothing can match, as with the group of a service that has no groups.
    Nothing,
}

/// Reads a list's query. Unknown filters are refused from 3.31 on and passed over before, as Cinder does for members;
/// unlike Cinder, administrators are refused too, because an ignored filter would show too much.
pub(super) fn read(caller: &Caller, paging: &mut Paging) -> Result<Selection> {
    let mut query = VolumeQuery {
        sort: paging.volume_sort()?,
        limit: paging.limit,
        offset: paging.offset,
        ..VolumeQuery::default()
    };
    if let Some(marker) = &paging.marker {
        let unknown = || Fault::BadRequest(format!("marker not found: {marker}"));
        query.marker = Some(marker.parse().map_err(|_| unknown())?);
    }
    if caller.version.at_least(45)
        && let Some(text) = paging.take("with_count")
    {
        query.with_total = boolean("with_count", &text)?;
    }
    project_filters(caller, paging, &mut query)?;

    let mut nothing = false;
    let mut unknown = Vec::new();
    for (name, value) in std::mem::take(&mut paging.filters) {
        match name.as_str() {
            "name" => query.name = Some(value),
            "status" => match VolumeStatus::parse(&value.to_lowercase()) {
                Some(status) => query.statuses = vec![status],
                None => nothing = true,
            },
            "metadata" => query.metadata = metadata(&value)?,
            "bootable" => query.bootable = Some(bootable(caller, &value)?),
            "availability_zone" => query.zone = Some(value),
            "size" => match value.parse() {
                Ok(size) => query.size_gib = Some(size),
                Err(_) => nothing = true,
            },
            "volume_type" | "volume_type_id" => query.flavor = Some(value),
            "consumes_quota" if caller.version.at_least(65) => {
                nothing |= !boolean("consumes_quota", &value)?;
            }
            "migration_status" | "group_id" => nothing = true,
            _ => unknown.push(name),
        }
    }
    if !unknown.is_empty() && caller.version.at_least(31) {
        unknown.truncate(8);
        return Err(Fault::BadRequest(format!(
            "Invalid filters {} are found in query options.",
            unknown.join(",")
        )));
    }
    Ok(if nothing {
        Selection::Nothing
    } else {
        Selection::Query(query)
    })
}

/// `all_tenants` and the project among them; members' use of them is passed over, since cinderclient always sends one.
fn project_filters(caller: &Caller, paging: &mut Paging, query: &mut VolumeQuery) -> Result<()> {
    let all = paging.take("all_tenants");
    let tenant = paging.take("tenant_id");
    let project = paging.take("project_id").or(tenant);
    if !caller.context.is_admin() {
        return Ok(());
    }
    query.all_projects = match all.as_deref() {
        None => false,
        Some(text) => boolean("all_tenants", text)?,
    };
    if query.all_projects {
        query.project_id = project;
    }
    Ok(())
}

fn boolean(name: &str, text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Ok(false),
        _ => Err(Fault::BadRequest(format!(
            "Invalid input received: Invalid value '{text}' for {name}. Must be a boolean."
        ))),
    }
}

/// From 3.2 on only booleans are understood; before, everything is true.
fn bootable(caller: &Caller, text: &str) -> Result<bool> {
    if caller.version.at_least(2) {
        boolean("bootable", text)
    } else {
        Ok(true)
    }
}

/// Clients send a dictionary as Python prints it, or JSON.
fn metadata(text: &str) -> Result<BTreeMap<String, String>> {
    let refused = || {
        Fault::BadRequest(
            "Invalid input received: filter metadata must be a dictionary of texts.".to_owned(),
        )
    };
    if let Ok(found) = serde_json::from_str(text) {
        return Ok(found);
    }
    python_dictionary(text).ok_or_else(refused)
}

/// Reads `{'key': 'value', "other": 'x'}` with optional `u` prefixes.
fn python_dictionary(text: &str) -> Option<BTreeMap<String, String>> {
    let mut rest = text.trim().strip_prefix('{')?.trim_start();
    let mut found = BTreeMap::new();
    loop {
        if let Some(end) = rest.strip_prefix('}') {
            return end.trim().is_empty().then_some(found);
        }
        let (key, after) = python_text(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        let (value, after) = python_text(rest)?;
        found.insert(key, value);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

fn python_text(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('u').unwrap_or(text);
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut found = String::new();
    let mut letters = text[1..].char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '\\' => found.push(letters.next()?.1),
            _ if letter == quote => return Some((found, &text[index + 2..])),
            _ => found.push(letter),
        }
    }
    None
}

/// `GET /resource_filters` (3.33).
pub(super) async fn resource_filters(caller: Caller) -> Result<axum::Json<Value>> {
    caller.version.needs(33)?;
    Ok(axum::Json(json!({"resource_filters": [
        {"resource": "volume", "filters": FILTERS},
        {"resource": "attachment", "filters": ["volume_id", "status", "instance_id", "attach_status"]},
        {"resource": "message", "filters": ["resource_uuid"]},
    ]})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dictionaries_as_python_prints_them() {
        let read = |text: &str| metadata(text).ok();
        let expected = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        for text in [
            "{'k': 'v'}",
            "{u'k': u'v'}",
            r#"{"k": "v"}"#,
            " { 'k' : 'v' , } ",
        ] {
            assert_eq!(read(text), Some(expected.clone()), "{text}");
        }
        assert_eq!(read(r#"{"it's": '\'x'}"#).expect("parsed")["it's"], "'x");
        assert_eq!(read("{}"), Some(BTreeMap::new()));
        for text in [
            "",
            "{",
            "{'k'}",
            "{'k': 'v'",
            "{'k': 'v'} x",
            "{'k': 1}",
            "[]",
            "'k'",
            "{'\u{e9}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
