//! Making a checked image ready for writing.

use crate::big_endian::checksum;
use crate::error::Result;
use crate::footer::{FOOTER_SIZE, ImageType};
use crate::image::found::{Batmap, CheckedImage, Headers, Tables};
use crate::storage::{self, Storage};

/// An image that is ready for writing: its tail is what the format says, and in a file nothing leaked lies behind its last
/// block.
pub struct WritableImage {
    pub(crate) checked: CheckedImage,
    /// First byte behind the last block, where the footer of a file lies.
    pub(crate) end: u64,
}

impl CheckedImage {
    /// Repairs what a crash can have left, and allows writing.
    ///
    /// The caller holds whatever lock keeps others from writing, from before [`crate::image::FoundImage::read`] until
    /// the image is dropped.
    ///
    /// # Durability
    /// A sound image is not written to. Otherwise, in this order:
    ///
    /// 1. The copy of the footer at offset 0 is written, if it is not equal to the footer chosen, and flushed.
    ///    Crash: the footer at the end still serves.
    /// 2. The file is cut (or grown) to end with a footer's sector behind its last published block, which frees blocks
    ///    that were never published and makes their space read as zeros when it is used again. A volume keeps its length.
    ///    Crash: the copy at offset 0 serves; the next writable open comes here again.
    /// 3. The footer is written at the end; a batmap whose checksum did not fit is written anew, all clear.
    ///    Crash: as after 2. A torn batmap has a wrong checksum and is ignored by readers of ours.
    /// 4. Everything is flushed.
    ///
    /// # Errors
    /// `Io`; the image is then as a crash would leave it.
    pub fn into_writable(self) -> Result<WritableImage> {
        let mut checked = self;
        let end = repair(
            &*checked.found.storage,
            &checked.found.headers,
            &mut checked.tables,
        )?;
        Ok(WritableImage { checked, end })
    }
}

/// What [`CheckedImage::into_writable`] does; returns the first byte behind the last block, where the footer of a file lies.
pub(crate) fn repair(storage: &dyn Storage, headers: &Headers, tables: &mut Tables) -> Result<u64> {
    let end = tables.data_end(headers);
    let footer = &headers.footer;
    // A fixed image does not grow, so nothing can be wrong with its tail that a write would make worse.
    let is_fixed = footer.image_type == ImageType::Fixed;
    let footer_offset = headers.footer_offset(end);
    let tail_is_sound = headers.length == footer_offset + FOOTER_SIZE as u64
        && matches!(&headers.primary, Ok(primary) if primary.offset == footer_offset && primary.footer == *footer);
    let placed = is_fixed || tail_is_sound;
    let has_copy = is_fixed || headers.backup.as_ref() == Ok(footer);
    if !has_copy {
        storage::write(storage, &footer.to_bytes(), 0)?;
        storage::flush(storage)?;
    }
    if !placed {
        if !headers.is_volume {
            storage::set_length(storage, end + FOOTER_SIZE as u64)?;
        }
        storage::write(storage, &footer.to_bytes(), footer_offset)?;
    }
    let damaged = tables.batmap.as_mut().filter(|batmap| batmap.damaged);
    let batmap_damaged = damaged.is_some();
    if let Some(batmap) = damaged {
        write_batmap(storage, batmap)?;
        batmap.damaged = false;
    }
    if !placed || batmap_damaged {
        storage::flush(storage)?;
    }
    Ok(end)
}

/// Writes the batmap's header and bits, with one write where they lie side by side as in every known image, so that
/// only a power cut can tear them.
pub(crate) fn write_batmap(storage: &dyn Storage, batmap: &mut Batmap) -> Result<()> {
    batmap.header.set_checksum(&batmap.bits);
    debug_assert_eq!(batmap.header.checksum, checksum(&batmap.bits));
    let header = batmap.header.to_bytes();
    if batmap.header.map_offset == batmap.header_offset + header.len() as u64 {
        let mut both = Vec::with_capacity(header.len() + batmap.bits.len());
        both.extend_from_slice(&header);
        both.extend_from_slice(&batmap.bits);
        return storage::write(storage, &both, batmap.header_offset);
    }
    storage::write(storage, &batmap.bits, batmap.header.map_offset)?;
    storage::write(storage, &header, batmap.header_offset)
}
