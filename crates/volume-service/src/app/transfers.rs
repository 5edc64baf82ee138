//! Transfers: a project offers a volume, and whoever knows the key takes it into theirs.

use ring::hmac;
use uuid::Uuid;

use super::policy::Tenancy;
use super::quota::{Added, Scope};
use super::refusal::{self, Asked};
use super::volumes::locked;
use super::{Page, Service, limits, policy, quota, snapshot_locks};
use crate::auth::rule::Rule;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::transfers::{self, KeyProof};
use crate::db::{Transaction, operations, quotas, snapshots, volumes, webhooks};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::VolumeId;
use crate::model::quota::Usage;
use crate::model::snapshot::SnapshotStatus;
use crate::model::transfer::Transfer;
use crate::model::volume::{VolumeStatus, VolumeTraits};

pub use crate::db::transfers::{TransferQuery, TransferSortKey};

/// Digits of a key, each of four bits: what Cinder's have.
const KEY_DIGITS: usize = 16;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateTransfer {
    /// The volume.
    pub volume_id: VolumeId,
    /// Name for people; at most 255 characters.
    pub name: String,
    /// Whether the volume's snapshots stay behind.
    pub snapshots: Snapshots,
    /// Whether an encrypted volume may be offered.
    pub encrypted: Encrypted,
}

/// What becomes of a volume's snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshots {
    /// They go with it.
    GoAlong,
    /// They stay where they are.
    Stay,
}

/// What a request says about encrypted volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encrypted {
    /// They are refused; OpenStack before microversion 3.70.
    Refuse,
    /// They are offered, with their snapshots.
    Allow,
}

/// Offers a volume. The key is told once, here.
///
/// # Errors
/// `Conflict` about the volume, or a snapshot of it, that is not `available`; about the volume that is in a group, or encrypted.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateTransfer,
) -> Result<(Transfer, Secret)> {
    limits::check_text("name", &wanted.name)?;
    let (key, proof) = new_key(service);
    let id = service.context.new_uuid();
    let now_us = service.context.now_us();
    let tenancy = policy::tenancy_of(request, Rule::VolumeCreateTransfer);
    let asked = Asked::allocation(wanted.volume_id);
    let offered = service
        .database
        .write(move |tx| {
            // What is judged below stays so until the end: a group takes members in under the same lock.
            let volume = locked(tx, &tenancy, wanted.volume_id)?;
            let (from, to) = (VolumeStatus::Available, VolumeStatus::AwaitingTransfer);
            if !volumes::change_status(tx, volume.id, &[from], to, now_us)? {
                return Err(refused(volume.id, "status must be available"));
            }
            if operations::find_unfinished(tx, &volume.id.to_string())?.is_some() {
                return Err(refused(volume.id, "an operation is at work on it"));
            }
            check_traits(&volume.traits, &wanted)?;
            if wanted.snapshots == Snapshots::GoAlong {
                check_snapshots(tx, volume.id, now_us)?;
            }
            let transfer = Transfer {
                id,
                volume_id: volume.id,
                name: wanted.name.trim().to_owned(),
                without_snapshots: wanted.snapshots == Snapshots::Stay,
                source_project_id: volume.project_id,
                created_at_us: now_us,
            };
            transfers::insert(tx, &transfer, &proof)?;
            let owner = &transfer.source_project_id;
            tell(tx, &transfer, "transfer.created", owner, now_us)?;
            Ok(transfer)
        })
        .await;
    let transfer = refusal::told(service, request, asked, offered).await?;
    Ok((transfer, key))
}

/// One transfer that the project offers (that any project offers, for an administrator).
pub async fn get(service: &Service, request: &RequestContext, id: Uuid) -> Result<Transfer> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeGetTransfer);
    service.database.read(move |tx| own(tx, &tenancy, id)).await
}

/// A page of the transfers that the project offers; with `all_projects`, which administrators may say, of every project's.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    all_projects: bool,
    mut query: TransferQuery,
    limit: Option<usize>,
) -> Result<Page<Transfer>> {
    policy::check(request, Rule::VolumeGetAllTransfers)?;
    limits::check_list(0, 0, query.offset)?;
    query.project_id = (!(all_projects && request.is_admin())).then(|| request.project_id.clone());
    let limit = service.page_size(limit);
    service
        .database
        .read(move |tx| {
            let found = transfers::list(tx, &query, limit.saturating_add(1))?;
            Ok(Page::cut(found, limit))
        })
        .await
}

/// Takes an offer back; the volume is `available` again.
pub async fn delete(service: &Service, request: &RequestContext, id: Uuid) -> Result<()> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeDeleteTransfer);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let transfer = own(tx, &tenancy, id)?;
            // The volume first, as accepting does: whichever comes second finds the other's work.
            let (from, to) = (VolumeStatus::AwaitingTransfer, VolumeStatus::Available);
            volumes::change_status(tx, transfer.volume_id, &[from], to, now_us)?;
            if transfers::remove(tx, id)? {
                let owner = &transfer.source_project_id;
                return tell(tx, &transfer, "transfer.deleted", owner, now_us);
            }
            Err(transfers::missing(id))
        })
        .await
}

/// Takes an offered volume into the requester's project, in one transaction: the volume, its snapshots unless they stay, and what
/// they count for.
///
/// # Errors
/// `Invalid` for another key and for a volume that is not offered any more, `QuotaExceeded` for the quotas of the requester's project.
pub async fn accept(
    service: &Service,
    request: &RequestContext,
    id: Uuid,
    key: Secret,
) -> Result<Transfer> {
    policy::check(request, Rule::VolumeAcceptTransfer)?;
    if request.project_id.is_empty() {
        return Err(Error::invalid(
            "A volume belongs to a project, and the request is in none.",
        ));
    }
    let configured = service.config.limits.clone();
    let now_us = service.context.now_us();
    let receiver = request.clone();
    let accepted = service
        .database
        .write(move |tx| {
            let (transfer, proof) =
                transfers::find(tx, id)?.ok_or_else(|| transfers::missing(id))?;
            let salt = hmac::Key::new(hmac::HMAC_SHA256, &proof.salt);
            if hmac::verify(&salt, key.expose().as_bytes(), &proof.hash).is_err() {
                return Err(Error::invalid(format!(
                    "Invalid auth key: Attempt to transfer {id} with invalid auth key."
                )));
            }
            let volume_id = transfer.volume_id;
            let (from, to) = (VolumeStatus::AwaitingTransfer, VolumeStatus::Available);
            if !volumes::change_status(tx, volume_id, &[from], to, now_us)?
                || !transfers::remove(tx, id)?
            {
                return Err(Error::invalid(format!(
                    "Transfer {id}: Volume id {volume_id} expected in awaiting-transfer state."
                )));
            }
            // Its giver could still take snapshots of it with the group, or delete it.
            if let Some(group) = volumes::get(tx, volume_id)?.traits.group_id {
                let why = format!("it is in group {group} of the project that offered it");
                return Err(refused(volume_id, &why));
            }
            move_all(tx, &transfer, &receiver, &configured)
                .map_err(|error| error.on(volume_id.to_string()))?;
            let (from, to) = (&transfer.source_project_id, &receiver.project_id);
            tell(tx, &transfer, "transfer.accepted", from, now_us)?;
            if from != to {
                tell(tx, &transfer, "transfer.accepted", to, now_us)?;
            }
            Ok(transfer)
        })
        .await;
    // Whose key is wrong learns of no volume.
    let about = accepted.as_ref().err().map(|error| error.object.clone());
    let asked = Asked::allocation(about.unwrap_or_default());
    refusal::told(service, request, asked, accepted).await
}

/// Tells webhooks what became of a transfer.
fn tell(
    tx: &mut Transaction<'_>,
    transfer: &Transfer,
    kind: &str,
    project_id: &str,
    now_us: i64,
) -> Result<()> {
    let event = webhooks::Event {
        id: 0,
        at_us: now_us,
        kind: kind.to_owned(),
        project_id: project_id.to_owned(),
        resource_type: "transfer".to_owned(),
        resource_id: transfer.id.to_string(),
        data: serde_json::json!({"volume_id": transfer.volume_id}).to_string(),
    };
    webhooks::tell(tx, &event)
}

/// Moves what a transfer offers and judges the quotas of who gets it.
fn move_all(
    tx: &mut Transaction<'_>,
    transfer: &Transfer,
    request: &RequestContext,
    configured: &crate::config::Limits,
) -> Result<()> {
    let (volume_id, from) = (transfer.volume_id, &transfer.source_project_id);
    let (project_id, user_id) = (&request.project_id, &request.user_id);
    transfers::give_volume(tx, volume_id, project_id, user_id)?;
    if project_id == from {
        return Ok(());
    }
    let mut usage = Usage {
        volumes: 1,
        ..Usage::default()
    };
    if !transfer.without_snapshots {
        let along = quotas::of_snapshots(tx, volume_id, from)?;
        usage.snapshots = along.snapshots;
        usage.gigabytes = along.gigabytes;
        transfers::give_snapshots(tx, volume_id, from, project_id, user_id)?;
    }
    let volume = volumes::get(tx, volume_id)?;
    usage.gigabytes += volume.size_gib;
    let added = Added {
        subject: Subject::Volume,
        flavor_id: volume.flavor_id,
        usage,
        volume_gib: Some(volume.size_gib),
        scope: Scope::Project,
    };
    quota::check(tx, project_id, &added, configured)
}

fn new_key(service: &Service) -> (Secret, KeyProof) {
    let random: [u8; KEY_DIGITS / 2] = service.context.random_bytes();
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let salt: [u8; 16] = service.context.random_bytes();
    let hash = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salt), key.as_bytes());
    let proof = KeyProof {
        salt: salt.to_vec(),
        hash: hash.as_ref().to_vec(),
    };
    (Secret::new(key), proof)
}

fn check_traits(traits: &VolumeTraits, wanted: &CreateTransfer) -> Result<()> {
    let id = wanted.volume_id;
    let is_encrypted = traits.encryption_key_id.is_some();
    if traits.group_id.is_some() {
        return Err(refused(
            id,
            &format!("Volume {id} must not be part of a group"),
        ));
    }
    if is_encrypted && wanted.encrypted == Encrypted::Refuse {
        let why = "transferring encrypted volume is not supported";
        return Err(refused(id, why));
    }
    if is_encrypted && wanted.snapshots == Snapshots::Stay {
        let why = "transferring an encrypted volume without its snapshots is not supported";
        return Err(refused(id, why));
    }
    Ok(())
}

fn check_snapshots(tx: &mut Transaction<'_>, id: VolumeId, now_us: i64) -> Result<()> {
    for snapshot in snapshots::of_volume(tx, id)? {
        snapshot_locks::check(tx, &snapshot, now_us)?;
        if snapshot.traits.group_snapshot_id.is_some() {
            let why = format!("its snapshot {} is part of a group snapshot", snapshot.id);
            return Err(refused(id, &why));
        }
        if snapshot.status != SnapshotStatus::Available {
            return Err(Error::new(
                ErrorKind::Conflict,
                Subject::Snapshot,
                format!(
                    "Invalid snapshot: snapshot: {} status must be available",
                    snapshot.id
                ),
            )
            .on(snapshot.id.to_string()));
        }
    }
    Ok(())
}

fn own(tx: &mut Transaction<'_>, tenancy: &Tenancy, id: Uuid) -> Result<Transfer> {
    let transfer = transfers::find(tx, id)?
        .map(|(transfer, _)| transfer)
        .filter(|transfer| tenancy.sees(&transfer.source_project_id))
        .ok_or_else(|| transfers::missing(id))?;
    tenancy.check(&transfer.source_project_id, None)?;
    Ok(transfer)
}

fn refused(id: VolumeId, why: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Subject::Volume,
        format!("Invalid volume: {why}"),
    )
    .on(id.to_string())
}
