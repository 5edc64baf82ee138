//! Snapshots of FlexVols: what an `epochhint` stands for. LUN clones do not depend on them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::json;

use super::error::RestError;
use super::filer::Filer;
use super::flexvols::FlexVol;
use super::json::{id, text};
use super::layout::{MARK, snapshot_comment, snapshot_time};

/// How long a snapshot stays for others that come with the same hint, in seconds.
const KEPT_S: u64 = 3600;

/// After this long no further snapshot of a FlexVol is deleted: a scan waits for it.
const COLLECT_PATIENCE: Duration = Duration::from_secs(5);

impl Filer {
    /// Makes a snapshot of a FlexVol; one of that name stays as it is.
    pub fn ensure_snapshot(&self, flexvol: &FlexVol, name: &str) -> Result<(), RestError> {
        let path = format!("/storage/volumes/{}/snapshots", flexvol.uuid);
        let body = json!({"name": name, "comment": snapshot_comment(now_s())});
        let look = || {
            self.client
                .record(&path, &[("name", name), ("fields", "name")])
        };
        let made = self.client.until(look, || {
            self.client.change(Method::POST, &path, &[], Some(&body))
        });
        made.map(drop)
    }

    /// True when a FlexVol has a snapshot of that name.
    pub fn has_snapshot(&self, flexvol: &FlexVol, name: &str) -> Result<bool, RestError> {
        let path = format!("/storage/volumes/{}/snapshots", flexvol.uuid);
        let query = [("name", name), ("fields", "name")];
        Ok(self.client.record(&path, &query)?.is_some())
    }

    /// Deletes the snapshots of a FlexVol that are ours and that nobody comes for any more: those that are an hour old, or when
    /// there is no room for another (`is_full`) all but those of the last minute. Others' are left alone, and so is what the filer
    /// says is in use. After a while it leaves the others to the next time.
    pub fn collect_snapshots(&self, flexvol: &FlexVol, is_full: bool) -> Result<(), RestError> {
        let path = format!("/storage/volumes/{}/snapshots", flexvol.uuid);
        let pattern = format!("{MARK}*");
        let query = [("name", pattern.as_str()), ("fields", "name,uuid,comment")];
        let kept_s = if is_full { 60 } else { KEPT_S };
        let begun = Instant::now();
        for snapshot in self.client.records(&path, &query)? {
            if begun.elapsed() >= COLLECT_PATIENCE {
                break;
            }
            let is_ours = text(&snapshot, "name").is_some_and(|name| name.starts_with(MARK));
            let made_at = text(&snapshot, "comment").and_then(snapshot_time);
            let (Some(uuid), Some(made_at)) = (id(&snapshot, "uuid"), made_at) else {
                continue;
            };
            if !is_ours || now_s().saturating_sub(made_at) < kept_s {
                continue;
            }
            let one = format!("{path}/{uuid}");
            match self.client.repeatable(Method::DELETE, &one, &[], None) {
                Ok(()) => tracing::info!(
                    flexvol = flexvol.name,
                    "deleted a snapshot that nobody needs"
                ),
                Err(error) => {
                    let error = error.chain_text();
                    tracing::info!(
                        flexvol = flexvol.name,
                        error,
                        "a snapshot that nobody needs stays for now"
                    );
                }
            }
        }
        Ok(())
    }
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
