//! Bodies of the REST API: nested objects and dotted names alike, numbers and truth values as such or as text.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::ontap::state::error::ApiError;

/// The properties of a body, by their dotted names. Lists are kept whole.
#[derive(Debug, Clone, Default)]
pub struct Body(BTreeMap<String, Value>);

impl Body {
    /// Reads a body; none is an empty one.
    ///
    /// # Errors
    /// 262254 when it is no JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Body::default());
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|cause| ApiError::bad(262_254, format!("Invalid JSON input: {cause}.")))?;
        let Value::Object(object) = value else {
            let text = "Invalid JSON input, an object was expected.";
            return Err(ApiError::bad(262_254, text));
        };
        let mut flat = BTreeMap::new();
        for (name, value) in object {
            flatten(name, value, &mut flat);
        }
        Ok(Body(flat))
    }

    /// Refuses properties other than these, or properties below them.
    ///
    /// # Errors
    /// 262179 for another.
    pub fn expect(&self, known: &[&str]) -> Result<(), ApiError> {
        let is_known = |name: &str| {
            known.iter().any(|known| {
                name == *known
                    || name
                        .strip_prefix(known)
                        .is_some_and(|rest| rest.starts_with('.'))
            })
        };
        match self.0.keys().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => Err(ApiError::bad(
                262_179,
                format!("Unexpected argument \"{name}\"."),
            )),
        }
    }

    /// A property as text.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// A property as a number.
    ///
    /// # Errors
    /// 262247 when it is none.
    pub fn number(&self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.trim()
            .parse()
            .map(Some)
            .map_err(|_| invalid(&text, name, "<integer>"))
    }

    /// A property as a small number.
    ///
    /// # Errors
    /// As [`Body::number`].
    pub fn small(&self, name: &'static str) -> Result<Option<u32>, ApiError> {
        let number = self.number(name)?;
        let small = number.map(u32::try_from).transpose();
        small.map_err(|_| invalid(&format!("{number:?}"), name, "<integer>"))
    }

    /// A property as a truth value.
    ///
    /// # Errors
    /// 262247 when it is none.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(invalid(other, name, "<true|false>")),
        }
    }

    /// A property as an id.
    ///
    /// # Errors
    /// 262247 when it is none.
    pub fn uuid(&self, name: &'static str) -> Result<Option<Uuid>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        Uuid::parse_str(&text)
            .map(Some)
            .map_err(|_| invalid(&text, name, "<UUID>"))
    }

    /// The objects of a list, each as a body; `list.property` may also stand for a list of one.
    pub fn list(&self, name: &str) -> Vec<Body> {
        if let Some(Value::Array(items)) = self.0.get(name) {
            let objects = items.iter().filter_map(Value::as_object);
            return objects
                .map(|object| {
                    let mut flat = BTreeMap::new();
                    for (name, value) in object {
                        flatten(name.clone(), value.clone(), &mut flat);
                    }
                    Body(flat)
                })
                .collect();
        }
        let prefix = format!("{name}.");
        let mut bodies: Vec<Body> = Vec::new();
        for (key, value) in &self.0 {
            if let Some(key) = key.strip_prefix(&prefix) {
                let values = match value {
                    Value::Array(items) => items.clone(),
                    other => vec![other.clone()],
                };
                for (index, value) in values.into_iter().enumerate() {
                    if bodies.len() <= index {
                        bodies.push(Body::default());
                    }
                    bodies[index].0.insert(key.to_owned(), value);
                }
            }
        }
        bodies
    }
}

fn flatten(name: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (below, value) in object {
                flatten(format!("{name}.{below}"), value, into);
            }
        }
        other => {
            into.insert(name, other);
        }
    }
}

fn invalid(value: &str, name: &'static str, wanted: &str) -> ApiError {
    let text = format!("Invalid value \"{value}\" for field \"{name}\" ({wanted})");
    ApiError::bad(262_247, text).at(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_dotted_names_are_the_same() {
        let text = br#"{"svm": {"name": "s"}, "space.size": "10", "space": {"guarantee": {"requested": "true"}},
            "aggregates": [{"name": "a"}], "initiators.name": ["x", "y"]}"#;
        let body = Body::parse(text).unwrap();
        assert_eq!(body.text("svm.name").as_deref(), Some("s"));
        assert_eq!(body.number("space.size").unwrap(), Some(10));
        assert_eq!(body.flag("space.guarantee.requested").unwrap(), Some(true));
        assert_eq!(
            body.list("aggregates")[0].text("name").as_deref(),
            Some("a")
        );
        assert_eq!(body.list("initiators").len(), 2);
        assert_eq!(
            body.expect(&["svm", "space", "aggregates"])
                .unwrap_err()
                .code,
            262_179
        );
        assert_eq!(Body::parse(b"[]").unwrap_err().code, 262_254);
    }
}
