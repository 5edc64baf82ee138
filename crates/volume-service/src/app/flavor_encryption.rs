//! How flavors' volumes are encrypted; administrators only. It stays as it is while there are volumes of the flavor.

use super::flavors::{existing, without_volumes};
use super::{Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::{Transaction, flavor_encryption};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::flavor::{ControlLocation, Encryption};
use crate::model::id::FlavorId;
use crate::model::volume::Volume;

/// What is asked for; none leaves what is there, or takes none.
#[derive(Clone, Debug, Default)]
pub struct WantedEncryption {
    /// What encrypts.
    pub provider: Option<String>,
    /// Who does it.
    pub control_location: Option<ControlLocation>,
    /// The cipher.
    pub cipher: Option<String>,
    /// Bits of the key.
    pub key_size: Option<i64>,
}

/// A flavor's encryption, if it has one.
pub async fn get(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
) -> Result<Option<Encryption>> {
    policy::check(request, Rule::VolumeTypeEncryptionGet)?;
    service
        .database
        .read(move |tx| {
            existing(tx, id)?;
            flavor_encryption::find(tx, id)
        })
        .await
}

/// Gives a flavor encryption.
///
/// # Errors
/// `Invalid` when it has one, while there are volumes of it, and without a provider or a control location.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    wanted: WantedEncryption,
) -> Result<Encryption> {
    policy::check(request, Rule::VolumeTypeEncryptionCreate)?;
    check(&wanted)?;
    let now_us = service.context.now_us();
    let fresh = Encryption {
        id: service.context.new_uuid(),
        provider: wanted
            .provider
            .ok_or_else(|| Error::invalid("Encryption needs a provider."))?,
        control_location: wanted
            .control_location
            .ok_or_else(|| Error::invalid("Encryption needs a control location."))?,
        cipher: wanted.cipher,
        key_size: wanted.key_size,
        created_at_us: now_us,
        updated_at_us: now_us,
    };
    service
        .database
        .write(move |tx| {
            let in_use = "Cannot create encryption specs. Volume type in use.";
            without_volumes(tx, id, in_use)?;
            if flavor_encryption::insert(tx, id, &fresh)? {
                return Ok(fresh.clone());
            }
            Err(Error::invalid(format!(
                "Volume type encryption for type {id} already exists."
            )))
        })
        .await
}

/// Changes a flavor's encryption.
///
/// # Errors
/// `NotFound` when it has none; `Invalid` while there are volumes of it.
pub async fn update(
    service: &Service,
    request: &RequestContext,
    id: FlavorId,
    wanted: WantedEncryption,
) -> Result<()> {
    policy::check(request, Rule::VolumeTypeEncryptionUpdate)?;
    check(&wanted)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let in_use = "Cannot update encryption specs. Volume type in use.";
            without_volumes(tx, id, in_use)?;
            let known = present(tx, id)?;
            let changed = Encryption {
                id: known.id,
                provider: wanted.provider.clone().unwrap_or(known.provider),
                control_location: wanted.control_location.unwrap_or(known.control_location),
                cipher: wanted.cipher.clone().or(known.cipher),
                key_size: wanted.key_size.or(known.key_size),
                created_at_us: known.created_at_us,
                updated_at_us: now_us,
            };
            flavor_encryption::update(tx, id, &changed).map(drop)
        })
        .await
}

/// Takes a flavor's encryption away.
///
/// # Errors
/// `NotFound` when it has none; `Invalid` while there are volumes of it.
pub async fn remove(service: &Service, request: &RequestContext, id: FlavorId) -> Result<()> {
    policy::check(request, Rule::VolumeTypeEncryptionDelete)?;
    service
        .database
        .write(move |tx| {
            let in_use = "Cannot delete encryption specs. Volume type in use.";
            without_volumes(tx, id, in_use)?;
            present(tx, id)?;
            flavor_encryption::remove(tx, id).map(drop)
        })
        .await
}

/// How a volume is encrypted that the requester may know of.
pub async fn of_volume(service: &Service, volume: &Volume) -> Result<Option<Encryption>> {
    let id = volume.flavor_id;
    service
        .database
        .read(move |tx| flavor_encryption::find(tx, id))
        .await
}

/// The error of a flavor without encryption.
pub fn missing(id: FlavorId) -> Error {
    let text = format!("Volume type encryption for type {id} does not exist.");
    Error::new(ErrorKind::NotFound, Subject::Request, text).on(id.to_string())
}

fn present(tx: &mut Transaction<'_>, id: FlavorId) -> Result<Encryption> {
    flavor_encryption::find(tx, id)?.ok_or_else(|| missing(id))
}

fn check(wanted: &WantedEncryption) -> Result<()> {
    limits::check_text("provider", wanted.provider.as_deref().unwrap_or_default())?;
    limits::check_text("cipher", wanted.cipher.as_deref().unwrap_or_default())
}
