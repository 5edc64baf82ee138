//! The journal of a snapshot in XenServer's terms: `clone`, with the parent that is made and the new image.
//!
//! It is there while names and flags of the images of one snapshot do not fit together, so that whoever attaches the SR next,
//! XenServer or this storage manager, finishes or undoes it: [`super::recovery`].

use std::io;

use super::journal::{JournalId, JournalKind};
use super::journal_file;
use super::volumes::Volumes;
use crate::layout::vhd_files::names::ImageName;

/// Writes the journal of a snapshot of `source`.
///
/// # Durability
/// On return it is on stable storage.
pub fn begin(
    volumes: &Volumes,
    source: ImageName,
    base: ImageName,
    new: Option<ImageName>,
) -> io::Result<()> {
    let new = new.map(|new| new.uuid.to_string()).unwrap_or_default();
    let value = format!("{}_{new}", base.uuid);
    journal_file::write(volumes, id(source), &value)
}

/// Removes the journal; one that is not there is no error.
pub fn end(volumes: &Volumes, source: ImageName) -> io::Result<()> {
    remove(volumes, id(source))
}

fn id(source: ImageName) -> JournalId {
    JournalId {
        kind: JournalKind::Clone,
        vdi: source.uuid,
    }
}

/// Removes a journal; one that is not there is no error.
pub(super) fn remove(volumes: &Volumes, journal: JournalId) -> io::Result<()> {
    let index = volumes.index();
    match index.find(&journal.file_name()) {
        Some(found) => volumes.remove(&[&found.name], &|_| Ok(())),
        None => Ok(()),
    }
}
