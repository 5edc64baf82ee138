//! Giving a volume the content of one of its snapshots.
//!
//! ```text
//! both offline -> STATE-revert.<sum of its snapshots' names>.<pages of the snapshot> -> restore -> the group's own snapshot deleted
//!     -> STATE-live, PAGES
//! ```
//!
//! The group keeps what the volume had in a snapshot of its own, without any mark. It is the one that was not there before, and nothing that was
//! there before is ever deleted. What a crash leaves in each gap: before `restore` the names still have the noted sum, and the VDI has
//! what it had; after it there is one name more, which goes then. Where somebody else made or deleted snapshots meanwhile the sum fits no
//! more: then none is deleted, and the log says so. Tests: `tests/equal/crash.rs`, `attack_tests`.

use uuid::Uuid;

use super::description::{State, VdiNote};
use super::error::absent;
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
        let mut is_second = false;
        loop {
            let restored = self.group.restore(name, &source.name);
            let is_lost = restored.as_ref().is_err_and(|it| it.is_lost_session());
            let is_refused = restored.as_ref().is_err_and(|it| it.refusal().is_some());
            if restored.is_err() && !is_lost && !is_refused {
                // It may still be under way.
                return restored.map_err(failed);
            }
            let mut made = self.snapshots_now(name)?;
            made.retain(|own| !before.contains(own));
            match restored {
                Err(_) if is_lost && made.is_empty() && !is_second => is_second = true,
                // A first try whose answer was lost was not carried out: else there was a new one.
                Err(error) if is_refused || made.is_empty() => {
                    self.describe(name, note)?;
                    return Err(failed(error));
                }
                _ => return self.end_restore(found, pages, &made),
            }
        }
    }

    /// Finds out what became of a restore that was cut off, and removes what it left. The claim of the VDI is held.
    pub(super) fn settle_restore(&self, found: &Found) -> Result<(), ArrayError> {
        let State::Revert { before, pages } = found.note.state else {
            return Ok(());
        };
        let now = self.snapshots_now(&found.name)?;
        if names::sum_of_all(now.iter()) == before {
            return self.describe(&found.name, live(found.note, found.note.pages));
        }
        let mut made = now.clone();
        made.retain(|own| names::sum_of_all(now.iter().filter(|it| *it != own)) == before);
        if made.is_empty() && found.shelf.size.pages(pages) != pages {
            // Others changed its snapshots, and it has its old size still.
            return self.describe(&found.name, live(found.note, found.note.pages));
        }
        self.end_restore(found, pages, &made)
    }

    /// Removes the group's own snapshot, if it is known which one that is, and notes the size.
    fn end_restore(&self, found: &Found, pages: u64, made: &[String]) -> Result<(), ArrayError> {
        match made {
            [own] => self.remove_unmarked(found, own)?,
            _ => tracing::warn!(
                volume = found.name,
                candidates = made.len(),
                "the group's own snapshot of what a volume had before a revert is not told from others, and stays; delete it on the group"
            ),
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

fn live(note: VdiNote, pages: u64) -> VdiNote {
    VdiNote {
        state: State::Live,
        pages,
        ..note
    }
}
