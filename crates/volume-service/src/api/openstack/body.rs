//! JSON bodies, and the checks of their fields in the words of Cinder's schema validation.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request};
use http::header;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::request::{Refusal, read_body};
use super::fault::{Fault, Result};
use crate::app::Service;

/// Cinder's largest integer in a body.
const INTEGER_MAX: u64 = 0x7fff_ffff;
/// Longest name, description, key or value, in characters.
pub(super) const TEXT_MAX_CHARS: usize = 255;
/// How much of a refused value is repeated to the client, in characters.
const SHOWN_MAX_CHARS: usize = 200;
/// What Cinder allows in metadata keys.
const KEY_PATTERN: &str = "^[a-zA-Z0-9-_:. /]{1,255}$";

/// What Cinder takes for true in a body.
const TRUE_WORDS: [&str; 12] = [
    "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t",
];
/// What Cinder takes for false in a body.
const FALSE_WORDS: [&str; 12] = [
    "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f",
];

/// A body that is a JSON object. Its depth is bounded by the parser (128), its size by the configured limit.
pub(in crate::api) struct JsonBody(pub(in crate::api) Map<String, Value>);

impl FromRequest<Service> for JsonBody {
    type Rejection = Fault;

    async fn from_request(request: Request, service: &Service) -> Result<Self> {
        if let Some(media_type) = request.headers().get(header::CONTENT_TYPE) {
            let text = media_type.to_str().unwrap_or_default();
            let essence = text.split(';').next().unwrap_or_default().trim();
            if !essence.eq_ignore_ascii_case("application/json") {
                return Err(Refusal::MediaType.into());
            }
        }
        let bytes = read_body(service, request.into_body()).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(JsonBody(map)),
            Ok(_) | Err(_) => Err(Refusal::MalformedBody.into()),
        }
    }
}

/// The fields of one object in a body.
#[derive(Clone, Copy)]
pub(in crate::api) struct Fields<'a> {
    /// The name of the object in its parent; `None` at the top.
    name: Option<&'a str>,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The top of a body.
    pub(in crate::api) fn top(map: &'a Map<String, Value>) -> Self {
        Fields { name: None, map }
    }

    /// The object under a key; required.
    pub(in crate::api) fn object(&self, key: &'a str) -> Result<Fields<'a>> {
        match self.map.get(key) {
            Some(Value::Object(map)) => Ok(Fields {
                name: Some(key),
                map,
            }),
            Some(other) => Err(not_of_type(key, other, "'object'")),
            None => Err(self.missing(key)),
        }
    }

    /// The raw value under a key; JSON null counts as absent.
    pub(in crate::api) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Refuses keys that are not in the list.
    pub(super) fn only(&self, allowed: &[&str]) -> Result<()> {
        let odd: Vec<String> = self
            .map
            .keys()
            .filter(|key| !allowed.contains(&key.as_str()))
            .take(8)
            .map(|key| quoted(key))
            .collect();
        let verb = match odd.len() {
            0 => return Ok(()),
            1 => "was",
            _ => "were",
        };
        Err(self.refuse(format!(
            "Additional properties are not allowed ({} {verb} unexpected)",
            odd.join(", ")
        )))
    }

    /// A text of at most [`TEXT_MAX_CHARS`] characters; null and absent are the same.
    pub(in crate::api) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= TEXT_MAX_CHARS => Ok(Some(text)),
            Some(value @ Value::String(_)) => {
                Err(invalid(key, value, format!("{} is too long", shown(value))))
            }
            Some(other) => Err(not_of_type(key, other, "'string', 'null'")),
        }
    }

    /// A text that must be there.
    pub(in crate::api) fn required_text(&self, key: &str) -> Result<&'a str> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// A text that is to be changed: null clears it, absence of both names leaves it.
    pub(super) fn changed_text(&self, key: &str, old_key: &str) -> Result<Option<String>> {
        for key in [key, old_key] {
            if self.has(key) {
                return Ok(Some(self.text(key)?.unwrap_or_default().trim().to_owned()));
            }
        }
        Ok(None)
    }

    /// A boolean, or one of the words that Cinder takes for one; null and absent are the same.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value {
            Value::Bool(wanted) => return Ok(Some(*wanted)),
            Value::String(word) if TRUE_WORDS.contains(&word.as_str()) => return Ok(Some(true)),
            Value::String(word) if FALSE_WORDS.contains(&word.as_str()) => return Ok(Some(false)),
            Value::String(_) => {}
            _ => return Err(not_of_type(key, value, "'boolean', 'string'")),
        }
        let words = |first: &str, words: &[&str]| {
            let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("{first}, {}", quoted.join(", "))
        };
        let reason = format!(
            "{} is not one of [{}, {}]",
            shown(value),
            words("True", &TRUE_WORDS),
            words("False", &FALSE_WORDS)
        );
        Err(invalid(key, value, reason))
    }

    /// A uuid; null and absent are the same.
    pub(super) fn uuid(&self, key: &str) -> Result<Option<Uuid>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.as_str() {
            None => Err(not_of_type(key, value, "'string'")),
            Some(text) => Uuid::parse_str(text)
                .map(Some)
                .map_err(|_| invalid(key, value, format!("{} is not a 'uuid'", shown(value)))),
        }
    }

    /// A whole number of at least 1, as a number or as digits.
    pub(super) fn size(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let number = match value {
            Value::Number(number) if number.is_f64() => {
                return Err(not_of_type(key, value, "'integer', 'string', 'null'"));
            }
            Value::Number(number) => number
                .as_i64()
                .map(i128::from)
                .or(number.as_u64().map(i128::from)),
            Value::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                Some(text.parse().unwrap_or(i128::MAX))
            }
            Value::String(_) => {
                let reason = format!("{} does not match '^[0-9]+$'", shown(value));
                return Err(invalid(key, value, reason));
            }
            _ => return Err(not_of_type(key, value, "'integer', 'string', 'null'")),
        };
        let number = number.unwrap_or(i128::MAX);
        if number < 1 {
            let reason = format!("{} is less than the minimum of 1", shown(value));
            return Err(invalid(key, value, reason));
        }
        match u64::try_from(number) {
            Ok(size) if size <= INTEGER_MAX => Ok(Some(size)),
            _ => {
                let reason = format!(
                    "{} is greater than the maximum of {INTEGER_MAX}",
                    shown(value)
                );
                Err(invalid(key, value, reason))
            }
        }
    }

    /// A metadata object; null and absent are the same.
    pub(super) fn metadata(&self, key: &str) -> Result<Option<BTreeMap<String, String>>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(name, value)| metadata_pair(key, name, value))
                .collect::<Result<_>>()
                .map(Some),
            Some(other) => Err(not_of_type(key, other, "'object'")),
        }
    }

    /// The one key that the object must have.
    pub(super) fn single(&self) -> Result<(&'a str, &'a Value)> {
        let mut entries = self.map.iter();
        match (entries.next(), entries.next()) {
            (Some((key, value)), None) => Ok((key, value)),
            (None, _) => Err(self.refuse("{} does not have enough properties".to_owned())),
            (Some(_), Some(_)) => Err(self.refuse("the object has too many properties".to_owned())),
        }
    }

    /// True when there is no field at all.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// True when the key is there, null or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The refusal of a body that lacks a key.
    pub(in crate::api) fn missing(&self, key: &str) -> Fault {
        self.refuse(format!("{} is a required property", quoted(key)))
    }

    fn refuse(&self, reason: String) -> Fault {
        match self.name {
            None => Fault::BadRequest(reason),
            Some(name) => {
                let whole = shown(&Value::Object(self.map.clone()));
                Fault::BadRequest(format!(
                    "Invalid input for field/attribute {name}. Value: {whole}. {reason}"
                ))
            }
        }
    }
}

fn metadata_pair(field: &str, name: &str, value: &Value) -> Result<(String, String)> {
    let good_key = (1..=TEXT_MAX_CHARS).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_:. /".contains(&b));
    if !good_key {
        let reason = format!(
            "{} does not match any of the regexes: '{KEY_PATTERN}'",
            quoted(name)
        );
        return Err(invalid(field, &Value::from(name), reason));
    }
    match value {
        Value::String(text) if text.chars().count() <= TEXT_MAX_CHARS => {
            Ok((name.to_owned(), text.clone()))
        }
        Value::String(_) => Err(invalid(
            name,
            value,
            format!("{} is too long", shown(value)),
        )),
        _ => Err(not_of_type(name, value, "'string'")),
    }
}

fn invalid(key: &str, value: &Value, reason: String) -> Fault {
    Fault::BadRequest(format!(
        "Invalid input for field/attribute {}. Value: {}. {reason}",
        clipped(key.to_owned()),
        match value {
            Value::String(text) => clipped(text.clone()),
            other => shown(other),
        }
    ))
}

fn not_of_type(key: &str, value: &Value, types: &str) -> Fault {
    invalid(
        key,
        value,
        format!("{} is not of type {types}", shown(value)),
    )
}

/// A value as Python prints it, which is how Cinder's messages show it; cut to a bounded length.
fn shown(value: &Value) -> String {
    if let Value::String(text) = value {
        return quoted(text);
    }
    let mut text = String::new();
    print_python(value, &mut text);
    clipped(text)
}

fn clipped(text: String) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn quoted(text: &str) -> String {
    let text = clipped(text.to_owned());
    if text.contains('\'') && !text.contains('"') {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}

fn print_python(value: &Value, out: &mut String) {
    if out.len() > 4 * SHOWN_MAX_CHARS {
        return;
    }
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print_python(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                out.push_str(&quoted(key));
                out.push_str(": ");
                print_python(item, out);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal<T>(body: &Value, check: impl Fn(Fields<'_>) -> Result<T>) -> String {
        let map = body.as_object().expect("an object");
        match check(Fields::top(map)) {
            Err(Fault::BadRequest(text)) => text,
            Err(other) => panic!("another fault: {other:?}"),
            Ok(_) => panic!("accepted: {body}"),
        }
    }

    #[test]
    fn sizes_are_refused_in_cinders_words() {
        let size = |value: Value| refusal(&json!({"size": value}), |fields| fields.size("size"));
        insta::assert_snapshot!(
            [
                size(json!(-1)),
                size(json!(0)),
                size(json!(1.5)),
                size(json!("big")),
                size(json!("")),
                size(json!([1])),
                size(json!(true)),
                size(json!(99_999_999_999_u64)),
                size(json!("99999999999999999999999999999999999999999999")),
                size(json!(1e300)),
            ]
            .join("\n"),
            @r"
        Invalid input for field/attribute size. Value: -1. -1 is less than the minimum of 1
        Invalid input for field/attribute size. Value: 0. 0 is less than the minimum of 1
        Invalid input for field/attribute size. Value: 1.5. 1.5 is not of type 'integer', 'string', 'null'
        Invalid input for field/attribute size. Value: big. 'big' does not match '^[0-9]+$'
        Invalid input for field/attribute size. Value: . '' does not match '^[0-9]+$'
        Invalid input for field/attribute size. Value: [1]. [1] is not of type 'integer', 'string', 'null'
        Invalid input for field/attribute size. Value: True. True is not of type 'integer', 'string', 'null'
        Invalid input for field/attribute size. Value: 99999999999. 99999999999 is greater than the maximum of 2147483647
        Invalid input for field/attribute size. Value: 99999999999999999999999999999999999999999999. '99999999999999999999999999999999999999999999' is greater than the maximum of 2147483647
        Invalid input for field/attribute size. Value: 1e+300. 1e+300 is not of type 'integer', 'string', 'null'
        "
        );
        let map = json!({"size": "7"});
        let fields = Fields::top(map.as_object().expect("an object"));
        assert!(matches!(fields.size("size"), Ok(Some(7))));
    }

    #[test]
    fn other_fields_are_refused_in_cinders_words() {
        let long = "x".repeat(300);
        insta::assert_snapshot!(
            [
                refusal(&json!({"a": 1, "it's": 2}), |fields| fields.only(&["b"])),
                refusal(&json!({"a": {"x": 1}}), |fields| fields.object("a")?.only(&[])),
                refusal(&json!({}), |fields| fields.object("volume").map(drop)),
                refusal(&json!({"volume": null}), |fields| fields.object("volume").map(drop)),
                refusal(&json!({"name": 5}), |fields| fields.text("name").map(drop)),
                refusal(&json!({"name": long}), |fields| fields.text("name").map(drop)),
                refusal(&json!({"id": "nope"}), |fields| fields.uuid("id")),
                refusal(&json!({"metadata": []}), |fields| fields.metadata("metadata")),
                refusal(&json!({"metadata": {"k": 1}}), |fields| fields.metadata("metadata")),
                refusal(&json!({"metadata": {"k*": "v"}}), |fields| fields.metadata("metadata")),
            ]
            .join("\n")
            .replace(&"x".repeat(200), "<200 x>"),
            @r#"
        Additional properties are not allowed ('a', "it's" were unexpected)
        Invalid input for field/attribute a. Value: {'x': 1}. Additional properties are not allowed ('x' was unexpected)
        'volume' is a required property
        Invalid input for field/attribute volume. Value: None. None is not of type 'object'
        Invalid input for field/attribute name. Value: 5. 5 is not of type 'string', 'null'
        Invalid input for field/attribute name. Value: <200 x>.... '<200 x>...' is too long
        Invalid input for field/attribute id. Value: nope. 'nope' is not a 'uuid'
        Invalid input for field/attribute metadata. Value: []. [] is not of type 'object'
        Invalid input for field/attribute k. Value: 1. 1 is not of type 'string'
        Invalid input for field/attribute metadata. Value: k*. 'k*' does not match any of the regexes: '^[a-zA-Z0-9-_:. /]{1,255}$'
        "#
        );
    }
}
