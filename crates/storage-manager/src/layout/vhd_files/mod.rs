//! VDIs as VHD files (and raw files) in one directory, named as XenServer names them.
//!
//! `names` says what a file is by its name, `inspect` what is in it, `tree` which images are parents of which;
//! `vhd_directory` does the operations on the whole, `open_image` serves one opened VDI, `flusher` writes back behind it.
//! Which write comes before which, and what a crash leaves: `docs/internals/durability.md`.

mod error;
mod flusher;
mod inspect;
mod known_tree;
pub mod names;
mod open_image;
mod parents;
mod scan;
mod tree;
mod vhd_directory;

#[cfg(test)]
mod tests;

pub use error::{Error, Result};
pub use open_image::OpenImage;
pub use vhd_directory::{NewImage, VhdDirectory};
