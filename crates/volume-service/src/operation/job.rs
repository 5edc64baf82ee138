//! What a step's part in the pool works with.

use std::sync::Arc;

use uuid::Uuid;

use super::engine::Engine;
use super::lease::Lease;
use crate::db::backends;
use crate::driver::{Deployment, Pool, PoolError};
use crate::error::{Error, Result};
use crate::model::backend::Backend;
use crate::model::id::{BackendId, OperationId};
use crate::model::operation::Operation;

/// An operation in the hands of a worker.
pub(super) struct Job {
    /// The worker's engine.
    pub(super) engine: Arc<Engine>,
    /// The lease.
    pub(super) lease: Arc<Lease>,
    /// What the operation is done to.
    pub(super) target: String,
    /// The request that asked for it.
    pub(super) request_id: String,
}

impl Job {
    /// The job of a claimed operation.
    pub(super) fn new(engine: Arc<Engine>, lease: Arc<Lease>, operation: &Operation) -> Self {
        Job {
            engine,
            lease,
            target: operation.target.clone(),
            request_id: operation.request_id.clone(),
        }
    }

    /// The pool, for one call: the lease is checked each time.
    pub(super) fn pool(&self) -> Result<&dyn Pool> {
        self.lease.check(self.engine.context().now_us())?;
        Ok(self.engine.pool())
    }

    /// The pool, to take back what an answer came too late for; none while the lease is held.
    pub(super) fn pool_when_late(&self) -> Option<&dyn Pool> {
        let is_held = self.lease.is_held(self.engine.context().now_us());
        (!is_held).then(|| self.engine.pool())
    }

    /// The operation's id.
    pub(super) fn operation(&self) -> OperationId {
        self.lease.operation
    }

    /// The lease's generation.
    pub(super) fn generation(&self) -> i64 {
        self.lease.generation
    }

    /// Whose objects in the pool are ours.
    pub(super) fn deployment(&self) -> Deployment {
        self.engine.deployment()
    }

    /// A backend with its secrets, as it is now.
    pub(super) async fn backend(&self, id: BackendId) -> Result<Backend> {
        let vault = self.engine.vault().clone();
        self.engine
            .database()
            .read(move |tx| backends::get(tx, &vault, id))
            .await
    }

    /// Turns a pool's error about no backend in particular into ours.
    pub(super) fn zone_error(&self, error: PoolError) -> Error {
        error.on_zone(self.engine.zone())
    }
}

/// Which SR a call is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct SrName {
    /// The backend's number.
    pub(super) backend: String,
    /// The SR.
    pub(super) sr_uuid: Option<Uuid>,
    /// Its type.
    pub(super) sr_type: String,
}

impl SrName {
    /// The SR of a backend.
    pub(super) fn of(backend: &Backend) -> Self {
        SrName {
            backend: backend.id.to_string(),
            sr_uuid: backend.sr_uuid,
            sr_type: backend.sr_type.clone(),
        }
    }

    /// Turns a pool's error about this SR into ours.
    pub(super) fn error(&self, error: PoolError) -> Error {
        error.on_backend(&self.backend, self.sr_uuid, &self.sr_type)
    }
}
