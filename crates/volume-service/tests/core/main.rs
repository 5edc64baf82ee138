//! The database, the use cases and what they promise, on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

mod operations;
#[allow(dead_code)]
mod support;
