//! Conditions of lists for filters with several values.

use super::Param;
use super::select::Select;
use crate::app::any_of::{AnyOf, NARROWED_VALUES_MAX};

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// `volumes v`
    Volumes,
    /// `snapshots s`
    Snapshots,
}

/// Adds the conditions to those of a list.
pub(super) fn narrow(select: &mut Select, listed: Listed, filters: &AnyOf) {
    let (own, id, metadata, its_id) = match listed {
        Listed::Volumes => ("v.ec2_id", "v.id", "volume_metadata", "volume_id"),
        Listed::Snapshots => ("s.ec2_id", "s.id", "snapshot_metadata", "snapshot_id"),
    };
    for values in &filters.ec2_ids {
        let condition = fits(select, own, values);
        and(select, &condition);
    }
    for names in &filters.source_ec2_ids {
        let condition = match listed {
            Listed::Volumes => {
                let named = is_named(select, "o.source_snapshot_id", "snap-", names);
                format!(
                    "v.id IN (SELECT o.volume_id FROM volume_sources o WHERE o.source_snapshot_id IS NOT NULL AND {named})"
                )
            }
            Listed::Snapshots => is_named(select, "s.volume_id", "vol-", names),
        };
        and(select, &condition);
    }
    for labels in &filters.flavor_labels {
        let named = fits(select, "l.label", labels);
        and(
            select,
            &format!("v.flavor_id IN (SELECT l.id FROM flavors l WHERE {named})"),
        );
    }
    for instances in &filters.instance_ids {
        let named = is_instance(select, instances);
        and(
            select,
            &format!("EXISTS (SELECT 1 FROM attachments a WHERE a.volume_id = v.id AND {named})"),
        );
    }
    for (key, values) in &filters.tags {
        let key = select.param(key.as_str().into());
        let value = fits(select, "m.value", values);
        and(
            select,
            &format!(
                "EXISTS (SELECT 1 FROM {metadata} m WHERE m.{its_id} = {id} AND m.name = {key} AND {value})"
            ),
        );
    }
    for keys in &filters.tag_keys {
        let name = fits(select, "m.name", keys);
        and(
            select,
            &format!("EXISTS (SELECT 1 FROM {metadata} m WHERE m.{its_id} = {id} AND {name})"),
        );
    }
}

fn and(select: &mut Select, condition: &str) {
    select.condition.push_str(" AND ");
    select.condition.push_str(condition);
}

/// Lengths of lists that have statements of their own; what is shorter is padded, so that there are few texts of statements.
const LENGTHS: [usize; 3] = [1, 8, NARROWED_VALUES_MAX];

/// The values, with the last one as often as it takes.
fn padded<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    if let Some(last) = values.last().cloned() {
        let is_enough = |length: &usize| *length >= values.len();
        let length = LENGTHS.into_iter().find(is_enough);
        values.resize(length.unwrap_or(values.len()), last);
    }
    values
}

fn fits(select: &mut Select, column: &str, values: &[String]) -> String {
    let params: Vec<Param> = values.iter().map(|value| value.as_str().into()).collect();
    let params = padded(params).into_iter();
    let places: Vec<String> = params.map(|param| select.param(param)).collect();
    match places.as_slice() {
        [] => "1 = 0".to_owned(),
        [place] => format!("{column} = {place}"),
        places => format!("{column} IN ({})", places.join(", ")),
    }
}

/// Ids that begin with the digits of EC2 names. What is no whole name fits nothing: names are shown whole.
fn is_named(select: &mut Select, column: &str, prefix: &str, names: &[String]) -> String {
    let begins = names.iter();
    let begins = begins.filter_map(|name| beginning(name.strip_prefix(prefix)?));
    let begins: Vec<String> = padded(begins.collect())
        .into_iter()
        .map(|beginning| {
            // 'g' sorts right behind every hexadecimal digit.
            let end = select.param(format!("{beginning}g").into());
            let start = select.param(beginning.into());
            format!("({column} >= {start} AND {column} < {end})")
        })
        .collect();
    match begins.is_empty() {
        true => "1 = 0".to_owned(),
        false => format!("({})", begins.join(" OR ")),
    }
}

/// Instances by their EC2 names, or by the texts that their compute services have for them.
fn is_instance(select: &mut Select, names: &[String]) -> String {
    let named = is_named(select, "a.instance_id", "i-", names);
    let alike = fits(select, "a.instance_id", names);
    format!("({named} OR {alike})")
}

/// How an id is written that begins with the 17 digits of an EC2 name.
fn beginning(digits: &str) -> Option<String> {
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 17 || !digits.bytes().all(is_digit) {
        return None;
    }
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..]];
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::id::SnapshotId;

    #[test]
    fn lists_have_one_of_a_few_lengths() {
        let length = |count: usize| padded(vec!["x"; count]).len();
        let lengths = [0, 1, 2, 8, 9, 31, 32, 33].map(length);
        assert_eq!(lengths, [0, 1, 8, 8, 32, 32, 32, 33]);
        assert_eq!(padded(vec![1, 2]), [1, 2, 2, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn a_name_is_the_beginning_of_its_id() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let name = SnapshotId(id).ec2_id();
        let found = beginning(&name["snap-".len()..]).unwrap();
        assert_eq!(found, "01234567-89ab-cdef-0");
        assert!(id.to_string().starts_with(&found));
        for bad in ["", "01234567", "0123456789abcdefg", "0123456789ABCDEF0"] {
            assert_eq!(beginning(bad), None);
        }
    }
}
