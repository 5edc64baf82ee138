//! The health of SRs: what their drivers say of it, and that a driver says nothing.
//!
//! A call to a driver ends with an answer or, after its deadline, with `SR_UNHEALTHY`; the work goes on behind on the threads
//! of its own SR. [`HEALTH`] in `SR.other_config` and the metric `xensm_sr_healthy` tell of both, until the SR works again;
//! nothing has to be restarted for that.

use std::sync::Arc;
use std::time::Duration;

use super::Server;

/// Key in `SR.other_config` that says why an SR does not work as it should; absent while it does.
pub const HEALTH: &str = "xensm:health";

/// What that key says of an SR whose driver does not answer and says nothing itself.
pub const NO_ANSWER: &str = "it did not answer in time";

/// How often drivers are asked. Their answer is in memory.
const INTERVAL: Duration = Duration::from_secs(2);

/// Asks the drivers of all attached SRs until the server shuts down.
pub async fn watch(server: Arc<Server>) {
    loop {
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        for sr in server.storage.attached() {
            note(&server, &sr).await;
        }
    }
}

/// Records what is known of the health of an SR, where that has changed.
pub async fn note(server: &Arc<Server>, sr: &str) {
    let state = server.storage.state(sr);
    let Some(health) = state.take_health_change() else {
        return;
    };
    match &health {
        Some(health) => tracing::warn!(
            sr.reference = sr,
            health,
            "an SR does not work as it should"
        ),
        None => tracing::info!(sr.reference = sr, "an SR works again"),
    }
    let written = server.database.write(|transaction| {
        if transaction.find("SR", sr).is_none() {
            return Ok(());
        }
        // Asked for again: of two notes that come here in the wrong order, the last must write what holds.
        let health = state.noted_health();
        transaction.set_entry("SR", sr, "other_config", HEALTH, health.as_deref())
    });
    if let Err(failure) = written.await {
        tracing::error!(%failure, sr.reference = sr, "the health of an SR could not be noted");
    }
}
