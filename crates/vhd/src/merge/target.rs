//! The image that is merged into.

use std::sync::Arc;

use crate::chain::{Chain, ParentResolver, Payload};
use crate::error::Result;
use crate::storage::{self, Storage};

/// A parent opened for writing, by itself unless it is to be served later.
///
/// Others may have it open as a parent: what a merge changes in it they read from the child. Their lock on it is no
/// obstacle therefore; that no child but the merged one exists is the caller's to see to.
pub struct Target {
    pub(crate) image: Image,
}

pub(crate) enum Image {
    Vhd(Chain),
    Raw {
        storage: Arc<dyn Storage>,
        size: u64,
    },
}

impl Target {
    /// Opens a VHD; it is repaired as [`crate::image::CheckedImage::into_writable`] says.
    ///
    /// # Errors
    /// As [`Chain::open`].
    pub fn vhd(storage: Arc<dyn Storage>) -> Result<Self> {
        let image = Image::Vhd(Chain::open_alone(storage, crate::Access::ReadWrite)?);
        Ok(Self { image })
    }

    /// Opens a VHD together with its parents, so that it can be served when the merge is done.
    ///
    /// # Errors
    /// As [`Chain::open`].
    pub fn chain(storage: Arc<dyn Storage>, parents: &dyn ParentResolver) -> Result<Self> {
        let image = Image::Vhd(Chain::open(storage, parents, crate::Access::ReadWrite)?);
        Ok(Self { image })
    }

    /// Takes raw bytes, whose length is the virtual size.
    ///
    /// # Errors
    /// `Io`.
    pub fn raw(storage: Arc<dyn Storage>) -> Result<Self> {
        let size = storage::length(&*storage)?;
        Ok(Self {
            image: Image::Raw { storage, size },
        })
    }

    /// Virtual size in bytes.
    pub fn size(&self) -> u64 {
        match &self.image {
            Image::Vhd(chain) => chain.size(),
            Image::Raw { size, .. } => *size,
        }
    }

    /// Puts what was written on stable storage.
    ///
    /// # Errors
    /// As [`Chain::flush`].
    pub fn flush(&self) -> Result<()> {
        match &self.image {
            Image::Vhd(chain) => chain.flush(),
            Image::Raw { storage, .. } => storage::flush(&**storage),
        }
    }

    /// Writes whole sectors.
    pub(crate) fn write(&self, payload: Payload<'_>, offset: u64) -> Result<()> {
        match &self.image {
            Image::Vhd(chain) => chain.write_payload(payload, offset),
            Image::Raw { storage, .. } => match payload {
                Payload::Bytes(bytes) => storage::write(&**storage, bytes, offset),
                Payload::Zeros(length) => storage::write_zeroes(&**storage, offset, length),
            },
        }
    }

    /// Frees the space of whole sectors that need not be kept.
    pub(crate) fn discard(&self, offset: u64, length: u64) -> Result<()> {
        match &self.image {
            Image::Vhd(chain) => chain.discard(offset, length),
            Image::Raw { storage, .. } => storage::punch_hole(&**storage, offset, length),
        }
    }
}
