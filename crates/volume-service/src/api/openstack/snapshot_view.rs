//! A snapshot as OpenStack clients see it, by microversion.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::super::timestamp;
use super::caller::Caller;
use crate::auth::rule::Rule;
use crate::model::snapshot::{Snapshot, SnapshotStatus};

/// How much of a snapshot is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In `GET /snapshots`.
    Summary,
    /// To the one who has just made or changed it.
    Detail,
    /// In `GET /snapshots/{id}` and `GET /snapshots/detail`: with the project and the progress.
    Extended,
}

/// A snapshot in one of its forms; `None` fields that are gated do not exist in this form or microversion.
#[derive(Serialize)]
pub(super) struct SnapshotView<'a> {
    id: String,
    created_at: String,
    updated_at: Option<String>,
    name: Option<&'a str>,
    description: Option<&'a str>,
    volume_id: String,
    status: &'static str,
    size: u64,
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_snapshot_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumes_quota: Option<bool>,
    #[serde(
        rename = "os-extended-snapshot-attributes:project_id",
        skip_serializing_if = "Option::is_none"
    )]
    project_id: Option<&'a str>,
    #[serde(
        rename = "os-extended-snapshot-attributes:progress",
        skip_serializing_if = "Option::is_none"
    )]
    progress: Option<&'a str>,
}

impl<'a> SnapshotView<'a> {
    pub(super) fn new(caller: &Caller, snapshot: &'a Snapshot, form: Form) -> Self {
        let detailed = |since| form != Form::Summary && caller.version.at_least(since);
        let extended =
            form == Form::Extended && caller.context.shows(Rule::ExtendedSnapshotAttributes);
        SnapshotView {
            id: snapshot.id.to_string(),
            created_at: timestamp::openstack(snapshot.created_at_us),
            updated_at: snapshot.updated_at_us.map(timestamp::openstack),
            name: some_text(&snapshot.name),
            description: some_text(&snapshot.description),
            volume_id: snapshot.volume_id.to_string(),
            status: match snapshot.status {
                // As Cinder words it.
                SnapshotStatus::Managing => SnapshotStatus::Creating.as_str(),
                status => status.as_str(),
            },
            size: snapshot.size_gib,
            metadata: &snapshot.metadata,
            group_snapshot_id: detailed(14).then(|| {
                let id = snapshot.traits.group_snapshot_id;
                id.map_or(Value::Null, |id| Value::from(id.to_string()))
            }),
            user_id: detailed(41).then_some(snapshot.user_id.as_str()),
            consumes_quota: detailed(65).then_some(true),
            project_id: extended.then_some(snapshot.project_id.as_str()),
            progress: extended.then(|| {
                let said = snapshot.traits.progress.as_deref();
                said.unwrap_or_else(|| progress(snapshot.status))
            }),
        }
    }
}

/// A snapshot is made in one piece: it is there or it is not.
fn progress(status: SnapshotStatus) -> &'static str {
    match status {
        SnapshotStatus::Creating | SnapshotStatus::Managing | SnapshotStatus::Error => "0%",
        SnapshotStatus::Available
        | SnapshotStatus::Restoring
        | SnapshotStatus::Deleting
        | SnapshotStatus::ErrorDeleting
        | SnapshotStatus::Unmanaging
        | SnapshotStatus::Updating
        | SnapshotStatus::BackingUp
        | SnapshotStatus::Deleted => "100%",
    }
}

fn some_text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
