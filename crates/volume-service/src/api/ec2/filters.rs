//! The filters of the Describe actions: any of a filter's values, all of the filters, `*` and `?` in values.

use std::collections::BTreeMap;

use super::fault::Result;
use super::parameters::Arguments;
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words;

/// Most filters of a request.
const FILTERS_MAX: usize = 50;
/// Most values of one filter.
const VALUES_MAX: usize = 200;
/// Longest name or value, in characters.
const TEXT_MAX_CHARS: usize = 1024;

/// Stands in a list of names for every `tag:<key>`.
pub(super) const TAG: &str = "tag:<key>";
/// What a filter of a tag begins with.
const TAG_PREFIX: &str = "tag:";

/// The parameter of every action with filters; how many there are is checked with another code.
pub(super) const FILTER: Parameter = Parameter::new("Filter", Kind::Structs(PARTS, LIST_MAX));

const TEXT: Kind = Kind::Text {
    max: TEXT_MAX_CHARS,
};
const PARTS: &[Parameter] = &[
    Parameter::new("Name", TEXT).required("The request must contain the parameter Name"),
    Parameter::new("Value", Kind::List(&TEXT, LIST_MAX)),
];

/// One filter of a request.
#[derive(Debug)]
pub(super) struct Filter {
    /// Its name: `status`, `tag:Owner`.
    pub(super) name: String,
    /// Any of them may match.
    patterns: Vec<Pattern>,
}

/// A value of a filter.
#[derive(Debug)]
enum Pattern {
    /// It has no wildcard.
    Exact(String),
    Wild(Vec<char>),
}

/// Reads the filters; refuses names that are not among these.
pub(super) fn read(given: Arguments<'_>, names: &[&str]) -> Result<Vec<Filter>> {
    let members = given.members(FILTER.name);
    if members.len() > FILTERS_MAX {
        return Err(words::too_many_filters("filters", FILTERS_MAX));
    }
    members
        .iter()
        .map(|member| {
            let name = member.text("Name").unwrap_or_default();
            let is_tag = name.starts_with(TAG_PREFIX) && names.contains(&TAG);
            if name == TAG || !(names.contains(&name) || is_tag) {
                return Err(words::unknown_filter(name));
            }
            let values = member.list("Value");
            if values.len() > VALUES_MAX {
                return Err(words::too_many_filters("values of a filter", VALUES_MAX));
            }
            Ok(Filter {
                name: name.to_owned(),
                patterns: values.into_iter().map(Pattern::of).collect(),
            })
        })
        .collect()
}

impl Filter {
    /// True when any pattern matches the text.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(text))
    }

    /// True when any pattern matches any of the texts.
    pub(super) fn matches_any<'t>(&self, mut texts: impl Iterator<Item = &'t str>) -> bool {
        texts.any(|text| self.matches(text))
    }

    /// Whether a filter of tags matches; none for other filters.
    pub(super) fn matches_tags(&self, tags: &BTreeMap<String, String>) -> Option<bool> {
        if let Some(key) = self.tag() {
            return Some(tags.get(key).is_some_and(|value| self.matches(value)));
        }
        match self.name.as_str() {
            "tag-key" => Some(self.matches_any(tags.keys().map(String::as_str))),
            "tag-value" => Some(self.matches_any(tags.values().map(String::as_str))),
            _ => None,
        }
    }

    /// True when it has no values.
    pub(super) fn matches_nothing(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The key of a filter `tag:<key>`.
    pub(super) fn tag(&self) -> Option<&str> {
        self.name.strip_prefix(TAG_PREFIX)
    }

    /// Its values when none has a wildcard, for a query that the database can answer.
    pub(super) fn exact(&self) -> Option<Vec<String>> {
        let exact = |pattern: &Pattern| match pattern {
            Pattern::Exact(text) => Some(text.clone()),
            Pattern::Wild(_) => None,
        };
        self.patterns.iter().map(exact).collect()
    }
}

impl Pattern {
    fn of(value: &str) -> Self {
        if value.contains(['*', '?', '\\']) {
            Pattern::Wild(value.chars().collect())
        } else {
            Pattern::Exact(value.to_owned())
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(value) => value == text,
            Pattern::Wild(pattern) => {
                let text: Vec<char> = text.chars().collect();
                wildcard(pattern, &text)
            }
        }
    }
}

/// Matches `*` (any text), `?` (any one character) and `\` (the next one as it is), in time linear in both lengths for each star.
fn wildcard(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut resume: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                resume = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') if t < text.len() => Some(1),
            Some('\\') if p + 1 < pattern.len() => {
                (text.get(t) == Some(&pattern[p + 1])).then_some(2)
            }
            Some('?') => None,
            Some(letter) => (text.get(t) == Some(letter)).then_some(1),
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
    use super::super::fault::Code;
    use super::super::parameters::Parameters;
    use super::*;

    #[test]
    fn wildcards_match_as_ec2_says() {
        let matches = |pattern: &str, text: &str| Pattern::of(pattern).matches(text);
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("a*c", "abbc"),
            ("a*c", "ac"),
            ("*b*b*", "abcb"),
            ("?x", "ax"),
            ("caf?", "caf\u{e9}"),
            ("*?", "\u{e9}"),
            (r"\*a\?", "*a?"),
            ("2016-*", "2016-08-29T17:35:47.918Z"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("caf??", "caf\u{e9}"),
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

    fn filters(query: &str, names: &[&str]) -> Result<Vec<Filter>> {
        let parameters = Parameters::parse(query, b"").expect("good parameters");
        read(parameters.arguments(), names)
    }

    #[test]
    fn names_and_counts_are_checked() {
        let names = ["size", TAG];
        let found = filters("Filter.1.Name=tag:x&Filter.1.Value.1=8", &names).expect("a filter");
        assert_eq!(found[0].tag(), Some("x"));
        assert_eq!(found[0].exact(), Some(vec!["8".to_owned()]));
        for name in ["colour", "tag:<key>", "tag-key", ""] {
            let fault = filters(&format!("Filter.1.Name={name}"), &names).expect_err(name);
            assert_eq!(fault.message(), format!("The filter '{name}' is invalid"));
        }
        let without_tags = filters("Filter.1.Name=tag:x", &["size"]);
        assert!(without_tags.is_err());
        let many = |what: &str, count: usize| -> String {
            (1..=count)
                .map(|n| what.replace('#', &n.to_string()))
                .collect()
        };
        let filter = many("&Filter.#.Name=size", 51);
        let values = many("&Filter.1.Value.#=8", 201) + "&Filter.1.Name=size";
        for query in [filter, values] {
            let fault = filters(&query, &names).expect_err("too many");
            assert_eq!(fault.code(), Code::FilterLimitExceeded);
        }
    }

    #[test]
    fn a_filter_without_values_matches_nothing() {
        let found = filters("Filter.1.Name=size", &["size"]).expect("a filter");
        assert!(found[0].matches_nothing());
        assert!(!found[0].matches("") && !found[0].matches("8"));
    }
}
