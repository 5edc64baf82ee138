//! Giving a volume the content of one of its snapshots.
//!
//! ```text
//! both offline -> STATE-revert.<sum of its snapshots' names>.<pages of the snapshot> -> restore -> the group's own snapshot deleted
//!     -> STATE-live, PAGES
//! ```
//!
//! The group keeps what the volume had in a snapshot of its own, without any mark. It is deleted when it is known: the one that was not there
//! before a command that the group says it has carried out. Where that is not known none is deleted, and the log says so: when somebody else
//! made or deleted snapshots in the same moment, when an answer was lost, and after a crash, except where the size tells that the restore took
//! place. What a crash leaves in each gap: before `restore` the VDI as it was, after it the VDI as the snapshot was and that one snapshot more.
//! Tests: `tests/equal/crash.rs`, `attack_tests`.

use uuid::Uuid;

use super::description::{State, VdiNote};
use super::error::{CliError, absent};
use super::group::Object;
use super::names;
use super::volumes::{EqualVolumes, Found, lock};
use crate::array::{ArrayError, VolumeArray};

const ACTION: &str = "give a volume the content of a snapshot";

impl EqualVolumes {
    /// Sees that a volume can have the content of a snapshot, and takes both offline.
    pub(super) fn prepare_revert(&self, found: &Found, source: &Found) -> Result<(), ArrayError> {
        let vdi = source.note.uuid;
        if found.base.is_some() || source.base.as_ref() != Some(&found.name) {
            let detail = format!(
                "VDI {vdi} is no snapshot of VDI {}; clone it instead",
                found.note.uuid
            );
            return Err(ArrayError::Unsupported {
                array: self.name(),
                action: ACTION,
                detail,
            });
        }
        if lock(&self.exposed).contains(&vdi) {
            let detail = "the snapshot is being read; close it first".to_owned();
            return Err(ArrayError::InUse { vdi, detail });
        }
        for object in [found, source] {
            self.hide(object, &self.options.initiator)
                .map_err(|error| self.failed(ACTION, error))?;
        }
        Ok(())
    }

    /// Gives an offline volume the content of its snapshot.
    ///
    /// # Errors
    /// What the group refuses leaves the volume as it was. When its answer does not come, the next listing finds out.
    pub(super) fn restore(&self, found: &Found, source: &Found) -> Result<(), ArrayError> {
        let failed = |error| self.failed(ACTION, error);
        let (name, pages) = (&found.name, source.pages());
        let before = self
            .own_snapshots(name, found.shelf.snapshots)
            .map_err(failed)?;
        let state = State::Revert {
            before: names::sum_of_all(before.iter()),
            pages,
        };
        let note = found.note;
        self.describe(name, VdiNote { state, ..note })?;
        let mut restored = self.group.restore(name, &source.name);
        let mut known = before;
        if restored.as_ref().is_err_and(CliError::is_lost_session) {
            // It may have been carried out, and may be again.
            let now = self.snapshots_now(name)?;
            if now.len() > known.len() {
                note_unknown(name);
            }
            known = now;
            restored = self.group.restore(name, &source.name);
        }
        match restored {
            Ok(()) => {
                let mut made = self.snapshots_now(name)?;
                made.retain(|own| !known.contains(own));
                self.end_restore(found, pages, &made)
            }
            Err(error) if error.refusal().is_some() => {
                self.settle_restore(&self.need(note.uuid)?)?;
                Err(failed(error))
            }
            // It may still be under way.
            Err(error) => Err(failed(error)),
        }
    }

    /// Finds out what became of a restore that was cut off, as far as the size tells. The claim of the VDI is held.
    pub(super) fn settle_restore(&self, found: &Found) -> Result<(), ArrayError> {
        let State::Revert { before, pages } = found.note.state else {
            return Ok(());
        };
        let had = found.note.pages;
        let shows = |pages: u64| found.shelf.size.pages(pages) == pages;
        let now = self.snapshots_now(&found.name)?;
        let is_as_before = names::sum_of_all(now.iter()) == before;
        let pages = match (shows(pages), shows(had)) {
            (true, false) if !is_as_before => {
                let mut made = now.clone();
                made.retain(|own| names::sum_of_all(now.iter().filter(|it| *it != own)) == before);
                return self.end_restore(found, pages, &made);
            }
            // The group's own snapshot is deleted already.
            (true, false) => pages,
            (true, true) if !is_as_before => {
                note_unknown(&found.name);
                pages
            }
            _ => had,
        };
        self.describe(&found.name, live(found.note, pages))
    }

    /// Removes the group's own snapshot, if it is known which one that is, and notes the size.
    fn end_restore(&self, found: &Found, pages: u64, made: &[String]) -> Result<(), ArrayError> {
        match made {
            [own] => self.remove_unmarked(found, own)?,
            _ => note_unknown(&found.name),
        }
        self.describe(&found.name, live(found.note, pages))
    }

    /// Deletes a snapshot that nobody uses and that is no VDI; it may have the Description of its volume.
    fn remove_unmarked(&self, found: &Found, own: &str) -> Result<(), ArrayError> {
        let volume = found.name.as_str();
        let failed = |error| self.failed("delete the group's own snapshot", error);
        if names::parse(own).is_some() || !names::is_word(own) {
            return Ok(());
        }
        let object = Object::Snapshot(volume, own);
        let Some(shelf) = self.group.show(object).map_err(failed)? else {
            return Ok(());
        };
        let claimed = VdiNote::claimed_uuid(&shelf.description);
        if shelf.is_online || claimed.is_some_and(|vdi| vdi != found.note.uuid) {
            tracing::warn!(
                volume,
                snapshot = own,
                "a snapshot that came with a revert is somebody's, and stays"
            );
            return Ok(());
        }
        absent(self.group.delete(object)).map(drop).map_err(failed)
    }

    fn snapshots_now(&self, volume: &str) -> Result<Vec<String>, ArrayError> {
        let failed = |error| self.failed("list the snapshots of a volume", error);
        let shown = self.group.show(Object::Volume(volume)).map_err(failed)?;
        let told = shown.map_or(0, |shelf| shelf.snapshots);
        self.own_snapshots(volume, told).map_err(failed)
    }

    /// Ends what was cut off of a VDI: a restore, or a growth. The claim of the VDI is held.
    pub(super) fn settle(&self, vdi: Uuid) -> Result<Found, ArrayError> {
        let found = self.need(vdi)?;
        if let State::Revert { .. } = found.note.state {
            self.settle_restore(&found)?;
            return self.need(vdi);
        }
        let Some(pages) = found.grown() else {
            return Ok(found);
        };
        let ended = self.grow(&found, pages);
        let found = self.need(vdi)?;
        match ended {
            // It was taken back.
            Err(error) if found.grown().is_some() => Err(error),
            _ => Ok(found),
        }
    }
}

fn note_unknown(volume: &str) {
    tracing::warn!(
        volume,
        "the group's own snapshot of what a volume had before a revert is not told from those of others, and stays if it is there; delete it on the group"
    );
}

fn live(note: VdiNote, pages: u64) -> VdiNote {
    VdiNote {
        state: State::Live,
        pages,
        ..note
    }
}
