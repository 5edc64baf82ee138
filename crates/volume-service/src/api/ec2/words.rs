//! The sentences of refusals that AWS words in one way, each of them once.
//!
//! Source: recordings of EC2 of September 2026 and the page "Error codes for the Amazon EC2 API"; where the two differ, what was
//! recorded. What neither has is in our own words.

use super::fault::{Code, Ec2Fault};
use super::ids::Noun;

/// Who is not known, and why is nobody's concern.
pub(super) const CREDENTIALS: &str = "AWS was not able to validate the provided access credentials";
/// Who is known and may not.
pub(super) const UNAUTHORIZED: &str = "You are not authorized to perform this operation.";

/// Longest part of a client's text that is repeated, in characters.
const SHOWN_MAX_CHARS: usize = 200;
/// The same of a name.
const NAME_SHOWN_MAX_CHARS: usize = 64;

/// The beginning of a text that a client sent.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX_CHARS).collect()
}

/// The beginning of a name that a client sent.
fn name(text: &str) -> String {
    text.chars().take(NAME_SHOWN_MAX_CHARS).collect()
}

/// A parameter's name as refusals of its value write it: `VolumeId` is `volumeId`.
pub(super) fn lowered(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The request names no action.
pub(super) fn missing_action() -> Ec2Fault {
    Ec2Fault::coded(
        Code::MissingAction,
        "The request must contain the parameter Action",
    )
}

/// The action is EC2's and not built, or nobody's.
pub(super) fn unknown_action(action: &str) -> Ec2Fault {
    if super::route::UNBUILT.contains(&action) {
        return Ec2Fault::coded(
            Code::UnsupportedOperation,
            format!("The action {action} is not supported by this service."),
        );
    }
    Ec2Fault::coded(
        Code::InvalidAction,
        format!(
            "The action {} is not valid for this web service.",
            name(action)
        ),
    )
}

/// The API never had this version.
pub(super) fn no_such_version(version: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::NoSuchVersion,
        format!(
            "The requested version ({}) of service AmazonEC2 does not exist",
            name(version)
        ),
    )
}

/// A dry run ends here.
pub(super) fn dry_run() -> Ec2Fault {
    Ec2Fault::coded(
        Code::DryRunOperation,
        "Request would have succeeded, but DryRun flag is set.",
    )
}

/// Nobody knows the parameter, or it is not written so.
pub(super) fn unknown_parameter(parameter: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::UnknownParameter,
        format!("The parameter {} is not recognized", name(parameter)),
    )
}

/// Of two values one would be passed over.
pub(super) fn given_twice(parameter: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!("The parameter {} is given more than once.", name(parameter)),
    )
}

/// EC2 has the parameter and this service has not.
pub(super) fn unsupported_parameter(parameter: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::UnsupportedOperation,
        format!(
            "The parameter {} is not supported by this service.",
            name(parameter)
        ),
    )
}

/// A parameter is missing, in the words that its action has for it.
pub(super) fn missing(words: &str) -> Ec2Fault {
    Ec2Fault::coded(Code::MissingParameter, words)
}

/// A value is wrong; `parameter` as [`lowered`] has it.
pub(super) fn wrong(parameter: &str, value: &str, why: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!(
            "Value ({}) for parameter {parameter} is invalid. {why}",
            shown(value)
        ),
    )
}

/// A list of ids and a page of everything exclude each other.
pub(super) fn excluded(ids: &str, paging: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidParameterCombination,
        format!("The parameter {ids} cannot be used with the parameter {paging}"),
    )
}

/// A page is too small. AWS says "greater" and takes the number itself.
pub(super) fn page_too_small(parameter: &str, value: i64, least: i64) -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!(
            "Value ( {value} ) for parameter {parameter} is invalid. Expecting a value greater than {least}."
        ),
    )
}

/// The filter is none of the action's.
pub(super) fn unknown_filter(filter: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidParameterValue,
        format!("The filter '{}' is invalid", name(filter)),
    )
}

/// More filters, or more values of one.
pub(super) fn too_many_filters(what: &str, most: usize) -> Ec2Fault {
    Ec2Fault::coded(
        Code::FilterLimitExceeded,
        format!("A request has at most {most} {what}."),
    )
}

/// The filters are in bounds, and together too much for what there is to look at.
pub(super) fn filters_take_too_long() -> Ec2Fault {
    Ec2Fault::coded(
        Code::FilterLimitExceeded,
        "The filters of this request take too much work; ask for less with each request.",
    )
}

/// The instance does not exist.
pub(super) fn no_instance(id: &str) -> String {
    format!("The instance ID '{}' does not exist", shown(id))
}

/// What is not written as an instance's id.
pub(super) fn malformed_instance(id: &str) -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidInstanceIdMalformed,
        format!("Invalid id: \"{}\" (expecting \"i-...\")", shown(id)),
    )
}

/// Some things do not exist.
pub(super) fn absent(noun: Noun, ids: &[&str]) -> Ec2Fault {
    let (shown, word) = (shown(&ids.join(", ")), noun.word());
    let words = match ids.len() {
        0 | 1 if noun == Noun::Instance => no_instance(&shown),
        _ if noun == Noun::Instance => format!("The instance IDs '{shown}' do not exist"),
        0 | 1 => format!("The {word} '{shown}' does not exist."),
        _ => format!("The {word}s '{shown}' do not exist."),
    };
    Ec2Fault::coded(noun.not_found(), words)
}
