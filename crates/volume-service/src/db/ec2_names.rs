//! EC2 names in statements: whole ones in lists, and short ones as the beginnings of whole ones.

use super::Param;
use super::volume_metadata::{self, CHUNK};

/// Digits of a whole name.
const WHOLE: usize = 17;
/// Digits of a short one.
const SHORT: usize = 8;
/// Lengths of lists that have statements of their own; what is shorter is padded.
const LENGTHS: [usize; 3] = [1, 8, CHUNK];

/// Those that are whole names, each once.
pub(super) fn whole<'a>(names: &'a [String], prefix: &str) -> Vec<&'a str> {
    let is_whole = |name: &&str| has_digits(name, prefix, WHOLE);
    let mut found: Vec<&str> = names.iter().map(String::as_str).filter(is_whole).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The name, if it is a short one.
pub(super) fn short<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    has_digits(name, prefix, SHORT).then_some(name)
}

/// `head IN (...)` for at most [`CHUNK`] names: few texts of statements, whatever the number of names is.
pub(super) fn in_list(head: &str, names: &[&str]) -> (String, Vec<Param>) {
    let fits = |length: &&usize| **length >= names.len();
    let length = LENGTHS.iter().find(fits).copied().unwrap_or(CHUNK);
    let mut params: Vec<Param> = names.iter().map(|name| (*name).into()).collect();
    if let Some(last) = params.last().cloned() {
        params.resize(length, last);
    }
    (volume_metadata::in_list(head, length), params)
}

/// The ids of the rows whose EC2 name begins with a short one; two at most, so that the caller sees an ambiguity.
pub(super) fn beginning(
    table: &str,
    short: &str,
    project_id: Option<&str>,
) -> (String, Vec<Param>) {
    // 'g' sorts right behind every hexadecimal digit.
    let mut params: Vec<Param> = vec![short.into(), format!("{short}g").into()];
    let of_project = match project_id {
        Some(project_id) => {
            params.push(project_id.into());
            " AND project_id = ?3"
        }
        None => "",
    };
    let sql = format!(
        "SELECT id FROM {table} WHERE ec2_id >= ?1 AND ec2_id < ?2{of_project} ORDER BY ec2_id LIMIT 2"
    );
    (sql, params)
}

fn has_digits(name: &str, prefix: &str, count: usize) -> bool {
    name.strip_prefix(prefix).is_some_and(|digits| {
        let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == count && digits.bytes().all(is_digit)
    })
}
