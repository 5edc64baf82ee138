//! What the table of routes says is what the service does: who may ask for what, and which bodies and queries are refused.
//!
//! A new route or action needs a request that is granted in `samples.rs`; the tests say so as long as it is missing.

mod bad_input;
mod documents;
mod roles;
mod samples;
mod world;
