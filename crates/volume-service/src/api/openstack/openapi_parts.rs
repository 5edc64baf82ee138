//! Schemas that an OpenAPI document has several times become parts of it that have names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Shorter ones are clearer where they stand, in bytes.
const SHORT: usize = 160;

/// Schemas by their text: how often they are there, and what they are called where they are first.
type Found = BTreeMap<String, (usize, String)>;

/// Gives names to what is there several times, and moves it to `components/schemas`.
pub(super) fn name_parts(document: &mut Value) {
    let mut found = Found::new();
    count(&document["paths"], "body", &mut found);
    found.retain(|_, (times, _)| *times > 1);
    let mut taken: BTreeSet<String> = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let mut names = BTreeMap::new();
    for (text, (_, key)) in found {
        let wanted: String = key
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let numbered = (2..).map(|number| format!("{wanted}_{number}"));
        let mut candidates = std::iter::once(wanted.clone()).chain(numbered);
        let name = candidates
            .find(|name| !taken.contains(name))
            .unwrap_or(wanted.clone());
        taken.insert(name.clone());
        names.insert(text, name);
    }
    refer(&mut document["paths"], &names);
    let mut parts = Map::new();
    for (text, name) in &names {
        let mut part: Value = serde_json::from_str(text).unwrap_or_default();
        for inner in children(&mut part) {
            refer(inner, &names);
        }
        parts.insert(name.clone(), part);
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(parts);
    }
}

/// True for a form that is worth a name: an object, a list, or a choice.
fn is_form(map: &Map<String, Value>) -> bool {
    let kind = map.get("type").and_then(Value::as_str);
    matches!(kind, Some("object" | "array")) || map.contains_key("anyOf")
}

/// Counts the forms below a value; `name` is the last key of a body on the way.
fn count(value: &Value, name: &str, found: &mut Found) {
    match value {
        Value::Object(map) => {
            // A parameter has its name beside its form.
            let parameter = map.get("name").filter(|_| map.contains_key("in"));
            let name = parameter.and_then(Value::as_str).unwrap_or(name);
            let text = value.to_string();
            if is_form(map) && text.len() >= SHORT {
                let (times, _) = found.entry(text).or_insert((0, name.to_owned()));
                *times += 1;
                // What is inside of it goes along, and is looked at once.
                if *times > 1 {
                    return;
                }
            }
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("properties", Value::Object(fields)) => fields
                        .iter()
                        .for_each(|(field, form)| count(form, field, found)),
                    ("items", _) => count(inner, name.trim_end_matches('s'), found),
                    _ => count(inner, name, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| count(item, name, found)),
        _ => {}
    }
}

/// Puts references where forms stand that have a name.
fn refer(value: &mut Value, names: &BTreeMap<String, String>) {
    if value.is_object()
        && let Some(name) = names.get(&value.to_string())
    {
        *value = json!({"$ref": format!("#/components/schemas/{}", name)});
        return;
    }
    for inner in children(value) {
        refer(inner, names);
    }
}

fn children(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    }
}
