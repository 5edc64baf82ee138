//! A volume group on its devices.
//!
//! ```text
//!   open ----> volume_group()  a snapshot of the model, for reading
//!     |            |
//!     |         commit(edit)   edits a copy, writes it to every metadata area, exchanges the model
//!     |            |
//!     |            +-- nothing written (edit refused, full, changed by somebody): as before
//!     |            +-- a device failed in the middle: poisoned until reload()
//!     +-------- reload()       reads everything again
//! ```

mod commit;
mod create;
mod grow;
mod scan;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use create::{NewGroup, Overwrite};
pub use scan::{Inspection, inspect};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::metadata::{Extent, Map, VolumeGroup};
use scan::{Area, Member};

/// A volume group with all its devices.
pub struct Group {
    /// In the order of [`VolumeGroup::physical_volumes`].
    devices: Vec<Arc<dyn Device>>,
    /// What readers see; a commit that waits for a device does not hold them up.
    current: Mutex<Arc<VolumeGroup>>,
    state: Mutex<State>,
}

struct State {
    group: Arc<VolumeGroup>,
    /// One for each device.
    members: Vec<Member>,
    is_poisoned: bool,
}

/// A metadata area that does not hold the metadata that counts. The next commit repairs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The device's name.
    pub device: String,
    /// The area's number on it.
    pub area: usize,
    /// The sequence number that it holds; none when it is empty or damaged.
    pub sequence: Option<u32>,
}

impl Group {
    /// Opens the group to which these devices belong. They may come in any order, but all of the group's have to be there and
    /// nothing else.
    ///
    /// # Errors
    /// See [`crate::Error`]: devices that are no physical volumes, copies of each other, of several groups or not of this one;
    /// missing ones; a group that is not ours to use; damaged metadata of which no sound copy is left.
    pub fn open(devices: Vec<Arc<dyn Device>>) -> Result<Self> {
        let scanned = scan::scan(devices)?;
        Ok(Group {
            devices: scanned.devices,
            current: Mutex::new(Arc::clone(&scanned.group)),
            state: Mutex::new(State {
                group: scanned.group,
                members: scanned.members,
                is_poisoned: false,
            }),
        })
    }

    /// What the group holds now. It does not change; a commit makes a new one.
    pub fn volume_group(&self) -> Arc<VolumeGroup> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The devices, in the order of the physical volumes: [`Extent::pv`] is an index of this.
    pub fn devices(&self) -> &[Arc<dyn Device>] {
        &self.devices
    }

    /// The extents of a logical volume, in order.
    ///
    /// # Errors
    /// As [`VolumeGroup::extents`].
    pub fn extents(&self, name: &str) -> Result<Vec<Extent>> {
        self.volume_group().extents(name)
    }

    /// Where the bytes of a logical volume lie.
    ///
    /// # Errors
    /// As [`VolumeGroup::map`].
    pub fn map(&self, name: &str) -> Result<Map> {
        self.volume_group().map(name)
    }

    /// Reads everything again: after a commit that failed, or when somebody else has changed the group.
    ///
    /// # Errors
    /// As [`Group::open`]; what was known before stays then.
    pub fn reload(&self) -> Result<()> {
        let mut state = self.state();
        let scanned = scan::scan(self.devices.clone())?;
        // Somebody else can have put the physical volumes in another order; segments refer to ours.
        let group = scanned.reordered(&self.devices)?;
        self.publish(&mut state, group.0);
        state.members = group.1;
        state.is_poisoned = false;
        Ok(())
    }

    /// True when a device failed inside a commit: changes are refused until [`Group::reload`].
    pub fn is_poisoned(&self) -> bool {
        self.state().is_poisoned
    }

    /// The metadata areas that the next commit will repair.
    pub fn outdated(&self) -> Vec<Outdated> {
        let state = self.state();
        let members = self.devices.iter().zip(&state.members);
        let outdated = members.flat_map(|(device, member)| {
            let areas = member.areas.iter().enumerate();
            let wrong = areas
                .filter(|(_, area)| area.is_used() && area.sequence != Some(state.group.sequence));
            wrong.map(|(number, area)| Outdated {
                device: device.name(),
                area: number,
                sequence: area.sequence,
            })
        });
        outdated.collect()
    }

    /// Shows readers a group that is on the devices.
    fn publish(&self, state: &mut State, group: Arc<VolumeGroup>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&group);
        state.group = group;
    }

    /// The state, if no commit has failed since it was read.
    fn sound_state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        match state.is_poisoned {
            false => Ok(state),
            true => Err(Error::Poisoned {
                group: state.group.name.clone(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment after all that can fail.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Area {
    fn is_used(&self) -> bool {
        !self.header.ignored
    }
}

#[cfg(test)]
mod tests;
