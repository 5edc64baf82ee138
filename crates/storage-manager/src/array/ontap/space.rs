//! How large a FlexVol must be for its LUNs, and which FlexVol a new LUN goes to. Pure.

/// Bytes of a FlexVol that are not for LUNs: its own tables.
const OWN_BYTES: u64 = 32 << 20;

/// Of how many bytes of LUNs a FlexVol needs one more for itself.
const OWN_SHARE: u64 = 64;

/// The least size of a FlexVol. Source: ONTAP, 20 MB.
pub const LEAST_FLEXVOL: u64 = OWN_BYTES;

/// More than any filer gives.
const MOST_FLEXVOL: u64 = 1 << 60;

/// Sizes of FlexVols that differ by less are the same: filers round them.
pub const SAME_SIZE: u64 = 4 << 20;

/// The multiplier when none is configured. Source: reference arrays 1.3.
pub const DEFAULT_MULTIPLIER: f64 = 2.4;

/// What lies in a FlexVol.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Content {
    /// LUNs.
    pub luns: usize,
    /// Bytes of LUNs that are written to.
    pub volumes: u64,
    /// Bytes of LUNs that are snapshots.
    pub snapshots: u64,
}

impl Content {
    /// With one LUN more.
    #[must_use]
    pub fn and(mut self, size: u64, is_snapshot: bool) -> Self {
        self.luns += 1;
        let sum = match is_snapshot {
            true => &mut self.snapshots,
            false => &mut self.volumes,
        };
        *sum = sum.saturating_add(size);
        self
    }

    /// Bytes that a FlexVol with this content must have: the multiplier leaves room for blocks that snapshots keep, and where they
    /// could need more than that, for all of them.
    pub fn needed(self, multiplier: f64) -> u64 {
        let with_spare = (self.volumes as f64 * multiplier).ceil() as u64;
        let bytes = with_spare.max(self.volumes.saturating_add(self.snapshots));
        let bytes = bytes.saturating_add(OWN_BYTES + bytes / OWN_SHARE);
        bytes
            .clamp(LEAST_FLEXVOL, MOST_FLEXVOL)
            .next_multiple_of(4096)
    }
}

/// The order in which FlexVols are tried for a new LUN: those with the fewest LUNs first, of equal ones the emptiest, then the
/// lowest number. `contents` is by number.
pub fn even_order(contents: &[Content]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contents.len()).collect();
    order.sort_by_key(|index| {
        let content = contents[*index];
        (content.luns, content.volumes, *index)
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn room_for_snapshots_is_the_multipliers_first() {
        let one = Content::default().and(10 * GIB, false);
        let plain = one.needed(DEFAULT_MULTIPLIER);
        assert!((24 * GIB..25 * GIB).contains(&plain), "{plain}");
        assert_eq!(one.and(10 * GIB, true).needed(DEFAULT_MULTIPLIER), plain);
        let two = one.and(10 * GIB, true).and(10 * GIB, true);
        assert!(two.needed(DEFAULT_MULTIPLIER) >= 30 * GIB);
        assert_eq!(Content::default().needed(1.0), LEAST_FLEXVOL);
        assert!(one.needed(1.0) > 10 * GIB + OWN_BYTES);
        let huge = Content::default()
            .and(u64::MAX / 2, false)
            .and(u64::MAX, true);
        assert!(huge.volumes > 0 && huge.snapshots > 0);
    }

    #[test]
    fn luns_are_spread() {
        let content = |luns, volumes| Content {
            luns,
            volumes,
            snapshots: 0,
        };
        let contents = [content(2, 5), content(1, 9), content(1, 3), content(1, 3)];
        assert_eq!(even_order(&contents), [2, 3, 1, 0]);
    }
}
