//! A bounded memory of answers that stay good for a short time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Remembers values for a fixed time; when full, what is stale goes, and if nothing is, everything.
pub(crate) struct Recent<K, V> {
    most: usize,
    lifetime_us: i64,
    entries: Mutex<HashMap<K, (i64, V)>>,
    changes: AtomicU64,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(crate) fn new(most: usize, lifetime_us: i64) -> Self {
        Recent {
            most,
            lifetime_us,
            entries: Mutex::new(HashMap::new()),
            changes: AtomicU64::new(0),
        }
    }

    /// The value, while it is good.
    pub(crate) fn get(&self, key: &K, now_us: i64) -> Option<V> {
        let entries = self.lock();
        let (since_us, value) = entries.get(key)?;
        self.is_good(*since_us, now_us).then(|| value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V, now_us: i64) {
        self.put(&mut self.lock(), key, value, now_us);
    }

    /// Remembers what was looked up when [`Recent::changes`] said this, unless something was forgotten on purpose since.
    pub(crate) fn insert_unless_changed(&self, changes: u64, key: K, value: V, now_us: i64) {
        // Who forgets counts first and then takes this lock.
        let mut entries = self.lock();
        if self.changes() == changes {
            self.put(&mut entries, key, value, now_us);
        }
    }

    fn put(&self, entries: &mut HashMap<K, (i64, V)>, key: K, value: V, now_us: i64) {
        if entries.len() >= self.most {
            entries.retain(|_, (since_us, _)| self.is_good(*since_us, now_us));
            if entries.len() >= self.most {
                entries.clear();
            }
        }
        entries.insert(key, (now_us, value));
    }

    pub(crate) fn remove(&self, key: &K) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.lock().remove(key);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.lock().clear();
    }

    /// How often something was forgotten on purpose: what was looked up before such a moment is not to be remembered.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// What comes from the future was remembered before the clock was set back: nobody knows how long ago.
    fn is_good(&self, since_us: i64, now_us: i64) -> bool {
        (0..self.lifetime_us).contains(&now_us.saturating_sub(since_us))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (i64, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_in_time_and_stays_bounded() {
        let recent = Recent::new(3, 100);
        recent.insert(1, "one", 0);
        assert_eq!(recent.get(&1, 99), Some("one"));
        assert_eq!(recent.get(&1, 100), None);
        for key in 2..20 {
            recent.insert(key, "more", 1000);
            assert!(recent.lock().len() <= 3);
        }
        recent.remove(&19);
        assert_eq!(recent.get(&19, 1000), None);
    }

    #[test]
    fn what_the_clock_left_behind_is_not_believed() {
        let recent = Recent::new(1, 100);
        recent.insert(1, "one", 1000);
        assert_eq!(recent.get(&1, 1000), Some("one"));
        assert_eq!(recent.get(&1, 999), None, "the clock was set back");
        assert_eq!(recent.get(&1, i64::MIN), None);
        recent.insert(2, "two", 500);
        assert_eq!(recent.get(&2, 500), Some("two"));
        assert_eq!(recent.get(&1, 1000), None, "it made room");
    }

    #[test]
    fn what_was_looked_up_before_a_change_is_not_remembered() {
        let recent = Recent::new(3, 100);
        let before = recent.changes();
        recent.insert_unless_changed(before, 1, "one", 0);
        assert_eq!(recent.get(&1, 0), Some("one"));
        let changes: [fn(&Recent<i32, &str>); 2] =
            [|recent| recent.remove(&2), |recent| recent.clear()];
        for change in changes {
            let before = recent.changes();
            change(&recent);
            recent.insert_unless_changed(before, 2, "two", 0);
            assert_eq!(recent.get(&2, 0), None);
        }
    }
}
