//! An open image while its consumer is held off.

use std::path::Path;
use std::sync::Arc;

use super::open_image::{Backing, Format};
use super::open_images::Hold;
use super::{Error, Result};
use crate::io::lock::LockMode;
use crate::medium::files::MediumFile;

/// What is behind an export, to be replaced by who has paused it.
#[derive(Debug)]
pub struct Paused<'a> {
    backing: &'a mut Option<Backing>,
    path: &'a Path,
}

impl<'a> Paused<'a> {
    pub(super) fn new(backing: &'a mut Option<Backing>, path: &'a Path) -> Self {
        Paused { backing, path }
    }

    /// The chain that is served; none for a raw image.
    pub fn chain(&self) -> Option<&vhd::Chain> {
        match &self.backing.as_ref()?.format {
            Format::Vhd(chain) => Some(chain),
            Format::Raw => None,
        }
    }

    /// The chain that is served, to be changed in place; none for a raw image.
    pub fn chain_mut(&mut self) -> Option<&mut vhd::Chain> {
        match &mut self.backing.as_mut()?.format {
            Format::Vhd(chain) => Some(chain),
            Format::Raw => None,
        }
    }

    /// The file of the image that is served, with its flock.
    pub fn leaf(&self) -> Option<&Arc<dyn MediumFile>> {
        Some(&self.backing.as_ref()?.leaf)
    }

    /// The holds of the images below the leaf, the leaf's parent first, for who has changed what lies there.
    pub fn parents(&mut self) -> Option<&mut Vec<Hold>> {
        Some(&mut self.backing.as_mut()?.parents)
    }

    /// Replaces the chain by what `swap` makes of it; on its error the chain that it gives back stays.
    ///
    /// # Errors
    /// `Image` with the error of `swap`; `InvalidInput` for a raw image. When `swap` panics the image is closed.
    pub fn replace_chain(
        &mut self,
        action: &'static str,
        swap: impl FnOnce(vhd::Chain) -> std::result::Result<vhd::Chain, Box<(vhd::Chain, vhd::Error)>>,
    ) -> Result<()> {
        let not_vhd = || Error::Io {
            action,
            path: self.path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a VHD"),
        };
        let Some(Backing {
            format: Format::Vhd(chain),
            leaf,
            hold,
            parents,
        }) = self
            .backing
            .take_if(|backing| matches!(backing.format, Format::Vhd(_)))
        else {
            return Err(not_vhd());
        };
        let (chain, outcome) = match swap(chain) {
            Ok(chain) => (chain, Ok(())),
            Err(failed) => {
                let (chain, source) = *failed;
                let path = self.path.to_owned();
                let error = Error::Image {
                    action,
                    path,
                    source,
                };
                (chain, Err(error))
            }
        };
        *self.backing = Some(Backing {
            format: Format::Vhd(chain),
            leaf,
            hold,
            parents,
        });
        outcome
    }

    /// Takes another file as the one that the image is kept in; the old one is given back with its flock.
    pub fn replace_leaf(&mut self, leaf: Arc<dyn MediumFile>) -> Option<Arc<dyn MediumFile>> {
        Some(std::mem::replace(&mut self.backing.as_mut()?.leaf, leaf))
    }

    /// Closes the chain, lets `change` work on the image's file, and opens it again, also when `change` failed.
    ///
    /// # Errors
    /// Those of `change`; when the image cannot be opened again, which the error then says, it stays closed.
    pub fn rebuild(
        &mut self,
        change: impl FnOnce(&Arc<dyn MediumFile>) -> Result<()>,
        open: impl FnOnce(Arc<dyn MediumFile>) -> Result<(vhd::Chain, Vec<Hold>)>,
    ) -> Result<()> {
        let close_error = |source| Error::Image {
            action: "close",
            path: self.path.to_owned(),
            source,
        };
        if let Some(chain) = self.chain() {
            chain.close().map_err(close_error)?;
        }
        let Some(backing) = self.backing.take() else {
            return Ok(());
        };
        let (leaf, hold) = (backing.leaf.clone(), backing.hold);
        drop((backing.format, backing.parents));
        let changed = change(&leaf);
        let opened = open(leaf.clone());
        // What could not be changed explains more than that it cannot be opened now.
        let (chain, parents) = match (opened, &changed) {
            (Ok(opened), _) => opened,
            (Err(_), Err(_)) => return changed,
            (Err(error), Ok(())) => return Err(error),
        };
        *self.backing = Some(Backing {
            format: Format::Vhd(chain),
            leaf,
            hold,
            parents,
        });
        changed
    }

    /// Notes that the chain has got a new leaf, kept in this file, and that the leaf that it had is its parent, held as
    /// `base`. The old leaf's flock lets readers in.
    pub fn push_leaf(&mut self, leaf: Arc<dyn MediumFile>, base: Option<Hold>) {
        let Some(backing) = self.backing.as_mut() else {
            return;
        };
        let old = std::mem::replace(&mut backing.leaf, leaf);
        // Fails only where locks do not work at all, and then there was none.
        let _ = old.try_lock(LockMode::Shared);
        backing.parents.splice(0..0, base);
    }

    /// Lets go of everything: what is behind the export cannot be trusted any more. The consumer's calls fail.
    pub fn close(&mut self) {
        *self.backing = None;
    }
}
