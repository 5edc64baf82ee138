//! Makes volumes: alone, in a group, or as one of many that a group is made of.

use std::sync::Arc;

use super::known::{Known, Seen};
use super::policy::Tenancy;
use super::refusal::{self, Asked};
use super::volume_source::{self, Origin};
use super::volumes::{CreateVolume, VolumeSource};
use super::{
    Service, client_tokens, flavor_choice, group_members, groups as groups_app, limits, policy,
    quota,
};
use crate::auth::rule::Rule;
use crate::config::Limits;
use crate::context::{Context, RequestContext};
use crate::db::client_tokens::{self as tokens, CREATE_VOLUME, ClientToken, is_overtaken};
use crate::db::operations::NewOperation;
use crate::db::{Transaction, flavors, operations, snapshots, volume_ebs, volumes};
use crate::error::{Error, Result};
use crate::model::flavor::Flavor;
use crate::model::group::Group;
use crate::model::id::{FlavorId, GroupId, OperationId, SnapshotId, VolumeId};
use crate::model::operation::OperationKind;
use crate::model::performance::Ebs;
use crate::model::snapshot::Snapshot;
use crate::model::volume::{Volume, VolumeStatus, VolumeTraits};
use crate::operation::birth::Born;
use crate::operation::intake::Intakes;

/// Takes a request for a volume: validates, checks quota, writes the volume (`creating`) and its operation.
///
/// # Errors
/// `Conflict` about the source when its state does not allow it.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    wanted: CreateVolume,
) -> Result<Volume> {
    policy::check(request, Rule::VolumeCreate)?;
    check(request, &wanted)?;
    let creation = Creation::of(service, request);
    let id = creation.id;
    let may_read_group = policy::tenancy_of(request, Rule::GroupGet);
    let client = client_token(&wanted);
    let has_token = client.is_some();
    let add = move |tx: &mut Transaction<'_>| {
        let group = match wanted.group_id {
            Some(id) => Some(joined(tx, &may_read_group, &creation, &wanted, id)?),
            None => None,
        };
        let (group, client) = (group.as_ref(), client.as_ref());
        creation.known.using(tx, |tx, seen| {
            add(tx, seen, &creation, &wanted, group, client)
        })
    };
    let created = match has_token {
        true => unless_overtaken(service, add).await,
        false => service.database.write(add).await,
    };
    refusal::told(service, request, Asked::new_volume(id), created).await
}

/// Times that a request looks again for what another one with the same client token has made meanwhile.
const OVERTAKEN_MAX: usize = 3;

/// Writes, and looks again when the same request was made at the same time.
async fn unless_overtaken<F>(service: &Service, add: F) -> Result<Volume>
where
    F: FnMut(&mut Transaction<'_>) -> Result<Volume> + Clone + Send + 'static,
{
    for _ in 0..OVERTAKEN_MAX {
        match service.database.write(add.clone()).await {
            Err(error) if is_overtaken(&error) => {}
            created => return created,
        }
    }
    service.database.write(add).await
}

/// The snapshot that the volume was made from which a request with this client token has made.
pub async fn snapshot_of_token(
    service: &Service,
    request: &RequestContext,
    token: String,
) -> Result<Option<SnapshotId>> {
    policy::check(request, Rule::VolumeCreate)?;
    let project_id = request.project_id.clone();
    let find = move |tx: &mut Transaction<'_>| {
        let made = tokens::target(tx, &project_id, CREATE_VOLUME, &token)?;
        let Some(id) = made.and_then(|made| made.parse().ok()) else {
            return Ok(None);
        };
        let volume = volumes::find(tx, id)?.filter(|volume| volume.project_id == project_id);
        Ok(volume.and_then(|volume| volume.source_snapshot_id))
    };
    service.database.read(find).await
}

/// The project of the volumes that snapshots are written to block by block. It is nobody's: none has this id, and no quota is asked.
pub(super) const UPLOADS_PROJECT: &str = "ebs-direct";

/// What makes the row of a new volume, besides what is wanted of it.
#[derive(Clone)]
pub(super) struct Creation {
    id: VolumeId,
    operation_id: OperationId,
    now_us: i64,
    context: Context,
    default_zone: String,
    zones: Vec<String>,
    tenancy: Tenancy,
    asker: RequestContext,
    limits: Limits,
    /// What is kept of flavors, places and limits.
    pub(super) known: Arc<Known>,
    intakes: Arc<Intakes>,
}

impl Creation {
    pub(super) fn of(service: &Service, request: &RequestContext) -> Self {
        let zones = service.config.zones.iter();
        Creation {
            id: VolumeId(service.context.new_uuid()),
            operation_id: OperationId(service.context.new_uuid()),
            now_us: service.context.now_us(),
            context: service.context.clone(),
            default_zone: service.config.default_zone.clone(),
            zones: zones.map(|zone| zone.name.clone()).collect(),
            tenancy: policy::tenancy_of(request, Rule::VolumeCreate),
            asker: request.clone(),
            limits: service.config.limits.clone(),
            known: Arc::clone(&service.known),
            intakes: Arc::clone(&service.intakes),
        }
    }

    /// The same for a volume that a snapshot is written to, whose id tells so.
    pub(super) fn for_upload(mut self) -> Self {
        self.id = self.id.of_upload();
        self
    }

    /// The same for another volume.
    pub(super) fn fresh(&self) -> Self {
        Creation {
            id: VolumeId(self.context.new_uuid()),
            operation_id: OperationId(self.context.new_uuid()),
            ..self.clone()
        }
    }
}

/// The group that a new volume is to be in, locked.
fn joined(
    tx: &mut Transaction<'_>,
    may_read: &Tenancy,
    creation: &Creation,
    wanted: &CreateVolume,
    id: GroupId,
) -> Result<Group> {
    let group = groups_app::locked(tx, may_read, id)?;
    if group.project_id != creation.asker.project_id {
        return Err(groups_app::not_found(id));
    }
    if wanted.flavor.is_none() {
        return Err(Error::invalid(
            "Invalid input received: volume_type must be provided when creating a volume in a group.",
        ));
    }
    group_members::check_new_member(tx, &group)?;
    Ok(group)
}

/// Writes a volume and its operation, which begins at once where it can, and judges the quota.
pub(super) fn add(
    tx: &mut Transaction<'_>,
    seen: &Seen,
    creation: &Creation,
    wanted: &CreateVolume,
    group: Option<&Group>,
    client: Option<&ClientToken>,
) -> Result<Volume> {
    let (id, now_us, asker) = (creation.id, creation.now_us, &creation.asker);
    if let Some(client) = client
        && let Some(volume) = made_before(tx, creation, client)?
    {
        return Ok(volume);
    }
    // Only now: the zone, like the source, may have gone since the same request was there before.
    check_zone(creation, wanted)?;
    let origin = volume_source::origin(tx, &creation.tenancy, wanted)?;
    let named = wanted.flavor.as_deref();
    let (tenancy, project_id) = (&creation.tenancy, &asker.project_id);
    let flavor = flavor_choice::flavor(tx, seen, tenancy, project_id, named, origin.as_ref())?;
    let zone = volume_zone(creation, wanted, &flavor, group, origin.as_ref())?;
    let size_gib = match (&origin, wanted.size_gib) {
        (Some(origin), 0) => origin.size_gib,
        (_, size_gib) => size_gib,
    };
    let mut volume = Volume {
        id,
        ec2_id: id.ec2_id(),
        project_id: asker.project_id.clone(),
        user_id: asker.user_id.clone(),
        name: wanted.name.clone(),
        description: wanted.description.clone(),
        size_gib,
        extending_to_gib: None,
        status: VolumeStatus::Creating,
        flavor_id: flavor.id,
        flavor_label: flavor.label,
        zone,
        backend_id: None,
        vdi_uuid: None,
        source_snapshot_id: wanted.source.snapshot_id(),
        source_volume_id: wanted.source.volume_id(),
        bootable: origin.as_ref().is_some_and(|origin| origin.bootable),
        metadata: wanted.metadata.clone(),
        traits: VolumeTraits {
            group_id: group.map(|group| group.id.0),
            in_consistency_group: group
                .is_some_and(|group| groups_app::is_consistency_group(&group.type_name)),
            image_metadata: origin
                .map(|origin| origin.image_metadata)
                .unwrap_or_default(),
            multiattach: wanted.multiattach,
            encryption_key_id: flavor.encryption.map(|_| creation.context.new_uuid()),
            ..VolumeTraits::default()
        },
        failure: String::new(),
        created_at_us: now_us,
        updated_at_us: None,
    };
    let operation = NewOperation {
        id: creation.operation_id,
        kind: OperationKind::CreateVolume,
        target: id.to_string(),
        zone: volume.zone.clone(),
        request_id: asker.request_id.clone(),
        not_before_us: now_us,
    };
    let born = at_birth(tx, seen, creation, &mut volume, &operation)?;
    if let Some(client) = client {
        tokens::remember(tx, project_id, client, &id.to_string(), now_us)?;
    }
    volumes::insert_for(tx, &volume, client)?;
    if wanted.ebs != Ebs::default() {
        volume_ebs::store(tx, id, &wanted.ebs)?;
    }
    match born {
        Some(born) => born.add(tx, operations::not_new(operation.id, operation.target))?,
        None => operations::add(tx, &operation, now_us)?,
    }
    if volume.project_id != UPLOADS_PROJECT {
        quota::check_new_volume(tx, seen, &volume, &creation.limits)?;
    }
    Ok(volume)
}

/// Places the volume, and begins its operation, where a worker is at hand and nothing has to be looked for.
fn at_birth(
    tx: &mut Transaction<'_>,
    seen: &Seen,
    creation: &Creation,
    volume: &mut Volume,
    operation: &NewOperation,
) -> Result<Option<Born>> {
    match creation.intakes.of(&volume.zone) {
        Some(cradle) => cradle.place_volume(tx, seen, volume, operation),
        None => Ok(None),
    }
}

/// The zone of a new volume, which is its group's where it has one.
fn volume_zone(
    creation: &Creation,
    wanted: &CreateVolume,
    flavor: &Flavor,
    group: Option<&Group>,
    origin: Option<&Origin>,
) -> Result<String> {
    let of_origin = origin.map(|origin| &origin.zone);
    let Some(group) = group else {
        let asked = wanted.zone.as_ref().or(of_origin);
        return flavor_choice::zone(flavor, asked, &creation.default_zone, &creation.zones);
    };
    if !group.flavors.contains(&flavor.id) {
        return Err(Error::invalid(format!(
            "Invalid input received: Invalid volume_type provided: {} (requested type must be supported by this group).",
            flavor.id
        )));
    }
    if of_origin.is_some_and(|zone| *zone != group.zone) {
        return Err(Error::invalid(format!(
            "Volume must be in the same availability zone as the group, which is {}.",
            group.zone
        )));
    }
    flavor_choice::zone(
        flavor,
        Some(&group.zone),
        &creation.default_zone,
        &creation.zones,
    )
}

/// The flavor that a volume has that is made from a snapshot and names none; none where that is gone.
pub(super) fn flavor_of_snapshot(
    tx: &mut Transaction<'_>,
    snapshot: &Snapshot,
) -> Result<Option<FlavorId>> {
    if let Some(volume) = volumes::find(tx, snapshot.volume_id)? {
        return Ok(Some(volume.flavor_id));
    }
    match snapshots::origin(tx, snapshot.id)? {
        Some((id, _)) => Ok(flavors::by_id(tx, id)?.map(|flavor| flavor.id)),
        None => Ok(None),
    }
}

fn check(request: &RequestContext, wanted: &CreateVolume) -> Result<()> {
    if request.project_id.is_empty() {
        return Err(Error::invalid(
            "A volume belongs to a project, and the request is in none.",
        ));
    }
    limits::check_text("name", &wanted.name)?;
    limits::check_text("description", &wanted.description)?;
    if wanted.size_gib != 0 || wanted.source == VolumeSource::Blank {
        limits::check_size(wanted.size_gib)?;
    }
    limits::check_metadata(&wanted.metadata)?;
    if wanted.multiattach {
        policy::check(request, Rule::VolumeMultiattach)?;
    }
    if let Some(token) = &wanted.client_token {
        limits::check_name("client token", token)?;
    }
    Ok(())
}

/// Without a zone it is the source's, which is known to be there, or the default.
fn check_zone(creation: &Creation, wanted: &CreateVolume) -> Result<()> {
    match &wanted.zone {
        Some(zone) if !creation.zones.contains(zone) => Err(flavor_choice::invalid_zone(zone)),
        _ => Ok(()),
    }
}

/// The volume that the same request made before.
fn made_before(
    tx: &mut Transaction<'_>,
    creation: &Creation,
    client: &ClientToken,
) -> Result<Option<Volume>> {
    let project_id = &creation.asker.project_id;
    let Some(made) = client_tokens::made_before(tx, project_id, client)? else {
        return Ok(None);
    };
    let id: Option<VolumeId> = made.parse().ok();
    let volume = match id {
        Some(id) => volumes::find(tx, id)?,
        None => None,
    };
    // What another project owns now is as good as gone, and what is going will be before the client has looked at it.
    let is_there = |volume: &Volume| {
        let is_going = matches!(
            volume.status,
            VolumeStatus::Deleting | VolumeStatus::Unmanaging
        );
        volume.project_id == *project_id && !is_going
    };
    match volume.filter(is_there) {
        Some(volume) => Ok(Some(volume)),
        None => {
            let ec2_id = id.map_or(made, VolumeId::ec2_id);
            Err(client_tokens::gone(client, &ec2_id))
        }
    }
}

/// The client token of a request, with what it stands for besides itself.
fn client_token(wanted: &CreateVolume) -> Option<ClientToken> {
    let token = wanted.client_token.as_ref()?;
    let mut parts = serde_json::json!([
        wanted.name,
        wanted.description,
        wanted.size_gib,
        wanted.flavor,
        wanted.zone,
        wanted.metadata,
    ]);
    // Without a source it is what it was before volumes could have one: tokens outlive updates.
    if let Some(parts) = parts.as_array_mut()
        && wanted.source != VolumeSource::Blank
    {
        parts.push(serde_json::json!(wanted.source.snapshot_id()));
        parts.push(serde_json::json!(wanted.source.volume_id()));
    }
    if let Some(parts) = parts.as_array_mut()
        && (wanted.ebs != Ebs::default() || wanted.multiattach)
    {
        let ebs = &wanted.ebs;
        parts.push(serde_json::json!({
            "iops": ebs.iops,
            "throughput": ebs.throughput,
            "initialization_rate": ebs.initialization_rate,
            "multiattach": wanted.multiattach,
        }));
    }
    Some(client_tokens::client_token(CREATE_VOLUME, token, &parts))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::id::SnapshotId;

    #[test]
    fn a_client_token_means_without_a_source_what_it_always_meant() {
        // As EC2's CreateVolume has it. The digest is the SHA-256 of ["","",8,"gold","nova",{}]: tokens of databases that were
        // written before volumes had sources are compared with it.
        let wanted = CreateVolume {
            size_gib: 8,
            flavor: Some("gold".to_owned()),
            zone: Some("nova".to_owned()),
            client_token: Some("once".to_owned()),
            ..CreateVolume::default()
        };
        let digest = |wanted: &CreateVolume| client_token(wanted).map(|client| client.digest);
        assert_eq!(
            digest(&wanted).as_deref(),
            Some("yhnh+vr/qIHSxKj0cNzcZ1e8UdiGP0pF68WzFVcHohU=")
        );
        let of_snapshot = |number| {
            let id = SnapshotId(Uuid::from_u128(number));
            digest(&CreateVolume {
                source: VolumeSource::Snapshot(id),
                ..wanted.clone()
            })
        };
        assert_ne!(of_snapshot(1), digest(&wanted));
        assert_ne!(of_snapshot(1), of_snapshot(2));
    }
}
