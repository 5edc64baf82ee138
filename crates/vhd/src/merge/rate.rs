//! How fast merges may copy: at all, and while consumers use the medium.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a medium counts as used after a consumer used it.
const USED_FOR: Duration = Duration::from_millis(500);

/// Bytes per second that merges may copy together; 0 for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    /// Whatever else goes on.
    pub at_most: u64,
    /// While a consumer reads or writes, unless somebody waits for the merge.
    pub beside_consumers: u64,
}

impl Speed {
    /// The stricter of both limits, or the only one that holds.
    fn limit(self, beside_consumers: bool) -> u64 {
        match (self.at_most, self.beside_consumers) {
            (at_most, 0) => at_most,
            (at_most, _) if !beside_consumers => at_most,
            (0, gentle) => gentle,
            (at_most, gentle) => at_most.min(gentle),
        }
    }
}

/// What goes on beside merges on their medium.
#[derive(Debug, Default)]
pub struct Activity {
    is_used: AtomicBool,
    hurries: AtomicU32,
}

impl Activity {
    /// Notes that a consumer reads or writes. Cheap enough for every request: it writes once after each look.
    pub fn note_use(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Merges take no care of consumers until the answer is dropped: somebody waits for them.
    pub fn hurry(self: &Arc<Self>) -> Hurry {
        self.hurries.fetch_add(1, Ordering::Relaxed);
        Hurry(self.clone())
    }

    /// True when a consumer used the medium since the last look.
    fn take_use(&self) -> bool {
        self.is_used.load(Ordering::Relaxed) && self.is_used.swap(false, Ordering::Relaxed)
    }

    fn is_in_hurry(&self) -> bool {
        self.hurries.load(Ordering::Relaxed) > 0
    }
}

/// Somebody waits for a merge, until this is dropped.
#[derive(Debug)]
pub struct Hurry(Arc<Activity>);

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.hurries.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The speed that several merges share.
#[derive(Debug, Default)]
pub struct RateLimit {
    activity: Arc<Activity>,
    state: Mutex<Rate>,
}

#[derive(Debug, Default)]
struct Rate {
    speed: Speed,
    /// Until when the medium counts as used.
    used_until: Option<Instant>,
    /// When everything that was let through so far would be done at this rate.
    paid_until: Option<Instant>,
}

impl RateLimit {
    /// A limit for merges on a medium on which this goes on.
    pub fn new(speed: Speed, activity: Arc<Activity>) -> Self {
        let state = Rate {
            speed,
            ..Rate::default()
        };
        Self {
            activity,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, Rate> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the limit, from the next chunk on.
    pub fn set(&self, speed: Speed) {
        let mut rate = self.state();
        if rate.speed != speed {
            rate.speed = speed;
            rate.paid_until = None;
        }
    }

    /// Takes `bytes` out of the allowance; answers until when their taker has to wait.
    pub(super) fn take(&self, bytes: u64) -> Option<Instant> {
        let mut rate = self.state();
        let now = Instant::now();
        if self.activity.take_use() {
            rate.used_until = Some(now + USED_FOR);
        }
        let is_used = rate.used_until.is_some_and(|until| now < until);
        let limit = rate.speed.limit(is_used && !self.activity.is_in_hurry());
        if limit == 0 {
            rate.paid_until = None;
            return None;
        }
        let from = rate.paid_until.map_or(now, |until| until.max(now));
        let cost = Duration::from_secs_f64(bytes as f64 / limit as f64);
        let until = from + cost;
        rate.paid_until = Some(until);
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_shared() {
        let at_most = |at_most| Speed {
            at_most,
            beside_consumers: 0,
        };
        let limit = RateLimit::new(at_most(1000), Arc::default());
        let start = Instant::now();
        let first = limit.take(1000).unwrap();
        let second = limit.take(500).unwrap();
        assert!(first >= start + Duration::from_secs(1));
        assert_eq!(second, first + Duration::from_millis(500));
        limit.set(at_most(0));
        assert_eq!(limit.take(1 << 40), None);
    }

    #[test]
    fn consumers_slow_merges_down_unless_there_is_hurry() {
        let activity = Arc::new(Activity::default());
        let speed = Speed {
            at_most: 0,
            beside_consumers: 1000,
        };
        let limit = RateLimit::new(speed, activity.clone());
        assert_eq!(limit.take(1 << 40), None, "nobody uses the medium");
        activity.note_use();
        let start = Instant::now();
        assert!(limit.take(1000).unwrap() >= start + Duration::from_secs(1));
        let hurry = activity.hurry();
        assert_eq!(limit.take(1 << 40), None, "somebody waits");
        drop(hurry);
        activity.note_use();
        assert!(limit.take(1).is_some());
    }

    #[test]
    fn the_stricter_limit_holds() {
        let limit = |at_most, beside_consumers, used| {
            let speed = Speed {
                at_most,
                beside_consumers,
            };
            speed.limit(used)
        };
        assert_eq!([limit(5, 0, true), limit(5, 0, false)], [5, 5]);
        assert_eq!([limit(0, 7, true), limit(0, 7, false)], [7, 0]);
        assert_eq!([limit(5, 7, true), limit(7, 5, true)], [5, 5]);
        assert_eq!(limit(7, 5, false), 7);
    }
}
