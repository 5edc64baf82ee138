//! Why a target cannot be used.

use std::io;
use std::time::Duration;

use super::portal::Portal;
use crate::io::libiscsi::LoadError;

/// Why nobody let us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The credentials are wrong, missing, or the target's own proof is.
    Authentication,
    /// The portal knows no such target.
    NoSuchTarget,
    /// Something else.
    Other,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no libiscsi.
    #[error(transparent)]
    Library(#[from] LoadError),
    /// Nothing answers there.
    #[error("no iSCSI target answers at {portal}: {reason}; check address, port and network")]
    Unreachable {
        /// Where.
        portal: Portal,
        /// What was found.
        reason: String,
    },
    /// The target does not let us in.
    #[error("target {target} at {portal} refuses the login of {initiator}: {reason}; {}", hint(*refusal))]
    Refused {
        /// The target's name; `discovery` when its portal was asked for targets.
        target: String,
        /// Where.
        portal: Portal,
        /// Who asked.
        initiator: String,
        /// Why, as far as it says.
        refusal: Refusal,
        /// What was said.
        reason: String,
    },
    /// It took too long.
    #[error("{portal} did not finish to {action} within {waited:?}")]
    TooSlow {
        /// Where.
        portal: Portal,
        /// What was attempted.
        action: &'static str,
        /// How long was waited.
        waited: Duration,
    },
    /// A command failed.
    #[error("{action} of LUN {lun} of {target}")]
    Command {
        /// What was attempted.
        action: &'static str,
        /// The LUN.
        lun: u16,
        /// The target.
        target: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The machine has no more of something.
    #[error("{action} for a session")]
    System {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The text with those of its causes.
    pub fn chain_text(&self) -> String {
        crate::error::chain_text(self)
    }
}

impl Refusal {
    /// From what libiscsi says.
    pub fn of(reason: &str) -> Self {
        let lower = reason.to_ascii_lowercase();
        if ["authentication", "authorization", "chap", "(513)", "(514)"]
            .iter()
            .any(|word| lower.contains(word))
        {
            Refusal::Authentication
        } else if lower.contains("target not found")
            || lower.contains("(515)")
            || lower.contains("(516)")
        {
            Refusal::NoSuchTarget
        } else {
            Refusal::Other
        }
    }
}

fn hint(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Authentication => {
            "check its access list for the initiator's name, chapuser and chappassword"
        }
        Refusal::NoSuchTarget => {
            "check targetIQN; a probe without it lists the targets that there are"
        }
        Refusal::Other => "look into the target's log",
    }
}
