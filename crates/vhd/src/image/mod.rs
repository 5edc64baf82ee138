//! One image on one storage: making it, looking at it, opening it.
//!
//! Opening for writing is a sequence of types, so that no step can be left out:
//!
//! ```text
//! FoundImage --check--> CheckedImage --into_writable--> WritableImage
//! (parsed)              (against the real length,       (tail repaired, batmap sound)
//!                        the other footer and the BAT)
//! ```
//!
//! That nobody else has the image open for writing is the caller's to see to: the format itself has no reliable mark.

mod create;
mod found;
mod grow;
mod hidden;
mod info;
mod journal;
mod reparent;
mod writable;

pub use create::{
    NewImage, NewParent, create_differencing, create_dynamic, create_fixed, create_prepared,
    prepare_differencing,
};
pub use found::{CheckedImage, FoundImage};
pub use grow::{grow, grows_in_place};
pub use hidden::set_hidden;
pub use info::{ImageInfo, ParentLink, allocated_blocks, has_blocks, inspect, parent_link};
pub use journal::{is_journal, revert};
pub use reparent::reparent;
pub use writable::WritableImage;

pub(crate) use found::{
    Batmap, Headers, PlacedFooter, Tables, metadata_end, read_batmap_header, read_footers,
    read_table,
};
pub(crate) use info::read_locator;
pub(crate) use writable::write_batmap;
