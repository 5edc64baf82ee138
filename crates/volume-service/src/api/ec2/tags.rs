//! Tags: metadata keys, given with `TagSpecification` and shown as `tagSet`.

use std::collections::BTreeMap;

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::Arguments;
use super::route::Element;
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words::{missing, shown, wrong};
use super::xml::Xml;

/// Most tags that a request may give.
const TAGS_MAX: usize = 50;
/// Longest key, in characters.
const KEY_MAX_CHARS: usize = 127;
/// Longest value, in characters.
const VALUE_MAX_CHARS: usize = 255;

/// What AWS's own keys begin with, in letters of either size.
const RESERVED: &str = "aws:";
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
            Parameter::new("Tag", Kind::Structs(TAG, LIST_MAX)),
        ],
        LIST_MAX,
    ),
);
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
        for tag in specification.members("Tag") {
            let key = tag
                .get("Key")
                .ok_or_else(|| missing("The request must contain the parameter Key"))?;
            let value = tag.get("Value").unwrap_or_default();
            check_not_reserved(key)?;
            let bad_key = key.is_empty() || key.chars().count() > KEY_MAX_CHARS;
            if bad_key || value.chars().count() > VALUE_MAX_CHARS {
                let why = format!(
                    "A tag's key has 1 to {KEY_MAX_CHARS} characters, its value at most {VALUE_MAX_CHARS}."
                );
                return Err(wrong("tag", key, &why));
            }
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(wrong("tag", key, "The key is given twice."));
            }
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

/// Refuses keys that are AWS's own.
fn check_not_reserved(key: &str) -> Result<()> {
    let is_reserved = |prefix: &str| prefix.eq_ignore_ascii_case(RESERVED);
    if key.get(..RESERVED.len()).is_some_and(is_reserved) {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterValue,
            format!(
                "Value ( {} ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use",
                shown(key)
            ),
        ));
    }
    Ok(())
}

/// Writes `tagSet`, which EC2 leaves out when there are no tags.
pub(super) fn write(xml: &mut Xml, tags: &BTreeMap<String, String>) {
    if !tags.is_empty() {
        xml.items("tagSet", tags, |xml, (key, value)| {
            xml.text("key", key);
            xml.text("value", value);
        });
    }
}
