//! Which images a step of coalescing works on, so that a call on one of them can have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;
use vhd::merge::Control;

use super::super::names::ImageName;

/// Longest wait for a step to let go of an image after it was cancelled; it looks after every chunk.
const YIELD_WAIT: Duration = Duration::from_secs(10);

/// The images that are worked on. Locked inside of [`super::super::VhdDirectory`]'s other locks, and never around them.
#[derive(Debug, Default)]
pub struct Claims {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<ImageName, Held>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Held {
    control: Arc<Control>,
    /// See [`Claim::park`].
    parked: bool,
}

/// Images that a step works on, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    names: Vec<ImageName>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.claims.lock();
        for name in &self.names {
            state.held.remove(name);
        }
        self.claims.freed.notify_all();
    }
}

impl Claim {
    /// Says that the step does nothing and holds nothing that a consumer needs until it has the lock of the tree: who has
    /// that lock already cancels the step and need not wait for it.
    pub fn park(&self) {
        let mut state = self.claims.lock();
        for name in &self.names {
            if let Some(held) = state.held.get_mut(name) {
                held.parked = true;
            }
        }
        self.claims.freed.notify_all();
    }

    /// Takes [`Claim::park`] back, under the lock of the tree.
    pub fn unpark(&self) {
        let mut state = self.claims.lock();
        for name in &self.names {
            if let Some(held) = state.held.get_mut(name) {
                held.parked = false;
            }
        }
    }
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims images for a step; none when another step has one of them, or when the SR is being detached.
    pub fn take(
        self: &Arc<Self>,
        names: impl IntoIterator<Item = ImageName>,
        control: &Arc<Control>,
    ) -> Option<Claim> {
        let names: BTreeSet<ImageName> = names.into_iter().collect();
        let mut state = self.lock();
        if state.closed || names.iter().any(|name| state.held.contains_key(name)) {
            return None;
        }
        for name in &names {
            let control = control.clone();
            let parked = false;
            state.held.insert(*name, Held { control, parked });
        }
        Some(Claim {
            claims: self.clone(),
            names: names.into_iter().collect(),
        })
    }

    /// Cancels the step that works on an image and waits until it has let go; false when it did not in time.
    ///
    /// The caller keeps new steps from beginning, by the lock under which they claim their images.
    pub fn yield_image(&self, name: ImageName) -> bool {
        let mut state = self.lock();
        if let Some(held) = state.held.get(&name) {
            held.control.cancel();
        }
        let until = Instant::now() + YIELD_WAIT;
        while state.held.get(&name).is_some_and(|held| !held.parked) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .freed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Cancels the steps that work on a VDI's image, or all; true when there was one.
    pub fn cancel(&self, vdi: Option<Uuid>) -> bool {
        let state = self.lock();
        let named = state
            .held
            .iter()
            .filter(|(name, _)| vdi.is_none_or(|vdi| name.uuid == vdi));
        named.inspect(|(_, held)| held.control.cancel()).count() > 0
    }

    /// Cancels every step, lets none begin any more, and waits until none is left; false when one was left in time.
    pub fn close(&self) -> bool {
        let mut state = self.lock();
        state.closed = true;
        state.held.values().for_each(|held| held.control.cancel());
        let until = Instant::now() + YIELD_WAIT;
        while !state.held.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .freed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Waits until nobody has an image, at most until `until`; false when it was still held then.
    pub fn wait_for(&self, name: ImageName, until: Instant) -> bool {
        let mut state = self.lock();
        while state.held.contains_key(&name) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .freed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Lets steps begin again after a [`Claims::close`] whose reason has gone.
    pub fn reopen(&self) {
        self.lock().closed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_cancelled_and_waited_for() {
        let claims = Arc::new(Claims::default());
        let control = Arc::new(Control::default());
        let image = |n| ImageName::vhd(Uuid::from_u128(n));
        let claim = claims.take([image(1), image(2)], &control).unwrap();
        assert!(claims.take([image(2)], &control).is_none());
        std::thread::scope(|scope| {
            let step = scope.spawn(|| {
                while !control.is_cancelled() {
                    std::thread::yield_now();
                }
                drop(claim);
            });
            assert!(claims.yield_image(image(1)));
            step.join().unwrap();
        });
        assert!(claims.yield_image(image(1)), "nobody has it");
        let waiting = claims.take([image(3), image(3)], &control).unwrap();
        waiting.park();
        assert!(
            claims.yield_image(image(3)),
            "it waits for the lock of the tree"
        );
        waiting.unpark();
        drop(waiting);
        assert!(claims.wait_for(image(3), Instant::now()));
        assert!(!claims.cancel(None));
        assert!(claims.close());
        assert!(claims.take([image(1)], &control).is_none());
    }
}
