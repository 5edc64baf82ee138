//! From a stored kind to its code.

use std::sync::Arc;

use super::attach_instance::AttachInstance;
use super::attach_volume::AttachVolume;
use super::connect_backend::ConnectBackend;
use super::create_group_snapshot::CreateGroupSnapshot;
use super::create_snapshot::CreateSnapshot;
use super::create_snapshots::CreateSnapshots;
use super::create_volume::CreateVolume;
use super::delete_snapshot::DeleteSnapshot;
use super::delete_volume::DeleteVolume;
use super::detach_volume::DetachVolume;
use super::engine::{Claimed, Ended, Engine, drive};
use super::extend_volume::ExtendVolume;
use super::manage_snapshot::ManageSnapshot;
use super::manage_volume::ManageVolume;
use super::progress::{Failure, Next, Surroundings, abandon, settle};
use super::revert_volume::RevertVolume;
use super::unmanage_snapshot::UnmanageSnapshot;
use super::unmanage_volume::UnmanageVolume;
use crate::db::Transaction;
use crate::error::Result;
use crate::model::operation::{Operation, OperationKind};

/// Settles a claimed operation, see [`settle`].
pub(super) fn settle_any(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
) -> Result<Next> {
    match operation.kind {
        OperationKind::CreateVolume => settle::<CreateVolume>(transaction, around, operation),
        OperationKind::DeleteVolume => settle::<DeleteVolume>(transaction, around, operation),
        OperationKind::ConnectBackend => settle::<ConnectBackend>(transaction, around, operation),
        OperationKind::AttachVolume => settle::<AttachVolume>(transaction, around, operation),
        OperationKind::DetachVolume => settle::<DetachVolume>(transaction, around, operation),
        OperationKind::ExtendVolume => settle::<ExtendVolume>(transaction, around, operation),
        OperationKind::RevertVolume => settle::<RevertVolume>(transaction, around, operation),
        OperationKind::CreateSnapshot => settle::<CreateSnapshot>(transaction, around, operation),
        OperationKind::DeleteSnapshot => settle::<DeleteSnapshot>(transaction, around, operation),
        OperationKind::ManageVolume => settle::<ManageVolume>(transaction, around, operation),
        OperationKind::UnmanageVolume => settle::<UnmanageVolume>(transaction, around, operation),
        OperationKind::ManageSnapshot => settle::<ManageSnapshot>(transaction, around, operation),
        OperationKind::UnmanageSnapshot => {
            settle::<UnmanageSnapshot>(transaction, around, operation)
        }
        OperationKind::CreateGroupSnapshot => {
            settle::<CreateGroupSnapshot>(transaction, around, operation)
        }
        OperationKind::CreateSnapshots => settle::<CreateSnapshots>(transaction, around, operation),
        OperationKind::AttachInstance => settle::<AttachInstance>(transaction, around, operation),
    }
}

/// Turns a claimed operation to its undo, see [`abandon`].
pub(super) fn abandon_any(
    transaction: &mut Transaction<'_>,
    around: &Surroundings,
    operation: &mut Operation,
    failure: &Failure,
) -> Result<Next> {
    match operation.kind {
        OperationKind::CreateVolume => {
            abandon::<CreateVolume>(transaction, around, operation, failure)
        }
        OperationKind::DeleteVolume => {
            abandon::<DeleteVolume>(transaction, around, operation, failure)
        }
        OperationKind::ConnectBackend => {
            abandon::<ConnectBackend>(transaction, around, operation, failure)
        }
        OperationKind::AttachVolume => {
            abandon::<AttachVolume>(transaction, around, operation, failure)
        }
        OperationKind::DetachVolume => {
            abandon::<DetachVolume>(transaction, around, operation, failure)
        }
        OperationKind::ExtendVolume => {
            abandon::<ExtendVolume>(transaction, around, operation, failure)
        }
        OperationKind::RevertVolume => {
            abandon::<RevertVolume>(transaction, around, operation, failure)
        }
        OperationKind::CreateSnapshot => {
            abandon::<CreateSnapshot>(transaction, around, operation, failure)
        }
        OperationKind::DeleteSnapshot => {
            abandon::<DeleteSnapshot>(transaction, around, operation, failure)
        }
        OperationKind::ManageVolume => {
            abandon::<ManageVolume>(transaction, around, operation, failure)
        }
        OperationKind::UnmanageVolume => {
            abandon::<UnmanageVolume>(transaction, around, operation, failure)
        }
        OperationKind::ManageSnapshot => {
            abandon::<ManageSnapshot>(transaction, around, operation, failure)
        }
        OperationKind::UnmanageSnapshot => {
            abandon::<UnmanageSnapshot>(transaction, around, operation, failure)
        }
        OperationKind::CreateGroupSnapshot => {
            abandon::<CreateGroupSnapshot>(transaction, around, operation, failure)
        }
        OperationKind::CreateSnapshots => {
            abandon::<CreateSnapshots>(transaction, around, operation, failure)
        }
        OperationKind::AttachInstance => {
            abandon::<AttachInstance>(transaction, around, operation, failure)
        }
    }
}

/// Drives a claimed operation to its end, see [`drive`].
pub(super) async fn drive_any(engine: &Arc<Engine>, claimed: Claimed) -> Ended {
    match claimed.operation.kind {
        OperationKind::CreateVolume => drive::<CreateVolume>(engine, claimed).await,
        OperationKind::DeleteVolume => drive::<DeleteVolume>(engine, claimed).await,
        OperationKind::ConnectBackend => drive::<ConnectBackend>(engine, claimed).await,
        OperationKind::AttachVolume => drive::<AttachVolume>(engine, claimed).await,
        OperationKind::DetachVolume => drive::<DetachVolume>(engine, claimed).await,
        OperationKind::ExtendVolume => drive::<ExtendVolume>(engine, claimed).await,
        OperationKind::RevertVolume => drive::<RevertVolume>(engine, claimed).await,
        OperationKind::CreateSnapshot => drive::<CreateSnapshot>(engine, claimed).await,
        OperationKind::DeleteSnapshot => drive::<DeleteSnapshot>(engine, claimed).await,
        OperationKind::ManageVolume => drive::<ManageVolume>(engine, claimed).await,
        OperationKind::UnmanageVolume => drive::<UnmanageVolume>(engine, claimed).await,
        OperationKind::ManageSnapshot => drive::<ManageSnapshot>(engine, claimed).await,
        OperationKind::UnmanageSnapshot => drive::<UnmanageSnapshot>(engine, claimed).await,
        OperationKind::CreateGroupSnapshot => drive::<CreateGroupSnapshot>(engine, claimed).await,
        OperationKind::CreateSnapshots => drive::<CreateSnapshots>(engine, claimed).await,
        OperationKind::AttachInstance => drive::<AttachInstance>(engine, claimed).await,
    }
}
