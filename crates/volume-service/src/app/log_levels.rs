//! How much our processes log, while they run: Cinder's log levels of services.
//!
//! A change lasts until its process ends, and reaches only the process that is asked: an API and the workers beside it. A service
//! that another process lends itself to is refused, with nothing changed; nobody is told that what did not happen did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::overview::{DOWN_AFTER_US, WORKER};
use super::services::SCHEDULER_BINARY;
use super::{Service, limits, policy};
use crate::auth::rule::Rule;
use crate::context::RequestContext;
use crate::db::service_states::{VOLUME_BINARY, volume_host};
use crate::db::services::{self, Heartbeat};
use crate::error::{Error, ErrorKind, Result, Subject};

/// OpenStack's name of what answers requests.
pub const API_BINARY: &str = "cinder-api";
/// OpenStack's name of what makes backups; nothing here does.
pub const BACKUP_BINARY: &str = "cinder-backup";

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing; Cinder has no word for it.
    Off,
    /// What somebody must act on.
    Error,
    /// And what was coped with.
    Warning,
    /// And what was done.
    Info,
    /// And how.
    Debug,
    /// And every step; Cinder has no word for it.
    Trace,
}

impl LogLevel {
    /// Cinder's word, or the next best.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Off => "CRITICAL",
            LogLevel::Error => "ERROR",
            LogLevel::Warning => "WARNING",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        }
    }

    /// The level of a request, in any case.
    ///
    /// # Errors
    /// `Invalid` for what Cinder does not take either.
    pub fn parse(text: &str) -> Result<Self> {
        let all = [
            LogLevel::Error,
            LogLevel::Warning,
            LogLevel::Info,
            LogLevel::Debug,
        ];
        let found = all
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            Error::invalid(format!(
                "Invalid input received: {text} is not a valid log level."
            ))
        })
    }
}

/// What decides which lines a process logs.
pub trait LogFilter: Send + Sync {
    /// The level of each part of the program whose name begins so.
    fn levels(&self, prefix: &str) -> BTreeMap<String, LogLevel>;

    /// Sets the level of all parts whose names begin so, also of those that [`LogFilter::levels`] does not list.
    ///
    /// # Errors
    /// `Invalid` when too many prefixes have levels of their own.
    fn set(&self, prefix: &str, level: LogLevel) -> Result<()>;
}

/// What this process logs, and which workers are in it.
#[derive(Default)]
pub struct ProcessLog {
    filter: OnceLock<Arc<dyn LogFilter>>,
    /// Machine and zone of each.
    workers: Mutex<BTreeSet<(String, String)>>,
}

impl ProcessLog {
    /// Says what decides which lines this process logs; the first word counts.
    pub fn is_decided_by(&self, filter: Arc<dyn LogFilter>) {
        if self.filter.set(filter).is_err() {
            tracing::debug!("what decides about log lines is known already");
        }
    }

    /// Says that a worker of a zone is in this process.
    pub(crate) fn has_worker(&self, machine: &str, zone: &str) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.insert((machine.to_owned(), zone.to_owned()));
    }

    /// True when these workers are all in this process.
    fn holds<'a>(&self, mut workers: impl Iterator<Item = &'a Heartbeat>) -> bool {
        let held = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.all(|one| held.contains(&(one.machine.clone(), one.zone.clone())))
    }
}

/// Whose levels, and of which parts.
#[derive(Clone, Debug, Default)]
pub struct WhichLogs {
    /// One of OpenStack's binaries; none for all.
    pub binary: Option<String>,
    /// One host; none for all.
    pub server: Option<String>,
    /// How the names of the parts begin.
    pub prefix: String,
}

/// The levels of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLevels {
    /// Its host.
    pub host: String,
    /// Its binary.
    pub binary: &'static str,
    /// The level of each part of the program.
    pub levels: BTreeMap<String, LogLevel>,
}

/// The levels of services; administrators only. Those of other processes are left out, unless nothing is left.
///
/// # Errors
/// `Invalid` when only other processes are meant.
pub async fn get(
    service: &Service,
    request: &RequestContext,
    which: WhichLogs,
) -> Result<Vec<ServiceLevels>> {
    let (filter, meant) = meant(service, request, &which).await?;
    let (here, elsewhere): (Vec<_>, Vec<_>) = meant.into_iter().partition(|one| one.is_here);
    if here.is_empty() && !elsewhere.is_empty() {
        return Err(out_of_reach(&elsewhere));
    }
    let levels = filter.levels(&which.prefix);
    Ok(here
        .into_iter()
        .map(|one| ServiceLevels {
            host: one.host,
            binary: one.binary,
            levels: levels.clone(),
        })
        .collect())
}

/// Sets the levels of services; administrators only.
///
/// # Errors
/// `Invalid`, with nothing changed, when one of them is another process.
pub async fn set(
    service: &Service,
    request: &RequestContext,
    which: WhichLogs,
    level: LogLevel,
) -> Result<()> {
    check_prefix(&which.prefix)?;
    let (filter, meant) = meant(service, request, &which).await?;
    let (here, elsewhere): (Vec<_>, Vec<_>) = meant.into_iter().partition(|one| one.is_here);
    if !elsewhere.is_empty() {
        return Err(out_of_reach(&elsewhere));
    }
    if here.is_empty() {
        return Ok(());
    }
    let (prefix, word) = (&which.prefix, level.as_str());
    filter.set(prefix, level)?;
    tracing::warn!(
        prefix,
        level = word,
        user = request.user_id,
        "the log level was changed by a request"
    );
    Ok(())
}

/// A name of modules: anything else would be read as more than one rule by what filters.
fn check_prefix(prefix: &str) -> Result<()> {
    limits::check_text("prefix", prefix)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
    if prefix.bytes().all(is_name) {
        return Ok(());
    }
    Err(Error::invalid(
        "Invalid input received: a prefix is the beginning of a module's name, such as volume_service::api.",
    ))
}

/// A service that is meant.
struct Meant {
    host: String,
    binary: &'static str,
    is_here: bool,
}

async fn meant(
    service: &Service,
    request: &RequestContext,
    which: &WhichLogs,
) -> Result<(Arc<dyn LogFilter>, Vec<Meant>)> {
    policy::check_routed(request, Rule::ServicesUpdate)?;
    let filter = service.log.filter.get().cloned().ok_or_else(|| {
        let why = "The log levels of this process cannot be changed while it runs.";
        Error::new(ErrorKind::NotSupported, Subject::Request, why)
    })?;
    let since_us = service.context.now_us() - DOWN_AFTER_US;
    let mut alive = service
        .database
        .read(move |tx| services::list(tx, since_us))
        .await?;
    alive.retain(|one| one.binary == WORKER);
    let mut all = vec![Meant {
        host: machine_name(),
        binary: API_BINARY,
        is_here: true,
    }];
    let machines: BTreeSet<&str> = alive.iter().map(|one| one.machine.as_str()).collect();
    for machine in machines {
        let on_it = alive.iter().filter(|one| one.machine == machine);
        all.push(Meant {
            host: machine.to_owned(),
            binary: SCHEDULER_BINARY,
            is_here: service.log.holds(on_it),
        });
    }
    let zones: BTreeSet<&str> = alive.iter().map(|one| one.zone.as_str()).collect();
    for zone in zones {
        let of_it = alive.iter().filter(|one| one.zone == zone);
        all.push(Meant {
            host: volume_host(zone),
            binary: VOLUME_BINARY,
            is_here: service.log.holds(of_it),
        });
    }
    all.retain(|one| {
        which
            .binary
            .as_deref()
            .is_none_or(|name| name == one.binary)
            && which.server.as_deref().is_none_or(|host| host == one.host)
    });
    Ok((filter, all))
}

fn out_of_reach(elsewhere: &[Meant]) -> Error {
    let names: Vec<String> = elsewhere
        .iter()
        .map(|one| format!("{} on {}", one.binary, one.host))
        .collect();
    Error::invalid(format!(
        "Invalid input received: {} cannot be reached: only the process that answers a request changes its log levels. \
         Name another binary or server, or set log.filter in the configuration of that process and start it again.",
        names.join(", ")
    ))
}

/// The kernel's name for this machine.
pub(crate) fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
