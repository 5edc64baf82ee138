//! What a kind of operation is made of.

use std::fmt::Debug;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::job::Job;
use super::progress::Surroundings;
use crate::auth::vault::Vault;
use crate::config::Limits;
use crate::context::Context;
use crate::db::Transaction;
use crate::error::{Error, Result};
use crate::model::operation::Operation;

/// A kind of operation: a linear list of steps.
///
/// A step has a part in the database (`begin`) and a part in the pool (`run`, `undo`). `begin` runs in the transaction that records
/// the end of the step before, so that any number of steps without a pool part cost no transaction of their own.
///
/// Everything may happen twice: `begin` after a takeover, `run` after a half-finished earlier try, `undo` at any time. Each must
/// arrive at the same end.
pub(super) trait Definition {
    /// The steps.
    type Step: Copy + Debug + PartialEq + Send + Sync + 'static;
    /// What the steps produced; stored after each of them, so it holds no secret.
    type Outputs: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static;

    /// The steps in their order.
    const STEPS: &'static [Self::Step];

    /// How often a step is tried when its failures may pass.
    fn attempts_max(step: Self::Step) -> u32;

    /// The step's part in the database, and whether it has one in the pool.
    fn begin(
        at: &mut StepTransaction<'_, '_>,
        step: Self::Step,
        outputs: &mut Self::Outputs,
    ) -> Result<Begin>;

    /// The step's part in the pool. `look` says that an earlier try may have left something: a try that was begun under
    /// this or an earlier lease and whose end is not known.
    fn run(
        job: &Job,
        step: Self::Step,
        outputs: &mut Self::Outputs,
        look: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Decides what follows when `run` failed for good.
    fn failed(
        _step: Self::Step,
        _outputs: &mut Self::Outputs,
        _error: &Error,
    ) -> AfterFailure<Self::Step> {
        AfterFailure::Undo
    }

    /// True for steps that may leave something in the pool.
    fn has_undo(step: Self::Step) -> bool;

    /// Removes from the pool whatever the step may have left there.
    fn undo(
        job: &Job,
        step: Self::Step,
        outputs: &mut Self::Outputs,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Records that `undo` failed for good: something may be left, which a reconciler sweeps.
    fn undo_failed(_step: Self::Step, _outputs: &mut Self::Outputs) {}

    /// Makes the result visible, in the transaction that ends the operation.
    fn succeed(at: &mut StepTransaction<'_, '_>, outputs: &Self::Outputs) -> Result<Finish>;

    /// Makes the failure visible, in the transaction that ends the undone operation.
    fn fail(
        at: &mut StepTransaction<'_, '_>,
        outputs: &Self::Outputs,
        reason: &Reason,
    ) -> Result<()>;

    /// Asks for what has to follow, behind the end of the operation in the same transaction.
    fn ended(_at: &mut StepTransaction<'_, '_>) -> Result<()> {
        Ok(())
    }
}

/// What follows a step's part in the database.
pub(super) enum Begin {
    /// The part in the pool.
    Act,
    /// The next step.
    Next,
    /// Undo of everything.
    Undo(Reason),
}

/// What follows a step that failed for good.
pub(super) enum AfterFailure<S> {
    /// Undo of everything.
    Undo,
    /// An earlier step, for another way to the same end.
    Back(S),
    /// The next step: the failure matters to nobody.
    Next,
}

/// How an operation ends.
pub(super) enum Finish {
    /// As asked.
    Succeeded,
    /// What it worked for is no longer wanted: undo of everything.
    Undo(Reason),
}

/// Why an operation fails, for a tenant and for the operator. Stored with the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) struct Reason {
    /// Safe for a tenant to read.
    pub(super) public: String,
    /// With everything.
    pub(super) full: String,
}

impl Reason {
    /// The same words for both.
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Reason {
            public: text.clone(),
            full: text,
        }
    }
}

impl From<&Error> for Reason {
    fn from(error: &Error) -> Self {
        Reason {
            public: error.public.clone(),
            full: error.to_string(),
        }
    }
}

/// What the database parts of a step work with.
pub(super) struct StepTransaction<'a, 't> {
    /// Where rows are read and written.
    pub(super) transaction: &'a mut Transaction<'t>,
    /// The operation, held under the present lease.
    pub(super) operation: &'a Operation,
    /// Time and ids.
    pub(super) context: &'a Context,
    /// Opens the stored secrets of backends.
    pub(super) vault: &'a Vault,
    /// What is kept of rows that rarely change.
    pub(super) around: &'a Surroundings,
    /// What projects may have for which nobody set anything.
    pub(super) limits: &'a Limits,
}
