//! Backups, for which there is no service: what is asked of it is judged by Cinder's rules and answered as Cinder answers while
//! its backup service is away.

use super::{Service, policy, volumes};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::VolumeId;

/// There are none to be listed.
pub fn list(request: &RequestContext) -> Result<()> {
    policy::check(request, Rule::BackupGetAll)
}

/// There is nobody to make one of the volume.
///
/// # Errors
/// `NotFound` about the volume; else `Unavailable`.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    volume_id: VolumeId,
) -> Result<()> {
    policy::check(request, Rule::BackupCreate)?;
    volumes::get(service, request, volume_id).await?;
    Err(unavailable())
}

/// There is nobody to take a record in.
///
/// # Errors
/// `Unavailable`.
pub fn import(request: &RequestContext) -> Result<()> {
    policy::check(request, Rule::BackupBackupImport)?;
    Err(unavailable())
}

/// There is none of this id, whatever is to be done with it.
///
/// # Errors
/// `NotFound`.
pub fn find(request: &RequestContext, id: &str) -> Result<()> {
    policy::check_routed(request, Rule::BackupGet)?;
    let text = format!("Backup {id} could not be found.");
    Err(Error::new(ErrorKind::NotFound, Subject::Request, text).on(id))
}

fn unavailable() -> Error {
    let text = "Service cinder-backup could not be found.";
    Error::new(ErrorKind::Unavailable, Subject::Request, text)
}
