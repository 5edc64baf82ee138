//! Which projects may use volume types that are not public.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use serde_json::{Value, json};

use super::answers::TYPE_ACCESS;
use super::caller::Caller;
use super::fault::{Result, success};
use super::route::{Action, Call, Route, act};
use super::schema::{FILLED_TEXT, Schema, closed, list_of, required};
use super::volume_types::type_id;
use crate::app::{Service, flavor_access};
use crate::auth::rule::Rule;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/types/{id}/os-volume-type-access", |verb| on(verb, list))
        .rule(Rule::VolumeTypeAccessGetAllForType)
        .answers(
            200,
            &closed(&[required("volume_type_access", list_of(&TYPE_ACCESS))]),
        ),
    Route::post("/types/{id}/action", |verb| on(verb, act)).actions(ACTIONS),
];

const ACTIONS: &[Action] = &[
    Action::new(
        "addProjectAccess",
        Rule::VolumeTypeAccessAddProjectAccess,
        |call| Box::pin(add(call)),
    )
    .body(&PROJECT)
    .status(202),
    Action::new(
        "removeProjectAccess",
        Rule::VolumeTypeAccessRemoveProjectAccess,
        |call| Box::pin(remove(call)),
    )
    .body(&PROJECT)
    .status(202),
];

const PROJECT: Schema = closed(&[required("project", FILLED_TEXT)]);

/// `GET /types/{id}/os-volume-type-access`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let id = type_id(&id)?;
    let projects = flavor_access::list(&service, &caller.context, id).await?;
    let views: Vec<_> = projects
        .iter()
        .map(|project_id| json!({"volume_type_id": id, "project_id": project_id}))
        .collect();
    Ok(Json(json!({ "volume_type_access": views })))
}

async fn add(call: Call) -> Result<Response> {
    let id = type_id(&call.id)?;
    let project = call.fields().required_text("project")?;
    flavor_access::add(&call.service, &call.caller.context, id, project).await?;
    Ok(success::ACCEPTED.into_response())
}

async fn remove(call: Call) -> Result<Response> {
    let id = type_id(&call.id)?;
    let project = call.fields().required_text("project")?;
    flavor_access::remove(&call.service, &call.caller.context, id, project).await?;
    Ok(success::ACCEPTED.into_response())
}
