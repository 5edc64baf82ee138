//! Events: what changed in the pool.

use super::call::{self, Client};
use super::error::Error;
use crate::record::Record;
use crate::schema;
use crate::{Value, schema::Ty};
use std::collections::BTreeMap;
use std::time::Duration;

/// Calls of class `event`.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a>(&'a Client);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It was made, or is there at the first call.
    Add,
    /// It changed.
    Mod,
    /// It is gone.
    Del,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The class, in lower case.
    pub class: String,
    /// What happened.
    pub operation: Operation,
    /// The reference of the object.
    pub reference: String,
    /// The record of the object after the change; empty when it is gone.
    pub snapshot: BTreeMap<String, Value>,
}

impl Event {
    /// Takes the snapshot as a record; nothing when it is of another class or the object is gone.
    pub fn record<R: Record>(self) -> Option<R> {
        if !self.class.eq_ignore_ascii_case(R::CLASS) {
            return None;
        }
        call::record(Value::Struct(self.snapshot))
    }
}

/// What one `event.from` answered.
#[derive(Clone, Debug, PartialEq)]
pub struct EventBatch {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// How many objects there are now, by class in lower case.
    pub valid_ref_counts: BTreeMap<String, i64>,
    /// From where the next call goes on.
    pub token: String,
}

impl Client {
    /// Calls of class `event`.
    pub fn event(&self) -> Events<'_> {
        Events(self)
    }
}

impl Events<'_> {
    /// Calls `event.from`: waits up to the timeout for events of the classes since the token.
    ///
    /// With the empty token all objects are told as added. The deadline of the call is the client's, or the timeout and
    /// 10 s if that is longer.
    ///
    /// # Errors
    /// Those of any call; `EVENTS_LOST` and a bad token mean to start over with the empty token.
    pub async fn from(
        &self,
        classes: &[&str],
        token: &str,
        timeout: Duration,
    ) -> Result<EventBatch, Error> {
        let classes = Value::Array(classes.iter().map(|class| Value::from(*class)).collect());
        let params = vec![classes, token.into(), Value::Float(timeout.as_secs_f64())];
        let client = self.0.for_at_least(timeout + Duration::from_secs(10));
        let result = client.call("event.from", params).await?;
        batch(result).ok_or(Error::UnexpectedResult {
            method: "event.from".to_owned(),
            expected: "batch of events",
        })
    }

    /// Calls `event.inject`: bumps an object and gives a token from before that.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn inject(&self, class: &str, reference: &str) -> Result<String, Error> {
        self.0
            .text("event.inject", vec![class.into(), reference.into()])
            .await
    }
}

fn batch(result: Value) -> Option<EventBatch> {
    let Value::Struct(mut fields) = result else {
        return None;
    };
    let Value::Array(events) = fields.remove("events")? else {
        return None;
    };
    let Value::String(token) = fields.remove("token")? else {
        return None;
    };
    let mut valid_ref_counts = BTreeMap::new();
    if let Some(Value::Struct(counts)) = fields.remove("valid_ref_counts") {
        for (class, count) in counts {
            valid_ref_counts.insert(class, count.as_int()?);
        }
    }
    let events = events.into_iter().map(event).collect::<Option<_>>()?;
    Some(EventBatch {
        events,
        valid_ref_counts,
        token,
    })
}

fn event(event: Value) -> Option<Event> {
    let Value::Struct(mut fields) = event else {
        return None;
    };
    let class = fields.get("class")?.as_str()?.to_ascii_lowercase();
    let operation = match fields.get("operation")?.as_str()? {
        "add" => Operation::Add,
        "mod" => Operation::Mod,
        "del" => Operation::Del,
        _ => return None,
    };
    let reference = fields.get("ref")?.as_str()?.to_owned();
    let snapshot = match fields.remove("snapshot") {
        Some(Value::Struct(record)) => typed(&class, record)?,
        _ => BTreeMap::new(),
    };
    Some(Event {
        class,
        operation,
        reference,
        snapshot,
    })
}

/// Brings a snapshot to the types of its class; one of a class that the schema lacks stays as it is.
fn typed(class: &str, record: BTreeMap<String, Value>) -> Option<BTreeMap<String, Value>> {
    let ty = schema::class_ignoring_case(class).map_or(Ty::Any, |class| class.record);
    match schema::coerce_result(Value::Struct(record), &ty) {
        Ok(Value::Struct(record)) => Some(record),
        _ => None,
    }
}
