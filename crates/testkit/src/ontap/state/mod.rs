//! What the array knows and how it changes: no sockets, no files, no threads.

mod clock;
mod clones;
pub mod cluster;
pub mod error;
pub mod igroups;
pub mod iscsi;
pub mod jobs;
pub mod luns;
pub mod snapshots;
pub mod space;
#[cfg(test)]
mod tests;
pub mod volumes;
