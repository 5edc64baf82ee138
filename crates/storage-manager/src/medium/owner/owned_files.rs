//! Files of an SR that is owned by a record: nothing is written to them when the record is another's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::ownership::Ownership;
use crate::io::lock::LockMode;
use crate::io::positional::Allocation;
use crate::layout::vhd_files::names::ImageName;
use crate::medium::files::{Access, FileId, Files, MediumFile, Room, UnnamedFile};
use crate::sr::SrSpace;

/// Files that ask whether the SR is still owned before each change of a name, a length or a byte.
#[derive(Debug)]
pub struct OwnedFiles {
    files: Arc<dyn Files>,
    ownership: Arc<Ownership>,
}

#[derive(Debug)]
struct OwnedFile {
    file: Arc<dyn MediumFile>,
    ownership: Arc<Ownership>,
}

#[derive(Debug)]
struct OwnedUnnamed {
    unnamed: Box<dyn UnnamedFile>,
    file: Arc<dyn MediumFile>,
    ownership: Arc<Ownership>,
}

impl OwnedFiles {
    /// The same files, which only the owner changes.
    pub fn new(files: Arc<dyn Files>, ownership: Arc<Ownership>) -> Self {
        OwnedFiles { files, ownership }
    }

    fn owned(&self, file: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        let ownership = self.ownership.clone();
        Arc::new(OwnedFile { file, ownership })
    }
}

impl Files for OwnedFiles {
    fn path(&self) -> &Path {
        self.files.path()
    }

    fn entries(&self) -> io::Result<Vec<String>> {
        self.files.entries()
    }

    fn open_file(&self, name: &str, access: Access) -> io::Result<Arc<dyn MediumFile>> {
        let file = self.files.open_file(name, access)?;
        Ok(match access {
            Access::Read => file,
            Access::ReadWrite => self.owned(file),
        })
    }

    fn create_file(&self, name: &str) -> io::Result<Arc<dyn MediumFile>> {
        self.ownership.check()?;
        Ok(self.owned(self.files.create_file(name)?))
    }

    fn create_whole(
        &self,
        image: ImageName,
        virtual_size: u64,
        write: &mut dyn FnMut(Arc<dyn MediumFile>) -> io::Result<()>,
    ) -> io::Result<bool> {
        self.ownership.check()?;
        let mut write = |file| write(self.owned(file));
        self.files.create_whole(image, virtual_size, &mut write)
    }

    fn create_unnamed_file(&self) -> io::Result<Box<dyn UnnamedFile>> {
        self.ownership.check()?;
        let unnamed = self.files.create_unnamed_file()?;
        Ok(Box::new(OwnedUnnamed {
            file: self.owned(unnamed.file().clone()),
            unnamed,
            ownership: self.ownership.clone(),
        }))
    }

    fn publish(&self, from: &str, to: &str) -> io::Result<()> {
        self.ownership.check()?;
        self.files.publish(from, to)
    }

    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        self.ownership.check()?;
        self.files.replace(from, to)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<bool> {
        self.ownership.check()?;
        self.files.link(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        self.ownership.check()?;
        self.files.remove(name)
    }

    fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        self.files.id_of(name)
    }

    fn other_names(&self, name: &str) -> io::Result<Vec<String>> {
        self.files.other_names(name)
    }

    fn is_directory(&self, name: &str) -> io::Result<bool> {
        self.files.is_directory(name)
    }

    fn exchange(&self, image: &str, aside: &str, new: &str, named: &str) -> io::Result<()> {
        self.ownership.check()?;
        self.files.exchange(image, aside, new, named)
    }

    fn parent_path(&self, image: ImageName) -> String {
        self.files.parent_path(image)
    }

    fn provide(&self, name: &str, room: Room) -> io::Result<bool> {
        self.ownership.check()?;
        self.files.provide(name, room)
    }

    fn begin_branch(
        &self,
        source: ImageName,
        base: ImageName,
        new: Option<ImageName>,
    ) -> io::Result<bool> {
        self.ownership.check()?;
        self.files.begin_branch(source, base, new)
    }

    fn end_branch(&self, source: ImageName) -> io::Result<()> {
        self.ownership.check()?;
        self.files.end_branch(source)
    }

    fn fails_in_doubt(&self) -> bool {
        self.files.fails_in_doubt()
    }

    fn has_raw_operations(&self) -> bool {
        self.files.has_raw_operations()
    }

    fn sync(&self) -> io::Result<()> {
        self.ownership.check()?;
        self.files.sync()
    }

    fn space(&self) -> io::Result<SrSpace> {
        self.files.space()
    }
}

impl vhd::Storage for OwnedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.ownership.check()?;
        self.file.write_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.ownership.check()?;
        self.file.set_len(length)
    }

    fn is_volume(&self) -> bool {
        self.file.is_volume()
    }

    fn flush(&self) -> io::Result<()> {
        self.ownership.check()?;
        self.file.flush()
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        self.ownership.check()?;
        self.file.write_zeroes_at(offset, length)
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.ownership.check()?;
        self.file.punch_hole(offset, length)
    }
}

impl MediumFile for OwnedFile {
    fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }

    fn modified(&self) -> io::Result<SystemTime> {
        self.file.modified()
    }

    fn try_lock(&self, mode: LockMode) -> io::Result<bool> {
        self.file.try_lock(mode)
    }

    fn unlock(&self) {
        self.file.unlock();
    }

    fn is_hidden(&self) -> io::Result<bool> {
        self.file.is_hidden()
    }

    fn set_hidden(&self, hidden: bool) -> io::Result<()> {
        self.ownership.check()?;
        self.file.set_hidden(hidden)
    }

    fn allocation(&self, offset: u64, length: u64) -> io::Result<(Allocation, u64)> {
        self.file.allocation(offset, length)
    }
}

impl UnnamedFile for OwnedUnnamed {
    fn file(&self) -> &Arc<dyn MediumFile> {
        &self.file
    }

    fn name(&self, name: &str) -> io::Result<bool> {
        self.ownership.check()?;
        self.unnamed.name(name)
    }
}
