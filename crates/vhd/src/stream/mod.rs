//! Images as streams: written and read front to back in one pass, without seeking.
//!
//! Export and import carry an image through a pipe or an HTTP body. [`StreamWriter`] yields one from a map of blocks and a
//! function that reads their content; [`StreamReader`] takes one apart. Neither holds more than one table and one buffer.
//!
//! ```text
//! 0        footer copy                         512
//! 512      dynamic header                      1024
//! 1536     path of the parent, else zeros      512
//! 2048     BAT, 0xff behind its entries        whole sectors
//! ...      blocks in ascending order: bitmap (512, all ones) + 2 MiB of data
//! end-512  footer
//! ```
//!
//! That is the layout of XenServer's own exports, which have no batmap and do not align data; see `docs/formats/vhd.md`.

mod input;
mod reader;
mod writer;

pub use reader::{METADATA_GAP_LIMIT, PIECE_BYTES, Piece, StreamInfo, StreamReader};
pub use writer::{NewStream, StreamParent, StreamWriter, TIMESTAMP};
