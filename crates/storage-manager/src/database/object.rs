//! One XenAPI object in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use xenapi::{NULL_REF, Value};

use super::class::Class;

/// One object: its values in the order of the schema, and when it changed.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its class.
    pub class: &'static Class,
    /// Its reference, `OpaqueRef:<uuid>`.
    pub reference: Arc<str>,
    /// The generation at which it was made.
    pub created: u64,
    /// The generation of its last change.
    pub modified: u64,
    pub(super) values: Vec<Value>,
}

impl Object {
    /// The stored value of a field. Fields that are derived (inverse relations, `allowed_operations`) hold their default
    /// here; `Objects::value` fills them in.
    ///
    /// # Panics
    /// When the class has no such field: names are written in the code.
    pub fn value(&self, field: &str) -> &Value {
        &self.values[self.class.index(field)]
    }

    /// The text of a string, enum or reference field; empty for any other type.
    pub fn text(&self, field: &str) -> &str {
        self.value(field).as_str().unwrap_or_default()
    }

    /// The object's uuid.
    pub fn uuid(&self) -> &str {
        self.text("uuid")
    }

    /// A boolean field.
    pub fn flag(&self, field: &str) -> bool {
        matches!(self.value(field), Value::Bool(true))
    }

    /// An integer field; 0 for any other type.
    pub fn int(&self, field: &str) -> i64 {
        match self.value(field) {
            Value::Int(number) => *number,
            _ => 0,
        }
    }

    /// Changes a stored value; only inside [`super::Transaction::update`], which keeps the indexes.
    ///
    /// # Panics
    /// As [`Object::value`].
    pub fn put(&mut self, field: &str, value: Value) {
        let index = self.class.index(field);
        self.values[index] = value;
    }

    /// A map field as texts.
    pub fn texts(&self, field: &str) -> BTreeMap<String, String> {
        let map = self.value(field).as_struct();
        map.into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect()
    }

    /// One entry of a map field.
    pub fn entry(&self, field: &str, key: &str) -> Option<&str> {
        self.value(field).as_struct()?.get(key)?.as_str()
    }

    /// A reference field, when it points at something.
    pub fn link(&self, field: &str) -> Option<&str> {
        let text = self.text(field);
        (!text.is_empty() && text != NULL_REF).then_some(text)
    }
}

/// Makes a map value out of texts.
pub fn text_map<K: Into<String>, V: Into<String>>(
    entries: impl IntoIterator<Item = (K, V)>,
) -> Value {
    Value::Struct(
        entries
            .into_iter()
            .map(|(k, v)| (k.into(), Value::String(v.into())))
            .collect(),
    )
}

/// Makes a set value out of texts.
pub fn text_set<T: Into<String>>(elements: impl IntoIterator<Item = T>) -> Value {
    Value::Array(
        elements
            .into_iter()
            .map(|text| Value::String(text.into()))
            .collect(),
    )
}
