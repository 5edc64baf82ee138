//! Which VDIs are being changed: what is half done by a call that runs is no leftover.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

/// Longest wait for another change of the same VDI.
const PATIENCE: Duration = Duration::from_secs(90);

/// The VDIs that are being changed.
#[derive(Debug, Default)]
pub struct Claims {
    claimed: Mutex<HashSet<Uuid>>,
    freed: Condvar,
}

/// The right to change a VDI, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    vdi: Uuid,
}

impl Claims {
    /// Waits for the right to change a VDI; none when another change takes too long.
    pub fn wait_for(self: &Arc<Self>, vdi: Uuid) -> Option<Claim> {
        let waited = self
            .freed
            .wait_timeout_while(self.claimed(), PATIENCE, |claimed| claimed.contains(&vdi));
        let (mut claimed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        claimed.insert(vdi).then(|| self.claim(vdi))
    }

    /// The right to change a VDI, unless it is being changed.
    pub fn try_for(self: &Arc<Self>, vdi: Uuid) -> Option<Claim> {
        self.claimed().insert(vdi).then(|| self.claim(vdi))
    }

    fn claim(self: &Arc<Self>, vdi: Uuid) -> Claim {
        Claim {
            claims: Arc::clone(self),
            vdi,
        }
    }

    fn claimed(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.claimed().remove(&self.vdi);
        self.claims.freed.notify_all();
    }
}
