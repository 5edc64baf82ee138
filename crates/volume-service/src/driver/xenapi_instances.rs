//! Virtual machines behind XenAPI.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;
use xenapi::client::NewPbd;
use xenapi::record::{VbdRecord, VmRecord};
use xenapi::reference::{HostRef, VmRef};

use super::error::{PoolError, Trouble};
use super::instances::{FoundInstance, PROJECTS_MAX};
use super::marks::{ATTACHMENT_KEY, DEPLOYMENT_KEY, INSTANCE_TYPE_KEY, PROJECT_KEY};
use super::xenapi_error::{is_gone, translate};
use super::xenapi_pool::{PoolResult, XenApiPool, mark, parse};
use crate::model::instance::{BlockDevice, EVERY_PROJECT, PowerState};

/// Whatever may hold a volume: a template may that was a VM.
const VMS: &str = "field \"is_a_snapshot\" = \"false\"";
/// In `host.software_version`: what the host's software calls itself.
const BRAND_KEY: &str = "product_brand";
/// What our own storage manager calls itself.
const OUR_BRAND: &str = "xensm";

const SECOND_US: i64 = 1_000_000;
const MIB: u64 = 1 << 20;
const GIB_IN_MIB: u64 = 1024;

impl XenApiPool {
    pub(super) async fn all_instances(&self) -> PoolResult<Vec<FoundInstance>> {
        let (_, host) = self.master().await?;
        let is_ours = host.software_version.get(BRAND_KEY).map(String::as_str) == Some(OUR_BRAND);
        let client = self.slow();
        let vms = client.vm().get_all_records_where(VMS).await;
        let vms = vms.map_err(|error| translate("VM.get_all_records_where", &error))?;
        let vbds = client.vbd().get_all_records().await;
        let vbds = vbds.map_err(|error| translate("VBD.get_all_records", &error))?;
        let mut of_vm: HashMap<VmRef, Vec<VbdRecord>> = HashMap::new();
        for (_, vbd) in vbds {
            of_vm.entry(vbd.vm.clone()).or_default().push(vbd);
        }
        let started = self.start_times().await?;
        vms.iter()
            .filter_map(|(reference, vm)| {
                let devices = of_vm.remove(reference).unwrap_or_default();
                // A template is no instance; but a VM that was made one with a volume of ours in it is not gone.
                let is_ours_too = |vbd: &VbdRecord| vbd.other_config.contains_key(ATTACHMENT_KEY);
                if vm.is_a_template && !devices.iter().any(is_ours_too) {
                    return None;
                }
                let started = started.get(vm.metrics.as_str()).copied();
                Some(found_instance(vm, &devices, started, is_ours))
            })
            .collect()
    }

    /// When each VM was started, by its metrics; nothing where VMs are not measured.
    async fn start_times(&self) -> PoolResult<HashMap<String, i64>> {
        match self.slow().vm().get_all_metrics().await {
            Ok(found) => Ok(found
                .into_iter()
                .filter(|(_, metrics)| metrics.start_time.0 > 0)
                .map(|(reference, metrics)| {
                    let us = metrics.start_time.0.saturating_mul(SECOND_US);
                    (reference.as_str().to_owned(), us)
                })
                .collect()),
            Err(error) if error.is("MESSAGE_METHOD_UNKNOWN") => Ok(HashMap::new()),
            Err(error) => Err(translate("VM_metrics.get_all_records", &error)),
        }
    }

    pub(super) async fn plug_where_vm_is(&self, sr: Uuid, vm: Uuid) -> PoolResult<()> {
        let found = self.vm(vm).await?;
        let record = self.client.vm().get_record(&found).await;
        let host = record
            .map_err(|error| translate("VM.get_record", &error))?
            .resident_on;
        if host.is_null() {
            return Ok(());
        }
        self.plug_on(sr, &host).await
    }

    pub(super) async fn vm(&self, uuid: Uuid) -> PoolResult<VmRef> {
        let found = self.client.vm().get_by_uuid(&uuid.to_string()).await;
        found.map_err(|error| translate("VM.get_by_uuid", &error))
    }

    /// Plugs an SR on a host: with the PBD that the host has, or with one like another host's.
    async fn plug_on(&self, sr: Uuid, host: &HostRef) -> PoolResult<()> {
        let record = self.sr_record(sr).await?;
        let pbd = match self.pbd_on(&record, host).await? {
            Some((_, pbd)) if pbd.currently_attached => return Ok(()),
            Some((pbd, _)) => pbd,
            None if record.shared => {
                let like = self.any_pbd(&record.pbds).await?;
                let new = NewPbd {
                    host: host.clone(),
                    sr: self.sr(sr).await?,
                    device_config: like,
                    other_config: BTreeMap::new(),
                };
                let created = self.client.pbd().create(&new).await;
                created.map_err(|error| translate("PBD.create", &error))?
            }
            None => {
                let text = format!("SR {sr} is not shared, and the VM's host has no PBD of it");
                return Err(PoolError::new("PBD.create", Trouble::OutOfReach, text));
            }
        };
        let plugged = self.slow().pbd().plug(&pbd).await;
        plugged.map_err(|error| translate("PBD.plug", &error))
    }

    /// The configuration of an SR's first PBD; secrets are references in it.
    async fn any_pbd(
        &self,
        pbds: &[xenapi::reference::PbdRef],
    ) -> PoolResult<BTreeMap<String, String>> {
        for pbd in pbds {
            match self.client.pbd().get_record(pbd).await {
                Ok(found) => return Ok(found.device_config),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(translate("PBD.get_record", &error)),
            }
        }
        let text = "no host has a PBD of the SR";
        Err(PoolError::new("PBD.get_record", Trouble::NotPlugged, text))
    }
}

fn found_instance(
    vm: &VmRecord,
    vbds: &[VbdRecord],
    started_at_us: Option<i64>,
    is_ours: bool,
) -> PoolResult<FoundInstance> {
    let vcpus = u32::try_from(vm.vcpus_at_startup).unwrap_or(0);
    let memory_mib = u64::try_from(vm.memory_static_max).unwrap_or(0) / MIB;
    let named = vm.other_config.get(INSTANCE_TYPE_KEY);
    let unnamed = || format!("xen.{vcpus}x{}", memory_mib.div_ceil(GIB_IN_MIB));
    let mut devices = Vec::new();
    for vbd in vbds.iter().filter(|vbd| !vbd.empty) {
        devices.push(block_device(vbd)?);
    }
    devices.sort_by_key(|(device, _)| (device.position, device.vbd_uuid));
    Ok(FoundInstance {
        uuid: parse("VM.get_all_records_where", &vm.uuid)?,
        name: vm.name_label.clone(),
        power_state: PowerState::parse(&vm.power_state).ok_or_else(|| {
            let text = format!("VM {} is {:?}", vm.uuid, vm.power_state);
            PoolError::new("VM.get_all_records_where", Trouble::Refused, text)
        })?,
        is_control_domain: vm.is_control_domain,
        projects: projects(vm, is_ours),
        instance_type: named.cloned().unwrap_or_else(unnamed),
        vcpus,
        memory_mib,
        started_at_us,
        devices,
    })
}

/// The projects that see a VM.
fn projects(vm: &VmRecord, is_ours: bool) -> Vec<String> {
    let Some(marked) = vm.other_config.get(PROJECT_KEY) else {
        let is_everybodys = is_ours && vm.is_control_domain;
        return is_everybodys
            .then(|| EVERY_PROJECT.to_owned())
            .into_iter()
            .collect();
    };
    let named = marked.split(',').map(str::trim);
    let mut projects: Vec<String> = named
        .filter(|project| !project.is_empty())
        .take(PROJECTS_MAX)
        .map(str::to_owned)
        .collect();
    projects.sort();
    projects.dedup();
    projects
}

fn block_device(vbd: &VbdRecord) -> PoolResult<(BlockDevice, Option<Uuid>)> {
    let device = BlockDevice {
        vbd_uuid: parse("VBD.get_all_records", &vbd.uuid)?,
        position: position(&vbd.userdevice),
        device: match vbd.currently_attached {
            true => vbd.device.clone(),
            false => String::new(),
        },
        is_bootable: vbd
            .fields
            .get("bootable")
            .and_then(xenapi::Value::as_bool)
            .unwrap_or_default(),
        attachment: mark(&vbd.other_config, ATTACHMENT_KEY),
    };
    Ok((device, mark(&vbd.other_config, DEPLOYMENT_KEY)))
}

/// The position of a VBD, which a pool may have as a number or as a name.
fn position(userdevice: &str) -> Option<u32> {
    let number = userdevice.parse().ok();
    number.or_else(|| crate::model::instance::position_of(userdevice, false))
}

#[cfg(test)]
mod tests {
    use xenapi::Value;
    use xenapi::record::Record;

    use super::*;

    const VM: &str = "0123abcd-0000-4000-8000-000000000001";
    const VBD: &str = "0123abcd-0000-4000-8000-000000000002";

    fn map(pairs: &[(&str, &str)]) -> Value {
        let pairs = pairs.iter();
        Value::Struct(
            pairs
                .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
                .collect(),
        )
    }

    fn record<R: Record>(fields: &[(&str, Value)]) -> R {
        let fields = fields.iter().cloned();
        let fields = fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        R::from_fields(fields).unwrap()
    }

    fn vm(other_config: &[(&str, &str)], is_control_domain: bool) -> VmRecord {
        record(&[
            ("uuid", VM.into()),
            ("name_label", "web".into()),
            ("power_state", "Halted".into()),
            ("is_control_domain", is_control_domain.into()),
            ("VCPUs_at_startup", Value::Int(2)),
            ("memory_static_max", Value::Int(4 << 30)),
            ("other_config", map(other_config)),
        ])
    }

    fn vbd(fields: &[(&str, Value)]) -> VbdRecord {
        let uuid = [("uuid", Value::from(VBD))];
        record(&[&uuid, fields].concat())
    }

    #[test]
    fn a_vm_is_what_its_record_says() {
        let cd = vbd(&[("empty", true.into()), ("userdevice", "3".into())]);
        let disk = vbd(&[
            ("userdevice", "1".into()),
            ("device", "xvdb".into()),
            ("bootable", true.into()),
            (
                "other_config",
                map(&[(ATTACHMENT_KEY, VM), (DEPLOYMENT_KEY, VBD)]),
            ),
        ]);
        let found = found_instance(&vm(&[], false), &[cd, disk], Some(7), false).unwrap();
        assert_eq!(found.uuid.to_string(), VM);
        assert_eq!(found.power_state, PowerState::Halted);
        assert_eq!((found.vcpus, found.memory_mib), (2, 4096));
        assert_eq!(found.instance_type, "xen.2x4");
        assert_eq!(found.started_at_us, Some(7));
        let [(device, deployment)] = &found.devices[..] else {
            panic!("an empty drive is no device: {:?}", found.devices);
        };
        assert_eq!((device.position, device.device.as_str()), (Some(1), ""));
        assert!(device.is_bootable);
        assert_eq!(
            device.attachment.map(|id| id.to_string()).as_deref(),
            Some(VM)
        );
        assert_eq!(deployment.map(|id| id.to_string()).as_deref(), Some(VBD));
        let named = vm(&[(INSTANCE_TYPE_KEY, "m5.large")], false);
        let found = found_instance(&named, &[], None, false).unwrap();
        assert_eq!(found.instance_type, "m5.large");
    }

    #[test]
    fn marks_say_who_sees_a_vm() {
        let everybody = [EVERY_PROJECT.to_owned()];
        for (marks, is_control_domain, is_ours, expected) in [
            (None, false, true, &[][..]),
            (None, true, false, &[]),
            (None, true, true, &everybody[..]),
            (Some(""), true, true, &[]),
            (Some("*"), false, false, &everybody),
        ] {
            let marks: Vec<(&str, &str)> = marks.iter().map(|mark| (PROJECT_KEY, *mark)).collect();
            let found = projects(&vm(&marks, is_control_domain), is_ours);
            assert_eq!(found, expected, "{marks:?}");
        }
        let several = vm(&[(PROJECT_KEY, "two, one,,two")], false);
        assert_eq!(projects(&several, false), ["one", "two"]);
    }

    #[test]
    fn positions_are_numbers_or_names() {
        for (userdevice, expected) in [
            ("5", Some(5)),
            ("xvdf", Some(5)),
            ("hda", Some(0)),
            ("autodetect", None),
            ("", None),
        ] {
            assert_eq!(position(userdevice), expected, "{userdevice}");
        }
    }
}
