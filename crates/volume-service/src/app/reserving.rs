//! The mark of `os-reserve`: a volume that is reserved in the way of before attachments (3.27) is `attaching`, as in Cinder.
//!
//! It is the volume's state alone, beside an attachment that is reserved as every other one. It ends when that attachment
//! changes. A crash before it leaves the volume `reserved`, from which everything goes on as well.

use super::Service;
use crate::db::{attachments, volumes};
use crate::error::Result;
use crate::model::attachment::{Attachment, AttachmentStatus};
use crate::model::id::{AttachmentId, VolumeId};
use crate::model::volume::VolumeStatus;

/// Sets the mark on a volume that this attachment reserves; when it does not any more, it does nothing.
pub async fn mark(service: &Service, id: VolumeId, attachment: AttachmentId) -> Result<()> {
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            volumes::lock(tx, id)?;
            let others = attachments::of_volume(tx, id)?;
            let is_ours =
                |one: &Attachment| one.id == attachment && one.status == AttachmentStatus::Reserved;
            if others.len() == 1 && others.iter().all(is_ours) {
                let (from, to) = (VolumeStatus::Reserved, VolumeStatus::Attaching);
                volumes::change_status(tx, id, &[from], to, now_us)?;
            }
            Ok(())
        })
        .await
}
