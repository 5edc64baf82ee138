//! JSON bodies, and the reading of their fields.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request};
use http::header;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::request::{Refusal, read_body};
use super::fault::{Fault, Result};
use super::microversion::Microversion;
use super::python_words::quoted;
use super::route::Route;
use super::schema::{self, Schema, TRUE_WORDS, check_value, object_refusal};
use crate::app::Service;

/// A body that is a JSON object of the form that its route asks for. Its depth is bounded by the parser (128), its size by
/// the configured limit.
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
        let extensions = request.extensions();
        let form = extensions
            .get::<&'static Route>()
            .and_then(|route| route.body);
        let version = extensions
            .get::<Microversion>()
            .copied()
            .unwrap_or(Microversion::MIN);
        let bytes = read_body(service, request.into_body()).await?;
        let map = match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => map,
            Ok(_) | Err(_) => return Err(Refusal::MalformedBody.into()),
        };
        // No text may hold a NUL, which PostgreSQL does not store; only an escape can have brought one.
        let escaped = b"\\u0000";
        if bytes.windows(escaped.len()).any(|six| six == escaped) && has_nul_in(&map) {
            let text = "Invalid input received: a text holds a NUL character.";
            return Err(Fault::BadRequest(text.to_owned()));
        }
        if let Some(form) = form {
            schema::check(form, &map, version)?;
        }
        Ok(JsonBody(map))
    }
}

fn has_nul_in(map: &Map<String, Value>) -> bool {
    map.iter()
        .any(|(key, value)| key.contains('\0') || has_nul(value))
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => has_nul_in(map),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The fields of one object in a body. Reading checks the form of what is read, so that it is safe without a schema too.
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

    /// An object that stood under this key.
    pub(super) fn under(name: &'a str, map: &'a Map<String, Value>) -> Self {
        let name = Some(name);
        Fields { name, map }
    }

    /// The object under a key; required.
    pub(in crate::api) fn object(&self, key: &'a str) -> Result<Fields<'a>> {
        const OBJECT: Schema = schema::open(&[]);
        let value = self.map.get(key).ok_or_else(|| self.missing(key))?;
        self.checked(key, &OBJECT)?;
        value
            .as_object()
            .map(|map| Fields::under(key, map))
            .ok_or_else(|| self.missing(key))
    }

    /// The raw value under a key; JSON null counts as absent.
    pub(in crate::api) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Refuses keys that are not in the list.
    pub(super) fn only(&self, allowed: &[&str]) -> Result<()> {
        let odd: Vec<&str> = self
            .map
            .keys()
            .map(String::as_str)
            .filter(|key| !allowed.contains(key))
            .take(8)
            .collect();
        match schema::unexpected(&odd) {
            None => Ok(()),
            Some(reason) => Err(self.refuse(reason)),
        }
    }

    /// A text of at most 255 characters; null and absent are the same.
    pub(in crate::api) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.checked(key, &schema::NAME)?;
        Ok(self.value(key).and_then(Value::as_str))
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
        self.checked(key, &schema::BOOLEAN)?;
        Ok(Some(match value {
            Value::String(word) => TRUE_WORDS.contains(&word.as_str()),
            value => value.as_bool().unwrap_or_default(),
        }))
    }

    /// A uuid; null and absent are the same.
    pub(super) fn uuid(&self, key: &str) -> Result<Option<Uuid>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        self.checked(key, &schema::UUID)?;
        Ok(value.as_str().and_then(|text| Uuid::parse_str(text).ok()))
    }

    /// A whole number of at least 1, as a number or as digits; null and absent are the same.
    pub(super) fn size(&self, key: &str) -> Result<Option<u64>> {
        const SIZE_OR_NULL: Schema = Schema::OrNull(&schema::SIZE);
        self.checked(key, &SIZE_OR_NULL)?;
        Ok(self.value(key).and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64(),
        }))
    }

    /// A metadata object; null and absent are the same.
    pub(super) fn metadata(&self, key: &str) -> Result<Option<BTreeMap<String, String>>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        self.checked(key, &schema::METADATA)?;
        Ok(value.as_object().map(|map| {
            map.iter()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect()
        }))
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

    /// Every field.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
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

    fn checked(&self, key: &str, form: &Schema) -> Result<()> {
        match self.map.get(key) {
            None => Ok(()),
            // What is read here has one form in all microversions.
            Some(value) => check_value(form, Some(key), value, Microversion::MAX),
        }
    }

    fn refuse(&self, reason: String) -> Fault {
        object_refusal(self.name, self.map, reason)
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
