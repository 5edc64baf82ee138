//! `event.from` and its old brother `event.next`.
//!
//! A token is the generation up to which a caller was told. The answer is the last change of every object of the classes
//! asked for after it, oldest first. Source: reference 1.7; golden 10.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use xenapi::{Failure, Value};

use super::Server;
use super::call::Call;
use super::sessions::LegacyEvents;
use crate::database::{Change, Class, Objects};

/// Most events of one answer; the token of the answer stands where the next one goes on.
const EVENTS_PER_ANSWER: usize = 50_000;

/// Longest wait of one call.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long changes gather after the first one that wakes a call, so that a burst is told once.
const GATHER: Duration = Duration::from_millis(20);

/// Longest wait of `event.next`.
const NEXT_WAIT: Duration = Duration::from_secs(600);

/// Most classes and objects that one call asks for.
const MAX_SUBSCRIPTIONS: usize = 10_000;

/// What a caller wants to hear of.
#[derive(Debug, Default)]
struct Subscriptions {
    everything: bool,
    classes: Vec<String>,
    objects: Vec<(String, String)>,
}

impl Subscriptions {
    fn parse(texts: &[String]) -> Result<Self, Failure> {
        let mut subscriptions = Subscriptions::default();
        for text in texts.iter().take(MAX_SUBSCRIPTIONS) {
            match text.split_once('/') {
                _ if text == "*" => subscriptions.everything = true,
                None => subscriptions.classes.push(text.to_ascii_lowercase()),
                Some((class, reference))
                    if !class.is_empty() && !reference.is_empty() && !reference.contains('/') =>
                {
                    subscriptions
                        .objects
                        .push((class.to_ascii_lowercase(), reference.to_owned()));
                }
                Some(_) => return Err(Failure::new("EVENT_SUBSCRIPTION_PARSE_FAILURE", [text])),
            }
        }
        Ok(subscriptions)
    }

    fn want(&self, change: &Change) -> bool {
        let class = &change.class.event_name;
        self.everything
            || self.classes.contains(class)
            || self
                .objects
                .iter()
                .any(|(wanted, reference)| wanted == class && **reference == *change.reference)
    }
}

/// Reads a token: two decimals joined by a comma, the second of which counts messages on a real pool.
fn parse_token(token: &str) -> Result<u64, Failure> {
    if token.is_empty() {
        return Ok(0);
    }
    let wrong = || Failure::new("EVENT_FROM_TOKEN_PARSE_FAILURE", [token]);
    let (generation, messages) = token.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| {
        text.parse::<u64>()
            .ok()
            .filter(|number| i64::try_from(*number).is_ok())
    };
    number(messages).ok_or_else(wrong)?;
    number(generation).ok_or_else(wrong)
}

fn write_token(generation: u64) -> String {
    format!("{generation:020},{:020}", 0)
}

/// `event.from(classes, token, timeout)`.
pub async fn from(
    call: &Call,
    classes: &[String],
    token: &str,
    timeout_s: f64,
) -> Result<Value, Failure> {
    let subscriptions = Subscriptions::parse(classes)?;
    let since = parse_token(token)?;
    let deadline = Instant::now()
        + Duration::try_from_secs_f64(timeout_s)
            .unwrap_or_default()
            .min(LONGEST_WAIT);
    let mut changed = call.server.database.subscribe();
    loop {
        // Registered before looking, so that no change falls between the look and the wait.
        changed.borrow_and_update();
        let found = call
            .server
            .database
            .read()
            .changes_after(since)
            .any(|(_, change)| subscriptions.want(change));
        if found || Instant::now() >= deadline {
            break;
        }
        tokio::select! {
            _ = timeout_at(deadline, changed.changed()) => {}
            () = call.server.shutdown.cancelled() => break,
        }
        sleep_until((Instant::now() + GATHER).min(deadline)).await;
        call.server
            .sessions
            .check(&call.server.database, &call.session)?;
    }
    let server = call.server.clone();
    let answer = move || answer(&server, &subscriptions, since);
    // The first answer of a caller holds every object, which is too long for a thread of the runtime.
    if since == 0 {
        tokio::task::spawn_blocking(answer)
            .await
            .unwrap_or_else(|_| Err(Failure::internal_error("see the log")))
    } else {
        answer()
    }
}

fn answer(server: &Server, subscriptions: &Subscriptions, since: u64) -> Result<Value, Failure> {
    let objects = server.database.read();
    if since != 0 && since < objects.complete_since() {
        return Err(Failure::new("EVENTS_LOST", Vec::<String>::new()));
    }
    let wanted = objects
        .changes_after(since)
        .filter(|(_, change)| subscriptions.want(change));
    let mut events = Vec::new();
    let mut told = objects.generation().max(since);
    for (generation, change) in wanted {
        if events.len() == EVENTS_PER_ANSWER {
            break;
        }
        if let Some(event) = event(&objects, generation, change, since, "0.0") {
            events.push(event);
        }
        if events.len() == EVENTS_PER_ANSWER {
            told = generation;
        }
    }
    let counts = Class::all().iter().map(|class| {
        let count = i32::try_from(objects.count(class.name)).unwrap_or(i32::MAX);
        (class.event_name.clone(), Value::Int32(count))
    });
    Ok(Value::Struct(BTreeMap::from([
        ("events".to_owned(), Value::Array(events)),
        (
            "valid_ref_counts".to_owned(),
            Value::Struct(counts.collect()),
        ),
        ("token".to_owned(), write_token(told).into()),
    ])))
}

/// One event; nothing for an object that came and went since the token.
fn event(
    objects: &Objects,
    generation: u64,
    change: &Change,
    since: u64,
    timestamp: &str,
) -> Option<Value> {
    let operation = match (change.deleted, change.created > since) {
        (true, true) => return None,
        (true, false) => "del",
        (false, true) => "add",
        (false, false) => "mod",
    };
    let mut event = BTreeMap::from([
        ("id".to_owned(), generation.to_string().into()),
        ("timestamp".to_owned(), timestamp.into()),
        ("class".to_owned(), change.class.event_name.as_str().into()),
        ("operation".to_owned(), operation.into()),
        ("ref".to_owned(), Value::from(&*change.reference)),
    ]);
    if let Some(object) = objects.find(change.class.name, &change.reference) {
        event.insert("snapshot".to_owned(), objects.record(object));
    }
    Some(Value::Struct(event))
}

/// `event.inject(class, ref)`: gives the object a new generation; the token stands just before it.
pub fn inject(call: &Call, class: &str, reference: &str) -> Result<Value, Failure> {
    let class = Class::all()
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(class));
    let class = class.ok_or_else(|| Failure::new("HANDLE_INVALID", ["class", reference]))?;
    let before = call.server.database.write_volatile(|transaction| {
        transaction.get(class.name, reference)?;
        let before = transaction.generation();
        transaction.touch(class.name, reference);
        Ok(before)
    })?;
    Ok(write_token(before).into())
}

/// `event.register(classes)`.
pub fn register(call: &Call, classes: &[String]) -> Result<Value, Failure> {
    let now = call.server.database.read().generation();
    call.server.sessions.legacy(&call.session, |legacy| {
        let legacy = legacy.get_or_insert_with(|| LegacyEvents {
            classes: Vec::new(),
            told: now,
        });
        legacy.classes.extend(
            classes
                .iter()
                .take(MAX_SUBSCRIPTIONS)
                .map(|class| class.to_ascii_lowercase()),
        );
        legacy.classes.sort();
        legacy.classes.dedup();
    })?;
    Ok(Value::Nil)
}

/// `event.unregister(classes)`.
pub fn unregister(call: &Call, classes: &[String]) -> Result<Value, Failure> {
    call.server.sessions.legacy(&call.session, |legacy| {
        if let Some(registered) = legacy {
            registered
                .classes
                .retain(|class| !classes.iter().any(|gone| gone.eq_ignore_ascii_case(class)));
            if registered.classes.is_empty() {
                *legacy = None;
            }
        }
    })?;
    Ok(Value::Nil)
}

/// `event.next()`: waits until something registered changes.
pub async fn next(call: &Call) -> Result<Value, Failure> {
    let deadline = Instant::now() + NEXT_WAIT;
    let mut changed = call.server.database.subscribe();
    loop {
        changed.borrow_and_update();
        let not_registered = || Failure::new("SESSION_NOT_REGISTERED", [call.session.as_str()]);
        let registered = call
            .server
            .sessions
            .legacy(&call.session, |legacy| legacy.clone())?
            .ok_or_else(not_registered)?;
        let subscriptions = Subscriptions::parse(&registered.classes)?;
        let (events, told) = {
            let objects = call.server.database.read();
            if registered.told < objects.complete_since() {
                return Err(Failure::new("EVENTS_LOST", Vec::<String>::new()));
            }
            let wanted = objects
                .changes_after(registered.told)
                .filter(|(_, change)| subscriptions.want(change));
            let timestamp = format!("{}.", super::context::now());
            let events: Vec<Value> = wanted
                .take(EVENTS_PER_ANSWER)
                .filter_map(|(generation, change)| {
                    event(&objects, generation, change, registered.told, &timestamp)
                })
                .collect();
            (events, objects.generation())
        };
        if !events.is_empty() || Instant::now() >= deadline || call.server.shutdown.is_cancelled() {
            call.server.sessions.legacy(&call.session, |legacy| {
                if let Some(legacy) = legacy {
                    legacy.told = told;
                }
            })?;
            return Ok(Value::Array(events));
        }
        tokio::select! {
            _ = timeout_at(deadline, changed.changed()) => {}
            () = call.server.shutdown.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_two_numbers() {
        assert_eq!(parse_token(""), Ok(0));
        assert_eq!(parse_token(&write_token(17)), Ok(17));
        for token in [
            "garbage",
            "1,2,3",
            "1",
            ",",
            "99999999999999999999,0",
            "-1,0",
        ] {
            assert_eq!(parse_token(token).unwrap_err().params, [token]);
        }
    }

    #[test]
    fn subscriptions_name_classes_or_objects() {
        assert!(
            Subscriptions::parse(&["*".into(), "VDI".into(), "vdi/OpaqueRef:1".into()]).is_ok()
        );
        for text in ["vdi/", "/x", "a/b/c"] {
            assert_eq!(
                Subscriptions::parse(&[text.into()]).unwrap_err().code,
                "EVENT_SUBSCRIPTION_PARSE_FAILURE"
            );
        }
    }
}
