//! What the reconcilers of this process did so far.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Report;
use crate::api::metrics;

static TOTALS: Mutex<BTreeMap<&'static str, Counts>> = Mutex::new(BTreeMap::new());

/// What one reconciler did since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passes.
    pub passes: u64,
    /// Things compared.
    pub looked: u64,
    /// Things changed.
    pub repaired: u64,
    /// Things that could not be compared or changed.
    pub failed: u64,
}

/// What each reconciler did, by name.
pub fn counts() -> BTreeMap<&'static str, Counts> {
    totals().clone()
}

pub(super) fn add(name: &'static str, report: Report) {
    metrics::global().count_pass(name, report.repaired, report.failed);
    let mut totals = totals();
    let counts = totals.entry(name).or_default();
    counts.passes += 1;
    counts.looked += report.looked;
    counts.repaired += report.repaired;
    counts.failed += report.failed;
}

fn totals() -> MutexGuard<'static, BTreeMap<&'static str, Counts>> {
    TOTALS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reconciler_did_is_shown_by_metrics() {
        let report = Report {
            looked: 7,
            repaired: 3,
            failed: 2,
            unknown: 1,
        };
        add("test", report);
        let text = metrics::global().encode();
        for line in [
            "xensm_reconcile_passes_total{reconciler=\"test\"} 1",
            "xensm_reconcile_repairs_total{reconciler=\"test\"} 3",
            "xensm_reconcile_failures_total{reconciler=\"test\"} 2",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
