//! A connection to PostgreSQL, driven by the thread that owns it.
//!
//! What is sent ahead of a statement goes out with it, in one exchange: the server works it off in order, and each answer is judged.

use std::collections::HashMap;
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::failure;
use super::param::Param;
use crate::error::{Error, ErrorKind, Result, Subject};

/// Prepared statements kept per connection; when full, all are forgotten and made again as needed.
const STATEMENTS_MAX: usize = 256;
/// Limits on the server's side: a statement and a wait for a lock end, so that a thread is never lost to them.
const LIMITS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
                      SET idle_in_transaction_session_timeout = '60s'; SET default_transaction_isolation = 'read committed'";

pub(super) type Answer<T> = std::result::Result<T, tokio_postgres::Error>;

/// A connection with its prepared statements.
pub(super) struct Session {
    runtime: Runtime,
    client: Client,
    statements: HashMap<String, Statement>,
}

/// A statement of which only the number of rows that it touches matters.
pub(super) struct Posted {
    pub(super) statement: Statement,
    pub(super) params: Vec<Param>,
    /// True when it may change something.
    pub(super) writes: bool,
    /// The error when it is not one; none when it may be any.
    pub(super) missed: Option<Box<dyn FnOnce() -> Error>>,
}

/// What an exchange brought.
pub(super) struct Exchanged<T> {
    /// Of what was to begin the transaction.
    pub(super) begun: Answer<()>,
    /// Rows touched by each posted statement.
    pub(super) counts: Vec<Answer<u64>>,
    /// Of the statement itself.
    pub(super) answer: Answer<T>,
}

impl Session {
    /// Connects.
    pub(super) fn connect(config: &Config) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| refused("start a runtime for PostgreSQL").caused_by(error))?;
        let client = runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await?;
            // Ends with the client.
            drop(tokio::spawn(connection));
            client.batch_execute(LIMITS).await?;
            Ok(client)
        });
        let client = client.map_err(|error: tokio_postgres::Error| {
            refused("connect to PostgreSQL").caused_by(error)
        })?;
        Ok(Session {
            runtime,
            client,
            statements: HashMap::new(),
        })
    }

    /// True once the connection is lost.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Answer<()> {
        self.runtime.block_on(self.client.batch_execute(sql))
    }

    /// Runs a query whose text is used once.
    pub(super) fn query_once(&self, sql: &str) -> Answer<Vec<Row>> {
        self.runtime.block_on(self.client.query(sql, &[]))
    }

    /// The prepared statement of a text.
    pub(super) fn prepare(&mut self, sql: &str) -> Answer<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        let text = for_postgresql(sql);
        let statement = self.runtime.block_on(self.client.prepare(&text))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement; all of `begin`, `posted` and the statement are sent before the first answer is waited for.
    pub(super) fn query(
        &self,
        begin: Option<&str>,
        posted: &[Posted],
        statement: &Statement,
        params: &[Param],
    ) -> Exchanged<Vec<Row>> {
        let params = borrowed(params);
        let last = self.client.query(statement, &params);
        self.exchange(begin, posted, last)
    }

    /// As `query`, for a statement that returns no rows.
    pub(super) fn execute(
        &self,
        begin: Option<&str>,
        posted: &[Posted],
        statement: &Statement,
        params: &[Param],
    ) -> Exchanged<u64> {
        let params = borrowed(params);
        let last = self.client.execute(statement, &params);
        self.exchange(begin, posted, last)
    }

    /// Sends what was posted, with nothing behind it.
    pub(super) fn flush(&self, begin: Option<&str>, posted: &[Posted]) -> Exchanged<()> {
        self.exchange(begin, posted, ready(Ok(())))
    }

    fn exchange<T>(
        &self,
        begin: Option<&str>,
        posted: &[Posted],
        last: impl Future<Output = Answer<T>>,
    ) -> Exchanged<T> {
        let params: Vec<_> = posted.iter().map(|one| borrowed(&one.params)).collect();
        let begun = async {
            match begin {
                Some(sql) => self.client.batch_execute(sql).await,
                None => Ok(()),
            }
        };
        let ahead = posted
            .iter()
            .zip(&params)
            .map(
                |(one, params)| -> Pin<Box<dyn Future<Output = Answer<u64>> + '_>> {
                    Box::pin(self.client.execute(&one.statement, params))
                },
            )
            .collect();
        self.runtime.block_on(in_order(begun, ahead, last))
    }
}

/// Polls everything in its order until all is done: the first round sends the requests, and in that order.
async fn in_order<'a, T>(
    begun: impl Future<Output = Answer<()>>,
    mut ahead: Vec<Pin<Box<dyn Future<Output = Answer<u64>> + 'a>>>,
    last: impl Future<Output = Answer<T>>,
) -> Exchanged<T> {
    let (mut begun, mut last) = (pin!(begun), pin!(last));
    let (mut is_begun, mut answer) = (None, None);
    let mut counts: Vec<Option<Answer<u64>>> = ahead.iter().map(|_| None).collect();
    poll_fn(move |context| {
        if is_begun.is_none()
            && let Poll::Ready(ready) = begun.as_mut().poll(context)
        {
            is_begun = Some(ready);
        }
        for (future, count) in ahead.iter_mut().zip(&mut counts) {
            if count.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *count = Some(ready);
            }
        }
        if answer.is_none()
            && let Poll::Ready(ready) = last.as_mut().poll(context)
        {
            answer = Some(ready);
        }
        if is_begun.is_none() || answer.is_none() || counts.iter().any(Option::is_none) {
            return Poll::Pending;
        }
        match (is_begun.take(), answer.take()) {
            (Some(begun), Some(answer)) => Poll::Ready(Exchanged {
                begun,
                counts: counts.drain(..).flatten().collect(),
                answer,
            }),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Rewrites a statement for PostgreSQL: `?1` becomes `$1` (our statements hold no question mark in a literal), and the
/// remark `/* skip locked */`, which SQLite ignores, becomes a row lock that passes over what others hold.
fn for_postgresql(sql: &str) -> String {
    sql.replace('?', "$")
        .replace("/* skip locked */", "FOR UPDATE SKIP LOCKED")
        .replace("/* for update */", "FOR UPDATE")
        .replace("json_group_object(", "json_object_agg(")
}

fn borrowed(params: &[Param]) -> Vec<&(dyn ToSql + Sync)> {
    params.iter().map(|param| param as _).collect()
}

fn refused(detail: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Subject::Database,
        "The service cannot reach its database.",
    )
    .detail(detail)
}

/// What a failed statement means to its caller.
pub(super) fn told(error: tokio_postgres::Error) -> Error {
    failure::of_postgresql(error).0
}
