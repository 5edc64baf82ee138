//! Statements, the same for both databases.

use super::failure::{self, Trouble};
use super::param::Param;
use super::row::Row;
use super::session::{Exchanged, Posted, Session};
use super::signals::Wake;
use crate::error::{Error, Result};

/// Statements that are sent ahead of another one at most.
const POSTED_MAX: usize = 64;

/// A transaction, or a closure's part of one that several share.
pub struct Transaction<'a> {
    connection: Connection<'a>,
    /// What has to be sent ahead of the first statement.
    begin: Option<&'static str>,
    /// What is sent ahead of the next statement.
    posted: Vec<Posted>,
    /// How many of them are of the closures before in the same transaction.
    inherited: usize,
    /// What is posted last is left to the closures behind.
    leaves_posted: bool,
    /// A closure that fails runs again.
    is_tentative: bool,
    /// Something is taken for granted that nobody has looked up.
    assumes: bool,
    has_begun: bool,
    has_written: bool,
    wake: Wake,
    after_commit: Vec<AfterCommit>,
    trouble: Option<Trouble>,
    has_failed: bool,
}

/// What is known of the end of a transaction that was to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is stored.
    Committed,
    /// Nobody answered: it may or may not be stored.
    Unknown,
}

/// What is done when a transaction is committed.
pub(super) type AfterCommit = Box<dyn FnOnce(Fate) + Send>;

enum Connection<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgresql(&'a mut Session),
}

impl<'a> Transaction<'a> {
    pub(super) fn on_sqlite(connection: &'a rusqlite::Connection) -> Self {
        Transaction::on(Connection::Sqlite(connection), None)
    }

    /// `begin` is sent with the first statement.
    pub(super) fn on_postgresql(session: &'a mut Session, begin: Option<&'static str>) -> Self {
        Transaction::on(Connection::Postgresql(session), begin)
    }

    fn on(connection: Connection<'a>, begin: Option<&'static str>) -> Self {
        Transaction {
            connection,
            begin,
            posted: Vec::new(),
            inherited: 0,
            leaves_posted: false,
            is_tentative: false,
            assumes: false,
            has_begun: false,
            has_written: false,
            wake: Wake::default(),
            after_commit: Vec::new(),
            trouble: None,
            has_failed: false,
        }
    }

    /// Says that a closure that fails after it assumed something, or wrote, runs again and may not assume then.
    pub(super) fn tentatively(mut self) -> Self {
        self.is_tentative = true;
        self
    }

    /// Takes over what the closures before it in the same transaction have posted, and leaves what it posts to those behind.
    pub(super) fn in_group(mut self, posted: Vec<Posted>) -> Self {
        self.inherited = posted.len();
        self.posted = posted;
        self.leaves_posted = true;
        self
    }

    /// What was not sent: what begins the transaction, and what was posted; of its own only what is to be kept.
    pub(super) fn into_unsent(mut self, keep: bool) -> (Option<&'static str>, Vec<Posted>) {
        if !keep {
            self.drop_posted();
        }
        (self.begin, self.posted)
    }

    /// True where what is posted goes out with a later statement.
    pub fn posts_ahead(&self) -> bool {
        matches!(self.connection, Connection::Postgresql(_))
    }

    /// True where nobody else writes until this transaction ends: what it has read stays true.
    pub fn is_sole_writer(&self) -> bool {
        matches!(self.connection, Connection::Sqlite(_))
    }

    /// Asks whether the closure may take something for granted that it has not looked up, or that may change until the commit. It may
    /// where it runs again, without that, if it fails; and must post what shows that it was right.
    pub fn assume(&mut self) -> bool {
        self.assumes |= self.is_tentative;
        self.is_tentative
    }

    /// Says that what the closure's refusal rests on has been proved.
    pub fn assumes_no_more(&mut self) {
        self.assumes = false;
    }

    /// Drops what this closure has posted and was not sent yet: it refuses.
    pub(super) fn drop_posted(&mut self) {
        self.posted.truncate(self.inherited);
    }

    /// True when something is taken for granted.
    pub(super) fn assumes(&self) -> bool {
        self.assumes
    }

    /// Does something behind the commit, before the caller has its answer, and even if that has gone away. It must not wait. Of a
    /// transaction that is rolled back it is dropped; it is told when nobody knows.
    pub fn after_commit(&mut self, what: impl FnOnce(Fate) + Send + 'static) {
        self.after_commit.push(Box::new(what));
    }

    pub(super) fn take_after_commit(&mut self) -> Vec<AfterCommit> {
        std::mem::take(&mut self.after_commit)
    }

    /// Runs a statement and returns how many rows it touched.
    ///
    /// # Errors
    /// `Conflict` for a violated constraint. A transaction in which a statement failed is rolled back whatever its closure
    /// says: PostgreSQL would not go on with it.
    pub fn execute(&mut self, sql: &'static str, params: &[Param]) -> Result<u64> {
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => execute_sqlite(connection, sql, params),
            Connection::Postgresql(session) => match session.prepare(sql) {
                Ok(statement) => {
                    let (begin, posted) = (self.begin.take(), std::mem::take(&mut self.posted));
                    let exchanged = session.execute(begin, &posted, &statement, params);
                    self.has_begun = true;
                    self.has_written |= writes(&posted, &mut self.inherited);
                    judged(exchanged, posted, &mut self.trouble)
                }
                Err(error) => Err(noted(error, &mut self.trouble)),
            },
        };
        self.has_written |= !matches!(result, Ok(0));
        self.has_failed |= result.is_err();
        result
    }

    /// Runs a statement that must touch one row. PostgreSQL is not waited for: it gets the statement together with the next one
    /// of this transaction, whose result is then the error of this one if there is one.
    ///
    /// # Errors
    /// As `execute`, and what `missed` makes when another number of rows is touched; with that too the transaction is rolled back.
    pub fn post(
        &mut self,
        sql: &'static str,
        params: Vec<Param>,
        missed: impl FnOnce() -> Error + 'static,
    ) -> Result<()> {
        self.post_any(sql, params, Some(Box::new(missed)))
    }

    /// As [`Transaction::post`], for a statement that may touch any number of rows.
    pub fn send(&mut self, sql: &'static str, params: Vec<Param>) -> Result<()> {
        self.post_any(sql, params, None)
    }

    fn post_any(
        &mut self,
        sql: &'static str,
        params: Vec<Param>,
        missed: Option<Box<dyn FnOnce() -> Error>>,
    ) -> Result<()> {
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => {
                let touched = if sql.starts_with("SELECT") {
                    query_sqlite(connection, sql, &params, &mut |_| Ok(()))
                        .map(|rows| rows.len() as u64)
                } else {
                    execute_sqlite(connection, sql, &params)
                };
                touched.and_then(|touched| match missed {
                    Some(missed) if touched != 1 => Err(missed()),
                    _ => Ok(()),
                })
            }
            Connection::Postgresql(session) => match session.prepare(sql) {
                Ok(statement) => {
                    self.posted.push(Posted {
                        statement,
                        params,
                        writes: !sql.starts_with("SELECT"),
                        missed,
                    });
                    Ok(())
                }
                Err(error) => Err(noted(error, &mut self.trouble)),
            },
        };
        self.has_failed |= result.is_err();
        if self.posted.len() >= POSTED_MAX {
            return result.and_then(|()| self.flush());
        }
        result
    }

    /// Waits for what was posted, unless a closure behind does.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.leaves_posted {
            return Ok(());
        }
        self.flush()
    }

    /// Waits for what was posted.
    pub(super) fn flush(&mut self) -> Result<()> {
        let Connection::Postgresql(session) = &mut self.connection else {
            return Ok(());
        };
        if self.posted.is_empty() {
            return Ok(());
        }
        let (begin, posted) = (self.begin.take(), std::mem::take(&mut self.posted));
        let exchanged = session.flush(begin, &posted);
        self.has_begun = true;
        self.has_written |= writes(&posted, &mut self.inherited);
        let result = judged(exchanged, posted, &mut self.trouble);
        self.has_failed |= result.is_err();
        result
    }

    /// Runs a query and maps its rows.
    ///
    /// # Errors
    /// As `execute`, and those of `map`.
    pub fn query<T>(
        &mut self,
        sql: &str,
        params: &[Param],
        mut map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        // Noted first: `map` may panic on what a statement that writes returns.
        self.has_written |= !sql.starts_with("SELECT");
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => query_sqlite(connection, sql, params, &mut map),
            Connection::Postgresql(session) => match session.prepare(sql) {
                Ok(statement) => {
                    let (begin, posted) = (self.begin.take(), std::mem::take(&mut self.posted));
                    let exchanged = session.query(begin, &posted, &statement, params);
                    self.has_begun = true;
                    self.has_written |= writes(&posted, &mut self.inherited);
                    judged(exchanged, posted, &mut self.trouble).and_then(|rows| {
                        rows.iter()
                            .map(|row| map(&Row::on_postgresql(row)))
                            .collect()
                    })
                }
                Err(error) => Err(noted(error, &mut self.trouble)),
            },
        };
        self.has_failed |= result.is_err();
        result
    }

    /// Runs a query of which at most the first row matters.
    pub fn query_first<T>(
        &mut self,
        sql: &str,
        params: &[Param],
        map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.query(sql, params, map)?.into_iter().next())
    }

    /// Says that workers have something to do, once this transaction is committed.
    pub fn wake_workers(&mut self) {
        self.wake.added = true;
    }

    /// Says that an operation has ended, once this transaction is committed.
    pub fn wake_waiters(&mut self) {
        self.wake.ended = true;
    }

    pub(super) fn wake(&self) -> Wake {
        self.wake
    }

    /// True once what begins the transaction was sent.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// True when a statement may have changed something.
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// True when a statement failed, or was a posted one that missed: nothing of the closure is kept.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }
}

fn query_sqlite<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    params: &[Param],
    map: &mut impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql).map_err(failure::of_sqlite)?;
    let mut rows = statement
        .query(rusqlite::params_from_iter(params))
        .map_err(failure::of_sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failure::of_sqlite)? {
        found.push(map(&Row::on_sqlite(row))?);
    }
    Ok(found)
}

fn execute_sqlite(connection: &rusqlite::Connection, sql: &str, params: &[Param]) -> Result<u64> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(rusqlite::params_from_iter(params)))
        .map(|count| count as u64)
        .map_err(failure::of_sqlite)
}

/// True when one of those behind the inherited ones, which are sent now, may change something.
fn writes(posted: &[Posted], inherited: &mut usize) -> bool {
    posted
        .iter()
        .skip(std::mem::take(inherited))
        .any(|one| one.writes)
}

/// The answer of an exchange, or the first error in it by order.
fn judged<T>(
    exchanged: Exchanged<T>,
    posted: Vec<Posted>,
    trouble: &mut Option<Trouble>,
) -> Result<T> {
    exchanged.begun.map_err(|error| noted(error, trouble))?;
    for (posted, count) in posted.into_iter().zip(exchanged.counts) {
        let count = count.map_err(|error| noted(error, trouble))?;
        if let Some(missed) = posted.missed.filter(|_| count != 1) {
            return Err(missed());
        }
    }
    exchanged.answer.map_err(|error| noted(error, trouble))
}

fn noted(error: tokio_postgres::Error, trouble: &mut Option<Trouble>) -> Error {
    let (error, found) = failure::of_postgresql(error);
    *trouble = trouble.or(found);
    error
}
