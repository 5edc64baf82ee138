//! What the reconcilers leave alone, and what they count.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;
use volume_service::api::metrics;
use volume_service::db::operations::{self, NewOperation};
use volume_service::db::{backends, retired_vdis};
use volume_service::model::backend::BackendState;
use volume_service::model::id::{BackendId, OperationId, VolumeId};
use volume_service::model::operation::OperationKind;
use volume_service::operation::Engine;

use crate::fake_pool::{Sr, Vdi};
use crate::installation::{Installation, Kind, Site, on};

#[test]
fn vdis_that_may_be_somebodys_data_stay_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        unexplained_vdis_stay(&installation).await;
    });
}

#[test]
fn vdis_that_may_be_somebodys_data_stay_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        unexplained_vdis_stay(&installation).await;
    });
}

/// A site with one connected backend and a volume on it.
async fn with_a_volume(installation: &Arc<Installation>) -> (Site, Arc<Engine>, VolumeId, Uuid) {
    let site = Site::new(installation).await;
    let engine = site.engine().await;
    site.add_backend("file", None).await;
    let volume = site.create_volume().await;
    site.work(&engine).await;
    let vdi = site.volume(volume).await.unwrap().vdi_uuid.unwrap();
    (site, engine, volume, vdi)
}

/// Adds a VDI that is like another, changed by a function.
fn add_like(site: &Site, vdi: Uuid, change: impl FnOnce(&mut Vdi)) -> Uuid {
    site.pool.change(|state| {
        let mut copy = state.vdis[&vdi].clone();
        change(&mut copy);
        let uuid = Uuid::new_v4();
        state.vdis.insert(uuid, copy);
        uuid
    })
}

/// A reconciler that looked while another process made the volume asks for it once more.
#[test]
fn a_volume_that_is_to_be_made_twice_keeps_what_it_has_on_sqlite() {
    on(Kind::Sqlite, |installation| async move {
        made_twice(&installation).await;
    });
}

#[test]
fn a_volume_that_is_to_be_made_twice_keeps_what_it_has_on_postgresql() {
    on(Kind::Postgresql, |installation| async move {
        made_twice(&installation).await;
    });
}

async fn made_twice(installation: &Arc<Installation>) {
    let (site, engine, volume, _) = with_a_volume(installation).await;
    let before = site.volume(volume).await.unwrap();
    let again = NewOperation {
        id: OperationId(Uuid::new_v4()),
        kind: OperationKind::CreateVolume,
        target: volume.to_string(),
        zone: site.zone.clone(),
        request_id: "req-reconcile".to_owned(),
        not_before_us: 1,
    };
    let asked = site
        .database()
        .write(move |tx| operations::insert(tx, &again, 1));
    assert!(asked.await.unwrap());
    site.work(&engine).await;
    assert_eq!(site.volume(volume).await.unwrap(), before);
}

async fn unexplained_vdis_stay(installation: &Arc<Installation>) {
    let (site, engine, volume, vdi) = with_a_volume(installation).await;
    // VDI.clone and VDI.copy take the marks along.
    let copy = add_like(&site, vdi, |_| {});
    // Made after the copy was taken that this database was restored from.
    let unknown = add_like(&site, vdi, |like| {
        like.spec.volume = VolumeId(Uuid::new_v4());
        like.spec.operation = OperationId(Uuid::new_v4());
    });
    // What a worker made whose lease another had taken over.
    let late = add_like(&site, vdi, |like| like.spec.generation -= 1);
    site.reconcile(&engine).await;
    site.reconcile(&engine).await;
    let left = site.pool.state().vdis;
    assert!(left.contains_key(&vdi), "the volume's own");
    assert!(left.contains_key(&copy), "a copy");
    assert!(left.contains_key(&unknown), "one that no record explains");
    assert!(!left.contains_key(&late), "a leftover");

    // VDI.pool_migrate: the marks have moved to a new VDI, and the old one is gone.
    site.pool.change(|state| state.vdis.remove(&vdi));
    site.reconcile(&engine).await;
    let left = site.pool.state().vdis;
    assert!(left.contains_key(&copy), "a migrated VDI of {volume}");
}

/// More VDIs than a pass takes, of which none can be destroyed, do not keep the one behind them for ever.
#[test]
fn a_retired_vdi_comes_to_its_turn_behind_many_that_are_in_use() {
    on(Kind::Sqlite, |installation| async move {
        let (site, engine, volume, vdi) = with_a_volume(&installation).await;
        site.attach(volume, json!({"host": "consumer"})).await;
        site.work(&engine).await;
        let retired: Vec<Uuid> = (0..101).map(|_| add_like(&site, vdi, |_| {})).collect();
        let (last, held) = retired.split_last().unwrap();
        site.pool.change(|state| {
            let attached = state.vbds.values().next().unwrap().clone();
            for vdi in held {
                let mut vbd = attached.clone();
                vbd.spec.vdi_uuid = *vdi;
                state.vbds.insert(Uuid::new_v4(), vbd);
            }
        });
        let (rows, zone) = (retired.clone(), site.zone.clone());
        site.database()
            .write(move |tx| {
                for (at, vdi) in rows.iter().enumerate() {
                    retired_vdis::insert(tx, *vdi, &zone, at as i64)?;
                }
                Ok(())
            })
            .await
            .unwrap();
        site.reconcile(&engine).await;
        site.reconcile(&engine).await;
        let left = site.pool.state().vdis;
        assert!(!left.contains_key(last), "the one that nobody uses");
        assert!(left.contains_key(&held[0]), "one that is in use");
    });
}

#[test]
fn only_srs_that_we_brought_into_the_pool_are_forgotten() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let engine = site.engine().await;
        let theirs = add_sr(&site, "file");
        let wrong = add_sr(&site, "nfs");
        let introduced = Uuid::new_v4();
        let mut added = Vec::new();
        for uuid in [Some(theirs), Some(wrong), Some(introduced), None] {
            let id = site.add_backend("file", uuid).await;
            site.connect(id).await;
            added.push(id);
        }
        site.work(&engine).await;
        let states: Vec<BackendState> = states(&site).await;
        let (good, bad) = (BackendState::Connected, BackendState::Unreachable);
        assert_eq!(states, [good, bad, good, good]);
        assert!(site.pool.state().srs[&theirs].mark.is_some());
        for id in added {
            remove(&site, id).await;
        }
        site.reconcile(&engine).await;
        let left = site.pool.state().srs;
        assert_eq!(left.len(), 2, "{left:?}");
        assert_eq!(left[&theirs].mark, None, "it was there before, and stays");
        assert!(left.contains_key(&wrong), "it never was ours");
    });
}

/// An SR of somebody's.
fn add_sr(site: &Site, sr_type: &str) -> Uuid {
    let uuid = Uuid::new_v4();
    let sr = Sr {
        sr_type: sr_type.to_owned(),
        mark: None,
        made_with: None,
        is_plugged: true,
        is_scanned: true,
    };
    site.pool.change(|state| state.srs.insert(uuid, sr));
    uuid
}

async fn states(site: &Site) -> Vec<BackendState> {
    let mut backends = site.backends().await;
    backends.sort_by_key(|backend| backend.id);
    backends.into_iter().map(|backend| backend.state).collect()
}

async fn remove(site: &Site, id: BackendId) {
    let removed = site.database().write(move |tx| backends::remove(tx, id, 0));
    assert!(removed.await.unwrap());
}

#[test]
fn every_end_of_an_operation_is_counted() {
    on(Kind::Sqlite, |installation| async move {
        let (made, failed) = (ended("succeeded"), ended("failed"));
        let (site, engine, _, _) = with_a_volume(&installation).await;
        assert!(ended("succeeded") > made);
        let broken = |state: &mut crate::fake_pool::State| state.broken_types.insert("file".into());
        site.pool.change(broken);
        site.create_volume().await;
        site.work(&engine).await;
        assert!(ended("failed") > failed);
    });
}

/// How many operations of making a volume `/metrics` says have ended so; other tests count too.
fn ended(outcome: &str) -> u64 {
    let name = format!("xensm_operations_total{{kind=\"create_volume\",outcome=\"{outcome}\"}} ");
    let text = metrics::global().encode();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().expect("a number"))
}
