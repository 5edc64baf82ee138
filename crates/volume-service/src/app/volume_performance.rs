//! What volumes of a type may be asked to do a second, as EC2's types say it.
//!
//! A flavor says it with extra specs of the scope `ec2:`, which the scheduler passes over:
//!
//! | spec | meaning |
//! |---|---|
//! | `ec2:iops` | `3000..80000`: operations a second that may be asked for; what is less than the first number, and 100 at least, becomes it |
//! | `ec2:iops_default` | how many a volume has that asks for none |
//! | `ec2:iops_per_gib` | most of them for each GiB |
//! | `ec2:iops_required` | `true`: they must be asked for |
//! | `ec2:iops_baseline` | `3:100..16000`: they cannot be asked for, and are so many for each GiB within bounds |
//! | `ec2:throughput` | `125..2000`: MiB a second that may be asked for |
//! | `ec2:throughput_default` | how many a volume has that asks for none |
//! | `ec2:size` | `4..16384`: sizes in GiB |
//! | `ec2:multi_attach` | `true`: several instances may use a volume at once |
//!
//! # Source
//! The order of the checks and their words: recordings of EC2 of September 2026.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::create_volume::flavor_of_snapshot;
use super::flavors::default_of;
use super::policy::Tenancy;
use super::volume_source::VolumeSource;
use super::{Service, flavor_choice, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, flavor_specs, flavors, snapshots, volume_ebs, volumes};
use crate::error::{Error, Result, Subject};
use crate::model::flavor::Flavor;
use crate::model::id::{FlavorId, VolumeId};
use crate::model::modification::Modifiable;
use crate::model::performance::Ebs;
use crate::model::volume::Volume;

/// Fewest operations a second that any type may be asked for.
const IOPS_MIN: u64 = 100;
/// Most MiB a second for each operation a second.
const THROUGHPUT_PER_IOPS: f64 = 0.25;

/// Most MiB a second that a volume gets with another type without asking.
const CARRIED_THROUGHPUT_MAX: u64 = 250;

/// What a flavor says of the performance of its volumes; the default is a flavor that says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeLimits {
    /// The flavor's label, or its id where it was asked for by that.
    pub label: String,
    iops: Option<Bounds>,
    iops_default: Option<u64>,
    iops_per_gib: Option<u64>,
    iops_required: bool,
    iops_baseline: Option<(u64, Bounds)>,
    throughput: Option<Bounds>,
    throughput_default: Option<u64>,
    size_gib: Option<Bounds>,
    /// True when several instances may use a volume at once.
    pub multi_attach: bool,
    /// True when volumes are encrypted.
    pub is_encrypted: bool,
}

/// The least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    least: u64,
    most: u64,
}

impl Bounds {
    /// `3000..80000`
    fn parse(text: &str) -> Option<Self> {
        let (least, most) = text.split_once("..")?;
        let bounds = Bounds {
            least: least.trim().parse().ok()?,
            most: most.trim().parse().ok()?,
        };
        (bounds.least <= bounds.most).then_some(bounds)
    }
}

/// What is asked of a volume a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Performance {
    /// Operations; none where the type says nothing of them.
    pub iops: Option<u64>,
    /// MiB; none where the type says nothing of them.
    pub throughput: Option<u64>,
}

/// Why a type does not allow what is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Unfit {
    /// Operations a second must be named.
    IopsRequired(String),
    /// The type knows no such wish.
    IopsUnknown(String),
    /// The same of MiB a second.
    ThroughputUnknown(String),
    /// GiB and the least.
    TooSmall(String, u64, u64),
    /// GiB and the most.
    TooLarge(String, u64, u64),
    /// Operations a second and the least.
    IopsTooLow(u64, u64),
    /// Operations a second and the most.
    IopsTooHigh(u64, u64),
    /// Operations a second for each GiB, and the most.
    IopsPerGib(f64, u64),
    /// MiB a second and the most.
    ThroughputTooHigh(u64, u64),
    /// MiB a second for each operation, of which there may be `THROUGHPUT_PER_IOPS`.
    ThroughputPerIops(f64),
}

impl Unfit {
    /// True when a parameter does not go with the type, whatever its value.
    pub fn is_combination(&self) -> bool {
        matches!(
            self,
            Unfit::IopsRequired(_) | Unfit::IopsUnknown(_) | Unfit::ThroughputUnknown(_)
        )
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::IopsRequired(label) => {
                write!(
                    f,
                    "The parameter iops must be specified for {label} volumes."
                )
            }
            Unfit::IopsUnknown(label) => {
                write!(
                    f,
                    "The parameter iops is not supported for {label} volumes."
                )
            }
            Unfit::ThroughputUnknown(label) => write!(
                f,
                "The throughput parameter is not supported for {label} volumes."
            ),
            Unfit::TooSmall(label, size, least) => write!(
                f,
                "The volume size is invalid for {label} volumes: {size} GiB. {label} volumes must be at least {least} GiB in size. \
                 Please specify a volume size above the minimum limit."
            ),
            Unfit::TooLarge(label, size, most) => write!(
                f,
                "Volume of {size}GiB is too large for volume type {label}; maximum is {most}GiB"
            ),
            Unfit::IopsTooLow(iops, least) => {
                write!(f, "Volume iops of {iops} is too low; minimum is {least}.")
            }
            Unfit::IopsTooHigh(iops, most) => {
                write!(f, "Volume iops of {iops} is too high; maximum is {most}.")
            }
            Unfit::IopsPerGib(ratio, most) => write!(
                f,
                "Iops to volume size ratio of {ratio:.6} is too high; maximum is {most}"
            ),
            Unfit::ThroughputTooHigh(throughput, most) => write!(
                f,
                "Volume throughput of {throughput} is too high; maximum is {most}."
            ),
            Unfit::ThroughputPerIops(ratio) => write!(
                f,
                "Throughput (MiBps) to iops ratio of {ratio:.6} is too high; maximum is {THROUGHPUT_PER_IOPS:.6} MiBps per iops"
            ),
        }
    }
}

impl TypeLimits {
    /// What a flavor says with its extra specs; a spec that cannot be read says nothing.
    pub fn of(label: &str, specs: &BTreeMap<String, String>, is_encrypted: bool) -> Self {
        let text = |name: &str| specs.get(name).map(|text| text.trim());
        let number = |name: &str| text(name)?.parse().ok();
        let bounds = |name: &str| Bounds::parse(text(name)?);
        let says_yes =
            |name: &str| text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let baseline = |text: &str| {
            let (per_gib, bounds) = text.split_once(':')?;
            Some((per_gib.trim().parse().ok()?, Bounds::parse(bounds)?))
        };
        TypeLimits {
            label: label.to_owned(),
            iops: bounds("ec2:iops"),
            iops_default: number("ec2:iops_default"),
            iops_per_gib: number("ec2:iops_per_gib"),
            iops_required: says_yes("ec2:iops_required"),
            iops_baseline: text("ec2:iops_baseline").and_then(baseline),
            throughput: bounds("ec2:throughput"),
            throughput_default: number("ec2:throughput_default"),
            size_gib: bounds("ec2:size"),
            multi_attach: says_yes("ec2:multi_attach")
                || text("multiattach").is_some_and(|text| text == "<is> True"),
            is_encrypted,
        }
    }

    /// What a volume has that was asked for this.
    pub fn shown(&self, size_gib: u64, ebs: &Ebs) -> Performance {
        let baseline = self.iops_baseline.map(|(per_gib, bounds)| {
            per_gib
                .saturating_mul(size_gib)
                .clamp(bounds.least, bounds.most)
        });
        Performance {
            iops: ebs.iops.or(self.iops_default).or(baseline),
            throughput: ebs.throughput.or(self.throughput_default),
        }
    }

    /// Checks what is asked for of a volume of this size, and says what it gets: that is kept, so that it stays when the type changes.
    ///
    /// # Errors
    /// The first thing that the type does not allow, in EC2's order.
    pub fn judge(
        &self,
        size_gib: u64,
        asked: Performance,
    ) -> std::result::Result<Performance, Unfit> {
        let label = || self.label.clone();
        match asked.iops {
            None if self.iops_required => return Err(Unfit::IopsRequired(label())),
            Some(_) if self.iops.is_none() => return Err(Unfit::IopsUnknown(label())),
            _ => {}
        }
        if asked.throughput.is_some() && self.throughput.is_none() {
            return Err(Unfit::ThroughputUnknown(label()));
        }
        if let Some(bounds) = self.size_gib {
            if size_gib < bounds.least {
                return Err(Unfit::TooSmall(label(), size_gib, bounds.least));
            }
            if size_gib > bounds.most {
                return Err(Unfit::TooLarge(label(), size_gib, bounds.most));
            }
        }
        let iops = match (asked.iops, self.iops) {
            (Some(iops), Some(bounds)) => Some(self.judge_iops(size_gib, iops, bounds)?),
            _ => None,
        };
        let throughput = match (asked.throughput, self.throughput) {
            (Some(throughput), Some(bounds)) => {
                let throughput = throughput.max(bounds.least);
                if throughput > bounds.most {
                    return Err(Unfit::ThroughputTooHigh(throughput, bounds.most));
                }
                let iops = iops.or(self.iops_default).unwrap_or(bounds.most);
                #[allow(clippy::cast_precision_loss)]
                let ratio = throughput as f64 / iops.max(1) as f64;
                if ratio > THROUGHPUT_PER_IOPS {
                    return Err(Unfit::ThroughputPerIops(ratio));
                }
                Some(throughput)
            }
            _ => None,
        };
        Ok(Performance { iops, throughput })
    }

    /// What is asked for with what a volume keeps that was asked for before, or that it had as one of another type.
    ///
    /// # Source
    /// What EC2 makes of a gp2 that becomes a gp3 without a word of figures, recorded in September 2026: as many operations as it had,
    /// and a quarter of them in MiB, at least what the type has and at most 250.
    #[must_use]
    pub fn carried(
        &self,
        asked: Performance,
        before: &Modifiable,
        is_same_type: bool,
    ) -> Performance {
        // Clients repeat what they were shown, also to a type that takes no such wish.
        let repeated = |asked: Option<u64>, bounds: Option<Bounds>, shown: Option<u64>| {
            asked.filter(|_| bounds.is_some() || asked != shown)
        };
        let iops = repeated(asked.iops, self.iops, before.iops);
        let throughput = repeated(asked.throughput, self.throughput, before.throughput);
        if is_same_type {
            return Performance {
                iops: iops.or(before.asked_iops),
                throughput: throughput.or(before.asked_throughput),
            };
        }
        let had = self.iops.zip(before.iops).map(|(bounds, iops)| {
            let least = self.iops_default.unwrap_or(bounds.least);
            iops.max(least).min(bounds.most)
        });
        let quarter = self.throughput.zip(before.iops).map(|(bounds, iops)| {
            let most = CARRIED_THROUGHPUT_MAX.min(bounds.most);
            (iops / 4).max(bounds.least).min(most)
        });
        let had = had.filter(|iops| self.iops_default != Some(*iops));
        let quarter = quarter.filter(|throughput| self.throughput_default != Some(*throughput));
        Performance {
            iops: iops.or(had),
            throughput: throughput
                .or(before
                    .asked_throughput
                    .filter(|_| self.throughput.is_some()))
                .or(quarter),
        }
    }

    fn judge_iops(
        &self,
        size_gib: u64,
        iops: u64,
        bounds: Bounds,
    ) -> std::result::Result<u64, Unfit> {
        if iops < IOPS_MIN {
            return Err(Unfit::IopsTooLow(iops, IOPS_MIN));
        }
        if iops > bounds.most {
            return Err(Unfit::IopsTooHigh(iops, bounds.most));
        }
        // Judged before they are raised: a small volume has the least that its type has.
        if let Some(most) = self.iops_per_gib {
            #[allow(clippy::cast_precision_loss)]
            let ratio = iops as f64 / size_gib.max(1) as f64;
            if iops > most.saturating_mul(size_gib) && iops > bounds.least {
                return Err(Unfit::IopsPerGib(ratio, most));
            }
        }
        Ok(iops.max(bounds.least))
    }
}

/// What the type says that a new volume would have: the one that is named, else its source's, else the project's default.
///
/// # Errors
/// `NotFound` about the flavor, `Invalid` where none is named and there is no default.
pub async fn of_type(
    service: &Service,
    request: &RequestContext,
    named: Option<String>,
    source: VolumeSource,
) -> Result<TypeLimits> {
    let tenancy = policy::tenancy_of(request, Rule::VolumeCreate);
    let project_id = request.project_id.clone();
    service
        .database
        .read(move |tx| {
            if named.is_none()
                && let Some(id) = flavor_of_source(tx, source)?
            {
                return of_flavor(tx, id);
            }
            let flavor = match &named {
                Some(named) => find_type(tx, &tenancy, named)?
                    .ok_or_else(|| Error::not_found(Subject::Flavor, named))?,
                None => default_of(tx, &project_id)?.ok_or_else(flavor_choice::no_default)?,
            };
            of_flavor(tx, flavor.id)
        })
        .await
}

/// The flavor with this label or id that the requester may use; EC2 reads `GP3` as `gp3`.
pub(super) fn find_type(
    tx: &mut Transaction<'_>,
    tenancy: &Tenancy,
    named: &str,
) -> Result<Option<Flavor>> {
    match flavors::find_for(tx, tenancy.as_deref(), named)? {
        Some(found) => Ok(Some(found)),
        None => flavors::find_for(tx, tenancy.as_deref(), &named.to_lowercase()),
    }
}

fn flavor_of_source(tx: &mut Transaction<'_>, source: VolumeSource) -> Result<Option<FlavorId>> {
    match source {
        VolumeSource::Blank => Ok(None),
        VolumeSource::Volume(id) => Ok(volumes::find(tx, id)?.map(|volume| volume.flavor_id)),
        VolumeSource::Snapshot(id) => match snapshots::find(tx, id)? {
            Some(snapshot) => flavor_of_snapshot(tx, &snapshot),
            None => Ok(None),
        },
    }
}

/// What the type of a volume that is there says; nothing when it is gone.
pub(crate) fn of_flavor(tx: &mut Transaction<'_>, id: FlavorId) -> Result<TypeLimits> {
    let Some(flavor) = flavors::by_id(tx, id)? else {
        return Ok(TypeLimits::default());
    };
    let specs = flavor_specs::load(tx, id)?;
    Ok(TypeLimits::of(
        &flavor.label,
        &specs,
        flavor.encryption.is_some(),
    ))
}

/// What EC2 shows of a volume beside what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What it has.
    pub performance: Performance,
    /// What it was asked for.
    pub ebs: Ebs,
}

/// What EC2 shows of these volumes, by their ids.
pub async fn of_volumes<'v>(
    service: &Service,
    request: &RequestContext,
    volumes: impl Iterator<Item = &'v Volume>,
) -> Result<HashMap<VolumeId, Shown>> {
    policy::check(request, Rule::VolumeGetAll)?;
    let wanted: Vec<(VolumeId, FlavorId, u64)> = volumes
        .map(|volume| (volume.id, volume.flavor_id, volume.size_gib))
        .collect();
    service
        .database
        .read(move |tx| {
            let ids: Vec<VolumeId> = wanted.iter().map(|(id, ..)| *id).collect();
            let mut known = volume_ebs::of_volumes(tx, &ids)?;
            let mut types: HashMap<FlavorId, TypeLimits> = HashMap::new();
            let mut shown = HashMap::with_capacity(wanted.len());
            for (id, flavor_id, size_gib) in &wanted {
                if !types.contains_key(flavor_id) {
                    let specs = flavor_specs::load(tx, *flavor_id)?;
                    types.insert(*flavor_id, TypeLimits::of("", &specs, false));
                }
                let ebs = known.remove(id).unwrap_or_default();
                let performance = types[flavor_id].shown(*size_gib, &ebs);
                shown.insert(*id, Shown { performance, ebs });
            }
            Ok(shown)
        })
        .await
}

/// What a volume has, for who connects it.
pub(crate) fn of_volume(tx: &mut Transaction<'_>, volume: &Volume) -> Result<Performance> {
    let ebs = volume_ebs::load(tx, volume.id)?;
    let specs = flavor_specs::load(tx, volume.flavor_id)?;
    Ok(TypeLimits::of("", &specs, false).shown(volume.size_gib, &ebs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(label: &str, specs: &[(&str, &str)]) -> TypeLimits {
        let specs = specs
            .iter()
            .map(|(name, value)| (format!("ec2:{name}"), (*value).to_owned()));
        TypeLimits::of(label, &specs.collect(), false)
    }

    fn gp3() -> TypeLimits {
        limits(
            "gp3",
            &[
                ("iops", "3000..80000"),
                ("iops_default", "3000"),
                ("iops_per_gib", "500"),
                ("throughput", "125..2000"),
                ("throughput_default", "125"),
                ("size", "1..65536"),
            ],
        )
    }

    fn io1() -> TypeLimits {
        limits(
            "io1",
            &[
                ("iops", "100..64000"),
                ("iops_per_gib", "50"),
                ("iops_required", "true"),
                ("size", "4..16384"),
                ("multi_attach", "true"),
            ],
        )
    }

    fn gp2() -> TypeLimits {
        limits(
            "gp2",
            &[("iops_baseline", "3:100..16000"), ("size", "1..16384")],
        )
    }

    fn asked(iops: impl Into<Option<u64>>, throughput: impl Into<Option<u64>>) -> Performance {
        Performance {
            iops: iops.into(),
            throughput: throughput.into(),
        }
    }

    #[test]
    fn types_refuse_in_ec2s_words() {
        let words = |limits: &TypeLimits, size, asked| limits.judge(size, asked).unwrap_err();
        for (limits, size, asked, expected) in [
            (
                io1(),
                8,
                asked(None, None),
                "The parameter iops must be specified for io1 volumes.",
            ),
            (
                gp2(),
                8,
                asked(3000, None),
                "The parameter iops is not supported for gp2 volumes.",
            ),
            (
                gp2(),
                8,
                asked(None, 125),
                "The throughput parameter is not supported for gp2 volumes.",
            ),
            (
                io1(),
                1,
                asked(100, None),
                "The volume size is invalid for io1 volumes: 1 GiB. io1 volumes must be at least 4 GiB in size. Please specify a \
                 volume size above the minimum limit.",
            ),
            (
                gp2(),
                20_000,
                asked(None, None),
                "Volume of 20000GiB is too large for volume type gp2; maximum is 16384GiB",
            ),
            (
                gp3(),
                4,
                asked(2_147_483_647, None),
                "Volume iops of 2147483647 is too high; maximum is 80000.",
            ),
            (
                io1(),
                8,
                asked(50, None),
                "Volume iops of 50 is too low; minimum is 100.",
            ),
            (
                gp3(),
                8,
                asked(6002, None),
                "Iops to volume size ratio of 750.250000 is too high; maximum is 500",
            ),
            (
                gp3(),
                8,
                asked(3000, 2001),
                "Volume throughput of 2001 is too high; maximum is 2000.",
            ),
            (
                gp3(),
                8,
                asked(3000, 751),
                "Throughput (MiBps) to iops ratio of 0.250333 is too high; maximum is 0.250000 MiBps per iops",
            ),
        ] {
            assert_eq!(words(&limits, size, asked).to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_asked_for_is_what_the_type_says() {
        assert_eq!(gp3().judge(1, asked(None, None)), Ok(asked(None, None)));
        assert_eq!(gp3().judge(8, asked(100, 1)), Ok(asked(3000, 125)));
        assert_eq!(gp3().judge(1, asked(3000, 750)), Ok(asked(3000, 750)));
        assert_eq!(io1().judge(100, asked(5000, None)), Ok(asked(5000, None)));
        let plain = TypeLimits::default();
        assert_eq!(plain.judge(2000, asked(None, None)), Ok(asked(None, None)));
        assert_eq!(plain.shown(8, &Ebs::default()), asked(None, None));
        assert_eq!(gp3().shown(8, &Ebs::default()), asked(3000, 125));
        assert_eq!(gp2().shown(8, &Ebs::default()), asked(100, None));
        assert_eq!(gp2().shown(1000, &Ebs::default()), asked(3000, None));
        assert_eq!(gp2().shown(16_000, &Ebs::default()), asked(16_000, None));
        let ebs = Ebs {
            iops: Some(4000),
            ..Ebs::default()
        };
        assert_eq!(gp3().shown(8, &ebs), asked(4000, 125));
    }

    #[test]
    fn a_spec_that_cannot_be_read_says_nothing() {
        let odd = limits(
            "odd",
            &[
                ("iops", "9..1"),
                ("iops_default", "many"),
                ("iops_baseline", "3"),
                ("throughput", "1-2"),
                ("size", ".."),
                ("multi_attach", "perhaps"),
            ],
        );
        let plain = TypeLimits {
            label: "odd".to_owned(),
            ..TypeLimits::default()
        };
        assert_eq!(odd, plain);
    }
}
