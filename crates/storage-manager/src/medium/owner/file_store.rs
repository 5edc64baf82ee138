//! The owner record as a file beside the images.

use std::io;
use std::sync::Arc;

use super::protocol::OwnerStore;
use super::record::{RECORD_LENGTH, RecordBytes};
use crate::medium::files::{Access, Files, MediumFile};

/// The file's name; harmless to XenServer, which ignores names that start with a dot.
pub const OWNER_NAME: &str = ".xensm-owner";

/// A record in the file [`OWNER_NAME`], written in place; it stays when the SR is let go of.
#[derive(Debug)]
pub struct FileOwnerStore {
    files: Arc<dyn Files>,
}

impl FileOwnerStore {
    /// The record beside these files, which must not be [`super::OwnedFiles`].
    pub fn new(files: Arc<dyn Files>) -> Self {
        FileOwnerStore { files }
    }

    fn open_or_create(&self) -> io::Result<Arc<dyn MediumFile>> {
        match self.files.open_file(OWNER_NAME, Access::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match self.files.create_file(OWNER_NAME) {
            // Another made it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.files.open_file(OWNER_NAME, Access::ReadWrite)
            }
            created => created,
        }
    }
}

impl OwnerStore for FileOwnerStore {
    fn place(&self) -> String {
        self.files.path().join(OWNER_NAME).display().to_string()
    }

    fn read(&self) -> io::Result<Option<RecordBytes>> {
        let file = match self.files.open_file(OWNER_NAME, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = [0; RECORD_LENGTH];
        let length = file.len()?.min(RECORD_LENGTH as u64) as usize;
        file.read_at(&mut bytes[..length], 0)?;
        Ok(Some(bytes))
    }

    fn write(&self, record: &RecordBytes) -> io::Result<()> {
        let file = self.open_or_create()?;
        file.write_at(record, 0)?;
        file.flush()
    }
}
