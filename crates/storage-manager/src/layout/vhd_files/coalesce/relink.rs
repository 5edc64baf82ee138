//! Giving the children of an image its parent, on the medium and in the chains of consumers.

use std::sync::Arc;
use std::time::SystemTime;

use vhd::chain::ParentStack;
use vhd::image::NewParent;

use super::super::inspect::timestamp;
use super::super::known_tree::Change;
use super::super::names::{ImageFormat, ImageName};
use super::super::open_image::OpenImage;
use super::super::parents::SrParents;
use super::super::tree::Node;
use super::super::vhd_directory::VhdDirectory;
use super::super::{Error, Result};
use super::chains::FileChains;
use super::inner::point;
use crate::medium::files::Access;

impl FileChains {
    /// Gives every child of an image the image's parent. The caller has the tree.
    pub(super) fn relink(&self, vdi: ImageName, parent: ImageName) -> Result<()> {
        let images = self.images();
        let new = new_parent(images, parent)?;
        let children: Vec<ImageName> = images.with_tree(|tree| tree.children_of(vdi).collect())?;
        for child in children {
            point("LVHDRT_relinking_grandchildren")?;
            reparent(images, child, &new)?;
            let hidden =
                images.with_tree(|tree| tree.nodes().get(&child).map(|node| node.hidden))?;
            let node = Node {
                parent: Some(parent),
                hidden: hidden.unwrap_or_default(),
            };
            images.tell(&[Change::Made(child, node)]);
        }
        Ok(())
    }

    /// Gives the chains that still have an image the parents that their headers name. One that cannot be given them goes
    /// on as it is: the image has the same bytes, and stays until nobody has it.
    pub(super) fn swap_consumers(&self, without: ImageName) {
        for image in self.images().open.all() {
            let swapped = self.swap(&image, without);
            if let Err(error) = swapped {
                tracing::warn!(
                    vdi.uuid = %image.uuid(),
                    error = %error.chain_text(),
                    "a consumer keeps a merged image until it detaches"
                );
            }
        }
    }

    /// Opens the parents first and pauses the consumer then, for the exchange alone.
    fn swap(&self, image: &Arc<OpenImage>, without: ImageName) -> Result<()> {
        if !image.has_parent(without) {
            return Ok(());
        }
        let images = self.images();
        let Some(leaf) = image.leaf_file() else {
            return Ok(());
        };
        let failed = |source| Error::Image {
            action: "open the parents of",
            path: images.path_of(&ImageName::vhd(image.uuid()).file_name()),
            source,
        };
        let info = vhd::image::inspect(&*leaf).map_err(failed)?;
        let resolver = SrParents::new(images.files.clone(), images.open.clone());
        let stack = ParentStack::open(&info, &resolver).map_err(failed)?;
        let mut holds = resolver.into_holds();
        image.with_paused(|paused| {
            paused.replace_chain("relink", |chain| {
                chain.replace_parents(stack).map_err(Box::new)
            })?;
            if let Some(parents) = paused.parents() {
                std::mem::swap(parents, &mut holds);
            }
            Ok(())
        })
    }
}

/// What the headers of its children are to say of an image.
pub(super) fn new_parent(images: &VhdDirectory, name: ImageName) -> Result<NewParent> {
    let file_name = name.file_name();
    let io_error = |action, source| images.io_error(action, Some(&file_name), source);
    let file = images.files.open_file(&file_name, Access::Read);
    let file = file.map_err(|source| io_error("open", source))?;
    let changed = file.modified();
    let changed: SystemTime = changed.map_err(|source| io_error("look at", source))?;
    let uuid = match name.format {
        ImageFormat::Raw => uuid::Uuid::nil(),
        ImageFormat::Vhd => {
            let info = vhd::image::inspect(&*file);
            let info = info.map_err(|source| Error::Image {
                action: "read",
                path: images.path_of(&file_name),
                source,
            })?;
            info.uuid
        }
    };
    Ok(NewParent {
        uuid,
        timestamp: timestamp(changed),
        path: images.files.parent_path(name),
    })
}

/// Makes `parent` the parent of an image; one that is gone is passed over.
pub(super) fn reparent(images: &VhdDirectory, child: ImageName, parent: &NewParent) -> Result<()> {
    let file_name = child.file_name();
    let file = match images.files.open_file(&file_name, Access::ReadWrite) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(images.io_error("open", Some(&file_name), source)),
    };
    vhd::image::reparent(&*file, parent).map_err(|source| Error::Image {
        action: "give another parent to",
        path: images.path_of(&file_name),
        source,
    })
}
