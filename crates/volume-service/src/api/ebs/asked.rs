//! The parts of a request, read as the model says. What breaks the model is refused without words, as AWS refuses it.

use bytes::Bytes;
use http::HeaderMap;

use super::super::ec2::parameters::Parameters;
use super::fault::{EbsFault, Result};
use crate::app::direct::Paging;

/// Longest id of a snapshot.
const ID_MAX: usize = 64;
/// Longest token.
const TOKEN_MAX: usize = 256;
/// Fewest and most blocks of a page; the most are the default.
const RESULTS: std::ops::RangeInclusive<i64> = 100..=10_000;

/// A request.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a Parameters,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

impl<'a> Asked<'a> {
    /// A header's text; an empty one is none.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        let text = self.headers.get(name)?.to_str().ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// A part of the path, counted from 0.
    fn segment(&self, number: usize) -> &'a str {
        let path = self.path.trim_start_matches('/');
        path.split('/').nth(number).unwrap_or_default()
    }

    /// The snapshot of a path `/snapshots/{snapshot}/...`.
    pub(super) fn snapshot(&self) -> Result<&'a str> {
        snapshot_id(self.segment(1))
    }

    /// The snapshot of a path `/snapshots/completion/{snapshot}`.
    pub(super) fn completed_snapshot(&self) -> Result<&'a str> {
        snapshot_id(self.segment(2))
    }

    /// The block of a path `/snapshots/{snapshot}/blocks/{block}`.
    pub(super) fn block(&self) -> Result<u64> {
        index(self.segment(3))
    }

    /// A value of the query; an empty one is none.
    fn value(&self, name: &str) -> Option<&'a str> {
        self.query.get(name).filter(|value| !value.is_empty())
    }

    /// The first snapshot of a comparison.
    pub(super) fn first_snapshot(&self) -> Result<Option<&'a str>> {
        self.value("firstSnapshotId").map(snapshot_id).transpose()
    }

    /// A token of the query.
    pub(super) fn token(&self, name: &str) -> Result<Option<&'a str>> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        match self.value(name) {
            Some(text) if text.len() > TOKEN_MAX || !text.bytes().all(is_token) => {
                Err(EbsFault::Schema)
            }
            found => Ok(found),
        }
    }

    /// Which part of a list is asked for.
    pub(super) fn paging(&self) -> Result<Paging> {
        let max_results = match self.value("maxResults") {
            None => *RESULTS.end(),
            Some(text) => text.parse().map_err(|_| EbsFault::Schema)?,
        };
        if !RESULTS.contains(&max_results) {
            return Err(EbsFault::Schema);
        }
        let start = self.value("startingBlockIndex").map(index).transpose()?;
        Ok(Paging {
            token: self.token("pageToken")?.map(str::to_owned),
            start: start.unwrap_or(0),
            max_results: usize::try_from(max_results).unwrap_or(usize::MAX),
        })
    }
}

/// A text that has the form of a snapshot's id.
pub(super) fn snapshot_id(text: &str) -> Result<&str> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = text.strip_prefix("snap-").unwrap_or_default();
    let is_id = !digits.is_empty() && text.len() <= ID_MAX && digits.bytes().all(is_hex);
    is_id.then_some(text).ok_or(EbsFault::Schema)
}

/// The index of a block, which is an `integer` of the model.
fn index(text: &str) -> Result<u64> {
    let index: i32 = text.parse().map_err(|_| EbsFault::Schema)?;
    u64::try_from(index).map_err(|_| EbsFault::Schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_model_is_refused() {
        for text in ["snap-0", "snap-0123456789abcdef0"] {
            assert_eq!(snapshot_id(text).unwrap(), text);
        }
        let long = format!("snap-{}", "0".repeat(60));
        for text in ["", "snap-", "snap-X", "vol-0", "snap-0A", &long] {
            assert!(matches!(snapshot_id(text), Err(EbsFault::Schema)), "{text}");
        }
        assert_eq!(index("2147483647").unwrap(), 2_147_483_647);
        for text in ["", "-1", "2147483648", "x", "1.0"] {
            assert!(matches!(index(text), Err(EbsFault::Schema)), "{text}");
        }
    }
}
