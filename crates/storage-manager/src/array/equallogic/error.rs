//! Why a group did not do what was asked.

use std::io;
use std::time::Duration;

/// What a group says no to, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such volume, snapshot, pool or record.
    NotFound,
    /// The name is taken.
    Exists,
    /// The pool or the snapshot reserve is full.
    NoSpace,
    /// The account may not do that.
    Permission,
    /// It must be offline first, or is in use.
    Busy,
    /// Something else.
    Other,
}

impl Refusal {
    /// From the text of an error line. The texts are those of several firmware versions, so only words are looked for.
    pub fn of(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(&["does not exist", "not found", "no such"]) {
            Refusal::NotFound
        } else if has(&[
            "already exist",
            "already in use",
            "is not unique",
            "duplicate",
        ]) {
            Refusal::Exists
        } else if has(&[
            "permission",
            "not authorized",
            "not authorised",
            "privilege",
            "access denied",
            "not allowed for",
        ]) {
            Refusal::Permission
        } else if has(&[
            "space",
            "insufficient",
            "not enough",
            "reserve is full",
            "exceeds the",
        ]) {
            Refusal::NoSpace
        } else if has(&[
            "must be offline",
            "is online",
            "set offline",
            "in use",
            "active connection",
            "is busy",
        ]) {
            Refusal::Busy
        } else {
            Refusal::Other
        }
    }
}

/// Why a group did not do what was asked. No text of it has a password.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nothing answers there, or it does not speak SSH.
    #[error(
        "no SSH service answers at {address}; check device-config:target and controlport, and the network"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host key is not the one that is pinned.
    #[error(
        "{address} shows the SSH host key {found}, pinned is {pinned}; if the group's key was changed on purpose, set device-config:ssh_host_key to the new one"
    )]
    HostKey {
        /// Where.
        address: String,
        /// What was shown.
        found: String,
        /// What was expected.
        pinned: String,
    },
    /// The account is wrong.
    #[error("{address} does not let {user} log on; check username and password")]
    Login {
        /// Where.
        address: String,
        /// Who.
        user: String,
    },
    /// The group has as many sessions as it bears.
    #[error(
        "{address} has no free CLI session (it said: {text}); end sessions of other tools or administrators"
    )]
    TooManySessions {
        /// Where.
        address: String,
        /// What it said.
        text: String,
    },
    /// All our own sessions are in use.
    #[error(
        "{address} did not come round to {command:?} within {waited:?}: other commands of this storage manager keep it busy"
    )]
    Queue {
        /// Where.
        address: String,
        /// What was to be run.
        command: String,
        /// How long it waited.
        waited: Duration,
    },
    /// No answer in time. The command may still be carried out.
    #[error("{address} did not answer {command:?} within {waited:?}")]
    TooSlow {
        /// Where.
        address: String,
        /// What was run.
        command: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The session ended before the answer did. The command may have been carried out.
    #[error("{address} ended the CLI session during {command:?}")]
    Ended {
        /// Where.
        address: String,
        /// What was run.
        command: String,
    },
    /// A text that was to stand in a command would end it, or begin another.
    #[error(
        "{command:?} is not run: it has characters that no name on a group has; rename what has them"
    )]
    Untypable {
        /// What was to be run.
        command: String,
    },
    /// The group says no.
    #[error("the group refuses {command:?}: {text}")]
    Refused {
        /// What was run.
        command: String,
        /// What sort of no.
        refusal: Refusal,
        /// Its words.
        text: String,
    },
    /// The answer is not what this firmware-independent reading understands.
    #[error("the answer to {command:?} cannot be read: {reason}")]
    Unreadable {
        /// What was run.
        command: String,
        /// What was found and expected.
        reason: String,
    },
    /// A Description is not as we wrote it.
    #[error("the Description of volume {volume} is {reason}; write back what it was")]
    Description {
        /// The volume.
        volume: String,
        /// What was found.
        reason: String,
    },
    /// A volume cannot go while it has snapshots that are not ours.
    #[error("volume {volume} has {count} snapshots that somebody made; delete them first")]
    Snapshots {
        /// The volume.
        volume: String,
        /// How many.
        count: u32,
    },
    /// The machine has no more of something.
    #[error("start a thread of SSH")]
    System(#[source] io::Error),
}

impl CliError {
    /// True when the session is of no use any more.
    pub fn ends_session(&self) -> bool {
        !matches!(
            self,
            CliError::Refused { .. } | CliError::Description { .. } | CliError::Untypable { .. }
        )
    }

    /// True when another session may do better, and a question may be asked again.
    pub fn is_lost_session(&self) -> bool {
        matches!(self, CliError::Ended { .. })
    }

    /// What sort of no the group says, if it does.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            CliError::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// The text with those of its causes.
    pub fn chain_text(&self) -> String {
        crate::error::chain_text(self)
    }
}

/// Makes a missing object none.
pub fn absent<T>(result: Result<T, CliError>) -> Result<Option<T>, CliError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
