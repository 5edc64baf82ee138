//! VDIs that are not ours to destroy: those of a database that was restored from an old backup, and an operator's copies.

use uuid::Uuid;
use volume_service::model::id::{OperationId, VolumeId};

use super::installation::{Kind, Site, on};

#[test]
fn a_vdi_that_the_database_knows_nothing_of_is_left_alone() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let engine = site.engine().await;
        let backend = site.add_backend("file", None).await;
        site.connect(backend).await;
        site.work(&engine).await;
        site.create_volume().await;
        site.work(&engine).await;
        // The volume that was made after the backup: the same marks, another volume, an operation that no row tells of.
        let lost = Uuid::from_u128(7);
        site.pool.change(|state| {
            let mut vdi = state.vdis.values().next().expect("a VDI was made").clone();
            vdi.spec.volume = VolumeId(Uuid::from_u128(8));
            vdi.spec.operation = OperationId(Uuid::from_u128(9));
            state.vdis.insert(lost, vdi);
        });
        site.reconcile(&engine).await;
        site.reconcile(&engine).await;
        let left = site.pool.state().vdis;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.contains_key(&lost));
    });
}

#[test]
fn an_operators_copy_survives_the_deletion_of_its_volume() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let engine = site.engine().await;
        let backend = site.add_backend("file", None).await;
        site.connect(backend).await;
        site.work(&engine).await;
        let volume = site.create_volume().await;
        site.work(&engine).await;
        // A pool's copy has a uuid of its own, and the label and marks of what it was made from.
        let copy = Uuid::from_u128(7);
        site.pool.change(|state| {
            let vdi = state.vdis.values().next().expect("a VDI was made").clone();
            state.vdis.insert(copy, vdi);
        });
        assert!(site.delete_volume(volume).await);
        site.work(&engine).await;
        site.reconcile(&engine).await;
        site.reconcile(&engine).await;
        assert!(site.volume(volume).await.is_none());
        let left: Vec<Uuid> = site.pool.state().vdis.into_keys().collect();
        assert_eq!(left, [copy]);
    });
}
