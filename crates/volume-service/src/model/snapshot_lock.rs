//! What keeps a snapshot from being removed until a moment.
//!
//! ```text
//!  (unlocked) <--> governance
//!      ^  \             ^
//!      |   v            v
//!      +-> compliance-cooloff --> compliance       each of them --> expired
//! ```

/// Microseconds of a day.
const DAY_US: i64 = 24 * HOUR_US;
/// Microseconds of an hour.
pub const HOUR_US: i64 = 3600 * 1_000_000;

/// Who may take a lock off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever may put it on.
    Governance,
    /// Nobody, once its time to cool off is over.
    Compliance,
}

impl LockMode {
    /// EC2's word, which is also what the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Self> {
        [LockMode::Governance, LockMode::Compliance]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// How long a lock holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockTerm {
    /// So many days from when it was put on, or from when the snapshot was complete.
    Days(i64),
    /// Until a moment, in microseconds since 1970.
    Until(i64),
}

/// A lock; times are microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotLock {
    /// Who may take it off.
    pub mode: LockMode,
    /// How long it holds.
    pub term: LockTerm,
    /// How many hours it may be taken off all the same.
    pub cool_off_hours: Option<i64>,
    /// Until when that is.
    pub cool_off_until_us: Option<i64>,
    /// When the snapshot was locked.
    pub created_at_us: i64,
    /// When mode and term were last said.
    pub set_at_us: i64,
}

/// Where a lock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// It holds, and may be taken off.
    Governance,
    /// It holds, and may still be taken off.
    CoolingOff,
    /// It holds until its end.
    Compliance,
    /// It holds no more.
    Expired,
}

impl LockState {
    /// EC2's word.
    pub fn as_str(self) -> &'static str {
        match self {
            LockState::Governance => "governance",
            LockState::CoolingOff => "compliance-cooloff",
            LockState::Compliance => "compliance",
            LockState::Expired => "expired",
        }
    }
}

impl SnapshotLock {
    /// When its days begin: none while the snapshot is not complete.
    pub fn starts_at_us(&self, complete_at_us: Option<i64>) -> Option<i64> {
        complete_at_us.map(|complete| complete.max(self.set_at_us))
    }

    /// When it ends: none while that depends on a snapshot that is not complete.
    pub fn ends_at_us(&self, complete_at_us: Option<i64>) -> Option<i64> {
        match self.term {
            LockTerm::Until(until_us) => Some(until_us),
            LockTerm::Days(days) => {
                let starts = self.starts_at_us(complete_at_us)?;
                Some(starts.saturating_add(days.saturating_mul(DAY_US)))
            }
        }
    }

    /// Its days, begun ones too.
    pub fn days(&self) -> i64 {
        match self.term {
            LockTerm::Days(days) => days,
            LockTerm::Until(until_us) => {
                let us = until_us.saturating_sub(self.set_at_us).max(0);
                us.saturating_add(DAY_US - 1) / DAY_US
            }
        }
    }

    /// Where it stands at a moment.
    pub fn state(&self, complete_at_us: Option<i64>, now_us: i64) -> LockState {
        if self
            .ends_at_us(complete_at_us)
            .is_some_and(|ends| ends <= now_us)
        {
            return LockState::Expired;
        }
        match self.mode {
            LockMode::Governance => LockState::Governance,
            LockMode::Compliance if self.cool_off_until_us.is_some_and(|until| now_us < until) => {
                LockState::CoolingOff
            }
            LockMode::Compliance => LockState::Compliance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_when_the_snapshot_is_complete() {
        let lock = SnapshotLock {
            mode: LockMode::Compliance,
            term: LockTerm::Days(2),
            cool_off_hours: Some(1),
            cool_off_until_us: Some(100 + HOUR_US),
            created_at_us: 100,
            set_at_us: 100,
        };
        assert_eq!(lock.ends_at_us(None), None);
        assert_eq!(lock.state(None, 100), LockState::CoolingOff);
        assert_eq!(lock.state(None, i64::MAX), LockState::Compliance);
        assert_eq!(lock.starts_at_us(Some(50)), Some(100));
        let ends = 500 + 2 * DAY_US;
        assert_eq!(lock.ends_at_us(Some(500)), Some(ends));
        assert_eq!(lock.state(Some(500), ends - 1), LockState::Compliance);
        assert_eq!(lock.state(Some(500), ends), LockState::Expired);
    }

    #[test]
    fn a_date_counts_as_the_days_that_begin_before_it() {
        let lock = SnapshotLock {
            mode: LockMode::Governance,
            term: LockTerm::Until(100 + DAY_US + 1),
            cool_off_hours: None,
            cool_off_until_us: None,
            created_at_us: 100,
            set_at_us: 100,
        };
        assert_eq!(lock.days(), 2);
        assert_eq!(lock.state(None, 100), LockState::Governance);
        assert_eq!(lock.state(None, 101 + DAY_US), LockState::Expired);
    }
}
