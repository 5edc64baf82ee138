//! The version of what processes keep of flavors, backends, services and limits; triggers change it with every change of those.

use super::Transaction;
use crate::error::{Error, ErrorKind, Result, Subject};

/// The version now.
pub fn get(tx: &mut Transaction<'_>) -> Result<i64> {
    let found = tx.query_first("SELECT version FROM known_version", &[], |row| row.int(0))?;
    Ok(found.unwrap_or_default())
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
