//! Scans that nobody called for: of SRs that ask for them, of those whose records may differ from their medium, and of those
//! whose medium shows something else than at the last scan.
//!
//! Source: reference 2.4, end: a real pool scans SRs whose `other_config` has `auto-scan=true` or the key `dirty` every 30 s,
//! or as often as the host's `other_config:auto-scan-interval` says.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use xenapi::Failure;

use super::call::Call;
use super::dispatch::Origin;
use super::reconcile::Wish;
use super::{Server, operations, reconcile, storage};

/// How often SRs are looked at.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// The shortest and the longest interval, in seconds, that the host may ask for.
const INTERVAL_LIMITS_S: (u64, u64) = (1, 86_400);

/// Key in `host.other_config`: the interval in seconds.
const INTERVAL_KEY: &str = "auto-scan-interval";

/// Runs until the server shuts down.
pub async fn run(server: Arc<Server>) {
    let mut last = Instant::now();
    loop {
        let due = tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep_until(last + interval(&server)) => true,
            () = server.scan_wanted.notified() => false,
        };
        if due {
            last = Instant::now();
        }
        for sr in server.storage.attached() {
            // Taken before the scan, so that what changes meanwhile asks for another one.
            let is_stale = server.storage.state(&sr).take_stale();
            let wish = match due && asks_for_scans(&server, &sr) {
                true => Wish::Asked,
                false => Wish::Own,
            };
            let is_wanted = is_stale || wish == Wish::Asked;
            if !is_wanted && !due {
                continue;
            }
            let scanner = server.clone();
            // Each on its own: an SR that does not answer keeps no other one waiting.
            server.running.spawn(async move {
                if is_wanted || has_changed(&scanner, &sr).await {
                    scan(&scanner, &sr, wish).await;
                }
            });
        }
    }
}

fn interval(server: &Server) -> Duration {
    let objects = server.database.read();
    let host = objects.find("host", &server.home.host);
    let seconds = host.and_then(|host| {
        host.entry("other_config", INTERVAL_KEY)?
            .parse::<u64>()
            .ok()
    });
    let (shortest, longest) = INTERVAL_LIMITS_S;
    seconds.map_or(INTERVAL, |seconds| {
        Duration::from_secs(seconds.clamp(shortest, longest))
    })
}

fn asks_for_scans(server: &Server, sr: &str) -> bool {
    server.database.read().find("SR", sr).is_some_and(|record| {
        record.entry("other_config", "auto-scan") == Some("true")
            || record.entry("other_config", "dirty").is_some()
    })
}

/// Asks the driver whether its medium has changed under it. One that does not know is left to the scans that are called for.
async fn has_changed(server: &Arc<Server>, sr: &str) -> bool {
    let looked = storage::on_sr(server, sr, |driver| driver.has_changed()).await;
    looked.unwrap_or_else(|failure| {
        tracing::debug!(%failure, sr.reference = sr, "an SR could not be looked at");
        false
    })
}

/// Scans one SR. A scan that fails is told once in the log and not repeated before the SR asks again.
async fn scan(server: &Arc<Server>, sr: &str, wish: Wish) {
    let call = Call {
        server: server.clone(),
        session: String::new(),
        origin: Origin::UnixSocket,
        task: format!("DummyRef:|{}|SR.scan", Uuid::new_v4()),
        cancel: server.shutdown.clone(),
    };
    let scanned: Result<(), Failure> = async {
        let _operation = operations::begin_behind_others(&call, "SR", sr, "scan").await?;
        reconcile::scan(server, sr, wish).await
    }
    .await;
    if let Err(failure) = scanned {
        tracing::warn!(%failure, sr.reference = sr, "an SR could not be scanned by itself");
    }
}
