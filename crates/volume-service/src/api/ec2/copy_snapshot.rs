//! CopySnapshot.
//!
//! There is one region, whatever a client calls it: the source's must be the one that the client sends the request to.

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::parameters::Arguments;
use super::route::{Action, Call, DryRun, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use super::{snapshot_view, tags, words};
use crate::api::identity::REGION;
use crate::app::copy_snapshot::{self, CopySnapshot};
use crate::auth::rule::Rule;
use crate::error::{ErrorKind, Subject};

/// Longest text that is read, in characters; what a description may have is said by the use cases.
const TEXT: Kind = Kind::Text { max: 1024 };
/// Longest URL that is read, in characters.
const URL_MAX_CHARS: usize = 8192;
/// In how many minutes a copy may be asked to be complete.
const MINUTES: std::ops::RangeInclusive<i64> = 15..=2880;
/// Such times are multiples of this.
const MINUTES_STEP: i64 = 15;

pub(super) const ACTIONS: &[Action] = &[Action::new("CopySnapshot", |call, xml| {
    Box::pin(copy(call, xml))
})
.rules(&[Rule::VolumeCreateSnapshot])
.dry_run(DryRun::AfterLookup)
.parameters(&[
    Parameter::new(
        "SourceSnapshotId",
        Kind::Id(Noun::Snapshot, Dialect::Specified),
    )
    .required("The request must contain the parameter SourceSnapshotId"),
    Parameter::new("SourceRegion", TEXT),
    Parameter::new("Description", TEXT),
    Parameter::new("DestinationRegion", TEXT),
    Parameter::new(
        "PresignedUrl",
        Kind::Text {
            max: URL_MAX_CHARS,
        },
    ),
    tags::SPECIFICATION,
    Parameter::new(
        "CompletionDurationMinutes",
        Kind::Number {
            min: i64::MIN,
            max: i64::MAX,
        },
    ),
    Parameter::new("DestinationAvailabilityZone", TEXT).unbuilt(),
    Parameter::new("DestinationOutpostArn", TEXT).unbuilt(),
    Parameter::new("Encrypted", Kind::Boolean).unbuilt(),
    Parameter::new("KmsKeyId", TEXT).unbuilt(),
])
.answers(&[Element::text("snapshotId"), tags::SET])
.remark(
    "a clone in the storage of the source, which takes a moment at any size; of what is not there, or not complete, a copy is made that \
     is `error`. Both regions must be the same; a source that is encrypted gives an encrypted copy",
)];

async fn copy(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    check_region(given)?;
    let completion_minutes = minutes(given)?;
    let metadata = tags::read(given, "snapshot")?;
    call.stop_if_dry()?;
    check_destination(given)?;
    let wanted = CopySnapshot {
        source_ec2_id: given.text("SourceSnapshotId").map(str::to_owned),
        description: given.text("Description").unwrap_or_default().to_owned(),
        metadata,
        completion_minutes,
    };
    let copied = copy_snapshot::copy(&call.service, &call.context, wanted).await;
    let copy = copied.map_err(|error| match (error.kind, error.subject) {
        (ErrorKind::QuotaExceeded, Subject::Request) => {
            Ec2Fault::coded(Code::ResourceLimitExceeded, error.public)
        }
        _ => error.into(),
    })?;
    xml.text("snapshotId", &copy.ec2_id);
    snapshot_view::write_tags(xml, &copy);
    Ok(())
}

fn check_region(given: Arguments<'_>) -> Result<()> {
    let Some(region) = given.get("SourceRegion") else {
        // EC2 has a fault of its own here.
        return Err(words::missing(
            "The request must contain the parameter SourceRegion",
        ));
    };
    if is_region(region) {
        return Ok(());
    }
    Err(Ec2Fault::coded(
        Code::InvalidRegion,
        format!("{} is not a valid region name.", words::shown(region)),
    ))
}

/// True for our own name, and for what is written as names of regions are: `us-east-1`.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let has_number = parts.next_back().is_some_and(is_number);
    let words: Vec<&str> = parts.collect();
    text == REGION || (has_number && words.len() > 1 && words.into_iter().all(is_word))
}

fn check_destination(given: Arguments<'_>) -> Result<()> {
    let source = given.text("SourceRegion").unwrap_or_default();
    match given.text("DestinationRegion") {
        Some(destination) if destination != source => Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!(
                "DestinationRegion '{}' does not match the current region ({}).",
                words::shown(destination),
                words::shown(source)
            ),
        )),
        _ => Ok(()),
    }
}

fn minutes(given: Arguments<'_>) -> Result<Option<i64>> {
    let Some(minutes) = given.number("CompletionDurationMinutes") else {
        return Ok(None);
    };
    if MINUTES.contains(&minutes) && minutes % MINUTES_STEP == 0 {
        return Ok(Some(minutes));
    }
    Err(Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!(
            "'{minutes}' is not a valid value for completion duration. Specify a value between {} and {} minutes, in \
             {MINUTES_STEP} minute increments only",
            MINUTES.start(),
            MINUTES.end()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_words_and_a_number() {
        for good in ["us-east-1", "us-gov-west-12", REGION] {
            assert!(is_region(good), "{good}");
        }
        for bad in [
            "",
            "us-1",
            "not-a-region",
            "US-EAST-1",
            "us--1",
            "-1",
            "us-east-",
        ] {
            assert!(!is_region(bad), "{bad}");
        }
    }
}
