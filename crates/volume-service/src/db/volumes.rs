//! Volumes: the row from the request to the end. Lists are in `volume_list.rs`, metadata in `volume_metadata.rs`.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::client_tokens::{ClientToken, overtaken};
use super::{Param, Row, Transaction, attachments, ec2_names, volume_metadata, volume_traits};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::attachment::volume_status;
use crate::model::id::{BackendId, FlavorId, SnapshotId, VolumeId};
use crate::model::volume::{Volume, VolumeStatus, VolumeTraits};

pub(super) const COLUMNS: &str = "v.id, v.ec2_id, v.project_id, v.user_id, v.name, v.description, v.size_gib, v.status, \
                                  v.flavor_id, f.label, v.zone, v.backend_id, v.vdi_uuid, v.bootable, v.failure, v.created_at_us, \
                                  v.updated_at_us";

/// Where [`COLUMNS`] are.
pub(super) const FROM: &str = "volumes v LEFT JOIN flavors f ON f.id = v.flavor_id";

/// What only some volumes have, of the volume `v`.
pub(super) const EXTRAS: &str = "(SELECT COALESCE(s.source_snapshot_id, '') || '|' || COALESCE(s.source_volume_id, '') \
                                 FROM volume_sources s WHERE s.volume_id = v.id), \
                                  (SELECT e.added_gib FROM volume_extensions e WHERE e.volume_id = v.id), \
                                  (SELECT COALESCE(t.group_id, '') || CASE WHEN t.group_id IS NOT NULL AND EXISTS (SELECT 1 FROM \
                                  volume_groups g JOIN group_types y ON y.id = g.group_type_id WHERE g.id = t.group_id AND \
                                  y.name = 'default_cgsnapshot_type') THEN '+' ELSE '' END || '|' || CAST(t.multiattach AS TEXT) || '|' || \
                                  COALESCE(CAST(t.read_only AS TEXT), '') || '|' || COALESCE(t.encryption_key_id, '') || '|' || \
                                  COALESCE(t.migration_status, '') || '|' || CAST(t.hand_set AS TEXT) || '|' || \
                                  CASE WHEN t.has_image_metadata = 1 THEN COALESCE((SELECT \
                                  CAST(json_group_object(i.name, i.value) AS TEXT) FROM volume_image_metadata i \
                                  WHERE i.volume_id = t.volume_id), '') ELSE '' END FROM volume_traits t WHERE t.volume_id = v.id), \
                                  CASE WHEN (SELECT 1 FROM volume_metadata m WHERE m.volume_id = v.id LIMIT 1) = 1 THEN \
                                  (SELECT CAST(json_group_object(m.name, m.value) AS TEXT) FROM volume_metadata m \
                                  WHERE m.volume_id = v.id) END";

/// How many columns [`COLUMNS`] and [`EXTRAS`] are.
const COLUMNS_COUNT: usize = 17;
const EXTRAS_COUNT: usize = 4;

const INSERT: &str = "INSERT INTO volumes (id, ec2_id, project_id, user_id, name, description, size_gib, status, flavor_id, zone, \
                      backend_id, vdi_uuid, bootable, failure, client_token, client_digest, created_at_us, updated_at_us) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?15, NULL, ?11, '', ?12, ?13, ?14, 0) \
                      ON CONFLICT DO NOTHING";

const BECOME_AVAILABLE: &str = "UPDATE volumes SET status = 'available', vdi_uuid = ?2, updated_at_us = ?3 \
                                WHERE id = ?1 AND status = 'creating'";

/// Adds a volume with its metadata.
pub fn insert(tx: &mut Transaction<'_>, volume: &Volume) -> Result<()> {
    insert_for(tx, volume, None)
}

/// Adds the volume of a request with a client token, which is remembered elsewhere too.
pub fn insert_for(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    client: Option<&ClientToken>,
) -> Result<()> {
    let (id, has_token) = (volume.id, client.is_some());
    tx.post(INSERT, new_row(volume, client), move || {
        // A version that knows no table of tokens may have been first.
        if has_token {
            return overtaken();
        }
        Error::new(
            ErrorKind::Internal,
            Subject::Volume,
            "An unexpected error has occurred.",
        )
        .on(id.to_string())
        .detail("a fresh volume id, or its EC2 name, exists already")
    })?;
    if volume.source_snapshot_id.is_some() || volume.source_volume_id.is_some() {
        tx.execute(
            "INSERT INTO volume_sources (volume_id, source_snapshot_id, source_volume_id) VALUES (?1, ?2, ?3)",
            &[
                volume.id.into(),
                volume.source_snapshot_id.into(),
                volume.source_volume_id.into(),
            ],
        )?;
    }
    volume_metadata::merge(tx, volume.id, &volume.metadata)?;
    volume_traits::insert(tx, volume.id, &volume.traits)
}

fn new_row(volume: &Volume, client: Option<&ClientToken>) -> Vec<Param> {
    vec![
        volume.id.into(),
        volume.ec2_id.as_str().into(),
        volume.project_id.as_str().into(),
        volume.user_id.as_str().into(),
        volume.name.as_str().into(),
        volume.description.as_str().into(),
        i64::try_from(volume.size_gib).unwrap_or(i64::MAX).into(),
        volume.status.as_str().into(),
        volume.flavor_id.into(),
        volume.zone.as_str().into(),
        volume.bootable.into(),
        client.map(|client| client.token.as_str()).into(),
        client.map(|client| client.digest.as_str()).into(),
        volume.created_at_us.into(),
        volume.backend_id.into(),
    ]
}

/// True while a volume is being made from this snapshot.
pub fn is_being_made_from_snapshot(tx: &mut Transaction<'_>, id: SnapshotId) -> Result<bool> {
    let found = tx.query(
        "SELECT v.id FROM volume_sources s JOIN volumes v ON v.id = s.volume_id \
         WHERE s.source_snapshot_id = ?1 AND s.source_snapshot_id IS NOT NULL AND v.status = 'creating' LIMIT 1",
        &[id.into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// True while a volume is being cloned from this one.
pub fn is_being_cloned(tx: &mut Transaction<'_>, id: VolumeId) -> Result<bool> {
    let found = tx.query(
        "SELECT v.id FROM volume_sources s JOIN volumes v ON v.id = s.volume_id \
         WHERE s.source_volume_id = ?1 AND s.source_volume_id IS NOT NULL AND v.status = 'creating' LIMIT 1",
        &[id.into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// A volume of any project, if it exists; for workers and administrators.
pub fn find(tx: &mut Transaction<'_>, id: VolumeId) -> Result<Option<Volume>> {
    tx.query_first(
        &format!("SELECT {COLUMNS}, {EXTRAS} FROM {FROM} WHERE v.id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// A volume of any project; for workers and administrators.
///
/// # Errors
/// `NotFound` when it does not exist.
pub fn get(tx: &mut Transaction<'_>, id: VolumeId) -> Result<Volume> {
    find(tx, id)?.ok_or_else(|| Error::not_found(Subject::Volume, id))
}

/// The volumes of a project (or of all) with these EC2 names, by their names; what is no whole name is passed over.
pub fn find_by_ec2_ids(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    ec2_ids: &[String],
) -> Result<HashMap<String, Volume>> {
    let wanted = ec2_names::whole(ec2_ids, "vol-");
    let mut found = HashMap::with_capacity(wanted.len());
    for chunk in wanted.chunks(volume_metadata::CHUNK) {
        let head = format!("SELECT {COLUMNS}, {EXTRAS} FROM {FROM} WHERE v.ec2_id IN");
        let (sql, params) = ec2_names::in_list(&head, chunk);
        for volume in tx.query(&sql, &params, from_row)? {
            if project_id.is_none_or(|project| project == volume.project_id) {
                found.insert(volume.ec2_id.clone(), volume);
            }
        }
    }
    Ok(found)
}

/// The one volume of a project (or of all) whose EC2 name begins with a short one; none when two do.
pub fn find_by_short_ec2_id(
    tx: &mut Transaction<'_>,
    project_id: Option<&str>,
    short: &str,
) -> Result<Option<Volume>> {
    let Some(within) = ec2_names::short(short, "vol-") else {
        return Ok(None);
    };
    let (sql, params) = ec2_names::beginning("volumes", within, project_id);
    let ids: Vec<VolumeId> =
        tx.query(&sql, &params, |row| row.parsed(0, |text| text.parse().ok()))?;
    match ids[..] {
        [id] => find(tx, id),
        _ => Ok(None),
    }
}

/// Moves a volume to a state if it is in one of some states; false, with nothing changed, when it is not (or is gone).
pub fn change_status(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    from: &[VolumeStatus],
    to: VolumeStatus,
    now_us: i64,
) -> Result<bool> {
    let Some(first) = from.first() else {
        return Ok(false);
    };
    let mut params: Vec<Param> = vec![id.into(), to.as_str().into(), now_us.into()];
    params.extend(from.iter().map(|status| Param::from(status.as_str())));
    // One statement text for any number of states: the first one fills the places that are left.
    params.resize(3 + VolumeStatus::ALL.len(), first.as_str().into());
    let touched = tx.execute(
        "UPDATE volumes SET status = ?2, updated_at_us = ?3 WHERE id = ?1 \
         AND status IN (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, \
         ?25, ?26, ?27)",
        &params,
    )?;
    Ok(touched == 1)
}

/// Makes a volume that was being made available, with its VDI; false, with nothing changed, when it is no longer being made.
pub fn become_available(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    vdi_uuid: Option<Uuid>,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        BECOME_AVAILABLE,
        &[
            id.into(),
            vdi_uuid.map(|vdi| vdi.to_string()).into(),
            now_us.into(),
        ],
    )?;
    Ok(touched == 1)
}

/// As [`become_available`], for a volume that as good as certainly is still being made: when it is not, the refusal comes with a later
/// statement, and nothing is kept.
pub fn post_available(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    vdi_uuid: Option<Uuid>,
    now_us: i64,
) -> Result<()> {
    let params = vec![
        id.into(),
        vdi_uuid.map(|vdi| vdi.to_string()).into(),
        now_us.into(),
    ];
    tx.post(BECOME_AVAILABLE, params, move || {
        Error::new(
            ErrorKind::Conflict,
            Subject::Volume,
            "The volume is no longer being made.",
        )
        .on(id.to_string())
    })
}

/// Records the backend that a volume, which is there, is being placed on.
pub fn place_on(tx: &mut Transaction<'_>, id: VolumeId, backend_id: BackendId) -> Result<()> {
    tx.post(
        "UPDATE volumes SET backend_id = ?2 WHERE id = ?1",
        vec![id.into(), backend_id.into()],
        move || Error::not_found(Subject::Volume, id),
    )
}

/// Records the backend that a volume is being, or is, placed on; none takes it back.
pub fn set_backend(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    backend_id: Option<BackendId>,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET backend_id = ?2 WHERE id = ?1",
        &[id.into(), backend_id.into()],
    )?;
    Ok(touched == 1)
}

/// Takes the backend back of a volume that was not made. One with a VDI keeps it, which was made by somebody else, and so does one
/// that is being deleted: its removal looks there.
pub fn forget_backend(tx: &mut Transaction<'_>, id: VolumeId) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET backend_id = NULL WHERE id = ?1 AND vdi_uuid IS NULL AND status = 'creating'",
        &[id.into()],
    )?;
    Ok(touched == 1)
}

/// Records the VDI of a volume; none takes it back.
pub fn set_vdi(tx: &mut Transaction<'_>, id: VolumeId, vdi_uuid: Option<Uuid>) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET vdi_uuid = ?2 WHERE id = ?1",
        &[id.into(), vdi_uuid.map(|vdi| vdi.to_string()).into()],
    )?;
    Ok(touched == 1)
}

/// Puts a new VDI in the place of the old one; false, with nothing changed, when the volume no longer has the old one or is in
/// another state.
pub fn swap_vdi(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    status: VolumeStatus,
    old: Uuid,
    new: Uuid,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET vdi_uuid = ?4 WHERE id = ?1 AND status = ?2 AND vdi_uuid = ?3",
        &[
            id.into(),
            status.as_str().into(),
            old.to_string().into(),
            new.to_string().into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Records how large it is, once that is known.
pub fn set_size(tx: &mut Transaction<'_>, id: VolumeId, size_gib: u64) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET size_gib = ?2 WHERE id = ?1",
        &[
            id.into(),
            i64::try_from(size_gib).unwrap_or(i64::MAX).into(),
        ],
    )?;
    Ok(touched == 1)
}

/// Records why the last operation failed; empty clears it.
pub fn set_failure(tx: &mut Transaction<'_>, id: VolumeId, failure: &str) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET failure = ?2 WHERE id = ?1",
        &[id.into(), failure.into()],
    )?;
    Ok(touched == 1)
}

/// Takes a volume, which is there, for an operation that removes it.
pub fn begin_deleting(tx: &mut Transaction<'_>, id: VolumeId, now_us: i64) -> Result<()> {
    tx.post(
        "UPDATE volumes SET status = 'deleting', failure = '', updated_at_us = ?2 WHERE id = ?1",
        vec![id.into(), now_us.into()],
        move || Error::not_found(Subject::Volume, id),
    )
}

/// What depends on a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dependents {
    /// It has attachments.
    pub attachments: bool,
    /// A volume is being cloned from it.
    pub clones: bool,
    /// It has snapshots.
    pub snapshots: bool,
}

/// Locks the row, if it is there and of this project (none for who may know of all), until the transaction ends, and tells the volume
/// and what depends on it then.
pub fn lock_and_look(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    project: Option<&str>,
) -> Result<Option<(Volume, Dependents)>> {
    if tx.posts_ahead() {
        // In the same exchange, and ahead: what is read behind sees what whoever held the lock has done.
        let (sql, params) = match project {
            None => (
                "SELECT id FROM volumes WHERE id = ?1 /* for update */",
                vec![id.into()],
            ),
            Some(project) => (
                "SELECT id FROM volumes WHERE id = ?1 AND project_id = ?2 /* for update */",
                vec![id.into(), project.into()],
            ),
        };
        tx.send(sql, params)?;
    }
    const BEHIND: usize = COLUMNS_COUNT + EXTRAS_COUNT;
    // The state of what is made from it is looked up by its id, for PostgreSQL would rather read all volumes that are being made.
    tx.query_first(
        &format!(
            "SELECT {COLUMNS}, {EXTRAS}, CASE WHEN EXISTS (SELECT 1 FROM attachments a WHERE a.volume_id = v.id) THEN CAST(1 AS BIGINT) ELSE 0 END, \
             CASE WHEN EXISTS (SELECT 1 FROM volume_sources s WHERE s.source_volume_id = v.id AND s.source_volume_id IS NOT NULL \
             AND (SELECT w.status FROM volumes w WHERE w.id = s.volume_id) = 'creating') THEN CAST(1 AS BIGINT) ELSE 0 END, \
             CASE WHEN EXISTS (SELECT 1 FROM snapshots n WHERE n.volume_id = v.id) THEN CAST(1 AS BIGINT) ELSE 0 END \
             FROM {FROM} WHERE v.id = ?1"
        ),
        &[id.into()],
        |row| {
            let dependents = Dependents {
                attachments: row.int(BEHIND)? != 0,
                clones: row.int(BEHIND + 1)? != 0,
                snapshots: row.int(BEHIND + 2)? != 0,
            };
            Ok((from_row(row)?, dependents))
        },
    )
}

/// Changes the name, the description, or both; false when the volume is gone.
pub fn rename(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    name: Option<&str>,
    description: Option<&str>,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET name = COALESCE(?2, name), description = COALESCE(?3, description), updated_at_us = ?4 WHERE id = ?1",
        &[id.into(), name.into(), description.into(), now_us.into()],
    )?;
    Ok(touched == 1)
}

/// Says whether an instance may boot from it; false when the volume is gone.
pub fn set_bootable(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    bootable: bool,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET bootable = ?2, updated_at_us = ?3 WHERE id = ?1",
        &[id.into(), bootable.into(), now_us.into()],
    )?;
    Ok(touched == 1)
}

/// Gives a volume another flavor; false when it is gone.
pub fn set_flavor(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    flavor_id: FlavorId,
    now_us: i64,
) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE volumes SET flavor_id = ?2, updated_at_us = ?3 WHERE id = ?1",
        &[id.into(), flavor_id.into(), now_us.into()],
    )?;
    Ok(touched == 1)
}

/// Gives a volume the state that its attachments imply, unless it is in a state that has nothing to do with them. Every
/// transaction that changes an attachment ends with this.
pub fn settle(tx: &mut Transaction<'_>, id: VolumeId, now_us: i64) -> Result<()> {
    let attachments = attachments::of_volume(tx, id)?;
    let implied = volume_status(attachments.iter().map(|attachment| attachment.status));
    const CLAIMED: [VolumeStatus; 5] = [
        VolumeStatus::Available,
        VolumeStatus::Reserved,
        VolumeStatus::Attaching,
        VolumeStatus::InUse,
        VolumeStatus::Detaching,
    ];
    let from: Vec<VolumeStatus> = CLAIMED
        .into_iter()
        .filter(|status| *status != implied)
        .collect();
    change_status(tx, id, &from, implied, now_us)?;
    Ok(())
}

/// Ends a state in which an operation owned the volume: it gets the state that its attachments imply. False, with nothing
/// changed, when it is not in that state.
pub fn leave(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    from: VolumeStatus,
    now_us: i64,
) -> Result<bool> {
    lock(tx, id)?;
    let attachments = attachments::of_volume(tx, id)?;
    let implied = volume_status(attachments.iter().map(|attachment| attachment.status));
    change_status(tx, id, &[from], implied, now_us)
}

/// Locks the row until the transaction ends, so that two transactions do not both judge by what they see of its attachments
/// (on SQLite every transaction that writes is alone); false when the volume is gone.
pub fn lock(tx: &mut Transaction<'_>, id: VolumeId) -> Result<bool> {
    let found = tx.query(
        "SELECT id FROM volumes WHERE id = ?1 /* for update */",
        &[id.into()],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// As [`lock`], for who may know of the volumes of this project only (none for who may know of all): another project's is not locked,
/// so that nobody can keep its owners waiting.
pub fn lock_of(tx: &mut Transaction<'_>, id: VolumeId, project: Option<&str>) -> Result<bool> {
    let Some(project) = project else {
        return lock(tx, id);
    };
    let sql = "SELECT id FROM volumes WHERE id = ?1 AND project_id = ?2 /* for update */";
    Ok(tx
        .query_first(sql, &[id.into(), project.into()], |_| Ok(()))?
        .is_some())
}

/// Removes the row for good, with its metadata: a deleted volume costs lists nothing. What volumes that are made from its snapshots
/// take from it is kept with those. The database refuses (`Conflict`) while attachments refer to it.
pub fn remove(tx: &mut Transaction<'_>, id: VolumeId) -> Result<bool> {
    tx.execute(KEEP_ORIGINS, &[id.into()])?;
    Ok(tx.execute("DELETE FROM volumes WHERE id = ?1", &[id.into()])? == 1)
}

/// As [`remove`]; a failure may come with a later statement. One that is gone already is no failure.
pub fn send_removal(tx: &mut Transaction<'_>, id: VolumeId) -> Result<()> {
    tx.send(KEEP_ORIGINS, vec![id.into()])?;
    tx.send("DELETE FROM volumes WHERE id = ?1", vec![id.into()])
}

const KEEP_ORIGINS: &str = "INSERT INTO snapshot_origins (snapshot_id, flavor_id, bootable) \
                            SELECT s.id, v.flavor_id, v.bootable FROM snapshots s JOIN volumes v ON v.id = s.volume_id \
                            WHERE v.id = ?1 ON CONFLICT DO NOTHING";

/// Up to `limit` volumes of a zone in one state, for reconcilers.
pub fn in_status(
    tx: &mut Transaction<'_>,
    zone: &str,
    status: VolumeStatus,
    limit: usize,
) -> Result<Vec<Volume>> {
    // The index holds only rows that are neither, and serves a query that says so.
    let unsettled = match status {
        VolumeStatus::Available | VolumeStatus::InUse => "",
        _ => "AND v.status <> 'available' AND v.status <> 'in-use'",
    };
    tx.query(
        &format!(
            "SELECT {COLUMNS}, {EXTRAS} FROM {FROM} WHERE v.zone = ?1 AND v.status = ?2 {unsettled} ORDER BY v.created_at_us LIMIT ?3"
        ),
        &[
            zone.into(),
            status.as_str().into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
        from_row,
    )
}

/// A row of [`COLUMNS`] and [`EXTRAS`].
fn from_row(row: &Row<'_>) -> Result<Volume> {
    let mut volume = without_extras(row)?;
    set_extras(&mut volume, row, COLUMNS_COUNT)?;
    Ok(volume)
}

/// A row of [`COLUMNS`] alone.
pub(super) fn without_extras(row: &Row<'_>) -> Result<Volume> {
    Ok(Volume {
        id: row.parsed(0, |text| text.parse().ok())?,
        ec2_id: row.text(1)?,
        project_id: row.text(2)?,
        user_id: row.text(3)?,
        name: row.text(4)?,
        description: row.text(5)?,
        size_gib: u64::try_from(row.int(6)?).unwrap_or(0),
        extending_to_gib: None,
        source_snapshot_id: None,
        source_volume_id: None,
        status: row.parsed(7, VolumeStatus::parse)?,
        flavor_id: row.parsed(8, |text| text.parse().ok())?,
        flavor_label: row.text(9)?,
        zone: row.text(10)?,
        backend_id: row.opt_int(11)?.map(BackendId),
        vdi_uuid: row.opt_parsed(12, |text| text.parse().ok())?,
        bootable: row.int(13)? != 0,
        metadata: BTreeMap::new(),
        traits: VolumeTraits::default(),
        failure: row.text(14)?,
        created_at_us: row.int(15)?,
        updated_at_us: Some(row.int(16)?).filter(|at| *at != 0),
    })
}

/// Adds what stands in [`EXTRAS`] from a column on.
pub(super) fn set_extras(volume: &mut Volume, row: &Row<'_>, first: usize) -> Result<()> {
    (volume.source_snapshot_id, volume.source_volume_id) =
        row.opt_parsed(first, sources)?.unwrap_or_default();
    let added_gib = row.opt_int(first + 1)?;
    volume.extending_to_gib = added_gib
        .and_then(|added| u64::try_from(added).ok())
        .map(|added| volume.size_gib.saturating_add(added));
    volume.traits = row
        .opt_parsed(first + 2, volume_traits::parse)?
        .unwrap_or_default();
    volume.metadata = metadata(row.opt_text(first + 3)?)?;
    Ok(())
}

/// What a volume was made from, which comes as one text: the snapshot and the volume, of which one is there. None for a damaged text.
fn sources(text: &str) -> Option<(Option<SnapshotId>, Option<VolumeId>)> {
    let (snapshot, volume) = text.split_once('|')?;
    let snapshot = match snapshot {
        "" => None,
        id => Some(id.parse().ok()?),
    };
    let volume = match volume {
        "" => None,
        id => Some(id.parse().ok()?),
    };
    Some((snapshot, volume))
}

/// The metadata of a row, which comes as JSON; none when it has none.
fn metadata(stored: Option<String>) -> Result<BTreeMap<String, String>> {
    match stored.as_deref() {
        None | Some("{}") => Ok(BTreeMap::new()),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                Subject::Volume,
                "An unexpected error has occurred.",
            )
            .detail("the metadata of a volume is not what its database made of it")
            .caused_by(error)
        }),
    }
}

impl From<VolumeId> for Param {
    fn from(id: VolumeId) -> Self {
        Param::Text(id.to_string())
    }
}
