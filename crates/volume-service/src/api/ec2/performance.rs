//! What requests ask a volume to do a second, and what its type says of that.

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::Arguments;
use super::route::Call;
use super::schema::{Kind, Parameter};
use super::words;
use crate::app::volume_performance::{self, Performance, TypeLimits, Unfit};
use crate::app::volumes::VolumeSource;
use crate::error::{ErrorKind, Subject};
use crate::model::performance::Ebs;

/// A positive number of EC2's type; what a type allows is said by the use cases.
const POSITIVE: Kind = Kind::Number {
    min: 1,
    max: 0x7fff_ffff,
};
/// Operations a second.
pub(super) const IOPS: Parameter = Parameter::new("Iops", POSITIVE);
/// MiB a second.
pub(super) const THROUGHPUT: Parameter = Parameter::new("Throughput", POSITIVE);
/// MiB a second at which the bytes of a snapshot come; what is out of bounds is refused in words of its own.
pub(super) const RATE: Parameter = Parameter::new(
    "VolumeInitializationRate",
    Kind::Number {
        min: i64::MIN,
        max: i64::MAX,
    },
);
/// What that may be.
const RATES: std::ops::RangeInclusive<i64> = 100..=300;

/// What a request asks for.
pub(super) fn asked(given: Arguments<'_>) -> Performance {
    let number = |name| given.number(name)?.try_into().ok();
    Performance {
        iops: number(IOPS.name),
        throughput: number(THROUGHPUT.name),
    }
}

/// The rate that a request asks for.
pub(super) fn rate(given: Arguments<'_>, has_snapshot: bool) -> Result<Option<u64>> {
    let Some(rate) = given.number(RATE.name) else {
        return Ok(None);
    };
    if !has_snapshot {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterCombination,
            "You can't specify VolumeInitializationRate for volumes that are not created from a snapshot.",
        ));
    }
    if !RATES.contains(&rate) {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            "The value specified for VolumeInitializationRate is not in the allowed range.",
        ));
    }
    Ok(rate.try_into().ok())
}

/// The type that a new volume will have: the one that is named, else its source's, else the project's default.
pub(super) async fn type_of(
    call: &Call,
    named: Option<&str>,
    source: VolumeSource,
) -> Result<TypeLimits> {
    let found = volume_performance::of_type(
        &call.service,
        &call.context,
        named.map(str::to_owned),
        source,
    );
    found
        .await
        .map_err(|error| match (error.kind, error.subject) {
            (ErrorKind::NotFound, Subject::Flavor) => Ec2Fault::coded(
                Code::UnknownVolumeType,
                format!(
                    "Unsupported volume type '{}' for volume creation. ",
                    words::shown(named.unwrap_or_default())
                ),
            ),
            _ => error.into(),
        })
}

/// Checks what is asked of a volume of this type and size, and says what is to be kept of it.
pub(super) fn judge(limits: &TypeLimits, size_gib: u64, asked: Performance) -> Result<Ebs> {
    Ok(kept(limits.judge(size_gib, asked).map_err(refused)?))
}

/// What is kept of figures.
pub(super) fn kept(figures: Performance) -> Ebs {
    Ebs {
        iops: figures.iops,
        throughput: figures.throughput,
        ..Ebs::default()
    }
}

/// The refusal of what a type does not allow.
pub(super) fn refused(unfit: Unfit) -> Ec2Fault {
    let code = match unfit.is_combination() {
        true => Code::InvalidParameterCombination,
        false => Code::InvalidParameterValue,
    };
    Ec2Fault::coded(code, unfit.to_string())
}

/// Refuses a request for an encrypted volume of a type that is not, and the other way round where the snapshot is.
pub(super) fn check_encryption(
    given: Arguments<'_>,
    limits: &TypeLimits,
    has_snapshot: bool,
) -> Result<()> {
    let is_wanted = given.flag("Encrypted");
    if given.text("KmsKeyId").is_some() {
        return Err(match is_wanted {
            true => Ec2Fault::coded(
                Code::UnsupportedOperation,
                "The key of a volume cannot be chosen: its type says how it is encrypted.",
            ),
            false => Ec2Fault::coded(
                Code::InvalidParameterDependency,
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ),
        });
    }
    if is_wanted && !limits.is_encrypted {
        return Err(Ec2Fault::coded(
            Code::UnsupportedOperation,
            format!("Volumes of the type {} are not encrypted.", limits.label),
        ));
    }
    let is_refused = given.get("Encrypted").is_some() && !is_wanted;
    if is_refused && limits.is_encrypted && has_snapshot {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterCombination,
            "EncryptedVolume parameter [false] is inconsistent with snapshot encryption state [true]",
        ));
    }
    Ok(())
}

/// Refuses volumes that several instances may use of a type that has none.
pub(super) fn check_multi_attach(given: Arguments<'_>, limits: &TypeLimits) -> Result<bool> {
    let is_wanted = given.flag("MultiAttachEnabled");
    if is_wanted && !limits.multi_attach {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterCombination,
            format!(
                "The parameter multi-attach-enabled is not supported for {} volumes.",
                limits.label
            ),
        ));
    }
    Ok(is_wanted)
}
