//! VDIs as VHD files (and raw files) in one directory, named as XenServer names them.
//!
//! `names` says what a file is by its name, `inspect` what is in it, `tree` which images are parents of which;
//! `vhd_directory` keeps the whole and lets operations take turns (`tree_locks`), `create`, `branch`, `resize` and `remove` are
//! the operations, `recovery` ends what a crash interrupted; `open_image` serves one opened VDI, `paused` replaces what is behind it,
//! `open_images` knows who has which image, `differing` which blocks two VDIs may have different, `flusher` writes back behind them,
//! `spares` keeps files that snapshots of large images need, `label_log` the names of VDIs.
//! `coalesce` merges images that no VDI needs as they are, `cbt` keeps the change-tracking logs, `change_tracking` shows them with their VDIs.
//! Which write comes before which, and what a crash leaves: `docs/internals/durability.md`.

mod branch;
mod branch_files;
pub mod cbt;
mod change_tracking;
mod coalesce;
mod collector;
mod create;
mod differing;
mod error;
mod flusher;
mod inspect;
mod known_tree;
mod label_log;
pub mod names;
mod open_image;
mod open_images;
mod parents;
mod paused;
mod pauses;
mod recovery;
mod remove;
mod resize;
mod scan;
mod spares;
mod tree;
mod tree_locks;
mod vhd_directory;

#[cfg(test)]
mod tests;

pub use branch::{Branched, SNAPSHOT_DEPTH};
pub use coalesce::FileChains;
pub use collector::Collector;
pub use create::NewImage;
pub use error::{Error, Result};
pub use known_tree::Change;
pub use label_log::LabelLog;
pub use open_image::OpenImage;
pub use open_images::{Hold, OpenImages, Use};
pub use parents::SrParents;
pub use paused::Paused;
pub use tree::{ImageTree, MAX_CHAIN, Node};
pub use vhd_directory::{TreeChange, VhdDirectory};
