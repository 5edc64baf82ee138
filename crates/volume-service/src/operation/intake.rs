//! How many operations a worker has at work at once, and how it is handed those that are its own from the start.
//!
//! Operations that are claimed and those that are handed over share the worker's places. While some may wait that nobody claimed yet,
//! none are handed over: otherwise those that wait would be passed for ever by requests that come later.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::birth::{Cradle, Handed};
use super::engine::Engine;
use crate::db::operations::Lease;

/// Places of one worker at most, whatever is configured.
const PLACES_MAX: usize = 65_536;

/// The workers of this process, by zone.
#[derive(Default)]
pub(crate) struct Intakes(Mutex<HashMap<String, Intake>>);

impl Intakes {
    /// A place at the worker of a zone, if it lives here and has one.
    pub(crate) fn of(&self, zone: &str) -> Option<Cradle> {
        let mut all = self.all();
        let intake = all.get(zone)?;
        if intake.sender.is_closed() {
            // Its worker's task has ended without closing it.
            all.remove(zone);
            return None;
        }
        let place = intake.places.for_one()?;
        let intake = intake.clone();
        Some(Cradle { intake, place })
    }

    /// Opens the intake of a worker with so many places.
    ///
    /// # Panics
    /// Outside of a runtime, which gives back what comes when the worker has gone.
    pub(super) fn open(&self, engine: &Arc<Engine>, places: &Places) -> Receiver<Handed> {
        // Whatever is sent has a place, so that the channel is never full.
        let (sender, receiver) = channel(places.count);
        let intake = Intake {
            engine: Arc::clone(engine),
            sender,
            runtime: Handle::current(),
            places: places.clone(),
        };
        self.all().insert(engine.zone().to_owned(), intake);
        receiver
    }

    /// Closes the intake of a worker that stops, unless another one has taken its place. The receiver ends when the last transaction
    /// has that was given a place before.
    pub(super) fn close(&self, engine: &Arc<Engine>) {
        self.all()
            .retain(|_, intake| !Arc::ptr_eq(&intake.engine, engine));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Intake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a worker takes operations that are its own from the start.
#[derive(Clone)]
pub(crate) struct Intake {
    engine: Arc<Engine>,
    sender: Sender<Handed>,
    runtime: Handle,
    places: Places,
}

impl Intake {
    /// The worker's engine.
    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Hands an operation over. That of a worker that is gone is given back.
    pub(super) fn send(&self, handed: Handed) {
        // Refused only when the receiver is gone: there is a place for each.
        let refused = self.sender.try_send(handed);
        if let Err(TrySendError::Full((claimed, _)) | TrySendError::Closed((claimed, _))) = refused
        {
            self.give_back(claimed.operation.lease());
        }
    }

    /// Gives back the lease of an operation that is not handed over, so that somebody claims it soon. A process that ends before
    /// leaves it to the end of the lease.
    pub(super) fn give_back(&self, lease: Lease) {
        let engine = Arc::clone(&self.engine);
        drop(self.runtime.spawn(async move {
            engine.give_back(lease).await;
        }));
    }
}

/// The places of a worker.
#[derive(Clone)]
pub(super) struct Places {
    count: usize,
    free: Arc<Semaphore>,
    /// Operations may wait that nobody has claimed.
    is_behind: Arc<AtomicBool>,
}

impl Places {
    /// So many, at least one.
    pub(super) fn new(count: usize) -> Self {
        let count = count.clamp(1, PLACES_MAX);
        Places {
            count,
            free: Arc::new(Semaphore::new(count)),
            is_behind: Arc::default(),
        }
    }

    /// A place for an operation that is to be handed over; none while others wait, and when there is none it will be one of those.
    fn for_one(&self) -> Option<OwnedSemaphorePermit> {
        if self.is_behind() {
            return None;
        }
        let place = Arc::clone(&self.free).try_acquire_owned().ok();
        if place.is_none() {
            self.set_behind(true);
        }
        place
    }

    /// Places for operations that are to be claimed: half of those that are free, or all when operations wait. None when none are.
    pub(super) fn for_claims(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
            let wanted = if self.is_behind() {
                free
            } else {
                free.div_ceil(2)
            };
            if wanted == 0 {
                self.set_behind(true);
                return None;
            }
            // Taken by others in between: there are fewer now.
            let taken = Arc::clone(&self.free).try_acquire_many_owned(wanted);
            if let Ok(taken) = taken {
                return Some(taken);
            }
        }
    }

    /// True while operations may wait that nobody has claimed.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// Says whether operations may wait.
    pub(super) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_not_passed_by_who_comes_later() {
        let places = Places::new(4);
        let first = places.for_one().expect("four are free");
        let claims = places.for_claims().expect("three are free");
        assert_eq!(claims.num_permits(), 2, "half of them");
        let last = places.for_one().expect("one is free");
        assert!(places.for_one().is_none(), "it waits to be claimed");
        drop((first, last));
        assert!(places.for_one().is_none(), "and others behind it");
        let more = places.for_claims().expect("two are free");
        assert_eq!(more.num_permits(), 2, "all of them");
        assert!(places.for_claims().is_none());
        drop((claims, more));
        places.set_behind(false);
        assert!(places.for_one().is_some(), "nobody waits any more");
    }

    #[test]
    fn a_claim_that_finds_no_place_is_one_that_waits() {
        let places = Places::new(1);
        let place = places.for_one().expect("one is free");
        assert!(places.for_claims().is_none());
        drop(place);
        assert!(places.for_one().is_none());
        assert!(places.for_claims().is_some());
    }
}
