//! Reconcilers: compare what the database says with what a pool shows, and act where they differ.
//!
//! A reconciler takes no arguments, may run at any time and on any number of workers at once, and acts idempotently. Nobody waits
//! for one; what somebody waits for is an operation. Each has its own file with one `pass`.

mod backends;
mod connections;
mod counters;
mod direct_uploads;
mod housekeeping;
mod instances;
mod operations;
mod sightings;
mod srs;
mod usage;
mod vdis;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::operation::Engine;

pub use backends::Backends;
pub use connections::{Connections, GRACE_US as CONNECTION_GRACE_US};
pub use counters::{Counts, counts};
pub use direct_uploads::DirectUploads;
pub use housekeeping::Housekeeping;
pub use instances::{FORGOTTEN_AFTER_US, Instances, VBD_GRACE_US};
pub use operations::Operations;
pub use srs::{GRACE_US as SR_GRACE_US, Srs};
pub use usage::Usage;
pub use vdis::{GRACE_US as VDI_GRACE_US, Vdis};

/// How often each reconciler runs.
const BACKENDS_EVERY: Duration = Duration::from_secs(15);
const OPERATIONS_EVERY: Duration = Duration::from_secs(60);
const CONNECTIONS_EVERY: Duration = Duration::from_secs(60);
const INSTANCES_EVERY: Duration = Duration::from_secs(15);
/// Also how long the SR of a removed backend may keep its medium from the next one.
const SRS_EVERY: Duration = Duration::from_secs(15);
const VDIS_EVERY: Duration = Duration::from_secs(300);
/// Somebody waits for a snapshot that was written.
const DIRECT_UPLOADS_EVERY: Duration = Duration::from_secs(2);
const USAGE_EVERY: Duration = Duration::from_secs(900);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(3600);

/// Runs every reconciler of the engine's zone until told to stop.
pub async fn run(engine: Arc<Engine>, stop: CancellationToken) {
    let backends = Backends::new(Arc::clone(&engine));
    let operations = Operations::new(Arc::clone(&engine));
    let connections = Connections::new(Arc::clone(&engine));
    let instances = Instances::new(Arc::clone(&engine));
    let srs = Srs::new(Arc::clone(&engine));
    let vdis = Vdis::new(Arc::clone(&engine));
    let usage = Usage::new(Arc::clone(&engine));
    let direct_uploads = DirectUploads::new(Arc::clone(&engine));
    let housekeeping = Housekeeping::new(engine);
    tokio::join!(
        every(BACKENDS_EVERY, &stop, "backends", || backends.pass()),
        every(OPERATIONS_EVERY, &stop, "operations", || operations.pass()),
        every(CONNECTIONS_EVERY, &stop, "connections", || connections
            .pass()),
        every(INSTANCES_EVERY, &stop, "instances", || instances.pass()),
        every(SRS_EVERY, &stop, "srs", || srs.pass()),
        every(VDIS_EVERY, &stop, "vdis", || vdis.pass()),
        every(DIRECT_UPLOADS_EVERY, &stop, "direct_uploads", || {
            direct_uploads.pass()
        }),
        every(USAGE_EVERY, &stop, "usage", || usage.pass()),
        every(HOUSEKEEPING_EVERY, &stop, "housekeeping", || housekeeping
            .pass()),
    );
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Things compared.
    pub looked: u64,
    /// Things changed.
    pub repaired: u64,
    /// Things that could not be compared or changed.
    pub failed: u64,
    /// Things that carry our marks and that no record explains: reported, left alone.
    pub unknown: u64,
}

async fn every<F: Future<Output = Result<Report>>>(
    period: Duration,
    stop: &CancellationToken,
    name: &'static str,
    mut pass: impl FnMut() -> F,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // A pass that is dropped in the middle is repaired by the next one.
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            result = pass() => result,
        };
        match result {
            Ok(report) => {
                counters::add(name, report);
                if report.repaired > 0 || report.failed > 0 {
                    tracing::info!(
                        "reconcile {name}: {} looked at, {} changed, {} failed",
                        report.looked,
                        report.repaired,
                        report.failed
                    );
                }
            }
            Err(error) => {
                let failed = 1;
                counters::add(
                    name,
                    Report {
                        failed,
                        ..Report::default()
                    },
                );
                tracing::warn!("reconcile {name}: {error}");
            }
        }
    }
}
