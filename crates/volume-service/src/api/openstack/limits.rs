//! What a project has and may have: absolute limits and quota sets (read only).

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::routing::on;
use serde_json::{Value, json};

use super::caller::Caller;
use super::fault::Result;
use super::route::Route;
use super::schema::{ANY_OBJECT, BOOLEAN, Schema, closed, field, required};
use crate::app::Service;
use crate::app::overview::{self, Usage};
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};

pub(super) const ROUTES: &[Route] = &[
    Route::get("/limits", |verb| on(verb, limits))
        .rule(Rule::UsedLimits)
        .answers(200, &closed(&[required("limits", ANY_OBJECT)])),
    Route::get("/os-quota-sets/{id}", |verb| on(verb, quota_set))
        .rule(Rule::QuotasShow)
        .query(&[field("usage", BOOLEAN)])
        .answers(200, &QUOTA_SET),
    Route::get("/os-quota-sets/{id}/defaults", |verb| {
        on(verb, quota_defaults)
    })
    .rule(Rule::QuotasShow)
    .answers(200, &QUOTA_SET),
];

const QUOTA_SET: Schema = closed(&[required("quota_set", ANY_OBJECT)]);

/// `GET /limits`
pub(super) async fn limits(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    let usage = overview::usage(&service, &caller.context).await?;
    Ok(Json(json!({"limits": {"rate": [], "absolute": {
        "totalVolumesUsed": usage.volumes,
        "totalGigabytesUsed": usage.gigabytes,
        "maxTotalVolumes": usage.volumes_limit,
        "maxTotalVolumeGigabytes": usage.gigabytes_limit,
        "totalSnapshotsUsed": usage.snapshots,
        "maxTotalSnapshots": usage.snapshots_limit,
        "totalBackupsUsed": 0,
        "maxTotalBackups": 0,
        "totalBackupGigabytesUsed": 0,
        "maxTotalBackupGigabytes": 0,
    }}})))
}

/// The resources of a quota set with what is used and allowed; what is not built may not be had.
fn resources(usage: &Usage) -> [(&'static str, u64, i64); 7] {
    [
        ("volumes", usage.volumes, usage.volumes_limit),
        ("gigabytes", usage.gigabytes, usage.gigabytes_limit),
        ("per_volume_gigabytes", 0, -1),
        ("snapshots", usage.snapshots, usage.snapshots_limit),
        ("backups", 0, 0),
        ("backup_gigabytes", 0, 0),
        ("groups", 0, 0),
    ]
}

async fn usage_of(service: &Service, caller: &Caller, project: &str) -> Result<Usage> {
    let mut context = caller.context.clone();
    if project != context.project_id {
        if !context.is_admin() {
            return Err(Error::new(
                ErrorKind::Forbidden,
                Subject::Identity,
                "Policy doesn't allow the quota of another project to be shown.",
            )
            .into());
        }
        context.project_id = project.to_owned();
    }
    Ok(overview::usage(service, &context).await?)
}

/// `GET /os-quota-sets/{project}`; with `?usage=True` each entry has `in_use`, `limit` and `reserved`.
pub(super) async fn quota_set(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let usage = usage_of(&service, &caller, &project).await?;
    let with_usage = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "usage" && value.eq_ignore_ascii_case("true"));
    let mut set = json!({ "id": project });
    for (name, in_use, limit) in resources(&usage) {
        set[name] = if with_usage {
            json!({"in_use": in_use, "limit": limit, "reserved": 0})
        } else {
            json!(limit)
        };
    }
    Ok(Json(json!({ "quota_set": set })))
}

/// `GET /os-quota-sets/{project}/defaults`
pub(super) async fn quota_defaults(
    State(service): State<Service>,
    caller: Caller,
    Path(project): Path<String>,
) -> Result<Json<Value>> {
    quota_set(State(service), caller, Path(project), RawQuery(None)).await
}
