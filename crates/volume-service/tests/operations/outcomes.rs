//! What must hold in the end, whatever happened on the way.

use std::collections::BTreeMap;

use volume_service::db::{attachments, volumes};
use volume_service::driver::VdiOwner;
use volume_service::model::attachment::AttachmentStatus;
use volume_service::model::backend::BackendState;
use volume_service::model::snapshot::SnapshotStatus;
use volume_service::model::volume::{Volume, VolumeStatus};

use crate::installation::Site;
use crate::scenarios::{Actors, NOW, Scenario, THEN};
use crate::{groups, instances};

/// Asserts that nothing is left over, nothing is doubled, and nothing is under way.
pub async fn assert_nothing_is_leaked(site: &Site, story: &str) {
    assert!(
        site.unfinished().await.is_empty(),
        "{story}: an operation is left"
    );
    groups::assert_settled(site, story).await;
    let (zone, mut volumes_left) = (site.zone.clone(), Vec::new());
    for status in VolumeStatus::ALL {
        let zone = zone.clone();
        let found = site
            .database()
            .read(move |tx| volumes::in_status(tx, &zone, status, 1000));
        volumes_left.extend(found.await.unwrap());
    }
    let state = site.pool.state();
    let mut owned = BTreeMap::new();
    for volume in &volumes_left {
        assert_settled(site, volume, story).await;
        if let Some(vdi) = volume.vdi_uuid {
            owned.insert(vdi, VdiOwner::Volume(volume.id));
            assert_eq!(volume.extending_to_gib, None, "{story}: {volume:?}");
            // A removal that failed half way may have taken the VDI already.
            let may_be_gone = volume.status == VolumeStatus::ErrorDeleting;
            let is_there = state.vdis.contains_key(&vdi);
            assert!(is_there || may_be_gone, "{story}: VDI {vdi} is lost");
        }
    }
    for snapshot in site.snapshots().await {
        let status = snapshot.status;
        assert!(!status.is_transitional(), "{story}: {snapshot:?} for ever");
        if let Some(vdi) = snapshot.vdi_uuid {
            owned.insert(vdi, VdiOwner::Snapshot(snapshot.id));
            let may_be_gone = status == SnapshotStatus::ErrorDeleting;
            let is_there = state.vdis.contains_key(&vdi);
            assert!(is_there || may_be_gone, "{story}: VDI {vdi} is lost");
        } else {
            assert_ne!(status, SnapshotStatus::Available, "{story}");
        }
    }
    for (uuid, vdi) in &state.vdis {
        let (owner, marked) = (owned.get(uuid).copied(), vdi.owner(*uuid));
        if vdi.is_released {
            assert_eq!(owner, None, "{story}: VDI {uuid} lost its marks: {vdi:?}");
            continue;
        }
        assert!(
            owner.is_some() && owner == marked,
            "{story}: VDI {uuid} is leaked: {vdi:?}, owner {owner:?}"
        );
        assert_eq!(vdi.making, None, "{story}: VDI {uuid} stays marked");
    }
    for (uuid, vbd) in &state.vbds {
        let row = site.attachment(vbd.spec.attachment).await;
        let is_owned = row.is_some_and(|row| {
            // An end that failed half way may have unplugged it already.
            let may_be_unplugged = row.status == AttachmentStatus::ErrorDetaching;
            let may_be_unplugged = may_be_unplugged || instances::is_off(&state, vbd);
            let kind = &row.connection_info["driver_volume_type"];
            (kind == "nbd" || kind == "xen_vbd") && (vbd.is_plugged || may_be_unplugged)
        });
        assert!(is_owned, "{story}: VBD {uuid} is leaked");
    }
    let backends = site.backends().await;
    for (uuid, sr) in &state.srs {
        let is_known = backends
            .iter()
            .any(|backend| backend.sr_uuid == Some(*uuid));
        assert!(is_known, "{story}: SR {uuid} ({:?}) is leaked", sr.mark);
    }
}

/// Asserts that no SR was made twice, not even for a while.
pub fn assert_each_sr_was_made_once(site: &Site, story: &str) {
    for (mark, created) in &site.pool.state().created_srs {
        assert_eq!(
            *created, 1,
            "{story}: the SR of {mark} was created {created} times"
        );
    }
}

async fn assert_settled(site: &Site, volume: &Volume, story: &str) {
    let id = volume.id;
    let found = site
        .database()
        .read(move |tx| attachments::of_volume(tx, id));
    let attachments = found.await.unwrap();
    match volume.status {
        VolumeStatus::Available => {
            assert!(volume.vdi_uuid.is_some(), "{story}: volume {id} has no VDI");
            assert!(
                attachments.is_empty(),
                "{story}: volume {id} has attachments"
            );
        }
        VolumeStatus::Error | VolumeStatus::ErrorManaging => {
            assert!(volume.vdi_uuid.is_none(), "{story}: volume {id}")
        }
        VolumeStatus::ErrorDeleting
        | VolumeStatus::InUse
        | VolumeStatus::AwaitingTransfer
        | VolumeStatus::Maintenance
        | VolumeStatus::ErrorExtending
        | VolumeStatus::ErrorBackingUp
        | VolumeStatus::ErrorRestoring => {}
        VolumeStatus::Attaching => {
            let is_connected = attachments.iter().any(|attachment| {
                attachment.status == AttachmentStatus::Attaching
                    && attachment
                        .connection_info
                        .get("driver_volume_type")
                        .is_some()
            });
            assert!(is_connected, "{story}: volume {id} is attaching for ever");
        }
        VolumeStatus::Reserved => {
            let has_failed = attachments
                .iter()
                .any(|attachment| attachment.status == AttachmentStatus::ErrorAttaching);
            assert!(has_failed, "{story}: volume {id} is reserved for nobody");
        }
        VolumeStatus::Creating
        | VolumeStatus::Deleting
        | VolumeStatus::Detaching
        | VolumeStatus::Extending
        | VolumeStatus::Reverting
        | VolumeStatus::Managing
        | VolumeStatus::Unmanaging
        | VolumeStatus::Retyping
        | VolumeStatus::BackingUp
        | VolumeStatus::RestoringBackup
        | VolumeStatus::Downloading
        | VolumeStatus::Uploading => {
            panic!(
                "{story}: volume {id} is {} for ever",
                volume.status.as_str()
            );
        }
    }
}

/// Asserts that the scenario ended as it does without faults.
pub async fn assert_ended_well(site: &Site, scenario: Scenario, actors: &Actors, story: &str) {
    let volume = match actors.volume {
        Some(id) => site.volume(id).await,
        None => None,
    };
    let attachment = match actors.attachment {
        Some(id) => site.attachment(id).await,
        None => None,
    };
    let status = volume.as_ref().map(|volume| volume.status);
    match scenario {
        Scenario::ManageVolume => {
            let volume = volume.unwrap();
            assert_eq!(
                status,
                Some(VolumeStatus::Available),
                "{story}: {}",
                volume.failure
            );
            assert_eq!(volume.size_gib, 3, "{story}");
            let vdi = volume.vdi_uuid.unwrap();
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), 1, "{story}");
            assert_eq!(state.vdis[&vdi].content, THEN, "{story}");
            assert!(
                state.vdis[&vdi]
                    .name_label(vdi)
                    .ends_with(&volume.id.to_string())
            );
        }
        Scenario::ManageNothing | Scenario::ManageTaken => {
            let volume = volume.unwrap();
            assert_eq!(status, Some(VolumeStatus::ErrorManaging), "{story}");
            let why = "invalid backend reference";
            assert!(volume.failure.contains(why), "{story}: {}", volume.failure);
            assert_eq!(
                (volume.vdi_uuid, volume.backend_id),
                (None, None),
                "{story}"
            );
            assert_eq!(site.pool.state().vdis.len(), 1, "{story}");
        }
        Scenario::UnmanageVolume => {
            assert!(volume.is_none(), "{story}: {volume:?}");
            let state = site.pool.state();
            let (uuid, vdi) = state.vdis.iter().next().unwrap();
            assert!(vdi.is_released, "{story}");
            assert_eq!(
                vdi.name_label(*uuid),
                format!("vol-{}", actors.volume.unwrap()),
                "{story}"
            );
        }
        Scenario::ManageSnapshot => {
            let snapshot = site.snapshot(actors.snapshot.unwrap()).await.unwrap();
            let why = &snapshot.failure;
            assert_eq!(snapshot.status, SnapshotStatus::Available, "{story}: {why}");
            let vdi = snapshot.vdi_uuid.unwrap();
            assert_eq!(site.pool.state().vdis[&vdi].content, THEN, "{story}");
        }
        Scenario::UnmanageSnapshot => {
            assert!(
                site.snapshot(actors.snapshot.unwrap()).await.is_none(),
                "{story}"
            );
            let released = site
                .pool
                .state()
                .vdis
                .values()
                .filter(|vdi| vdi.is_released)
                .count();
            assert_eq!(released, 1, "{story}");
        }
        Scenario::Create
        | Scenario::CreateOnNewBackend
        | Scenario::CreateOnSecond
        | Scenario::CreateOnUnplugged => {
            let volume = volume.unwrap();
            assert_eq!(
                status,
                Some(VolumeStatus::Available),
                "{story}: {}",
                volume.failure
            );
            let backend = site.backend(volume.backend_id.unwrap()).await;
            assert_eq!(backend.sr_type, "file", "{story}");
        }
        Scenario::CreateNowhere => {
            let volume = volume.unwrap();
            assert_eq!(status, Some(VolumeStatus::Error), "{story}");
            let reasons = volume.failure.matches("the storage reported an error");
            assert_eq!(reasons.count(), 2, "{story}: {}", volume.failure);
        }
        Scenario::CreateUnwanted | Scenario::Delete | Scenario::DeleteUnplaced => {
            assert!(volume.is_none(), "{story}: {volume:?}");
        }
        Scenario::ConnectNew | Scenario::ConnectKnown => {
            let backend = site.backend(actors.backend.unwrap()).await;
            assert_eq!(
                backend.state,
                BackendState::Connected,
                "{story}: {}",
                backend.failure
            );
            assert!(backend.physical_size.is_some(), "{story}");
            let state = site.pool.state();
            let sr = &state.srs[&backend.sr_uuid.unwrap()];
            assert!(sr.is_plugged && sr.is_scanned, "{story}");
        }
        Scenario::ConnectUnknownType => {
            let backend = site.backend(actors.backend.unwrap()).await;
            assert_eq!(backend.state, BackendState::Unreachable, "{story}");
            let text = "this storage manager does not have SR type unknown yet";
            assert!(
                backend.failure.contains(text),
                "{story}: {}",
                backend.failure
            );
            assert!(!backend.failure.contains("hidden"), "{story}");
        }
        Scenario::AttachNbd | Scenario::AttachXenHost => {
            let info = attachment.unwrap().connection_info;
            let expected = if scenario == Scenario::AttachNbd {
                "nbd"
            } else {
                "xensm"
            };
            assert_eq!(info["driver_volume_type"], expected, "{story}: {info}");
            assert!(!info.to_string().contains("hidden"), "{story}: {info}");
            assert_eq!(status, Some(VolumeStatus::Attaching), "{story}");
        }
        Scenario::AttachWithoutNbd => {
            let attachment = attachment.unwrap();
            assert_eq!(
                attachment.status,
                AttachmentStatus::ErrorAttaching,
                "{story}"
            );
            let text = "this pool serves volumes to Xen hosts only";
            assert_eq!(attachment.failure, text, "{story}");
        }
        Scenario::Detach => {
            assert!(attachment.is_none(), "{story}");
            assert_eq!(status, Some(VolumeStatus::Available), "{story}");
        }
        Scenario::GroupSnapshot
        | Scenario::GroupSnapshotRefused
        | Scenario::DeleteGroupSnapshot
        | Scenario::GroupFromSnapshot
        | Scenario::DeleteGroup => {
            groups::assert_ended_well(site, scenario, actors, story).await;
        }
        Scenario::AttachVm
        | Scenario::AttachVmOff
        | Scenario::AttachVmOutOfReach
        | Scenario::AttachDomain
        | Scenario::DetachVm => {
            instances::assert_ended_well(site, scenario, actors, story).await;
        }
        _ => assert_content_ended_well(site, scenario, actors, story).await,
    }
}

/// What a volume's VDI holds, and how large it is.
async fn holds(site: &Site, volume: &Volume, story: &str) -> (u64, u64) {
    let state = site.pool.state();
    let uuid = volume.vdi_uuid.expect("a VDI");
    let vdi = &state.vdis[&uuid];
    assert!(!vdi.is_a_snapshot, "{story}");
    assert_eq!(vdi.size_bytes, volume.size_gib << 30, "{story}");
    (vdi.content, volume.size_gib)
}

async fn assert_content_ended_well(site: &Site, scenario: Scenario, actors: &Actors, story: &str) {
    let volume = site.volume(actors.volume.unwrap()).await;
    let snapshot = match actors.snapshot {
        Some(id) => site.snapshot(id).await,
        None => None,
    };
    let status = volume.as_ref().map(|volume| volume.status);
    let is_available = status == Some(VolumeStatus::Available);
    let is_in_use = status == Some(VolumeStatus::InUse);
    match scenario {
        Scenario::Snapshot | Scenario::SnapshotInUse => {
            assert!(is_available || is_in_use, "{story}: {status:?}");
            let snapshot = snapshot.unwrap();
            let why = &snapshot.failure;
            assert_eq!(snapshot.status, SnapshotStatus::Available, "{story}: {why}");
            let state = site.pool.state();
            let vdi = &state.vdis[&snapshot.vdi_uuid.unwrap()];
            assert!(vdi.is_a_snapshot && vdi.content == THEN, "{story}: {vdi:?}");
        }
        Scenario::SnapshotTooDeep => {
            let snapshot = snapshot.unwrap();
            assert_eq!(snapshot.status, SnapshotStatus::Error, "{story}");
            // Another trouble may have ended the last try.
            let is_told = snapshot.failure.ends_with("; given up after 60 tries");
            assert!(is_told, "{story}: {}", snapshot.failure);
        }
        Scenario::SnapshotsTogether => {
            assert!(is_in_use, "{story}");
            let kept = snapshot.unwrap();
            let why = &kept.failure;
            assert_eq!(kept.status, SnapshotStatus::Available, "{story}: {why}");
            assert_eq!(site.snapshots().await.len(), 1, "{story}: the other went");
            let state = site.pool.state();
            let vdi = &state.vdis[&kept.vdi_uuid.unwrap()];
            assert!(vdi.is_a_snapshot && vdi.content == THEN, "{story}: {vdi:?}");
            assert_eq!(state.vdis.len(), 3, "{story}: two volumes and one snapshot");
        }
        Scenario::CopySnapshot => {
            let copy = snapshot.unwrap();
            let why = &copy.failure;
            assert_eq!(copy.status, SnapshotStatus::Available, "{story}: {why}");
            assert!(copy.traits.ebs.completed_at_us.is_some(), "{story}");
            let state = site.pool.state();
            let vdi = &state.vdis[&copy.vdi_uuid.unwrap()];
            assert!(!vdi.is_a_snapshot, "{story}: {vdi:?}");
            assert_eq!(vdi.content, THEN, "{story}: {vdi:?}");
            assert_eq!(state.vdis.len(), 3, "{story}: volume, snapshot, copy");
        }
        Scenario::CopyUnwanted => {
            assert!(snapshot.is_none(), "{story}: {snapshot:?}");
            let state = site.pool.state();
            assert_eq!(state.vdis.len(), 2, "{story}: volume and snapshot");
        }
        Scenario::SnapshotUnwanted | Scenario::DeleteSnapshot => {
            assert!(snapshot.is_none(), "{story}: {snapshot:?}");
            assert!(is_available, "{story}");
        }
        Scenario::DeleteWithSnapshots => {
            assert!(volume.is_none() && snapshot.is_none(), "{story}");
        }
        Scenario::FromSnapshot
        | Scenario::FromSnapshotLarger
        | Scenario::FromSnapshotElsewhere
        | Scenario::FromVolume
        | Scenario::FromVolumeElsewhere => {
            let volume = volume.unwrap();
            assert!(is_available, "{story}: {}", volume.failure);
            let larger = scenario == Scenario::FromSnapshotLarger;
            let expected = (THEN, if larger { 5 } else { 1 });
            assert_eq!(holds(site, &volume, story).await, expected, "{story}");
            let source = site.volume(actors.source.unwrap()).await.unwrap();
            let is_elsewhere = matches!(
                scenario,
                Scenario::FromSnapshotElsewhere | Scenario::FromVolumeElsewhere
            );
            assert_eq!(source.backend_id != volume.backend_id, is_elsewhere);
        }
        Scenario::Extend | Scenario::ExtendInUse => {
            let volume = volume.unwrap();
            assert!(is_available || is_in_use, "{story}: {}", volume.failure);
            assert_eq!(holds(site, &volume, story).await, (THEN, 3), "{story}");
        }
        Scenario::ExtendInUseRefused => {
            let volume = volume.unwrap();
            assert!(is_in_use, "{story}");
            assert_eq!(volume.failure, "the storage cannot do this", "{story}");
            assert_eq!(holds(site, &volume, story).await, (THEN, 1), "{story}");
        }
        Scenario::Revert | Scenario::RevertLarger => {
            let volume = volume.unwrap();
            assert!(is_available, "{story}: {}", volume.failure);
            let larger = scenario == Scenario::RevertLarger;
            let expected = (THEN, if larger { 2 } else { 1 });
            assert_eq!(holds(site, &volume, story).await, expected, "{story}");
            assert_ne!(THEN, NOW);
            assert_eq!(snapshot.unwrap().status, SnapshotStatus::Available);
        }
        other => panic!("{other:?} ends elsewhere"),
    }
}
