//! A journal of coalescing as a file: what is written to it becomes a volume at the first flush.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::journal::{JournalId, NewJournal, SECTOR, content_value};
use super::names::TAG_JOURNALER;
use super::volume::Volume;
use super::volumes::Volumes;
use crate::io::lock::LockMode;
use crate::medium::files::{FileId, MediumFile};

/// Bytes that XenServer gives a journal.
const LENGTH: u64 = 4 << 20;

/// Longest text that is kept before the flush.
const MAX_TEXT: u64 = 256;

/// A journal.
#[derive(Debug)]
pub struct JournalFile {
    volumes: Arc<Volumes>,
    id: JournalId,
    text: Mutex<Vec<u8>>,
}

/// Makes a journal, in one commit: where the value is kept in the volume, it is written to extents that are free before
/// they become the volume.
///
/// # Errors
/// `InvalidInput` for a value that no journal has.
///
/// # Durability
/// On return it is on stable storage. Crash before: no journal.
pub fn write(volumes: &Volumes, id: JournalId, value: &str) -> io::Result<()> {
    let vg = volumes.index().group.name.clone();
    let journal = id.volume(&vg, value).ok_or_else(|| {
        let text = format!("{value:?} is no value of a journal");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let NewJournal { lv_name, content } = &journal;
    let edit =
        |group: &mut lvm::metadata::VolumeGroup| group.create_lv(lv_name, LENGTH, &[TAG_JOURNALER]);
    let turn = volumes.turn();
    if let Some(content) = content {
        let planned = volumes.planned(&edit, lv_name)?;
        planned.write_at(content, 0)?;
        planned.flush()?;
    }
    volumes.commit_in(&turn, &edit)
}

/// The value of a journal whose volume has this name; empty when it was not written to the end.
pub fn value(id: JournalId, named: &str, volume: &Volume) -> io::Result<String> {
    if !id.is_in_volume(named) {
        return Ok(named.to_owned());
    }
    let mut sector = [0; SECTOR];
    volume.read_at(&mut sector, 0)?;
    Ok(content_value(&sector).unwrap_or_default())
}

impl JournalFile {
    /// A journal that is to be written.
    pub fn new(volumes: &Arc<Volumes>, id: JournalId) -> Self {
        JournalFile {
            volumes: volumes.clone(),
            id,
            text: Mutex::default(),
        }
    }

    /// A journal that is there.
    pub fn read(
        volumes: &Arc<Volumes>,
        id: JournalId,
        named: &str,
        volume: &Volume,
    ) -> io::Result<Self> {
        let file = JournalFile::new(volumes, id);
        *file.text() = value(id, named, volume)?.into_bytes();
        Ok(file)
    }

    fn text(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl vhd::Storage for JournalFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let text = self.text();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let found = text.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        if end > MAX_TEXT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut text = self.text();
        if text.len() < end as usize {
            text.resize(end as usize, b' ');
        }
        text[offset as usize..end as usize].copy_from_slice(data);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.text().len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > MAX_TEXT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.text().resize(length as usize, b' ');
        Ok(())
    }

    /// Makes the volume, unless it is there.
    fn flush(&self) -> io::Result<()> {
        if self.volumes.index().find(&self.id.file_name()).is_some() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.text()).trim().to_owned();
        write(&self.volumes, self.id, &text)
    }
}

impl MediumFile for JournalFile {
    fn id(&self) -> io::Result<FileId> {
        let index = self.volumes.index();
        let found = index.find(&self.id.file_name());
        let found = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(super::volume::file_id(&found.id))
    }

    fn try_lock(&self, _mode: LockMode) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self) {}
}
