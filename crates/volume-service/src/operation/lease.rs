//! Who may work on an operation.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::db::operations;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::OperationId;

/// How long a lease lasts unless it is renewed, in microseconds.
pub const LEASE_US: i64 = 30_000_000;
/// How long before its end a lease is no longer acted under, in microseconds. Covers the difference between two machines' clocks
/// and the time between the check and the arrival of a call at the pool.
pub const LEASE_MARGIN_US: i64 = 5_000_000;

/// The end of a lease that is gone.
const ENDED: i64 = i64::MIN;

/// A lease as its holder knows it.
///
/// Until `expires_at_us` nobody else can claim the operation, so that looking at the clock is as good as asking the database.
pub(super) struct Lease {
    /// The operation.
    pub(super) operation: OperationId,
    /// The generation that the claim made.
    pub(super) generation: i64,
    expires_at_us: AtomicI64,
}

impl Lease {
    /// The lease that a claim made.
    pub(super) fn new(operation: OperationId, generation: i64, expires_at_us: i64) -> Self {
        Lease {
            operation,
            generation,
            expires_at_us: AtomicI64::new(expires_at_us),
        }
    }

    /// True while the holder may act.
    pub(super) fn is_held(&self, now_us: i64) -> bool {
        now_us.saturating_add(LEASE_MARGIN_US) < self.expires_at_us.load(Ordering::Acquire)
    }

    /// Refuses when the lease is about to end or has ended.
    pub(super) fn check(&self, now_us: i64) -> Result<()> {
        if self.is_held(now_us) {
            return Ok(());
        }
        Err(self.lost())
    }

    /// The error of a worker that no longer holds the lease; whatever it was about to do is somebody else's now.
    pub(super) fn lost(&self) -> Error {
        Error::new(
            ErrorKind::Conflict,
            Subject::Operation,
            "Another worker has taken over.",
        )
        .on(self.operation.to_string())
        .detail(format!(
            "the lease of operation {}, generation {}, is about to end or has ended",
            self.operation, self.generation
        ))
    }

    /// The lease as the database knows it.
    pub(super) fn name(&self) -> operations::Lease {
        operations::Lease {
            id: self.operation,
            generation: self.generation,
        }
    }

    /// Records a renewal. An end that is earlier than the known one, and a renewal of an ended lease, are ignored.
    pub(super) fn extend(&self, expires_at_us: i64) {
        let later = |known: i64| (known != ENDED).then_some(known.max(expires_at_us));
        // An error says that the lease has ended, which stays so.
        let _ = self
            .expires_at_us
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    /// True once the lease is known to be gone.
    pub(super) fn is_ended(&self) -> bool {
        self.expires_at_us.load(Ordering::Acquire) == ENDED
    }

    /// Records that the lease is gone.
    pub(super) fn end(&self) {
        self.expires_at_us.store(ENDED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::db::operations::is_lease_lost;

    #[test]
    fn a_lease_ends_a_margin_before_others_may_claim() {
        let lease = Lease::new(OperationId(Uuid::nil()), 1, LEASE_US);
        assert!(lease.is_held(0));
        assert!(lease.is_held(LEASE_US - LEASE_MARGIN_US - 1));
        assert!(!lease.is_held(LEASE_US - LEASE_MARGIN_US));
        lease.extend(LEASE_US - 1);
        assert!(
            !lease.is_held(LEASE_US - LEASE_MARGIN_US),
            "never shortened"
        );
        lease.extend(2 * LEASE_US);
        assert!(lease.check(LEASE_US).is_ok());
        lease.end();
        assert!(is_lease_lost(&lease.check(0).expect_err("ended")));
        lease.extend(9 * LEASE_US);
        assert!(lease.is_ended(), "an ended lease stays so");
    }
}
