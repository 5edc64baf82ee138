//! The mark of `os-reserve`: a volume that is reserved in the way of before attachments (3.27) is `attaching`, as in Cinder.
//!
//! It is the volume's state alone, beside an attachment that is reserved as every other one. It ends when that attachment
//! changes. A crash before it leaves the volume `reserved`, from which everything goes on as well.

use super::Service;
use crate::db::volumes;
use crate::error::Result;
use crate::model::id::VolumeId;
use crate::model::volume::VolumeStatus;

/// Sets the mark on a volume that is reserved; on another one it does nothing.
pub async fn mark(service: &Service, id: VolumeId) -> Result<()> {
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let (from, to) = (VolumeStatus::Reserved, VolumeStatus::Attaching);
            volumes::change_status(tx, id, &[from], to, now_us)?;
            Ok(())
        })
        .await
}
