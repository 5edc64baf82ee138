//! The health of volumes, on both databases.

use std::collections::BTreeMap;

use volume_service::app::volume_health::{self, EnableIo};
use volume_service::app::volumes::create;
use volume_service::db::backends::{self, NewBackend};
use volume_service::db::{operations, volumes};
use volume_service::error::ErrorKind;
use volume_service::model::backend::BackendState;

use crate::support::{flavor, on_each, requester, wanted, work_on_volumes};

#[test]
fn a_volume_is_as_well_as_its_storage() {
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        let (service, alice) = (&bench.service, requester("alice", "member"));
        let one = create(service, &alice, wanted("gold", 1)).await.unwrap();
        let other = create(service, &alice, wanted("gold", 1)).await.unwrap();
        work_on_volumes(&bench).await;
        let vault = service.vault.clone();
        let id = one.id;
        let backend = service
            .database
            .write(move |tx| {
                let new = NewBackend {
                    flavor_id: gold.id,
                    zone: "nova".to_owned(),
                    position: None,
                    sr_type: "nfs".to_owned(),
                    sr_uuid: None,
                    name_label: String::new(),
                    name_description: String::new(),
                    config: BTreeMap::new(),
                    secrets: BTreeMap::new(),
                };
                let backend = backends::insert(tx, &vault, &new, 7)?;
                volumes::place_on(tx, id, backend)?;
                Ok(backend)
            })
            .await
            .unwrap();
        volume_health::set_auto_enable_io(service, &alice, other.id, true)
            .await
            .unwrap();
        let healths = async || {
            let mut found = Vec::new();
            for id in [one.id, other.id] {
                found.push(
                    service
                        .database
                        .read(move |tx| volumes::get(tx, id))
                        .await
                        .unwrap(),
                );
            }
            let found = volume_health::of_volumes(service, &alice, found).await;
            let found = found.unwrap().into_iter();
            let told = found.map(|one| (one.stalled_since_us, one.ebs.auto_enable_io));
            told.collect::<Vec<_>>()
        };
        assert_eq!(healths().await, [(None, false), (None, true)]);
        let enable = async || volume_health::enable_io(service, &alice, one.id).await;
        assert_eq!(enable().await.unwrap(), EnableIo::Needless);
        let set = |state| {
            service.database.write(move |tx| {
                assert!(backends::set_state(tx, backend, state, "silence", 77)?);
                Ok(())
            })
        };
        set(BackendState::Unreachable).await.unwrap();
        assert_eq!(healths().await, [(Some(77), false), (None, true)]);
        assert_eq!(enable().await.unwrap(), EnableIo::Asked);
        assert_eq!(enable().await.unwrap(), EnableIo::Asked);
        let target = backend.to_string();
        let tries = service
            .database
            .read(move |tx| operations::of_target(tx, &target));
        assert_eq!(tries.await.unwrap().len(), 1);
        let bob = requester("bob", "member");
        let refused = volume_health::enable_io(service, &bob, one.id).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
        let refused = volume_health::set_auto_enable_io(service, &bob, other.id, false).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotFound);
        set(BackendState::Connected).await.unwrap();
        assert_eq!(healths().await, [(None, false), (None, true)]);
    });
}
