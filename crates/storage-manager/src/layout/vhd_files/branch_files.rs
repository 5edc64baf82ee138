//! The files of a snapshot: made ahead, given their names, taken back.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::branch::{Second, Source};
use super::inspect::{Inspected, inspect_file, timestamp};
use super::names::{ImageFormat, ImageName, new_base, new_leaf};
use super::vhd_directory::VhdDirectory;
use super::{Error, Result};
use crate::io::lock::LockMode;
use crate::medium::files::{Access, MediumFile, Room};

/// The parent of a new image.
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    pub name: ImageName,
    /// The image's uuid; nil when it is raw.
    pub uuid: Uuid,
    /// When it was changed, in seconds since 2000.
    pub timestamp: u32,
}

/// The files of a snapshot that is under way.
#[derive(Debug)]
pub struct BranchFiles {
    pub source: ImageName,
    /// The hidden parent that the source's file becomes.
    pub base: ImageName,
    /// The source's new image, locked for the consumer that writes.
    pub leaf: Arc<dyn MediumFile>,
    pub leaf_inspected: Inspected,
    /// The second image, if there is to be one.
    pub second: Option<SecondFile>,
    /// The source's file has the base's name already.
    is_linked: bool,
    /// What was made, in this order.
    made: Vec<String>,
}

/// The second image.
#[derive(Debug)]
pub struct SecondFile {
    /// Its name as long as it has none of an image.
    temporary: String,
    inspected: Inspected,
    is_named: bool,
}

/// The name of the source's new image: a raw source becomes a VHD.
fn leaf_of(source: ImageName) -> ImageName {
    ImageName::vhd(source.uuid)
}

impl VhdDirectory {
    /// Steps 1 and 2 of a snapshot. On error nothing is left.
    pub(super) fn prepare_branch(&self, source: &Source, second: Second) -> Result<BranchFiles> {
        let mut made = Vec::new();
        self.make_branch_files(source, second, &mut made)
            .inspect_err(|_| self.take_back(source.name, made))
    }

    /// What room the source's new image needs: who has it open writes it.
    fn room_of_leaf(&self, source: ImageName) -> Room {
        let open = self.open.of(source.uuid);
        let mut open = open.iter();
        match open.any(|image| !nbd::Export::is_read_only(&**image)) {
            true => Room::Written,
            false => Room::Resting,
        }
    }

    /// Removes what was made, and then what says that it is being made.
    fn take_back(&self, source: ImageName, made: Vec<String>) {
        self.remove_made(made);
        if let Err(error) = self.files.end_branch(source) {
            tracing::warn!(vdi.uuid = %source.uuid, %error, "remove the journal of a snapshot that failed; the next attach of the SR does it");
        }
    }

    fn make_branch_files(
        &self,
        source: &Source,
        second: Second,
        made: &mut Vec<String>,
    ) -> Result<BranchFiles> {
        let base = ImageName {
            uuid: Uuid::new_v4(),
            format: source.name.format,
        };
        let parent = Parent {
            name: base,
            uuid: source.uuid,
            timestamp: source.modified,
        };
        let size = source.inspected.virtual_size;
        let new_leaf = new_leaf(leaf_of(source.name));
        let room = (size, self.room_of_leaf(source.name));
        let (leaf, leaf_inspected) = self.make_child(new_leaf, &parent, room, made)?;
        let wanted = second;
        let second = match second.name() {
            Some(name) => {
                let temporary = name.temporary();
                let (_, inspected) =
                    self.make_child(temporary.clone(), &parent, (size, wanted.room()), made)?;
                Some(SecondFile {
                    temporary,
                    inspected,
                    is_named: false,
                })
            }
            None => None,
        };
        let new = match wanted {
            Second::New(new, _) => Some(new),
            _ => None,
        };
        let begun = self.files.begin_branch(source.name, base, new);
        let begun = begun.map_err(|error| {
            self.io_error(
                "note the snapshot of",
                Some(&source.name.file_name()),
                error,
            )
        })?;
        if !begun {
            self.make_file(new_base(base.uuid), made)?;
        }
        let (from, to) = (source.name.file_name(), base.file_name());
        let linked = match source.name.format {
            ImageFormat::Vhd => self.files.link(&from, &to),
            // The new image does not take over the name.
            ImageFormat::Raw => Ok(false),
        };
        let is_linked = linked.map_err(|error| self.io_error("link to", Some(&to), error))?;
        if is_linked {
            made.push(to);
        }
        self.sync_directory(&from)?;
        Ok(BranchFiles {
            source: source.name,
            base,
            leaf,
            leaf_inspected,
            second,
            is_linked,
            made: std::mem::take(made),
        })
    }

    /// Takes back steps 1 and 2.
    pub(super) fn undo_branch(&self, files: BranchFiles) {
        self.take_back(files.source, files.made);
    }

    /// Removes files, the last one first: what says how to go on is removed last.
    fn remove_made(&self, made: Vec<String>) {
        for name in made.iter().rev() {
            if let Err(error) = self.files.remove(name) {
                tracing::warn!(file.name = name, %error, "remove what an unfinished snapshot made; the next attach of the SR tries again");
                return;
            }
        }
    }

    /// The names of step 3. On error they are as they were, if that could be.
    pub(super) fn swap_names(&self, files: &BranchFiles) -> Result<()> {
        let (source, base) = (files.source.file_name(), files.base.file_name());
        let named = leaf_of(files.source).file_name();
        let leaf = new_leaf(leaf_of(files.source));
        if files.is_linked {
            let replaced = self.files.replace(&leaf, &source);
            return replaced.map_err(|error| self.io_error("rename to", Some(&source), error));
        }
        let exchanged = self.files.exchange(&source, &base, &leaf, &named);
        exchanged.map_err(|error| self.io_error("rename to", Some(&base), error))
    }

    /// Takes step 3 back: the data get their old name, and the new leaf is gone.
    pub(super) fn unswap_names(&self, files: &BranchFiles) -> Result<()> {
        let source = files.source.file_name();
        let leaf = leaf_of(files.source);
        if leaf != files.source {
            let removed = self.files.remove(&leaf.file_name());
            removed.map_err(|error| self.io_error("remove", Some(&leaf.file_name()), error))?;
        }
        let replaced = self.files.replace(&files.base.file_name(), &source);
        replaced.map_err(|error| self.io_error("rename to", Some(&source), error))
    }

    /// Steps 4 to 6; the second image, if there is one.
    ///
    /// On error the second image is not there, and the source has its new leaf. A base that could not be hidden is hidden
    /// by the next attach.
    pub(super) fn finish_branch(
        &self,
        files: &mut BranchFiles,
        second: Second,
    ) -> Result<Option<Inspected>> {
        let mut hidden = self
            .sync_directory(&files.source.file_name())
            .and_then(|()| self.hide(files.base));
        let finished = match (&hidden, &mut files.second) {
            (Ok(()), Some(file)) if file.is_named => Ok(Some(file.inspected)),
            (Ok(()), Some(file)) => self.finish_second(file, second).map(Some),
            _ => Ok(None),
        };
        if (hidden.is_err() || finished.is_err())
            && let Some(file) = &mut files.second
        {
            self.undo_second(file, second);
        }
        let first = std::mem::replace(&mut hidden, Ok(()));
        if first.is_err() {
            hidden = self.hide(files.base);
        }
        if hidden.is_ok() {
            self.rest(files.base);
            // Harmless if one stays: it asks for what is done.
            let _ = self.files.remove(&new_base(files.base.uuid));
            let _ = self.files.end_branch(files.source);
        }
        first.and(finished)
    }

    /// Makes the file of an image without data, to lie beside another that has none.
    pub(super) fn prepare_sibling(
        &self,
        parent: &Parent,
        source: &Source,
        (name, room): (ImageName, Room),
    ) -> Result<SecondFile> {
        let mut made = Vec::new();
        let temporary = name.temporary();
        let size = source.inspected.virtual_size;
        let child = self.make_child(temporary.clone(), parent, (size, room), &mut made);
        let (_, inspected) = child.inspect_err(|_| self.remove_made(made))?;
        Ok(SecondFile {
            temporary,
            inspected,
            is_named: false,
        })
    }

    /// Gives a new second image its name, not yet on stable storage. One that is to replace another waits.
    pub(super) fn name_second(&self, file: &mut SecondFile, second: Second) -> Result<()> {
        let Second::New(name, _) = second else {
            return Ok(());
        };
        let file_name = name.file_name();
        let named = self.files.publish(&file.temporary, &file_name);
        named.map_err(|error| self.io_error("rename to", Some(&file_name), error))?;
        file.is_named = true;
        Ok(())
    }

    /// Puts the name of the second image on stable storage, one that replaces another under that one's.
    pub(super) fn finish_second(&self, file: &mut SecondFile, second: Second) -> Result<Inspected> {
        match second {
            Second::None => {}
            Second::New(name, _) => self.sync_directory(&name.file_name())?,
            Second::Over(name) => {
                // What it says was of the content that goes.
                self.logs.disable(name.uuid)?;
                let file_name = name.file_name();
                let replaced = self.files.replace(&file.temporary, &file_name);
                replaced.map_err(|error| self.io_error("rename to", Some(&file_name), error))?;
                file.is_named = true;
                self.sync_directory(&file_name)?;
            }
        }
        Ok(file.inspected)
    }

    /// Removes the second image, unless it has replaced another already.
    pub(super) fn undo_second(&self, file: &mut SecondFile, second: Second) {
        let (name, uuid) = match second {
            Second::New(name, _) if file.is_named => (name.file_name(), Some(name.uuid)),
            _ if file.is_named => return,
            _ => (file.temporary.clone(), None),
        };
        // The next attach gets what cannot be removed now.
        let removed = self.files.remove(&name).is_ok();
        if let Some(uuid) = uuid.filter(|_| removed)
            && let Err(error) = self.logs.destroyed(uuid)
        {
            tracing::warn!(vdi.uuid = %uuid, error = %error.chain_text(), "take back the change-tracking log of a snapshot that failed; done at the next attach");
        }
    }

    /// Makes an image without data that is based on another, and syncs it.
    fn make_child(
        &self,
        file_name: String,
        parent: &Parent,
        (virtual_size, room): (u64, Room),
        made: &mut Vec<String>,
    ) -> Result<(Arc<dyn MediumFile>, Inspected)> {
        let path = self.path_of(&file_name);
        let new = vhd::image::NewImage {
            timestamp: timestamp(SystemTime::now()),
            ..vhd::image::NewImage::new(virtual_size, Uuid::new_v4())
        };
        let link = vhd::image::NewParent {
            uuid: parent.uuid,
            timestamp: parent.timestamp,
            path: self.files.parent_path(parent.name),
        };
        let image_error = |source| Error::Image {
            action: "create",
            path: path.clone(),
            source,
        };
        let spare = self.make_child_of_spare(&file_name, &new, &link, made)?;
        let file = match spare {
            Some(file) => file,
            None => {
                let file = self.make_file(file_name.clone(), made)?;
                let file = self.lock_child(file, &file_name)?;
                vhd::image::create_differencing(&*file, &new, &link).map_err(image_error)?;
                file
            }
        };
        self.provide(&file_name, room)?;
        let inspected = inspect_file(&*file, ImageName::vhd(Uuid::nil()), &path)?;
        Ok((file, inspected))
    }

    /// The same of a file that was prepared for it, which gets its name when it is whole. None when there is no such file.
    fn make_child_of_spare(
        &self,
        file_name: &str,
        new: &vhd::image::NewImage,
        link: &vhd::image::NewParent,
        made: &mut Vec<String>,
    ) -> Result<Option<Arc<dyn MediumFile>>> {
        let Some(spare) = self.spares.take(new.virtual_size) else {
            return Ok(None);
        };
        let file = self.lock_child(spare.file().clone(), file_name)?;
        let created = vhd::image::create_prepared(&*file, new, link);
        created.map_err(|source| Error::Image {
            action: "create",
            path: self.path_of(file_name),
            source,
        })?;
        let has_name = spare.name(file_name);
        if !has_name.map_err(|error| self.io_error("create", Some(file_name), error))? {
            self.spares.give_up("files without a name cannot be named");
            return Ok(None);
        }
        made.push(file_name.to_owned());
        Ok(Some(file))
    }

    fn lock_child(
        &self,
        file: Arc<dyn MediumFile>,
        file_name: &str,
    ) -> Result<Arc<dyn MediumFile>> {
        file.try_lock(LockMode::Exclusive)
            .map_err(|error| self.io_error("lock", Some(file_name), error))?;
        Ok(file)
    }

    fn make_file(&self, file_name: String, made: &mut Vec<String>) -> Result<Arc<dyn MediumFile>> {
        let created = self.files.create_file(&file_name);
        let file = created.map_err(|error| self.io_error("create", Some(&file_name), error))?;
        made.push(file_name);
        Ok(file)
    }

    /// Sets the hidden flag of an image, on stable storage.
    pub(super) fn hide(&self, name: ImageName) -> Result<()> {
        let file_name = name.file_name();
        let file = self.files.open_file(&file_name, Access::ReadWrite);
        let file = file.map_err(|error| self.io_error("open", Some(&file_name), error))?;
        if name.format == ImageFormat::Raw {
            let hidden = file.set_hidden(true);
            return hidden.map_err(|error| self.io_error("hide", Some(&file_name), error));
        }
        let hidden = vhd::image::set_hidden(&*file, true);
        hidden.map_err(|source| Error::Image {
            action: "hide",
            path: self.path_of(&file_name),
            source,
        })
    }
}
