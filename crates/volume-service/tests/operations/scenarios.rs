//! What is asked of the workers: every kind of operation, and each way in which one ends in undo.

use serde_json::json;
use uuid::Uuid;
use volume_service::model::backend::BackendState;
use volume_service::model::id::{AttachmentId, BackendId, VolumeId};
use volume_service::model::volume::VolumeStatus;

use crate::fake_pool::State;
use crate::installation::Site;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A volume on a connected backend.
    Create,
    /// A volume on a backend that was never connected.
    CreateOnNewBackend,
    /// The first backend refuses, the second takes it.
    CreateOnSecond,
    /// Every backend refuses.
    CreateNowhere,
    /// A volume whose SR somebody unplugged.
    CreateOnUnplugged,
    /// A volume that is deleted while it is being made.
    CreateUnwanted,
    /// A volume with a VDI goes.
    Delete,
    /// A volume that was never placed goes.
    DeleteUnplaced,
    /// A backend whose SR is to be made.
    ConnectNew,
    /// A backend whose SR exists on the medium and not in the pool.
    ConnectKnown,
    /// A backend of a type that the pool does not have.
    ConnectUnknownType,
    /// A consumer on this machine.
    AttachNbd,
    /// A Xen host.
    AttachXenHost,
    /// A consumer, at a pool that serves Xen hosts only.
    AttachWithoutNbd,
    /// The end of an attachment.
    Detach,
}

impl Scenario {
    pub const ALL: [Scenario; 15] = [
        Scenario::Create,
        Scenario::CreateOnNewBackend,
        Scenario::CreateOnSecond,
        Scenario::CreateNowhere,
        Scenario::CreateOnUnplugged,
        Scenario::CreateUnwanted,
        Scenario::Delete,
        Scenario::DeleteUnplaced,
        Scenario::ConnectNew,
        Scenario::ConnectKnown,
        Scenario::ConnectUnknownType,
        Scenario::AttachNbd,
        Scenario::AttachXenHost,
        Scenario::AttachWithoutNbd,
        Scenario::Detach,
    ];
}

/// What a scenario is about.
#[derive(Clone, Debug, Default)]
pub struct Actors {
    pub volume: Option<VolumeId>,
    pub attachment: Option<AttachmentId>,
    pub backend: Option<BackendId>,
}

/// Brings a site to where the scenario begins, without faults, and asks for the scenario's operation.
pub async fn begin(site: &Site, scenario: Scenario) -> Actors {
    let engine = site.engine().await;
    let mut actors = Actors::default();
    match scenario {
        Scenario::Create | Scenario::CreateUnwanted => {
            connected(site).await;
            actors.volume = Some(site.create_volume().await);
        }
        Scenario::CreateOnNewBackend => {
            site.add_backend("file", None).await;
            actors.volume = Some(site.create_volume().await);
        }
        Scenario::CreateOnSecond | Scenario::CreateNowhere => {
            let second = if scenario == Scenario::CreateOnSecond {
                "file"
            } else {
                "broken"
            };
            for sr_type in ["broken", second] {
                let backend = site.add_backend(sr_type, None).await;
                site.connect(backend).await;
            }
            site.work(&engine).await;
            site.pool.change(|state: &mut State| {
                state.broken_types.insert("broken".to_owned());
            });
            actors.volume = Some(site.create_volume().await);
        }
        Scenario::CreateOnUnplugged => {
            connected(site).await;
            site.pool.change(|state| {
                for sr in state.srs.values_mut() {
                    sr.is_plugged = false;
                }
            });
            actors.volume = Some(site.create_volume().await);
        }
        Scenario::Delete => {
            let volume = available(site).await;
            assert!(site.delete_volume(volume).await);
            actors.volume = Some(volume);
        }
        Scenario::DeleteUnplaced => {
            let volume = site.create_volume().await;
            site.work(&engine).await;
            assert!(site.delete_volume(volume).await);
            actors.volume = Some(volume);
        }
        Scenario::ConnectNew | Scenario::ConnectKnown | Scenario::ConnectUnknownType => {
            let known = (scenario == Scenario::ConnectKnown).then(Uuid::new_v4);
            let sr_type = if scenario == Scenario::ConnectUnknownType {
                "unknown"
            } else {
                "nfs"
            };
            let backend = site.add_backend(sr_type, known).await;
            site.connect(backend).await;
            actors.backend = Some(backend);
        }
        Scenario::AttachNbd | Scenario::AttachXenHost | Scenario::AttachWithoutNbd => {
            let volume = available(site).await;
            site.pool.change(|state| {
                state.is_without_nbd = scenario == Scenario::AttachWithoutNbd;
            });
            let connector = if scenario == Scenario::AttachXenHost {
                json!({"host": "h", "protocols": ["xensm"]})
            } else {
                json!({"host": "h"})
            };
            actors.volume = Some(volume);
            actors.attachment = Some(site.attach(volume, connector).await);
        }
        Scenario::Detach => {
            let volume = available(site).await;
            let attachment = site.attach(volume, json!({"host": "h"})).await;
            site.work(&engine).await;
            site.detach(volume, attachment).await;
            actors.volume = Some(volume);
            actors.attachment = Some(attachment);
        }
    }
    if scenario == Scenario::CreateUnwanted {
        site.force_delete(actors.volume.unwrap()).await;
    }
    actors
}

async fn connected(site: &Site) -> BackendId {
    let engine = site.engine().await;
    let backend = site.add_backend("file", None).await;
    site.connect(backend).await;
    site.work(&engine).await;
    assert_eq!(site.backend(backend).await.state, BackendState::Connected);
    backend
}

async fn available(site: &Site) -> VolumeId {
    connected(site).await;
    let engine = site.engine().await;
    let volume = site.create_volume().await;
    site.work(&engine).await;
    let row = site.volume(volume).await.unwrap();
    assert_eq!(row.status, VolumeStatus::Available, "{}", row.failure);
    volume
}
