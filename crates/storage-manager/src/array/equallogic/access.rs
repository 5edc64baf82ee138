//! Access records of a volume: which initiators may log in. Pure.

use super::screen::Answer;
use super::table::Table;

/// Column of the initiator, the one that wraps.
const INITIATOR_COLUMN: usize = 1;

/// An access record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// Its number.
    pub id: u32,
    /// Who may log in; none where everybody may.
    pub initiator: Option<String>,
    /// The CHAP account that is asked for; none where none is, or where the table does not say.
    pub chap_user: Option<String>,
}

impl AccessRecord {
    /// True for a record of an initiator; case does not count in such names.
    pub fn is_of(&self, initiator: &str) -> bool {
        let own = self.initiator.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(initiator))
    }
}

/// The records of `access show`; rows that have no number are none.
pub fn records(answer: &Answer) -> Vec<AccessRecord> {
    let table = Table::of(answer, INITIATOR_COLUMN);
    let record = |row: super::table::Row<'_>| {
        Some(AccessRecord {
            id: row.first().parse().ok()?,
            initiator: row
                .get("Initiator")
                .filter(|name| name.contains('.') && !name.starts_with('*'))
                .map(str::to_owned),
            chap_user: row
                .get("UserName")
                .filter(|name| *name != "none" && *name != "-")
                .map(str::to_owned),
        })
    };
    table.rows().filter_map(record).collect()
}
