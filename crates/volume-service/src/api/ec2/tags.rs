//! Tags: metadata keys, given with `TagSpecification` and shown as `tagSet`.

use std::collections::BTreeMap;

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::{Parameters, wrong};
use super::xml::Xml;

/// Most tags that a request may give.
const TAGS_MAX: usize = 50;
/// Longest key, in characters.
const KEY_MAX_CHARS: usize = 127;
/// Longest value, in characters.
const VALUE_MAX_CHARS: usize = 255;

/// Reads `TagSpecification.N` of the one type of resource that the action makes.
pub(super) fn read(parameters: &Parameters, resource: &str) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for specification in parameters.members("TagSpecification")? {
        let named = specification.required("ResourceType")?;
        if named != resource {
            let why = format!("This action tags resources of the type {resource}.");
            return Err(wrong("resourceType", named, &why));
        }
        for tag in specification.members("Tag")? {
            let key = tag.required("Key")?;
            let value = tag.get("Value").unwrap_or_default();
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

/// Writes `tagSet`, which EC2 leaves out when there are no tags.
pub(super) fn write(xml: &mut Xml, tags: &BTreeMap<String, String>) {
    if !tags.is_empty() {
        xml.items("tagSet", tags, |xml, (key, value)| {
            xml.text("key", key);
            xml.text("value", value);
        });
    }
}
