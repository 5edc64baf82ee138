//! Snapshots that are shared and copies of them, as the database has them.

use std::collections::BTreeMap;

use volume_service::RequestContext;
use volume_service::app::copy_snapshot::{self, COPIES_MAX, CopySnapshot};
use volume_service::app::identity;
use volume_service::app::snapshot_sharing::{self, Discovery, ShareChange};
use volume_service::app::snapshots::{
    self, CreateSnapshot, DeleteMode, InUse, SnapshotQuery, SnapshotSortKey,
};
use volume_service::app::volumes::SortDirection;
use volume_service::config::Limits;
use volume_service::db;
use volume_service::error::{ErrorKind, Subject};
use volume_service::model::id::{SnapshotId, VolumeId};
use volume_service::model::snapshot::{Snapshot, SnapshotStatus};
use volume_service::model::snapshot_sharing::{EVERYBODY, PublicAccess};

use crate::support::{
    Bench, available, flavor, map, on_each, on_each_with, requester, work_on_volumes,
};

/// A member of a project that the directory knows.
async fn member(bench: &Bench, name: &str) -> RequestContext {
    let operator = RequestContext::operator();
    let project = identity::create_project(&bench.service, &operator, name, "").await;
    requester(&project.unwrap().id, "member")
}

async fn taken(bench: &Bench, owner: &RequestContext, volume_id: VolumeId) -> Snapshot {
    let wanted = CreateSnapshot {
        volume_id,
        name: "name".to_owned(),
        description: String::new(),
        metadata: map(&[("owner", "note")]),
        in_use: InUse::Refuse,
    };
    let made = snapshots::create(&bench.service, owner, wanted).await;
    work_on_volumes(bench).await;
    let id = made.unwrap().id;
    snapshots::get(&bench.service, owner, id).await.unwrap()
}

async fn share(bench: &Bench, owner: &RequestContext, id: SnapshotId, with: &[&str]) {
    let with = with.iter().map(|project| (*project).to_owned()).collect();
    let change = ShareChange::Add(with);
    let shared = snapshot_sharing::change_shares(&bench.service, owner, id, change).await;
    shared.unwrap();
}

fn oldest_first(limit: usize) -> SnapshotQuery {
    SnapshotQuery {
        sort: vec![(SnapshotSortKey::CreatedAt, SortDirection::Ascending)],
        limit: Some(limit),
        hides_deleting: true,
        ..SnapshotQuery::default()
    }
}

/// All that a project finds, page by page.
async fn found(bench: &Bench, who: &RequestContext, discovery: &Discovery) -> Vec<SnapshotId> {
    let mut query = oldest_first(2);
    let mut all = Vec::new();
    loop {
        let page =
            snapshot_sharing::discover(&bench.service, who, query.clone(), discovery.clone()).await;
        let page = page.unwrap();
        assert!(page.items.len() <= 2);
        all.extend(page.items.iter().map(|snapshot| snapshot.id));
        let last = page.items.last().filter(|_| page.has_more);
        let Some(last) = last else { return all };
        query.after = Some((last.created_at_us, last.id));
    }
}

#[test]
fn a_project_finds_its_own_shared_and_public_ones_in_one_order() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (member(&bench, "alice").await, member(&bench, "bob").await);
        let carol = member(&bench, "carol").await;
        let mut made = Vec::new();
        for owner in [&alice, &bob, &alice, &carol, &bob, &carol, &bob] {
            let volume = available(&bench, owner, "gold").await;
            made.push(taken(&bench, owner, volume).await.id);
        }
        let me = alice.project_id.as_str();
        share(&bench, &bob, made[1], &[me, EVERYBODY]).await;
        share(&bench, &carol, made[3], &[EVERYBODY, &bob.project_id]).await;
        share(&bench, &bob, made[6], &[me]).await;
        share(&bench, &alice, made[2], &[&carol.project_id]).await;
        let texts =
            |all: &[&str]| -> Vec<String> { all.iter().map(|one| (*one).to_owned()).collect() };
        for (owners, restorable_by, expected) in [
            (&[][..], &[][..], &[0, 1, 2, 3, 6][..]),
            (&[me], &[], &[0, 2]),
            (&[&bob.project_id], &[], &[1, 6]),
            (&[me, &carol.project_id], &[], &[0, 2, 3]),
            (&["amazon"], &[], &[]),
            (&[], &[me], &[0, 1, 2, 6]),
            (&[], &[EVERYBODY], &[1, 3]),
            (&[], &[&carol.project_id], &[2]),
            (&[&carol.project_id], &[EVERYBODY], &[3]),
        ] {
            let discovery = Discovery {
                owners: texts(owners),
                restorable_by: texts(restorable_by),
            };
            let expected: Vec<SnapshotId> = expected.iter().map(|place| made[*place]).collect();
            let all = found(&bench, &alice, &discovery).await;
            assert_eq!(all, expected, "{discovery:?}");
        }
        let any = Discovery::default();
        let block =
            snapshot_sharing::set_public_access(&bench.service, &carol, PublicAccess::BlockAll);
        block.await.unwrap();
        assert_eq!(
            found(&bench, &alice, &any).await,
            [made[0], made[1], made[2], made[6]]
        );
        let page = snapshot_sharing::discover(&bench.service, &alice, oldest_first(9), any.clone());
        let page = page.await.unwrap().items;
        assert!(
            page[1].metadata.is_empty() && page[1].name.is_empty(),
            "{page:?}"
        );
        assert_eq!(page[0].metadata, map(&[("owner", "note")]));
        let tagged = SnapshotQuery {
            metadata: map(&[("owner", "note")]),
            ..oldest_first(9)
        };
        let page = snapshot_sharing::discover(&bench.service, &alice, tagged, any).await;
        let ids: Vec<SnapshotId> = page.unwrap().items.iter().map(|one| one.id).collect();
        assert_eq!(ids, [made[0], made[2]], "tags of others are not asked");
    });
}

#[test]
fn who_blocks_public_snapshots_makes_none() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (member(&bench, "alice").await, member(&bench, "bob").await);
        let volume = available(&bench, &alice, "gold").await;
        let id = taken(&bench, &alice, volume).await.id;
        let service = &bench.service;
        for access in [PublicAccess::BlockNew, PublicAccess::BlockAll] {
            let set = snapshot_sharing::set_public_access(service, &alice, access).await;
            set.unwrap();
            let kept = snapshot_sharing::public_access(service, &alice).await;
            assert_eq!(kept.unwrap(), access);
            let change = ShareChange::Add(vec![bob.project_id.clone(), EVERYBODY.to_owned()]);
            let refused = snapshot_sharing::change_shares(service, &alice, id, change).await;
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
            let shares = snapshot_sharing::shares(service, &alice, id).await;
            assert!(shares.unwrap().is_empty(), "all of it or nothing");
        }
        let set = snapshot_sharing::set_public_access(service, &alice, PublicAccess::Unblocked);
        set.await.unwrap();
        share(&bench, &alice, id, &[EVERYBODY]).await;
        let reader = requester(&alice.project_id, "reader");
        let access = PublicAccess::BlockAll;
        let forbidden = snapshot_sharing::set_public_access(service, &reader, access).await;
        assert_eq!(forbidden.unwrap_err().kind, ErrorKind::Forbidden);
        let own = ShareChange::Clear;
        let foreign = snapshot_sharing::change_shares(service, &bob, id, own).await;
        let error = foreign.unwrap_err();
        assert_eq!(
            (error.kind, error.subject),
            (ErrorKind::NotFound, Subject::Snapshot)
        );
    });
}

async fn copy(
    bench: &Bench,
    who: &RequestContext,
    source: Option<&Snapshot>,
) -> volume_service::error::Result<Snapshot> {
    let wanted = CopySnapshot {
        source_ec2_id: source.map(|source| source.ec2_id.clone()),
        description: String::new(),
        metadata: BTreeMap::new(),
        completion_minutes: None,
    };
    copy_snapshot::copy(&bench.service, who, wanted).await
}

/// What is counted is what is there, for each project and flavor.
async fn assert_counts_are_true(bench: &Bench) {
    let read = bench.service.database.read(|tx| {
        let row = |row: &db::Row<'_>| Ok(format!("{} {} {} {}", row.text(0)?, row.text(1)?, row.int(2)?, row.int(3)?));
        let counted = "SELECT project_id, flavor_id, CAST(SUM(snapshots) AS BIGINT), CAST(SUM(gigabytes) AS BIGINT) \
                       FROM counted_usage GROUP BY project_id, flavor_id ORDER BY project_id, flavor_id";
        let kept = "SELECT project_id, flavor_id, snapshots, gigabytes FROM type_usage \
                    WHERE volumes <> 0 OR snapshots <> 0 OR gigabytes <> 0 ORDER BY project_id, flavor_id";
        Ok((tx.query(counted, &[], row)?, tx.query(kept, &[], row)?))
    });
    let (counted, kept) = read.await.unwrap();
    assert_eq!(counted, kept);
}

#[test]
fn copies_count_for_who_has_them_and_the_flavor_of_their_source() {
    let limits = Limits {
        snapshots_per_project: 3,
        ..Limits::default()
    };
    on_each_with(limits, |bench| async move {
        let gold = flavor(&bench, "gold").await;
        let (alice, bob) = (member(&bench, "alice").await, member(&bench, "bob").await);
        let volume = available(&bench, &alice, "gold").await;
        let source = taken(&bench, &alice, volume).await;
        share(&bench, &alice, source.id, &[&bob.project_id]).await;
        let first = copy(&bench, &bob, Some(&source)).await.unwrap();
        assert_eq!(first.status, SnapshotStatus::Creating);
        assert_eq!(first.volume_id, VolumeId::NONE);
        assert_eq!(first.traits.ebs.flavor_id, Some(gold.id));
        assert_counts_are_true(&bench).await;
        let nothing = copy(&bench, &bob, None).await.unwrap();
        assert_eq!(nothing.status, SnapshotStatus::Error);
        let pending = copy(&bench, &bob, Some(&first)).await.unwrap();
        assert_eq!(pending.failure, "Source snapshot is not complete");
        let over = copy(&bench, &bob, Some(&source)).await.unwrap_err();
        assert_eq!(
            (over.kind, over.subject),
            (ErrorKind::QuotaExceeded, Subject::Snapshot)
        );
        assert_counts_are_true(&bench).await;
        work_on_volumes(&bench).await;
        // Also when the flavor's volume is gone.
        for one in [&first, &nothing, &pending] {
            let mode = DeleteMode::Normal;
            let asked = snapshots::delete(&bench.service, &bob, one.id, mode).await;
            asked.unwrap();
            work_on_volumes(&bench).await;
        }
        assert_counts_are_true(&bench).await;
        let left = snapshots::list(&bench.service, &bob, SnapshotQuery::default()).await;
        assert!(left.unwrap().items.is_empty());
    });
}

#[test]
fn no_more_copies_are_in_hand_than_may_be() {
    let limits = Limits {
        snapshots_per_project: -1,
        ..Limits::default()
    };
    on_each_with(limits, |bench| async move {
        flavor(&bench, "gold").await;
        let alice = member(&bench, "alice").await;
        let volume = available(&bench, &alice, "gold").await;
        let source = taken(&bench, &alice, volume).await;
        for _ in 0..COPIES_MAX {
            copy(&bench, &alice, Some(&source)).await.unwrap();
        }
        let over = copy(&bench, &alice, Some(&source)).await.unwrap_err();
        assert_eq!(
            (over.kind, over.subject),
            (ErrorKind::QuotaExceeded, Subject::Request)
        );
        work_on_volumes(&bench).await;
        copy(&bench, &alice, Some(&source)).await.unwrap();
    });
}

#[test]
fn shares_end_when_a_snapshot_changes_its_project() {
    on_each(|bench| async move {
        flavor(&bench, "gold").await;
        let (alice, bob) = (member(&bench, "alice").await, member(&bench, "bob").await);
        let volume = available(&bench, &alice, "gold").await;
        let id = taken(&bench, &alice, volume).await.id;
        share(&bench, &alice, id, &[EVERYBODY]).await;
        let (from, to) = (alice.project_id.clone(), bob.project_id.clone());
        let given = bench
            .service
            .database
            .write(move |tx| db::transfers::give_snapshots(tx, volume, &from, &to, "somebody"));
        given.await.unwrap();
        let shares = snapshot_sharing::shares(&bench.service, &bob, id).await;
        assert!(shares.unwrap().is_empty());
    });
}
