//! Names of VDIs and of the SR, in the management volume: it is shown to this initiator while they are read or written, and to nobody else.
//!
//! A crash leaves it shown; the next attach conceals it. What is on it is `layout::label_record`.

use std::collections::HashSet;
use std::io;

use uuid::Uuid;

use super::description::{Allocation, State, VdiNote};
use super::error::CliError;
use super::group::Object;
use super::names;
use super::sr_volume;
use super::volumes::{EqualVolumes, Found, lock};
use crate::array::{ArrayError, VolumeArray};
use crate::layout::label_record::LabelRecord;
use crate::medium::block_device::BlockDevice;
use crate::sr::KeptLabels;

impl EqualVolumes {
    /// What the management volume keeps.
    pub(super) fn kept_labels(&self) -> Result<KeptLabels, ArrayError> {
        let mut known = lock(&self.labels);
        if let Some(record) = known.as_ref() {
            return Ok(record.labels());
        }
        let record = self.on_management_volume("read the names of VDIs", LabelRecord::read)?;
        Ok(known.insert(record).labels())
    }

    /// Changes what the management volume keeps, and leaves out the VDIs that are gone when there are many.
    pub(super) fn change_labels(
        &self,
        change: impl Fn(&mut LabelRecord),
    ) -> Result<(), ArrayError> {
        let mut known = lock(&self.labels);
        // After a failure the device tells what it has.
        let before = known.take();
        let record = self.on_management_volume("write the names of VDIs", |device| {
            let mut record = match &before {
                Some(record) => record.clone(),
                None => LabelRecord::read(device)?,
            };
            change(&mut record);
            match record.write(device) {
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    let there = self.vdis_there().map_err(io::Error::other)?;
                    record.retain(|vdi| there.contains(&vdi));
                    record.write(device)?;
                }
                written => written?,
            }
            Ok(record)
        })?;
        *known = Some(record);
        Ok(())
    }

    /// Leaves the names of a VDI that is gone out of what is written next.
    pub(super) fn forget_labels(&self, vdi: Uuid) {
        // Where they are being written now they go when there are too many.
        if let Ok(mut known) = self.labels.try_lock()
            && let Some(record) = known.as_mut()
        {
            record.retain(|other| other != vdi);
        }
    }

    fn vdis_there(&self) -> Result<HashSet<Uuid>, CliError> {
        let survey = self.survey()?;
        Ok(survey.found.iter().map(|found| found.note.uuid).collect())
    }

    fn on_management_volume<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&dyn BlockDevice) -> io::Result<T>,
    ) -> Result<T, ArrayError> {
        let found = self.management_volume(action)?;
        let initiator = &self.options.initiator;
        let done = self.show_to(&found, initiator).and_then(|exposure| {
            let volume = self.data.open(&exposure, self.options.sr)?;
            work(&*volume.device).map_err(|source| ArrayError::Failed {
                array: self.name(),
                action,
                source: Box::new(source),
            })
        });
        let shown = self.management_volume(action)?;
        let hidden = self.hide(&shown, initiator);
        let done = done?;
        hidden.map_err(|error| self.failed("conceal the management volume", error))?;
        Ok(done)
    }

    /// Conceals the management volume, if a crash left it shown.
    pub(super) fn conceal_management_volume(&self) -> Result<(), ArrayError> {
        let action = "conceal the management volume";
        let found = self.management_volume(action)?;
        if !found.shelf.is_online || found.shelf.connections > 0 {
            return Ok(());
        }
        let hidden = self.hide(&found, &self.options.initiator);
        hidden.map_err(|error| self.failed(action, error))
    }

    fn management_volume(&self, action: &'static str) -> Result<Found, ArrayError> {
        let name = names::management(self.options.sr);
        let shown = self.group.show(Object::Volume(&name));
        let shelf = shown.map_err(|error| self.failed(action, error))?;
        let shelf = shelf.ok_or_else(|| ArrayError::Missing {
            array: self.name(),
            vdi: self.options.sr,
        })?;
        Ok(Found {
            name,
            base: None,
            note: VdiNote {
                uuid: self.options.sr,
                is_deleted: false,
                state: State::Live,
                pages: sr_volume::PAGES,
                allocation: Allocation::Thick,
            },
            shelf,
        })
    }
}
