//! Volumes in instances: virtual machines and control domains.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use volume_service::app;
use volume_service::app::instance_attachments::{self, Attach, Detach, Refusal};
use volume_service::db::{attachments, instances, volume_traits};
use volume_service::driver::VbdTarget;
use volume_service::model::attachment::{Attachment, AttachmentStatus};
use volume_service::model::id::{AttachmentId, InstanceId, VolumeId};
use volume_service::model::instance::{Instance, PowerState};
use volume_service::model::volume::VolumeStatus;
use volume_service::operation::Engine;
use volume_service::reconcile::{self, FORGOTTEN_AFTER_US, VBD_GRACE_US};

use crate::fake_pool::{State, Vbd, Vm};
use crate::installation::{Installation, Kind, Site, on};
use crate::scenarios::{Actors, Scenario, available};

/// Longest wait for a request that waits for a worker.
const PATIENCE: Duration = Duration::from_secs(180);
/// The device that volumes are attached as, and its position.
const DEVICE: &str = "/dev/sdf";
const POSITION: u32 = 5;

/// Adds a VM that the requester's project may see.
fn add_vm(site: &Site, change: impl FnOnce(&mut Vm)) -> InstanceId {
    let mut vm = Vm {
        power_state: PowerState::Running,
        is_control_domain: false,
        projects: vec!["p".to_owned()],
        reaches_srs: true,
        lets_go: true,
    };
    change(&mut vm);
    let uuid = Uuid::new_v4();
    site.pool.change(|state| state.vms.insert(uuid, vm));
    InstanceId(uuid)
}

async fn attach(site: &Site, volume_id: VolumeId, instance_id: InstanceId) -> Attachment {
    asked(site, volume_id, instance_id, DEVICE).await.unwrap()
}

async fn asked(
    site: &Site,
    volume_id: VolumeId,
    instance_id: InstanceId,
    device: &str,
) -> Result<Attachment, Refusal> {
    let wanted = Attach {
        volume_id,
        instance_id,
        device: device.to_owned(),
    };
    let attached = instance_attachments::attach(site.service(), &site.requester(), wanted).await;
    attached.unwrap()
}

async fn detach(site: &Site, volume_id: VolumeId, is_forced: bool) -> Result<Attachment, Refusal> {
    let wanted = Detach {
        volume_id,
        instance: None,
        device: None,
        is_forced,
    };
    let detached = instance_attachments::detach(site.service(), &site.requester(), wanted).await;
    detached.unwrap()
}

/// Brings a site to where a scenario begins, and asks for its operation.
pub async fn begin(site: &Site, scenario: Scenario, actors: &mut Actors) {
    let volume = available(site).await;
    let engine = site.engine().await;
    let vm = add_vm(site, |vm| match scenario {
        Scenario::AttachVmOff => vm.power_state = PowerState::Halted,
        Scenario::AttachVmOutOfReach => vm.reaches_srs = false,
        Scenario::AttachDomain => vm.is_control_domain = true,
        _ => {}
    });
    let pass = reconcile::Instances::new(Arc::clone(&engine)).pass().await;
    assert_eq!(pass.unwrap().repaired, 1);
    let attachment = attach(site, volume, vm).await;
    assert_eq!(attachment.status, AttachmentStatus::Attaching);
    if scenario == Scenario::DetachVm {
        site.work(&engine).await;
        let detaching = detach(site, volume, false).await.unwrap();
        assert_eq!(detaching.status, AttachmentStatus::Detaching);
    }
    actors.volume = Some(volume);
    actors.attachment = Some(attachment.id);
}

/// Asserts that a scenario ended as it does without faults.
pub async fn assert_ended_well(site: &Site, scenario: Scenario, actors: &Actors, story: &str) {
    let volume = site.volume(actors.volume.unwrap()).await.unwrap();
    let attachment = site.attachment(actors.attachment.unwrap()).await;
    let vbds: Vec<Vbd> = site.pool.state().vbds.into_values().collect();
    if matches!(scenario, Scenario::AttachVmOutOfReach | Scenario::DetachVm) {
        assert_eq!(volume.status, VolumeStatus::Available, "{story}");
        assert!(attachment.is_none(), "{story}: {attachment:?}");
        assert!(vbds.is_empty(), "{story}: {vbds:?}");
        return;
    }
    let attachment = attachment.expect(story);
    assert_eq!(volume.status, VolumeStatus::InUse, "{story}");
    assert_eq!(attachment.status, AttachmentStatus::Attached, "{story}");
    assert!(attachment.attached_at_us.is_some(), "{story}");
    let is_domain = scenario == Scenario::AttachDomain;
    // Where no position stands in the way of a call that comes late there are two for a while: a reconciler removes the needless one.
    let vbds: Vec<&Vbd> = vbds
        .iter()
        .filter(|vbd| !is_domain || vbd.is_plugged)
        .collect();
    let [vbd] = &vbds[..] else {
        panic!("{story}: one VBD: {vbds:?}");
    };
    let expected = (!is_domain).then_some(POSITION);
    assert!(
        matches!(vbd.spec.target, VbdTarget::Vm { position, .. } if position == expected),
        "{story}: {vbd:?}"
    );
    assert_eq!(vbd.is_plugged, scenario != Scenario::AttachVmOff, "{story}");
    let kind = if is_domain { "nbd" } else { "xen_vbd" };
    assert_eq!(
        attachment.connection_info["driver_volume_type"], kind,
        "{story}"
    );
}

/// True for a VBD of a VM that is off.
pub fn is_off(state: &State, vbd: &Vbd) -> bool {
    match vbd.spec.target {
        VbdTarget::Vm { uuid, .. } => {
            let vm = state.vms.get(&uuid);
            vm.is_some_and(|vm| vm.power_state != PowerState::Running)
        }
        VbdTarget::ControlDomain => false,
    }
}

/// A test on both databases.
fn on_both<F, Fut>(body: F)
where
    F: Fn(Arc<Installation>) -> Fut + Copy,
    Fut: Future<Output = ()>,
{
    for kind in [Kind::Sqlite, Kind::Postgresql] {
        on(kind, body);
    }
}

/// A site with a volume, a VM, and a reconciler that has seen it.
struct Stage {
    site: Site,
    engine: Arc<Engine>,
    instances: reconcile::Instances,
    volume: VolumeId,
    vm: InstanceId,
}

impl Stage {
    async fn new(installation: &Arc<Installation>) -> Stage {
        let site = Site::new(installation).await;
        let volume = available(&site).await;
        let engine = site.engine().await;
        let vm = add_vm(&site, |_| ());
        let instances = reconcile::Instances::new(Arc::clone(&engine));
        instances.pass().await.unwrap();
        Stage {
            site,
            engine,
            instances,
            volume,
            vm,
        }
    }

    async fn attached(&self) -> AttachmentId {
        let attachment = attach(&self.site, self.volume, self.vm).await.id;
        self.site.work(&self.engine).await;
        attachment
    }

    /// Lets the reconciler look twice, with a while in between, and does what it asks for.
    async fn look(&self) {
        self.instances.pass().await.unwrap();
        self.site.installation.world.advance(VBD_GRACE_US + 1);
        self.instances.pass().await.unwrap();
        self.site.work(&self.engine).await;
    }

    async fn status(&self) -> Option<VolumeStatus> {
        let volume = self.site.volume(self.volume).await;
        volume.map(|volume| volume.status)
    }

    async fn instance(&self) -> Option<Instance> {
        let id = self.vm;
        let found = self
            .site
            .database()
            .read(move |tx| instances::of_id(tx, id));
        found.await.unwrap()
    }
}

#[test]
fn a_vbd_that_somebody_removed_ends_the_attachment() {
    on_both(|installation| async move {
        let stage = Stage::new(&installation).await;
        let attachment = stage.attached().await;
        stage.look().await;
        assert_eq!(
            stage.status().await,
            Some(VolumeStatus::InUse),
            "all is well"
        );
        stage.site.pool.change(|state| state.vbds.clear());
        stage.look().await;
        assert!(stage.site.attachment(attachment).await.is_none());
        assert_eq!(stage.status().await, Some(VolumeStatus::Available));
    });
}

#[test]
fn a_vm_that_is_turned_off_keeps_its_volumes() {
    on_both(|installation| async move {
        let stage = Stage::new(&installation).await;
        let attachment = stage.attached().await;
        stage.site.pool.change(|state| {
            for vm in state.vms.values_mut() {
                vm.power_state = PowerState::Halted;
            }
            for vbd in state.vbds.values_mut() {
                vbd.is_plugged = false;
            }
        });
        stage.look().await;
        let kept = stage.site.attachment(attachment).await.unwrap();
        assert_eq!(kept.status, AttachmentStatus::Attached);
        let instance = stage.instance().await.unwrap();
        assert_eq!(instance.power_state, PowerState::Halted);
    });
}

#[test]
fn volumes_of_a_vm_that_is_gone_are_free_or_go_with_it() {
    on_both(|installation| async move {
        for delete_on_termination in [false, true] {
            let stage = Stage::new(&installation).await;
            stage.attached().await;
            let requester = stage.site.requester();
            let unknown = instance_attachments::set_delete_on_termination(
                stage.site.service(),
                &requester,
                stage.vm,
                vec![(DEVICE.to_owned(), delete_on_termination)],
            );
            assert_eq!(unknown.await.unwrap(), None);
            stage.site.pool.change(|state| {
                state.vms.clear();
                state.vbds.clear();
            });
            stage.look().await;
            let expected = (!delete_on_termination).then_some(VolumeStatus::Available);
            assert_eq!(stage.status().await, expected);
            let gone = stage
                .instance()
                .await
                .expect("it is remembered for a while");
            assert!(gone.gone_at_us.is_some());
            stage
                .site
                .installation
                .world
                .advance(FORGOTTEN_AFTER_US + 1);
            stage.instances.pass().await.unwrap();
            assert_eq!(stage.instance().await, None);
        }
    });
}

#[test]
fn an_attachment_that_is_ended_while_it_is_made_leaves_nothing() {
    on_both(|installation| async move {
        let stage = Stage::new(&installation).await;
        let attachment = attach(&stage.site, stage.volume, stage.vm).await.id;
        let again = detach(&stage.site, stage.volume, false).await.unwrap();
        assert_eq!(
            (again.id, again.status),
            (attachment, AttachmentStatus::Detaching)
        );
        stage.site.work(&stage.engine).await;
        assert!(stage.site.attachment(attachment).await.is_none());
        assert!(stage.site.pool.state().vbds.is_empty());
        assert_eq!(stage.status().await, Some(VolumeStatus::Available));
        // And all over again.
        stage.attached().await;
        assert_eq!(stage.status().await, Some(VolumeStatus::InUse));
    });
}

#[test]
fn a_guest_that_does_not_let_go_is_busy_until_it_does_or_is_forced() {
    on_both(|installation| async move {
        for is_forced in [false, true] {
            let stage = Stage::new(&installation).await;
            let attachment = stage.attached().await;
            let lets_go = |lets_go: bool| {
                let change = |state: &mut State| {
                    for vm in state.vms.values_mut() {
                        vm.lets_go = lets_go;
                    }
                };
                stage.site.pool.change(change);
            };
            lets_go(false);
            detach(&stage.site, stage.volume, false).await.unwrap();
            stage.site.work(&stage.engine).await;
            let stuck = stage.site.attachment(attachment).await.unwrap();
            assert_eq!(stuck.status, AttachmentStatus::ErrorDetaching);
            assert_eq!(stage.status().await, Some(VolumeStatus::InUse));
            if is_forced {
                detach(&stage.site, stage.volume, true).await.unwrap();
                stage.site.work(&stage.engine).await;
            } else {
                lets_go(true);
                // The reconciler tries it again each minute.
                stage.instances.pass().await.unwrap();
                stage.site.installation.world.advance(60_000_001);
                stage.look().await;
            }
            assert!(stage.site.attachment(attachment).await.is_none());
            assert_eq!(stage.status().await, Some(VolumeStatus::Available));
            assert!(stage.site.pool.state().vbds.is_empty());
        }
    });
}

#[test]
fn a_volume_for_several_is_in_up_to_16_vms() {
    on_both(|installation| async move {
        let site = Site::new(&installation).await;
        let engine = site.engine().await;
        let backend = site.add_backend("file", None).await;
        site.connect(backend).await;
        let volume = site.create_volume().await;
        let marked = site
            .database()
            .write(move |tx| volume_traits::set_multiattach(tx, volume, true));
        marked.await.unwrap();
        site.work(&engine).await;
        let vms: Vec<InstanceId> = (0..17).map(|_| add_vm(&site, |_| ())).collect();
        let pass = reconcile::Instances::new(Arc::clone(&engine)).pass().await;
        assert_eq!(pass.unwrap().looked, 17);
        for vm in &vms[..16] {
            attach(&site, volume, *vm).await;
            site.work(&engine).await;
        }
        let state = site.pool.state();
        assert_eq!(state.vbds.values().filter(|vbd| vbd.is_plugged).count(), 16);
        let again = asked(&site, volume, vms[0], "/dev/sdg").await;
        assert_eq!(again.unwrap_err(), Refusal::VolumeInUse, "once in each");
        let more = asked(&site, volume, vms[16], DEVICE).await;
        assert_eq!(more.unwrap_err(), Refusal::TooMany);
        let which = detach(&site, volume, false).await;
        assert_eq!(which.unwrap_err(), Refusal::WhichInstance);
        let wanted = Detach {
            volume_id: volume,
            instance: Some(vms[3].ec2_id()),
            device: Some(DEVICE.to_owned()),
            is_forced: false,
        };
        let ended = instance_attachments::detach(site.service(), &site.requester(), wanted).await;
        ended.unwrap().unwrap();
        site.work(&engine).await;
        let held = site
            .database()
            .read(move |tx| attachments::of_volume(tx, volume));
        assert_eq!(held.await.unwrap().len(), 15);
        let row = site.volume(volume).await.unwrap();
        assert_eq!(row.status, VolumeStatus::InUse);
    });
}

#[test]
fn openstack_ends_what_ec2_began() {
    on_both(|installation| async move {
        let stage = Stage::new(&installation).await;
        let attachment = stage.attached().await;
        let (service, requester) = (stage.site.service().clone(), stage.site.requester());
        let ending = tokio::spawn(async move {
            app::attachments::delete(&service, &requester, attachment).await
        });
        let worked = async {
            while stage.site.attachment(attachment).await.is_some() {
                stage.site.work(&stage.engine).await;
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, worked).await;
        in_time.expect("the attachment ends");
        assert!(ending.await.unwrap().unwrap().is_empty());
        assert!(stage.site.pool.state().vbds.is_empty());
        assert_eq!(stage.status().await, Some(VolumeStatus::Available));
    });
}
