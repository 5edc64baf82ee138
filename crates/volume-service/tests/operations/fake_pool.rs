//! A pool in memory behind the production trait: what XenAPI does, with faults at every call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use uuid::Uuid;
use volume_service::driver::{
    ForeignVdi, FoundInstance, FoundSr, FoundVbd, FoundVdi, Making, MomentOutcomes, NbdEndpoint,
    Pool, PoolError, PoolFuture, Probed, Resize, SrSpace, SrSpec, Trouble, Unplug, VbdSpec,
    VbdTarget, VdiMarks, VdiOwner, VdiSpec,
};
use volume_service::model::id::VolumeId;
use volume_service::model::instance::{BlockDevice, PowerState, name_of};

use crate::gate::{Event, Gate, Verdict};

/// Size of every SR.
pub const SR_BYTES: u64 = 1 << 40;

/// The pool.
pub struct FakePool {
    gate: Arc<Gate>,
    state: Mutex<State>,
}

/// What the pool holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub srs: BTreeMap<Uuid, Sr>,
    pub vdis: BTreeMap<Uuid, Vdi>,
    pub vbds: BTreeMap<Uuid, Vbd>,
    pub vms: BTreeMap<Uuid, Vm>,
    /// How often an SR was created, by mark.
    pub created_srs: BTreeMap<String, u32>,
    /// SR types that no VDI can be made on.
    pub broken_types: BTreeSet<String>,
    /// SR types whose chains of snapshots are too long.
    pub deep_types: BTreeSet<String>,
    /// The SRs on a medium, by the `device` that leads there.
    pub media: BTreeMap<String, Vec<Uuid>>,
    /// True for a pool that cannot resize a VDI that is attached.
    pub is_without_online_resize: bool,
    /// True for a pool that does not tell where a VBD is served.
    pub is_without_nbd: bool,
    /// True for a pool that cannot take snapshots of several VDIs at one moment.
    pub is_without_moments: bool,
}

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Vm {
    pub power_state: PowerState,
    pub is_control_domain: bool,
    pub projects: Vec<String>,
    /// Whether its host can reach the SRs.
    pub reaches_srs: bool,
    /// Whether its guest lets go of devices when it is asked.
    pub lets_go: bool,
}

#[derive(Clone, Debug)]
pub struct Sr {
    pub sr_type: String,
    pub mark: Option<String>,
    /// The mark in `sm_config`.
    pub made_with: Option<String>,
    pub is_plugged: bool,
    pub is_scanned: bool,
}

#[derive(Clone, Debug)]
pub struct Vdi {
    pub sr_uuid: Uuid,
    /// What it was made with, or what it was made from was made with.
    pub spec: VdiSpec,
    /// The owner's mark, when it was labelled, and which VDI was.
    pub label: Option<(VdiOwner, Uuid)>,
    /// The mark of being made from.
    pub making: Option<String>,
    /// True for one that carries no mark of ours, whatever it did.
    pub is_released: bool,
    /// The name that somebody gave it; else its owner's.
    pub name: Option<String>,
    /// The VDI that it is a snapshot of.
    pub snapshot_of: Option<Uuid>,
    pub is_a_snapshot: bool,
    /// What it holds: the same number is the same content.
    pub content: u64,
    pub size_bytes: u64,
}

impl Vdi {
    /// Its name in the pool.
    pub fn name_label(&self, uuid: Uuid) -> String {
        let owner = self.label.map(|(owner, _)| owner).or(self.owner(uuid));
        let owners = owner.map(|owner| owner.label().0).unwrap_or_default();
        self.name.clone().unwrap_or(owners)
    }

    /// The owner that its own marks name.
    pub fn owner(&self, uuid: Uuid) -> Option<VdiOwner> {
        match self.label {
            _ if self.is_released => None,
            None => Some(VdiOwner::Volume(self.spec.volume)),
            Some((owner, labelled)) => (labelled == uuid).then_some(owner),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Vbd {
    pub spec: VbdSpec,
    pub is_plugged: bool,
}

type Answer<T> = Result<T, PoolError>;

impl FakePool {
    pub fn new(gate: Arc<Gate>) -> Self {
        FakePool {
            gate,
            state: Mutex::default(),
        }
    }

    /// What the pool holds now.
    pub fn state(&self) -> State {
        self.state.lock().unwrap().clone()
    }

    /// Changes the pool behind the service's back.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        name: &'static str,
        body: impl FnOnce(&mut State) -> Answer<T> + Send + 'a,
    ) -> PoolFuture<'a, T> {
        Box::pin(async move {
            let injected = |trouble| Err(PoolError::new(name, trouble, "injected"));
            match self.gate.verdict(Event::Call(name)) {
                Verdict::Go => {}
                Verdict::Busy => return injected(Trouble::Busy),
                Verdict::Refused => return injected(Trouble::Refused),
                Verdict::Unreachable => return injected(Trouble::Unreachable),
                Verdict::LoseAnswer => {
                    let _lost = self.change(body);
                    let lost = PoolError::new(name, Trouble::Unreachable, "injected: answer lost");
                    return Err(lost.with_unknown_outcome());
                }
                Verdict::Late => {
                    let lost = PoolError::new(name, Trouble::Unreachable, "injected: no answer");
                    return Err(lost.with_unknown_outcome());
                }
                Verdict::DieBefore => self.gate.die().await,
                Verdict::DieAfter => {
                    let _unknown = self.change(body);
                    self.gate.die().await;
                    return injected(Trouble::Unreachable);
                }
                Verdict::Stall => self.gate.wait_for_resumption().await,
            }
            self.change(body)
        })
    }
}

impl State {
    /// A uuid that no other pool of these tests has: several share a database.
    fn fresh(&mut self) -> Uuid {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Uuid::from_u128(0xfa4e << 112 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn sr(&mut self, call: &'static str, uuid: Uuid) -> Answer<&mut Sr> {
        let gone = PoolError::new(call, Trouble::Gone, format!("UUID_INVALID(SR, {uuid})"));
        self.srs.get_mut(&uuid).ok_or(gone)
    }

    fn vdi(&mut self, call: &'static str, uuid: Uuid) -> Answer<&mut Vdi> {
        let gone = PoolError::new(call, Trouble::Gone, format!("UUID_INVALID(VDI, {uuid})"));
        self.vdis.get_mut(&uuid).ok_or(gone)
    }

    /// A VDI with the content and marks of another one.
    fn derive(&mut self, call: &'static str, from: Uuid, is_a_snapshot: bool) -> Answer<Uuid> {
        let source = self.vdi(call, from)?.clone();
        let sr_type = self.sr(call, source.sr_uuid)?.sr_type.clone();
        if self.deep_types.contains(&sr_type) {
            let text = "SR_BACKEND_FAILURE_109(, The VDI snapshot chain is too long, )";
            return Err(PoolError::new(call, Trouble::TooDeep, text));
        }
        let uuid = self.fresh();
        let derived = Vdi {
            is_a_snapshot,
            snapshot_of: is_a_snapshot.then_some(from),
            ..source
        };
        self.vdis.insert(uuid, derived);
        Ok(uuid)
    }

    fn is_attached(&self, vdi: Uuid) -> bool {
        let mut vbds = self.vbds.values();
        vbds.any(|vbd| vbd.spec.vdi_uuid == vdi && vbd.is_plugged)
    }
}

impl Pool for FakePool {
    fn find_sr(&self, uuid: Uuid) -> PoolFuture<'_, Option<FoundSr>> {
        self.call("SR.get_by_uuid", move |state| {
            Ok(state.srs.get(&uuid).map(|sr| found_sr(uuid, sr)))
        })
    }

    fn marked_srs(&self) -> PoolFuture<'_, Vec<FoundSr>> {
        self.call("SR.get_all_records", |state| {
            let marked = state.srs.iter().filter(|(_, sr)| sr.mark.is_some());
            Ok(marked.map(|(uuid, sr)| found_sr(*uuid, sr)).collect())
        })
    }

    fn probe_sr<'a>(&'a self, spec: &'a SrSpec) -> PoolFuture<'a, Probed> {
        self.call("SR.probe", move |state| {
            let device = spec.config.get("device").cloned().unwrap_or_default();
            let on_it = state.media.get(&device).cloned().unwrap_or_default();
            let srs: String = on_it
                .iter()
                .map(|uuid| format!("<SR><UUID>{uuid}</UUID></SR>"))
                .collect();
            let document = xenapi::probe::parse(&format!("<SRlist>{srs}</SRlist>")).unwrap();
            Ok(Probed {
                document,
                ..Probed::default()
            })
        })
    }

    fn create_sr<'a>(&'a self, spec: &'a SrSpec) -> PoolFuture<'a, Uuid> {
        self.call("SR.create", move |state| {
            if spec.sr_type == "unknown" {
                let text = "SR_UNKNOWN_DRIVER(unknown)";
                return Err(PoolError::new("SR.create", Trouble::UnknownType, text));
            }
            *state.created_srs.entry(spec.mark.clone()).or_default() += 1;
            let uuid = state.fresh();
            let sr = Sr {
                sr_type: spec.sr_type.clone(),
                mark: Some(spec.mark.clone()),
                made_with: Some(spec.mark.clone()),
                // XenAPI plugs a new SR's PBDs.
                is_plugged: true,
                is_scanned: false,
            };
            state.srs.insert(uuid, sr);
            Ok(uuid)
        })
    }

    fn introduce_sr<'a>(&'a self, uuid: Uuid, spec: &'a SrSpec) -> PoolFuture<'a, ()> {
        self.call("SR.introduce", move |state| {
            if state.srs.contains_key(&uuid) {
                let text = format!("SR_UUID_EXISTS({uuid})");
                return Err(PoolError::new("SR.introduce", Trouble::Refused, text));
            }
            let sr = Sr {
                sr_type: spec.sr_type.clone(),
                mark: Some(spec.mark.clone()),
                made_with: Some(spec.mark.clone()),
                is_plugged: false,
                is_scanned: false,
            };
            state.srs.insert(uuid, sr);
            Ok(())
        })
    }

    fn mark_sr<'a>(&'a self, uuid: Uuid, mark: &'a str) -> PoolFuture<'a, ()> {
        self.call("SR.add_to_other_config", move |state| {
            state.sr("SR.add_to_other_config", uuid)?.mark = Some(mark.to_owned());
            Ok(())
        })
    }

    fn unmark_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        self.call("SR.remove_from_other_config", move |state| {
            state.sr("SR.remove_from_other_config", uuid)?.mark = None;
            Ok(())
        })
    }

    fn plug_sr<'a>(&'a self, uuid: Uuid, _spec: &'a SrSpec) -> PoolFuture<'a, ()> {
        self.call("PBD.plug", move |state| {
            state.sr("PBD.plug", uuid)?.is_plugged = true;
            Ok(())
        })
    }

    fn scan_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        self.call("SR.scan", move |state| {
            let sr = state.sr("SR.scan", uuid)?;
            if !sr.is_plugged {
                return Err(PoolError::new(
                    "SR.scan",
                    Trouble::NotPlugged,
                    "SR_HAS_NO_PBDS",
                ));
            }
            sr.is_scanned = true;
            Ok(())
        })
    }

    fn sr_space(&self, uuid: Uuid) -> PoolFuture<'_, SrSpace> {
        self.call("SR.get_record", move |state| {
            let virtual_allocation = state
                .vdis
                .values()
                .filter(|vdi| vdi.sr_uuid == uuid)
                .map(|vdi| vdi.size_bytes)
                .sum();
            let sr = state.sr("SR.get_record", uuid)?;
            Ok(SrSpace {
                physical_size: Some(SR_BYTES),
                physical_utilisation: Some(0),
                virtual_allocation: Some(virtual_allocation),
                is_plugged: sr.is_plugged,
                is_ailing: false,
            })
        })
    }

    fn forget_sr(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        self.call("SR.forget", move |state| {
            state.srs.remove(&uuid);
            state.vdis.retain(|_, vdi| vdi.sr_uuid != uuid);
            Ok(())
        })
    }

    fn vdis_of_volume(&self, volume: VolumeId) -> PoolFuture<'_, Vec<FoundVdi>> {
        self.call("VDI.get_by_name_label", move |state| {
            let labelled = state
                .vdis
                .iter()
                .filter(|(uuid, vdi)| vdi.owner(**uuid) == Some(VdiOwner::Volume(volume)));
            Ok(labelled.map(|(uuid, vdi)| found_vdi(*uuid, vdi)).collect())
        })
    }

    fn vdis_of_sr(&self, sr_uuid: Uuid) -> PoolFuture<'_, Vec<FoundVdi>> {
        self.call("VDI.get_all_records_where", move |state| {
            let on_it = state.vdis.iter().filter(|(_, vdi)| vdi.sr_uuid == sr_uuid);
            Ok(on_it.map(|(uuid, vdi)| found_vdi(*uuid, vdi)).collect())
        })
    }

    fn vdis_all(&self, sr_uuid: Uuid) -> PoolFuture<'_, Vec<ForeignVdi>> {
        self.call("VDI.get_all_records_where", move |state| {
            let on_it = state.vdis.iter().filter(|(_, vdi)| vdi.sr_uuid == sr_uuid);
            Ok(on_it
                .map(|(uuid, vdi)| ForeignVdi {
                    marks: found_vdi(*uuid, vdi),
                    name_label: vdi.name_label(*uuid),
                    snapshot_of: vdi.snapshot_of.filter(|of| state.vdis.contains_key(of)),
                    is_in_use: state.vbds.values().any(|vbd| vbd.spec.vdi_uuid == *uuid),
                })
                .collect())
        })
    }

    fn release_vdi<'a>(&'a self, uuid: Uuid, name_label: Option<&'a str>) -> PoolFuture<'a, ()> {
        self.call("VDI.set_other_config", move |state| {
            if let Some(vdi) = state.vdis.get_mut(&uuid) {
                let name = name_label.map_or_else(|| vdi.name_label(uuid), str::to_owned);
                vdi.name = Some(name);
                vdi.is_released = true;
                vdi.making = None;
            }
            Ok(())
        })
    }

    fn create_vdi<'a>(&'a self, spec: &'a VdiSpec) -> PoolFuture<'a, Uuid> {
        self.call("VDI.create", move |state| {
            let sr = state.sr("VDI.create", spec.sr_uuid)?;
            if !sr.is_plugged {
                let text = "SR_HAS_NO_PBDS";
                return Err(PoolError::new("VDI.create", Trouble::NotPlugged, text));
            }
            let sr_type = sr.sr_type.clone();
            if state.broken_types.contains(&sr_type) {
                let text = "SR_BACKEND_FAILURE_110(, read-only medium, )";
                return Err(PoolError::new("VDI.create", Trouble::Refused, text));
            }
            let uuid = state.fresh();
            let vdi = Vdi {
                sr_uuid: spec.sr_uuid,
                spec: spec.clone(),
                label: None,
                making: None,
                is_released: false,
                name: None,
                snapshot_of: None,
                is_a_snapshot: false,
                content: 0,
                size_bytes: spec.size_bytes,
            };
            state.vdis.insert(uuid, vdi);
            Ok(uuid)
        })
    }

    fn destroy_vdi(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        self.call("VDI.destroy", move |state| {
            if state.is_attached(uuid) {
                let text = format!("VDI_IN_USE({uuid}, destroy)");
                return Err(PoolError::new("VDI.destroy", Trouble::InUse, text));
            }
            state.vdis.remove(&uuid);
            Ok(())
        })
    }

    fn find_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Option<FoundVdi>> {
        self.call("VDI.get_record", move |state| {
            Ok(state.vdis.get(&uuid).map(|vdi| found_vdi(uuid, vdi)))
        })
    }

    fn begin_making<'a>(
        &'a self,
        uuid: Uuid,
        making: &'a Making,
    ) -> PoolFuture<'a, Option<String>> {
        self.call("VDI.add_to_other_config", move |state| {
            let vdi = state.vdi("VDI.add_to_other_config", uuid)?;
            if vdi.making.is_some() {
                return Ok(vdi.making.clone());
            }
            vdi.making = Some(making.to_string());
            Ok(None)
        })
    }

    fn end_making(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        self.call("VDI.remove_from_other_config", move |state| {
            if let Some(vdi) = state.vdis.get_mut(&uuid) {
                vdi.making = None;
            }
            Ok(())
        })
    }

    fn snapshot_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Uuid> {
        self.call("VDI.snapshot", move |state| {
            state.derive("VDI.snapshot", uuid, true)
        })
    }

    /// Worse than our storage manager, which takes all or none: each fails, or is lost, by itself.
    fn snapshot_vdis<'a>(
        &'a self,
        sources: &'a [Uuid],
        _moment: &'a str,
    ) -> PoolFuture<'a, MomentOutcomes> {
        Box::pin(async move {
            if self.state().is_without_moments && sources.len() > 1 {
                let text = "the pool's storage manager does not hold back writes to several VDIs";
                let call = "VDI.snapshot at one moment";
                return Err(PoolError::new(call, Trouble::Unsupported, text));
            }
            let mut outcomes = Vec::with_capacity(sources.len());
            for source in sources {
                outcomes.push(self.snapshot_vdi(*source).await);
            }
            Ok(outcomes)
        })
    }

    fn clone_vdi(&self, uuid: Uuid) -> PoolFuture<'_, Uuid> {
        self.call("VDI.clone", move |state| {
            state.derive("VDI.clone", uuid, false)
        })
    }

    fn copy_vdi(&self, from: Uuid, into: Uuid) -> PoolFuture<'_, ()> {
        self.call("VDI.copy", move |state| {
            if state.is_attached(from) {
                let text = format!("VDI_IN_USE({from}, copy)");
                return Err(PoolError::new("VDI.copy", Trouble::InUse, text));
            }
            let source = state.vdi("VDI.copy", from)?.clone();
            let target = state.vdi("VDI.copy", into)?;
            if target.size_bytes < source.size_bytes {
                let text = format!("VDI_TOO_SMALL({into}, {})", source.size_bytes);
                return Err(PoolError::new("VDI.copy", Trouble::Refused, text));
            }
            target.content = source.content;
            Ok(())
        })
    }

    fn label_vdi<'a>(&'a self, uuid: Uuid, marks: &'a VdiMarks) -> PoolFuture<'a, ()> {
        self.call("VDI.set_other_config", move |state| {
            let vdi = state.vdi("VDI.set_other_config", uuid)?;
            vdi.label = Some((marks.owner, uuid));
            vdi.making = None;
            vdi.is_released = false;
            vdi.name = None;
            if let VdiOwner::Volume(volume) = marks.owner {
                vdi.spec.volume = volume;
            }
            vdi.spec.operation = marks.operation;
            vdi.spec.generation = marks.generation;
            vdi.spec.deployment = marks.deployment;
            Ok(())
        })
    }

    fn resize_vdi(&self, uuid: Uuid, size_bytes: u64, how: Resize) -> PoolFuture<'_, ()> {
        let name = match how {
            Resize::Offline => "VDI.resize",
            Resize::Online => "VDI.resize_online",
        };
        self.call(name, move |state| {
            if how == Resize::Online && state.is_without_online_resize {
                let text = "SR_OPERATION_NOT_SUPPORTED(sr)";
                return Err(PoolError::new(name, Trouble::Unsupported, text));
            }
            if how == Resize::Offline && state.is_attached(uuid) {
                let text = format!("VDI_IN_USE({uuid}, resize)");
                return Err(PoolError::new(name, Trouble::InUse, text));
            }
            let vdi = state.vdi(name, uuid)?;
            if vdi.size_bytes > size_bytes {
                let text = "SR_BACKEND_FAILURE_79(, shrinking is not allowed, )";
                return Err(PoolError::new(name, Trouble::Refused, text));
            }
            vdi.size_bytes = size_bytes;
            Ok(())
        })
    }

    fn create_vbd<'a>(&'a self, spec: &'a VbdSpec) -> PoolFuture<'a, Uuid> {
        self.call("VBD.create", move |state| {
            if !state.vdis.contains_key(&spec.vdi_uuid) {
                let text = format!("UUID_INVALID(VDI, {})", spec.vdi_uuid);
                return Err(PoolError::new("VBD.create", Trouble::Gone, text));
            }
            if let VbdTarget::Vm { uuid, position } = spec.target {
                if !state.vms.contains_key(&uuid) {
                    let text = format!("UUID_INVALID(VM, {uuid})");
                    return Err(PoolError::new("VBD.create", Trouble::Gone, text));
                }
                let is_taken = |vbd: &Vbd| position.is_some() && vbd.spec.target == spec.target;
                if state.vbds.values().any(is_taken) {
                    let text = format!("DEVICE_ALREADY_EXISTS({position:?})");
                    return Err(PoolError::new("VBD.create", Trouble::DeviceTaken, text));
                }
            }
            let uuid = state.fresh();
            let vbd = Vbd {
                spec: spec.clone(),
                is_plugged: false,
            };
            state.vbds.insert(uuid, vbd);
            Ok(uuid)
        })
    }

    fn vbds(&self, vdi: Option<Uuid>) -> PoolFuture<'_, Vec<FoundVbd>> {
        self.call("VBD.get_all_records_where", move |state| {
            let wanted = state
                .vbds
                .iter()
                .filter(|(_, vbd)| vdi.is_none_or(|wanted| vbd.spec.vdi_uuid == wanted));
            Ok(wanted.map(|(uuid, vbd)| found_vbd(*uuid, vbd)).collect())
        })
    }

    fn plug_vbd(&self, uuid: Uuid) -> PoolFuture<'_, Option<NbdEndpoint>> {
        self.call("VBD.plug", move |state| {
            let Some(vbd) = state.vbds.get(&uuid).cloned() else {
                let text = format!("UUID_INVALID(VBD, {uuid})");
                return Err(PoolError::new("VBD.plug", Trouble::Gone, text));
            };
            if let VbdTarget::Vm { uuid, .. } = vbd.spec.target
                && state.vms[&uuid].power_state != PowerState::Running
            {
                let text = format!("VM_BAD_POWER_STATE({uuid}, running, halted)");
                return Err(PoolError::new("VBD.plug", Trouble::Halted, text));
            }
            let vdi = state.vdis.get(&vbd.spec.vdi_uuid);
            let is_sharable = vdi.is_some_and(|vdi| vdi.spec.is_sharable);
            if !vbd.is_plugged && !is_sharable && state.is_attached(vbd.spec.vdi_uuid) {
                let text = format!("VDI_IN_USE({}, attach)", vbd.spec.vdi_uuid);
                return Err(PoolError::new("VBD.plug", Trouble::InUse, text));
            }
            if let Some(vbd) = state.vbds.get_mut(&uuid) {
                vbd.is_plugged = true;
            }
            let is_served = match vbd.spec.target {
                VbdTarget::ControlDomain => !state.is_without_nbd,
                VbdTarget::Vm { uuid, .. } => {
                    state.vms[&uuid].is_control_domain && !state.is_without_nbd
                }
            };
            Ok(is_served.then(|| NbdEndpoint {
                socket: format!("/run/nbd/{uuid}"),
                export: uuid.to_string(),
            }))
        })
    }

    fn unplug_vbd(&self, uuid: Uuid, how: Unplug) -> PoolFuture<'_, ()> {
        self.call("VBD.unplug", move |state| {
            let Some(vbd) = state.vbds.get_mut(&uuid) else {
                return Ok(());
            };
            if let VbdTarget::Vm { uuid: vm, .. } = vbd.spec.target
                && how == Unplug::Ask
                && state.vms.get(&vm).is_some_and(|vm| !vm.lets_go)
            {
                let text = format!("DEVICE_DETACH_REJECTED(VBD, {uuid}, the guest uses it)");
                return Err(PoolError::new("VBD.unplug", Trouble::InUse, text));
            }
            vbd.is_plugged = false;
            Ok(())
        })
    }

    fn destroy_vbd(&self, uuid: Uuid) -> PoolFuture<'_, ()> {
        self.call("VBD.destroy", move |state| {
            if state.vbds.get(&uuid).is_some_and(|vbd| vbd.is_plugged) {
                let text = "OPERATION_NOT_ALLOWED(VBD is attached)";
                return Err(PoolError::new("VBD.destroy", Trouble::Refused, text));
            }
            state.vbds.remove(&uuid);
            Ok(())
        })
    }

    fn instances(&self) -> PoolFuture<'_, Vec<FoundInstance>> {
        self.call("VM.get_all_records_where", |state| {
            let vms = state.vms.iter();
            Ok(vms
                .map(|(uuid, vm)| state.found_instance(*uuid, vm))
                .collect())
        })
    }

    fn plug_sr_for(&self, sr: Uuid, vm: Uuid) -> PoolFuture<'_, ()> {
        self.call("PBD.plug", move |state| {
            state.sr("PBD.plug", sr)?;
            let Some(found) = state.vms.get(&vm) else {
                let text = format!("UUID_INVALID(VM, {vm})");
                return Err(PoolError::new("VM.get_by_uuid", Trouble::Gone, text));
            };
            if !found.reaches_srs {
                let text = format!("SR {sr} is not shared");
                return Err(PoolError::new("PBD.create", Trouble::OutOfReach, text));
            }
            Ok(())
        })
    }
}

impl State {
    fn found_instance(&self, uuid: Uuid, vm: &Vm) -> FoundInstance {
        let on_it = self.vbds.iter().filter(|(_, vbd)| match vbd.spec.target {
            VbdTarget::ControlDomain => vm.is_control_domain,
            VbdTarget::Vm { uuid: on, .. } => on == uuid,
        });
        let devices = on_it.map(|(vbd_uuid, vbd)| {
            let position = match vbd.spec.target {
                VbdTarget::Vm { position, .. } => position,
                VbdTarget::ControlDomain => None,
            };
            let device = BlockDevice {
                vbd_uuid: *vbd_uuid,
                position,
                device: match vbd.is_plugged {
                    true => name_of(position.unwrap_or_default()),
                    false => String::new(),
                },
                is_bootable: false,
                attachment: Some(vbd.spec.attachment.0),
            };
            (device, Some(vbd.spec.deployment.0))
        });
        FoundInstance {
            uuid,
            name: format!("vm-{uuid}"),
            power_state: vm.power_state,
            is_control_domain: vm.is_control_domain,
            projects: vm.projects.clone(),
            instance_type: "xen.2x4".to_owned(),
            vcpus: 2,
            memory_mib: 4096,
            started_at_us: None,
            devices: devices.collect(),
        }
    }
}

fn found_sr(uuid: Uuid, sr: &Sr) -> FoundSr {
    FoundSr {
        uuid,
        sr_type: sr.sr_type.clone(),
        mark: sr.mark.clone(),
        made_with: sr.made_with.clone(),
    }
}

fn found_vdi(uuid: Uuid, vdi: &Vdi) -> FoundVdi {
    let owner = vdi.owner(uuid);
    FoundVdi {
        uuid,
        volume: match owner {
            Some(VdiOwner::Volume(id)) => Some(id),
            _ => None,
        },
        snapshot: match owner {
            Some(VdiOwner::Snapshot(id)) => Some(id),
            _ => None,
        },
        is_temporary: owner == Some(VdiOwner::Operation),
        making: vdi.making.as_ref().and_then(|mark| mark.parse().ok()),
        deployment: (!vdi.is_released).then_some(vdi.spec.deployment.0),
        operation: owner.map(|_| vdi.spec.operation),
        generation: vdi.spec.generation,
        size_bytes: vdi.size_bytes,
        is_a_snapshot: vdi.is_a_snapshot,
    }
}

fn found_vbd(uuid: Uuid, vbd: &Vbd) -> FoundVbd {
    FoundVbd {
        uuid,
        attachment: Some(vbd.spec.attachment),
        deployment: Some(vbd.spec.deployment.0),
        is_plugged: vbd.is_plugged,
    }
}
