//! The loop of a worker: claim, run, renew, and stop cleanly.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::birth::Handed;
use super::engine::{Claimed, Ended, Engine};
use super::intake::{Intakes, Places};
use super::lease::LEASE_US;
use crate::app::Service;
use crate::app::log_levels::machine_name;
use crate::db::services::{self, Heartbeat};
use crate::driver::{Pool, XenApiPool};
use crate::error::{Error, Result, Subject};
use crate::reconcile;

/// How often a worker looks for operations that nobody told it about.
const POLL: Duration = Duration::from_secs(1);
/// How often leases are renewed: three tries before one ends.
const RENEWAL: Duration = Duration::from_micros(LEASE_US as u64 / 3);
/// How often a worker says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a stopping worker lets its operations finish before it hands them over.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// What a worker calls itself in the list of services.
const BINARY: &str = "xensm-worker";

/// Carries out the operations of one zone and keeps its backends connected.
pub struct Worker {
    service: Service,
    zone: String,
    pool: Arc<dyn Pool>,
}

impl Worker {
    /// Makes the worker of a configured zone, which reaches its pool by XenAPI. Nothing is connected yet.
    ///
    /// # Errors
    /// `NotFound` for a zone that is not configured, `Invalid` for a pool that cannot be used.
    pub fn new(service: Service, zone: &str) -> Result<Self> {
        let configured = service.config.zones.iter().find(|known| known.name == zone);
        let pool = configured.and_then(|known| known.pools.first());
        let pool = pool.ok_or_else(|| Error::not_found(Subject::Zone, zone))?;
        let pool = Arc::new(XenApiPool::new(pool)?);
        Ok(Worker::with_pool(service, zone, pool))
    }

    /// Makes the worker of a zone with a pool of the caller's.
    pub fn with_pool(service: Service, zone: &str, pool: Arc<dyn Pool>) -> Self {
        Worker {
            service,
            zone: zone.to_owned(),
            pool,
        }
    }

    /// Works until told to stop; then lets what is running finish, or hands it over.
    ///
    /// # Errors
    /// Those of the database at the start; later ones are waited out.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let machine = machine_name();
        self.service.log.has_worker(&machine, &self.zone);
        let engine = Arc::new(Engine::open(&self.service, &self.zone, self.pool).await?);
        let worker = Loop {
            engine: Arc::clone(&engine),
            places: Places::new(self.service.config.limits.worker_concurrency),
            machine,
            intakes: Arc::clone(&self.service.intakes),
        };
        tokio::join!(worker.run(stop.clone()), reconcile::run(engine, stop));
        Ok(())
    }
}

struct Loop {
    engine: Arc<Engine>,
    places: Places,
    machine: String,
    intakes: Arc<Intakes>,
}

impl Loop {
    async fn run(&self, stop: CancellationToken) {
        // Registered before the first look, so that nothing added in between is missed.
        let mut changed = self.engine.database().operations_added();
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut renewal = interval(RENEWAL);
        let mut heartbeat = interval(HEARTBEAT);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_look = Instant::now();
        let mut handed = self.intakes.open(&self.engine, &self.places);
        while !stop.is_cancelled() {
            let now = Instant::now();
            if next_look <= now {
                changed.borrow_and_update();
                self.claim_into(&mut running).await;
                next_look = now + POLL;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = renewal.tick() => self.renew().await,
                _ = heartbeat.tick() => self.beat().await,
                Some((one, place)) = handed.recv() => self.start(one, place, &mut running),
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    let retry = self.look_again_in(ended);
                    let soon = if self.places.is_behind() { Some(Duration::ZERO) } else { retry };
                    if let Some(wait) = soon {
                        next_look = next_look.min(Instant::now() + wait);
                    }
                }
                alive = changed.changed() => {
                    if alive.is_err() {
                        break;
                    }
                    next_look = Instant::now();
                }
                () = sleep_until(next_look) => {}
            }
        }
        self.intakes.close(&self.engine);
        self.stop(handed, running).await;
    }

    /// Claims as much as there is room for and starts it: first into half of the places, then into the others if more waits.
    async fn claim_into(&self, running: &mut JoinSet<Ended>) {
        for _ in 0..2 {
            let Some(mut free) = self.places.for_claims() else {
                return;
            };
            let room = free.num_permits();
            let claimed = match self.engine.claim(room).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(zone = self.engine.zone(), "claim operations: {error}");
                    self.places.set_behind(false);
                    return;
                }
            };
            let is_full = claimed.len() >= room;
            for one in claimed {
                let place = free.split(1);
                self.start(one, place, running);
            }
            self.places.set_behind(is_full);
            if !is_full {
                return;
            }
        }
    }

    fn start(&self, one: Claimed, place: impl Send + 'static, running: &mut JoinSet<Ended>) {
        let engine = Arc::clone(&self.engine);
        running.spawn(async move {
            let ended = engine.run(one).await;
            drop(place);
            ended
        });
    }

    /// When a parked operation is due again.
    fn look_again_in(
        &self,
        ended: std::result::Result<Ended, tokio::task::JoinError>,
    ) -> Option<Duration> {
        match ended {
            Ok(Ended::Parked { until_us }) => {
                let wait_us = until_us.saturating_sub(self.engine.context().now_us());
                Some(Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)))
            }
            Ok(Ended::Finished(_) | Ended::Lost) => None,
            Err(error) => {
                // Its lease runs out and another try is made; a bug that repeats ends with the limit on claims.
                tracing::error!(
                    zone = self.engine.zone(),
                    "an operation's task ended: {error}"
                );
                None
            }
        }
    }

    async fn renew(&self) {
        if let Err(error) = self.engine.renew().await {
            tracing::warn!(zone = self.engine.zone(), "renew leases: {error}");
        }
    }

    async fn beat(&self) {
        let heartbeat = Heartbeat {
            binary: BINARY.to_owned(),
            machine: self.machine.clone(),
            zone: self.engine.zone().to_owned(),
            updated_at_us: self.engine.context().now_us(),
        };
        let database = self.engine.database();
        let beaten = database
            .write(move |tx| services::beat(tx, &heartbeat))
            .await;
        if let Err(error) = beaten {
            tracing::warn!(
                zone = self.engine.zone(),
                "say that the worker lives: {error}"
            );
        }
    }

    /// Lets what runs finish, and what is on its way to this worker; what does not in time is handed over.
    async fn stop(&self, mut handed: Receiver<Handed>, mut running: JoinSet<Ended>) {
        let all = async {
            // Ends with the last transaction that was given a place.
            while let Some((one, place)) = handed.recv().await {
                self.start(one, place, &mut running);
            }
            while running.join_next().await.is_some() {}
        };
        if timeout(STOP_DEADLINE, all).await.is_err() {
            tracing::warn!(
                zone = self.engine.zone(),
                "hand over {} operations that did not finish in {STOP_DEADLINE:?}",
                running.len()
            );
            running.shutdown().await;
        }
        // What is committed behind this finds nobody here, and gives back its own lease.
        drop(handed);
        if let Err(error) = self.engine.release_all().await {
            tracing::warn!(zone = self.engine.zone(), "give back leases: {error}");
        }
    }
}
