//! What the databases' errors mean to a caller.

use crate::error::{Error, ErrorKind, Subject};

/// What went wrong beneath a closure, which decides whether it may be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Serialization failure or deadlock: the same closure may succeed when run again.
    Contention,
    /// Somebody else held a lock, or the statement took, longer than is waited for.
    Late,
    /// The connection is lost.
    Disconnected,
}

/// An error of SQLite.
pub(super) fn of_sqlite(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let (kind, public) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Busy,
            "The database is busy, please try again later.",
        ),
        Some(ErrorCode::ConstraintViolation) => (
            ErrorKind::Conflict,
            "The request conflicts with what is stored.",
        ),
        Some(ErrorCode::DiskFull) => (
            ErrorKind::Unavailable,
            "The service cannot store requests: its database has no space left.",
        ),
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::SystemIoFailure,
        ) => (
            ErrorKind::Unavailable,
            "The service cannot reach its database.",
        ),
        _ => (ErrorKind::Internal, "An unexpected error has occurred."),
    };
    Error::new(kind, Subject::Database, public)
        .detail("a SQLite statement failed")
        .caused_by(error)
}

/// An error of PostgreSQL, and whether the closure may be run again.
pub(super) fn of_postgresql(error: tokio_postgres::Error) -> (Error, Option<Trouble>) {
    use tokio_postgres::error::SqlState;
    let Some(state) = error.code().cloned() else {
        let lost = error.is_closed()
            || std::error::Error::source(&error).is_some_and(|cause| cause.is::<std::io::Error>());
        let kind = if lost {
            ErrorKind::Unavailable
        } else {
            ErrorKind::Internal
        };
        let error = Error::new(
            kind,
            Subject::Database,
            "The service cannot reach its database.",
        )
        .detail("PostgreSQL did not answer a statement")
        .caused_by(error);
        return (error, lost.then_some(Trouble::Disconnected));
    };
    let (kind, public, trouble) = match &state {
        s if *s == SqlState::T_R_SERIALIZATION_FAILURE || *s == SqlState::T_R_DEADLOCK_DETECTED => {
            (
                ErrorKind::Busy,
                "The database is busy, please try again later.",
                Some(Trouble::Contention),
            )
        }
        s if *s == SqlState::LOCK_NOT_AVAILABLE || *s == SqlState::QUERY_CANCELED => (
            ErrorKind::Busy,
            "The database is busy, please try again later.",
            Some(Trouble::Late),
        ),
        s if *s == SqlState::TOO_MANY_CONNECTIONS => (
            ErrorKind::Busy,
            "The database is busy, please try again later.",
            None,
        ),
        // Class 23: integrity constraint violation.
        s if s.code().starts_with("23") => (
            ErrorKind::Conflict,
            "The request conflicts with what is stored.",
            None,
        ),
        // A NUL character, which SQLite takes and PostgreSQL does not.
        s if *s == SqlState::CHARACTER_NOT_IN_REPERTOIRE
            || *s == SqlState::UNTRANSLATABLE_CHARACTER =>
        {
            (
                ErrorKind::Invalid,
                "The request contains a character that cannot be stored or looked for.",
                None,
            )
        }
        // Class 57: operator intervention (shutdown); class 08: connection exception.
        s if s.code().starts_with("57") || s.code().starts_with("08") => (
            ErrorKind::Unavailable,
            "The service cannot reach its database.",
            Some(Trouble::Disconnected),
        ),
        // Class 53: insufficient resources; 25006: read-only transaction (a standby); 28: authorisation; 3D: no such database.
        s if ["53", "25", "28", "3D"]
            .iter()
            .any(|class| s.code().starts_with(class)) =>
        {
            (
                ErrorKind::Unavailable,
                "The service cannot use its database.",
                None,
            )
        }
        _ => (
            ErrorKind::Internal,
            "An unexpected error has occurred.",
            None,
        ),
    };
    let error = Error::new(kind, Subject::Database, public)
        .detail(format!(
            "PostgreSQL refused a statement, SQLSTATE {}",
            state.code()
        ))
        .caused_by(error);
    (error, trouble)
}
