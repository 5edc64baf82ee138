//! Why a copy did not come to its end.

use std::io;

/// Why a copy did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was asked to stop.
    #[error("the copy was cancelled {done_bytes} bytes into it")]
    Cancelled {
        /// How far it was.
        done_bytes: u64,
    },
    /// The target cannot hold the source.
    #[error("the target holds {target_bytes} bytes and the source {source_bytes}")]
    TooSmall {
        /// Size of the target.
        target_bytes: u64,
        /// Size of the source.
        source_bytes: u64,
    },
    /// The source, the base or the target failed.
    #[error("{action} at byte {offset}")]
    Io {
        /// What was attempted: `read the source` ...
        action: &'static str,
        /// Where.
        offset: u64,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An export described a range by no extent at all.
    #[error("the status of the blocks at byte {offset} is not told")]
    NoExtent {
        /// Where.
        offset: u64,
    },
    /// The system gave no thread.
    #[error("start a thread that reads the source")]
    Thread(#[source] io::Error),
}

impl Error {
    /// True when there is no space left for the target.
    pub fn is_full(&self) -> bool {
        let full = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        matches!(self, Error::Io { source, .. } if full(source))
    }

    /// The error and its causes in one line.
    pub fn chain_text(&self) -> String {
        crate::error::chain_text(self)
    }
}
