//! The filters of the Describe actions: any of a filter's values, all of the filters, `*` and `?` in values.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Result;
use super::parameters::{Arguments, PARAMETERS_MAX};
use super::schema::{Kind, Parameter};
use super::wildcard::{Effort, Pattern};
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

/// The parameter of every action with filters; how many there are is checked here, with another code.
pub(super) const FILTER: Parameter = Parameter::new("Filter", Kind::Structs(PARTS, PARAMETERS_MAX));

const TEXT: Kind = Kind::Text {
    max: TEXT_MAX_CHARS,
};
const PARTS: &[Parameter] = &[
    Parameter::new("Name", TEXT).required("The request must contain the parameter Name"),
    Parameter::new("Value", Kind::List(&TEXT, PARAMETERS_MAX)),
];

/// One filter of a request.
#[derive(Debug)]
pub(super) struct Filter {
    /// Its name: `status`, `tag:Owner`.
    pub(super) name: String,
    /// Any of them may match.
    patterns: Vec<Pattern>,
    /// What all the filters of the request have taken.
    effort: Arc<Effort>,
}

/// Reads the filters; refuses names that are not among these.
pub(super) fn read(given: Arguments<'_>, names: &[&str]) -> Result<Vec<Filter>> {
    let members = given.members(FILTER.name);
    if members.len() > FILTERS_MAX {
        return Err(words::too_many_filters("filters", FILTERS_MAX));
    }
    let effort = Arc::new(Effort::default());
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
                effort: Arc::clone(&effort),
            })
        })
        .collect()
}

/// To be called for each thing that filters were applied to: lets others work now and then.
///
/// # Errors
/// `FilterLimitExceeded` when the filters take too much work: what they said since then is not to be believed.
pub(super) async fn pause(filters: &[Filter]) -> Result<()> {
    let Some(filter) = filters.first() else {
        return Ok(());
    };
    if filter.effort.is_due_to_pause() {
        tokio::task::yield_now().await;
    }
    match filter.effort.is_spent() {
        true => Err(words::filters_take_too_long()),
        false => Ok(()),
    }
}

impl Filter {
    /// True when any pattern matches the text.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(text, &self.effort))
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
        let exact = |pattern: &Pattern| pattern.exact().map(str::to_owned);
        self.patterns.iter().map(exact).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Code;
    use super::super::parameters::Parameters;
    use super::super::schema;
    use super::*;

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
        let filter = |count| many("&Filter.#.Name=size", count);
        let values = |count| many("&Filter.1.Value.#=8", count) + "&Filter.1.Name=size";
        for query in [filter(51), filter(1001), values(201), values(1001)] {
            let parameters = Parameters::parse(&query, b"").expect("good parameters");
            schema::check_values(&[FILTER], &parameters).expect("as many as a request may have");
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

    #[tokio::test]
    async fn filters_that_take_too_long_are_refused() {
        let value = format!("*{}b*", "?".repeat(300));
        let found = filters(
            &format!("Filter.1.Name=size&Filter.1.Value.1={value}"),
            &["size"],
        );
        let found = found.expect("a filter");
        assert!(pause(&found).await.is_ok() && pause(&[]).await.is_ok());
        let text = "a".repeat(1024);
        let mut looked = 0;
        let refused = loop {
            assert!(!found[0].matches(&text));
            looked += 1;
            assert!(looked < 20_000, "a page of long texts is enough");
            if let Err(refused) = pause(&found).await {
                break refused;
            }
        };
        assert_eq!(refused.code(), Code::FilterLimitExceeded);
        assert!(looked > 100, "what people ask for is let through");
    }
}
