//! A database that was restored from an old backup does not know the newest volumes; their VDIs must survive that.

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
