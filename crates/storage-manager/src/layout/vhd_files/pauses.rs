//! How long consumers were held off while something behind their exports was exchanged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::gc::store::{PAUSE_BUCKETS_US, PauseCounts};

/// Counts of pauses.
#[derive(Debug, Default)]
pub struct Pauses {
    up_to: [AtomicU64; PAUSE_BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
    longest_us: AtomicU64,
}

impl Pauses {
    /// Notes a pause.
    pub fn add(&self, pause: Duration) {
        let us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        let counters = self.up_to.iter().zip(PAUSE_BUCKETS_US);
        for (counter, _) in counters.filter(|(_, limit)| us <= *limit) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.longest_us.fetch_max(us, Ordering::Relaxed);
    }

    /// What was noted up to now.
    pub fn counts(&self) -> PauseCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PauseCounts {
            up_to: std::array::from_fn(|index| get(&self.up_to[index])),
            count: get(&self.count),
            sum_us: get(&self.sum_us),
            longest_us: get(&self.longest_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_counts_in_every_range_that_it_fits() {
        let pauses = Pauses::default();
        pauses.add(Duration::from_micros(2500));
        pauses.add(Duration::from_secs(5));
        let counts = pauses.counts();
        assert_eq!(counts.up_to, [0, 0, 0, 1, 1, 1, 1, 1]);
        assert_eq!((counts.count, counts.longest_us), (2, 5_000_000));
    }
}
