//! Whether a call of an operation may still run in the pool, although no worker waits for its answer.

use serde::{Deserialize, Serialize};

/// What is known of the calls that make VDIs from VDIs, over all tries of an operation. Kept among its outputs.
///
/// Once a call has gone unanswered it may make something at any later time, whatever the tries behind it were answered. So the marks
/// by which that is known stay on the sources until the operation has ended, and a reconciler takes them off some time after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Calls {
    /// A try has begun, and nobody has written down how it ended.
    is_open: bool,
    /// A call of an earlier try was not answered.
    was_unanswered: bool,
}

impl Calls {
    /// Before a try: one that was cut off, its worker dead or its lease lost, may have made a call.
    pub(super) fn begin(&mut self) {
        self.was_unanswered |= self.is_open;
        self.is_open = true;
    }

    /// A call was not answered.
    pub(super) fn unanswered(&mut self) {
        self.was_unanswered = true;
    }

    /// Behind a try whose outcome is about to be written down.
    pub(super) fn end(&mut self) {
        self.is_open = false;
    }

    /// Within a try: true when a call of it or of an earlier one may still run.
    pub(super) fn may_still_run(self) -> bool {
        self.was_unanswered
    }

    /// Behind all tries: the same, also for one that was cut off.
    pub(super) fn may_run_on(self) -> bool {
        self.was_unanswered || self.is_open
    }

    /// True before the first try: not worth a place in a row.
    pub(super) fn is_none(&self) -> bool {
        *self == Calls::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_an_answer_is_remembered() {
        let mut calls = Calls::default();
        calls.begin();
        assert!(!calls.may_still_run() && calls.may_run_on());
        calls.end();
        assert!(calls.is_none(), "answered");
        calls.begin();
        calls.unanswered();
        calls.end();
        calls.begin();
        calls.end();
        assert!(calls.may_still_run() && calls.may_run_on());
        let mut cut_off = Calls::default();
        cut_off.begin();
        cut_off.begin();
        cut_off.end();
        assert!(cut_off.may_still_run());
    }
}
