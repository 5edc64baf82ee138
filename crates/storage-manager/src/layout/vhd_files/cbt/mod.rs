//! Change tracking in an SR directory: `<vdi>.cbtlog` beside the images.
//!
//! `log_file` reads and writes one log, `tracker` notes what a consumer changes, `change_logs` does the operations on the
//! chain of logs, `recovery` mends it when the SR is attached. The format is in `layout::cbt_log`. What a crash leaves,
//! and why no log has to be given up after one: `docs/formats/cbt.md`.

mod allocation;
mod change_logs;
mod log_file;
mod recovery;
mod tracker;

#[cfg(test)]
mod tests;

pub use change_logs::{ChangeLogs, ChangedBlocksError, LogSummary};
pub use recovery::LeafImage;
pub use tracker::ChangeTracker;
