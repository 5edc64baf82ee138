//! Why the REST interface did not do as it was asked. Source of the codes: reference arrays 3.1 and 3.4.

use super::http::HttpError;
use crate::array::{ArrayError, Fault};

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It failed.
    Failed,
    /// It is not known any more: it may have succeeded.
    Gone,
    /// It goes on.
    Running,
}

/// Why the REST interface did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No answer.
    #[error("{what}")]
    Http {
        /// The call.
        what: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// A refusal.
    #[error("{what}: the filer answers with status {status}, code {code:?}: {message}")]
    Refused {
        /// The call.
        what: String,
        /// The status of HTTP.
        status: u16,
        /// The code; empty when there is none.
        code: String,
        /// The filer's words.
        message: String,
    },
    /// A change became a job that did not succeed.
    #[error("{what}: the job of the filer {} (code {code:?}): {message}", words(*state))]
    Job {
        /// The call.
        what: String,
        /// What became of the job.
        state: JobState,
        /// The code; empty when there is none.
        code: String,
        /// The filer's words.
        message: String,
    },
    /// An answer that is none.
    #[error(
        "{what}: the answer of the filer is no JSON; see that target and port are those of its management interface"
    )]
    Malformed {
        /// The call.
        what: String,
    },
    /// An answer that lacks something.
    #[error("{what}: the answer of the filer has no {field}")]
    Incomplete {
        /// The call.
        what: &'static str,
        /// What is missing.
        field: &'static str,
    },
    /// Too many records.
    #[error("{path}: there are more than {limit} records")]
    TooMany {
        /// The collection.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// Two LUNs with the name of one VDI.
    #[error("{one} and {other} are one VDI; rename the one that is not")]
    Twins {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },

    /// A list that goes on at another place.
    #[error(
        "{path}: the answer of the filer goes on at an address outside of its REST interface; see that target is the filer itself"
    )]
    Elsewhere {
        /// The collection.
        path: String,
    },

    /// A list that does not end in time.
    #[error("{path}: the filer takes too long to list them")]
    Endless {
        /// The collection.
        path: String,
    },

    /// What was made is not to be found.
    #[error("the filer says that it is made, and does not show it")]
    NotThere,
}

fn words(state: JobState) -> &'static str {
    match state {
        JobState::Failed => "failed",
        JobState::Gone => "is not known any more",
        JobState::Running => "goes on for too long",
    }
}

/// An entry of that name exists.
const DUPLICATES: [&str; 11] = [
    "1", "460770", "525059", "917536", "917888", "5374023", "5374035", "5374142", "5374242",
    "1254207", "13107405",
];

/// There is no such entry.
const MISSING: [&str; 11] = [
    "4", "917927", "918235", "1638600", "5374875", "5374876", "5374852", "5374878", "5374922",
    "5374027", "5374741",
];

/// Parts of texts that tell of a lack of space, whatever the code.
const NO_SPACE: [&str; 6] = [
    "no space left",
    "not enough space",
    "insufficient space",
    "insufficient free space",
    "out of space",
    "does not have enough",
];

impl RestError {
    /// The code of a refusal; empty when there is none.
    pub fn code(&self) -> &str {
        match self {
            RestError::Refused { code, .. } | RestError::Job { code, .. } => code,
            _ => "",
        }
    }

    /// The failure without a secret that the filer may have repeated.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        if let RestError::Refused { message, .. } | RestError::Job { message, .. } = &mut self
            && !secret.is_empty()
        {
            *message = message.replace(secret, "(secret)");
        }
        self
    }

    fn message(&self) -> &str {
        match self {
            RestError::Refused { message, .. } | RestError::Job { message, .. } => message,
            _ => "",
        }
    }

    /// True when a change may have been carried out although nobody says so.
    pub fn is_lost(&self) -> bool {
        match self {
            RestError::Http { source, .. } => {
                matches!(source, HttpError::Lost { .. } | HttpError::Connect { .. })
            }
            RestError::Refused { status, .. } => matches!(status, 502..=504),
            RestError::Job { state, .. } => *state != JobState::Failed,
            RestError::Malformed { .. } => true,
            _ => false,
        }
    }

    /// True when the filer asks to come back later.
    pub fn is_busy(&self) -> bool {
        let message = self.message().to_ascii_lowercase();
        matches!(self, RestError::Refused { status: 429, .. })
            || self.code() == "7018877"
            || message.contains("device busy")
            || message.contains("try again")
    }

    /// True when what was to be made is there.
    pub fn is_duplicate(&self) -> bool {
        DUPLICATES.contains(&self.code())
    }

    /// True when what is meant is not there.
    pub fn is_missing(&self) -> bool {
        MISSING.contains(&self.code()) || matches!(self, RestError::Refused { status: 404, .. })
    }

    /// True when the account may not do that.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.fault(), Some(Fault::NetappPrivilege))
    }

    /// True when a FlexVol can have no more snapshots.
    pub fn is_snapshot_limit(&self) -> bool {
        self.code() == "525062"
    }

    /// True when there is no room.
    pub fn is_no_space(&self) -> bool {
        let message = self.message().to_ascii_lowercase();
        NO_SPACE.iter().any(|text| message.contains(text))
    }

    /// The text with those of its causes.
    pub fn chain_text(&self) -> String {
        crate::error::chain_text(self)
    }

    /// The number that the failure has whatever was attempted, if it has one.
    fn fault(&self) -> Option<Fault> {
        match self {
            RestError::Http { source, .. } => Some(match source {
                HttpError::Name { .. } => Fault::Name,
                _ => Fault::NetappUnreachable,
            }),
            RestError::Malformed { .. } => Some(Fault::NetappUnreachable),
            RestError::Refused { status: 401, .. } => Some(Fault::NetappLogin),
            RestError::Refused { code, status, .. }
                if *status == 403 || code == "6" || code == "6691623" =>
            {
                Some(Fault::NetappPrivilege)
            }
            RestError::Refused { code, .. } | RestError::Job { code, .. } => match code.as_str() {
                "6" | "6691623" => Some(Fault::NetappPrivilege),
                "525062" => Some(Fault::NetappSnapshots),
                "524479" => Some(Fault::NetappSnapshotSpace),
                "5374078" | "5374893" | "1115127" => Some(Fault::NetappIscsi),
                _ => None,
            },
            _ => None,
        }
    }

    /// The failure as drivers know it.
    pub fn of(self, array: &str, action: &'static str) -> ArrayError {
        if let Some(fault) = self.fault() {
            let hint = match fault {
                Fault::NetappUnreachable => {
                    "; check target, port, usehttps, the network and, with TLS, ca_certificate or tls_fingerprint"
                }
                Fault::NetappLogin => "; check username and password",
                Fault::NetappPrivilege => {
                    "; docs/sr-types.md lists the rights that the account needs"
                }
                Fault::NetappSnapshots => "; delete snapshots of the FlexVol that nobody needs",
                Fault::NetappIscsi => "; license and start iSCSI in the SVM",
                _ => "",
            };
            let detail = format!("{action} on {array}: {}{hint}", self.chain_text());
            return ArrayError::Fault { fault, detail };
        }
        let array = array.to_owned();
        if self.is_no_space() {
            let detail = self.chain_text();
            return ArrayError::NoSpace {
                array,
                action,
                detail,
            };
        }
        ArrayError::Failed {
            array,
            action,
            source: Box::new(self),
        }
    }
}
