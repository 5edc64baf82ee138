//! The EC2 API against a real service, and its signatures against the vectors of others.

mod actions;
mod documents;
mod refusals;
mod signatures;
mod snapshots;
mod walk;
