//! The format of change-tracking logs: which blocks of 64 KiB of a VDI were written since its predecessor's log ended.
//!
//! Nothing here does I/O. The layout byte by byte, and how logs are chained: `docs/formats/cbt.md`.

mod block_bitmap;
mod chain;
mod log;

pub use block_bitmap::{BLOCK_SIZE, BlockBitmap, Run};
pub use chain::{ChainError, changed_between};
pub use log::{ChangeLog, Defect, HEADER_LENGTH, Header, MAX_TRACKED_SIZE, log_length};

#[cfg(test)]
mod golden_tests;
