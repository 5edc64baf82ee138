//! What is asked of the workers: every kind of operation, and each way in which one ends in undo.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;
use volume_service::app;
use volume_service::app::adoption::{self, ManageSnapshot, ManageVolume};
use volume_service::app::copy_snapshot::{self, CopySnapshot};
use volume_service::app::snapshots::{DeleteMode as DeleteSnapshot, InUse};
use volume_service::app::volumes::{DeleteMode, VolumeSource};
use volume_service::db::backends;
use volume_service::model::adoption::Reference;
use volume_service::model::backend::{BackendState, BackendUse};
use volume_service::model::id::{
    AttachmentId, BackendId, GroupId, GroupSnapshotId, SnapshotId, VolumeId,
};
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
    /// A snapshot of a volume.
    Snapshot,
    /// A snapshot of a volume that is in use.
    SnapshotInUse,
    /// A snapshot that the storage has no room in its chain for.
    SnapshotTooDeep,
    /// A snapshot that is deleted while it is being taken.
    SnapshotUnwanted,
    /// Snapshots of the volumes of an instance, at one moment, of which one is deleted while it is being taken.
    SnapshotsTogether,
    /// A copy of a snapshot.
    CopySnapshot,
    /// A copy that is deleted while it is being made.
    CopyUnwanted,
    /// A snapshot goes.
    DeleteSnapshot,
    /// A volume from a snapshot.
    FromSnapshot,
    /// A volume from a snapshot, and larger.
    FromSnapshotLarger,
    /// A volume from a snapshot, on another backend.
    FromSnapshotElsewhere,
    /// A volume from a volume that is in use.
    FromVolume,
    /// A volume from a volume that is in use, on another backend.
    FromVolumeElsewhere,
    /// A volume goes with its snapshots.
    DeleteWithSnapshots,
    /// A volume becomes larger.
    Extend,
    /// A volume becomes larger while it is in use.
    ExtendInUse,
    /// The same, at a pool that cannot do that.
    ExtendInUseRefused,
    /// A volume goes back to its snapshot.
    Revert,
    /// A volume that was extended since goes back to its snapshot.
    RevertLarger,
    /// A VDI that is there becomes a volume.
    ManageVolume,
    /// A VDI that is not there should.
    ManageNothing,
    /// A VDI that is a volume's should become another one.
    ManageTaken,
    /// A volume goes and its VDI stays.
    UnmanageVolume,
    /// A VDI that is there becomes a snapshot.
    ManageSnapshot,
    /// A snapshot goes and its VDI stays.
    UnmanageSnapshot,
    /// The snapshots of a group, at one moment.
    GroupSnapshot,
    /// The same, promised where a pool cannot keep a moment.
    GroupSnapshotRefused,
    /// The snapshots of a group go.
    DeleteGroupSnapshot,
    /// A group from the snapshots of another one.
    GroupFromSnapshot,
    /// A group goes with its volumes.
    DeleteGroup,
    /// A virtual machine that runs.
    AttachVm,
    /// A virtual machine that is off.
    AttachVmOff,
    /// A virtual machine whose host does not reach the storage.
    AttachVmOutOfReach,
    /// The control domain as an instance.
    AttachDomain,
    /// The end of an attachment to a virtual machine.
    DetachVm,
}

impl Scenario {
    pub const ALL: [Scenario; 50] = [
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
        Scenario::Snapshot,
        Scenario::SnapshotInUse,
        Scenario::SnapshotTooDeep,
        Scenario::SnapshotUnwanted,
        Scenario::SnapshotsTogether,
        Scenario::CopySnapshot,
        Scenario::CopyUnwanted,
        Scenario::DeleteSnapshot,
        Scenario::FromSnapshot,
        Scenario::FromSnapshotLarger,
        Scenario::FromSnapshotElsewhere,
        Scenario::FromVolume,
        Scenario::FromVolumeElsewhere,
        Scenario::DeleteWithSnapshots,
        Scenario::Extend,
        Scenario::ExtendInUse,
        Scenario::ExtendInUseRefused,
        Scenario::Revert,
        Scenario::RevertLarger,
        Scenario::ManageVolume,
        Scenario::ManageNothing,
        Scenario::ManageTaken,
        Scenario::UnmanageVolume,
        Scenario::ManageSnapshot,
        Scenario::UnmanageSnapshot,
        Scenario::GroupSnapshot,
        Scenario::GroupSnapshotRefused,
        Scenario::DeleteGroupSnapshot,
        Scenario::GroupFromSnapshot,
        Scenario::DeleteGroup,
        Scenario::AttachVm,
        Scenario::AttachVmOff,
        Scenario::AttachVmOutOfReach,
        Scenario::AttachDomain,
        Scenario::DetachVm,
    ];
}

impl Scenario {
    /// Those of a run: all, or those that `XENSM_SCENARIOS` names, with commas between them.
    pub fn chosen() -> Vec<Scenario> {
        let chosen = std::env::var("XENSM_SCENARIOS").unwrap_or_default();
        let is_chosen = |scenario: &Scenario| {
            let name = format!("{scenario:?}");
            chosen.is_empty() || chosen.split(',').any(|one| one == name)
        };
        let found: Vec<Scenario> = Scenario::ALL.into_iter().filter(is_chosen).collect();
        assert!(!found.is_empty(), "XENSM_SCENARIOS={chosen} names none");
        found
    }
}

/// What a scenario is about.
#[derive(Clone, Debug, Default)]
pub struct Actors {
    pub volume: Option<VolumeId>,
    pub attachment: Option<AttachmentId>,
    pub backend: Option<BackendId>,
    pub snapshot: Option<SnapshotId>,
    /// The volume that another one is made from.
    pub source: Option<VolumeId>,
    /// The group that it is about in the end.
    pub group: Option<GroupId>,
    pub group_snapshot: Option<GroupSnapshotId>,
}

/// What a volume holds when a snapshot of it is taken.
pub const THEN: u64 = 7;
/// What it holds afterwards.
pub const NOW: u64 = 8;

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
        Scenario::GroupSnapshot
        | Scenario::GroupSnapshotRefused
        | Scenario::DeleteGroupSnapshot
        | Scenario::GroupFromSnapshot
        | Scenario::DeleteGroup => crate::groups::begin(site, scenario, &mut actors).await,
        Scenario::AttachVm
        | Scenario::AttachVmOff
        | Scenario::AttachVmOutOfReach
        | Scenario::AttachDomain
        | Scenario::DetachVm => crate::instances::begin(site, scenario, &mut actors).await,
        _ => begin_content(site, scenario, &mut actors).await,
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

/// A volume on a connected backend.
pub async fn available(site: &Site) -> VolumeId {
    connected(site).await;
    let engine = site.engine().await;
    let volume = site.create_volume().await;
    site.work(&engine).await;
    let row = site.volume(volume).await.unwrap();
    assert_eq!(row.status, VolumeStatus::Available, "{}", row.failure);
    volume
}

/// The scenarios of what has content.
async fn begin_content(site: &Site, scenario: Scenario, actors: &mut Actors) {
    let volume = available(site).await;
    write(site, volume, THEN).await;
    actors.volume = Some(volume);
    let (service, requester) = (site.service(), site.requester());
    let is_in_use = matches!(
        scenario,
        Scenario::SnapshotInUse
            | Scenario::FromVolume
            | Scenario::FromVolumeElsewhere
            | Scenario::ExtendInUse
            | Scenario::ExtendInUseRefused
    );
    if is_in_use {
        actors.attachment = Some(used(site, volume).await);
    }
    match scenario {
        Scenario::Snapshot
        | Scenario::SnapshotInUse
        | Scenario::SnapshotTooDeep
        | Scenario::SnapshotUnwanted => {
            site.pool.change(|state| {
                if scenario == Scenario::SnapshotTooDeep {
                    state.deep_types.insert("file".to_owned());
                }
            });
            let snapshot = site.create_snapshot(volume).await.unwrap();
            if scenario == Scenario::SnapshotUnwanted {
                site.force_delete_snapshot(snapshot).await;
            }
            actors.snapshot = Some(snapshot);
        }
        Scenario::DeleteSnapshot => {
            let snapshot = taken(site, volume).await;
            let mode = DeleteSnapshot::Normal;
            let asked = app::snapshots::delete(service, &requester, snapshot, mode).await;
            asked.unwrap();
            actors.snapshot = Some(snapshot);
        }
        Scenario::SnapshotsTogether => {
            let (kept, _) = crate::together::ask(site, volume).await;
            actors.snapshot = Some(kept);
        }
        Scenario::CopySnapshot | Scenario::CopyUnwanted => {
            let source = site.snapshot(taken(site, volume).await).await.unwrap();
            let wanted = CopySnapshot {
                source_ec2_id: Some(source.ec2_id),
                description: String::new(),
                metadata: BTreeMap::new(),
                completion_minutes: None,
            };
            let copy = copy_snapshot::copy(service, &requester, wanted).await;
            let copy = copy.unwrap().id;
            if scenario == Scenario::CopyUnwanted {
                let mode = DeleteSnapshot::EvenPending;
                let asked = app::snapshots::delete(service, &requester, copy, mode).await;
                asked.unwrap();
            }
            actors.snapshot = Some(copy);
        }
        Scenario::FromSnapshot
        | Scenario::FromSnapshotLarger
        | Scenario::FromSnapshotElsewhere
        | Scenario::FromVolume
        | Scenario::FromVolumeElsewhere => from_content(site, scenario, volume, actors).await,
        Scenario::DeleteWithSnapshots => {
            taken(site, volume).await;
            actors.snapshot = Some(taken(site, volume).await);
            let mode = DeleteMode::Cascade;
            let asked = app::volumes::delete(service, &requester, volume, mode).await;
            asked.unwrap();
        }
        Scenario::Extend | Scenario::ExtendInUse | Scenario::ExtendInUseRefused => {
            site.pool.change(|state| {
                state.is_without_online_resize = scenario == Scenario::ExtendInUseRefused;
            });
            let asked = app::volumes::extend(service, &requester, volume, 3, InUse::Allow).await;
            assert_eq!(asked.unwrap().extending_to_gib, Some(3));
        }
        Scenario::Revert | Scenario::RevertLarger => {
            let snapshot = taken(site, volume).await;
            if scenario == Scenario::RevertLarger {
                let in_use = InUse::Refuse;
                let asked = app::volumes::extend(service, &requester, volume, 2, in_use).await;
                asked.unwrap();
                site.work(&site.engine().await).await;
            }
            let asked = app::volumes::revert(service, &requester, volume, snapshot).await;
            asked.unwrap();
            actors.snapshot = Some(snapshot);
        }
        Scenario::ManageVolume
        | Scenario::ManageNothing
        | Scenario::ManageTaken
        | Scenario::UnmanageVolume
        | Scenario::ManageSnapshot
        | Scenario::UnmanageSnapshot => adopt(site, scenario, volume, actors).await,
        other => panic!("{other:?} begins elsewhere"),
    }
}

async fn from_content(site: &Site, scenario: Scenario, volume: VolumeId, actors: &mut Actors) {
    let is_from_volume = matches!(
        scenario,
        Scenario::FromVolume | Scenario::FromVolumeElsewhere
    );
    let source = if is_from_volume {
        VolumeSource::Volume(volume)
    } else {
        let snapshot = taken(site, volume).await;
        actors.snapshot = Some(snapshot);
        VolumeSource::Snapshot(snapshot)
    };
    if matches!(
        scenario,
        Scenario::FromSnapshotElsewhere | Scenario::FromVolumeElsewhere
    ) {
        let first = site.volume(volume).await.unwrap().backend_id.unwrap();
        let second = site.add_backend("nfs", None).await;
        site.connect(second).await;
        site.work(&site.engine().await).await;
        let disabled = site
            .database()
            .write(move |tx| backends::set_use(tx, first, BackendUse::Disabled));
        assert!(disabled.await.unwrap());
    }
    let size_gib = match scenario {
        Scenario::FromSnapshotLarger => 5,
        _ => 0,
    };
    actors.source = Some(volume);
    actors.volume = Some(site.create_from(source, size_gib).await.unwrap());
}

/// Changes what a volume holds.
pub async fn write(site: &Site, volume: VolumeId, content: u64) {
    let vdi = site.volume(volume).await.unwrap().vdi_uuid.unwrap();
    site.pool.change(|state| {
        state.vdis.get_mut(&vdi).unwrap().content = content;
    });
}

/// A snapshot that is there, of a volume that has changed since.
async fn taken(site: &Site, volume: VolumeId) -> SnapshotId {
    let snapshot = site.create_snapshot(volume).await.unwrap();
    site.work(&site.engine().await).await;
    write(site, volume, NOW).await;
    snapshot
}

/// Attaches a volume for good.
pub async fn used(site: &Site, volume: VolumeId) -> AttachmentId {
    let attachment = site.attach(volume, json!({"host": "h"})).await;
    site.work(&site.engine().await).await;
    let completed = app::attachments::complete(site.service(), &site.requester(), attachment).await;
    completed.unwrap();
    attachment
}

/// The scenarios of VDIs that were not made here, or are not to go with what they were made for.
async fn adopt(site: &Site, scenario: Scenario, volume: VolumeId, actors: &mut Actors) {
    let (service, requester) = (site.service(), site.requester());
    let row = site.volume(volume).await.unwrap();
    let wanted = |reference| ManageVolume {
        host: format!("xensm@{}#backend-{}", site.zone, row.backend_id.unwrap()),
        reference: Some(reference),
        name: "adopted".to_owned(),
        description: String::new(),
        flavor: Some(site.flavor.label.clone()),
        zone: None,
        metadata: BTreeMap::new(),
        bootable: false,
    };
    match scenario {
        Scenario::UnmanageVolume => {
            let asked = adoption::unmanage_volume(service, &requester, volume).await;
            asked.unwrap();
        }
        Scenario::ManageVolume => {
            let asked = adoption::unmanage_volume(service, &requester, volume).await;
            asked.unwrap();
            site.work(&site.engine().await).await;
            // As somebody else would have made it: not a round number of GiB.
            site.pool.change(|state| {
                state.vdis.values_mut().next().unwrap().size_bytes = (2 << 30) + 1;
            });
            let name = Reference::Name(format!("vol-{volume}"));
            let asked = adoption::manage_volume(service, &requester, wanted(name)).await;
            actors.volume = Some(asked.unwrap().id);
        }
        Scenario::ManageNothing | Scenario::ManageTaken => {
            let vdi = match scenario {
                Scenario::ManageTaken => row.vdi_uuid.unwrap(),
                _ => Uuid::new_v4(),
            };
            let reference = Reference::Uuid(vdi);
            let asked = adoption::manage_volume(service, &requester, wanted(reference)).await;
            actors.volume = Some(asked.unwrap().id);
        }
        _ => {
            let snapshot = taken(site, volume).await;
            let asked = adoption::unmanage_snapshot(service, &requester, snapshot).await;
            asked.unwrap();
            actors.snapshot = Some(snapshot);
            if scenario == Scenario::ManageSnapshot {
                site.work(&site.engine().await).await;
                let wanted = ManageSnapshot {
                    volume_id: volume,
                    reference: Some(Reference::Name(format!("snap-{snapshot}"))),
                    name: String::new(),
                    description: String::new(),
                    metadata: BTreeMap::new(),
                };
                let asked = adoption::manage_snapshot(service, &requester, wanted).await;
                actors.snapshot = Some(asked.unwrap().id);
            }
        }
    }
}
