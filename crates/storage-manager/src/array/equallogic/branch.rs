//! Making volumes, snapshots and clones so that an answer that was lost is found again.

use uuid::Uuid;

use super::description::{State, VdiNote};
use super::error::{CliError, Refusal};
use super::group::{NewVolume, Object};
use super::names;
use super::volumes::{EqualVolumes, Found, lock};
use crate::array::{ArrayError, VolumeArray};

impl EqualVolumes {
    /// Makes a volume.
    pub(super) fn make(&self, new: &NewVolume<'_>, vdi: Uuid) -> Result<(), ArrayError> {
        self.carry_out("make a volume", vdi, || self.group.create(new))
    }

    /// Has the volume of a VDI made. When the answer is lost, what is there tells; when nothing is, it is tried once more.
    fn carry_out(
        &self,
        action: &'static str,
        vdi: Uuid,
        command: impl Fn() -> Result<(), CliError>,
    ) -> Result<(), ArrayError> {
        let mut is_second = false;
        loop {
            let Err(error) = command() else { return Ok(()) };
            let is_taken = error.refusal() == Some(Refusal::Exists);
            if error.refusal().is_some() && !(is_taken && is_second) {
                return Err(match is_taken {
                    true => ArrayError::Exists {
                        array: self.name(),
                        vdi,
                        detail: error.to_string(),
                    },
                    false => self.failed(action, error),
                });
            }
            if self.volume_of(vdi)?.is_some() {
                tracing::info!(%error, "a volume is there although the answer was lost");
                return Ok(());
            }
            if is_second || !error.is_lost_session() {
                return Err(self.failed(action, error));
            }
            is_second = true;
        }
    }

    /// Sees that a volume is the one that was meant.
    pub(super) fn check_note(&self, found: &Found, meant: VdiNote) -> Result<(), ArrayError> {
        match found.note == meant && found.base.is_none() {
            true => Ok(()),
            false => Err(ArrayError::Exists {
                array: self.name(),
                vdi: meant.uuid,
                detail: format!(
                    "the Description of {} is {:?}",
                    found.name, found.shelf.description
                ),
            }),
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
        let text = note.to_text(&name);
        lock(&self.bases).insert(new, source.name.clone());
        let mut is_second = false;
        loop {
            let made = self.group.snapshot(&source.name, &text);
            let named = made.and_then(|own| match own {
                Some(own) => self.group.rename_snapshot(&source.name, &own, &name),
                None => Err(CliError::Unreadable {
                    command: "snapshot create-now".to_owned(),
                    reason: "it does not tell the snapshot's name".to_owned(),
                }),
            });
            let Err(error) = named else { return Ok(()) };
            let refusal = error.refusal();
            if refusal.is_some_and(|refusal| refusal != Refusal::NotFound) {
                return Err(self.failed(action, error));
            }
            // The answer was lost on its way, or was not understood: the note tells which it is.
            let finished = self.finish_snapshot(&source.name, new);
            if finished.map_err(|other| self.failed(action, other))? {
                return Ok(());
            }
            if is_second || !error.is_lost_session() {
                return Err(self.failed(action, error));
            }
            is_second = true;
        }
    }

    /// Gives the snapshot of a volume that has the note of a VDI its name; true when it is there.
    pub(super) fn finish_snapshot(&self, volume: &str, vdi: Uuid) -> Result<bool, CliError> {
        let name = names::volume(self.options.sr, vdi);
        if name == volume {
            return Ok(false);
        }
        for own in self.group.snapshot_names(volume)? {
            if own == name {
                return Ok(true);
            }
            if names::parse(&own).is_some() || !names::is_word(&own) {
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
        let text = note.to_text(&name);
        self.carry_out(action, new, || {
            self.group.clone_of(source.object(), &name, &text)
        })
    }
}
