//! Tags: metadata keys, given with `TagSpecification` and shown as `tagSet`.

use std::collections::BTreeMap;

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::Arguments;
use super::route::Element;
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words::{self, missing, wrong};
use super::xml::Xml;
use crate::app::tags::{RESERVED, TAGS_MAX};

/// Longest key, in characters.
const KEY_MAX_CHARS: usize = 128;
/// Longest value, in characters.
const VALUE_MAX_CHARS: usize = 256;

/// Longest text that is read at all, in characters.
const TEXT_MAX_CHARS: usize = 1024;

const TEXT: Kind = Kind::Text {
    max: TEXT_MAX_CHARS,
};

/// The parameter of every action that makes something with tags.
pub(super) const SPECIFICATION: Parameter = Parameter::new(
    "TagSpecification",
    Kind::Structs(
        &[
            Parameter::new("ResourceType", TEXT)
                .required("The request must contain the parameter ResourceType"),
            TAGS,
        ],
        LIST_MAX,
    ),
);
/// Tags in a request.
pub(super) const TAGS: Parameter = Parameter::new("Tag", Kind::Structs(TAG, LIST_MAX));
// A key that is there and empty is refused in other words than one that is not there.
const TAG: &[Parameter] = &[Parameter::new("Key", TEXT), Parameter::new("Value", TEXT)];

/// Tags in an answer.
pub(super) const SET: Element =
    Element::of("tagSet", &[Element::text("key"), Element::text("value")]);

/// Reads `TagSpecification.N` of the one type of resource that the action makes.
pub(super) fn read(given: Arguments<'_>, resource: &str) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for specification in given.members(SPECIFICATION.name) {
        let named = specification.text("ResourceType").unwrap_or_default();
        if named != resource {
            let why = format!("This action tags resources of the type {resource}.");
            return Err(wrong("resourceType", named, &why));
        }
        for tag in specification.members(TAGS.name) {
            let (key, value) = pair(tag)?;
            if key.is_empty() {
                return Err(wrong("key", key, "Tag keys cannot be empty."));
            }
            insert(&mut tags, key, value.unwrap_or_default())?;
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!("A request has at most {TAGS_MAX} tags."),
        ));
    }
    Ok(tags)
}

/// Reads the tags that a request adds to what is there.
pub(super) fn read_added(given: Arguments<'_>) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for tag in given.members(TAGS.name) {
        let (key, value) = pair(tag)?;
        if key.is_empty() {
            return Err(Ec2Fault::coded(
                Code::InvalidTagKeyMalformed,
                "Tag keys cannot be empty.",
            ));
        }
        insert(&mut tags, key, value.unwrap_or_default())?;
    }
    if tags.len() > TAGS_MAX {
        return Err(Ec2Fault::coded(
            Code::TagLimitExceeded,
            format!("A request has at most {TAGS_MAX} tags."),
        ));
    }
    Ok(tags)
}

/// A tag of a request: its key, and its value where it has one. A key that only the service itself writes is refused.
pub(super) fn pair(tag: Arguments<'_>) -> Result<(&str, Option<&str>)> {
    let (key, value) = (tag.get("Key"), tag.get("Value"));
    let key = key.ok_or_else(|| missing("The request must contain the parameter Key"))?;
    // In letters of either size.
    let is_reserved = |prefix: &str| prefix.eq_ignore_ascii_case(RESERVED);
    if key.get(..RESERVED.len()).is_some_and(is_reserved) {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!(
                "Value ( {} ) for parameter key is invalid. Tag keys starting with '{RESERVED}' are reserved for internal use",
                words::shown(key)
            ),
        ));
    }
    if key.chars().count() > KEY_MAX_CHARS {
        let why = format!("Tag keys have at most {KEY_MAX_CHARS} characters.");
        return Err(wrong("key", key, &why));
    }
    if let Some(value) = value
        && value.chars().count() > VALUE_MAX_CHARS
    {
        let why = format!("Tag values have at most {VALUE_MAX_CHARS} characters.");
        return Err(wrong("value", value, &why));
    }
    Ok((key, value))
}

fn insert(tags: &mut BTreeMap<String, String>, key: &str, value: &str) -> Result<()> {
    match tags.insert(key.to_owned(), value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!("Duplicate tag key '{}' specified.", words::shown(key)),
        )),
    }
}

/// Writes `tagSet`, which EC2 leaves out when there are no tags.
pub(super) fn write(xml: &mut Xml, tags: &BTreeMap<String, String>) {
    if !tags.is_empty() {
        write_all(xml, tags);
    }
}

/// Writes `tagSet`, empty where there are no tags.
pub(super) fn write_all(xml: &mut Xml, tags: &BTreeMap<String, String>) {
    xml.items("tagSet", tags, |xml, (key, value)| {
        xml.text("key", key);
        xml.text("value", value);
    });
}
