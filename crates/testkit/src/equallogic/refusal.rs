//! What the CLI answers when it does not obey.

/// Why a command was not carried out; it prints as the text after `% Error - `.
///
/// The forms `... does not exist.` and `% Error - ` are those that published clients look for; the rest is our wording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No command, or one with words that mean nothing.
    BadCommand {
        /// Where the words stop to mean something: a column of the line.
        column: usize,
    },
    /// A value that is out of range, with what would be right.
    BadValue {
        /// The parameter.
        parameter: &'static str,
        /// What is right.
        right: &'static str,
    },
    /// Nothing has this name.
    Missing {
        /// `Volume`, `Snapshot`, `Pool` ...
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Something has this name already.
    Exists {
        /// `Volume`, `Snapshot` ...
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The pool has not enough free space.
    PoolFull {
        /// The pool.
        pool: String,
    },
    /// The snapshot reserve of the volume is too small, and the policy forbids to delete snapshots.
    ReserveFull {
        /// The volume.
        volume: String,
    },
    /// It must be offline for this.
    Online {
        /// `volume` or `snapshot`.
        what: &'static str,
    },
    /// The account may not do this.
    Denied,
    /// The volume has as many snapshots or access records as it can have.
    TooMany {
        /// `snapshots`, `access control records` ...
        what: &'static str,
    },
    /// The firmware is too old for it.
    Unsupported,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::BadCommand { .. } => f.write_str("Bad command"),
            Refusal::BadValue { parameter, right } => {
                write!(f, "Invalid value for {parameter}. {right}")
            }
            Refusal::Missing { what, name } => write!(f, "{what} {name} does not exist."),
            Refusal::Exists { what, name } => write!(f, "{what} {name} already exists."),
            Refusal::PoolFull { pool } => write!(
                f,
                "Insufficient free space in pool {pool} to complete this operation."
            ),
            Refusal::ReserveFull { volume } => write!(
                f,
                "Insufficient snapshot reserve for volume {volume} to complete this operation."
            ),
            Refusal::Online { what } => write!(
                f,
                "The {what} must be offline before this operation can be performed."
            ),
            Refusal::Denied => {
                f.write_str("You do not have sufficient privileges to perform this operation.")
            }
            Refusal::TooMany { what } => write!(f, "Maximum number of {what} reached."),
            Refusal::Unsupported => {
                f.write_str("This operation is not supported by the firmware of the group.")
            }
        }
    }
}
