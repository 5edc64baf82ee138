//! Opening the parents of an image: by name, in the SR's own directory, and nowhere else.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::inspect::parent_of;
use super::names::ImageFormat;
use super::open_images::{Hold, OpenImages, Use};
use crate::io::lock::LockMode;
use crate::medium::files::{Access, Files};

/// Maps the parent that an image names to an image of the same SR, held as a parent and locked against writers of other
/// processes.
///
/// Only the last component of the name counts, and only if it has the exact form of an image name. Depth, cycles and the
/// parent's uuid are checked by the chain.
pub struct SrParents {
    files: Arc<dyn Files>,
    images: Arc<OpenImages>,
    holds: Mutex<Vec<Hold>>,
}

impl SrParents {
    /// Looks in this directory.
    pub fn new(files: Arc<dyn Files>, images: Arc<OpenImages>) -> Self {
        SrParents {
            files,
            images,
            holds: Mutex::default(),
        }
    }

    /// The images that were opened, the leaf's parent first; to be kept as long as they are open.
    pub fn into_holds(self) -> Vec<Hold> {
        self.holds
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, link: &vhd::ParentLink) -> io::Result<vhd::ParentStorage> {
        let name = parent_of(link)
            .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
        let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "it is open for writing");
        let hold = self.images.hold(name, Use::Parent).ok_or_else(busy)?;
        let file = self.files.open_file(&name.file_name(), Access::Read)?;
        if !file.try_lock(LockMode::Shared)? {
            return Err(busy());
        }
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.push(hold);
        let storage: Arc<dyn vhd::Storage> = file;
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
