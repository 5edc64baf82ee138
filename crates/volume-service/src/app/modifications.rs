//! How volumes were made larger, lately: the latest extension of each, as its operation tells it.
//!
//! A finished operation is kept for a week (`reconcile/housekeeping.rs`), and so long is a modification shown.

use std::collections::HashMap;

use super::{Service, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::operations;
use crate::error::Result;
use crate::model::operation::{Operation, OperationKind, OperationState};
use crate::model::volume::Volume;
use crate::operation::failure_for_tenants;

/// The latest extension of a volume.
#[derive(Clone, Debug)]
pub struct Modification {
    /// The volume as it is now.
    pub volume: Volume,
    /// Where it stands.
    pub state: ModificationState,
    /// Its size before, in GiB.
    pub original_gib: u64,
    /// The size that was asked for, in GiB.
    pub target_gib: u64,
    /// Why it failed, in words for tenants; empty when it did not.
    pub failure: String,
    /// Microseconds since 1970.
    pub started_at_us: i64,
    /// Microseconds since 1970; none while it is under way.
    pub ended_at_us: Option<i64>,
}

/// Where an extension stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModificationState {
    /// Under way.
    Modifying,
    /// The volume has its new size.
    Completed,
    /// The volume kept its size.
    Failed,
}

/// What `operation/extend_volume.rs` notes among the outputs of its step.
#[derive(serde::Deserialize)]
struct Noted {
    steps: Sizes,
}

/// A volume's size before and after, in GiB.
#[derive(serde::Deserialize)]
struct Sizes {
    original_gib: u64,
    target_gib: u64,
}

/// The latest extensions of these volumes, in their order; volumes that were not extended lately are left out.
pub async fn of_volumes(
    service: &Service,
    request: &RequestContext,
    volumes: Vec<Volume>,
) -> Result<Vec<Modification>> {
    policy::check(request, Rule::VolumeGetAll)?;
    let targets: Vec<String> = volumes.iter().map(|volume| volume.id.to_string()).collect();
    let found = service
        .database
        .read(move |tx| operations::of_targets(tx, OperationKind::ExtendVolume, &targets))
        .await?;
    // Oldest first, so that the latest of each volume stays.
    let mut latest: HashMap<String, Operation> = found
        .into_iter()
        .map(|operation| (operation.target.clone(), operation))
        .collect();
    Ok(volumes
        .into_iter()
        .filter_map(|volume| {
            let operation = latest.remove(&volume.id.to_string())?;
            modification(volume, operation)
        })
        .collect())
}

/// None for an operation of which the sizes are not known any more.
fn modification(volume: Volume, operation: Operation) -> Option<Modification> {
    let state = match operation.state {
        OperationState::Pending | OperationState::Running | OperationState::Undoing => {
            ModificationState::Modifying
        }
        OperationState::Succeeded => ModificationState::Completed,
        OperationState::Failed => ModificationState::Failed,
    };
    let failure = match state {
        ModificationState::Failed => failure_for_tenants(&operation)
            .unwrap_or_else(|| "the volume could not be extended".to_owned()),
        // What stood in the way of a step that is tried again is nobody's concern yet.
        ModificationState::Modifying | ModificationState::Completed => String::new(),
    };
    // Before its first step the operation says nothing, but then the volume does.
    let noted: Option<Noted> = serde_json::from_value(operation.outputs).ok();
    let (original_gib, target_gib) = match (noted, volume.extending_to_gib) {
        (Some(noted), _) => (noted.steps.original_gib, noted.steps.target_gib),
        (None, Some(target_gib)) => (volume.size_gib, target_gib),
        (None, None) => return None,
    };
    Some(Modification {
        volume,
        state,
        original_gib,
        target_gib,
        failure,
        started_at_us: operation.created_at_us,
        ended_at_us: (state != ModificationState::Modifying).then_some(operation.updated_at_us),
    })
}
