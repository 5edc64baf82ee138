//! Backends: what `nova-manage sm backend_*` does; administrators only.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::flavors::counted;
use super::{Service, limits, policy, sr_types};
use crate::auth::rule::Rule;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::backends::NewBackend;
use crate::db::operations::NewOperation;
use crate::db::{backends, flavors, operations, snapshots};
use crate::driver::{Pool, SrSpec, XenApiPool};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::backend::{Backend, BackendUse};
use crate::model::id::{BackendId, OperationId};
use crate::model::operation::OperationKind;
use crate::scheduler::OWN_NAMES;

pub use super::sr_types::{Creation, SrTypeFacts, is_secret, sr_types};
pub use crate::driver::Probed;

/// `sr_uuid=new` makes an SR without a look at what is on the medium.
pub(crate) const NEW_SR: &str = "new";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct AddBackend {
    /// The flavor, by label or id.
    pub flavor: String,
    /// The SR type, any case.
    pub sr_type: String,
    /// `key=value` pairs as given; `name_label`, `name_description` and `sr_uuid` are taken out, secret keys encrypted.
    pub parameters: Vec<(String, String)>,
    /// The zone; none takes the default zone.
    pub zone: Option<String>,
    /// Place in the flavor's order; none puts it last.
    pub position: Option<i64>,
    /// What is said of it for extra specs to find, `key=value` pairs as given.
    pub capabilities: Vec<(String, String)>,
}

/// All backends, or those of a flavor, in the order in which the scheduler tries them.
pub async fn list(
    service: &Service,
    request: &RequestContext,
    flavor: Option<&str>,
) -> Result<Vec<Backend>> {
    policy::check_routed(request, Rule::SchedulerStatsGetPools)?;
    let vault = service.vault.clone();
    let flavor = flavor.map(str::to_owned);
    service
        .database
        .read(move |tx| match &flavor {
            None => backends::list(tx, &vault),
            Some(wanted) => {
                let flavor = flavors::find(tx, wanted)?
                    .ok_or_else(|| Error::not_found(Subject::Flavor, wanted))?;
                backends::of_flavor(tx, &vault, flavor.id)
            }
        })
        .await
}

/// One backend.
pub async fn get(service: &Service, request: &RequestContext, id: BackendId) -> Result<Backend> {
    policy::is_admin(request)?;
    let vault = service.vault.clone();
    service
        .database
        .read(move |tx| backends::get(tx, &vault, id))
        .await
}

/// Adds a backend and asks the zone's workers to connect it. A `sr_uuid=` that another backend has is a conflict.
pub async fn add(
    service: &Service,
    request: &RequestContext,
    wanted: AddBackend,
) -> Result<Backend> {
    policy::is_admin(request)?;
    let facts = sr_types::facts(&wanted.sr_type)?;
    let zone = wanted
        .zone
        .unwrap_or_else(|| service.config.default_zone.clone());
    service.check_zone(&zone)?;
    let given = Parameters::parse(&wanted.parameters)?;
    let capabilities = parse_capabilities(&wanted.capabilities)?;
    sr_types::check_keys(
        facts,
        |key| given.config.contains_key(key) || given.secrets.contains_key(key),
        given.sr_uuid.is_some(),
    )?;
    let vault = service.vault.clone();
    let now_us = service.context.now_us();
    let operation_id = OperationId(service.context.new_uuid());
    let request_id = request.request_id.clone();
    service
        .database
        .write(move |tx| {
            let flavor = flavors::find(tx, &wanted.flavor)?
                .ok_or_else(|| Error::not_found(Subject::Flavor, &wanted.flavor))?;
            let backend = NewBackend {
                flavor_id: flavor.id,
                zone: zone.clone(),
                position: wanted.position,
                sr_type: facts.sr_type.to_owned(),
                sr_uuid: given.sr_uuid,
                name_label: given.name_label.clone(),
                name_description: given.name_description.clone(),
                config: given.config.clone(),
                secrets: given.secrets.clone(),
            };
            let id = backends::insert(tx, &vault, &backend, now_us)?;
            if !capabilities.is_empty() {
                backends::set_capabilities(tx, id, &capabilities)?;
            }
            let operation = NewOperation {
                id: operation_id,
                kind: OperationKind::ConnectBackend,
                target: id.to_string(),
                zone: zone.clone(),
                request_id: request_id.clone(),
                not_before_us: now_us,
            };
            operations::insert(tx, &operation, now_us)?;
            backends::get(tx, &vault, id)
        })
        .await
}

/// What is on a medium: SRs that can be taken over, or, where a parameter is missing, what can be chosen. Nothing is changed.
///
/// # Errors
/// Those of the pool, which must be running; `Invalid` for a type or parameters that cannot be.
pub async fn probe(
    service: &Service,
    request: &RequestContext,
    sr_type: &str,
    parameters: &[(String, String)],
    zone: Option<&str>,
) -> Result<Probed> {
    policy::is_admin(request)?;
    let facts = sr_types::facts(sr_type)?;
    let given = Parameters::parse(parameters)?;
    let zone = zone.unwrap_or(&service.config.default_zone);
    service.check_zone(zone)?;
    let pools = service.config.zones.iter().find(|known| known.name == zone);
    let pool = pools.and_then(|zone| zone.pools.first());
    let pool = pool.ok_or_else(|| Error::not_found(Subject::Zone, zone))?;
    let spec = SrSpec {
        name_label: given.name_label,
        name_description: given.name_description,
        sr_type: facts.sr_type.to_owned(),
        is_shared: facts.is_shared,
        config: given.config,
        secrets: given.secrets,
        mark: String::new(),
    };
    let probed = XenApiPool::new(pool)?.probe_sr(&spec).await;
    probed.map_err(|error| error.on_zone(zone))
}

/// What an operator says of a backend: no word for what it says itself, and none that no extra spec finds.
fn parse_capabilities(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let refused = |why: String| Err(Error::invalid(why));
    if pairs.len() > limits::PARAMETERS_MAX {
        let most = limits::PARAMETERS_MAX;
        return refused(format!(
            "A backend has {} capabilities, more than {most}.",
            pairs.len()
        ));
    }
    let mut all = BTreeMap::new();
    for (name, value) in pairs {
        limits::check_name("capability name", name)?;
        limits::check_text("capability", value)?;
        if name.contains(|letter: char| letter == ':' || letter.is_whitespace()) {
            return refused(format!(
                "The capability name {name} contains a colon or a blank; no extra spec can name it."
            ));
        }
        if OWN_NAMES.contains(&name.as_str()) {
            return refused(format!(
                "The capability {name} is what a backend says of itself; choose another name."
            ));
        }
        if all.insert(name.clone(), value.clone()).is_some() {
            return refused(format!("The capability {name} is given twice."));
        }
    }
    Ok(all)
}

/// `key=value` pairs, sorted out.
struct Parameters {
    name_label: String,
    name_description: String,
    sr_uuid: Option<Uuid>,
    config: BTreeMap<String, String>,
    secrets: BTreeMap<String, Secret>,
}

impl Parameters {
    fn parse(pairs: &[(String, String)]) -> Result<Self> {
        if pairs.len() > limits::PARAMETERS_MAX {
            return Err(Error::invalid(format!(
                "A backend has {} parameters, more than {}.",
                pairs.len(),
                limits::PARAMETERS_MAX
            )));
        }
        let mut parameters = Parameters {
            name_label: String::new(),
            name_description: String::new(),
            sr_uuid: None,
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        let mut seen = BTreeSet::new();
        for (key, value) in pairs {
            limits::check_name("parameter name", key)?;
            if value.len() > limits::PARAMETER_MAX_BYTES || value.contains('\0') {
                return Err(Error::invalid(format!(
                    "The value of {key} is longer than {} bytes or contains a NUL character.",
                    limits::PARAMETER_MAX_BYTES
                )));
            }
            if !seen.insert(key.as_str()) {
                return Err(Error::invalid(format!(
                    "The parameter {key} is given twice."
                )));
            }
            parameters.take(key, value)?;
        }
        Ok(parameters)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "name_label" => {
                limits::check_text("name_label", value)?;
                value.clone_into(&mut self.name_label);
            }
            "name_description" => {
                limits::check_text("name_description", value)?;
                value.clone_into(&mut self.name_description);
            }
            "sr_uuid" if value.eq_ignore_ascii_case(NEW_SR) => {
                self.config.insert(key.to_owned(), NEW_SR.to_owned());
            }
            "sr_uuid" => {
                let uuid = value
                    .parse()
                    .map_err(|_| Error::invalid(format!("sr_uuid={value} is not a uuid.")))?;
                self.sr_uuid = Some(uuid);
            }
            _ if sr_types::is_secret(key) => {
                self.secrets.insert(key.to_owned(), Secret::new(value));
            }
            _ => {
                self.config.insert(key.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }
}

/// Removes a backend; refuses while volumes are on it, saying how many. The SR is forgotten in the pool, never destroyed.
pub async fn remove(service: &Service, request: &RequestContext, id: BackendId) -> Result<()> {
    policy::is_admin(request)?;
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            let volumes = backends::count_volumes(tx, id)?;
            if volumes > 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    Subject::Backend,
                    format!(
                        "Backend {id} has {}; delete them first.",
                        counted(volumes, "volume")
                    ),
                )
                .on(id.to_string()));
            }
            let snapshots = snapshots::count_orphans(tx, id)?;
            if snapshots > 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    Subject::Backend,
                    format!(
                        "Backend {id} has {} of volumes that are gone; delete them first.",
                        counted(snapshots, "snapshot")
                    ),
                )
                .on(id.to_string()));
            }
            if !backends::remove(tx, id, now_us)? {
                return Err(Error::not_found(Subject::Backend, id));
            }
            // The SR that it leaves is forgotten by the zone's workers.
            tx.wake_workers();
            Ok(())
        })
        .await
}

/// Lets the scheduler use it, or not.
pub async fn set_use(
    service: &Service,
    request: &RequestContext,
    id: BackendId,
    usage: BackendUse,
) -> Result<Backend> {
    policy::is_admin(request)?;
    let vault = service.vault.clone();
    service
        .database
        .write(move |tx| {
            backends::set_use(tx, id, usage)?;
            backends::get(tx, &vault, id)
        })
        .await
}

/// Moves it in its flavor's order.
pub async fn set_position(
    service: &Service,
    request: &RequestContext,
    id: BackendId,
    position: i64,
) -> Result<Backend> {
    policy::is_admin(request)?;
    let vault = service.vault.clone();
    service
        .database
        .write(move |tx| {
            backends::set_position(tx, id, position)?;
            backends::get(tx, &vault, id)
        })
        .await
}
