//! Making volumes, snapshots and clones so that an answer that was lost is found again.

use uuid::Uuid;

use super::description::{Allocation, State, VdiNote};
use super::error::{CliError, Refusal};
use super::group::{NewVolume, Object};
use super::names;
use super::volumes::{EqualVolumes, Found, lock};
use crate::array::{ArrayError, VolumeArray};

impl EqualVolumes {
    /// Makes a volume, or finds it made when the answer was lost.
    pub(super) fn make(&self, new: &NewVolume<'_>, vdi: Uuid) -> Result<(), ArrayError> {
        let action = "make a volume";
        match self.group.create(new) {
            Ok(()) => Ok(()),
            Err(error) if error.refusal().is_none() && self.look(vdi)?.is_some() => {
                tracing::info!(%error, "a volume is there although the answer was lost");
                Ok(())
            }
            Err(error) if error.refusal() == Some(Refusal::Exists) => Err(ArrayError::Exists {
                array: self.name(),
                vdi,
                detail: error.to_string(),
            }),
            Err(error) => Err(self.failed(action, error)),
        }
    }

    pub(super) fn describe(&self, name: &str, note: VdiNote) -> Result<(), ArrayError> {
        let described = self.group.describe(name, &note.to_text(name));
        described.map_err(|error| self.failed("describe a volume", error))
    }

    pub(super) fn take_snapshot(&self, source: &Found, new: Uuid) -> Result<(), ArrayError> {
        let action = "make a snapshot";
        let note = VdiNote {
            uuid: new,
            is_deleted: false,
            state: State::Live,
            pages: source.pages(),
            allocation: source.note.allocation,
        };
        let name = names::volume(self.options.sr, new);
        let made = self.group.snapshot(&source.name, &note.to_text(&name));
        let named = match made {
            Ok(Some(own)) => self.group.rename_snapshot(&source.name, &own, &name),
            Ok(None) => Err(CliError::Unreadable {
                command: "snapshot create-now".to_owned(),
                reason: "it does not tell the snapshot's name".to_owned(),
            }),
            Err(error) => Err(error),
        };
        lock(&self.bases).insert(new, source.name.clone());
        let Err(error) = named else { return Ok(()) };
        if error
            .refusal()
            .is_some_and(|refusal| refusal != Refusal::NotFound)
        {
            return Err(self.failed(action, error));
        }
        // The answer was lost on its way, or was not understood: the note tells which it is.
        let finished = self
            .finish_snapshot(&source.name, new)
            .map_err(|other| self.failed(action, other))?;
        match finished {
            true => Ok(()),
            false => Err(self.failed(action, error)),
        }
    }

    /// Gives the snapshot of a volume that has the note of a VDI its name; true when it is there.
    pub(super) fn finish_snapshot(&self, volume: &str, vdi: Uuid) -> Result<bool, CliError> {
        let name = names::volume(self.options.sr, vdi);
        for own in self.group.snapshot_names(volume)? {
            if own == name {
                return Ok(true);
            }
            if names::parse(&own).is_some() {
                continue;
            }
            let Some(shelf) = self.group.show(Object::Snapshot(volume, &own))? else {
                continue;
            };
            if VdiNote::parse(&shelf.description, &name).is_ok_and(|note| note.uuid == vdi) {
                self.group.rename_snapshot(volume, &own, &name)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn make_clone(&self, source: &Found, new: Uuid) -> Result<(), ArrayError> {
        let action = "clone a volume";
        let name = names::volume(self.options.sr, new);
        let note = VdiNote {
            uuid: new,
            is_deleted: false,
            state: State::Live,
            pages: source.pages(),
            allocation: source.note.allocation,
        };
        match self
            .group
            .clone_of(source.object(), &name, &note.to_text(&name))
        {
            Ok(()) => Ok(()),
            Err(error) if error.refusal().is_none() && self.look(new)?.is_some() => Ok(()),
            Err(error) => Err(self.failed(action, error)),
        }
    }

    /// Zeros what was added to a thick volume and notes its new size.
    pub(super) fn finish_growth(&self, found: &Found, pages: u64) -> Result<(), ArrayError> {
        if found.note.allocation == Allocation::Thick {
            self.zero(found.note.uuid, found.note.pages, pages)?;
        }
        self.describe(
            &found.name,
            VdiNote {
                pages,
                ..found.note
            },
        )
    }
}
