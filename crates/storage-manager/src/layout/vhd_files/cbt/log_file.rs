//! One log as a file of the SR directory.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::io::fault;
use crate::layout::cbt_log::{ChangeLog, HEADER_LENGTH, Header, MAX_TRACKED_SIZE, log_length};
use crate::layout::vhd_files::names::{cbt_log_name, temporary_name};
use crate::layout::vhd_files::{Error, Result};
use crate::medium::files::{Access, Files, MediumFile};

/// The header of a VDI's log with its file; none when it has no log or one that cannot be read, which is said in the
/// server's log.
pub fn open(files: &dyn Files, vdi: Uuid) -> Result<Option<(Arc<dyn MediumFile>, Header)>> {
    open_for(files, vdi, Access::ReadWrite)
}

/// As [`open`], with this access.
pub fn open_for(
    files: &dyn Files,
    vdi: Uuid,
    access: Access,
) -> Result<Option<(Arc<dyn MediumFile>, Header)>> {
    let name = cbt_log_name(vdi);
    let file = match files.open_file(&name, access) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // No regular file: not made by anybody who tracks changes.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            tracing::warn!(vdi.uuid = %vdi, %error, "take what has the name of a change-tracking log for none");
            return Ok(None);
        }
        Err(source) => return Err(io_error(files, "open", vdi, source)),
    };
    let failed = |source| io_error(files, "read", vdi, source);
    let length = file.len().map_err(failed)?;
    let mut head = [0; HEADER_LENGTH];
    let needed = if length < HEADER_LENGTH as u64 {
        HEADER_LENGTH as u64
    } else {
        file.read_at(&mut head, 0).map_err(failed)?;
        match Header::parse(&head) {
            Ok(header) if length >= log_length(header.size) => return Ok(Some((file, header))),
            Ok(header) => log_length(header.size),
            Err(defect) => {
                tracing::warn!(vdi.uuid = %vdi, %defect, "take a change-tracking log that cannot be read for none");
                return Ok(None);
            }
        }
    };
    tracing::warn!(
        vdi.uuid = %vdi,
        found_bytes = length,
        expected_bytes = needed,
        "take a change-tracking log that is cut off for none"
    );
    Ok(None)
}

/// Reads a VDI's log; none as for [`open`].
pub fn read(files: &dyn Files, vdi: Uuid) -> Result<Option<ChangeLog>> {
    match open_for(files, vdi, Access::Read)? {
        Some((file, header)) => content(files, vdi, &*file, header).map(Some),
        None => Ok(None),
    }
}

/// Reads the rest of a log whose header was read.
pub fn content(
    files: &dyn Files,
    vdi: Uuid,
    file: &dyn MediumFile,
    header: Header,
) -> Result<ChangeLog> {
    debug_assert!(header.size <= MAX_TRACKED_SIZE, "parsing bounds it");
    let mut bytes = vec![0; log_length(header.size) as usize];
    file.read_at(&mut bytes, 0)
        .map_err(|source| io_error(files, "read", vdi, source))?;
    ChangeLog::parse(&bytes).map_err(|source| Error::ChangeLog { vdi, source })
}

/// Makes or replaces a VDI's log as a whole, and gives the file.
///
/// Write order: the log is written under a temporary name and synced (swept at the next attach), gets its name (the old
/// log or the new one, never a mixture), and the directory is synced.
pub fn replace(files: &dyn Files, vdi: Uuid, log: &ChangeLog) -> Result<Arc<dyn MediumFile>> {
    let name = cbt_log_name(vdi);
    let temporary = temporary_name(&name);
    let failed = |action| move |source| io_error(files, action, vdi, source);
    let write = || -> io::Result<Arc<dyn MediumFile>> {
        let file = files.create_file(&temporary)?;
        file.write_at(&log.to_bytes(), 0)?;
        file.flush()?;
        files.replace(&temporary, &name)?;
        Ok(file)
    };
    let file = write().map_err(|source| {
        // The sweep at the next attach gets what cannot be removed now.
        let _ = files.remove(&temporary);
        failed("write")(source)
    })?;
    files.sync().map_err(failed("sync the directory of"))?;
    Ok(file)
}

/// Writes a header in place.
///
/// # Durability
/// On return it is on stable storage. It lies within one sector, so a power cut leaves the old or the new one.
pub fn write_header(file: &dyn MediumFile, header: &Header) -> io::Result<()> {
    fault::point("change log: write header")?;
    file.write_at(&header.to_bytes(), 0)?;
    file.flush()
}

/// Writes all bits in place, then the header.
///
/// A crash between both leaves some of the new bits under the old header. Callers only add bits, so no change is lost.
pub fn write_blocks(file: &dyn MediumFile, log: &ChangeLog) -> io::Result<()> {
    fault::point("change log: write bits")?;
    file.write_at(log.blocks.file_bytes(), HEADER_LENGTH as u64)?;
    file.flush()?;
    write_header(file, &log.header)
}

/// Removes a VDI's log; one that is not there is no error.
///
/// # Durability
/// On return it is gone for good.
pub fn remove(files: &dyn Files, vdi: Uuid) -> Result<()> {
    let removed = files.remove(&cbt_log_name(vdi));
    removed.map_err(|source| io_error(files, "remove", vdi, source))?;
    files
        .sync()
        .map_err(|source| io_error(files, "sync the directory of", vdi, source))
}

/// True when there is a file of a VDI's log, readable or not.
pub fn exists(files: &dyn Files, vdi: Uuid) -> Result<bool> {
    let exists = files.contains(&cbt_log_name(vdi));
    exists.map_err(|source| io_error(files, "look for", vdi, source))
}

pub fn io_error(files: &dyn Files, action: &'static str, vdi: Uuid, source: io::Error) -> Error {
    Error::Io {
        action,
        path: files.path().join(cbt_log_name(vdi)),
        source,
    }
}
