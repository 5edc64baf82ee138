//! A volume group that was taken for an SR by its owner record.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use lvm::Group;
use uuid::Uuid;
use xenapi::Failure;

use super::ConfigChanges;
use super::backend_error::{self as backend, Command};
use super::lvhd::{group_failure, unavailable};
use super::vhd_files_sr::{MediumGuard, holder};
use crate::layout::lvhd::names::OWNER;
use crate::layout::lvhd::owner_volume::{OwnerVolume, Place, WRITES_OF_A_COMMIT, place_in};
use crate::layout::lvhd::volumes::Volumes;
use crate::medium::owner::{OwnerError, Ownership, Timing};

/// How often a group is looked at again whose volume for the record was removed meanwhile by who let go of it.
const MAX_TAKES: usize = 5;

/// The right to a volume group. It is let go of by [`MediumGuard::release`], which also removes the volume of the record.
#[derive(Debug)]
pub(super) struct OwnedGroup {
    ownership: Arc<Ownership>,
    at: Place,
    timing: Timing,
    /// What keeps the devices, let go of after the record.
    devices: Option<Arc<dyn MediumGuard>>,
    /// None before the group was read, and once it was let go of.
    volumes: Mutex<Option<Arc<Volumes>>>,
}

impl OwnedGroup {
    /// Takes the group that `open` reads.
    ///
    /// # Errors
    /// 16, naming the other, while another storage manager owns it.
    pub fn take(
        sr_uuid: Uuid,
        open: impl Fn() -> Result<Group, Failure>,
        command: Command,
        timing: &Timing,
    ) -> Result<Self, Failure> {
        let mut takes = 0;
        loop {
            takes += 1;
            let volume = OwnerVolume::find_or_make(open()?, timing);
            let volume = Arc::new(volume.map_err(|error| not_made(command, &error))?);
            let taken = Ownership::take_with(volume.clone(), &holder(sr_uuid), *timing);
            let taken = taken.and_then(|ownership| {
                let noted = volume.note_owned();
                noted.map(|()| ownership).map_err(|source| OwnerError::Io {
                    action: "find again",
                    place: OWNER.to_owned(),
                    source,
                })
            });
            match taken {
                Ok(ownership) => {
                    return Ok(OwnedGroup {
                        ownership,
                        at: volume.place(),
                        timing: *timing,
                        devices: None,
                        volumes: Mutex::default(),
                    });
                }
                Err(error) if takes < MAX_TAKES && has_moved(&error) => {}
                Err(error) => return Err(backend::owner(command, &error)),
            }
        }
    }

    /// With what keeps its devices.
    pub fn behind(mut self, devices: Arc<dyn MediumGuard>) -> Self {
        self.devices = Some(devices);
        self
    }

    /// The right.
    pub fn ownership(&self) -> &Arc<Ownership> {
        &self.ownership
    }

    /// Notes the group as it was read by its owner.
    ///
    /// # Errors
    /// 47 when its record is not where it was taken: somebody who asks for no record has changed the group.
    pub fn note_volumes(&self, volumes: &Arc<Volumes>) -> Result<(), Failure> {
        match place_in(&volumes.index().group) {
            Ok(Some(at)) if at == self.at => {}
            _ => {
                return Err(unavailable(&format!(
                    "somebody else changes the volume group {} without asking who has the SR; detach the SR there, then attach it here again",
                    volumes.path().display()
                )));
            }
        }
        let mut noted = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = Some(volumes.clone());
        Ok(())
    }

    /// Lets go of a group that is no more.
    pub fn abandon(&self) {
        self.let_go(std::time::Duration::ZERO, || Ok(()));
    }

    fn let_go(&self, fast: std::time::Duration, remove: impl FnOnce() -> io::Result<()>) {
        if let Err(error) = self.ownership.release_after(fast, remove) {
            // The record expires.
            tracing::warn!(%error, "let go of the owner record of an SR");
        }
    }
}

impl MediumGuard for OwnedGroup {
    /// Write order: the volume of the record is removed, in one commit, while the SR is still owned; then the record, where it
    /// was, is written as free. Crash before: the record expires. Crash between: as before there was a record.
    fn release(&self) -> Result<(), Failure> {
        let volumes = self
            .volumes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match volumes {
            Some(volumes) => {
                let fast = self.timing.write_limit * WRITES_OF_A_COMMIT;
                self.let_go(fast, || volumes.commit(&|group| group.remove_lv(OWNER)));
            }
            None => {
                if let Err(error) = self.ownership.release() {
                    tracing::warn!(%error, "let go of the owner record of an SR");
                }
            }
        }
        self.devices
            .as_ref()
            .map_or(Ok(()), |devices| devices.release())
    }

    fn ownership(&self) -> Option<Arc<Ownership>> {
        Some(self.ownership.clone())
    }

    fn health(&self) -> Option<String> {
        self.devices.as_ref()?.health()
    }

    fn config_changes(&self) -> ConfigChanges {
        let devices = self.devices.as_ref();
        devices.map_or_else(ConfigChanges::default, |devices| devices.config_changes())
    }
}

/// True when the volume of the record was removed while it was waited for.
fn has_moved(error: &OwnerError) -> bool {
    matches!(error, OwnerError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn not_made(command: Command, error: &lvm::Error) -> Failure {
    if error.kind() != lvm::ErrorKind::NoSpace {
        return group_failure(command, error);
    }
    let detail = format!(
        "make the volume {OWNER}, which says who has the SR: {}; give the devices more room, or remove a VDI where the SR was made",
        crate::error::chain_text(error)
    );
    Failure::backend(44, "There is insufficient space", &detail, "")
}

#[cfg(test)]
#[path = "owned_group_tests.rs"]
mod tests;
