//! `VDI.resize` and `VDI.resize_online`. Source: reference 2.6 and 5.10; golden 05, scenario resize.

use xenapi::{Failure, Value};

use super::vdi::{begun, for_clients};
use crate::server::call::Call;
use crate::server::operations::{self, Sharing};
use crate::server::{allowed, images, vdi_records};

/// Grows a VDI: one that is not attached, or with `resize_online` any.
///
/// Medium before record: a crash in between leaves a record with the old size, which the scan after the next start corrects.
pub async fn run(call: &Call, vdi: &str, operation: &str, size: i64) -> Result<Value, Failure> {
    let server = &call.server;
    let (sr, uuid) = begun(&server.database.read(), vdi, operation)?;
    let _on_sr = operations::begin(call, "SR", &sr, "vdi_resize", Sharing::Shared).await?;
    let _on_vdi = operations::begin(call, "VDI", vdi, operation, Sharing::Exclusive).await?;
    allowed::check_vdi(&server.database.read(), vdi, operation)?;
    // A negative size is too small for every driver; it is refused by it as one that is too large.
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    let resized = images::change(server, &sr, move |driver| driver.resize_vdi(uuid, size));
    let found = resized
        .await
        .map_err(|failure| for_clients(failure, &sr, vdi, uuid))?;
    let written = server
        .database
        .write(|transaction| vdi_records::refresh(transaction, vdi, &found));
    written.await?;
    tracing::info!(vdi.uuid = %uuid, size_bytes = found.virtual_size, "a VDI was resized");
    Ok(Value::Nil)
}
