//! Leases: who may write an operation's row, and when.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use volume_service::ErrorKind;
use volume_service::db::Database;
use volume_service::db::operations::{self, NewOperation, Progress};
use volume_service::model::id::OperationId;
use volume_service::model::operation::{OperationKind, OperationState};

use crate::support::on_each;

const LEASE_US: i64 = 30_000_000;

fn new(target: &str) -> NewOperation {
    NewOperation {
        id: OperationId(uuid::Uuid::new_v4()),
        kind: OperationKind::CreateVolume,
        target: target.to_owned(),
        zone: "nova".to_owned(),
        request_id: "req-1".to_owned(),
        not_before_us: 0,
    }
}

async fn insert(database: &Database, new: &NewOperation) -> bool {
    let new = new.clone();
    static NOW: AtomicI64 = AtomicI64::new(1);
    let now_us = NOW.fetch_add(1, Ordering::Relaxed);
    database
        .write(move |tx| operations::insert(tx, &new, now_us))
        .await
        .unwrap()
}

async fn claim(
    database: &Database,
    owner: &'static str,
    now_us: i64,
    limit: usize,
) -> Vec<volume_service::model::operation::Operation> {
    database
        .write(move |tx| operations::claim(tx, "nova", owner, now_us, LEASE_US, limit))
        .await
        .unwrap()
}

fn progress(step: u32) -> Progress {
    Progress {
        state: OperationState::Running,
        step,
        step_begun: true,
        outputs: serde_json::json!({"vdi": "x"}),
        attempts: 2,
        failure: "later".to_owned(),
    }
}

#[test]
fn a_target_has_one_unfinished_operation() {
    on_each(|bench| async move {
        let database = bench.service.database;
        let first = new("volume-1");
        assert!(insert(&database, &first).await);
        assert!(!insert(&database, &new("volume-1")).await);
        assert!(insert(&database, &new("volume-2")).await);

        let claimed = claim(&database, "a", 10, 10).await;
        let lease = claimed.iter().find(|op| op.id == first.id).unwrap().lease();
        database
            .write(move |tx| operations::finish(tx, lease, OperationState::Failed, "no", 11))
            .await
            .unwrap();
        assert!(
            insert(&database, &new("volume-1")).await,
            "the first one is finished"
        );
        let all = database
            .read(|tx| operations::of_target(tx, "volume-1"))
            .await
            .unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].state, all[0].failure.as_str()),
            (OperationState::Failed, "no")
        );
    });
}

#[test]
fn a_stale_generation_writes_nothing() {
    on_each(|bench| async move {
        let database = bench.service.database;
        insert(&database, &new("volume-1")).await;
        let stale = claim(&database, "a", 10, 1).await.remove(0);
        assert_eq!(
            (stale.state, stale.lease_generation),
            (OperationState::Running, 1)
        );
        assert!(
            claim(&database, "b", 11, 1).await.is_empty(),
            "the lease is good"
        );

        let fresh = claim(&database, "b", 10 + LEASE_US, 1).await.remove(0);
        assert_eq!(
            (fresh.lease_owner.as_deref(), fresh.lease_generation),
            (Some("b"), 2)
        );

        let lost = stale.lease();
        let refusals = [
            database
                .write(move |tx| operations::renew(tx, lost, 99))
                .await,
            database
                .write(move |tx| operations::check_lease(tx, lost))
                .await,
            database
                .write(move |tx| operations::save_step(tx, lost, &progress(5), 99))
                .await,
            database
                .write(move |tx| operations::release(tx, lost, 99, 99))
                .await,
            database
                .write(move |tx| operations::finish(tx, lost, OperationState::Succeeded, "", 99))
                .await,
        ];
        for refusal in refusals {
            let error = refusal.unwrap_err();
            assert!(operations::is_lease_lost(&error), "{error:?}");
            assert_eq!(error.kind, ErrorKind::Conflict);
        }
        let id = fresh.id;
        let row = database
            .read(move |tx| operations::find(tx, id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row, fresh, "nothing has changed");

        let held = fresh.lease();
        database
            .write(move |tx| {
                operations::check_lease(tx, held)?;
                operations::save_step(tx, held, &progress(3), 50)
            })
            .await
            .unwrap();
        let row = database
            .read(move |tx| operations::find(tx, id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((row.step, row.step_begun, row.attempts), (3, true, 2));
        assert_eq!(row.outputs, serde_json::json!({"vdi": "x"}));
        assert_eq!(row.failure, "later");
    });
}

#[test]
fn a_released_operation_is_claimed_when_it_is_due() {
    on_each(|bench| async move {
        let database = bench.service.database;
        insert(&database, &new("volume-1")).await;
        let first = claim(&database, "a", 10, 1).await.remove(0);
        let lease = first.lease();
        database
            .write(move |tx| operations::release(tx, lease, 500, 20))
            .await
            .unwrap();
        assert!(claim(&database, "b", 499, 1).await.is_empty());
        let again = claim(&database, "b", 500, 1).await.remove(0);
        assert_eq!(
            (again.state, again.lease_generation),
            (OperationState::Running, 2)
        );

        let lease = again.lease();
        database
            .write(move |tx| {
                let undoing = Progress {
                    state: OperationState::Undoing,
                    ..progress(1)
                };
                operations::save_step(tx, lease, &undoing, 501)?;
                operations::release(tx, lease, 502, 501)
            })
            .await
            .unwrap();
        let undoing = claim(&database, "a", 502, 1).await.remove(0);
        assert_eq!(
            undoing.state,
            OperationState::Undoing,
            "an undo is never forgotten"
        );
    });
}

#[test]
fn many_claimers_never_share_an_operation() {
    on_each(|bench| async move {
        let database = bench.service.database;
        const COUNT: usize = 200;
        for number in 0..COUNT {
            insert(&database, &new(&format!("volume-{number}"))).await;
        }
        let mut claimers = tokio::task::JoinSet::new();
        for owner in ["a", "b", "c", "d", "e", "f"] {
            let database = database.clone();
            claimers.spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let some = claim(&database, owner, 100, 7).await;
                    if some.is_empty() {
                        return mine;
                    }
                    mine.extend(some.into_iter().map(|op| op.id));
                }
            });
        }
        let all: Vec<OperationId> = claimers.join_all().await.into_iter().flatten().collect();
        let distinct: BTreeSet<OperationId> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len(), "claimed twice");
        // On PostgreSQL a claim passes over rows that another one is just taking and may come back empty; none is lost.
        let rest = claim(&database, "g", 100, COUNT).await.len();
        assert_eq!(distinct.len() + rest, COUNT);
    });
}

#[test]
fn workers_are_woken_here_and_in_other_processes() {
    on_each(|bench| async move {
        let here = bench.service.database.clone();
        let there = Database::open(&volume_service::config::Secret::new(bench.url.as_str()))
            .await
            .unwrap();
        let (mut near, mut far) = (here.operations_added(), there.operations_added());
        near.borrow_and_update();
        far.borrow_and_update();
        insert(&here, &new("volume-1")).await;
        near.changed().await.unwrap();
        far.changed().await.unwrap();
        assert_eq!(claim(&there, "far", 10, 1).await.len(), 1);
    });
}

/// Those who wait are woken after the connection of the notifications broke, whatever was added meanwhile.
#[test]
fn a_broken_listener_wakes_workers_when_it_is_back() {
    on_each(|bench| async move {
        if bench.url.starts_with("sqlite:") {
            return;
        }
        let here = bench.service.database.clone();
        let there = Database::open(&volume_service::config::Secret::new(bench.url.as_str()))
            .await
            .unwrap();
        let mut near = here.operations_added();
        insert(&there, &new("volume-1")).await;
        near.changed().await.unwrap();
        let ended = there
            .write(|tx| {
                tx.query(
                    "SELECT CAST(COUNT(pg_terminate_backend(pid)) AS BIGINT) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid() \
                     AND (query LIKE '%LISTEN%' OR query LIKE 'NOTIFY%')",
                    &[],
                    |row| row.int(0),
                )
            })
            .await
            .unwrap();
        assert!(ended[0] >= 1, "there is a connection that listens");
        near.borrow_and_update();
        insert(&there, &new("volume-2")).await;
        near.changed().await.unwrap();
        assert_eq!(claim(&here, "near", 10, 2).await.len(), 2);
    });
}
