//! One connection as the handlers of its requests see it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::dispatch::Origin;

/// One connection.
#[derive(Clone)]
pub struct Connection {
    /// Where it came from.
    pub origin: Origin,
    /// Set when the next answer ends with the connection; see `close_delimited`.
    pub ends_with_answer: Arc<AtomicBool>,
    /// Cancelled to cut the connection off: its peer takes nothing any more, or must not take what it has for whole.
    pub cut: CancellationToken,
}

impl Connection {
    /// A connection that was accepted.
    pub fn new(origin: Origin) -> Self {
        Connection {
            origin,
            ends_with_answer: Arc::default(),
            cut: CancellationToken::new(),
        }
    }
}
