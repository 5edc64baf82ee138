//! The version of what processes keep of flavors, backends, services and limits; triggers change it with every change of those.

use super::Transaction;
use crate::error::{Error, ErrorKind, Result, Subject};

/// The version now.
///
/// # Errors
/// `Internal` when somebody removed it: without a version nothing may be kept.
pub fn get(tx: &mut Transaction<'_>) -> Result<i64> {
    let found = tx.query_first("SELECT version FROM known_version", &[], |row| row.int(0))?;
    found.ok_or_else(|| {
        let text = "An unexpected error has occurred.";
        let error = Error::new(ErrorKind::Internal, Subject::Database, text);
        error
            .detail("the table known_version has no row, expected one; it was made by migration 14")
    })
}

/// Shows that this is the version, where the closure assumes it. The refusal may come with a later statement; the closure runs again
/// then.
pub fn expect(tx: &mut Transaction<'_>, version: i64) -> Result<()> {
    tx.post(
        "SELECT version FROM known_version WHERE version = ?1",
        vec![version.into()],
        || {
            Error::new(
                ErrorKind::Busy,
                Subject::Database,
                "The database is busy, please try again later.",
            )
            .detail("flavors, backends, services or limits were changed meanwhile")
        },
    )
}

/// The same at once, for a closure that refuses: what it says rests on what it assumed.
pub fn prove(tx: &mut Transaction<'_>, version: i64) -> Result<()> {
    tx.drop_posted();
    expect(tx, version)?;
    tx.flush()
}
