//! Quota sets of projects, and of the classes that they have their defaults from.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answers::QUOTAS;
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::python_words::shown;
use super::route::Route;
use super::schema::{BOOLEAN, INTEGER_MAX, Pattern, Schema, closed, digits, field, required};
use crate::app::Service;
use crate::app::quotas::{self, LIMIT_MAX, Quota};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/os-quota-sets/{id}", |verb| on(verb, show))
        .rule(Rule::QuotasShow)
        .query(&[field("usage", BOOLEAN)])
        .answers(200, &QUOTA_SET),
    Route::get("/os-quota-sets/{id}/defaults", |verb| on(verb, defaults))
        .rule(Rule::QuotasShow)
        .answers(200, &QUOTA_SET),
    Route::put("/os-quota-sets/{id}", |verb| on(verb, update))
        .rule(Rule::QuotasUpdate)
        .body(&UPDATE)
        .answers(200, &QUOTA_SET),
    Route::delete("/os-quota-sets/{id}", |verb| on(verb, delete)).rule(Rule::QuotasDelete),
    Route::get("/os-quota-class-sets/{id}", |verb| on(verb, show_class))
        .rule(Rule::QuotaClassesGet)
        .answers(200, &QUOTA_CLASS_SET),
    Route::put("/os-quota-class-sets/{id}", |verb| on(verb, update_class))
        .rule(Rule::QuotaClassesUpdate)
        .body(&UPDATE_CLASS)
        .answers(200, &QUOTA_CLASS_SET),
];

const QUOTA_SET: Schema = closed(&[required("quota_set", QUOTAS)]);
const QUOTA_CLASS_SET: Schema = closed(&[required("quota_class_set", QUOTAS)]);
/// Besides limits, clients send `tenant_id`.
const UPDATE: Schema = closed(&[required("quota_set", limits(&Schema::Any))]);
const UPDATE_CLASS: Schema = closed(&[required(
    "quota_class_set",
    limits(&digits(-1, INTEGER_MAX)),
)]);
/// The name of a resource, or of one and a type.
const NAME: Pattern = Pattern {
    expression: "^.{1,300}$",
    matches: |text| (1..=300).contains(&text.chars().count()),
};

const fn limits(value: &'static Schema) -> Schema {
    Schema::Map {
        key: NAME,
        value,
        min: 1,
        max: usize::MAX,
    }
}

/// What clients send beside the limits.
const NO_LIMITS: [&str; 2] = ["tenant_id", "id"];

/// `GET /os-quota-sets/{project}`; with `?usage=True` each entry has `in_use`, `limit` and `reserved`.
pub(super) async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let found = quotas::show(&service, &caller.context, &project).await?;
    let with_usage = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "usage" && is_true(&value));
    let view = if with_usage { used } else { limit };
    Ok(Json(
        json!({"quota_set": set(&found, Some(&project), view)}),
    ))
}

/// `GET /os-quota-sets/{project}/defaults`
pub(super) async fn defaults(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
) -> Result<Json<Value>> {
    let found = quotas::defaults(&service, &caller.context, &project).await?;
    Ok(Json(
        json!({"quota_set": set(&found, Some(&project), limit)}),
    ))
}

/// `PUT /os-quota-sets/{project}`
pub(super) async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let wanted = wanted(&body, "quota_set", &NO_LIMITS)?;
    let found = quotas::update(&service, &caller.context, &project, wanted).await?;
    Ok(Json(json!({"quota_set": set(&found, None, limit)})))
}

/// `DELETE /os-quota-sets/{project}`
pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
) -> Result<StatusCode> {
    quotas::delete(&service, &caller.context, &project).await?;
    Ok(success::OK)
}

/// `GET /os-quota-class-sets/{class}`
pub(super) async fn show_class(
    State(service): State<Service>,
    caller: Caller,
    Path(class): Path<String>,
) -> Result<Json<Value>> {
    let found = quotas::of_class(&service, &caller.context, &class).await?;
    Ok(Json(
        json!({"quota_class_set": set(&found, Some(&class), limit)}),
    ))
}

/// `PUT /os-quota-class-sets/{class}`
pub(super) async fn update_class(
    State(service): State<Service>,
    caller: Caller,
    Path(class): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let wanted = wanted(&body, "quota_class_set", &[])?;
    let found = quotas::update_class(&service, &caller.context, &class, wanted).await?;
    Ok(Json(json!({"quota_class_set": set(&found, None, limit)})))
}

fn is_true(word: &str) -> bool {
    ["1", "t", "true", "on", "y", "yes"].contains(&word.trim().to_ascii_lowercase().as_str())
}

fn limit(quota: &Quota) -> Value {
    json!(quota.limit)
}

fn used(quota: &Quota) -> Value {
    json!({"in_use": quota.in_use, "limit": quota.limit, "reserved": 0})
}

fn set(quotas: &[Quota], id: Option<&str>, view: fn(&Quota) -> Value) -> Map<String, Value> {
    let mut set: Map<String, Value> = quotas
        .iter()
        .map(|quota| (quota.name.clone(), view(quota)))
        .collect();
    if let Some(id) = id {
        set.insert("id".to_owned(), json!(id));
    }
    set
}

/// The limits of a body: whole numbers, or texts that are.
fn wanted(body: &Map<String, Value>, key: &str, others: &[&str]) -> Result<BTreeMap<String, i64>> {
    Fields::top(body)
        .object(key)?
        .entries()
        .filter(|(name, _)| !others.contains(name))
        .map(|(name, value)| Ok((name.to_owned(), number(name, value)?)))
        .collect()
}

fn number(name: &str, value: &Value) -> Result<i64> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let refuse = |why: &str| {
        Fault::BadRequest(format!(
            "Invalid input for field/attribute {name}. Value: {}. {why}",
            shown(value)
        ))
    };
    match number {
        None => Err(refuse(&format!("{name} must be an integer"))),
        Some(number) if number < -1 => Err(refuse(&format!("{name} must be >= -1"))),
        Some(number) if number > LIMIT_MAX => {
            Err(refuse(&format!("{name} must be <= {LIMIT_MAX}")))
        }
        Some(number) => Ok(number),
    }
}
