//! Operations under every fault: the generic harness, two workers at once, late workers, and simulation, on SQLite and on
//! PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

mod adoption;
mod births;
mod births_hindered;
mod copies;
mod extensions;
mod fake_pool;
mod faults;
mod flavors;
mod gate;
mod groups;
mod installation;
mod instances;
mod late_worker;
mod offspring;
mod outcomes;
mod probing;
mod reconcilers;
mod restored;
mod scenarios;
mod simulation;
mod stopped;
mod together;
mod two_workers;
mod unheard;
