//! DescribeTags.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fault::Result;
use super::filters::{self, FILTER, Filter, TAG};
use super::page::{self, BadToken, MAX_RESULTS, Paging};
use super::route::{Action, Call, Element};
use super::schema::{Kind, Parameter};
use super::xml::Xml;
use crate::app::any_of::NARROWED_VALUES_MAX;
use crate::app::tags::{self, Kind as ResourceKind, Tag, TagQuery};
use crate::auth::rule::Rule;

/// Longest token, in characters: it holds a key of 255 letters of four bytes, in base64.
const TOKEN_MAX_CHARS: usize = 2048;

pub(super) const ACTIONS: &[Action] =
    &[
        Action::new("DescribeTags", |call, xml| Box::pin(describe(call, xml)))
            .rules(&[Rule::VolumeGetAll, Rule::VolumeGetAllSnapshots])
            .parameters(&[
                FILTER,
                MAX_RESULTS,
                Parameter::new(
                    "NextToken",
                    Kind::Text {
                        max: TOKEN_MAX_CHARS,
                    },
                ),
            ])
            .filters(&["key", "resource-id", "resource-type", "value", TAG])
            .paging(&PAGING)
            .answers(&[
                Element::of(
                    "tagSet",
                    &[
                        Element::text("resourceId"),
                        Element::text("resourceType"),
                        Element::text("key"),
                        Element::text("value"),
                    ],
                ),
                Element::text("nextToken"),
            ])
            .remark("by the ids of what has them and by keys, the project's own"),
    ];

const PAGING: Paging = Paging {
    mark: 5,
    ids: "resourceIdSet",
    max_results: "maxResults",
    bad_token: BadToken::Unparsed,
};

/// The thing and the key of the last tag of a page.
type Place = (String, String);

async fn describe(call: &Call, xml: &mut Xml) -> Result<()> {
    let given = call.arguments();
    let max_results = page::size(call, &PAGING)?;
    let after = match given.text("NextToken") {
        None => None,
        Some(token) => {
            let place = parse(token);
            Some(place.ok_or_else(|| page::refused_token(&PAGING, token))?)
        }
    };
    let filters = filters::read(given, call.action.filters)?;
    let mut tags = Vec::new();
    let next = scan(call, &filters, after, max_results, &mut tags).await?;
    xml.items("tagSet", &tags, |xml, tag| {
        xml.text("resourceId", &tag.resource);
        xml.text("resourceType", tag.kind.word());
        xml.text("key", &tag.key);
        xml.text("value", &tag.value);
    });
    if let Some(place) = next {
        xml.text("nextToken", &token_of(&place));
    }
    Ok(())
}

/// Adds the tags that pass until the page is full; returns the last tag looked at, when there are more behind it.
async fn scan(
    call: &Call,
    filters: &[Filter],
    after: Option<Place>,
    max_results: usize,
    found: &mut Vec<Tag>,
) -> Result<Option<Place>> {
    if filters.iter().any(Filter::matches_nothing) {
        return Ok(None);
    }
    let mut query = TagQuery {
        kinds: ResourceKind::ALL.to_vec(),
        after,
        limit: filters.is_empty().then_some(max_results),
        ..TagQuery::default()
    };
    for filter in filters {
        narrow(&mut query, filter);
    }
    let mut next = None;
    for _ in 0..page::SCAN_PAGES_MAX {
        let page = tags::list(&call.service, &call.context, query.clone()).await?;
        next = page.items.last().filter(|_| page.has_more).map(place);
        for tag in page.items {
            if found.len() == max_results {
                return Ok(found.last().map(place));
            }
            let is_wanted = filters.iter().all(|filter| passes(filter, &tag));
            filters::pause(filters).await?;
            if is_wanted {
                found.push(tag);
            }
        }
        if next.is_none() || found.len() == max_results {
            break;
        }
        query.after.clone_from(&next);
    }
    Ok(next)
}

fn place(tag: &Tag) -> Place {
    (tag.resource.clone(), tag.key.clone())
}

fn passes(filter: &Filter, tag: &Tag) -> bool {
    if let Some(key) = filter.tag() {
        return tag.key == key && filter.matches(&tag.value);
    }
    filter.matches(match filter.name.as_str() {
        "key" => &tag.key,
        "resource-id" => &tag.resource,
        "resource-type" => tag.kind.word(),
        "value" => &tag.value,
        // The names are checked before.
        _ => return false,
    })
}

/// Leaves to the database what it can decide; the filters are applied again to what comes back.
fn narrow(query: &mut TagQuery, filter: &Filter) {
    if filter.name == "resource-type" {
        // Also of patterns: there are few kinds.
        return query.kinds.retain(|kind| filter.matches(kind.word()));
    }
    if let Some(key) = filter.tag() {
        query.keys.push(vec![key.to_owned()]);
    }
    let values = filter
        .exact()
        .filter(|values| values.len() <= NARROWED_VALUES_MAX);
    let Some(values) = values else {
        return;
    };
    match filter.name.as_str() {
        "key" => query.keys.push(values),
        "resource-id" => query.resources.push(values),
        // `value`, and that of one key.
        _ => query.values.push(values),
    }
}

fn token_of((resource, key): &Place) -> String {
    let mut bytes = vec![PAGING.mark];
    bytes.extend_from_slice(resource.as_bytes());
    // No id has it.
    bytes.push(b'/');
    bytes.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn parse(token: &str) -> Option<Place> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (mark, rest) = bytes.split_first()?;
    let (resource, key) = std::str::from_utf8(rest).ok()?.split_once('/')?;
    ResourceKind::of(resource)?;
    // A database takes no text with a NUL character.
    let is_ours = *mark == PAGING.mark && !rest.contains(&0);
    is_ours.then(|| (resource.to_owned(), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_the_longest_key_and_are_checked() {
        let place = (
            "vol-0123456789abcdef0".to_owned(),
            "\u{1f600}/".repeat(255 / 2),
        );
        let token = token_of(&place);
        assert!(token.len() <= TOKEN_MAX_CHARS);
        assert_eq!(parse(&token), Some(place));
        let odd = URL_SAFE_NO_PAD.encode(b"\x05vol-0/\0");
        let other = URL_SAFE_NO_PAD.encode(b"\x04vol-0/x");
        for token in ["", "x", "!!", "BQ", &odd, &other] {
            assert_eq!(parse(token), None, "{token}");
        }
    }
}
