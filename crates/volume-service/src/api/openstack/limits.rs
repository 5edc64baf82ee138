//! What a project has and may have at most, as absolute limits.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::on;
use serde_json::{Map, Value, json};

use super::answers::ABSOLUTE_LIMITS;
use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{Schema, TEXT, closed, field, list_of, required};
use crate::app::Service;
use crate::app::quotas;
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[Route::get("/limits", |verb| on(verb, limits))
    .query(&[
        field("project_id", TEXT).since(PROJECT_SINCE),
        field("tenant_id", TEXT).since(PROJECT_SINCE),
    ])
    .answers(200, &closed(&[required("limits", LIMITS)]))];

const LIMITS: Schema = closed(&[
    required("rate", list_of(&Schema::Any)),
    required("absolute", ABSOLUTE_LIMITS),
]);

/// The microversion from which administrators may ask for another project's.
const PROJECT_SINCE: u16 = 39;

/// Each limit's name, that of what is used of it, and the quota that both are.
const ABSOLUTE: [(&str, &str, &str); 5] = [
    ("maxTotalVolumes", "totalVolumesUsed", "volumes"),
    ("maxTotalVolumeGigabytes", "totalGigabytesUsed", "gigabytes"),
    ("maxTotalSnapshots", "totalSnapshotsUsed", "snapshots"),
    ("maxTotalBackups", "totalBackupsUsed", "backups"),
    (
        "maxTotalBackupGigabytes",
        "totalBackupGigabytesUsed",
        "backup_gigabytes",
    ),
];

/// `GET /limits`; of `project_id` or `tenant_id` for administrators since 3.39.
pub(super) async fn limits(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let context = &caller.context;
    let query = query.unwrap_or_default();
    let named = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.into_owned())
    };
    let may_name = context.is_admin() && caller.version.at_least(PROJECT_SINCE);
    let other = may_name.then(|| named("project_id").or_else(|| named("tenant_id")));
    let project = other
        .flatten()
        .unwrap_or_else(|| context.project_id.clone());
    let found = quotas::limits(&service, context, &project).await?;
    let mut absolute = Map::new();
    for (limit, used, name) in ABSOLUTE {
        if let Some(quota) = found.iter().find(|quota| quota.name == name) {
            absolute.insert(limit.to_owned(), json!(quota.limit));
            if context.shows(Rule::UsedLimits) {
                absolute.insert(used.to_owned(), json!(quota.in_use));
            }
        }
    }
    Ok(Json(json!({"limits": {"rate": [], "absolute": absolute}})))
}
