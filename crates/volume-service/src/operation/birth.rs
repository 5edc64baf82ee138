//! Operations that begin in the transaction that asks for them.
//!
//! Where a worker of the zone lives in the process that takes a request, the operation is written as that worker's, with all steps done
//! that have no part in the pool, and handed over behind the commit. That saves a transaction with its flush, and a version of each row.
//!
//! What is lost between commit and hand-over, which takes the end of the process, is claimed by somebody when the lease ends, as after a
//! worker's death: the row says that its step has begun, so that whoever comes looks for leftovers. A worker that stops waits for what
//! is on its way to it, and then gives back the leases that it still has.
//!
//! On PostgreSQL an operation begins so only in the first run of its request's closure, which runs again when anything fails in it
//! (`Transaction::assume`): what was placed by rows that change meanwhile is then left to a claim.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::engine::{Claimed, Engine};
use super::intake::Intake;
use super::lease::LEASE_US;
use super::progress::{self, Next};
use super::{create_volume, delete_volume};
use crate::app::known::{Age, Seen};
use crate::db::Transaction;
use crate::db::operations::{self, NewOperation};
use crate::error::{Error, Result};
use crate::model::operation::{Operation, OperationState};
use crate::model::volume::Volume;

/// A place for one operation at a worker of this process.
pub(crate) struct Cradle {
    pub(super) intake: Intake,
    pub(super) place: OwnedSemaphorePermit,
}

/// An operation that is its worker's once the transaction that it was written in is committed.
pub(crate) struct Born {
    cradle: Cradle,
    operation: Operation,
}

/// An operation on its way to its worker, with its place there.
pub(super) type Handed = (Claimed, OwnedSemaphorePermit);

impl Cradle {
    /// Places a new volume, for which nothing was written yet. None when the operation has to begin elsewhere.
    pub(crate) fn place_volume(
        self,
        tx: &mut Transaction<'_>,
        seen: &Seen,
        volume: &mut Volume,
        new: &NewOperation,
    ) -> Result<Option<Born>> {
        if !may_bear(tx) {
            return Ok(None);
        }
        let places = seen.places(tx, volume.flavor_id, &volume.zone, Age::Recent)?;
        let Some((backend, outputs)) = create_volume::placed_at_birth(&places, volume) else {
            return Ok(None);
        };
        volume.backend_id = Some(backend);
        let outputs = progress::outputs_of(&outputs);
        Ok(Some(self.bear(new, create_volume::MAKE_VDI, outputs)))
    }

    /// Begins the removal of a volume that nothing depends on and that is in no group. None when it has to begin elsewhere.
    pub(crate) fn remove_volume(
        self,
        tx: &mut Transaction<'_>,
        seen: &Seen,
        volume: &Volume,
        new: &NewOperation,
    ) -> Result<Option<Born>> {
        let Some(backend) = volume.backend_id.filter(|_| may_bear(tx)) else {
            return Ok(None);
        };
        let backend = seen.backend(tx, backend)?;
        let outputs = delete_volume::alone(volume, backend.as_deref());
        let outputs = progress::outputs_of(&outputs);
        Ok(Some(self.bear(new, 0, outputs)))
    }

    fn bear(self, new: &NewOperation, step: u32, outputs: serde_json::Value) -> Born {
        let engine: &Arc<Engine> = self.intake.engine();
        let now_us = engine.context().now_us();
        let operation = Operation {
            id: new.id,
            kind: new.kind,
            target: new.target.clone(),
            zone: new.zone.clone(),
            state: OperationState::Running,
            step,
            step_begun: true,
            outputs,
            attempts: 0,
            lease_owner: Some(engine.owner().to_owned()),
            lease_generation: 1,
            lease_expires_at_us: Some(now_us.saturating_add(LEASE_US)),
            not_before_us: new.not_before_us,
            failure: String::new(),
            request_id: new.request_id.clone(),
            created_at_us: now_us,
            updated_at_us: now_us,
        };
        Born {
            cradle: self,
            operation,
        }
    }
}

impl Born {
    /// Adds the operation, and hands it to its worker behind the commit.
    ///
    /// # Errors
    /// What `missed` makes when the target has an unfinished operation; it may come with a later statement.
    pub(crate) fn add(
        self,
        tx: &mut Transaction<'_>,
        missed: impl FnOnce() -> Error + 'static,
    ) -> Result<()> {
        operations::add_held(tx, &self.operation, missed)?;
        tx.after_commit(move || self.hand_over());
        Ok(())
    }

    fn hand_over(self) {
        let Cradle { intake, place } = self.cradle;
        let claimed = intake
            .engine()
            .hold(self.operation, Next::Act { look: false });
        intake.send((claimed, place));
    }
}

/// Whether what was read stays true until the commit, or the closure runs again if it does not.
fn may_bear(tx: &mut Transaction<'_>) -> bool {
    tx.is_sole_writer() || tx.assume()
}
