//! Takes over what a device has grown by.

use std::sync::Arc;

use super::Group;
use crate::SECTOR_SIZE;
use crate::error::Result;
use crate::label::{device_size, write_device_size};
use crate::metadata::VolumeGroup;

impl Group {
    /// Bytes by which the group would grow.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn growth(&self) -> Result<u64> {
        let group = self.volume_group();
        let grown = self.grown(&group)?;
        Ok(grown.size() - group.size())
    }

    /// Gives the group the extents by which its devices have grown, as `pvresize` does. A physical volume with a metadata
    /// area at its end stays as it is.
    ///
    /// # Errors
    /// As [`Group::commit`].
    ///
    /// # Durability
    /// A commit, then the size in each label. A crash between them leaves labels with the old size, which nothing relies on.
    pub fn grow(&self) -> Result<()> {
        let grown = self.grown(&self.volume_group())?;
        self.commit(|group| {
            for (one, new) in group
                .physical_volumes
                .iter_mut()
                .zip(&grown.physical_volumes)
            {
                one.device_size = new.device_size;
                one.extents = new.extents;
            }
            Ok(())
        })?;
        let mut state = self.sound_state()?;
        let group = Arc::clone(&state.group);
        for (index, device) in self.devices.iter().enumerate() {
            let size = group.physical_volumes[index].device_size * SECTOR_SIZE;
            let label = &mut state.members[index].label;
            if size > label.device_size {
                write_device_size(&**device, label, size)?;
                label.device_size = size;
            }
        }
        Ok(())
    }

    fn grown(&self, group: &VolumeGroup) -> Result<VolumeGroup> {
        let mut grown = group.clone();
        let state = self.state();
        for (index, one) in grown.physical_volumes.iter_mut().enumerate() {
            let begin = one.data_start * SECTOR_SIZE;
            let mut areas = state.members[index].label.metadata_areas.iter();
            if areas.any(|area| area.offset >= begin) {
                continue;
            }
            let size = device_size(&*self.devices[index])?;
            let extents = size.saturating_sub(begin) / group.extent_bytes();
            let extents = extents.min(u32::MAX.into());
            if extents > one.extents {
                one.extents = extents;
                one.device_size = size / SECTOR_SIZE;
            }
        }
        Ok(grown)
    }
}
