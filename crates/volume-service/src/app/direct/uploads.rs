//! Snapshots that are written block by block: begun, written, sealed.
//!
//! Each is written to a volume of its own, in a project that is nobody's ([`UPLOADS_PROJECT`]): blank, or made from the parent. It is
//! attached at the first block and detached when the snapshot is sealed; then the snapshot is taken of it, and the volume removed
//! (`finish.rs`). So whatever happens to a pool or worker in between is what happens to volumes, attachments and snapshots anyway.
//!
//! 1. The snapshot (`creating`), the volume with its operation and the upload are one transaction.
//! 2. A block is flushed before it is noted: what is noted and answered is on the medium, whoever dies.
//! 3. Sealing is one transaction, behind which no block is noted. All else is done by whoever looks next.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::blocks::{BLOCK_BYTES, blocks_of_gib};
use super::open_disks::work;
use super::read::{failed, mover};
use super::refusal::{DirectError, DirectResult, Reason};
use crate::app::attachments::{self, CreateAttachment};
use crate::app::create_volume::{self, Creation, UPLOADS_PROJECT};
use crate::app::volumes::{CreateVolume, VolumeSource};
use crate::app::{Service, client_tokens, limits, quota, snapshots as snapshots_app};
use crate::context::RequestContext;
use crate::db::client_tokens as tokens;
use crate::db::direct_uploads::{self, Upload, UploadState};
use crate::db::{attachments as attachment_rows, snapshots, volumes};
use crate::driver::{NbdEndpoint, PoolError, Trouble};
use crate::error::{Error, ErrorKind, Subject};
use crate::model::attachment::AttachMode;
use crate::model::id::SnapshotId;
use crate::model::snapshot::{Snapshot, SnapshotStatus, SnapshotTraits};
use crate::model::volume::VolumeStatus;

/// Most snapshots of a project that are being written. Source: AWS's quota of pending snapshots.
const OPEN_MAX: i64 = 100;
/// Largest volume of EBS, in GiB.
const SIZE_GIB_MAX: u64 = 65_536;
/// How long a block waits for its volume to be made and attached.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks.
const READY_LOOK: Duration = Duration::from_millis(100);

/// What StartSnapshot asks for.
#[derive(Clone, Debug)]
pub struct StartUpload {
    /// Size in GiB.
    pub size_gib: u64,
    /// The snapshot that it begins as.
    pub parent: Option<String>,
    /// Sentence for people.
    pub description: String,
    /// Tags.
    pub metadata: BTreeMap<String, String>,
    /// The same token with the same parameters is the same request.
    pub client_token: Option<String>,
    /// How long nobody may write, in seconds.
    pub timeout_s: u32,
}

/// What CompleteSnapshot says of what was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// How many blocks.
    pub blocks: u64,
    /// SHA-256 of the SHA-256 of all blocks in their order, in base64.
    pub checksum: Option<String>,
}

/// Begins a snapshot that is written block by block.
pub async fn start(
    service: &Service,
    request: &RequestContext,
    wanted: StartUpload,
) -> DirectResult<Snapshot> {
    mover(service)?;
    limits::check_text("description", &wanted.description)?;
    limits::check_metadata(&wanted.metadata)?;
    if !(1..=SIZE_GIB_MAX).contains(&wanted.size_gib) {
        return Err(bad_size(format!(
            "Volume size {} is not valid, expected 1 to {SIZE_GIB_MAX}",
            wanted.size_gib
        )));
    }
    if let Err(error) = limits::check_size(wanted.size_gib) {
        return Err(bad_size(error.public));
    }
    let parent = parent_of(service, request, &wanted).await?;
    let zone = parent.as_ref().map(|parent| parent.zone.clone());
    let zone = zone.unwrap_or_else(|| service.config.default_zone.clone());
    let takes = mover(service)?.takes_writes(&zone).await;
    if !takes.map_err(|error| DirectError::App(error.on_zone(&zone)))? {
        let words = "The pool takes no blocks: snapshots can be written on the embedded storage manager only.";
        return Err(DirectError::refused(
            Reason::InvalidDependencyRequest,
            words,
        ));
    }
    let client = wanted.client_token.as_deref().map(|token| {
        let parts = serde_json::json!([
            wanted.size_gib,
            wanted.parent,
            wanted.description,
            wanted.metadata,
            wanted.timeout_s
        ]);
        client_tokens::client_token("StartSnapshot", token, &parts)
    });
    let id = SnapshotId(service.context.new_uuid());
    let creation = Creation::of(service, &nobody(service, request)).for_upload();
    let of_volume = CreateVolume {
        name: format!("upload of {}", id.ec2_id()),
        size_gib: wanted.size_gib,
        source: parent.as_ref().map_or(VolumeSource::Blank, |parent| {
            VolumeSource::Snapshot(parent.id)
        }),
        ..CreateVolume::default()
    };
    let (asker, now_us) = (request.clone(), service.context.now_us());
    let limits = service.config.limits.clone();
    let made = service.database.write(move |tx| {
        if let Some(client) = &client {
            let project = &asker.project_id;
            if let Some(made) = client_tokens::made_before(tx, project, client)? {
                let known: Option<SnapshotId> = made.parse().ok();
                let found = match known {
                    Some(known) => snapshots::find(tx, known)?,
                    None => None,
                };
                return found
                    .filter(|found| found.project_id == *project)
                    .ok_or_else(|| client_tokens::gone(client, &made));
            }
        }
        if direct_uploads::count_open(tx, &asker.project_id)? >= OPEN_MAX {
            let words = "You have reached the limit of pending snapshots.";
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                Subject::Request,
                words,
            ));
        }
        let volume = creation.known.using(tx, |tx, seen| {
            create_volume::add(tx, seen, &creation, &of_volume, None, None)
        })?;
        let key_of_parent = parent.as_ref().and_then(|parent| parent.traits.ebs.encryption_key_id);
        if volume.traits.encryption_key_id.is_some() || key_of_parent.is_some() {
            let words = "Blocks cannot be written to snapshots of an encrypted type, or with an encrypted parent: whoever uses the volume encrypts it.";
            return Err(Error::new(ErrorKind::NotSupported, Subject::Snapshot, words));
        }
        let snapshot = Snapshot {
            id,
            ec2_id: id.ec2_id(),
            project_id: asker.project_id.clone(),
            user_id: asker.user_id.clone(),
            volume_id: volume.id,
            name: String::new(),
            description: wanted.description.clone(),
            size_gib: wanted.size_gib,
            status: SnapshotStatus::Creating,
            zone: volume.zone.clone(),
            backend_id: None,
            vdi_uuid: None,
            metadata: wanted.metadata.clone(),
            traits: SnapshotTraits::default(),
            failure: String::new(),
            created_at_us: now_us,
            updated_at_us: None,
        };
        if let Some(client) = &client {
            // Who is overtaken comes again, and finds what the other one made.
            let (project, target) = (&snapshot.project_id, id.to_string());
            tokens::remember(tx, project, client, &target, now_us)?;
        }
        if !snapshots::insert(tx, &snapshot)? {
            return Err(snapshots_app::doubled());
        }
        if let Some(parent) = &parent {
            direct_uploads::set_parent(tx, id, parent.id)?;
        }
        quota::check_snapshot(tx, &snapshot, volume.flavor_id, &limits)?;
        let timeout_us = i64::from(wanted.timeout_s) * 1_000_000;
        let upload = Upload {
            volume_id: volume.id,
            snapshot_id: id,
            timeout_us,
            deadline_us: now_us.saturating_add(timeout_us),
            state: UploadState::Open,
            failure: String::new(),
        };
        direct_uploads::insert(tx, &upload)?;
        Ok(snapshot)
    });
    Ok(made.await?)
}

async fn parent_of(
    service: &Service,
    request: &RequestContext,
    wanted: &StartUpload,
) -> DirectResult<Option<Snapshot>> {
    let Some(ec2_id) = wanted.parent.as_deref() else {
        return Ok(None);
    };
    let parent = own(service, request, ec2_id).await?;
    let parent = parent.ok_or_else(|| DirectError::no_snapshot(ec2_id))?;
    if parent.status != SnapshotStatus::Available {
        let words = format!("Source snapshot ({ec2_id}) is not complete.");
        return Err(DirectError::refused(Reason::InvalidSnapshotId, words));
    }
    if parent.size_gib > wanted.size_gib {
        return Err(bad_size(format!(
            "Volume size {} is smaller than that of the parent snapshot, {}",
            wanted.size_gib, parent.size_gib
        )));
    }
    Ok(Some(parent))
}

/// Writes a block of a snapshot.
pub async fn put_block(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
    index: u64,
    data: Bytes,
    checksum: &str,
) -> DirectResult<()> {
    let (snapshot, upload) = open_upload(service, request, ec2_id).await?;
    if index >= blocks_of_gib(snapshot.size_gib) {
        let words = format!("Block index {index} is beyond the volume size extent");
        return Err(DirectError::refused(Reason::InvalidBlock, words));
    }
    if data.len() as u64 != BLOCK_BYTES {
        let words = format!(
            "Block data length {} is not valid, expected {BLOCK_BYTES}",
            data.len()
        );
        return Err(DirectError::refused(Reason::InvalidBlock, words));
    }
    let computed = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &data));
    if computed != checksum {
        let words = format!(
            "The value passed in as x-amz-Checksum does not match the computed checksum. Computed checksum: {computed} expected \
             checksum: {checksum}"
        );
        return Err(DirectError::refused(Reason::WrongChecksum, words));
    }
    let mover = mover(service)?;
    let offset = index.saturating_mul(BLOCK_BYTES);
    let open = || async {
        let endpoint = endpoint(service, request, &upload).await?;
        mover.open_plugged(&endpoint).await
    };
    let written = service.direct.disks.with(
        upload.volume_id.0,
        open,
        work(move |disk| {
            disk.write(&data, offset)?;
            disk.flush()
        }),
    );
    written.await.map_err(|error| match error.trouble {
        // The volume is being made, or could not be; whoever comes again is told what became of the snapshot.
        Trouble::Gone => DirectError::refused(Reason::Throttled, "Request limit exceeded."),
        _ => failed(error, &snapshot),
    })?;
    let (volume_id, now_us) = (upload.volume_id, service.context.now_us());
    let noted = service
        .database
        .write(move |tx| direct_uploads::note_block(tx, volume_id, index, &computed, now_us));
    match noted.await? {
        true => Ok(()),
        false => Err(sealed()),
    }
}

/// Ends the writing of a snapshot. Whether what was written is what is said decides what becomes of it, not the answer.
pub async fn complete(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
    said: Written,
) -> DirectResult<()> {
    let (_, upload) = open_upload(service, request, ec2_id).await?;
    let volume_id = upload.volume_id;
    let closed = service.database.write(move |tx| {
        volumes::lock(tx, volume_id)?;
        let noted = direct_uploads::checksums(tx, volume_id)?;
        let failure = if noted.len() as u64 != said.blocks {
            "Changed blocks count mismatch for snapshot"
        } else if said
            .checksum
            .as_ref()
            .is_some_and(|said| *said != linear(&noted))
        {
            "Checksum mismatch for snapshot"
        } else {
            ""
        };
        direct_uploads::close(tx, volume_id, UploadState::Sealed, failure)
    });
    if !closed.await? {
        return Err(sealed());
    }
    service.direct.disks.close(volume_id.0).await;
    Ok(())
}

/// The checksum of all blocks: of their checksums one after the other.
fn linear(checksums: &[String]) -> String {
    let mut all = ring::digest::Context::new(&ring::digest::SHA256);
    for checksum in checksums {
        all.update(&STANDARD.decode(checksum).unwrap_or_default());
    }
    STANDARD.encode(all.finish())
}

/// A project's snapshot.
async fn own(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
) -> DirectResult<Option<Snapshot>> {
    match snapshots_app::get_by_ec2_id(service, request, ec2_id).await {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error)
            if error.subject == Subject::Snapshot
                && matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A snapshot that is being written.
async fn open_upload(
    service: &Service,
    request: &RequestContext,
    ec2_id: &str,
) -> DirectResult<(Snapshot, Upload)> {
    let Some(snapshot) = own(service, request, ec2_id).await? else {
        let words =
            format!("Value ({ec2_id}) for parameter snapshotId is invalid. Expected: 'snap-...'.");
        return Err(DirectError::refused(Reason::InvalidSnapshotId, words));
    };
    let (id, now_us) = (snapshot.id, service.context.now_us());
    let found = service
        .database
        .read(move |tx| direct_uploads::of_snapshot(tx, id))
        .await?;
    match found {
        Some(upload) if upload.state == UploadState::Open && upload.deadline_us > now_us => {
            Ok((snapshot, upload))
        }
        Some(upload) if upload.state == UploadState::Sealed => Err(sealed()),
        Some(upload) => {
            let words = match upload.failure.as_str() {
                "" => "no block was written for longer than the timeout allows",
                why => why,
            };
            let words = format!("The snapshot was given up: {words}.");
            Err(DirectError::refused(Reason::WriteRequestTimeout, words))
        }
        None => Err(sealed()),
    }
}

fn sealed() -> DirectError {
    DirectError::refused(Reason::InvalidSnapshotId, "Snapshot is already completed")
}

fn bad_size(words: String) -> DirectError {
    DirectError::refused(Reason::InvalidVolumeSize, words)
}

/// As whom the volumes are made that snapshots are written to.
fn nobody(service: &Service, request: &RequestContext) -> RequestContext {
    let roles = ["admin", "member", "reader"].map(str::to_owned).to_vec();
    let id = request.request_id.clone();
    RequestContext::new(id, UPLOADS_PROJECT, UPLOADS_PROJECT, roles).under(&service.config.policies)
}

/// Where an upload's volume is served; it is attached if it is not.
async fn endpoint(
    service: &Service,
    request: &RequestContext,
    upload: &Upload,
) -> Result<NbdEndpoint, PoolError> {
    let id = upload.volume_id;
    let until = Instant::now() + READY_PATIENCE;
    let unready = |text: &str| PoolError::new("NBD", Trouble::Busy, text);
    loop {
        let seen = service.database.read(move |tx| {
            // Who waited for a turn behind the end of the upload writes nothing any more.
            let upload = direct_uploads::find(tx, id)?;
            let is_open = upload.is_some_and(|upload| upload.state == UploadState::Open);
            let volume = volumes::find(tx, id)?.filter(|_| is_open);
            Ok((volume, attachment_rows::of_volume(tx, id)?))
        });
        let (volume, held) = seen.await.map_err(|error| unready(&error.to_string()))?;
        let Some(volume) = volume else {
            return Err(PoolError::new("NBD", Trouble::Gone, "the upload has ended"));
        };
        if let Some(attachment) = held.iter().find(|attachment| attachment.is_connected()) {
            let info = &attachment.connection_info;
            let text = |key: &str| Some(info.get(key)?.as_str()?.to_owned());
            return match (text("socket"), text("export")) {
                (Some(socket), Some(export)) => Ok(NbdEndpoint { socket, export }),
                _ => Err(PoolError::new(
                    "NBD",
                    Trouble::Unsupported,
                    "the pool serves no writers",
                )),
            };
        }
        match volume.status {
            VolumeStatus::Available => {
                let wanted = CreateAttachment {
                    volume_id: id,
                    instance_id: None,
                    connector: Some(
                        serde_json::json!({"host": UPLOADS_PROJECT, "protocols": ["nbd"]}),
                    ),
                    mode: AttachMode::ReadWrite,
                    mountpoint: None,
                };
                // Another process may have been first; the next look tells.
                let made = attachments::create(service, &nobody(service, request), wanted).await;
                if let Err(error) = made {
                    tracing::debug!(%error, volume.id = %id, "the volume of an upload is not attached");
                }
            }
            VolumeStatus::Creating | VolumeStatus::Reserved | VolumeStatus::Attaching => {}
            _ => {
                return Err(PoolError::new(
                    "NBD",
                    Trouble::Gone,
                    "the volume is not to be had",
                ));
            }
        }
        if Instant::now() >= until {
            return Err(unready("the volume is not ready yet"));
        }
        sleep(READY_LOOK).await;
    }
}
