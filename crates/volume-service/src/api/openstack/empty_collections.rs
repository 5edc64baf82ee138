//! What stock clients list and this service does not have: the lists are empty, making one is refused.

use axum::Json;
use axum::extract::Path;
use axum::routing::on;
use serde_json::{Value, json};

use super::caller::Caller;
use super::fault::{Fault, Result};
use super::route::Route;
use crate::error::{Error, ErrorKind, Subject};

/// A collection that is always empty: its path, its key in bodies, what one is called, the microversion that brought it.
macro_rules! empty {
    ($path:literal, $key:literal, $noun:literal, $since:literal) => {
        &[
            Route::get(concat!("/", $path), |verb| {
                on(verb, async |_caller: Caller| list($key))
            })
            .since($since)
            .refused(),
            Route::get(concat!("/", $path, "/detail"), |verb| {
                on(verb, async |_caller: Caller| list($key))
            })
            .since($since)
            .refused(),
            Route::post(concat!("/", $path), |verb| {
                on(verb, async |_caller: Caller| create($noun))
            })
            .since($since)
            .status(202)
            .refused(),
            Route::get(concat!("/", $path, "/{id}"), |verb| {
                on(verb, async |_caller: Caller, Path(id): Path<String>| {
                    missing($noun, id)
                })
            })
            .since($since)
            .refused(),
            Route::put(concat!("/", $path, "/{id}"), |verb| {
                on(verb, async |_caller: Caller, Path(id): Path<String>| {
                    missing($noun, id)
                })
            })
            .since($since)
            .refused(),
            Route::delete(concat!("/", $path, "/{id}"), |verb| {
                on(verb, async |_caller: Caller, Path(id): Path<String>| {
                    missing($noun, id)
                })
            })
            .since($since)
            .status(202)
            .refused(),
            Route::post(concat!("/", $path, "/{id}/action"), |verb| {
                on(verb, async |_caller: Caller, Path(id): Path<String>| {
                    missing($noun, id)
                })
            })
            .since($since)
            .status(202)
            .refused(),
        ]
    };
}

pub(super) const GROUPS: &[Route] = empty!("groups", "groups", "Group", 13);
pub(super) const GROUP_SNAPSHOTS: &[Route] =
    empty!("group_snapshots", "group_snapshots", "Group snapshot", 14);
pub(super) const GROUP_TYPES: &[Route] = empty!("group_types", "group_types", "Group type", 11);
pub(super) const CONSISTENCY_GROUPS: &[Route] = empty!(
    "consistencygroups",
    "consistencygroups",
    "Consistency group",
    0
);
pub(super) const CG_SNAPSHOTS: &[Route] = empty!(
    "cgsnapshots",
    "cgsnapshots",
    "Consistency group snapshot",
    0
);

fn list(key: &str) -> Result<Json<Value>> {
    Ok(Json(json!({ key: [] })))
}

fn create(noun: &str) -> Result<Json<Value>> {
    Err(Fault::not_supported(&format!(
        "Creating a {}",
        noun.to_lowercase()
    )))
}

fn missing(noun: &str, id: String) -> Result<Json<Value>> {
    let text = format!("{noun} {id} could not be found.");
    Err(Error::new(ErrorKind::NotFound, Subject::Request, text).into())
}
