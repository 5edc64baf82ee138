//! Snapshots and clones of VDIs: LUN clones, of what a LUN holds now or of what a snapshot of its FlexVol has.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::error::FilerError;
use super::flexvols::FlexVol;
use super::layout::VdiMark;
use super::luns::{Content as LunContent, FilerLun, NewLun};
use super::volumes::{OntapVolumes, lock};
use crate::sr::SnapshotKind;

/// How often old snapshots of FlexVols are looked for.
const COLLECT_PERIOD: Duration = Duration::from_secs(600);

impl OntapVolumes {
    /// Makes the clone of a LUN, of what a snapshot of its FlexVol has if there is to be one.
    pub(super) fn branch(
        &self,
        source: &FilerLun,
        flexvol: &FlexVol,
        new: Uuid,
        kind: SnapshotKind,
        snapshot: Option<&str>,
    ) -> Result<FilerLun, FilerError> {
        let mark = VdiMark {
            hint: source.mark.hint.clone(),
            is_snapshot: kind == SnapshotKind::Snapshot,
            labels: None,
        };
        let clone = |snapshot: Option<&str>| {
            let lun = NewLun {
                flexvol: &source.flexvol,
                vdi: new,
                is_reserved: flexvol.is_guaranteed && kind == SnapshotKind::Clone,
                mark: &mark,
                content: LunContent::CloneOf(source.vdi, snapshot),
            };
            self.filer.create_lun(self.sr, &lun)
        };
        let made = match snapshot {
            None => clone(None)?,
            Some(name) => match clone(Some(name)) {
                // Somebody deleted the snapshot meanwhile: its time is over, and a new one begins.
                Err(error) if error.is_missing() && !self.filer.has_snapshot(flexvol, name)? => {
                    self.ensure_snapshot(flexvol, name)?;
                    clone(Some(name))?
                }
                // Younger than the snapshot: it has no time but now.
                Err(error) if error.is_missing() => {
                    tracing::info!(vdi.uuid = %source.vdi, "a VDI is younger than the snapshot that its epochhint stands for, and is snapshotted as it is now");
                    clone(None)?
                }
                made => made?,
            },
        };
        if made.mark != mark {
            // A clone may have taken over what its source says.
            self.filer.comment_lun(&made, &mark)?;
        }
        Ok(FilerLun { mark, ..made })
    }

    pub(super) fn ensure_snapshot(&self, flexvol: &FlexVol, name: &str) -> Result<(), FilerError> {
        match self.filer.ensure_snapshot(flexvol, name) {
            Err(error) if error.is_snapshot_limit() => {
                self.filer.collect_snapshots(flexvol, true)?;
                self.filer.ensure_snapshot(flexvol, name)
            }
            ended => ended,
        }
    }

    /// Deletes snapshots of FlexVols that nobody comes for any more, now and then.
    pub(super) fn collect(&self, flexvols: &[FlexVol]) {
        {
            let mut collected = lock(&self.collected);
            if collected.is_some_and(|at| at.elapsed() < COLLECT_PERIOD) {
                return;
            }
            *collected = Some(Instant::now());
        }
        for flexvol in flexvols {
            // A clone that is being made may be of one of them.
            let _placing = lock(&self.placing);
            if let Err(error) = self.filer.collect_snapshots(flexvol, false) {
                let error = error.chain_text();
                tracing::info!(
                    flexvol = flexvol.name,
                    error,
                    "snapshots that nobody needs could not be looked for"
                );
            }
        }
    }
}
