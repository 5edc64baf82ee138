//! What XenServer, or this storage manager, left half done in a volume group: finished or undone when the SR is attached,
//! before the layout of VHD files looks at it, which sees to the journals that both kinds of SR have.
//!
//! In XenServer's order: `inflate`, since all that follows may need room; `jvhd`, whose images get their full room here and
//! are rolled back by the layout; `clone`; `zero`. `leaf`, `relink` and `coalesce` are the layout's.
//! Everything may be cut off and begun again: a journal goes last, or together with what it asks for.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::branch_journal;
use super::journal::{JournalId, JournalKind};
use super::journal_file;
use super::names::{self, image_volume};
use super::volume_files::{VolumeFiles, image_of};
use super::volumes::Volumes;
use crate::layout::vhd_files::names::{EntryKind, ImageFormat, ImageName, classify, parent_image};
use crate::medium::files::{Files, Room};

/// What to do about an interrupted snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneEnd {
    /// Nothing had been done.
    Forget,
    /// The parent gets the image's name back, and the new images go.
    Undo,
    /// The parent is hidden.
    Finish,
}

/// Decides about an interrupted snapshot by which of its images are there and can be read.
///
/// Source: reference 5.9.2.
pub fn decide_clone(base: bool, original: bool, new: Option<bool>) -> CloneEnd {
    match (base, original, new) {
        (false, _, _) => CloneEnd::Forget,
        (true, true, None | Some(true)) => CloneEnd::Finish,
        (true, _, _) => CloneEnd::Undo,
    }
}

/// Finishes or undoes what was cut off. What cannot be is logged, keeps its journal, and hides nothing else.
pub fn recover(files: &VolumeFiles) {
    let volumes = files.volumes();
    for (journal, value) in journals(volumes, JournalKind::Inflate) {
        note(journal, undo_inflate(volumes, journal, &value));
    }
    for entry in files.entries().unwrap_or_default() {
        if let EntryKind::ResizeJournal(vdi) = classify(&entry)
            && let Some(image) = image_of(volumes, vdi)
            && let Err(error) = files.provide(&image.file_name(), Room::Written)
        {
            tracing::error!(vdi.uuid = %vdi, %error, "make room to undo an interrupted resize");
        }
    }
    for (journal, value) in journals(volumes, JournalKind::Clone) {
        note(journal, end_clone(files, journal, &value));
    }
    for (journal, value) in journals(volumes, JournalKind::Zero) {
        note(journal, finish_zero(volumes, journal, &value));
    }
}

fn note(journal: JournalId, recovered: io::Result<()>) {
    let (kind, vdi) = (journal.kind, journal.vdi);
    match recovered {
        Ok(()) => tracing::info!(vdi.uuid = %vdi, ?kind, "recovered from an interrupted operation"),
        Err(error) => {
            tracing::error!(vdi.uuid = %vdi, ?kind, %error, "could not recover from an interrupted operation; its images stay as they are");
        }
    }
}

/// The journals of one kind, with their values.
fn journals(volumes: &Volumes, kind: JournalKind) -> Vec<(JournalId, String)> {
    let index = volumes.index();
    let mut found = Vec::new();
    for volume in &index.group.logical_volumes {
        if !volume.has_tag(names::TAG_JOURNALER) {
            continue;
        }
        let Some((id, named)) = JournalId::of_volume(&volume.name) else {
            tracing::warn!(volume.name, "leave a journal alone whose name says nothing");
            continue;
        };
        if id.kind != kind {
            continue;
        }
        let value = volumes
            .volume(&volume.name)
            .and_then(|open| journal_file::value(id, named, &open));
        match value {
            Ok(value) => found.push((id, value)),
            Err(error) => note(id, Err(error)),
        }
    }
    found
}

/// Gives a volume the length back that it had, if its data allow that.
fn undo_inflate(volumes: &Arc<Volumes>, journal: JournalId, value: &str) -> io::Result<()> {
    let lv_name = image_volume(ImageName::vhd(journal.vdi));
    if volumes.index().group.find(&lv_name).is_some()
        && let Ok(length) = value.parse::<u64>()
    {
        let volume = volumes.volume(&lv_name)?;
        let found = volume.length()?;
        let needed = vhd::volume::data_end(&*volume).map_err(io::Error::from)?;
        let wanted = length.max(vhd::volume::deflated_size(needed)).min(found);
        vhd::volume::move_footer(&*volume, length, wanted).map_err(io::Error::from)?;
        if wanted < found {
            volumes.resize(&volume, wanted)?;
        }
    }
    branch_journal::remove(volumes, journal)
}

fn end_clone(files: &VolumeFiles, journal: JournalId, value: &str) -> io::Result<()> {
    let volumes = files.volumes();
    // Not written to the end: nothing had been done.
    let Some((base, new)) = value.split_once('_') else {
        return branch_journal::remove(volumes, journal);
    };
    let Some(base) = names::parse_uuid(base) else {
        return branch_journal::remove(volumes, journal);
    };
    let new = names::parse_uuid(new);
    let base = image_of(volumes, base);
    let original = ImageName::vhd(journal.vdi);
    let has_original = base.is_some_and(|base| is_child(volumes, original, base));
    let has_new = new.map(|new| {
        let new = ImageName::vhd(new);
        base.is_some_and(|base| is_child(volumes, new, base))
    });
    match (decide_clone(base.is_some(), has_original, has_new), base) {
        (CloneEnd::Finish, Some(base)) => {
            set_hidden(volumes, base, true)?;
            files.provide(&base.file_name(), Room::Resting)?;
            branch_journal::remove(volumes, journal)
        }
        (CloneEnd::Undo, Some(base)) => undo_clone(files, journal, base, new),
        _ => branch_journal::remove(volumes, journal),
    }
}

/// True when the image is there, can be opened, and was made on the base, or on the base's own parent where XenServer
/// skipped a base without data. A volume that was made and not yet written may hold an image of somebody else.
///
/// What a consumer may have written to it since must not be lost, so that it is not asked whether every detail is sound.
fn is_child(volumes: &Volumes, image: ImageName, base: ImageName) -> bool {
    let lv_name = image_volume(image);
    if volumes.index().group.find(&lv_name).is_none() {
        return false;
    }
    let Ok(volume) = volumes.volume(&lv_name) else {
        return false;
    };
    let Ok(found) = vhd::image::FoundImage::read(volume) else {
        return false;
    };
    let named = |link: &vhd::ParentLink| parent_image(link.base_name());
    let parent = found.info().parent.as_ref().and_then(named);
    let is_base_or_below = parent.is_some_and(|parent| {
        let below = || {
            let base = volumes.volume(&image_volume(base)).ok()?;
            named(&vhd::image::parent_link(&*base).ok()??)
        };
        parent == base || below() == Some(parent)
    });
    is_base_or_below && found.check().is_ok()
}

/// Write order: the parent is unhidden; it gets its full room; then, in one commit, the new images go, it gets the image's name,
/// and the journal goes. Crash between: this is begun again.
fn undo_clone(
    files: &VolumeFiles,
    journal: JournalId,
    base: ImageName,
    new: Option<Uuid>,
) -> io::Result<()> {
    let volumes = files.volumes();
    set_hidden(volumes, base, false)?;
    // Without room the image is as sound, and grows when it is attached.
    if let Err(error) = files.provide(&base.file_name(), Room::Written) {
        tracing::warn!(vdi.uuid = %base.uuid, %error, "an image that gets its name back has less room than it had");
    }
    let index = volumes.index();
    let original = ImageName {
        uuid: journal.vdi,
        format: base.format,
    };
    let mut gone = vec![image_volume(ImageName::vhd(journal.vdi))];
    gone.extend(new.map(|new| image_volume(ImageName::vhd(new))));
    gone.extend(
        index
            .find(&journal.file_name())
            .map(|found| found.name.clone()),
    );
    gone.retain(|name| index.group.find(name).is_some());
    let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
    let (from, to) = (image_volume(base), image_volume(original));
    volumes.remove(&gone, &|group| {
        group.rename_lv(&from, &to)?;
        group.set_writable(&to, true)
    })
}

fn set_hidden(volumes: &Volumes, image: ImageName, hidden: bool) -> io::Result<()> {
    let lv_name = image_volume(image);
    if image.format == ImageFormat::Vhd {
        let volume = volumes.volume(&lv_name)?;
        return vhd::image::set_hidden(&*volume, hidden).map_err(io::Error::from);
    }
    volumes.commit(&|group| match hidden {
        true => group.add_tag(&lv_name, names::TAG_HIDDEN),
        false => group.remove_tag(&lv_name, names::TAG_HIDDEN),
    })
}

/// Zeroes what a raw parent was grown by.
pub(super) fn finish_zero(volumes: &Volumes, journal: JournalId, value: &str) -> io::Result<()> {
    let lv_name = image_volume(ImageName::raw(journal.vdi));
    if volumes.index().group.find(&lv_name).is_some()
        && let Ok(offset) = value.parse::<u64>()
    {
        let volume = volumes.volume(&lv_name)?;
        let length = volume.length()?;
        if offset < length {
            volume.write_zeroes_at(offset, length - offset)?;
            volume.flush()?;
        }
    }
    branch_journal::remove(volumes, journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_forgotten_undone_or_finished() {
        use CloneEnd::{Finish, Forget, Undo};
        for (base, original, new, end) in [
            (false, true, Some(false), Forget),
            (false, true, None, Forget),
            (true, false, Some(false), Undo),
            (true, true, Some(false), Undo),
            (true, false, Some(true), Undo),
            (true, false, None, Undo),
            (true, true, Some(true), Finish),
            (true, true, None, Finish),
        ] {
            assert_eq!(
                decide_clone(base, original, new),
                end,
                "{base} {original} {new:?}"
            );
        }
    }
}
