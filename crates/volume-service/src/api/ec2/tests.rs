//! The EC2 API against a real service, and its signatures against the vectors of others.

mod actions;
mod attachments;
mod documents;
mod instances;
mod locks;
mod performance;
mod refusals;
mod sharing;
mod signatures;
mod snapshots;
mod status;
mod tags;
mod walk;
