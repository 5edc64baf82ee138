//! `MaxResults` and `NextToken`. A token says behind which moment and id the next page begins, and of which action it is; it goes on
//! being good when what it names is gone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::fault::{Code, Ec2Fault, Result};
use super::ids::{Dialect, Noun};
use super::parameters::Arguments;
use super::route::Call;
use super::schema::{Kind, LIST_MAX, Parameter};
use super::words;

/// Most items of a page.
const RESULTS_MAX: usize = 1000;
/// Fewest items that a page may be asked to have; AWS's bound too.
const RESULTS_MIN: i64 = 5;
/// Pages of the database that one request looks through for its filters; then it answers with what it has and a token.
pub(super) const SCAN_PAGES_MAX: usize = 20;
/// Bytes of a token: the action's, a time, an id.
const TOKEN_BYTES: usize = 1 + 8 + 16;
/// Longest token, in characters.
const TOKEN_MAX_CHARS: usize = 256;

/// The parameter of the page's size.
pub(super) const MAX_RESULTS: Parameter = Parameter::new(
    "MaxResults",
    Kind::Number {
        min: i64::MIN,
        max: i64::MAX,
    },
);
/// The parameter of the page's beginning.
pub(super) const NEXT_TOKEN: Parameter = Parameter::new(
    "NextToken",
    Kind::Text {
        max: TOKEN_MAX_CHARS,
    },
);

/// A parameter for the ids that are to be described.
pub(super) const fn ids(name: &'static str, kind: &'static Kind) -> Parameter {
    Parameter::new(name, Kind::List(kind, LIST_MAX))
}

/// Ids of volumes in a list.
pub(super) const VOLUME_IDS: Kind = Kind::Id(Noun::Volume, Dialect::Listed("volumes"));
/// Ids of snapshots in a list.
pub(super) const SNAPSHOT_IDS: Kind = Kind::Id(Noun::Snapshot, Dialect::Listed("snapshots"));

/// Ids of instances in a list.
pub(super) const INSTANCE_IDS: Kind = Kind::Id(Noun::Instance, Dialect::Listed("instances"));

/// How an action's list is cut into pages.
#[derive(Debug)]
pub(super) struct Paging {
    /// The first byte of its tokens; of no other action, and for ever.
    pub(super) mark: u8,
    /// What refusals call the ids that exclude both parameters.
    pub(super) ids: &'static str,
    /// What refusals call `MaxResults`.
    pub(super) max_results: &'static str,
    /// The refusal of a token that is not ours.
    pub(super) bad_token: BadToken,
}

/// How a token is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum BadToken {
    /// "Unable to parse pagination token"
    Unparsed,
    /// "Value ( x ) for parameter NextToken is invalid. The token is Invalid."
    Invalid,
}

/// Where an item stands in its list: when it was made, in microseconds since 1970, and its id.
pub(super) type Place = (i64, Uuid);

/// How many items the page has at most, and behind which place it begins.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) max_results: usize,
    pub(super) after: Option<Place>,
}

/// Reads both parameters, which ids exclude.
pub(super) fn read(call: &Call, paging: &Paging, ids: &[&str]) -> Result<Wanted> {
    let page_max = call.service.config.limits.page_max;
    read_within(call.arguments(), paging, page_max, ids)
}

/// The same where the largest page is known.
pub(super) fn read_within(
    given: Arguments<'_>,
    paging: &Paging,
    page_max: usize,
    ids: &[&str],
) -> Result<Wanted> {
    let (size, token) = (given.number("MaxResults"), given.text("NextToken"));
    if !ids.is_empty() && size.is_some() {
        return Err(words::excluded(paging.ids, "maxResults"));
    }
    if !ids.is_empty() && token.is_some() {
        return Err(words::excluded(paging.ids, "nextToken"));
    }
    let max_results = size_within(size, paging, page_max)?;
    let after = match token {
        None => None,
        Some(token) => Some(place_of(paging, token)?),
    };
    Ok(Wanted { max_results, after })
}

/// Reads the size of a page alone, for a list whose tokens are of another kind.
pub(super) fn size(call: &Call, paging: &Paging) -> Result<usize> {
    let page_max = call.service.config.limits.page_max;
    size_within(call.arguments().number("MaxResults"), paging, page_max)
}

fn size_within(size: Option<i64>, paging: &Paging, page_max: usize) -> Result<usize> {
    let most = RESULTS_MAX.min(page_max).max(1);
    match size {
        None => Ok(most),
        Some(size) if size < RESULTS_MIN => {
            Err(words::page_too_small(paging.max_results, size, RESULTS_MIN))
        }
        Some(size) => Ok(usize::try_from(size).unwrap_or(most).min(most)),
    }
}

/// The token of the page behind this place.
pub(super) fn token_of(paging: &Paging, (made_at_us, id): Place) -> String {
    let mut bytes = Vec::with_capacity(TOKEN_BYTES);
    bytes.push(paging.mark);
    bytes.extend_from_slice(&made_at_us.to_be_bytes());
    bytes.extend_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn place_of(paging: &Paging, token: &str) -> Result<Place> {
    parse(paging, token).ok_or_else(|| refused_token(paging, token))
}

/// The refusal of a token that is not ours.
pub(super) fn refused_token(paging: &Paging, token: &str) -> Ec2Fault {
    let words = match paging.bad_token {
        BadToken::Unparsed => "Unable to parse pagination token".to_owned(),
        BadToken::Invalid => format!(
            "Value ( {} ) for parameter NextToken is invalid. The token is Invalid.",
            words::shown(token)
        ),
    };
    Ec2Fault::coded(Code::InvalidParameterValue, words)
}

fn parse(paging: &Paging, token: &str) -> Option<Place> {
    let bytes: [u8; TOKEN_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (mark, rest) = bytes.split_first()?;
    let (made_at_us, id) = rest.split_first_chunk::<8>()?;
    let place = (i64::from_be_bytes(*made_at_us), Uuid::from_slice(id).ok()?);
    (*mark == paging.mark).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::super::parameters::Parameters;
    use super::*;

    const PAGING: Paging = Paging {
        mark: 7,
        ids: "volumeIdsSet",
        max_results: "maxResults",
        bad_token: BadToken::Unparsed,
    };

    fn wanted(query: &str, ids: &[&str]) -> Result<Wanted> {
        let parameters = Parameters::parse(query, b"").expect("good parameters");
        read_within(parameters.arguments(), &PAGING, 900, ids)
    }

    #[test]
    fn tokens_are_opaque_and_checked() {
        let place = (1_795_330_800_123_456, Uuid::from_u128(7));
        let token = token_of(&PAGING, place);
        assert_eq!(parse(&PAGING, &token), Some(place));
        let of_another = Paging { mark: 8, ..PAGING };
        assert_eq!(parse(&of_another, &token), None);
        for token in ["x", "", "AAAA", "!!!!", &token[1..], &format!("{token}AA")] {
            assert_eq!(parse(&PAGING, token), None, "{token}");
        }
        let refusal = wanted("NextToken=x", &[]).expect_err("not ours");
        assert_eq!(refusal.message(), "Unable to parse pagination token");
    }

    #[test]
    fn pages_have_5_items_at_least_and_what_is_configured_at_most() {
        for (query, expected) in [
            ("", 900),
            ("MaxResults=5", 5),
            ("MaxResults=900", 900),
            ("MaxResults=1001", 900),
            ("MaxResults=9223372036854775807", 900),
        ] {
            let found = wanted(query, &[]).expect(query).max_results;
            assert_eq!(found, expected, "{query}");
        }
        for (query, value) in [("MaxResults=4", 4), ("MaxResults=-1", -1)] {
            let refusal = wanted(query, &[]).expect_err(query);
            assert_eq!(
                refusal.message(),
                format!(
                    "Value ( {value} ) for parameter maxResults is invalid. Expecting a value greater than 5."
                )
            );
        }
    }

    #[test]
    fn ids_and_pages_exclude_each_other() {
        for (query, other) in [("MaxResults=1", "maxResults"), ("NextToken=x", "nextToken")] {
            let refusal = wanted(query, &["vol-01234567"]).expect_err(query);
            assert_eq!(refusal.code(), Code::InvalidParameterCombination);
            assert_eq!(
                refusal.message(),
                format!("The parameter volumeIdsSet cannot be used with the parameter {other}")
            );
        }
        assert!(wanted("NextToken=", &["vol-01234567"]).is_ok());
    }
}
