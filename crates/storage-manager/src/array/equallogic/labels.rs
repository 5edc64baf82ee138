//! Names of VDIs and of the SR, in the management volume. What is on it is `layout::label_record`.

use std::collections::HashSet;
use std::io;

use uuid::Uuid;

use super::error::CliError;
use super::volumes::{EqualVolumes, lock};
use crate::array::ArrayError;
use crate::layout::label_record::LabelRecord;
use crate::sr::KeptLabels;

impl EqualVolumes {
    /// What the management volume keeps.
    pub(super) fn kept_labels(&self) -> Result<KeptLabels, ArrayError> {
        let mut known = lock(&self.labels);
        if let Some(record) = known.as_ref() {
            return Ok(record.labels());
        }
        let record = self
            .management
            .with_device("read the names of VDIs", |device| LabelRecord::read(device))?;
        Ok(known.insert(record).labels())
    }

    /// Changes what the management volume keeps, and leaves out the VDIs that are gone when there are many.
    pub(super) fn change_labels(
        &self,
        change: impl Fn(&mut LabelRecord),
    ) -> Result<(), ArrayError> {
        let mut known = lock(&self.labels);
        // After a failure the device tells what it has.
        let mut before = known.take();
        let action = "write the names of VDIs";
        let record = self.management.with_device(action, |device| {
            let mut record = match before.take() {
                Some(record) => record,
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
}
