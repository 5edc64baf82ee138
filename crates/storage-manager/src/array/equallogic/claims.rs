//! Which VDIs are being changed: what is half done by a call that runs is no leftover.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

/// Longest wait for another change of the same VDI.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The VDIs that are being changed, or must stay as they are.
#[derive(Debug, Default)]
pub struct Claims {
    held: Mutex<HashMap<Uuid, Held>>,
    freed: Condvar,
}

#[derive(Debug)]
enum Held {
    /// It is being changed.
    Change,
    /// So many copies are being made of it.
    Uses(usize),
}

/// The right to change a VDI, or to have it stay as it is, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    vdi: Uuid,
}

impl Claims {
    /// Waits for the right to change a VDI; none when others take too long.
    pub fn wait_for(self: &Arc<Self>, vdi: Uuid) -> Option<Claim> {
        let mut held = self.wait_while(|held| held.contains_key(&vdi));
        Self::change(&mut held, vdi).then(|| self.claim(vdi))
    }

    /// The right to change a VDI, unless somebody has it or uses the VDI.
    pub fn try_for(self: &Arc<Self>, vdi: Uuid) -> Option<Claim> {
        Self::change(&mut self.held(), vdi).then(|| self.claim(vdi))
    }

    /// Waits for the right to copy a VDI, which others may have too; none when a change takes too long.
    pub fn wait_to_use(self: &Arc<Self>, vdi: Uuid) -> Option<Claim> {
        let mut held = self.wait_while(|held| matches!(held.get(&vdi), Some(Held::Change)));
        match held.entry(vdi).or_insert(Held::Uses(0)) {
            Held::Change => None,
            Held::Uses(count) => {
                *count += 1;
                Some(self.claim(vdi))
            }
        }
    }

    fn wait_while(
        &self,
        is_held: impl Fn(&HashMap<Uuid, Held>) -> bool,
    ) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        let waited = self
            .freed
            .wait_timeout_while(self.held(), PATIENCE, |held| is_held(held));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn change(held: &mut HashMap<Uuid, Held>, vdi: Uuid) -> bool {
        let is_free = !held.contains_key(&vdi);
        if is_free {
            held.insert(vdi, Held::Change);
        }
        is_free
    }

    fn claim(self: &Arc<Self>, vdi: Uuid) -> Claim {
        Claim {
            claims: Arc::clone(self),
            vdi,
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.claims.held();
        match held.get_mut(&self.vdi) {
            Some(Held::Uses(count)) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.vdi)),
        }
        drop(held);
        self.claims.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_not_changed() {
        let claims = Arc::new(Claims::default());
        let vdi = Uuid::from_u128(1);
        let one = claims.wait_to_use(vdi).unwrap();
        let two = claims.wait_to_use(vdi).unwrap();
        assert!(claims.try_for(vdi).is_none());
        drop(one);
        assert!(claims.try_for(vdi).is_none());
        drop(two);
        let change = claims.try_for(vdi).unwrap();
        assert!(claims.try_for(vdi).is_none());
        drop(change);
        drop(claims.wait_for(vdi).unwrap());
    }
}
