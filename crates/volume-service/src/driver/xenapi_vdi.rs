//! What the pool behind XenAPI does with VDIs that are there: snapshots, clones, copies, sizes, marks.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;
use xenapi::client::{CopyTarget, Error};
use xenapi::record::VdiRecord;
use xenapi::reference::VdiRef;
use xenapi::schema;

use super::error::{PoolError, Trouble};
use super::marks::{
    DEPLOYMENT_KEY, GENERATION_KEY, KEY_PREFIX, MAKING_KEY, Making, OPERATION_KEY, SELF_KEY,
    SNAPSHOT_KEY, TEMPORARY_KEY, VOLUME_KEY,
};
use super::pool::{ForeignVdi, FoundVdi, Resize, VdiMarks};
use super::xenapi_error::translate;
use super::xenapi_pool::{PoolResult, XenApiPool, done_or_gone, mark, parse};

/// How long the copy of a VDI may take: the largest VHD at 25 MiB/s.
const COPY_DEADLINE: Duration = Duration::from_secs(24 * 3600);

impl XenApiPool {
    pub(super) async fn vdi(&self, uuid: Uuid) -> PoolResult<VdiRef> {
        let found = self.client.vdi().get_by_uuid(&uuid.to_string()).await;
        found.map_err(|error| translate("VDI.get_by_uuid", &error))
    }

    async fn vdi_record(&self, vdi: &VdiRef) -> PoolResult<VdiRecord> {
        let record = self.client.vdi().get_record(vdi).await;
        record.map_err(|error| translate("VDI.get_record", &error))
    }

    pub(super) async fn vdi_if_any(&self, uuid: Uuid) -> PoolResult<Option<FoundVdi>> {
        let found = async {
            let vdi = self.vdi(uuid).await?;
            found_vdi(&self.vdi_record(&vdi).await?)
        };
        match found.await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.trouble == Trouble::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn add_making(
        &self,
        uuid: Uuid,
        making: &Making,
    ) -> PoolResult<Option<String>> {
        const CALL: &str = "VDI.add_to_other_config";
        let vdi = self.vdi(uuid).await?;
        let calls = self.client.vdi();
        let added = calls
            .add_to_other_config(&vdi, MAKING_KEY, &making.to_string())
            .await;
        match added {
            Ok(()) => Ok(None),
            Err(error) if error.is("MAP_DUPLICATE_KEY") => {
                let record = self.vdi_record(&vdi).await?;
                let holder = record.other_config.get(MAKING_KEY).cloned();
                // Taken off in between: as busy as before, the next try gets it.
                Ok(Some(holder.unwrap_or_default()))
            }
            Err(error) => Err(translate(CALL, &error)),
        }
    }

    pub(super) async fn remove_making(&self, uuid: Uuid) -> PoolResult<()> {
        let vdi = match self.vdi(uuid).await {
            Ok(vdi) => vdi,
            Err(error) if error.trouble == Trouble::Gone => return Ok(()),
            Err(error) => return Err(error),
        };
        let calls = self.client.vdi();
        let removed = calls.remove_from_other_config(&vdi, MAKING_KEY).await;
        done_or_gone("VDI.remove_from_other_config", removed)
    }

    pub(super) async fn make_snapshot(&self, uuid: Uuid) -> PoolResult<Uuid> {
        let vdi = self.vdi(uuid).await?;
        let slow = self.slow();
        let made = slow.vdi().snapshot(&vdi, &BTreeMap::new()).await;
        self.uuid_of_new("VDI.snapshot", made).await
    }

    pub(super) async fn make_clone(&self, uuid: Uuid) -> PoolResult<Uuid> {
        let vdi = self.vdi(uuid).await?;
        let slow = self.slow();
        let made = slow.vdi().clone_vdi(&vdi, &BTreeMap::new()).await;
        self.uuid_of_new("VDI.clone", made).await
    }

    /// From here on the VDI exists whatever fails: its marks find it.
    pub(super) async fn uuid_of_new(
        &self,
        call: &'static str,
        made: Result<VdiRef, Error>,
    ) -> PoolResult<Uuid> {
        let vdi = made.map_err(|error| translate(call, &error))?;
        let record = self.vdi_record(&vdi).await;
        let record = record.map_err(PoolError::with_unknown_outcome)?;
        parse("VDI.get_record", &record.uuid).map_err(PoolError::with_unknown_outcome)
    }

    /// As a task, which does not end with a connection.
    pub(super) async fn copy(&self, from: Uuid, into: Uuid) -> PoolResult<()> {
        let (from, into) = (self.vdi(from).await?, self.vdi(into).await?);
        let calls = self.client.vdi();
        let started = calls.start_copy(&from, CopyTarget::Into(&into), None).await;
        let task = started.map_err(|error| translate("Async.VDI.copy", &error))?;
        let tasks = self.client.task();
        let ended = tasks.wait(&task, &schema::Ty::Any, COPY_DEADLINE).await;
        ended
            .map(drop)
            .map_err(|error| translate("VDI.copy", &error))
    }

    pub(super) async fn label(&self, uuid: Uuid, marks: &VdiMarks) -> PoolResult<()> {
        let vdi = self.vdi(uuid).await?;
        let calls = self.client.vdi();
        let (label, description) = marks.owner.label();
        let named = calls.set_name_label(&vdi, &label).await;
        named.map_err(|error| translate("VDI.set_name_label", &error))?;
        let described = calls.set_name_description(&vdi, &description).await;
        described.map_err(|error| translate("VDI.set_name_description", &error))?;
        // What is not ours (`content_id` and the like) stays.
        let mut config = self.vdi_record(&vdi).await?.other_config;
        config.retain(|key, _| !key.starts_with(KEY_PREFIX));
        let (key, value) = marks.owner.mark();
        for (key, value) in [
            (key, value),
            (OPERATION_KEY, marks.operation.to_string()),
            (GENERATION_KEY, marks.generation.to_string()),
            (DEPLOYMENT_KEY, marks.deployment.to_string()),
            (SELF_KEY, uuid.to_string()),
        ] {
            config.insert(key.to_owned(), value);
        }
        let marked = calls.set_other_config(&vdi, &config).await;
        marked.map_err(|error| translate("VDI.set_other_config", &error))
    }

    pub(super) async fn release(&self, uuid: Uuid, name_label: Option<&str>) -> PoolResult<()> {
        let vdi = match self.vdi(uuid).await {
            Ok(vdi) => vdi,
            Err(error) if error.trouble == Trouble::Gone => return Ok(()),
            Err(error) => return Err(error),
        };
        let calls = self.client.vdi();
        let mut config = self.vdi_record(&vdi).await?.other_config;
        config.retain(|key, _| !key.starts_with(KEY_PREFIX));
        let released = calls.set_other_config(&vdi, &config).await;
        done_or_gone("VDI.set_other_config", released)?;
        match name_label {
            Some(name) => {
                let named = calls.set_name_label(&vdi, name).await;
                done_or_gone("VDI.set_name_label", named)
            }
            None => Ok(()),
        }
    }

    pub(super) async fn resize(&self, uuid: Uuid, size_bytes: u64, how: Resize) -> PoolResult<()> {
        let vdi = self.vdi(uuid).await?;
        let size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        let slow = self.slow();
        let (call, resized) = match how {
            Resize::Offline => ("VDI.resize", slow.vdi().resize(&vdi, size).await),
            Resize::Online => (
                "VDI.resize_online",
                slow.vdi().resize_online(&vdi, size).await,
            ),
        };
        resized.map_err(|error| translate(call, &error))
    }
}

/// Reads the records of an SR.
pub(super) fn foreign_vdis(records: &[(VdiRef, VdiRecord)]) -> PoolResult<Vec<ForeignVdi>> {
    let uuids: BTreeMap<&str, &str> = records
        .iter()
        .map(|(vdi, record)| (vdi.as_str(), record.uuid.as_str()))
        .collect();
    let managed = records.iter().map(|(_, record)| record);
    managed
        .filter(|record| record.managed)
        .map(|record| {
            let of = uuids.get(record.snapshot_of.as_str());
            Ok(ForeignVdi {
                marks: found_vdi(record)?,
                name_label: record.name_label.clone(),
                snapshot_of: of.and_then(|uuid| uuid.parse().ok()),
                is_in_use: !record.vbds.is_empty(),
            })
        })
        .collect()
}

/// True for a VDI that carries a mark of ours, be it its own or not.
pub(super) fn is_marked(record: &VdiRecord) -> bool {
    [VOLUME_KEY, SNAPSHOT_KEY, TEMPORARY_KEY, MAKING_KEY]
        .iter()
        .any(|key| record.other_config.contains_key(*key))
}

/// Reads the marks of a VDI; those that name another VDI as their bearer are not its own.
pub(super) fn found_vdi(record: &VdiRecord) -> PoolResult<FoundVdi> {
    let uuid = parse("VDI.get_record", &record.uuid)?;
    let config = &record.other_config;
    let bearer = config.get(SELF_KEY);
    let is_own = bearer.is_none_or(|bearer| bearer.parse() == Ok(uuid));
    Ok(FoundVdi {
        uuid,
        volume: mark(config, VOLUME_KEY).filter(|_| is_own),
        snapshot: mark(config, SNAPSHOT_KEY).filter(|_| is_own),
        is_temporary: is_own && config.contains_key(TEMPORARY_KEY),
        making: mark(config, MAKING_KEY),
        deployment: mark(config, DEPLOYMENT_KEY),
        operation: mark(config, OPERATION_KEY).filter(|_| is_own),
        generation: mark(config, GENERATION_KEY).unwrap_or(0),
        size_bytes: u64::try_from(record.virtual_size).unwrap_or(0),
        is_a_snapshot: record.is_a_snapshot,
    })
}
