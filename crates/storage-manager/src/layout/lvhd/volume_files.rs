//! The logical volumes of an SR as the files that the layout of VHD files works on.
//!
//! Each change of names is one commit of the group's metadata, which is on stable storage when the call returns: a crash leaves
//! all of it or nothing, and [`Files::sync`] has nothing to do. Names are those of [`super::names`]; a journal of coalescing is
//! written as a whole by the first flush of its file, see [`super::journal_file`].

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::journal::{JournalId, JournalKind};
use super::journal_file::JournalFile;
use super::names::{self, is_vhd};
use super::volume::{Volume, file_id};
use super::volumes::Volumes;
use crate::io::lock::LockMode;
use crate::layout::vhd_files::names::{ImageFormat, ImageName};
use crate::medium::files::{Access, FileId, Files, MediumFile, Room};
use crate::sr::SrSpace;

/// The files of an LVHD SR.
#[derive(Debug)]
pub struct VolumeFiles {
    volumes: Arc<Volumes>,
    capacity: super::capacity::Capacity,
}

/// An open volume.
#[derive(Debug)]
pub struct VolumeFile {
    volumes: Arc<Volumes>,
    volume: Arc<Volume>,
    access: Access,
    /// What is added to it is an image's, which knows what it has written; else it is zeroed.
    is_image: bool,
    held: Mutex<Option<LockMode>>,
}

impl VolumeFiles {
    /// The files of a volume group.
    pub fn new(volumes: Arc<Volumes>, allocation: super::mgt::Allocation) -> Self {
        let capacity = super::capacity::Capacity::new(volumes.clone(), allocation);
        VolumeFiles { volumes, capacity }
    }

    /// The volume group.
    pub fn volumes(&self) -> &Arc<Volumes> {
        &self.volumes
    }

    /// Thick or thin.
    pub fn allocation(&self) -> super::mgt::Allocation {
        self.capacity.allocation()
    }

    fn file(&self, volume: Arc<Volume>, lv_name: &str, access: Access) -> VolumeFile {
        VolumeFile {
            volumes: self.volumes.clone(),
            volume,
            access,
            is_image: is_vhd(lv_name),
            held: Mutex::default(),
        }
    }
}

/// The volume of a file that is no journal of coalescing.
fn lv_of(file_name: &str) -> io::Result<String> {
    names::lv_name(file_name).ok_or_else(|| {
        let text = format!("{file_name:?} is no name of a volume of an SR");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

impl Files for VolumeFiles {
    fn path(&self) -> &Path {
        self.volumes.path()
    }

    fn entries(&self) -> io::Result<Vec<String>> {
        let index = self.volumes.index();
        let files: Vec<String> = index.files().map(str::to_owned).collect();
        if files.len() > crate::medium::files::MAX_ENTRIES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(files)
    }

    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn MediumFile>> {
        let found = self.volumes.volume_of_file(name)?;
        let (volume, lv_name) = found.ok_or(io::ErrorKind::NotFound)?;
        if let Some((journal, value)) = JournalId::of_volume(&lv_name) {
            let file = JournalFile::read(&self.volumes, journal, value, &volume)?;
            return Ok(Arc::new(file));
        }
        // A growth that failed: nobody sees what others have left there, and nobody has written there yet. Who has the volume open
        // since before sees its old size.
        if let Some((journal, value)) = unfinished_zero(&self.volumes, &lv_name)?
            && Arc::strong_count(&volume) == 1
        {
            super::recovery::finish_zero(&self.volumes, journal, &value)?;
        }
        Ok(Arc::new(self.file(volume, &lv_name, access)))
    }

    /// A VHD gets as much as an image without blocks needs, everything else one extent.
    fn create_file(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        if let Some(journal) = JournalId::of_file(name) {
            if self.contains(name)? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            return Ok(Arc::new(JournalFile::new(&self.volumes, journal)));
        }
        let lv_name = lv_of(name)?;
        let length = match is_vhd(&lv_name) {
            true => vhd::volume::empty_size(),
            false => 1,
        };
        let tags = names::tags(&lv_name);
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let edit =
            |group: &mut lvm::metadata::VolumeGroup| group.create_lv(&lv_name, length, &tags);
        let turn = self.volumes.turn();
        if !is_vhd(&lv_name) {
            // Before anybody can read there what another volume has left.
            let planned = self.volumes.planned(&edit, &lv_name)?;
            planned.write_zeroes_at(0, planned.length()?)?;
            planned.flush()?;
        }
        self.volumes.commit_in(&turn, &edit)?;
        drop(turn);
        let volume = self.volumes.volume(&lv_name)?;
        Ok(Arc::new(self.file(volume, &lv_name, Access::ReadWrite)))
    }

    /// In one commit: the image is written to extents that are free before they become the volume. A raw image is zeroed
    /// first, which takes its time, so it is made under another name.
    fn create_whole(
        &self,
        image: ImageName,
        virtual_size: u64,
        write: &mut dyn FnMut(Arc<dyn MediumFile>) -> io::Result<()>,
    ) -> io::Result<bool> {
        if image.format == ImageFormat::Raw {
            return Ok(false);
        }
        let lv_name = names::image_volume(image);
        let length = match self.allocation() {
            super::mgt::Allocation::Thick => vhd::volume::full_size(virtual_size),
            super::mgt::Allocation::Thin => vhd::volume::empty_size(),
        };
        let edit = |group: &mut lvm::metadata::VolumeGroup| group.create_lv(&lv_name, length, &[]);
        let turn = self.volumes.turn();
        let planned = Arc::new(self.volumes.planned(&edit, &lv_name)?);
        let file = self.file(planned.clone(), &lv_name, Access::ReadWrite);
        write(Arc::new(file))?;
        planned.flush()?;
        self.volumes.commit_in(&turn, &edit)?;
        Ok(true)
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (lv_of(from)?, lv_of(to)?);
        self.volumes.commit(&|group| rename(group, &from, &to))
    }

    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (lv_of(from)?, lv_of(to)?);
        let has_other = self.volumes.index().group.find(&to).is_some();
        match has_other {
            true => self
                .volumes
                .remove(&[&to], &|group| rename(group, &from, &to)),
            false => self.volumes.commit(&|group| rename(group, &from, &to)),
        }
    }

    fn exchange(&self, image: &str, aside: &str, new: &str, named: &str) -> io::Result<()> {
        let (image, aside) = (lv_of(image)?, lv_of(aside)?);
        let (new, named) = (lv_of(new)?, lv_of(named)?);
        self.volumes.commit(&|group| {
            rename(group, &image, &aside)?;
            rename(group, &new, &named)
        })
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        let index = self.volumes.index();
        let Some(found) = index.find(name) else {
            return Ok(false);
        };
        match self.volumes.remove(&[&found.name], &|_| Ok(())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        let index = self.volumes.index();
        Ok(index.find(name).map(|found| file_id(&found.id)))
    }

    /// None: a volume has one name.
    fn other_names(&self, name: &str) -> io::Result<Vec<String>> {
        match self.contains(name)? {
            true => Ok(Vec::new()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_directory(&self, name: &str) -> io::Result<bool> {
        let _ = name;
        Ok(false)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Size of all extents, and of those that volumes have.
    fn space(&self) -> io::Result<SrSpace> {
        let group = &self.volumes.index().group;
        Ok(SrSpace {
            physical_size: group.size(),
            physical_utilisation: group.used(),
        })
    }

    fn parent_path(&self, image: ImageName) -> String {
        names::image_volume(image)
    }

    fn provide(&self, name: &str, room: Room) -> io::Result<bool> {
        self.capacity.provide(name, room)
    }

    fn begin_branch(
        &self,
        source: ImageName,
        base: ImageName,
        new: Option<ImageName>,
    ) -> io::Result<bool> {
        super::branch_journal::begin(&self.volumes, source, base, new).map(|()| true)
    }

    /// A commit whose device failed at its end is there or not.
    fn fails_in_doubt(&self) -> bool {
        true
    }

    fn has_raw_operations(&self) -> bool {
        true
    }

    fn end_branch(&self, source: ImageName) -> io::Result<()> {
        super::branch_journal::end(&self.volumes, source)
    }
}

fn zero_journal(image: ImageName) -> JournalId {
    JournalId {
        kind: JournalKind::Zero,
        vdi: image.uuid,
    }
}

/// The journal of a raw image's growth that was not ended, and the offset that it tells.
fn unfinished_zero(volumes: &Volumes, lv_name: &str) -> io::Result<Option<(JournalId, String)>> {
    let image = names::volume_image(lv_name).filter(|image| image.format == ImageFormat::Raw);
    let Some(image) = image else {
        return Ok(None);
    };
    let journal = zero_journal(image);
    let Some((volume, name)) = volumes.volume_of_file(&journal.file_name())? else {
        return Ok(None);
    };
    let named = JournalId::of_volume(&name).map_or("", |(_, named)| named);
    super::journal_file::value(journal, named, &volume).map(|value| Some((journal, value)))
}

/// Gives a volume another name, and the tags that go with it.
fn rename(group: &mut lvm::metadata::VolumeGroup, from: &str, to: &str) -> lvm::Result<()> {
    group.rename_lv(from, to)?;
    names::tags(to)
        .iter()
        .try_for_each(|tag| group.add_tag(to, tag))
}

impl vhd::Storage for VolumeFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.volume.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.require_writable()?;
        let end = offset.saturating_add(data.len() as u64);
        if end > self.volume.length()? {
            self.set_len(end)?;
        }
        self.volume.write_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.volume.length()
    }

    /// Makes room for at least so many bytes; a volume does not become shorter by it, but what lies behind the length is
    /// zeroed where that is no image's.
    ///
    /// A raw image that becomes longer has XenServer's journal `zero` meanwhile: a crash after the commit would show what
    /// others had left there, and the next attach zeroes it, or the next open if the device failed.
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.require_writable()?;
        let found = self.volume.length()?;
        if self.is_image {
            return match length > found {
                true => self.volumes.resize(&self.volume, length),
                false => Ok(()),
            };
        }
        let name = self.volumes.name_of(self.volume.id())?;
        let unfinished = unfinished_zero(&self.volumes, &name)?;
        let (journal, start) = match unfinished {
            // What an earlier growth has left undone is done, too.
            Some((journal, value)) => (Some(journal), value.parse().unwrap_or(found)),
            None if length > found => (self.begin_zero(&name, found)?, found),
            None => (None, length),
        };
        let start = start.min(found).min(length);
        if length > found
            && let Err(error) = self.volumes.resize(&self.volume, length)
        {
            if start == found {
                self.take_growth_back(journal, found);
            }
            return Err(error);
        }
        let zeroed = crate::io::fault::point("volume: zero what was added")
            .and_then(|()| self.volume.length())
            .and_then(|end| self.volume.write_zeroes_at(start, end - start));
        if journal.is_none() {
            return zeroed;
        }
        if let Err(error) = zeroed.and_then(|()| self.volume.flush()) {
            if start == found {
                self.take_growth_back(journal, found);
            }
            return Err(error);
        }
        journal.map_or(Ok(()), |journal| {
            super::branch_journal::remove(&self.volumes, journal)
        })
    }

    fn is_volume(&self) -> bool {
        true
    }

    fn flush(&self) -> io::Result<()> {
        self.volume.flush()
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.require_writable()?;
        self.volume.write_zeroes_at(offset, length)
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.require_writable()?;
        self.volume.unmap(offset, length)
    }
}

impl VolumeFile {
    /// Notes from where on a raw image is to be zeroed; nothing for a volume that is no image yet.
    fn begin_zero(&self, name: &str, offset: u64) -> io::Result<Option<JournalId>> {
        let Some(image) = names::volume_image(name) else {
            return Ok(None);
        };
        let journal = zero_journal(image);
        super::journal_file::write(&self.volumes, journal, &offset.to_string())?;
        Ok(Some(journal))
    }

    /// Gives the volume the length back that it had before a growth that failed, so that nobody finds there what others have left,
    /// and only then removes the journal. Where that cannot be done the next open of the image ends the growth.
    fn take_growth_back(&self, journal: Option<JournalId>, length: u64) {
        let Some(journal) = journal else { return };
        let taken_back = self
            .volumes
            .resize(&self.volume, length)
            .and_then(|()| super::branch_journal::remove(&self.volumes, journal));
        if let Err(error) = taken_back {
            tracing::warn!(vdi.uuid = %journal.vdi, %error, "take back a growth that failed; the next open of the VDI ends it");
        }
    }

    fn require_writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<LockMode>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MediumFile for VolumeFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(file_id(self.volume.id()))
    }

    /// The tag `hidden`.
    fn is_hidden(&self) -> io::Result<bool> {
        let name = self.volumes.name_of(self.volume.id())?;
        let index = self.volumes.index();
        Ok(index
            .group
            .find(&name)
            .is_some_and(|found| found.has_tag(names::TAG_HIDDEN)))
    }

    fn set_hidden(&self, hidden: bool) -> io::Result<()> {
        let name = self.volumes.name_of(self.volume.id())?;
        self.volumes.commit(&|group| match hidden {
            true => group.add_tag(&name, names::TAG_HIDDEN),
            false => group.remove_tag(&name, names::TAG_HIDDEN),
        })
    }

    /// Within this process: between machines the SR's owner record decides.
    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        Ok(self.volume.try_lock(&mut self.held(), mode))
    }

    fn unlock(&self) {
        self.volume.unlock(&mut self.held());
    }
}

impl Drop for VolumeFile {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Tells whether an image is in the group, and in which format.
pub fn image_of(volumes: &Volumes, vdi: uuid::Uuid) -> Option<ImageName> {
    let index = volumes.index();
    let images = [ImageFormat::Vhd, ImageFormat::Raw].map(|format| ImageName { uuid: vdi, format });
    images
        .into_iter()
        .find(|image| index.find(&image.file_name()).is_some())
}
