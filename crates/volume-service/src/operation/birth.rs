//! Operations that begin in the transaction that asks for them.
//!
//! Where a worker of the zone lives in the process that takes a request, the operation is written as that worker's, with all steps done
//! that have no part in the pool, and handed over behind the commit. That saves a transaction with its flush, and a version of each row.
//!
//! What is lost between commit and hand-over, which takes the end of the process, is claimed by somebody when the lease ends, as after a
//! worker's death: the row says that its step has begun, so that whoever comes looks for leftovers. A worker that stops waits for what
//! is on its way to it, and then gives back the leases that it still has. What is committed still later, and what nobody knows to be
//! committed, is not handed over: its lease is given back at once.
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
use crate::db::operations::{self, NewOperation};
use crate::db::{Fate, Transaction};
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
        tx.after_commit(move |fate| self.hand_over(fate));
        Ok(())
    }

    fn hand_over(self, fate: Fate) {
        let Cradle { intake, place } = self.cradle;
        if fate == Fate::Unknown {
            return intake.give_back(self.operation.lease());
        }
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;
    use crate::app::Service;
    use crate::auth::policy::Policies;
    use crate::config::{Config, Endpoints, Limits, MasterKey, PoolConfig, Secret, Trust};
    use crate::context::Context;
    use crate::driver::XenApiPool;
    use crate::error::{ErrorKind, Subject};
    use crate::model::id::OperationId;
    use crate::model::operation::OperationKind;
    use crate::operation::intake::{Intakes, Places};

    const ZONE: &str = "nova";
    const PATIENCE: Duration = Duration::from_secs(60);

    /// An engine on a fresh database, with a pool that it never reaches.
    async fn engine(directory: &std::path::Path) -> Arc<Engine> {
        let path = directory.join("xensm.db");
        let config = Config {
            database_url: Secret::new(format!("sqlite://{}", path.display())),
            master_key: MasterKey(zeroize::Zeroizing::new([7; 32])),
            zones: Vec::new(),
            default_zone: ZONE.to_owned(),
            endpoints: Endpoints {
                volume: String::new(),
                identity: String::new(),
                ec2: String::new(),
            },
            limits: Limits::default(),
            token_lifetime_s: 3600,
            keystone: None,
            audit_dir: None,
            policies: Policies::default(),
        };
        let service = Service::open(Context::real(), config).await;
        let pool = XenApiPool::new(&PoolConfig {
            url: "unix:/nowhere".to_owned(),
            username: "root".to_owned(),
            password: Secret::new("secret"),
            trust: Trust::NotNeeded,
        });
        let (service, pool) = (service.expect("a service"), pool.expect("a pool"));
        let engine = Engine::open(&service, ZONE, Arc::new(pool)).await;
        Arc::new(engine.expect("an engine"))
    }

    fn begun(engine: &Engine, cradle: Cradle) -> (OperationId, Born) {
        let new = NewOperation {
            id: OperationId(engine.context().new_uuid()),
            kind: OperationKind::DeleteVolume,
            target: engine.context().new_uuid().to_string(),
            zone: ZONE.to_owned(),
            request_id: "req-test".to_owned(),
            not_before_us: engine.context().now_us(),
        };
        (new.id, cradle.bear(&new, 0, json!({})))
    }

    async fn add(engine: &Engine, born: Born) {
        let mut born = Some(born);
        let added = engine.database().write(move |tx| {
            let born = born.take().expect("on SQLite a closure runs once");
            born.add(tx, || {
                Error::new(ErrorKind::Conflict, Subject::Operation, "at work")
            })
        });
        added.await.expect("it is added");
    }

    async fn found(engine: &Engine, id: OperationId) -> Operation {
        let found = engine.database().read(move |tx| operations::find(tx, id));
        found.await.expect("a database").expect("the operation")
    }

    /// Waits until nobody holds an operation.
    async fn until_free(engine: &Engine, id: OperationId) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let operation = found(engine, id).await;
            if operation.lease_owner.is_none() {
                assert_eq!(operation.state, OperationState::Pending);
                assert!(operation.step_begun, "who claims it looks for leftovers");
                return;
            }
            assert!(Instant::now() < deadline, "{operation:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_finds_no_worker_is_given_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = engine(directory.path()).await;
        let intakes = Intakes::default();
        let mut handed = intakes.open(&engine, &Places::new(2));
        let one = begun(&engine, intakes.of(ZONE).expect("a place"));
        let two = begun(&engine, intakes.of(ZONE).expect("a place"));
        add(&engine, one.1).await;
        let (claimed, _place) = handed.recv().await.expect("an operation");
        assert_eq!(claimed.operation.id, one.0);
        let held = found(&engine, one.0).await;
        assert_eq!(held.lease_owner.as_deref(), Some(engine.owner()));
        drop(handed);
        add(&engine, two.1).await;
        until_free(&engine, two.0).await;
    }

    #[tokio::test]
    async fn what_nobody_knows_to_be_stored_is_given_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let engine = engine(directory.path()).await;
        let intakes = Intakes::default();
        let _handed = intakes.open(&engine, &Places::new(1));
        let (id, born) = begun(&engine, intakes.of(ZONE).expect("a place"));
        let row = born.operation.clone();
        let stored = engine.database().write(move |tx| {
            operations::add_held(tx, &row, || {
                Error::new(ErrorKind::Conflict, Subject::Operation, "at work")
            })
        });
        stored.await.expect("it is added");
        born.hand_over(Fate::Unknown);
        until_free(&engine, id).await;
        // One that is not stored has nothing to give back, and takes no place either.
        let (_, born) = begun(&engine, intakes.of(ZONE).expect("the place is free"));
        born.hand_over(Fate::Unknown);
        assert!(intakes.of(ZONE).is_some());
    }
}
