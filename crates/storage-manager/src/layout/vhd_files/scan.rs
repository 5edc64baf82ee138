//! What is in an SR directory, one image at a time: an image that cannot be read is listed as damaged and hides no other.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::cbt::LogSummary;
use super::inspect::{Inspected, inspect};
use super::names::{EntryKind, ImageFormat, ImageName, classify};
use super::tree::{BrokenChain, ImageTree};
use super::{Error, Result};
use crate::medium::files::Files;
use crate::sr::{DamagedImage, FoundVdi};

/// What a survey found.
#[derive(Debug)]
pub struct Survey {
    /// Every image that can be served, hidden leaves among them.
    pub images: BTreeMap<ImageName, Inspected>,
    /// Every image that cannot.
    pub damaged: Vec<DamagedImage>,
    /// Which images are parents of which.
    pub tree: ImageTree,
    /// The change-tracking logs, also of VDIs without an image; filled in by the directory.
    pub logs: BTreeMap<Uuid, LogSummary>,
}

/// The images of a directory as they were read, one by one, before their chains are looked at.
#[derive(Debug, Default)]
pub struct Listing {
    read: BTreeMap<ImageName, Result<Inspected>>,
    /// Files that end like images and have other names.
    misnamed: Vec<String>,
}

impl Listing {
    /// Reads every image of the directory.
    pub fn read(files: &dyn Files) -> Result<Self> {
        let entries = files.entries().map_err(|source| Error::Io {
            action: "list",
            path: files.path().to_owned(),
            source,
        })?;
        let mut listing = Listing::default();
        for entry in entries {
            match classify(&entry) {
                EntryKind::Image(name) => listing.read_again(files, name),
                EntryKind::Misnamed => listing.misnamed.push(entry),
                _ => {}
            }
        }
        Ok(listing)
    }

    /// Reads one image again, which has changed, come or gone.
    pub fn read_again(&mut self, files: &dyn Files, name: ImageName) {
        match inspect(files, name) {
            // Removed between the listing and now: it was not there.
            Err(Error::Missing { .. }) => drop(self.read.remove(&name)),
            read => drop(self.read.insert(name, read)),
        }
    }

    /// Looks again at what could not be read or has a foreign name: it may have been seen in the middle of a change that no image's
    /// place in the tree tells of, as a merge that makes its target larger, or exchanges names.
    ///
    /// Of use only while nothing can change.
    pub fn read_doubtful_again(&mut self, files: &dyn Files) {
        let unread = self.read.iter().filter(|(_, read)| read.is_err());
        let names: Vec<ImageName> = unread.map(|(name, _)| *name).collect();
        for name in names {
            self.read_again(files, name);
        }
        self.misnamed
            .retain(|name| files.contains(name).unwrap_or(true));
    }

    /// Tells what can be served.
    pub fn survey(self) -> Survey {
        let mut damaged = Vec::new();
        for name in self.misnamed {
            damaged.push(damage(name, &Error::Misnamed));
        }
        let mut images = BTreeMap::new();
        // Sorted, a VHD comes before the raw file of the same uuid.
        for (name, read) in self.read {
            let is_double =
                name.format == ImageFormat::Raw && images.contains_key(&ImageName::vhd(name.uuid));
            match read {
                _ if is_double => damaged.push(damage(name.file_name(), &Error::Duplicate)),
                Ok(inspected) => drop(images.insert(name, inspected)),
                Err(error) => damaged.push(damage(name.file_name(), &error)),
            }
        }
        let nodes = images.iter().map(|(name, image)| (*name, image.node()));
        let tree = ImageTree::new(nodes.collect(), !damaged.is_empty());
        let unreadable: BTreeSet<String> =
            damaged.iter().map(|image| image.location.clone()).collect();
        images.retain(|name, _| match tree.check_chain(*name) {
            Ok(()) => true,
            Err(broken) => {
                damaged.push(damage(name.file_name(), &chain_error(broken, &unreadable)));
                false
            }
        });
        damaged.sort_by(|a, b| a.location.cmp(&b.location));
        Survey {
            images,
            damaged,
            tree,
            logs: BTreeMap::new(),
        }
    }
}

fn chain_error(broken: BrokenChain, unreadable: &BTreeSet<String>) -> Error {
    match broken {
        BrokenChain::TooLong => Error::ChainTooLong {
            limit: super::tree::MAX_CHAIN,
        },
        BrokenChain::Missing(parent) => {
            let parent = parent.file_name();
            if unreadable.contains(&parent) {
                Error::ParentDamaged { parent }
            } else {
                Error::ParentMissing { parent }
            }
        }
    }
}

fn damage(location: String, error: &Error) -> DamagedImage {
    DamagedImage {
        location,
        reason: error.chain_text(),
    }
}

impl Survey {
    /// The VDIs as `SR.scan` shows them: hidden leaves are left out, they only wait to be removed.
    pub fn vdis(&self) -> Vec<FoundVdi> {
        let parents: BTreeSet<ImageName> = self
            .tree
            .nodes()
            .values()
            .filter_map(|node| node.parent)
            .collect();
        let shown = self
            .images
            .iter()
            .filter(|(name, image)| !image.hidden || parents.contains(name));
        let mut vdis = shown
            .map(|(name, image)| found_vdi(*name, image, parents.contains(name)))
            .collect();
        self.add_logs(&mut vdis);
        vdis
    }
}

/// One VDI as the API shows it.
///
/// Source: the records of a real pool's `file` SR: `sm_config` of a VHD holds its parent and nothing else, that of a raw
/// VDI says `type=raw`; `location` is the uuid; the utilisation is the length of the file, not its blocks.
pub fn found_vdi(name: ImageName, image: &Inspected, is_parent: bool) -> FoundVdi {
    let mut sm_config = BTreeMap::new();
    if name.format == ImageFormat::Raw {
        sm_config.insert("type".to_owned(), "raw".to_owned());
    }
    if let Some(parent) = image.parent {
        sm_config.insert("vhd-parent".to_owned(), parent.uuid.to_string());
    }
    FoundVdi {
        uuid: name.uuid,
        location: name.uuid.to_string(),
        virtual_size: image.virtual_size,
        physical_utilisation: image.file_size,
        managed: !image.hidden,
        read_only: is_parent || image.hidden,
        sm_config,
        cbt_enabled: false,
        is_cbt_metadata: false,
    }
}
