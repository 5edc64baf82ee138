//! How long something suspicious has been seen: nothing is removed at first sight.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// When things were first seen in a suspicious state.
#[derive(Default)]
pub(super) struct Sightings {
    first_us: Mutex<HashMap<Uuid, i64>>,
}

impl Sightings {
    /// Records what is suspicious now, forgets what no longer is, and returns what has been so for the whole grace period.
    pub(super) fn overdue(&self, suspects: &[Uuid], now_us: i64, grace_us: i64) -> Vec<Uuid> {
        let mut first_us = self.first_us.lock().unwrap_or_else(PoisonError::into_inner);
        let present: HashSet<Uuid> = suspects.iter().copied().collect();
        first_us.retain(|suspect, _| present.contains(suspect));
        suspects
            .iter()
            .copied()
            .filter(|suspect| {
                let first = *first_us.entry(*suspect).or_insert(now_us);
                now_us.saturating_sub(first) >= grace_us
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_must_stay_suspicious_for_the_whole_grace_period() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sightings = Sightings::default();
        assert!(sightings.overdue(&[one], 0, 10).is_empty());
        assert!(sightings.overdue(&[one, two], 9, 10).is_empty());
        assert_eq!(sightings.overdue(&[one, two], 10, 10), [one]);
        assert_eq!(sightings.overdue(&[two], 19, 10), [two]);
        let again = sightings.overdue(&[one], 30, 10);
        assert!(again.is_empty(), "one was gone in between");
    }
}
