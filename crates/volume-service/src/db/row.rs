//! Rows of a query's result, the same for both databases.

use super::failure;
use super::session::Answer;
use crate::error::{Error, ErrorKind, Result, Subject};

/// A row of a query's result; columns by index, from 0.
pub struct Row<'a>(RowOf<'a>);

enum RowOf<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgresql(&'a tokio_postgres::Row),
}

impl<'a> Row<'a> {
    pub(super) fn on_sqlite(row: &'a rusqlite::Row<'a>) -> Self {
        Row(RowOf::Sqlite(row))
    }

    pub(super) fn on_postgresql(row: &'a tokio_postgres::Row) -> Self {
        Row(RowOf::Postgresql(row))
    }

    /// The integer in a column.
    pub fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| is_null(column))
    }

    /// The integer in a column that may be NULL.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match &self.0 {
            RowOf::Sqlite(row) => row.get(column).map_err(failure::of_sqlite),
            RowOf::Postgresql(row) => from_postgresql(row.try_get(column)),
        }
    }

    /// The text in a column.
    pub fn text(&self, column: usize) -> Result<String> {
        self.opt_text(column)?.ok_or_else(|| is_null(column))
    }

    /// The text in a column that may be NULL.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>> {
        match &self.0 {
            RowOf::Sqlite(row) => row.get(column).map_err(failure::of_sqlite),
            RowOf::Postgresql(row) => from_postgresql(row.try_get(column)),
        }
    }

    /// The bytes in a column.
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>> {
        match &self.0 {
            RowOf::Sqlite(row) => row.get(column).map_err(failure::of_sqlite),
            RowOf::Postgresql(row) => from_postgresql(row.try_get(column)),
        }
    }

    /// A column parsed by a function; a value that it does not know is damage and names the column.
    pub fn parsed<T>(&self, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        self.opt_parsed(column, parse)?
            .ok_or_else(|| is_null(column))
    }

    /// A column that may be NULL, parsed by a function.
    pub fn opt_parsed<T>(
        &self,
        column: usize,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.opt_str(column)? {
            None => Ok(None),
            Some(text) => parse(text).map(Some).ok_or_else(|| damaged(column, text)),
        }
    }

    /// The text in a column that may be NULL, where the row holds it.
    fn opt_str(&self, column: usize) -> Result<Option<&str>> {
        match &self.0 {
            RowOf::Sqlite(row) => {
                let value = row.get_ref(column).map_err(failure::of_sqlite)?;
                let text = value.as_str_or_null();
                text.map_err(|error| failure::of_sqlite(error.into()))
            }
            RowOf::Postgresql(row) => from_postgresql(row.try_get(column)),
        }
    }
}

fn from_postgresql<T>(result: Answer<T>) -> Result<T> {
    result.map_err(|error| failure::of_postgresql(error).0)
}

fn is_null(column: usize) -> Error {
    Error::new(
        ErrorKind::Internal,
        Subject::Database,
        "An unexpected error has occurred.",
    )
    .detail(format!(
        "column {column} of a row is NULL, expected a value"
    ))
}

fn damaged(column: usize, text: &str) -> Error {
    Error::new(
        ErrorKind::Internal,
        Subject::Database,
        "An unexpected error has occurred.",
    )
    .detail(format!(
        "column {column} of a row holds the unknown value {text:?}"
    ))
}
