//! `MaxResults` and `NextToken`: the token is the id of the last thing looked at, in letters that need no escaping.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::fault::{Code, Ec2Fault, Result};
use super::parameters::{Parameters, wrong};

/// Most items of a page.
const RESULTS_MAX: usize = 1000;
/// Pages of the database that one request looks through for its filters; then it answers with what it has and a token.
pub(super) const SCAN_PAGES_MAX: usize = 20;

/// How many items the page has at most, and behind which one it begins.
pub(super) struct Wanted {
    pub(super) max_results: usize,
    pub(super) marker: Option<Uuid>,
}

/// Reads both parameters; `plural` is what EC2 calls the list of ids that excludes them.
pub(super) fn read(
    parameters: &Parameters,
    page_max: usize,
    ids: &[&str],
    plural: &str,
) -> Result<Wanted> {
    let most = RESULTS_MAX.min(page_max).max(1);
    let max_results = match parameters.number("MaxResults")? {
        None => most,
        Some(0) => return Err(wrong("maxResults", "0", "It must be at least 1.")),
        Some(number) => usize::try_from(number).unwrap_or(most).min(most),
    };
    if !ids.is_empty() && parameters.get("MaxResults").is_some() {
        return Err(Ec2Fault::coded(
            Code::InvalidParameterCombination,
            format!("The parameter {plural} cannot be used with the parameter maxResults."),
        ));
    }
    let token = parameters
        .get("NextToken")
        .filter(|token| !token.is_empty());
    Ok(Wanted {
        max_results,
        marker: token.map(marker_of).transpose()?,
    })
}

/// The token of the page behind this item.
pub(super) fn token_of(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

fn marker_of(token: &str) -> Result<Uuid> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| Uuid::from_slice(&bytes).ok())
        .ok_or_else(bad_token)
}

/// The refusal of a token that is not ours, or whose item is gone.
pub(super) fn bad_token() -> Ec2Fault {
    Ec2Fault::coded(
        Code::InvalidNextToken,
        "The specified NextToken is not valid. Begin again without one.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_opaque_and_checked() {
        let id = Uuid::from_u128(7);
        assert_eq!(marker_of(&token_of(id)).expect("our own"), id);
        for token in ["x", "", "AAAA", "!!!!"] {
            let refusal = marker_of(token).expect_err("not ours");
            assert_eq!(refusal.code(), Code::InvalidNextToken);
        }
    }
}
