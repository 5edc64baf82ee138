//! Snapshots of several VDIs at one moment, as the volume service asks our storage manager for them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::collections::{BTreeMap, BTreeSet};

use storage_manager::StorageManager;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use volume_service::config::{PoolConfig, Secret, Trust};
use volume_service::driver::{Deployment, Pool, SrSpec, Trouble, VdiSpec, XenApiPool, all_made};
use volume_service::model::id::{OperationId, VolumeId};

/// More than the client makes calls at once to a pool otherwise.
const MEMBERS: usize = 80;

const SIZE: u64 = 2 << 20;

async fn make_vdi(pool: &XenApiPool, sr_uuid: Uuid) -> Uuid {
    let spec = VdiSpec {
        sr_uuid,
        volume: VolumeId(Uuid::new_v4()),
        operation: OperationId(Uuid::new_v4()),
        generation: 1,
        deployment: Deployment(Uuid::from_u128(1)),
        size_bytes: SIZE,
        is_sharable: false,
    };
    pool.create_vdi(&spec).await.unwrap()
}

/// Takes them, and again while the storage manager says that this machine was too slow.
async fn take(pool: &XenApiPool, sources: &[Uuid], moment: &str) -> Vec<Uuid> {
    for _ in 0..20 {
        let outcomes = match pool.snapshot_vdis(sources, moment).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Another one was ahead for too long.
                assert_eq!(error.trouble, Trouble::Marked, "{error}");
                continue;
            }
        };
        assert_eq!(outcomes.len(), sources.len());
        match all_made(outcomes) {
            Ok(made) => return made,
            Err(error) => assert_eq!(error.trouble, Trouble::Busy, "{error}"),
        }
    }
    panic!("never at one moment")
}

async fn ask(pool: XenApiPool, location: String) {
    let spec = SrSpec {
        name_label: "moments".to_owned(),
        name_description: String::new(),
        sr_type: "file".to_owned(),
        is_shared: false,
        config: BTreeMap::from([("location".to_owned(), location)]),
        secrets: BTreeMap::new(),
        mark: "1/1/1".to_owned(),
    };
    let sr = pool.create_sr(&spec).await.unwrap();
    let mut sources = Vec::new();
    for _ in 0..MEMBERS {
        sources.push(make_vdi(&pool, sr).await);
    }
    let (first, second) = sources.split_at(MEMBERS / 2);
    // Two at a time, of which one waits for the other, and other calls go on.
    let (whole, half, found) = tokio::join!(
        take(&pool, &sources, "whole"),
        take(&pool, second, "half"),
        pool.find_vdi(first[0]),
    );
    assert!(found.unwrap().is_some());
    let all: BTreeSet<Uuid> = whole.iter().chain(&half).copied().collect();
    assert_eq!(all.len(), MEMBERS + second.len(), "each is another one");
    let vdis = pool.vdis_all(sr).await.unwrap();
    let snapshot_of: BTreeMap<Uuid, Option<Uuid>> = vdis
        .iter()
        .map(|vdi| (vdi.marks.uuid, vdi.snapshot_of))
        .collect();
    for (source, snapshot) in sources.iter().zip(&whole) {
        assert_eq!(
            snapshot_of[snapshot],
            Some(*source),
            "in the order of the sources"
        );
    }
    for (source, snapshot) in second.iter().zip(&half) {
        assert_eq!(snapshot_of[snapshot], Some(*source));
    }

    // What cannot be is refused before anything is made.
    let missing = [sources[0], Uuid::from_u128(9)];
    let refused = pool.snapshot_vdis(&missing, "missing").await.unwrap_err();
    assert_eq!(refused.trouble, Trouble::Gone);
    let many: Vec<Uuid> = (0..200).map(Uuid::from_u128).collect();
    let refused = pool.snapshot_vdis(&many, "many").await.unwrap_err();
    assert_eq!(refused.trouble, Trouble::Unsupported);
    assert!(pool.snapshot_vdis(&[], "none").await.unwrap().is_empty());
    let one = take(&pool, &sources[..1], "one").await;
    assert_eq!(one.len(), 1);
    assert_eq!(
        pool.vdis_all(sr).await.unwrap().len(),
        2 * MEMBERS + second.len() + 1
    );
}

#[test]
fn as_many_as_a_moment_may_have_are_asked_for_at_once() {
    // All snapshots must be taken within 5 s, whatever the disk does.
    let dir = testkit::scratch::directory();
    let config = storage_manager::Config::new(dir.path().join("data"), "root", "secret");
    let socket = config.unix_socket.clone();
    let manager = StorageManager::open(config).unwrap();
    let pool = XenApiPool::new(&PoolConfig {
        url: format!("unix:{}", socket.display()),
        username: "root".to_owned(),
        password: Secret::new("secret"),
        trust: Trust::NotNeeded,
    });
    let pool = pool.unwrap();
    let location = dir.path().join("sr").to_str().unwrap().to_owned();
    let shutdown = CancellationToken::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let asking = async {
            let asked = tokio::spawn(ask(pool, location)).await;
            shutdown.cancel();
            asked
        };
        let (served, asked) = tokio::join!(manager.serve(shutdown.clone()), asking);
        asked.unwrap();
        served.unwrap();
    });
}
