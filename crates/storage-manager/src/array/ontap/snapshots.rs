//! Snapshots of FlexVols: what an `epochhint` stands for. LUN clones do not depend on them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::FilerError;
use super::filer::Filer;
use super::flexvols::FlexVol;
use super::layout::{MARK, snapshot_comment, snapshot_time};
use super::retry::{repeated, until};

/// How long a snapshot stays for others that come with the same hint, in seconds.
const KEPT_S: u64 = 3600;

/// After this long no further snapshot of a FlexVol is deleted: a scan waits for it.
const COLLECT_PATIENCE: Duration = Duration::from_secs(5);

impl Filer {
    /// Makes a snapshot of a FlexVol; one of that name stays as it is.
    pub fn ensure_snapshot(&self, flexvol: &FlexVol, name: &str) -> Result<(), FilerError> {
        let comment = snapshot_comment(now_s());
        let made = until(
            || Ok(self.has_snapshot(flexvol, name)?.then_some(())),
            || {
                self.calls
                    .create_snapshot(&self.svm, flexvol.id(), name, &comment)
            },
        );
        made.map(drop)
    }

    /// True when a FlexVol has a snapshot of that name.
    pub fn has_snapshot(&self, flexvol: &FlexVol, name: &str) -> Result<bool, FilerError> {
        let found = self.calls.snapshots(&self.svm, flexvol.id(), name)?;
        Ok(found.iter().any(|it| it.name == name))
    }

    /// Deletes the snapshots of a FlexVol that are ours and that nobody comes for any more: those that are an hour old, or when
    /// there is no room for another (`is_full`) all but those of the last minute. Others' are left alone, and so is what the filer
    /// says is in use. After a while it leaves the others to the next time.
    pub fn collect_snapshots(&self, flexvol: &FlexVol, is_full: bool) -> Result<(), FilerError> {
        let pattern = format!("{MARK}*");
        let kept_s = if is_full { 60 } else { KEPT_S };
        let begun = Instant::now();
        for snapshot in self.calls.snapshots(&self.svm, flexvol.id(), &pattern)? {
            if begun.elapsed() >= COLLECT_PATIENCE {
                break;
            }
            let Some(made_at) = snapshot_time(&snapshot.comment) else {
                continue;
            };
            let is_ours = snapshot.name.starts_with(MARK);
            if !is_ours || now_s().saturating_sub(made_at) < kept_s {
                continue;
            }
            let deleted = repeated(|| {
                self.calls
                    .delete_snapshot(&self.svm, flexvol.id(), &snapshot)
            });
            match deleted {
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
