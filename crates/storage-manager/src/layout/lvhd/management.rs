//! The volume `MGT` on the medium.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mgt::{Defect, MGT_LENGTH, Management, SECTOR, SrRecord};
use super::names::MGT;
use super::volume::Volume;
use super::volumes::Volumes;

/// Why names cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// The volume holds something else.
    #[error(transparent)]
    Defect(#[from] Defect),
    /// A device failed.
    #[error("{action} the volume MGT")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The volume, open.
#[derive(Debug)]
pub struct ManagementVolume {
    volume: Arc<Volume>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    content: Management,
    /// The bytes in use, as they are on the medium.
    bytes: Vec<u8>,
}

impl ManagementVolume {
    /// Reads the volume; none where the group has none.
    pub fn open(volumes: &Volumes) -> Result<Option<Self>, ManagementError> {
        if volumes.index().group.find(MGT).is_none() {
            return Ok(None);
        }
        let failed = |source| ManagementError::Io {
            action: "read",
            source,
        };
        let volume = volumes.volume(MGT).map_err(failed)?;
        let length = usize::try_from(volume.length().map_err(failed)?).unwrap_or(MGT_LENGTH);
        let mut bytes = vec![0; length.min(MGT_LENGTH)];
        volume.read_at(&mut bytes, 0).map_err(failed)?;
        let content = Management::parse(&bytes)?;
        let state = Mutex::new(State { content, bytes });
        Ok(Some(ManagementVolume { volume, state }))
    }

    /// Makes the volume, in one commit: it is written to extents that are free before they become the volume.
    pub fn create(volumes: &Volumes, sr: SrRecord) -> Result<Self, ManagementError> {
        let content = Management::new(sr);
        let bytes = content.to_bytes();
        let edit =
            |group: &mut lvm::metadata::VolumeGroup| group.create_lv(MGT, MGT_LENGTH as u64, &[]);
        let make = || -> io::Result<Arc<Volume>> {
            let turn = volumes.turn();
            let planned = volumes.planned(&edit, MGT)?;
            planned.write_at(&bytes, 0)?;
            planned.flush()?;
            volumes.commit_in(&turn, &edit)?;
            volumes.volume(MGT)
        };
        let volume = make().map_err(|source| ManagementError::Io {
            action: "make",
            source,
        })?;
        let state = Mutex::new(State { content, bytes });
        Ok(ManagementVolume { volume, state })
    }

    /// What it holds.
    pub fn content(&self) -> Management {
        self.state().content.clone()
    }

    /// Changes what it holds.
    ///
    /// Write order: the sectors of VDIs, a flush, then the header, which says how many of them count, and a flush. Crash: some
    /// of the changed sectors are old; each says something of its own that can be read.
    ///
    /// # Durability
    /// On stable storage at return.
    pub fn update(
        &self,
        edit: impl FnOnce(&mut Management) -> Result<(), Defect>,
    ) -> Result<(), ManagementError> {
        let mut state = self.state();
        let mut content = state.content.clone();
        edit(&mut content)?;
        let bytes = content.to_bytes();
        let write = || -> io::Result<()> {
            let writes = Management::changed_sectors(&state.bytes, &bytes);
            if writes.is_empty() {
                return Ok(());
            }
            for (at, sector) in writes {
                if at == 0 {
                    self.volume.flush()?;
                }
                self.volume.write_at(sector, at as u64)?;
            }
            self.volume.flush()
        };
        write().map_err(|source| ManagementError::Io {
            action: "write",
            source,
        })?;
        // What lies behind the bytes in use stays on the medium, and is not known here any more.
        debug_assert_eq!(bytes.len() % SECTOR, 0);
        *state = State { content, bytes };
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
