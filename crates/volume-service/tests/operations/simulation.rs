//! Two workers, random faults, many volumes, a clock that jumps: from a seed that is printed when it fails.
//!
//! `XENSM_SIMULATION_SEED=n` replays one seed, `XENSM_SIMULATION_SEEDS=n` runs that many.

use std::sync::Arc;

use serde_json::json;
use volume_service::app;
use volume_service::app::snapshots::{DeleteMode as DeleteSnapshot, InUse};
use volume_service::app::volumes::{DeleteMode, VolumeSource};
use volume_service::model::id::{AttachmentId, SnapshotId, VolumeId};
use volume_service::model::volume::VolumeStatus;
use volume_service::operation::Engine;

use crate::gate::Chance;
use crate::installation::{Installation, Kind, Site, on};
use crate::outcomes::assert_nothing_is_leaked;

/// Seeds of one push.
const SEEDS: u64 = 40;
/// Things that are done in one simulation.
const ACTIONS: u64 = 120;

#[test]
fn random_faults_leave_nothing_behind() {
    let from_environment = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match from_environment("XENSM_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("XENSM_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    on(Kind::Sqlite, |installation| async move {
        for seed in seeds {
            let run = tokio::spawn(simulate(Arc::clone(&installation), seed));
            if let Err(error) = run.await {
                panic!("replay with XENSM_SIMULATION_SEED={seed}: {error}");
            }
        }
    });
}

async fn simulate(installation: Arc<Installation>, seed: u64) {
    let site = Site::new(&installation).await;
    let mut chance = Chance::new(seed);
    for sr_type in ["file", "nfs", "lvm"] {
        site.add_backend(sr_type, None).await;
    }
    let mut engines = [site.engine().await, site.engine().await];
    let mut volumes: Vec<VolumeId> = Vec::new();
    let mut snapshots: Vec<SnapshotId> = Vec::new();
    let mut attached: Vec<(VolumeId, AttachmentId)> = Vec::new();
    site.gate.randomize(seed);
    for _ in 0..ACTIONS {
        match chance.below(13) {
            0..=2 => volumes.push(site.create_volume().await),
            3 => delete_one(&site, &mut chance, &volumes).await,
            4 => attach_one(&site, &mut chance, &volumes, &mut attached).await,
            5 => site.installation.world.advance(1_000_000),
            6 if chance.below(4) == 0 => site.outlive_leases(),
            7 | 8 => ask_for_content(&site, &mut chance, &mut volumes, &mut snapshots).await,
            _ => {
                let one = chance.below(2) as usize;
                if work_a_little(&site, &engines[one], chance.below(4) as usize + 1).await {
                    engines[one] = site.engine().await;
                }
            }
        }
    }
    site.gate.heal();
    let story = format!("seed {seed}");
    site.outlive_leases();
    site.work(&engines[0]).await;
    site.reconcile(&engines[0]).await;
    assert_nothing_is_leaked(&site, &story).await;
    end_everything(&site, &engines[0], &volumes, &attached).await;
    site.reconcile(&engines[0]).await;
    assert_nothing_is_leaked(&site, &story).await;
    let state = site.pool.state();
    assert!(
        state.vdis.is_empty() && state.vbds.is_empty(),
        "{story}: {state:?}"
    );
}

/// Claims a few operations and runs them; true when the worker died of it.
async fn work_a_little(site: &Site, engine: &Arc<Engine>, limit: usize) -> bool {
    let worked = async {
        if let Ok(claimed) = engine.claim(limit).await {
            for one in claimed {
                engine.run(one).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = site.gate.death() => true,
        () = worked => false,
    }
}

async fn delete_one(site: &Site, chance: &mut Chance, volumes: &[VolumeId]) {
    let Some(id) = pick(chance, volumes) else {
        return;
    };
    let mode = match chance.below(2) {
        0 => DeleteMode::Normal,
        _ => DeleteMode::Cascade,
    };
    // What stands in the way is part of the game.
    let _refused = app::volumes::delete(site.service(), &site.requester(), id, mode).await;
}

fn pick<T: Copy>(chance: &mut Chance, all: &[T]) -> Option<T> {
    let last = (all.len() as u64).checked_sub(1)?;
    all.get(chance.below(last + 1) as usize).copied()
}

/// Snapshots, clones, extensions and reverts of whatever is there; refused ones are part of the game.
async fn ask_for_content(
    site: &Site,
    chance: &mut Chance,
    volumes: &mut Vec<VolumeId>,
    snapshots: &mut Vec<SnapshotId>,
) {
    let (service, requester) = (site.service(), site.requester());
    let (volume, snapshot) = (pick(chance, volumes), pick(chance, snapshots));
    let source = match (volume, snapshot) {
        (Some(volume), None) => VolumeSource::Volume(volume),
        (_, Some(snapshot)) if chance.below(2) == 0 => VolumeSource::Snapshot(snapshot),
        (Some(volume), Some(_)) => VolumeSource::Volume(volume),
        (None, _) => return,
    };
    match (chance.below(6), volume, snapshot) {
        (0 | 1, Some(volume), _) => snapshots.extend(site.create_snapshot(volume).await),
        (2, ..) => {
            let size_gib = 2 * chance.below(2);
            volumes.extend(site.create_from(source, size_gib).await);
        }
        (3, Some(volume), _) => {
            let (size_gib, in_use) = (2 + chance.below(3), InUse::Allow);
            let _refused =
                app::volumes::extend(service, &requester, volume, size_gib, in_use).await;
        }
        (4, _, Some(id)) => {
            if let Some(row) = site.snapshot(id).await {
                let _refused = app::volumes::revert(service, &requester, row.volume_id, id).await;
            }
        }
        (_, _, Some(id)) => {
            let mode = DeleteSnapshot::Normal;
            let _refused = app::snapshots::delete(service, &requester, id, mode).await;
        }
        _ => {}
    }
}

async fn attach_one(
    site: &Site,
    chance: &mut Chance,
    volumes: &[VolumeId],
    attached: &mut Vec<(VolumeId, AttachmentId)>,
) {
    if volumes.is_empty() {
        return;
    }
    let id = volumes[chance.below(volumes.len() as u64) as usize];
    let volume = site.volume(id).await;
    if volume.is_some_and(|volume| volume.status == VolumeStatus::Available) {
        attached.push((id, site.attach(id, json!({"host": "h"})).await));
    }
}

/// Detaches and deletes all that there is, without faults.
async fn end_everything(
    site: &Site,
    engine: &Arc<Engine>,
    volumes: &[VolumeId],
    attached: &[(VolumeId, AttachmentId)],
) {
    for (volume, attachment) in attached {
        if site.attachment(*attachment).await.is_some() {
            site.detach(*volume, *attachment).await;
        }
    }
    site.work(engine).await;
    for id in volumes {
        if site.volume(*id).await.is_some() {
            let mode = DeleteMode::Cascade;
            let asked = app::volumes::delete(site.service(), &site.requester(), *id, mode).await;
            assert!(asked.is_ok(), "{asked:?}: {:?}", site.volume(*id).await);
        }
    }
    site.work(engine).await;
    for id in volumes {
        assert!(
            site.volume(*id).await.is_none(),
            "{:?}",
            site.volume(*id).await
        );
    }
}
