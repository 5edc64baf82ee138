//! Who says which storage a parent is.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::ParentLink;
use crate::storage::Storage;

/// What a resolver found.
#[derive(Clone)]
pub enum ParentStorage {
    /// A VHD.
    Vhd(Arc<dyn Storage>),
    /// Raw bytes, only for a link that [`ParentLink::is_raw`]; never probed.
    Raw(Arc<dyn Storage>),
}

/// Maps what a child says of its parent to a storage.
///
/// The link comes from inside an image and is untrusted: an implementation maps it to an image it knows (by uuid, or by
/// the base name within one directory) and refuses everything else.
pub trait ParentResolver {
    /// Finds the parent.
    ///
    /// # Errors
    /// `ParentMissing` when it is not there or not to be opened.
    fn resolve(&self, link: &ParentLink) -> Result<ParentStorage>;
}

/// Refuses every parent, for images that must stand alone.
#[derive(Clone, Copy, Debug)]
pub struct NoParents;

impl ParentResolver for NoParents {
    fn resolve(&self, link: &ParentLink) -> Result<ParentStorage> {
        Err(missing(link, None))
    }
}

impl<F: Fn(&ParentLink) -> Result<ParentStorage>> ParentResolver for F {
    fn resolve(&self, link: &ParentLink) -> Result<ParentStorage> {
        self(link)
    }
}

/// The error of a resolver that has no such parent.
pub(crate) fn missing(link: &ParentLink, source: Option<std::io::Error>) -> Error {
    Error::ParentMissing {
        uuid: link.uuid,
        name: link.base_name().to_string(),
        source,
    }
}
