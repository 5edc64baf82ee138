//! A XenAPI value, independent of the wire it travels on.

use std::collections::BTreeMap;

/// One XenAPI value.
///
/// Enums, refs and uuids are strings; sets are arrays; maps and records are structs.
/// The two wires differ only in how they spell these (XML-RPC sends `Int` as a string of decimal digits).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The void result; also what `<nil/>` and JSON `null` parse to.
    Nil,
    /// A string, enum, ref or uuid.
    String(String),
    /// A 64-bit signed integer. XML-RPC carries it as decimal digits without a type.
    Int(i64),
    /// An integer that XML-RPC carries as `<i4>`; only the `valid_ref_counts` of `event.from` are written so.
    /// Nothing is parsed to this variant: integers of any spelling become [`Value::Int`].
    Int32(i32),
    /// A double.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A date with a resolution of one second, as seconds since 1970-01-01T00:00:00Z.
    DateTime(i64),
    /// A set.
    Array(Vec<Value>),
    /// A map or a record; keys are unique and sorted.
    Struct(BTreeMap<String, Value>),
}

/// The reference that points at nothing.
pub const NULL_REF: &str = "OpaqueRef:NULL";

impl Value {
    /// Returns the text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number of an integer value.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Int32(number) => Some(i64::from(*number)),
            _ => None,
        }
    }

    /// Returns the truth of a boolean value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// Returns the number of a float value.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the seconds since 1970 of a date value.
    pub fn as_datetime(&self) -> Option<i64> {
        match self {
            Value::DateTime(seconds) => Some(*seconds),
            _ => None,
        }
    }

    /// Returns the fields of a struct value.
    pub fn as_struct(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// Returns the elements of an array value.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(elements: Vec<T>) -> Self {
        Value::Array(elements.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<String>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Value {
    fn from(fields: [(K, V); N]) -> Self {
        Value::Struct(
            fields
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl From<BTreeMap<String, Value>> for Value {
    fn from(fields: BTreeMap<String, Value>) -> Self {
        Value::Struct(fields)
    }
}

impl From<&BTreeMap<String, String>> for Value {
    fn from(map: &BTreeMap<String, String>) -> Self {
        Value::Struct(
            map.iter()
                .map(|(key, text)| (key.clone(), Value::String(text.clone())))
                .collect(),
        )
    }
}
