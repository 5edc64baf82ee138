//! SQL and migrations, one file per table. The only room that holds SQL.
//!
//! The same statements run on SQLite and PostgreSQL. Closures are synchronous and run on threads that own a connection; on
//! SQLite one writer thread commits the closures of concurrent callers together (each in its own savepoint), so that one
//! flush to stable storage serves many requests. A closure may run more than once and must have no effect but its SQL.

use crate::config::Secret;
use crate::error::Result;

/// A handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Database {}

/// A transaction (on SQLite: a savepoint in the writer's transaction).
pub struct Transaction<'a> {
    _connection: std::marker::PhantomData<&'a mut ()>,
}

/// A value bound to `?1`, `?2`, ... in a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// SQL NULL.
    Null,
    /// A 64-bit integer; booleans are 0 and 1, times microseconds since 1970.
    Int(i64),
    /// A text; uuids and JSON too.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Database {
    /// Opens the database, makes it if it is a SQLite file that does not exist, and migrates it.
    pub async fn open(_url: &Secret) -> Result<Self> {
        unimplemented!()
    }

    /// Runs the closure in a transaction that may write; on return it is durable. An error rolls it back and is passed on.
    pub async fn write<T, F>(&self, _body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        unimplemented!()
    }

    /// Runs the closure in a transaction that only reads.
    pub async fn read<T, F>(&self, _body: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        unimplemented!()
    }

    /// A value that changes when an operation was added or became due, here or (PostgreSQL: LISTEN; SQLite: data_version)
    /// in another process. Workers register before they look, and still poll.
    pub fn operations_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        unimplemented!()
    }
}

impl Transaction<'_> {
    /// Runs a statement and returns how many rows it touched.
    pub fn execute(&mut self, _sql: &'static str, _params: &[Param]) -> Result<u64> {
        unimplemented!()
    }

    /// Runs a query and maps its rows.
    pub fn query<T>(
        &mut self,
        _sql: &str,
        _params: &[Param],
        _map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        unimplemented!()
    }

    /// Says that workers have something to do, once this transaction is committed.
    pub fn wake_workers(&mut self) {
        unimplemented!()
    }
}

/// A row of a query's result; columns by index, from 0.
pub struct Row<'a> {
    _row: std::marker::PhantomData<&'a ()>,
}

impl Row<'_> {
    /// The integer in a column.
    pub fn int(&self, _column: usize) -> Result<i64> {
        unimplemented!()
    }

    /// The integer in a column that may be NULL.
    pub fn opt_int(&self, _column: usize) -> Result<Option<i64>> {
        unimplemented!()
    }

    /// The text in a column.
    pub fn text(&self, _column: usize) -> Result<String> {
        unimplemented!()
    }

    /// The text in a column that may be NULL.
    pub fn opt_text(&self, _column: usize) -> Result<Option<String>> {
        unimplemented!()
    }

    /// The bytes in a column.
    pub fn bytes(&self, _column: usize) -> Result<Vec<u8>> {
        unimplemented!()
    }
}
