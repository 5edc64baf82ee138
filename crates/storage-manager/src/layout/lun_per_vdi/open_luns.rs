//! Who has which LUN open: one writer or any number of readers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::sr::OpenMode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Readers(usize),
    Writer,
}

/// The LUNs of an SR that are open, by the uuid of the VDI.
#[derive(Debug, Default)]
pub struct OpenLuns {
    held: Mutex<HashMap<Uuid, Held>>,
}

/// The right to use a LUN; it ends when this is dropped.
#[derive(Debug)]
pub struct OpenLun {
    luns: Arc<OpenLuns>,
    vdi: Uuid,
}

impl OpenLuns {
    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a LUN; none while others use it in a way that excludes this.
    pub fn open(self: &Arc<Self>, vdi: Uuid, mode: OpenMode) -> Option<OpenLun> {
        let mut held = self.held();
        let next = match (mode, held.get(&vdi)) {
            (OpenMode::ReadWrite, None) => Held::Writer,
            (OpenMode::ReadOnly, None) => Held::Readers(1),
            (OpenMode::ReadOnly, Some(Held::Readers(count))) => Held::Readers(count + 1),
            _ => return None,
        };
        held.insert(vdi, next);
        Some(OpenLun {
            luns: Arc::clone(self),
            vdi,
        })
    }

    /// True while somebody has it open.
    pub fn is_open(&self, vdi: Uuid) -> bool {
        self.held().contains_key(&vdi)
    }

    /// One of the VDIs that are open.
    pub fn any(&self) -> Option<Uuid> {
        self.held().keys().next().copied()
    }
}

impl Drop for OpenLun {
    fn drop(&mut self) {
        let mut held = self.luns.held();
        match held.get_mut(&self.vdi) {
            Some(Held::Readers(count)) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.vdi);
            }
        }
    }
}
