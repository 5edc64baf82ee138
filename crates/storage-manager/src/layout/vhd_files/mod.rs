//! VDIs as VHD files (and raw files) in one directory, named as XenServer names them.
//!
//! `names` says what a file is by its name, `inspect` what is in it, `tree` which images are parents of which;
//! `vhd_directory` does the operations on the whole, `open_image` serves one opened VDI, `paused` replaces what is behind it,
//! `open_images` knows who has which image, `differing` which blocks two VDIs may have different, `flusher` writes back behind them.
//! `cbt` keeps the change-tracking logs, `change_tracking` shows them with their VDIs.
//! Which write comes before which, and what a crash leaves: `docs/internals/durability.md`.

pub mod cbt;
mod change_tracking;
mod differing;
mod error;
mod flusher;
mod inspect;
mod known_tree;
pub mod names;
mod open_image;
mod open_images;
mod parents;
mod paused;
mod scan;
mod tree;
mod vhd_directory;

#[cfg(test)]
mod tests;

pub use error::{Error, Result};
pub use open_image::OpenImage;
pub use open_images::{Hold, OpenImages, Use};
pub use parents::SrParents;
pub use paused::Paused;
pub use vhd_directory::{NewImage, VhdDirectory};
