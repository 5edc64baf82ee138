//! What calls that were cut off have left, finished or removed. See `volumes` for what that may be.

use super::description::{State, VdiNote};
use super::error::CliError;
use super::group::Object;
use super::names;
use super::survey::Survey;
use super::volumes::EqualVolumes;
use crate::array::ArrayError;

/// Most snapshots without a name of ours that are looked at again by each listing.
const MAX_STRANGERS: usize = 64;

impl EqualVolumes {
    /// Finishes or removes what was left, as far as nobody is at it. What cannot be seen to now is tried again by the next listing.
    /// True when there is a VDI then that the survey does not have.
    pub(super) fn see_to_leftovers(&self, survey: &Survey) -> bool {
        for found in &survey.found {
            let vdi = found.note.uuid;
            let result = match (found.note.state, found.note.is_deleted) {
                (State::New, _) => {
                    self.remove_new_unclaimed(vdi);
                    Ok(())
                }
                (_, true) if found.base.is_none() && found.shelf.snapshots == 0 => {
                    match self.claims.try_for(vdi) {
                        Some(_claim) => self.remove_if_bare(&found.name),
                        None => Ok(()),
                    }
                }
                (State::Revert { .. }, _) => match self.claims.try_for(vdi) {
                    Some(_claim) => self.settle_leftover(vdi),
                    None => Ok(()),
                },
                _ => Ok(()),
            };
            note_failure(&found.name, result);
        }
        let mut is_any_finished = false;
        for (volume, snapshot) in survey.strangers.iter().take(MAX_STRANGERS) {
            let result = self.finish_stranger(volume, snapshot);
            is_any_finished |= matches!(result, Ok(true));
            let result = result.map(drop);
            note_failure(
                snapshot,
                result.map_err(|error| self.failed("finish a snapshot", error)),
            );
        }
        is_any_finished
    }

    /// Looked at again under the claim: the call that began it may have ended it since.
    fn settle_leftover(&self, vdi: uuid::Uuid) -> Result<(), ArrayError> {
        match self.look(vdi)? {
            Some(found) => self.settle_restore(&found),
            None => Ok(()),
        }
    }

    /// Conceals what an earlier process exposed to this initiator, where nobody is logged in.
    pub fn conceal_leftovers(&self) -> Result<(), ArrayError> {
        let survey = self
            .survey()
            .map_err(|error| self.failed("list the volumes", error))?;
        for found in survey
            .found
            .iter()
            .filter(|found| found.shelf.is_online && found.shelf.connections == 0)
        {
            let Some(_claim) = self.claims.try_for(found.note.uuid) else {
                continue;
            };
            let hidden = self.hide(found, &self.options.initiator);
            note_failure(
                &found.name,
                hidden.map_err(|error| self.failed("conceal a volume", error)),
            );
        }
        let management = names::management(self.options.sr);
        note_failure(&management, self.management.conceal_leftover());
        Ok(())
    }

    /// Removes volumes that no client knows of any more, for the SR to be removed; answers what is left that is in the way.
    pub fn empty(&self) -> Result<Option<String>, ArrayError> {
        let survey = self
            .survey()
            .map_err(|error| self.failed("list the volumes", error))?;
        self.see_to_leftovers(&survey);
        let survey = self
            .survey()
            .map_err(|error| self.failed("list the volumes", error))?;
        let volumes = survey.found.into_iter().map(|found| found.name);
        let damaged = survey.damaged.into_iter().map(|damaged| damaged.location);
        Ok(volumes.chain(damaged).next())
    }

    /// Removes a volume that is new, for the call that made it.
    pub(super) fn remove_new(&self, vdi: uuid::Uuid) {
        let removed = self.look(vdi).and_then(|found| match found {
            // Snapshots that somebody made of it are not ours to delete.
            Some(found)
                if found.note.state == State::New
                    && found.base.is_none()
                    && found.shelf.snapshots == 0 =>
            {
                self.remove(&found)
                    .map_err(|error| self.failed("remove a volume that is not finished", error))
            }
            _ => Ok(()),
        });
        note_failure(&names::volume(self.options.sr, vdi), removed);
    }

    /// Looked at again under the claim: the call that made it may have finished it since.
    fn remove_new_unclaimed(&self, vdi: uuid::Uuid) {
        if let Some(_claim) = self.claims.try_for(vdi) {
            self.remove_new(vdi);
        }
    }

    /// Gives a snapshot with a note of ours its name. One with the note of its own volume, as a group or an administrator may copy it, is
    /// none of ours.
    fn finish_stranger(&self, volume: &str, snapshot: &str) -> Result<bool, CliError> {
        let Some(shelf) = self.group.show(Object::Snapshot(volume, snapshot))? else {
            return Ok(false);
        };
        let Some(vdi) = VdiNote::claimed_uuid(&shelf.description) else {
            return Ok(false);
        };
        let name = names::volume(self.options.sr, vdi);
        if name == volume || VdiNote::parse(&shelf.description, &name).is_err() {
            return Ok(false);
        }
        let Some(_claim) = self.claims.try_for(vdi) else {
            return Ok(false);
        };
        self.finish_snapshot(volume, vdi)
    }
}

fn note_failure(name: &str, result: Result<(), ArrayError>) {
    if let Err(error) = result {
        let error = error.chain_text();
        tracing::warn!(
            volume = name,
            error,
            "what a call left on a group could not be seen to; the next scan tries again"
        );
    }
}
