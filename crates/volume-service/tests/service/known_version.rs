//! The version of what processes keep is another one with each change of it, and with no other.

use std::collections::BTreeMap;

use volume_service::ErrorKind;
use volume_service::db::backends::{self, NewBackend, Space};
use volume_service::db::known_version;
use volume_service::model::backend::BackendState;
use volume_service::model::flavor::Flavor;

use crate::support::{flavor, on_each};

/// Whatever a request may go by is of another version when it is changed, by whatever statement.
#[test]
fn each_change_of_what_is_kept_makes_another_version() {
    const CHANGES: [&str; 19] = [
        "UPDATE flavors SET description = 'changed'",
        "INSERT INTO flavor_traits (flavor_id, is_public, updated_at_us) SELECT id, 0, 1 FROM flavors",
        "UPDATE flavor_traits SET is_public = 1",
        "INSERT INTO flavor_specs (flavor_id, name, value) SELECT id, 'a', 'b' FROM flavors",
        "UPDATE flavor_specs SET value = 'c'",
        "INSERT INTO flavor_access (flavor_id, project_id) SELECT id, 'alice' FROM flavors",
        "INSERT INTO default_flavors (project_id, flavor_id) SELECT 'alice', id FROM flavors",
        "DELETE FROM default_flavors",
        "INSERT INTO backend_capabilities (backend_id, capabilities) SELECT id, '{}' FROM backends",
        "UPDATE backend_capabilities SET capabilities = '{\"a\":\"b\"}'",
        "DELETE FROM backend_capabilities",
        "UPDATE backends SET enabled = 0",
        "DELETE FROM backends",
        "INSERT INTO service_states (binary_name, host, disabled, reason, frozen, modified_at_us) VALUES ('a', 'b', 1, '', 0, 1)",
        "UPDATE service_states SET frozen = 1",
        "INSERT INTO quota_limits (project_id, resource, hard_limit) VALUES ('alice', 'volumes', 1)",
        "DELETE FROM quota_limits",
        "INSERT INTO quota_class_limits (class, resource, hard_limit) VALUES ('default', 'volumes', 1)",
        "DELETE FROM flavors",
    ];
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        let new = backend_of(&gold);
        let (database, vault) = (bench.service.database.clone(), bench.service.vault.clone());
        let added = database.write(move |tx| backends::insert(tx, &vault, &new, 1));
        added.await.unwrap();
        let mut before = database.read(known_version::get).await.unwrap();
        for change in CHANGES {
            let touched = database.write(move |tx| tx.execute(change, &[]));
            assert_eq!(touched.await.unwrap(), 1, "{change}");
            let after = database.read(known_version::get).await.unwrap();
            assert!(after > before, "{change}");
            before = after;
        }
        if !bench.url.starts_with("sqlite:") {
            let emptied = database.write(|tx| tx.execute("TRUNCATE quota_class_limits", &[]));
            emptied.await.unwrap();
            let after = database.read(known_version::get).await.unwrap();
            assert!(after > before, "all at once");
        }
        let lost = database.write(|tx| tx.execute("DELETE FROM known_version", &[]));
        assert_eq!(lost.await.unwrap(), 1);
        let refused = database.read(known_version::get).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Internal, "{refused}");
    });
}

/// What reconcilers write all the time would otherwise empty what is kept, and hold its version's row.
#[test]
fn the_room_of_a_backend_has_no_version() {
    on_each(|bench| async move {
        let gold = flavor(&bench, "gold").await;
        let (database, vault) = (bench.service.database.clone(), bench.service.vault.clone());
        let new = backend_of(&gold);
        let added = database.write(move |tx| backends::insert(tx, &vault, &new, 1));
        let id = added.await.unwrap();
        let before = database.read(known_version::get).await.unwrap();
        for used in 0..3 {
            let space = Space {
                physical_size: 10,
                physical_utilisation: used,
                virtual_allocation: used,
            };
            let set = database.write(move |tx| backends::set_space(tx, id, space, 2));
            assert!(set.await.unwrap());
        }
        let after = database.read(known_version::get).await.unwrap();
        assert_eq!(after, before);
        let lost = BackendState::Unreachable;
        let set = database.write(move |tx| backends::set_state(tx, id, lost, "gone", 3));
        assert!(set.await.unwrap());
        let after = database.read(known_version::get).await.unwrap();
        assert_ne!(after, before);
    });
}

fn backend_of(flavor: &Flavor) -> NewBackend {
    NewBackend {
        flavor_id: flavor.id,
        zone: "nova".to_owned(),
        position: None,
        sr_type: "file".to_owned(),
        sr_uuid: None,
        name_label: String::new(),
        name_description: String::new(),
        config: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}
