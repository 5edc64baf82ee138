//! Taking requests to modify volumes as EC2 does: larger, of another type, with another performance, all at once or not at all.
//!
//! A type and figures are changed at once, for they are rows; a size takes an operation. Where that fails, the volume becomes what it
//! was (`undo`). What is attached keeps the figures that it was attached with.

use super::extend_volume::{self, Extension};
use super::policy::Tenancy;
use super::refusal::{self, Asked};
use super::snapshots::InUse;
use super::volume_performance::{self, Performance, TypeLimits, Unfit};
use super::volumes::visible;
use super::{Service, limits, policy, quota, retype};
use crate::auth::rule::Rule;
use crate::auth::vault::Vault;
use crate::context::RequestContext;
use crate::db::{
    Transaction, flavors, operations, volume_ebs, volume_modifications, volume_traits, volumes,
};
use crate::error::{Error, Result, Subject};
use crate::model::flavor::Flavor;
use crate::model::id::VolumeId;
use crate::model::modification::{Modifiable, Modification, ModificationState};
use crate::model::performance::Ebs;
use crate::model::volume::{Volume, VolumeStatus};

/// What a volume is to become; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct ModifyVolume {
    /// Its size in GiB.
    pub size_gib: Option<u64>,
    /// Its flavor by label or id.
    pub flavor: Option<String>,
    /// What it is to do a second.
    pub asked: Performance,
    /// Whether several instances may use it at once.
    pub multiattach: Option<bool>,
}

/// What became of a request to modify.
#[derive(Clone, Debug)]
pub enum Modified {
    /// It was begun, or is done already.
    Begun(Box<Modification>),
    /// Another modification is under way.
    UnderWay,
    /// Volumes only grow.
    Smaller,
    /// The type does not allow the figures.
    Unfit(Unfit),
    /// The type, by its label, knows no volumes that several instances use at once.
    OneInstance(String),
    /// The volume cannot have the type: why.
    FixedType(String),
}

/// Why a request ends before anything was written, which is no error of the transaction.
enum Refused {
    As(Box<Modified>),
    With(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::With(error)
    }
}

impl From<Modified> for Refused {
    fn from(modified: Modified) -> Self {
        Refused::As(Box::new(modified))
    }
}

/// Who asks, for what.
struct Request {
    id: VolumeId,
    wanted: ModifyVolume,
    extension: Extension,
    attached: Tenancy,
    retype: Tenancy,
    vault: Vault,
}

/// Takes a request to modify a volume, attached or not.
///
/// # Errors
/// `Conflict` when the volume's state does not allow it, `NotFound` about the flavor, `QuotaExceeded`.
pub async fn modify(
    service: &Service,
    request: &RequestContext,
    id: VolumeId,
    wanted: ModifyVolume,
) -> Result<Modified> {
    if let Some(size_gib) = wanted.size_gib {
        limits::check_size(size_gib)?;
    }
    if wanted.multiattach == Some(true) {
        policy::check(request, Rule::VolumeMultiattach)?;
    }
    let asked = Request {
        id,
        wanted,
        extension: Extension::of(service, request),
        attached: policy::tenancy_of(request, Rule::VolumeExtendAttachedVolume),
        retype: policy::tenancy_of(request, Rule::VolumeRetype),
        vault: service.vault.clone(),
    };
    let modified = service
        .database
        .write(move |tx| match begin(tx, &asked) {
            Ok(modification) => Ok(Modified::Begun(Box::new(modification))),
            Err(Refused::As(modified)) => Ok(*modified),
            Err(Refused::With(error)) => Err(error),
        })
        .await;
    refusal::told(service, request, Asked::extension(id), modified).await
}

fn begin(tx: &mut Transaction<'_>, asked: &Request) -> std::result::Result<Modification, Refused> {
    let id = asked.id;
    visible(tx, &asked.extension.tenancy, id)?;
    volumes::lock(tx, id)?;
    // Read again: the row is locked now.
    let volume = visible(tx, &asked.extension.tenancy, id)?;
    if volume.status == VolumeStatus::Extending {
        return Err(Modified::UnderWay.into());
    }
    if !matches!(volume.status, VolumeStatus::Available | VolumeStatus::InUse) {
        let status = volume.status.as_str();
        return Err(super::delete_volume::refused(id, &format!("it is {status}")).into());
    }
    if operations::find_unfinished(tx, &id.to_string())?.is_some() {
        return Err(super::delete_volume::refused(id, "an operation is at work on it").into());
    }
    let original = modifiable(tx, &volume)?;
    let (target, flavor) = target(tx, asked, &volume, &original)?;
    if let Some(flavor) = &flavor {
        check_type(tx, asked, &volume, flavor)?;
    }
    // Nothing was written until here.
    let now_us = asked.extension.now_us;
    apply(tx, id, &original, &target, now_us)?;
    let volume = volumes::get(tx, id)?;
    if flavor.is_some() {
        quota::check_retype(tx, &volume, &asked.extension.limits)?;
    }
    let is_larger = target.size_gib > original.size_gib;
    if is_larger {
        if volume.status == VolumeStatus::InUse {
            let (project, user) = (&volume.project_id, &volume.user_id);
            asked.attached.check(project, Some(user))?;
        }
        extend_volume::begin(tx, &asked.extension, id, target.size_gib, InUse::Allow)?;
    }
    let modification = Modification {
        volume_id: id,
        state: match is_larger {
            true => ModificationState::Modifying,
            false => ModificationState::Completed,
        },
        failure: String::new(),
        original,
        target,
        started_at_us: now_us,
        ended_at_us: (!is_larger).then_some(now_us),
    };
    volume_modifications::store(tx, &modification)?;
    Ok(modification)
}

/// What the volume is to become, and its flavor when that is another one.
fn target(
    tx: &mut Transaction<'_>,
    asked: &Request,
    volume: &Volume,
    original: &Modifiable,
) -> std::result::Result<(Modifiable, Option<Flavor>), Refused> {
    let wanted = &asked.wanted;
    let size_gib = wanted.size_gib.unwrap_or(volume.size_gib);
    if size_gib < volume.size_gib {
        return Err(Modified::Smaller.into());
    }
    let flavor = match &wanted.flavor {
        None => None,
        Some(named) => {
            let found = volume_performance::find_type(tx, &asked.retype, named)?;
            let found = found.ok_or_else(|| Error::not_found(Subject::Flavor, named))?;
            Some(found).filter(|found| found.id != volume.flavor_id)
        }
    };
    let flavor_id = flavor.as_ref().map_or(volume.flavor_id, |flavor| flavor.id);
    let limits = volume_performance::of_flavor(tx, flavor_id)?;
    let figures = limits.carried(wanted.asked, original, flavor.is_none());
    let figures = limits
        .judge(size_gib, figures)
        .map_err(|unfit| Refused::from(Modified::Unfit(unfit)))?;
    let multiattach = wanted.multiattach.unwrap_or(original.multiattach);
    if multiattach && !limits.multi_attach && multiattach != original.multiattach {
        return Err(Modified::OneInstance(limits.label).into());
    }
    if multiattach != original.multiattach && volume.status != VolumeStatus::Available {
        let why = "whether several instances may use it changes only while none does";
        return Err(super::delete_volume::refused(volume.id, why).into());
    }
    let shown = shown(&limits, size_gib, figures);
    let target = Modifiable {
        size_gib,
        flavor_id,
        flavor_label: flavor
            .as_ref()
            .map_or(&volume.flavor_label, |flavor| &flavor.label)
            .clone(),
        iops: shown.iops,
        throughput: shown.throughput,
        asked_iops: figures.iops,
        asked_throughput: figures.throughput,
        multiattach,
    };
    Ok((target, flavor))
}

fn shown(limits: &TypeLimits, size_gib: u64, asked: Performance) -> Performance {
    let ebs = Ebs {
        iops: asked.iops,
        throughput: asked.throughput,
        ..Ebs::default()
    };
    limits.shown(size_gib, &ebs)
}

/// Refuses a type that the volume cannot have where it is.
fn check_type(
    tx: &mut Transaction<'_>,
    asked: &Request,
    volume: &Volume,
    flavor: &Flavor,
) -> std::result::Result<(), Refused> {
    asked
        .retype
        .check(&volume.project_id, Some(&volume.user_id))?;
    let why = if volume.traits.group_id.is_some() {
        Some("it is in a group".to_owned())
    } else if volume.status == VolumeStatus::InUse && !retype::is_told_alike(tx, volume, flavor)? {
        Some("it is attached, and the types differ in what whoever has it is told".to_owned())
    } else {
        retype::obstacle(tx, &asked.vault, volume, flavor)?
    };
    match why {
        Some(why) => Err(Modified::FixedType(why).into()),
        None => Ok(()),
    }
}

/// What of a volume can be modified, as it is.
pub(super) fn modifiable(tx: &mut Transaction<'_>, volume: &Volume) -> Result<Modifiable> {
    let limits = volume_performance::of_flavor(tx, volume.flavor_id)?;
    let ebs = volume_ebs::load(tx, volume.id)?;
    let performance = limits.shown(volume.size_gib, &ebs);
    Ok(Modifiable {
        size_gib: volume.size_gib,
        flavor_id: volume.flavor_id,
        flavor_label: volume.flavor_label.clone(),
        iops: performance.iops,
        throughput: performance.throughput,
        asked_iops: ebs.iops,
        asked_throughput: ebs.throughput,
        multiattach: volume.traits.multiattach,
    })
}

/// Writes down that a volume is being made larger and nothing else.
pub(super) fn note_extension(
    tx: &mut Transaction<'_>,
    volume: &Volume,
    size_gib: u64,
    now_us: i64,
) -> Result<()> {
    let original = modifiable(tx, volume)?;
    let limits = volume_performance::of_flavor(tx, volume.flavor_id)?;
    let asked = Performance {
        iops: original.asked_iops,
        throughput: original.asked_throughput,
    };
    let shown = shown(&limits, size_gib, asked);
    let modification = Modification {
        volume_id: volume.id,
        state: ModificationState::Modifying,
        failure: String::new(),
        target: Modifiable {
            size_gib,
            iops: shown.iops,
            throughput: shown.throughput,
            ..original.clone()
        },
        original,
        started_at_us: now_us,
        ended_at_us: None,
    };
    volume_modifications::store(tx, &modification)
}

/// Makes a volume what its modification came from, as far as rows go.
pub(crate) fn undo(tx: &mut Transaction<'_>, failed: &Modification, now_us: i64) -> Result<()> {
    apply(
        tx,
        failed.volume_id,
        &failed.target,
        &failed.original,
        now_us,
    )
}

/// Writes what differs, the size aside.
fn apply(
    tx: &mut Transaction<'_>,
    id: VolumeId,
    from: &Modifiable,
    to: &Modifiable,
    now_us: i64,
) -> Result<()> {
    // A flavor that is gone by now cannot come back.
    if from.flavor_id != to.flavor_id && flavors::by_id(tx, to.flavor_id)?.is_some() {
        volumes::set_flavor(tx, id, to.flavor_id, now_us)?;
    }
    if (from.asked_iops, from.asked_throughput) != (to.asked_iops, to.asked_throughput) {
        let ebs = Ebs {
            iops: to.asked_iops,
            throughput: to.asked_throughput,
            ..volume_ebs::load(tx, id)?
        };
        volume_ebs::store(tx, id, &ebs)?;
    }
    if from.multiattach != to.multiattach {
        volume_traits::set_multiattach(tx, id, to.multiattach)?;
    }
    Ok(())
}
