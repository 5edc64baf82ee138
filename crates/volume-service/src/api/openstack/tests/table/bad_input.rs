//! Bodies and queries that are not what the table asks for: each is refused in so many words, and changes no row.

use axum::body::Body;
use http::Method;
use serde_json::{Map, Value, json};

use super::samples::{Entry, Sample};
use super::world::{Who, World};
use crate::api::fixture::{Answer, send};
use crate::api::openstack::microversion::Microversion;
use crate::api::openstack::schema::{ANY_OBJECT, Field, Schema, TEXT_MAX_CHARS, check_value};

/// Values of every kind, most of which are wrong wherever they stand.
fn strangers() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-2),
        json!(0),
        json!(1.5),
        json!(1e300),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("no such word\u{0}"),
        json!("99999999999999999999999999999999"),
        json!("x".repeat(TEXT_MAX_CHARS + 1)),
        json!([]),
        json!([1]),
        json!({}),
        json!({"no such field": 1}),
    ]
}

fn breaks(schema: &Schema, value: &Value) -> bool {
    check_value(schema, Some("field"), value, Microversion::MAX).is_err()
}

/// Variants of a good value that the schema forbids, in one place each.
fn broken(schema: &Schema, good: &Value) -> Vec<Value> {
    let mut all = strangers();
    match schema {
        Schema::OrNull(inner) => all.extend(broken(inner, good)),
        Schema::Object { fields, .. } => {
            let good = good.as_object().cloned().unwrap_or_default();
            all.extend(variants(fields, &good));
        }
        Schema::Map { value, .. } => {
            let mut long = Map::new();
            long.insert("k".repeat(TEXT_MAX_CHARS + 1), json!("v"));
            all.push(Value::Object(long));
            all.extend(
                broken(value, &Value::Null)
                    .into_iter()
                    .map(|value| json!({"k": value})),
            );
        }
        Schema::List { item, .. } => {
            all.extend(
                broken(item, &Value::Null)
                    .into_iter()
                    .map(|item| json!([item])),
            );
        }
        Schema::OneOf(forms) => {
            all.extend(forms.iter().flat_map(|form| broken(form, good)));
        }
        Schema::Text { max, .. } if *max < 1 << 16 => all.push(json!("x".repeat(max + 1))),
        _ => {}
    }
    all.retain(|value| breaks(schema, value));
    all
}

/// The object without one of its fields, with one too many, and with each of its fields wrong.
fn variants(fields: &[Field], good: &Map<String, Value>) -> Vec<Value> {
    let mut all = Vec::new();
    let mut more = good.clone();
    more.insert("no such field".to_owned(), json!(1));
    all.push(Value::Object(more));
    for field in fields {
        let mut fewer = good.clone();
        fewer.remove(field.name);
        all.push(Value::Object(fewer));
        let known = good.get(field.name).unwrap_or(&Value::Null);
        for value in broken(&field.schema, known) {
            let mut wrong = good.clone();
            wrong.insert(field.name.to_owned(), value);
            all.push(Value::Object(wrong));
        }
    }
    all
}

/// Bodies that are no JSON object at all.
fn no_objects() -> Vec<Vec<u8>> {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(1000), close.repeat(1000));
    let mut all: Vec<Vec<u8>> = ["", "{", "[]", "null", "\"x\"", "{\"a\": 1,}", "1e999"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
    all.push(b"{\"\xff\xfe\": \"\xff\"}".to_vec());
    all.push(nested("[", "]").into_bytes());
    all.push(nested("{\"a\":", "}").into_bytes());
    all
}

/// Texts with a NUL in every place where the body has a text: well-formed, and not to be stored.
fn with_nul(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => vec![json!(format!("{text}\u{0}"))],
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| {
                with_nul(value).into_iter().map(move |inner| {
                    let mut changed = map.clone();
                    changed.insert(key.clone(), inner);
                    Value::Object(changed)
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}

struct Walk {
    world: World,
    wrong: Vec<String>,
    asked: usize,
}

impl Walk {
    async fn new() -> Self {
        Walk {
            world: World::new().await,
            wrong: Vec::new(),
            asked: 0,
        }
    }

    async fn ask(&mut self, entry: &Entry, path: &str, body: impl Into<Body>) -> Answer {
        let token = self.world.token(Who::Admin).expect("a token").to_owned();
        let headers = [
            ("x-auth-token", token.as_str()),
            ("openstack-api-version", "volume 3.71"),
        ];
        let method: Method = entry.route.verb.as_str().parse().expect("a method");
        let path = format!("/v3{path}");
        self.asked += 1;
        send(&self.world.fixture.volume, method, &path, &headers, body).await
    }

    /// Asks, and notes another status than those.
    async fn expect(&mut self, entry: &Entry, path: &str, body: Vec<u8>, statuses: &[u16]) {
        let shown: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        let answer = self.ask(entry, path, body).await;
        let says_why = answer.json().as_object().is_some_and(|fault| {
            let message = fault.values().next().map(|fault| &fault["message"]);
            message.is_some_and(Value::is_string)
        });
        if !statuses.contains(&answer.status) || !says_why {
            let (name, status) = (entry.name(), answer.status);
            let text: String = answer.text.chars().take(300).collect();
            self.wrong.push(format!(
                "{name} {path} {shown}: {statuses:?} expected, {status} found: {text}"
            ));
        }
    }

    fn end(self, before: &[String], least: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert_eq!(self.world.dump(), before, "no row was changed");
        assert!(self.asked > least, "only {} requests", self.asked);
    }

    /// Notes what the requests to an entry changed, and what it is now.
    fn compare(&mut self, entry: &Entry, before: &mut Vec<String>) {
        let now = self.world.dump();
        if now != *before {
            let changed: Vec<&String> = now.iter().filter(|line| !before.contains(line)).collect();
            self.wrong
                .push(format!("{} changed rows: {changed:?}", entry.name()));
            *before = now;
        }
    }
}

#[tokio::test]
async fn bodies_that_the_table_forbids_change_nothing() {
    let mut walk = Walk::new().await;
    let before = walk.world.dump();
    let mut now = before.clone();
    for entry in Entry::all() {
        let Sample { path, body, .. } = entry.sample(&walk.world.ids);
        let bodies = match (entry.action, entry.route.body) {
            (Some(action), _) => {
                let mut bodies = broken(action.body, &body[action.name]);
                bodies = bodies
                    .into_iter()
                    .map(|value| json!({action.name: value}))
                    .collect();
                bodies.extend([json!({}), json!({"no such action": {}})]);
                bodies.push(json!({action.name: body[action.name], "no such action": {}}));
                bodies
            }
            (None, Some(schema)) => broken(schema, &body),
            (None, None) => continue,
        };
        for body in bodies {
            // Below the top an object is expected; above it nothing else is a body.
            let status: &[u16] = &[400];
            walk.expect(&entry, &path, body.to_string().into_bytes(), status)
                .await;
        }
        for body in no_objects() {
            walk.expect(&entry, &path, body, &[400]).await;
        }
        walk.expect(&entry, &path, vec![b' '; 200_000], &[413])
            .await;
        for body in with_nul(&body) {
            let body = body.to_string().into_bytes();
            walk.expect(&entry, &path, body, &[400, 404]).await;
        }
        walk.compare(&entry, &mut now);
    }
    walk.end(&before, 3000);
}

#[tokio::test]
async fn queries_and_paths_that_make_no_sense_change_nothing() {
    let mut walk = Walk::new().await;
    let before = walk.world.dump();
    let mut now = before.clone();
    for entry in Entry::all() {
        let Sample { path, body, .. } = entry.sample(&walk.world.ids);
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let glue = if path.contains('?') { '&' } else { '?' };
        for field in entry.route.query {
            for (value, statuses) in wrong_values(field) {
                let path = format!("{path}{glue}{}={value}", field.name);
                walk.expect(&entry, &path, body.clone(), &statuses).await;
            }
        }
        let path = path.split('?').next().unwrap_or_default();
        for (place, segment) in entry.route.path.split('/').enumerate() {
            // What a class or a project is called is free, and so are keys.
            if segment != "{id}" || entry.route.path.contains("quota") || entry.is_open() {
                continue;
            }
            for odd in ["x", "%00", "%ff", "..%2f..", &"x".repeat(3000)] {
                let mut parts: Vec<&str> = path.split('/').collect();
                parts[place] = odd;
                let path = parts.join("/");
                walk.expect(&entry, &path, body.clone(), &[400, 404]).await;
            }
        }
        walk.compare(&entry, &mut now);
    }
    walk.end(&before, 500);
}

/// Values of a query that are refused.
fn wrong_values(field: &Field) -> Vec<(&'static str, Vec<u16>)> {
    match field.schema {
        Schema::Integer { .. } => ["x", "-1", "1.5", "", "%00", "99999999999999999999999999"]
            .map(|value| (value, vec![400]))
            .to_vec(),
        Schema::Words(_) => vec![("perhaps", vec![400]), ("%00", vec![400])],
        _ => Vec::new(),
    }
}

#[test]
fn the_variants_are_wrong_in_every_way() {
    let schema = ANY_OBJECT;
    assert!(broken(&schema, &json!({})).contains(&json!([])));
    assert!(!broken(&schema, &json!({})).contains(&json!({})));
}
