//! One call as the code of a class sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use xenapi::{Failure, Value};

use super::Server;
use super::dispatch::Origin;

/// Who calls, and what is reached from there.
#[derive(Clone)]
pub struct Call {
    /// The server.
    pub server: Arc<Server>,
    /// The reference of the caller's session; empty for logins.
    pub session: String,
    /// Where the call came from.
    pub origin: Origin,
    /// The task that `current_operations` names: a task's reference, or a `DummyRef` for a direct call.
    pub task: String,
    /// Cancelled by `task.cancel`; a direct call cannot be.
    pub cancel: CancellationToken,
}

/// The arguments of a call, of the types that the schema declares.
#[derive(Debug)]
pub struct Args(pub Vec<Value>);

impl Args {
    /// A string, enum or reference.
    pub fn text(&self, index: usize) -> &str {
        self.0
            .get(index)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// An integer.
    pub fn int(&self, index: usize) -> i64 {
        self.0
            .get(index)
            .and_then(Value::as_int)
            .unwrap_or_default()
    }

    /// A double.
    pub fn float(&self, index: usize) -> f64 {
        self.0
            .get(index)
            .and_then(Value::as_float)
            .unwrap_or_default()
    }

    /// A boolean.
    pub fn flag(&self, index: usize) -> bool {
        self.0
            .get(index)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// A map of texts.
    pub fn texts(&self, index: usize) -> BTreeMap<String, String> {
        let map = self.0.get(index).and_then(Value::as_struct);
        map.into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect()
    }

    /// A set of texts.
    pub fn list(&self, index: usize) -> Vec<String> {
        let set = self.0.get(index).and_then(Value::as_array);
        set.into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    }

    /// Takes an argument out.
    pub fn take(&mut self, index: usize) -> Value {
        self.0
            .get_mut(index)
            .map_or(Value::Nil, |value| std::mem::replace(value, Value::Nil))
    }

    /// Takes the record of a constructor out.
    pub fn record(&mut self) -> Record {
        match self.take(0) {
            Value::Struct(fields) => Record(fields),
            _ => Record(BTreeMap::new()),
        }
    }
}

/// The record given to a constructor, complete and of the types that the schema declares.
#[derive(Debug)]
pub struct Record(pub BTreeMap<String, Value>);

impl Record {
    /// A string, enum or reference.
    pub fn text(&self, field: &str) -> &str {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// An integer.
    pub fn int(&self, field: &str) -> i64 {
        self.0
            .get(field)
            .and_then(Value::as_int)
            .unwrap_or_default()
    }

    /// A boolean.
    pub fn flag(&self, field: &str) -> bool {
        self.0
            .get(field)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// A map of texts.
    pub fn texts(&self, field: &str) -> BTreeMap<String, String> {
        let map = self.0.get(field).and_then(Value::as_struct);
        map.into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect()
    }

    /// Takes a field over.
    pub fn take(&mut self, field: &str) -> Value {
        self.0.remove(field).unwrap_or(Value::Nil)
    }
}

/// A failure without parameters that says what is not there yet.
pub fn not_implemented(method: &str) -> Failure {
    Failure::new("NOT_IMPLEMENTED", [method])
}
