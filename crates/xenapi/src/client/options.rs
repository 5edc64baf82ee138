//! Limits of a client.

use crate::wire::Limits;
use std::time::Duration;

/// Limits of a client.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time for one call with its login, redirects and repetitions.
    pub call_deadline: Duration,
    /// The time for making a connection.
    pub connect_timeout: Duration,
    /// The most calls at once; others wait for their turn.
    pub max_calls: usize,
    /// What is taken as a response.
    pub response: Limits,
    /// By what the pool knows this program in its list of sessions.
    pub originator: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            call_deadline: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            max_calls: 64,
            response: Limits::RESPONSE,
            originator: "xensm".to_owned(),
        }
    }
}
