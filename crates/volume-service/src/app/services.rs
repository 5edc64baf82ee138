//! Services as OpenStack knows them: what serves the volumes of a zone, and what schedules on a machine.
//!
//! Our processes are the same everywhere: any worker of a zone serves all of its backends. So there is one `cinder-volume` for each
//! zone, up while a worker of it lives, and one `cinder-scheduler` for each machine that a process lives on.

use std::collections::BTreeMap;

use super::overview::{DOWN_AFTER_US, FORGOTTEN_AFTER_US, WORKER};
use super::{Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::service_states::{self, ServiceState, VOLUME_BINARY, volume_host};
use crate::db::zone_usage::{self, ZoneUsage};
use crate::db::{self, Transaction};
use crate::error::{Error, ErrorKind, Result, Subject};

/// OpenStack's name of what places volumes.
pub const SCHEDULER_BINARY: &str = "cinder-scheduler";
/// Projects of which a host tells what they have there.
const PROJECTS_MAX: usize = 1000;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// `cinder-volume` or `cinder-scheduler`.
    pub binary: String,
    /// `xensm@<zone>`, or the machine's name.
    pub host: String,
    /// The zone that it serves; the default zone for a scheduler.
    pub zone: String,
    /// True while a process says that it lives.
    pub is_up: bool,
    /// True when nothing new is placed there.
    pub is_disabled: bool,
    /// Why it is disabled.
    pub reason: Option<String>,
    /// True when what is there may not be changed.
    pub is_frozen: bool,
    /// When a process last said that it lives, or an administrator last said something of it; microseconds since 1970.
    pub updated_at_us: i64,
}

impl ServiceStatus {
    /// True when this is what a filter names: its host, or all hosts before their `@`.
    pub fn is_on(&self, host: &str) -> bool {
        self.host == host
            || self
                .host
                .strip_prefix(host)
                .is_some_and(|rest| rest.starts_with('@'))
    }
}

/// What an administrator makes of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usability {
    /// Volumes are placed there.
    Enabled,
    /// None are.
    Disabled {
        /// Why; may be empty.
        reason: String,
    },
}

/// Whether what a host has may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// It may not.
    Frozen,
    /// It may.
    Thawed,
}

/// Every service, by binary and host; administrators only.
pub async fn list(service: &Service, request: &RequestContext) -> Result<Vec<ServiceStatus>> {
    policy::check_routed(request, Rule::ServicesIndex)?;
    let looked = Look::of(service);
    service.database.read(move |tx| looked.services(tx)).await
}

/// Enables or disables a service.
///
/// # Errors
/// `NotFound` for a service that does not live and did not lately.
pub async fn set_usability(
    service: &Service,
    request: &RequestContext,
    binary: &str,
    host: &str,
    usability: Usability,
) -> Result<()> {
    policy::check_routed(request, Rule::ServicesUpdate)?;
    let (is_disabled, reason) = match usability {
        Usability::Enabled => (false, String::new()),
        Usability::Disabled { reason } => (true, reason),
    };
    limits::check_text("reason", &reason)?;
    let looked = Look::of(service);
    let (binary, host) = (binary.to_owned(), host.to_owned());
    service
        .database
        .write(move |tx| {
            let services = looked.services(tx)?;
            let is_it = |one: &ServiceStatus| one.binary == binary && one.host == host;
            if !services.iter().any(is_it) {
                return Err(no_service(&binary, &host));
            }
            let name = (binary.as_str(), host.as_str());
            service_states::set_disabled(tx, name, is_disabled, &reason, looked.now_us)
        })
        .await
}

/// Freezes or thaws what serves volumes on a host.
///
/// # Errors
/// `Invalid` for a host that serves none.
pub async fn set_frozen(
    service: &Service,
    request: &RequestContext,
    host: &str,
    freeze: Freeze,
) -> Result<()> {
    policy::check_routed(request, Rule::VolumeFreezeHost)?;
    let looked = Look::of(service);
    let host = host.to_owned();
    service
        .database
        .write(move |tx| {
            let services = looked.services(tx)?;
            let is_it = |one: &ServiceStatus| one.binary == VOLUME_BINARY && one.host == host;
            if !services.iter().any(is_it) {
                return Err(Error::invalid(format!(
                    "Invalid input received: {}",
                    no_service(VOLUME_BINARY, &host).public
                )));
            }
            service_states::set_frozen(tx, &host, freeze == Freeze::Frozen, looked.now_us)
        })
        .await
}

/// What each project has on a host that serves volumes.
pub async fn usage_of_host(
    service: &Service,
    request: &RequestContext,
    host: &str,
) -> Result<Vec<ZoneUsage>> {
    policy::check(request, Rule::Hosts)?;
    let looked = Look::of(service);
    let host = host.to_owned();
    service
        .database
        .read(move |tx| {
            let services = looked.services(tx)?;
            let found = services
                .iter()
                .find(|one| one.binary == VOLUME_BINARY && one.host == host && !one.is_disabled);
            let Some(found) = found else {
                return Err(no_service(VOLUME_BINARY, &host));
            };
            zone_usage::by_project(tx, &found.zone, PROJECTS_MAX)
        })
        .await
}

/// Refuses to change what lies in a zone that is frozen.
pub(super) fn check_not_frozen(tx: &mut Transaction<'_>, zone: &str) -> Result<()> {
    refuse_frozen(service_states::restriction(tx, zone)?)
}

/// As [`check_not_frozen`], by what was said of the zone's service.
pub(super) fn refuse_frozen(found: Option<ServiceState>) -> Result<()> {
    if found.is_some_and(|state| state.is_frozen) {
        return Err(Error::invalid(
            "Invalid input received: Modification operations are not allowed on frozen storage backends.",
        ));
    }
    Ok(())
}

fn no_service(binary: &str, host: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        Subject::Request,
        format!("Service {binary} could not be found on host {host}."),
    )
    .on(host)
}

/// When and where services are looked for.
#[derive(Clone)]
struct Look {
    now_us: i64,
    default_zone: String,
}

impl Look {
    fn of(service: &Service) -> Self {
        Look {
            now_us: service.context.now_us(),
            default_zone: service.config.default_zone.clone(),
        }
    }

    fn services(&self, tx: &mut Transaction<'_>) -> Result<Vec<ServiceStatus>> {
        // When each was last heard of, and the zone that it serves.
        let mut heard: BTreeMap<(String, String), (String, i64)> = BTreeMap::new();
        for beat in db::services::list(tx, self.now_us - FORGOTTEN_AFTER_US)? {
            let mut note = |binary: &str, host: String, zone: &str| {
                let key = (binary.to_owned(), host);
                let entry = heard.entry(key).or_insert((zone.to_owned(), 0));
                entry.1 = entry.1.max(beat.updated_at_us);
            };
            if beat.binary == WORKER {
                note(VOLUME_BINARY, volume_host(&beat.zone), &beat.zone);
            }
            note(SCHEDULER_BINARY, beat.machine.clone(), &self.default_zone);
        }
        let states = service_states::list(tx)?;
        let said = |binary: &str, host: &str| -> ServiceState {
            let mut all = states.iter();
            let found = all.find(|state| state.binary == binary && state.host == host);
            found.cloned().unwrap_or_default()
        };
        Ok(heard
            .into_iter()
            .map(|((binary, host), (zone, heard_at_us))| {
                let state = said(&binary, &host);
                ServiceStatus {
                    is_up: heard_at_us >= self.now_us - DOWN_AFTER_US,
                    updated_at_us: heard_at_us.max(state.modified_at_us),
                    reason: Some(state.reason).filter(|reason| !reason.is_empty()),
                    is_disabled: state.is_disabled,
                    is_frozen: state.is_frozen,
                    binary,
                    host,
                    zone,
                }
            })
            .collect())
    }
}
