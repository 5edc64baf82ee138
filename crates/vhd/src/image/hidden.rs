//! Marking an image as one that is kept only as a parent of others.

use crate::error::Result;
use crate::footer::{FOOTER_SIZE, Footer, ImageType};
use crate::image::found::{Headers, PlacedFooter};
use crate::storage::{self, Storage};

/// Sets or clears the hidden flag in both footers. An image that has the flag as wanted is not written to.
///
/// The image may be open as a parent of chains, which never look at the flag; it must not be open for writing.
///
/// # Errors
/// As [`crate::image::FoundImage::read`]. After `Io` the flag is the old or the new one.
///
/// # Durability
/// The flag is on stable storage at return. In this order, each followed by a flush:
///
/// 1. The copy at offset 0 is written. Crash: the footer at the end counts, so the flag is the old one; the next
///    writable open writes the copy from it.
/// 2. The footer at the end is written, if there was a sound one. Crash: old or new, for it is one sector.
///
/// When there was none at the end (a crash left the image so, or a chain that is open reserved space behind its last
/// block), the copy alone counts, and step 1 is the whole. A fixed image has no copy: step 2 is the whole. On a volume the
/// copy counts, so the flag is the new one after step 1.
/// `tests/crash_edit.rs` cuts it everywhere.
pub fn set_hidden(storage: &dyn Storage, hidden: bool) -> Result<()> {
    let headers = Headers::read(storage)?;
    let mut footer = headers.footer.clone();
    footer.hidden = hidden.into();
    write_footers(storage, &headers, &footer)
}

/// Writes a changed footer in its places, as the steps of [`set_hidden`] say; nothing where it stands already.
pub(crate) fn write_footers(
    storage: &dyn Storage,
    headers: &Headers,
    footer: &Footer,
) -> Result<()> {
    let bytes: [u8; FOOTER_SIZE] = footer.to_bytes();
    // A footer at the end that is not the one chosen is a tenant's bytes, or dead.
    let end = headers
        .primary
        .as_ref()
        .ok()
        .filter(|primary| primary.footer == headers.footer);
    if footer.image_type != ImageType::Fixed && headers.backup.as_ref() != Ok(footer) {
        storage::write(storage, &bytes, 0)?;
        storage::flush(storage)?;
    }
    if let Some(PlacedFooter { offset, .. }) = end.filter(|end| end.footer != *footer) {
        storage::write(storage, &bytes, *offset)?;
        storage::flush(storage)?;
    }
    Ok(())
}
