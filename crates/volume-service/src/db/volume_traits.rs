//! What few volumes have: a row only where something is not as usual.

use std::collections::BTreeMap;

use super::{Param, Transaction};
use crate::error::Result;
use crate::model::id::VolumeId;
use crate::model::volume::VolumeTraits;

/// What stands behind the id of a group of the consistency group API.
const CONSISTENCY_GROUP: char = '+';

/// Reads the part of `volumes::EXTRAS` that has all traits in one text: NULL for the many volumes that have none, so
/// that a row of a list costs one look into a small index. None for a damaged text.
pub(super) fn parse(text: &str) -> Option<VolumeTraits> {
    let parts: Vec<&str> = text.splitn(7, '|').collect();
    let [
        group_id,
        multiattach,
        read_only,
        key,
        migration,
        hand_set,
        image,
    ] = parts[..]
    else {
        return None;
    };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let uuid = |text: &str| match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let plain_group_id = group_id.strip_suffix(CONSISTENCY_GROUP);
    Some(VolumeTraits {
        group_id: uuid(plain_group_id.unwrap_or(group_id))?,
        in_consistency_group: plain_group_id.is_some(),
        multiattach: multiattach == "1",
        read_only: some(read_only).map(|text| text == "1"),
        encryption_key_id: uuid(key)?,
        migration_status: some(migration),
        is_hand_set: hand_set == "1",
        image_metadata: match image {
            "" => BTreeMap::new(),
            document => serde_json::from_str(document).ok()?,
        },
    })
}

/// Makes sure that a volume has a row.
fn touch(tx: &mut Transaction<'_>, id: VolumeId) -> Result<()> {
    tx.execute(
        "INSERT INTO volume_traits (volume_id, multiattach, has_image_metadata, hand_set) VALUES (?1, 0, 0, 0) \
         ON CONFLICT DO NOTHING",
        &[id.into()],
    )?;
    Ok(())
}

fn set(tx: &mut Transaction<'_>, id: VolumeId, sql: &'static str, value: Param) -> Result<()> {
    touch(tx, id)?;
    tx.execute(sql, &[id.into(), value])?;
    Ok(())
}

/// Records whether several instances may write it at once.
pub fn set_multiattach(tx: &mut Transaction<'_>, id: VolumeId, multiattach: bool) -> Result<()> {
    let sql = "UPDATE volume_traits SET multiattach = ?2 WHERE volume_id = ?1";
    set(tx, id, sql, multiattach.into())
}

/// Records whether it may only be read.
pub fn set_read_only(tx: &mut Transaction<'_>, id: VolumeId, read_only: bool) -> Result<()> {
    let sql = "UPDATE volume_traits SET read_only = ?2 WHERE volume_id = ?1";
    set(tx, id, sql, read_only.into())
}

/// Records the group that it belongs to; none takes it out.
pub fn set_group(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    group_id: Option<uuid::Uuid>,
) -> Result<()> {
    let sql = "UPDATE volume_traits SET group_id = ?2 WHERE volume_id = ?1";
    set(tx, id, sql, group_id.map(|id| id.to_string()).into())
}

/// Records the key that it is encrypted with.
pub fn set_encryption_key(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    key_id: Option<uuid::Uuid>,
) -> Result<()> {
    let sql = "UPDATE volume_traits SET encryption_key_id = ?2 WHERE volume_id = ?1";
    set(tx, id, sql, key_id.map(|id| id.to_string()).into())
}

/// Records what an operator says of its migration; none for nothing.
pub fn set_migration_status(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    status: Option<&str>,
) -> Result<()> {
    let sql = "UPDATE volume_traits SET migration_status = ?2 WHERE volume_id = ?1";
    set(tx, id, sql, status.into())
}

/// Marks a volume whose state an operator set by hand, or takes the mark off.
pub fn set_hand_set(tx: &mut Transaction<'_>, id: VolumeId, is_hand_set: bool) -> Result<()> {
    if !is_hand_set {
        let sql = "UPDATE volume_traits SET hand_set = 0 WHERE volume_id = ?1";
        return tx.execute(sql, &[id.into()]).map(drop);
    }
    let sql = "UPDATE volume_traits SET hand_set = ?2 WHERE volume_id = ?1";
    set(tx, id, sql, is_hand_set.into())
}

/// Adds or replaces keys that describe the image in a volume.
pub fn merge_image_metadata(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    if metadata.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE volume_traits SET has_image_metadata = ?2 WHERE volume_id = ?1";
    set(tx, id, sql, true.into())?;
    for (name, value) in metadata {
        tx.execute(
            "INSERT INTO volume_image_metadata (volume_id, name, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (volume_id, name) DO UPDATE SET value = excluded.value",
            &[id.into(), name.as_str().into(), value.as_str().into()],
        )?;
    }
    Ok(())
}

/// Removes one such key; false when it is not there.
pub fn remove_image_metadata(tx: &mut Transaction<'_>, id: VolumeId, name: &str) -> Result<bool> {
    let touched = tx.execute(
        "DELETE FROM volume_image_metadata WHERE volume_id = ?1 AND name = ?2",
        &[id.into(), name.into()],
    )?;
    Ok(touched == 1)
}

/// Writes the traits of a new volume, if it has any.
pub fn insert(tx: &mut Transaction<'_>, id: VolumeId, traits: &VolumeTraits) -> Result<()> {
    if *traits == VolumeTraits::default() {
        return Ok(());
    }
    let text = |id: Option<uuid::Uuid>| Param::from(id.map(|id| id.to_string()));
    tx.execute(
        "INSERT INTO volume_traits (volume_id, group_id, multiattach, read_only, encryption_key_id, migration_status, \
         has_image_metadata, hand_set) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
        &[
            id.into(),
            text(traits.group_id),
            traits.multiattach.into(),
            traits.read_only.into(),
            text(traits.encryption_key_id),
            traits.migration_status.clone().into(),
            traits.is_hand_set.into(),
        ],
    )?;
    merge_image_metadata(tx, id, &traits.image_metadata)
}
