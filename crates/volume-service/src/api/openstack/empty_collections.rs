//! What stock clients list and this service does not have: the lists are empty, making one is refused.

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::caller::Caller;
use super::fault::{Fault, Result};
use crate::app::Service;
use crate::error::{Error, ErrorKind, Subject};

/// A collection that is always empty.
#[derive(Clone, Copy)]
struct Empty {
    /// Under `/v3/`.
    path: &'static str,
    /// The key of the list in the body.
    key: &'static str,
    /// The thing, for refusals: `Backup`.
    noun: &'static str,
    /// The microversion that brought it.
    since: u16,
}

const fn empty(path: &'static str, key: &'static str, noun: &'static str, since: u16) -> Empty {
    Empty {
        path,
        key,
        noun,
        since,
    }
}

const COLLECTIONS: [Empty; 11] = [
    empty("backups", "backups", "Backup", 0),
    empty("groups", "groups", "Group", 13),
    empty("group_snapshots", "group_snapshots", "Group snapshot", 14),
    empty("group_types", "group_types", "Group type", 11),
    empty(
        "consistencygroups",
        "consistencygroups",
        "Consistency group",
        0,
    ),
    empty(
        "cgsnapshots",
        "cgsnapshots",
        "Consistency group snapshot",
        0,
    ),
    empty("os-volume-transfer", "transfers", "Transfer", 0),
    empty("volume-transfers", "transfers", "Transfer", 55),
    empty("qos-specs", "qos_specs", "QoS specs", 0),
    empty("clusters", "clusters", "Cluster", 7),
    empty("default-types", "default_types", "Default type", 62),
];

/// The routes of all of them.
pub(super) fn routes() -> Router<Service> {
    COLLECTIONS.iter().fold(Router::new(), |routes, &what| {
        let list = move |caller: Caller| list(caller, what);
        let create = move |caller: Caller| create(caller, what);
        let one = move |caller: Caller, Path(id): Path<String>| missing(caller, what, id);
        let item = format!("/v3/{}/{{id}}", what.path);
        routes
            .route(&format!("/v3/{}", what.path), get(list).post(create))
            .route(&format!("/v3/{}/detail", what.path), get(list))
            .route(&item, get(one).put(one).delete(one))
            .route(&format!("{item}/action"), post(one))
    })
}

/// Where Cinder adopts what somebody else made in a backend, and lists what it could adopt.
const ADOPTION: [(&str, u16); 4] = [
    ("os-volume-manage", 0),
    ("os-snapshot-manage", 0),
    ("manageable_volumes", 8),
    ("manageable_snapshots", 8),
];

/// Routes that refuse in so many words.
pub(super) fn refusals() -> Router<Service> {
    ADOPTION
        .iter()
        .fold(Router::new(), |routes, &(path, since)| {
            let refuse = move |caller: Caller| adopt(caller, since);
            routes
                .route(&format!("/v3/{path}"), get(refuse).post(refuse))
                .route(&format!("/v3/{path}/detail"), get(refuse))
        })
}

async fn adopt(caller: Caller, since: u16) -> Result<Json<Value>> {
    caller.version.needs(since)?;
    Err(Fault::not_supported(
        "Adopting what was not made through this service",
    ))
}

async fn list(caller: Caller, what: Empty) -> Result<Json<Value>> {
    caller.version.needs(what.since)?;
    Ok(Json(json!({ what.key: [] })))
}

async fn create(caller: Caller, what: Empty) -> Result<Json<Value>> {
    caller.version.needs(what.since)?;
    Err(Fault::not_supported(&format!(
        "Creating a {}",
        what.noun.to_lowercase()
    )))
}

async fn missing(caller: Caller, what: Empty, id: String) -> Result<Json<Value>> {
    caller.version.needs(what.since)?;
    let text = format!("{} {id} could not be found.", what.noun);
    Err(Error::new(ErrorKind::NotFound, Subject::Request, text).into())
}
