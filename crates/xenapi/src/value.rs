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
    /// A 64-bit signed integer.
    Int(i64),
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
