//! Growing a parent that is smaller than the image that is merged into it.

use std::sync::Arc;

use vhd::chain::ParentStack;

use super::super::names::{ImageFormat, ImageName};
use super::super::open_image::OpenImage;
use super::super::parents::SrParents;
use super::super::vhd_directory::VhdDirectory;
use super::super::{Error, Result};
use super::chains::FileChains;
use super::inner::point;
use super::pair::Pair;
use crate::medium::files::{Access, MediumFile};

/// The file that keeps what growing overwrites. Source: XenServer's garbage collector names it by the uuid alone.
fn journal_name(name: ImageName) -> String {
    name.uuid.to_string()
}

impl FileChains {
    /// True when [`FileChains::grow_parent`] has something to do.
    pub(super) fn is_parent_smaller(&self, pair: &Pair) -> Result<bool> {
        let child = vhd::image::inspect(&*pair.child_file)
            .map_err(|source| self.image_error("read", pair.child, source))?;
        let size = match pair.parent.format {
            ImageFormat::Raw => pair
                .parent_file
                .len()
                .map_err(|source| self.io_error("get the length of", pair.parent, source))?,
            ImageFormat::Vhd => {
                let parent = vhd::image::inspect(&*pair.parent_file);
                parent
                    .map_err(|source| self.image_error("read", pair.parent, source))?
                    .virtual_size
            }
        };
        Ok(size < child.virtual_size)
    }

    /// Makes the parent as large as the child. Nobody opens an image above the parent meanwhile: the caller has the tree, or
    /// has claimed the only image above it.
    ///
    /// Its table may need more room, and then its first blocks are moved: consumers that read it are held off meanwhile,
    /// and get its new table. That is the one pause that lasts for data: the blocks in the table's way.
    pub(super) fn grow_parent(&self, pair: &Pair) -> Result<()> {
        let failed = |source| self.image_error("read", pair.child, source);
        let wanted = vhd::image::inspect(&*pair.child_file)
            .map_err(failed)?
            .virtual_size;
        if pair.parent.format == ImageFormat::Raw {
            let io_error = |source| self.io_error("grow", pair.parent, source);
            if pair.parent_file.len().map_err(io_error)? < wanted {
                pair.parent_file.set_len(wanted).map_err(io_error)?;
                pair.parent_file.flush().map_err(io_error)?;
            }
            return Ok(());
        }
        let failed = |source| self.image_error("read", pair.parent, source);
        let parent = vhd::image::inspect(&*pair.parent_file).map_err(failed)?;
        if parent.virtual_size >= wanted {
            return Ok(());
        }
        let grow = || grow_image(self.images(), pair.parent, &*pair.parent_file, wanted);
        if vhd::image::grows_in_place(&*pair.parent_file, wanted).map_err(failed)? {
            return grow();
        }
        let mut readers = self.images().open.all();
        readers.retain(|image| image.has_parent(pair.parent));
        self.grow_paused(&readers, &grow)
    }

    fn grow_paused(&self, readers: &[Arc<OpenImage>], grow: &dyn Fn() -> Result<()>) -> Result<()> {
        let Some((image, others)) = readers.split_first() else {
            point("LVHDRT_resizing_while_vdis_are_paused")?;
            return grow();
        };
        let images = self.images();
        let name = ImageName::vhd(image.uuid());
        let failed = |source| self.image_error("open the parents of", name, source);
        let mut held = Vec::new();
        image.with_paused(|paused| {
            let grown = self.grow_paused(others, grow);
            let Some(leaf) = paused.leaf() else {
                return grown;
            };
            let resolver = SrParents::new(images.files.clone(), images.open.clone());
            let opened = vhd::image::inspect(&**leaf)
                .and_then(|info| ParentStack::open(&info, &resolver))
                .map_err(failed);
            let swapped = opened.and_then(|stack| {
                held = resolver.into_holds();
                paused.replace_chain("grow a parent of", |chain| {
                    chain.replace_parents(stack).map_err(Box::new)
                })
            });
            if swapped.is_err() {
                // Its consumer would read blocks where they are no longer.
                paused.close();
            } else if let Some(parents) = paused.parents() {
                std::mem::swap(parents, &mut held);
            }
            grown.and(swapped)
        })
    }
}

fn grow_image(
    images: &VhdDirectory,
    name: ImageName,
    file: &dyn MediumFile,
    size: u64,
) -> Result<()> {
    let journal = journal_name(name);
    let io_error = |action, source| images.io_error(action, Some(&journal), source);
    let made = images.files.create_file(&journal);
    let storage = made.map_err(|source| io_error("create", source))?;
    images.sync_directory(&journal)?;
    let grown = vhd::image::grow(file, &*storage, size);
    let failed = |action, source| Error::Image {
        action,
        path: images.path_of(&name.file_name()),
        source,
    };
    if let Err(source) = grown {
        vhd::image::revert(file, &*storage)
            .map_err(|source| failed("put back what growing moved in", source))?;
        remove_journal(images, &journal)?;
        return Err(failed("grow", source));
    }
    remove_journal(images, &journal)
}

fn remove_journal(images: &VhdDirectory, journal: &str) -> Result<()> {
    let removed = images.files.remove(journal);
    removed.map_err(|source| images.io_error("remove", Some(journal), source))?;
    images.sync_directory(journal)
}

/// Puts back what growing an image has moved when its process died. A file that is no journal is left alone: its name says
/// nothing more than a uuid.
pub(super) fn recover_grown(images: &VhdDirectory, name: ImageName) -> Result<()> {
    let journal = journal_name(name);
    let open = |file: &str, access| {
        let opened = images.files.open_file(file, access);
        opened.map_err(|source| images.io_error("open", Some(file), source))
    };
    let storage = open(&journal, Access::ReadWrite)?;
    let is_journal = vhd::image::is_journal(&*storage);
    let failed = |source| Error::Image {
        action: "read the journal",
        path: images.path_of(&journal),
        source,
    };
    if !is_journal.map_err(failed)? {
        tracing::warn!(
            file.name = journal,
            "leave a file alone that has the name of a journal and is none"
        );
        return Ok(());
    }
    let file_name = name.file_name();
    let found = images.files.contains(&file_name);
    if found.map_err(|source| images.io_error("look for", Some(&file_name), source))? {
        let file = open(&file_name, Access::ReadWrite)?;
        vhd::image::revert(&*file, &*storage).map_err(|source| Error::Image {
            action: "put back what growing moved in",
            path: images.path_of(&file_name),
            source,
        })?;
    }
    remove_journal(images, &journal)
}
