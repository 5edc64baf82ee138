//! The filters of the Describe actions: any of a filter's values, all of the filters, `*` and `?` in values.

use std::collections::BTreeMap;

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::Parameters;

/// Most filters of a request.
const FILTERS_MAX: usize = 50;
/// Most values of one filter.
const VALUES_MAX: usize = 200;
/// Longest value, in bytes.
const VALUE_MAX_BYTES: usize = 1024;

/// One filter of a request.
#[derive(Debug)]
pub(super) struct Filter {
    /// Its name: `status`, `tag:Owner`.
    pub(super) name: String,
    /// Its patterns; any of them may match.
    pub(super) values: Vec<String>,
}

/// Reads `Filter.N.Name` and `Filter.N.Value.M`; refuses names that are neither in the list nor of tags.
pub(super) fn read(parameters: &Parameters, names: &[&str]) -> Result<Vec<Filter>> {
    let members = parameters.members("Filter")?;
    if members.len() > FILTERS_MAX {
        return Err(refused(format!(
            "A request has at most {FILTERS_MAX} filters."
        )));
    }
    members
        .iter()
        .map(|member| {
            let name = member.required("Name")?.to_owned();
            if !names.contains(&name.as_str()) && name != "tag-key" && !name.starts_with("tag:") {
                return Err(unknown(&name));
            }
            let values: Vec<String> = member
                .list("Value")?
                .into_iter()
                .map(str::to_owned)
                .collect();
            if values.len() > VALUES_MAX || values.iter().any(|v| v.len() > VALUE_MAX_BYTES) {
                return Err(refused(format!(
                    "A filter has at most {VALUES_MAX} values of at most {VALUE_MAX_BYTES} bytes."
                )));
            }
            Ok(Filter { name, values })
        })
        .collect()
}

fn refused(text: String) -> Ec2Fault {
    Ec2Fault::coded(Code::InvalidParameterValue, text)
}

/// The refusal of a filter that an action does not know.
pub(super) fn unknown(name: &str) -> Ec2Fault {
    let name: String = name.chars().take(64).collect();
    refused(format!("The filter '{name}' is invalid"))
}

impl Filter {
    /// True when any pattern matches any of the texts.
    pub(super) fn matches_any(&self, texts: &[String]) -> bool {
        self.values.iter().any(|pattern| {
            texts
                .iter()
                .any(|text| wildcard(pattern.as_bytes(), text.as_bytes()))
        })
    }

    /// True when the tag of a `tag:<key>` filter, or a key of a `tag-key` filter, matches; none for other filters.
    pub(super) fn matches_tags(&self, tags: &BTreeMap<String, String>) -> Option<bool> {
        if let Some(key) = self.name.strip_prefix("tag:") {
            let value: Vec<_> = tags.get(key).cloned().into_iter().collect();
            return Some(self.matches_any(&value));
        }
        let keys: Vec<_> = tags.keys().cloned().collect();
        (self.name == "tag-key").then(|| self.matches_any(&keys))
    }

    /// The one value when it has no wildcard, for a query that the database can answer.
    pub(super) fn exact(&self) -> Option<&str> {
        match self.values.as_slice() {
            [value] if !value.contains(['*', '?', '\\']) => Some(value),
            _ => None,
        }
    }
}

/// Matches `*` (any text), `?` (any one byte) and `\` (the next one as it is), in time linear in both lengths for each
/// star.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut resume: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                resume = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') if t < text.len() => Some(1),
            Some(b'\\') if p + 1 < pattern.len() => {
                (text.get(t) == Some(&pattern[p + 1])).then_some(2)
            }
            Some(b'?') => None,
            Some(byte) => (text.get(t) == Some(byte)).then_some(1),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, resume) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((after_star, from))) if from < text.len() => {
                resume = Some((after_star, from + 1));
                p = after_star;
                t = from + 1;
            }
            (None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_ec2_says() {
        let matches = |pattern: &str, text: &str| wildcard(pattern.as_bytes(), text.as_bytes());
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("a*c", "abbc"),
            ("a*c", "ac"),
            ("*b*b*", "abcb"),
            ("?x", "ax"),
            (r"\*a\?", "*a?"),
            ("2016-*", "2016-08-29T17:35:47.918Z"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("a*c", "abcd"),
            (r"\*", "x"),
            ("Gold", "gold"),
            ("*b*b*", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        let many_stars = "*a".repeat(100) + "b";
        assert!(!matches(&many_stars, &"a".repeat(1000)));
    }
}
