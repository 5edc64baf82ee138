//! What is said of a volume's content: that it boots, that it is only read, and which image is in it.

use std::collections::BTreeMap;

use super::delete_volume::refused;
use super::volumes::{locked, visible};
use super::{Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{volume_traits, volumes};
use crate::error::{Error, Result, Subject};
use crate::model::id::VolumeId;
use crate::model::volume::{Volume, VolumeStatus};

/// Says whether an instance may boot from it.
pub async fn set_bootable(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    bootable: bool,
) -> Result<()> {
    let request = request.clone();
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let volume = visible(tx, &policy::tenancy_of(&request, Rule::VolumeUpdate), id)?;
            check_maintenance(&volume, "update the volume")?;
            volumes::set_bootable(tx, id, bootable, now_us)?;
            Ok(())
        })
        .await
}

/// Says whether it may only be read: attachments that are made from now on keep to that.
///
/// # Errors
/// `Conflict` unless it is `available`.
pub async fn set_read_only(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    read_only: bool,
) -> Result<()> {
    let request = request.clone();
    service
        .database
        .write(move |tx| {
            // Locked, so that no attachment is made by what was said before.
            let tenancy = policy::tenancy_of(&request, Rule::VolumeUpdateReadonlyFlag);
            let volume = locked(tx, &tenancy, id)?;
            if volume.status != VolumeStatus::Available {
                let why = format!(
                    "Volume {id} status must be available to update readonly flag, but current status is: {}",
                    volume.status.as_str()
                );
                return Err(refused(id, &why));
            }
            volume_traits::set_read_only(tx, id, read_only)
        })
        .await
}

/// Adds or replaces keys that describe the image in it; returns all.
pub async fn merge_image_metadata(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    metadata: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    limits::check_metadata(&metadata)?;
    let request = request.clone();
    service
        .database
        .write(move |tx| {
            // Locked, so that the count below is true when it is committed.
            let tenancy = policy::tenancy_of(&request, Rule::VolumeImageMetadataSet);
            let volume = locked(tx, &tenancy, id)?;
            check_maintenance(&volume, "update metadata for volume")?;
            volume_traits::merge_image_metadata(tx, id, &metadata)?;
            let all = visible(
                tx,
                &policy::tenancy_of(&request, Rule::VolumeImageMetadataSet),
                id,
            )?;
            limits::check_metadata_count(all.traits.image_metadata.len())?;
            Ok(all.traits.image_metadata)
        })
        .await
}

/// Removes one such key.
///
/// # Errors
/// `NotFound` about `Metadata` when it is not there.
pub async fn remove_image_metadata(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    key: &str,
) -> Result<()> {
    let (request, key) = (request.clone(), key.to_owned());
    service
        .database
        .write(move |tx| {
            let volume = visible(
                tx,
                &policy::tenancy_of(&request, Rule::VolumeImageMetadataRemove),
                id,
            )?;
            check_maintenance(&volume, "delete metadata for volume")?;
            if volume_traits::remove_image_metadata(tx, id, &key)? {
                return Ok(());
            }
            Err(Error::not_found(Subject::Metadata, &key))
        })
        .await
}

/// Nobody changes what an operator keeps away from everybody.
pub(super) fn check_maintenance(volume: &Volume, what: &str) -> Result<()> {
    if volume.status != VolumeStatus::Maintenance {
        return Ok(());
    }
    let why = format!("Unable to {what}, because it is in maintenance");
    Err(refused(volume.id, &why))
}
