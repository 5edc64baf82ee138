//! The VHD image format: fixed, dynamic and differencing images and their chains.
//!
//! The format code is sans-I/O: [`footer`], [`header`], [`bat`], [`batmap`], [`bitmap`] and [`locator`] each hold one
//! structure with its offsets, `parse`, `to_bytes` and rules. [`image`] reads and makes images on a [`Storage`], which
//! is nothing but bytes at offsets, and [`Chain`] serves an image together with its parents as one range of bytes.
//! What lies where in a file, and which write may be torn, is in `docs/formats/vhd.md`.
//!
//! Nothing here opens a file by a name: parents come from the caller's [`ParentResolver`]. Nothing here locks: the
//! caller sees to it that an image opened for writing is open nowhere else, and that a parent is not written.
//!
//! ```
//! use vhd::{Access, Chain, MemoryStorage, NoParents, image};
//!
//! let storage = std::sync::Arc::new(MemoryStorage::new());
//! image::create_dynamic(&*storage, &image::NewImage::new(10 << 20, uuid::Uuid::from_u128(1)))?;
//! let chain = Chain::open(storage, &NoParents, Access::ReadWrite)?;
//! chain.write_at(b"hello", 4096)?;
//! chain.flush()?;
//! let mut found = [0; 5];
//! chain.read_at(&mut found, 4096)?;
//! assert_eq!(&found, b"hello");
//! # Ok::<(), vhd::Error>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bat;
pub mod batmap;
mod big_endian;
pub mod bitmap;
pub mod chain;
pub mod check;
mod error;
mod file;
pub mod footer;
pub mod header;
pub mod image;
pub mod layout;
pub mod locator;
mod memory;
pub mod merge;
pub mod size;
mod storage;
pub mod stream;
pub mod volume;

pub use chain::{
    Access, Chain, Extent, ExtentStatus, NoParents, ParentResolver, ParentStack, ParentStorage,
};
pub use error::{Defect, Error, ErrorKind, Part, Result, Rule};
pub use file::FileStorage;
pub use image::{ImageInfo, ParentLink};
pub use memory::MemoryStorage;
pub use storage::Storage;

/// Bytes in a sector, the unit of the format's offsets.
pub const SECTOR_SIZE: u64 = 512;
