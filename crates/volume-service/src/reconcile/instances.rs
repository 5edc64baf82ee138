//! Keeps the table of instances as the pool has them, and ends attachments that the pool has no more: whose VBD somebody removed, or
//! whose VM is gone.
//!
//! Nothing is ended by this file but by operations, as if a user had asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::Report;
use super::operations::{REQUEST_ID, give};
use super::sightings::Sightings;
use crate::context::Context;
use crate::db::{Transaction, attachments, instance_attachments, instances, operations, volumes};
use crate::driver::FoundInstance;
use crate::error::Result;
use crate::model::attachment::AttachmentStatus;
use crate::model::id::{AttachmentId, InstanceId};
use crate::model::instance::{Instance, InstanceAttachment};
use crate::model::operation::OperationKind;
use crate::operation::Engine;

/// How long an instance is remembered that the pool no longer has, in microseconds: so long EC2 shows it as terminated.
pub const FORGOTTEN_AFTER_US: i64 = 3_600_000_000;
/// How long the VBD of an attachment must be gone, in microseconds: what the pool said may be older than the attachment.
pub const VBD_GRACE_US: i64 = 10_000_000;
/// Instances whose attachments one transaction looks at.
const CHUNK: usize = 100;

/// The reconciler of instances.
pub struct Instances {
    engine: Arc<Engine>,
    sightings: Sightings,
    /// Attachments that a guest does not let go of.
    stuck: Sightings,
    /// Those whose VM the pool does not have.
    gone: Sightings,
}

/// How long a guest that did not let go of a device is left alone, in microseconds.
const STUCK_FOR_US: i64 = 60_000_000;

impl Instances {
    /// Makes the reconciler.
    pub fn new(engine: Arc<Engine>) -> Self {
        Instances {
            engine,
            sightings: Sightings::default(),
            stuck: Sightings::default(),
            gone: Sightings::default(),
        }
    }

    /// Asks the pool for its VMs once.
    pub async fn pass(&self) -> Result<Report> {
        let found = self.engine.pool().instances().await;
        let found = found.map_err(|error| error.on_zone(self.engine.zone()))?;
        let mut report = Report {
            looked: found.len() as u64,
            ..Report::default()
        };
        let seen = self.remember(&found).await?;
        report.repaired += seen.changed;
        report.repaired += self.end_attachments(&found, seen.known).await?;
        Ok(report)
    }

    /// Brings the rows to what was found; says which instances there are rows of.
    async fn remember(&self, found: &[FoundInstance]) -> Result<Remembered> {
        let (zone, now_us) = (
            self.engine.zone().to_owned(),
            self.engine.context().now_us(),
        );
        let found = found.to_vec();
        let deployment = self.engine.deployment().0;
        let known = {
            let zone = zone.clone();
            let database = self.engine.database();
            database.read(move |tx| Known::load(tx, &zone)).await?
        };
        let changes = known.compare(&found, &zone, deployment, now_us);
        let ids = known.instances.keys().copied();
        let mut remembered = Remembered {
            changed: changes.count(),
            known: ids
                .chain(found.iter().map(|vm| InstanceId(vm.uuid)))
                .collect(),
        };
        remembered.known.sort_unstable();
        remembered.known.dedup();
        if !changes.is_empty() || known.has_gone(now_us) {
            let written = self.engine.database().write(move |tx| {
                for (instance, projects) in &changes.put {
                    instances::put(tx, instance)?;
                    instances::set_projects(tx, instance.id, projects)?;
                }
                for id in &changes.gone {
                    instances::set_gone(tx, *id, now_us)?;
                }
                let before_us = now_us.saturating_sub(FORGOTTEN_AFTER_US);
                instances::forget_gone(tx, &zone, before_us).map(drop)
            });
            written.await?;
        }
        Ok(remembered)
    }

    /// Ends what is attached by our rows and not by the pool.
    async fn end_attachments(
        &self,
        found: &[FoundInstance],
        known: Vec<InstanceId>,
    ) -> Result<u64> {
        let mut devices: HashMap<InstanceId, HashSet<Uuid>> = HashMap::new();
        for vm in found {
            let of_vm = vm.devices.iter().map(|(device, _)| device.vbd_uuid);
            devices.insert(InstanceId(vm.uuid), of_vm.collect());
        }
        // Whether the VM is gone, by the attachment.
        let (mut suspects, mut stuck) = (HashMap::new(), HashMap::new());
        for ids in known.chunks(CHUNK) {
            let ids = ids.to_vec();
            let database = self.engine.database();
            let attached = database.read(move |tx| attached_to(tx, &ids)).await?;
            for one in attached {
                let vbds = devices.get(&one.known.instance_id);
                let is_there = |vbds: &HashSet<Uuid>| {
                    one.known.vbd_uuid.is_some_and(|vbd| vbds.contains(&vbd))
                };
                match one.status {
                    AttachmentStatus::ErrorDetaching => {
                        stuck.insert(one.id.0, vbds.is_none());
                    }
                    AttachmentStatus::Attached if !vbds.is_some_and(is_there) => {
                        suspects.insert(one.id.0, vbds.is_none());
                    }
                    _ => {}
                }
            }
        }
        let now_us = self.engine.context().now_us();
        // What a volume goes with is gone for a while, not missing in one list.
        let missing: Vec<Uuid> = suspects
            .iter()
            .chain(&stuck)
            .filter(|(_, is_gone)| **is_gone)
            .map(|(id, _)| *id)
            .collect();
        let gone = self.gone.overdue(&missing, now_us, VBD_GRACE_US);
        let gone: HashSet<Uuid> = gone.into_iter().collect();
        let mut ended = 0;
        for (sightings, ids, grace_us) in [
            (&self.sightings, &suspects, VBD_GRACE_US),
            (&self.stuck, &stuck, STUCK_FOR_US),
        ] {
            let seen: Vec<Uuid> = ids.keys().copied().collect();
            for id in sightings.overdue(&seen, now_us, grace_us) {
                let is_terminated = ids.get(&id).copied().unwrap_or_default();
                if is_terminated && !gone.contains(&id) {
                    continue;
                }
                ended += u64::from(self.end(AttachmentId(id), is_terminated).await?);
            }
        }
        Ok(ended)
    }

    /// Begins the end of an attachment; false when it is being ended already.
    async fn end(&self, id: AttachmentId, is_terminated: bool) -> Result<bool> {
        let (context, zone) = (self.engine.context().clone(), self.engine.zone().to_owned());
        let begun = self
            .engine
            .database()
            .write(move |tx| begin_end(tx, &context, &zone, id, is_terminated))
            .await?;
        if begun {
            tracing::info!(
                attachment.id = %id,
                request.id = REQUEST_ID,
                "an attachment that the pool has no more is ended"
            );
        }
        Ok(begun)
    }
}

struct Remembered {
    changed: u64,
    known: Vec<InstanceId>,
}

/// The rows of a zone.
struct Known {
    instances: HashMap<InstanceId, Instance>,
    projects: HashMap<InstanceId, Vec<String>>,
}

/// What is to be written.
#[derive(Default)]
struct Changes {
    put: Vec<(Instance, Vec<String>)>,
    gone: Vec<InstanceId>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    fn count(&self) -> u64 {
        (self.put.len() + self.gone.len()) as u64
    }
}

impl Known {
    fn load(tx: &mut Transaction<'_>, zone: &str) -> Result<Self> {
        let rows = instances::of_zone(tx, zone)?;
        let mut projects: HashMap<InstanceId, Vec<String>> = HashMap::new();
        for (id, project) in instances::projects_of_zone(tx, zone)? {
            projects.entry(id).or_default().push(project);
        }
        Ok(Known {
            instances: rows.into_iter().map(|row| (row.id, row)).collect(),
            projects,
        })
    }

    /// True when there is something to forget.
    fn has_gone(&self, now_us: i64) -> bool {
        let before_us = now_us.saturating_sub(FORGOTTEN_AFTER_US);
        let mut rows = self.instances.values();
        rows.any(|row| row.gone_at_us.is_some_and(|gone_us| gone_us < before_us))
    }

    fn compare(
        &self,
        found: &[FoundInstance],
        zone: &str,
        deployment: Uuid,
        now_us: i64,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut seen = HashSet::new();
        for vm in found {
            let id = InstanceId(vm.uuid);
            seen.insert(id);
            let before = self.instances.get(&id);
            let now = instance(vm, zone, deployment, before, now_us);
            let projects = self.projects.get(&id).map_or(&[][..], Vec::as_slice);
            if before != Some(&now) || projects != vm.projects {
                changes.put.push((now, vm.projects.clone()));
            }
        }
        let rows = self.instances.values();
        let gone = rows.filter(|row| row.gone_at_us.is_none() && !seen.contains(&row.id));
        changes.gone = gone.map(|row| row.id).collect();
        changes
    }
}

/// The row of a VM as it is now.
fn instance(
    vm: &FoundInstance,
    zone: &str,
    deployment: Uuid,
    before: Option<&Instance>,
    now_us: i64,
) -> Instance {
    let created_at_us = before.map_or(now_us, |before| before.created_at_us);
    let devices = vm.devices.iter().map(|(device, made_by)| {
        let mut device = device.clone();
        device.attachment = device.attachment.filter(|_| *made_by == Some(deployment));
        device
    });
    Instance {
        id: InstanceId(vm.uuid),
        zone: zone.to_owned(),
        name: vm.name.clone(),
        power_state: vm.power_state,
        is_control_domain: vm.is_control_domain,
        instance_type: vm.instance_type.clone(),
        vcpus: vm.vcpus,
        memory_mib: vm.memory_mib,
        // A pool that does not measure its VMs does not tell.
        started_at_us: vm.started_at_us.unwrap_or(created_at_us),
        devices: devices.collect(),
        created_at_us,
        gone_at_us: None,
    }
}

/// An attachment in an instance.
struct Held {
    id: AttachmentId,
    status: AttachmentStatus,
    known: InstanceAttachment,
}

/// What is attached to some instances and has no operation at work on it.
fn attached_to(tx: &mut Transaction<'_>, ids: &[InstanceId]) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for id in ids {
        for (id, known) in instance_attachments::of_instance(tx, *id)? {
            let Some(attachment) = attachments::find(tx, id)? else {
                continue;
            };
            if operations::find_unfinished(tx, &id.to_string())?.is_none() {
                held.push(Held {
                    id,
                    status: attachment.status,
                    known,
                });
            }
        }
    }
    Ok(held)
}

fn begin_end(
    tx: &mut Transaction<'_>,
    context: &Context,
    zone: &str,
    id: AttachmentId,
    is_terminated: bool,
) -> Result<bool> {
    let Some(attachment) = attachments::find(tx, id)? else {
        return Ok(false);
    };
    volumes::lock(tx, attachment.volume_id)?;
    // A VM of the same uuid may be in another zone's pool: a copy, made against a disaster.
    let volume = volumes::find(tx, attachment.volume_id)?;
    if volume.is_none_or(|volume| volume.zone != zone) {
        return Ok(false);
    }
    let from = [AttachmentStatus::Attached, AttachmentStatus::ErrorDetaching];
    if operations::find_unfinished(tx, &id.to_string())?.is_some()
        || !attachments::change_status(tx, id, &from, AttachmentStatus::Detaching)?
    {
        return Ok(false);
    }
    if is_terminated {
        instance_attachments::set_terminated(tx, id)?;
    }
    volumes::settle(tx, attachment.volume_id, context.now_us())?;
    give(
        tx,
        context,
        zone,
        OperationKind::DetachVolume,
        id.to_string(),
    )
}
