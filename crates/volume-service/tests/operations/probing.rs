//! An SR that is on a medium already: never formatted, taken over where the medium can hold one only.

use uuid::Uuid;
use volume_service::model::backend::BackendState;

use super::installation::{Kind, Site, on};

const ON_IT: Uuid = Uuid::from_u128(7);

#[test]
fn a_medium_that_holds_an_sr_is_taken_over_and_never_formatted() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let engine = site.engine().await;
        site.pool.change(|state| {
            state.media.insert("/dev/one".to_owned(), vec![ON_IT]);
        });
        let backend = site
            .add_backend_with("lvm", None, &[("device", "/dev/one")])
            .await;
        site.connect(backend).await;
        site.work(&engine).await;
        let connected = site.backend(backend).await;
        assert_eq!(
            connected.state,
            BackendState::Connected,
            "{}",
            connected.failure
        );
        assert_eq!(connected.sr_uuid, Some(ON_IT));
        let state = site.pool.state();
        assert!(state.created_srs.is_empty());
        assert!(state.srs[&ON_IT].is_plugged && state.srs[&ON_IT].is_scanned);

        // A second backend on the same medium gets neither the SR nor a new one.
        let second = site
            .add_backend_with("lvm", None, &[("device", "/dev/one")])
            .await;
        site.connect(second).await;
        site.work(&engine).await;
        let refused = site.backend(second).await;
        assert_eq!(refused.state, BackendState::Unreachable);
        assert!(
            refused.failure.contains(&ON_IT.to_string()),
            "{}",
            refused.failure
        );
        assert!(site.pool.state().created_srs.is_empty());
    });
}

#[test]
fn several_srs_are_an_operators_choice_and_an_empty_medium_gets_one() {
    on(Kind::Sqlite, |installation| async move {
        let site = Site::new(&installation).await;
        let engine = site.engine().await;
        let other = Uuid::from_u128(8);
        site.pool.change(|state| {
            state
                .media
                .insert("/dev/two".to_owned(), vec![ON_IT, other]);
        });
        let device = ("device", "/dev/two");
        let undecided = site.add_backend_with("lvm", None, &[device]).await;
        site.connect(undecided).await;
        site.work(&engine).await;
        let refused = site.backend(undecided).await;
        assert_eq!(refused.state, BackendState::Unreachable);
        let both = [ON_IT, other].map(|uuid| uuid.to_string());
        assert!(
            both.iter().all(|uuid| refused.failure.contains(uuid)),
            "{}",
            refused.failure
        );
        assert!(refused.failure.contains("sr_uuid="), "{}", refused.failure);
        assert!(site.pool.state().created_srs.is_empty());

        let forced = site
            .add_backend_with("lvm", None, &[device, ("sr_uuid", "new")])
            .await;
        let empty = site
            .add_backend_with("ext", None, &[("device", "/dev/three")])
            .await;
        let beside = site.add_backend_with("nfs", None, &[device]).await;
        for backend in [forced, empty, beside] {
            site.connect(backend).await;
            site.work(&engine).await;
            let connected = site.backend(backend).await;
            assert_eq!(
                connected.state,
                BackendState::Connected,
                "{}",
                connected.failure
            );
        }
        assert_eq!(site.pool.state().created_srs.len(), 3);
    });
}
