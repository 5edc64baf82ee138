//! Why a filer did not do as it was asked. Source of the codes: reference arrays 3.1, 3.4 and 4.4.

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

/// Why a filer did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FilerError {
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
    /// A refusal by ZAPI.
    #[error("{what}: the filer answers with error {number}: {reason}")]
    Zapi {
        /// The call.
        what: String,
        /// The number; 0 when there is none.
        number: u32,
        /// The filer's words.
        reason: String,
    },
    /// ZAPI did not answer, something else did.
    #[error("{what}: the filer answers with status {status}")]
    Status {
        /// The call.
        what: String,
        /// The status of HTTP.
        status: u16,
    },
    /// A LUN that cannot become as large.
    #[error(
        "LUN {path} can grow to {most} bytes, not to {asked}: its geometry was fixed when it was made; make a VDI of {asked} bytes and copy into it"
    )]
    Geometry {
        /// Its path.
        path: String,
        /// Bytes that were asked for.
        asked: u64,
        /// The most that it can have.
        most: u64,
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
        "{what}: the answer of the filer cannot be read; see that target and port are those of its management interface"
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
        "{path}: the answer of the filer goes on at an address outside of its interface; see that target is the filer itself"
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

/// Most characters of what the filer says of a failure.
const MAX_WORDS: usize = 500;

/// The filer's words as they come into errors and logs: one line, not too long.
pub fn plain_words(message: Option<&str>) -> String {
    let characters = message.unwrap_or_default().chars().take(MAX_WORDS);
    let plain = characters.map(|it| if it.is_control() { ' ' } else { it });
    plain.collect()
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

/// The same for ZAPI: entry, FlexVol, igroup, initiator in it, LUN, map, clone. Source: reference arrays 4.4, NetApp's SDK.
const ZAPI_DUPLICATES: [u32; 7] = [13_130, 17, 9_004, 9_008, 9_012, 9_023, 14_952];

/// The same for ZAPI: entry, FlexVol (two numbers), igroup, map, LUN.
const ZAPI_MISSING: [u32; 6] = [15_661, 13_040, 9_036, 9_003, 9_016, 9_017];

/// Parts of texts that tell of a lack of space, whatever the code.
const NO_SPACE: [&str; 6] = [
    "no space left",
    "not enough space",
    "insufficient space",
    "insufficient free space",
    "out of space",
    "does not have enough",
];

impl FilerError {
    /// The code of a refusal; empty when there is none.
    pub fn code(&self) -> &str {
        match self {
            FilerError::Refused { code, .. } | FilerError::Job { code, .. } => code,
            _ => "",
        }
    }

    /// The failure without a secret that the filer may have repeated.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        if let FilerError::Refused { message, .. }
        | FilerError::Job { message, .. }
        | FilerError::Zapi {
            reason: message, ..
        } = &mut self
            && !secret.is_empty()
        {
            *message = message.replace(secret, "(secret)");
        }
        self
    }

    fn message(&self) -> &str {
        match self {
            FilerError::Refused { message, .. } | FilerError::Job { message, .. } => message,
            FilerError::Zapi { reason, .. } => reason,
            _ => "",
        }
    }

    /// The number of a refusal by ZAPI.
    pub fn zapi_number(&self) -> Option<u32> {
        match self {
            FilerError::Zapi { number, .. } => Some(*number),
            _ => None,
        }
    }

    /// True when a change may have been carried out although nobody says so.
    pub fn is_lost(&self) -> bool {
        match self {
            FilerError::Http { source, .. } => {
                matches!(source, HttpError::Lost { .. } | HttpError::Connect { .. })
            }
            FilerError::Refused { status, .. } | FilerError::Status { status, .. } => {
                matches!(status, 502..=504)
            }
            FilerError::Job { state, .. } => *state != JobState::Failed,
            FilerError::Malformed { .. } => true,
            _ => false,
        }
    }

    /// True when the filer asks to come back later.
    pub fn is_busy(&self) -> bool {
        let message = self.message().to_ascii_lowercase();
        matches!(
            self,
            FilerError::Refused { status: 429, .. } | FilerError::Status { status: 429, .. }
        ) || self.code() == "7018877"
            || message.contains("device busy")
            || message.contains("try again")
    }

    /// True when what was to be made is there.
    pub fn is_duplicate(&self) -> bool {
        DUPLICATES.contains(&self.code())
            || self
                .zapi_number()
                .is_some_and(|it| ZAPI_DUPLICATES.contains(&it))
    }

    /// True when what is meant is not there.
    pub fn is_missing(&self) -> bool {
        MISSING.contains(&self.code())
            || self
                .zapi_number()
                .is_some_and(|it| ZAPI_MISSING.contains(&it))
            || matches!(self, FilerError::Refused { status: 404, .. })
    }

    /// True when what answers does not speak ZAPI.
    pub fn has_no_zapi(&self) -> bool {
        matches!(
            self,
            FilerError::Malformed { .. } | FilerError::Status { status: 404, .. }
        )
    }

    /// True when the account may not do that.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.fault(), Some(Fault::NetappPrivilege))
    }

    /// True when a FlexVol can have no more snapshots.
    pub fn is_snapshot_limit(&self) -> bool {
        self.code() == "525062" || self.zapi_number() == Some(13_023)
    }

    /// True when a LUN was to be larger than the filer's are.
    pub fn is_too_large(&self) -> bool {
        self.code() == "5374125" || self.zapi_number() == Some(9_034)
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
            FilerError::Http { source, .. } => Some(match source {
                HttpError::Name { .. } => Fault::Name,
                _ => Fault::NetappUnreachable,
            }),
            FilerError::Malformed { .. } => Some(Fault::NetappUnreachable),
            FilerError::Status { status, .. } => Some(match status {
                401 => Fault::NetappLogin,
                403 => Fault::NetappPrivilege,
                _ => Fault::NetappUnreachable,
            }),
            FilerError::Zapi { number: 13_002, .. } => Some(Fault::NetappLogin),
            FilerError::Zapi { number: 13_003, .. } => Some(Fault::NetappPrivilege),
            FilerError::Zapi { number: 13_023, .. } => Some(Fault::NetappSnapshots),
            FilerError::Refused { status: 401, .. } => Some(Fault::NetappLogin),
            FilerError::Refused { code, status, .. }
                if *status == 403 || code == "6" || code == "6691623" =>
            {
                Some(Fault::NetappPrivilege)
            }
            FilerError::Refused { code, .. } | FilerError::Job { code, .. } => {
                match code.as_str() {
                    "6" | "6691623" => Some(Fault::NetappPrivilege),
                    "525062" => Some(Fault::NetappSnapshots),
                    "524479" => Some(Fault::NetappSnapshotSpace),
                    "5374078" | "5374893" | "1115127" => Some(Fault::NetappIscsi),
                    _ => None,
                }
            }
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
