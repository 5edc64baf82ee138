//! What is done to groups: delete (3.13), make from a source (3.14), set states (3.20), and the replication (3.38) that there is none
//! of.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::groups::{ONE, SINCE, group_id, own, summary};
use super::route::{Action, Call, Route, act};
use super::schema::{
    ANY_OBJECT, BOOLEAN, NAME, Schema, TEXT, UUID_OR_NULL, closed, field, required,
};
use crate::app::Service;
use crate::app::group_snapshots;
use crate::app::groups::{self, CreateFromSource, DeleteGroup, GroupSource, is_consistency_group};
use crate::auth::rule::Rule;
use crate::model::group::GroupStatus;
use crate::model::id::{GroupId, GroupSnapshotId};

const REPLICATION_SINCE: u16 = 38;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/groups/{id}/action", |verb| on(verb, act))
        .since(SINCE)
        .actions(ACTIONS),
    Route::post("/groups/action", |verb| on(verb, create_from_source))
        .since(14)
        .rule(Rule::GroupCreate)
        .body(&FROM_SOURCE)
        .answers(202, &ONE),
];

const ACTIONS: &[Action] = &[
    Action::new("delete", Rule::GroupDelete, |call| Box::pin(delete(call)))
        .since(SINCE)
        .body(&closed(&[field("delete-volumes", BOOLEAN)])),
    Action::new("reset_status", Rule::GroupResetStatus, |call| {
        Box::pin(reset_status(call))
    })
    .since(20)
    .body(&STATUS),
    Action::refused("enable_replication", Rule::GroupEnableReplication, |call| {
        Box::pin(refuse_replication(call))
    })
    .since(REPLICATION_SINCE)
    .body(&ANY_OBJECT),
    Action::refused(
        "disable_replication",
        Rule::GroupDisableReplication,
        |call| Box::pin(refuse_replication(call)),
    )
    .since(REPLICATION_SINCE)
    .body(&ANY_OBJECT),
    Action::refused(
        "failover_replication",
        Rule::GroupFailoverReplication,
        |call| Box::pin(refuse_replication(call)),
    )
    .since(REPLICATION_SINCE)
    .body(&closed(&[
        field("allow_attached_volume", BOOLEAN),
        field("secondary_backend_id", NAME),
    ])),
    Action::refused(
        "list_replication_targets",
        Rule::GroupListReplicationTargets,
        |call| Box::pin(refuse_replication(call)),
    )
    .since(REPLICATION_SINCE)
    .body(&ANY_OBJECT),
];

/// A state by its word, which is read whatever its case.
pub(super) const STATUS: Schema = closed(&[required("status", TEXT)]);
const FROM_SOURCE: Schema = closed(&[required(
    "create-from-src",
    closed(&[
        field("name", NAME),
        field("description", NAME),
        // openstackclient 10.5 sends null for the other one, which Cinder refuses.
        field("group_snapshot_id", UUID_OR_NULL),
        field("source_group_id", UUID_OR_NULL),
    ]),
)]);

async fn delete(call: Call) -> Result<Response> {
    let mode = match call.fields().boolean("delete-volumes")? {
        Some(true) => DeleteGroup::WithVolumes,
        Some(false) | None => DeleteGroup::Empty,
    };
    let group = own(&call.service, &call.caller, &call.id).await?;
    groups::delete(&call.service, &call.caller.context, group.id, mode).await?;
    Ok(success::ACCEPTED.into_response())
}

async fn reset_status(call: Call) -> Result<Response> {
    let id = group_id(&call.id)?;
    let fields = call.fields();
    let status = wanted_status(fields.required_text("status")?, "Group")?;
    groups::reset_status(&call.service, &call.caller.context, id, status).await?;
    Ok(success::ACCEPTED.into_response())
}

/// The state that a word means, in Cinder's words where there is none.
pub(super) fn wanted_status(word: &str, noun: &str) -> Result<GroupStatus> {
    let refused = |why: String| Err(Fault::BadRequest(format!("Invalid {noun} Status: {why}")));
    if word.trim().is_empty() {
        return refused("The 'status' can not be empty.".to_owned());
    }
    let Some(status) = GroupStatus::parse(&word.to_lowercase()) else {
        let known = GroupStatus::ALL.map(GroupStatus::as_str).join("', '");
        let word: String = word.chars().take(64).collect();
        return refused(format!(
            "{noun} status: {word} is invalid, valid status are: ('{known}')."
        ));
    };
    Ok(status)
}

async fn refuse_replication(call: Call) -> Result<Response> {
    let (id, rule) = (group_id(&call.id)?, call.action.rule);
    match groups::refuse_replication(&call.service, &call.caller.context, id, rule).await? {}
}

/// `POST /groups/action` with `create-from-src`
async fn create_from_source(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("create-from-src")?;
    let source = match (
        fields.uuid("group_snapshot_id")?,
        fields.uuid("source_group_id")?,
    ) {
        (Some(id), None) => GroupSource::Snapshot(GroupSnapshotId(id)),
        (None, Some(id)) => GroupSource::Group(GroupId(id)),
        (None, None) | (Some(_), Some(_)) => {
            return Err(Fault::BadRequest(
                "Invalid input for field/attribute create-from-src. Exactly one of 'group_snapshot_id' and 'source_group_id' is \
                 required."
                    .to_owned(),
            ));
        }
    };
    refuse_consistency_groups(&service, &caller, source).await?;
    let text = |key| Ok::<_, Fault>(fields.text(key)?.unwrap_or_default().trim().to_owned());
    let wanted = CreateFromSource {
        name: text("name")?,
        description: text("description")?,
        source,
    };
    let group = groups::create_from_source(&service, &caller.context, wanted).await?;
    let view = summary(&group);
    Ok((success::ACCEPTED, Json(json!({ "group": view }))))
}

async fn refuse_consistency_groups(
    service: &Service,
    caller: &Caller,
    source: GroupSource,
) -> Result<()> {
    let (name, type_id) = match source {
        GroupSource::Snapshot(id) => {
            let found = group_snapshots::get(service, &caller.context, id).await?;
            (found.type_name, found.type_id)
        }
        GroupSource::Group(id) => {
            let found = groups::get(service, &caller.context, id).await?;
            (found.type_name, found.type_id)
        }
    };
    if is_consistency_group(&name) {
        return Err(Fault::BadRequest(format!(
            "Group_type {type_id} is reserved for migrating CGs to groups. Migrated group can only be operated by CG APIs."
        )));
    }
    Ok(())
}
