//! Opening the parents of an image: by name, in the SR's own directory, and nowhere else.

use std::io;
use std::sync::Arc;

use super::inspect::parent_of;
use super::names::ImageFormat;
use crate::io::lock::{LockMode, try_lock};
use crate::io::positional::PositionalFile;
use crate::medium::directory::{Access, Directory};

/// Maps the parent that an image names to an image of the same SR, locked against writers.
///
/// Only the last component of the name counts, and only if it has the exact form of an image name. Depth, cycles and the
/// parent's uuid are checked by the chain.
pub struct SrParents {
    directory: Arc<Directory>,
}

impl SrParents {
    /// Looks in this directory.
    pub fn new(directory: Arc<Directory>) -> Self {
        SrParents { directory }
    }

    fn open(&self, link: &vhd::ParentLink) -> io::Result<vhd::ParentStorage> {
        let name = parent_of(link)
            .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
        let file = self.directory.open_file(&name.file_name(), Access::Read)?;
        if !try_lock(&file, LockMode::Shared)? {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "it is open for writing",
            ));
        }
        let storage = Arc::new(PositionalFile::locked(file));
        Ok(match name.format {
            ImageFormat::Vhd => vhd::ParentStorage::Vhd(storage),
            ImageFormat::Raw => vhd::ParentStorage::Raw(storage),
        })
    }
}

impl vhd::ParentResolver for SrParents {
    fn resolve(&self, link: &vhd::ParentLink) -> vhd::Result<vhd::ParentStorage> {
        self.open(link).map_err(|source| vhd::Error::ParentMissing {
            uuid: link.uuid,
            name: link.base_name().to_owned(),
            source: Some(source),
        })
    }
}
