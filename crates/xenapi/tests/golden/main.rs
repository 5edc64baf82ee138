//! Both wires and the schema against the transcripts of a real pool.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod schema;
mod transcripts;
mod wire;
