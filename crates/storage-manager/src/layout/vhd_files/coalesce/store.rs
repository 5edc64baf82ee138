//! The images of an SR directory as the collector sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;
use vhd::check::{CheckOptions, Depth, PrimaryFooter};
use vhd::merge::{Activity, Control};

use super::super::inspect::inspect;
use super::super::names::{ImageFormat, ImageName};
use super::super::{Error, Result};
use super::chains::FileChains;
use crate::gc::store::{CheckedImage, ImageStore, Outcome, PauseCounts, StepError};
use crate::gc::{Consumers, Image, LeafPolicy, Wakeup, Work};
use crate::medium::files::Access;

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        StepError::Layout(Box::new(error))
    }
}

impl ImageStore for FileChains {
    fn images(&self) -> std::result::Result<Vec<Image>, StepError> {
        Ok(self.list()?)
    }

    fn run(&self, work: &Work, control: &Arc<Control>) -> std::result::Result<Outcome, StepError> {
        self.step(work, control)
    }

    fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    fn activity(&self) -> Arc<Activity> {
        FileChains::images(self).open.activity().clone()
    }

    fn cancel(&self, vdi: Option<Uuid>) -> bool {
        self.claims.cancel(vdi)
    }

    fn check(&self, vdi: Uuid) -> std::result::Result<Vec<CheckedImage>, StepError> {
        let names = FileChains::images(self).with_tree(|tree| {
            let own = tree.nodes().keys().find(|name| name.uuid == vdi).copied();
            let own = own.unwrap_or(ImageName::vhd(vdi));
            tree.ancestry(own).collect::<Vec<_>>()
        })?;
        let mut child: Option<vhd::ImageInfo> = None;
        let mut checked = Vec::new();
        for name in names {
            let mut defects = Vec::new();
            child = self.check_image(name, child.as_ref(), &mut defects);
            let name = name.file_name();
            checked.push(CheckedImage { name, defects });
        }
        Ok(checked)
    }

    fn pauses(&self) -> PauseCounts {
        FileChains::images(self).open.pauses().counts()
    }
}

impl FileChains {
    /// Every image that has to do with another.
    pub(super) fn list(&self) -> Result<Vec<Image>> {
        let images = FileChains::images(self);
        let (nodes, incomplete) = images.with_tree(|tree| {
            let parents: BTreeSet<ImageName> = tree
                .nodes()
                .values()
                .filter_map(|node| node.parent)
                .collect();
            let concerned = tree.nodes().iter().filter(|(name, node)| {
                node.hidden || node.parent.is_some() || parents.contains(name)
            });
            let nodes: Vec<_> = concerned.map(|(name, node)| (*name, *node)).collect();
            (nodes, tree.is_incomplete())
        })?;
        if incomplete {
            return Err(Error::Unreadable);
        }
        let open = images.open.all();
        let mut listed = Vec::with_capacity(nodes.len());
        for (name, node) in nodes {
            let found = match inspect(&*images.files, name) {
                Err(Error::Missing { .. }) => continue,
                found => found?,
            };
            let mut users = open.iter().filter(|image| image.uuid() == name.uuid);
            let consumers = match users.next() {
                None => Consumers::None,
                Some(image) if nbd::Export::is_read_only(&**image) => Consumers::Readers,
                Some(_) => Consumers::Writer,
            };
            // Asked only where it matters: it is a look at a file.
            let has_raw_parent = node
                .parent
                .is_some_and(|parent| parent.format == ImageFormat::Raw);
            let tracked = has_raw_parent && images.logs.summary(name.uuid)?.is_some();
            listed.push(Image {
                uuid: name.uuid,
                parent: node.parent.map(|parent| parent.uuid),
                hidden: node.hidden,
                raw: name.format == ImageFormat::Raw,
                virtual_size: found.virtual_size,
                physical_size: found.file_size,
                consumers,
                tracked,
                leaf: LeafPolicy::Allowed,
            });
        }
        Ok(listed)
    }

    /// Notes what is wrong with one image; answers what it says of itself.
    fn check_image(
        &self,
        name: ImageName,
        child: Option<&vhd::ImageInfo>,
        defects: &mut Vec<String>,
    ) -> Option<vhd::ImageInfo> {
        let images = FileChains::images(self);
        let opened = images.files.open_file(&name.file_name(), Access::Read);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                defects.push(format!("it cannot be opened: {error}"));
                return None;
            }
        };
        if name.format == ImageFormat::Raw {
            return None;
        }
        let is_open = images.open.is_held(name);
        let options = CheckOptions {
            // The footer at the end of an image that is written is put there by its flushes.
            primary_footer: if is_open {
                PrimaryFooter::MayBeMissing
            } else {
                PrimaryFooter::Required
            },
            depth: if is_open {
                Depth::Metadata
            } else {
                Depth::Bitmaps
            },
            now: None,
        };
        match vhd::check::check(&*file, &options) {
            Ok(found) => defects.extend(found.iter().map(ToString::to_string)),
            Err(error) => defects.push(error.to_string()),
        }
        let info = vhd::image::inspect(&*file).ok()?;
        let wanted = child.and_then(|child| child.parent.as_ref());
        if let Some(link) = wanted.filter(|link| link.uuid != info.uuid) {
            defects.push(format!(
                "its uuid is {}, and its child was made on {}",
                info.uuid, link.uuid
            ));
        }
        Some(info)
    }
}
