//! Flavors: read by everybody, made and removed by administrators.

use super::{Service, limits, policy};
use crate::context::RequestContext;
use crate::db::flavors;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::flavor::Flavor;
use crate::model::id::FlavorId;

/// The flavor of requests that name none.
pub const DEFAULT_LABEL: &str = "default";

/// Every flavor, by label.
pub async fn list(service: &Service, request: &RequestContext) -> Result<Vec<Flavor>> {
    policy::may_read(request)?;
    service.database.read(flavors::list).await
}

/// A flavor by label or id.
pub async fn get(service: &Service, request: &RequestContext, id_or_label: &str) -> Result<Flavor> {
    policy::may_read(request)?;
    let wanted = id_or_label.to_owned();
    service
        .database
        .read(move |tx| {
            flavors::find(tx, &wanted)?.ok_or_else(|| Error::not_found(Subject::Flavor, &wanted))
        })
        .await
}

/// The flavor of requests that name none: the one called `default`, else none.
pub async fn default(service: &Service, request: &RequestContext) -> Result<Option<Flavor>> {
    policy::may_read(request)?;
    service
        .database
        .read(|tx| flavors::find(tx, DEFAULT_LABEL))
        .await
}

/// Makes a flavor; a label that exists is a conflict.
pub async fn create(
    service: &Service,
    request: &RequestContext,
    label: &str,
    description: &str,
) -> Result<Flavor> {
    policy::is_admin(request)?;
    limits::check_name("flavor label", label)?;
    limits::check_text("description", description)?;
    let flavor = Flavor {
        id: FlavorId(service.context.new_uuid()),
        label: label.to_owned(),
        description: description.to_owned(),
        is_public: true,
        qos_id: None,
        encryption: None,
        created_at_us: service.context.now_us(),
    };
    service
        .database
        .write(move |tx| {
            if flavors::insert(tx, &flavor)? {
                return Ok(flavor.clone());
            }
            Err(Error::new(
                ErrorKind::Conflict,
                Subject::Flavor,
                format!("Flavor {} already exists.", flavor.label),
            )
            .on(flavor.label.clone()))
        })
        .await
}

/// Removes a flavor; refuses while it has backends or volumes, saying how many.
pub async fn delete(service: &Service, request: &RequestContext, id_or_label: &str) -> Result<()> {
    policy::is_admin(request)?;
    let wanted = id_or_label.to_owned();
    service
        .database
        .write(move |tx| {
            let flavor = flavors::find(tx, &wanted)?
                .ok_or_else(|| Error::not_found(Subject::Flavor, &wanted))?;
            let (backends, volumes) = flavors::count_users(tx, flavor.id)?;
            if backends > 0 || volumes > 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    Subject::Flavor,
                    format!(
                        "Flavor {} has {} and {}; remove them first.",
                        flavor.label,
                        counted(backends, "backend"),
                        counted(volumes, "volume")
                    ),
                )
                .on(flavor.label));
            }
            flavors::remove(tx, flavor.id)?;
            Ok(())
        })
        .await
}

/// `1 volume`, `2 volumes`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}
