//! Who owns an SR that is collected.

use std::collections::BTreeMap;

use uuid::Uuid;
use vhd::merge::{Progress, Speed};

use super::plan::{LeafPolicy, SrPolicy, Work};
use super::status::Status;
use super::store::{Outcome, StepError};

/// What the records of an SR say about coalescing.
#[derive(Clone, Debug, Default)]
pub struct SrWishes {
    /// Whether at all.
    pub policy: SrPolicy,
    /// How fast all steps together may copy.
    pub speed: Speed,
    /// The VDIs that are not [`LeafPolicy::Allowed`].
    pub leaves: BTreeMap<Uuid, LeafPolicy>,
}

/// Who owns the SR: says what is wished, and is told what happens. Called on the collector's threads.
pub trait Owners: Send + Sync {
    /// What the records say now.
    fn wishes(&self) -> SrWishes;

    /// A step begins; answers the name under which the next two calls tell of it.
    fn began(&self, work: &Work) -> String;

    /// A step has come this far; false when it is to be cancelled.
    fn progressed(&self, task: &str, progress: Progress) -> bool;

    /// A step has ended.
    fn ended(&self, task: &str, work: &Work, result: &Result<Outcome, StepError>);

    /// The state has changed.
    fn changed(&self, status: &Status);
}
