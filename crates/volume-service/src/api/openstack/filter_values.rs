//! What the filters of all lists have in common: projects, booleans, dictionaries, and the refusal of the unknown.

use std::collections::BTreeMap;

use super::caller::Caller;
use super::fault::{Fault, Result};
use super::paging::Paging;

/// `all_tenants` and the project among them; members' use of them is passed over, since cinderclient always sends one.
pub(super) fn projects(caller: &Caller, paging: &mut Paging) -> Result<(bool, Option<String>)> {
    let all = paging.take("all_tenants");
    let tenant = paging.take("tenant_id");
    let project = paging.take("project_id").or(tenant);
    if !caller.context.is_admin() {
        return Ok((false, None));
    }
    let all = match all.as_deref() {
        None => false,
        Some(text) => boolean("all_tenants", text)?,
    };
    Ok((all, project.filter(|_| all)))
}

/// `with_count`, which is a filter like any other before 3.45.
pub(super) fn with_count(caller: &Caller, paging: &mut Paging) -> Result<bool> {
    if !caller.version.at_least(45) {
        return Ok(false);
    }
    match paging.take("with_count") {
        Some(text) => boolean("with_count", &text),
        None => Ok(false),
    }
}

/// Whether `name~`, a part of the name, is a filter; for members it would have to be configured.
pub(super) fn knows_likeness(caller: &Caller) -> bool {
    caller.context.is_admin() && caller.version.at_least(34)
}

/// What comes of filters that are not known; true when nothing can match.
///
/// Members' are refused from 3.31 on and passed over before. For administrators every column of Cinder's tables is a filter, so
/// that theirs are never refused; what is no column matches nothing.
pub(super) fn judge_unknown(caller: &Caller, mut unknown: Vec<String>) -> Result<bool> {
    // Clients always send it.
    unknown.retain(|name| name != "all_tenants");
    if unknown.is_empty() {
        return Ok(false);
    }
    if caller.context.is_admin() {
        return Ok(true);
    }
    if !caller.version.at_least(31) {
        return Ok(false);
    }
    unknown.truncate(8);
    Err(Fault::BadRequest(format!(
        "Invalid filters {} are found in query options.",
        unknown.join(",")
    )))
}

pub(super) fn boolean(name: &str, text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Ok(false),
        _ => Err(Fault::BadRequest(format!(
            "Invalid input received: Invalid value '{text}' for {name}. Must be a boolean."
        ))),
    }
}

/// Clients send a dictionary as Python prints it, or JSON.
pub(super) fn dictionary(text: &str) -> Result<BTreeMap<String, String>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dictionaries_as_python_prints_them() {
        let read = |text: &str| dictionary(text).ok();
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
