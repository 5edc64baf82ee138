//! Changed block tracking. Source: reference 1.9; golden 07.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;
use xenapi::{Failure, Value};

use super::vdi::{begun, for_clients, uuid_of};
use crate::database::Objects;
use crate::server::allowed::{self, CBT_METADATA};
use crate::server::call::Call;
use crate::server::operations::{self, Sharing};
use crate::server::vdi_records::{self, CONTENT_ID, NO_CONTENT};
use crate::server::{attachments, images, storage};
use crate::sr::{AttachedSr, FoundVdi};

/// `VDI.enable_cbt`; the driver does nothing when it is enabled already.
pub async fn enable(call: &Call, vdi: &str) -> Result<Value, Failure> {
    refuse_snapshot(&call.server.database.read(), vdi)?;
    let work = |driver: &dyn AttachedSr, uuid| driver.enable_cbt(uuid);
    change(call, vdi, "enable_cbt", work).await
}

/// `VDI.disable_cbt`; the driver does nothing when it is disabled already.
pub async fn disable(call: &Call, vdi: &str) -> Result<Value, Failure> {
    refuse_snapshot(&call.server.database.read(), vdi)?;
    let work = |driver: &dyn AttachedSr, uuid| driver.disable_cbt(uuid);
    change(call, vdi, "disable_cbt", work).await
}

fn refuse_snapshot(objects: &Objects, vdi: &str) -> Result<(), Failure> {
    if objects.get("VDI", vdi)?.flag("is_a_snapshot") {
        let reason = format!("VDI is a snapshot: {vdi}");
        return Err(Failure::new("OPERATION_NOT_ALLOWED", [reason]));
    }
    Ok(())
}

/// Changes a VDI and records what the driver says of it then. A crash in between leaves a record that the scan after the next
/// start brings in line.
async fn change(
    call: &Call,
    vdi: &str,
    operation: &str,
    work: fn(&dyn AttachedSr, Uuid) -> Result<FoundVdi, Failure>,
) -> Result<Value, Failure> {
    let server = &call.server;
    let (sr, uuid) = begun(&server.database.read(), vdi, operation)?;
    let on_sr = format!("vdi_{operation}");
    let _on_sr = operations::begin(call, "SR", &sr, &on_sr, Sharing::Shared).await?;
    let _on_vdi = operations::begin(call, "VDI", vdi, operation, Sharing::Exclusive).await?;
    allowed::check_vdi(&server.database.read(), vdi, operation)?;
    let changed = images::change(server, &sr, move |driver| work(driver, uuid));
    let found = changed
        .await
        .map_err(|failure| for_clients(failure, &sr, vdi, uuid))?;
    let written = server
        .database
        .write(|transaction| vdi_records::refresh(transaction, vdi, &found));
    written.await.map(|()| Value::Nil)
}

/// `VDI.data_destroy`: deletes the data of a snapshot and keeps its change-tracking log. Doing it twice is no error.
///
/// Medium before record: a crash in between leaves a record that the scan after the next start gives its type.
pub async fn data_destroy(call: &Call, vdi: &str) -> Result<Value, Failure> {
    let server = &call.server;
    {
        let objects = server.database.read();
        let record = objects.get("VDI", vdi)?;
        if !record.flag("is_a_snapshot") {
            let reason = format!("VDI is not a snapshot: {vdi}");
            return Err(Failure::new("OPERATION_NOT_ALLOWED", [reason]));
        }
        if record.text("type") == CBT_METADATA {
            return Ok(Value::Nil);
        }
        if !record.flag("cbt_enabled") {
            return Err(Failure::new("VDI_NO_CBT_METADATA", [vdi]));
        }
    }
    let (sr, uuid) = begun(&server.database.read(), vdi, "data_destroy")?;
    let _on_sr = operations::begin(call, "SR", &sr, "vdi_data_destroy", Sharing::Shared).await?;
    let _on_vdi = operations::begin(call, "VDI", vdi, "data_destroy", Sharing::Exclusive).await?;
    allowed::check_vdi(&server.database.read(), vdi, "data_destroy")?;
    storage::attached(server, &sr)?;
    attachments::withdraw_unplugged(server, &sr, vec![uuid.to_string()]).await?;
    let destroyed = images::change(server, &sr, move |driver| driver.destroy_vdi_data(uuid));
    let found = destroyed
        .await
        .map_err(|failure| for_clients(failure, &sr, vdi, uuid))?;
    let written = server.database.write(|transaction| {
        vdi_records::refresh(transaction, vdi, &found)?;
        transaction.set("VDI", vdi, "type", CBT_METADATA)?;
        transaction.set_entry("VDI", vdi, "other_config", CONTENT_ID, Some(NO_CONTENT))
    });
    written.await.map(|()| Value::Nil)
}

/// `VDI.list_changed_blocks`: base64 of one bit for each 64 KiB.
pub async fn list_changed_blocks(call: &Call, from: &str, to: &str) -> Result<Value, Failure> {
    let server = &call.server;
    let (sr, from_uuid, to_uuid) = {
        let objects = server.database.read();
        let (source, target) = (objects.get("VDI", from)?, objects.get("VDI", to)?);
        let sr = source.text("SR").to_owned();
        let record = objects.get("SR", &sr)?;
        if !allowed::is_capable(&objects, record, "VDI_CONFIG_CBT") {
            return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [sr]));
        }
        (sr, uuid_of(source)?, uuid_of(target)?)
    };
    let on_sr = "vdi_list_changed_blocks";
    let _on_sr = operations::begin(call, "SR", &sr, on_sr, Sharing::Shared).await?;
    let listed = storage::on_sr(server, &sr, move |driver| {
        driver.changed_blocks(from_uuid, to_uuid)
    });
    let bitmap = listed
        .await
        .map_err(|failure| for_clients(failure, &sr, from, from_uuid))?;
    Ok(STANDARD.encode(bitmap).into())
}
