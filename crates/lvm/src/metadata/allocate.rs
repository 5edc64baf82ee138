//! Which extents are free, and which of them a volume gets.

use super::{LogicalVolume, Segment, SegmentKind, Stripe, VolumeGroup};
use crate::error::{Error, Result};

/// Extents that follow each other on a physical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Index of the physical volume.
    pub physical_volume: usize,
    /// The first extent.
    pub extent: u64,
    /// How many.
    pub extents: u64,
}

impl Run {
    fn stripe(&self) -> Stripe {
        Stripe {
            physical_volume: self.physical_volume,
            extent: self.extent,
        }
    }

    fn begins_behind(&self, stripe: Stripe, extents: u64) -> bool {
        self.physical_volume == stripe.physical_volume && self.extent == stripe.extent + extents
    }
}

impl VolumeGroup {
    /// What logical volumes have, in the order of physical volumes and extents.
    pub(super) fn used_runs(&self) -> Vec<Run> {
        let segments = self.logical_volumes.iter().flat_map(|one| &one.segments);
        let runs = segments.flat_map(|segment| {
            segment.stripes().iter().map(|stripe| Run {
                physical_volume: stripe.physical_volume,
                extent: stripe.extent,
                extents: segment.stripe_extents(),
            })
        });
        let mut runs: Vec<Run> = runs.collect();
        runs.sort_unstable();
        runs
    }

    /// What is free on allocatable physical volumes, in the order of physical volumes and extents.
    pub fn free_runs(&self) -> Vec<Run> {
        let mut used = self.used_runs().into_iter().peekable();
        let mut free = Vec::new();
        for (index, on) in self.physical_volumes.iter().enumerate() {
            let mut begin = 0;
            let mut found = |begin: u64, end: u64| {
                if end > begin && on.is_allocatable() {
                    free.push(Run {
                        physical_volume: index,
                        extent: begin,
                        extents: end - begin,
                    });
                }
            };
            while let Some(run) = used.next_if(|run| run.physical_volume == index) {
                found(begin, run.extent);
                begin = begin.max(run.extent + run.extents);
            }
            found(begin, on.extents);
        }
        free
    }

    /// Extents that volumes can get.
    pub fn free_extents(&self) -> u64 {
        self.free_runs().iter().map(|run| run.extents).sum()
    }

    /// Appends free extents to a volume: those right behind its end if there are enough, else the first run that holds them
    /// all, else several, the longest first, so that there are few.
    ///
    /// # Errors
    /// [`Error::NoExtents`]; the volume is unchanged then.
    pub(super) fn extend(&self, volume: &mut LogicalVolume, extents: u64) -> Result<()> {
        let mut free = self.free_runs();
        let total: u64 = free.iter().map(|run| run.extents).sum();
        if total < extents {
            return Err(Error::NoExtents {
                group: self.name.clone(),
                wanted: extents,
                free: total,
            });
        }
        let end = volume.segments.last().and_then(|last| {
            let stripe = last.single()?;
            Some((stripe, last.extents))
        });
        let is_next = |run: &Run| end.is_some_and(|(stripe, had)| run.begins_behind(stripe, had));
        let holds_all = |run: &&Run| run.extents >= extents;
        let next = free.iter().find(|run| is_next(run)).filter(holds_all);
        if let Some(run) = next.or_else(|| free.iter().find(holds_all)) {
            append(volume, run, extents);
            return Ok(());
        }
        free.sort_by_key(|run| (!is_next(run), std::cmp::Reverse(run.extents), *run));
        let mut left = extents;
        let mut chosen = Vec::new();
        for run in free {
            let taken = run.extents.min(left);
            if taken == 0 {
                break;
            }
            left -= taken;
            chosen.push((!is_next(&run), run, taken));
        }
        chosen.sort_unstable();
        for (_, run, taken) in chosen {
            append(volume, &run, taken);
        }
        Ok(())
    }
}

/// Appends the first extents of a run, to the last segment if they follow it.
fn append(volume: &mut LogicalVolume, run: &Run, extents: u64) {
    let start = volume.extents();
    if let Some(last) = volume.segments.last_mut()
        && let Some(stripe) = last.single()
        && run.begins_behind(stripe, last.extents)
        && last.others.is_empty()
    {
        last.extents += extents;
        return;
    }
    let segment = Segment::linear(start, extents, run.stripe());
    volume.segments.push(segment);
}

/// Takes away what lies behind the first `extents`.
///
/// # Errors
/// When a segment would have to be cut that has several stripes.
pub(super) fn truncate(volume: &mut LogicalVolume, extents: u64) -> std::result::Result<(), usize> {
    let cut =
        |segment: &&Segment| segment.start < extents && segment.start + segment.extents > extents;
    let cut_stripes = volume.segments.iter().find(cut).map(|one| match &one.kind {
        SegmentKind::Striped { stripes, .. } => stripes.len(),
        SegmentKind::Other { .. } => 0,
    });
    if let Some(stripes) = cut_stripes.filter(|stripes| *stripes != 1) {
        return Err(stripes);
    }
    volume.segments.retain(|segment| segment.start < extents);
    if let Some(last) = volume.segments.last_mut() {
        last.extents = last.extents.min(extents - last.start);
    }
    Ok(())
}
