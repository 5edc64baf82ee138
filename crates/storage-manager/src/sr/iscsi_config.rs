//! What `device_config` says of iSCSI targets, and the sessions that come of it.
//!
//! Source: reference 4.7.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use xenapi::Failure;

use super::SrParams;
use crate::Secret;
use crate::medium::iscsi::{
    Credentials, DEFAULT_PORT, Error, Login, Portal, PortalError, Refusal, Session, Target,
    discover, resolve,
};
use crate::medium::probe_document::ProbeDocument;

/// Stands for every target of a portal.
const ALL_TARGETS: &str = "*";

/// Most sessions of one SR.
const MAX_SESSIONS: usize = 32;

/// After how much silence a connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(8);

/// After how long a command fails that could not be carried out. It is tried again for a minute, while a target is restarted, but
/// not before the owner record was asked: an owner's writes must end within 10 s of its last look at the record.
const DEADLINE: Duration = Duration::from_secs(9);

/// After how much silence one of several connections counts as lost.
const PATH_PATIENCE: Duration = Duration::from_secs(4);

/// After how long I/O goes on over another path.
const PATH_DEADLINE: Duration = Duration::from_secs(6);

/// What is configured.
pub struct IscsiConfig {
    /// The hosts, by name or by number.
    hosts: Vec<String>,
    port: u16,
    /// The names of targets; empty where none is given, `*` for all.
    pub targets: Vec<String>,
    initiator: String,
    credentials: Option<Credentials>,
    target_credentials: Option<Credentials>,
    multihomed: bool,
    /// Portals and targets of an earlier attach.
    sessions: Vec<(Portal, String)>,
    /// The one LUN that is meant, if it is one.
    pub scsi_id: Option<String>,
    /// Its number, in the place of its id.
    pub lun_id: Option<u16>,
}

impl IscsiConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// 95 without `target`, 142 for a port that is none, 97 without a name for this initiator, 68 for half of a pair of
    /// credentials, 1 for lists that make no sense.
    pub fn of(params: &SrParams) -> Result<Self, Failure> {
        let config = &params.device_config;
        let get = |key: &str| {
            let text = config.get(key).map(|text| text.trim());
            text.filter(|text| !text.is_empty())
        };
        let hosts = words(get("target"), ',');
        if hosts.is_empty() {
            let text = "The request is missing the target parameter";
            return Err(Failure::backend(95, text, "", ""));
        }
        let port = match get("port") {
            None => DEFAULT_PORT,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => {
                    let detail = format!("port {text:?} is not between 1 and 65535");
                    return Err(Failure::backend(
                        142,
                        "The iSCSI port is not valid",
                        &detail,
                        "",
                    ));
                }
            },
        };
        let initiator = get("localIQN").ok_or_else(|| {
            Failure::backend(
                97,
                "Unable to retrieve the host configuration ISCSI IQN parameter",
                "give this host a name by host.set_iscsi_iqn, or the SR one by device_config:localIQN",
                "",
            )
        })?;
        Ok(IscsiConfig {
            hosts,
            port,
            targets: words(get("targetIQN"), ','),
            initiator: initiator.to_owned(),
            credentials: credentials(config, "chapuser", "chappassword")?,
            target_credentials: credentials(config, "incoming_chapuser", "incoming_chappassword")?,
            multihomed: get("multihomed") == Some("true"),
            sessions: sessions(get("multiSession"))?,
            scsi_id: get("SCSIid").map(str::to_owned),
            lun_id: lun_number(get("LUNid"))?,
        })
    }

    /// The hosts as they were given.
    pub fn hosts(&self) -> String {
        self.hosts.join(",")
    }

    /// The targets as they were given.
    pub fn target_list(&self) -> String {
        self.targets.join(",")
    }

    /// Asks the portals for their targets. One that does not answer hides no other.
    ///
    /// # Errors
    /// 140 when no name resolves; else the failure of the first portal when none answers.
    pub fn discover(&self) -> Result<Vec<Target>, Failure> {
        let mut found: Vec<Target> = Vec::new();
        let mut failure = None;
        for portal in self.portals()? {
            let (ours, theirs) = (self.credentials.as_ref(), self.target_credentials.as_ref());
            match discover(portal, &self.initiator, ours, theirs) {
                Ok(targets) => {
                    let known = |target: &Target| found.iter().any(|it| it.name == target.name);
                    let new: Vec<Target> = targets.into_iter().filter(|it| !known(it)).collect();
                    found.extend(new);
                }
                Err(error) => {
                    tracing::warn!(error = error.chain_text(), "a portal was not discovered");
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(discovery_failure(&error)),
            _ => Ok(found),
        }
    }

    /// 96: no target is named, or none of that name is there. The document lists those that are.
    pub fn no_target(&self, detail: &str) -> Failure {
        let document = match self.discover() {
            Ok(targets) => target_list(&targets),
            Err(failure) => return failure,
        };
        Failure::backend(
            96,
            "The request is missing or has an incorrect target IQN parameter",
            detail,
            &document,
        )
    }

    /// Logs in to all portals and targets that are configured; those that do not let us in hide no other.
    ///
    /// # Errors
    /// 96 when no target is named or there is none, 68 when the login is refused, 141 when nothing answers.
    pub fn login(&self) -> Result<Vec<Arc<Session>>, Failure> {
        if self.targets.is_empty() {
            return Err(self.no_target("name one of the targets by device_config:targetIQN"));
        }
        let places = self.places()?;
        if places.is_empty() {
            return Err(self.no_target("the portals show no such target"));
        }
        if places.len() > MAX_SESSIONS {
            let detail = format!(
                "{} sessions would be needed, {MAX_SESSIONS} are possible; name fewer targets",
                places.len()
            );
            return Err(Failure::backend(1, "Invalid argument", &detail, ""));
        }
        let is_one = places.len() == 1;
        // At once, so that portals that do not answer cost one wait.
        let ends: Vec<_> = std::thread::scope(|scope| {
            let threads = places.into_iter().map(|(portal, target)| {
                let login = self.login_to(portal, target, is_one);
                scope.spawn(|| Session::login(login))
            });
            let threads: Vec<_> = threads.collect();
            let ends = threads.into_iter();
            ends.filter_map(|thread| thread.join().ok()).collect()
        });
        let mut sessions = Vec::new();
        let mut failure = None;
        for end in ends {
            match end {
                Ok(session) => sessions.push(session),
                Err(error) => {
                    tracing::warn!(error = error.chain_text(), "a login failed");
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            Some(error) if sessions.is_empty() => Err(self.login_failure(&error)),
            _ => Ok(sessions),
        }
    }

    fn login_to(&self, portal: Portal, target: String, is_one: bool) -> Login {
        // Random: a session with the identifier of another one of ours would end that.
        let [a, b, c, d, e, ..] = *Uuid::new_v4().as_bytes();
        Login {
            portal,
            target,
            initiator: self.initiator.clone(),
            credentials: self.credentials.clone(),
            target_credentials: self.target_credentials.clone(),
            isid: (u32::from_be_bytes([0, a, b, c]), u16::from_be_bytes([d, e])),
            digests: false,
            patience: if is_one { PATIENCE } else { PATH_PATIENCE },
            deadline: if is_one { DEADLINE } else { PATH_DEADLINE },
        }
    }

    /// Where to log in, and to what.
    fn places(&self) -> Result<Vec<(Portal, String)>, Failure> {
        if !self.sessions.is_empty() {
            return Ok(self.sessions.clone());
        }
        let all = self.targets.iter().any(|target| target == ALL_TARGETS);
        let mut places: Vec<(Portal, String)> = Vec::new();
        if all || self.multihomed {
            for target in self.discover()? {
                if !all && !self.targets.contains(&target.name) {
                    continue;
                }
                let portals = target
                    .portals
                    .iter()
                    .filter_map(|it| Portal::parse(it).ok());
                places.extend(portals.map(|portal| (portal, target.name.clone())));
            }
        } else {
            for portal in self.portals()? {
                places.extend(self.targets.iter().map(|target| (portal, target.clone())));
            }
        }
        places.sort();
        places.dedup();
        Ok(places)
    }

    /// The first address of each host.
    fn portals(&self) -> Result<Vec<Portal>, Failure> {
        let mut portals = Vec::new();
        let mut failure = None;
        for host in &self.hosts {
            match resolve(host, self.port) {
                Ok(found) => portals.extend(found.first()),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            Some(error) if portals.is_empty() => Err(name_failure(&error)),
            _ => Ok(portals),
        }
    }

    fn login_failure(&self, error: &Error) -> Failure {
        let detail = error.chain_text();
        match error {
            Error::Refused {
                refusal: Refusal::NoSuchTarget,
                ..
            } => self.no_target(&detail),
            Error::Refused { .. } => Failure::backend(
                68,
                "ISCSI login failed - check access settings for the initiator on the storage, if CHAP is used verify CHAP credentials",
                &detail,
                "",
            ),
            _ => unreachable_failure(error),
        }
    }
}

/// 141: nothing answers there; 71: there is no libiscsi.
fn unreachable_failure(error: &Error) -> Failure {
    let detail = error.chain_text();
    match error {
        Error::Library(_) => Failure::backend(71, "Failed to start ISCSI daemon", &detail, ""),
        _ => Failure::backend(
            141,
            "Unable to connect to ISCSI service on target",
            &detail,
            "",
        ),
    }
}

fn discovery_failure(error: &Error) -> Failure {
    match error {
        Error::Refused { .. } => {
            Failure::backend(83, "ISCSI discovery failed", &error.chain_text(), "")
        }
        _ => unreachable_failure(error),
    }
}

fn name_failure(error: &PortalError) -> Failure {
    let mut detail = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        detail.push_str(&format!(": {source}"));
    }
    Failure::backend(140, "Incorrect DNS name, unable to resolve.", &detail, "")
}

fn lun_number(text: Option<&str>) -> Result<Option<u16>, Failure> {
    let number = text.map(str::parse::<u16>).transpose();
    number.map_err(|_| {
        let detail = "LUNid is a number from 0 to 65535";
        Failure::backend(87, "The LUN id is missing or incorrect", detail, "")
    })
}

fn words(text: Option<&str>, separator: char) -> Vec<String> {
    let words = text.into_iter().flat_map(|text| text.split(separator));
    words
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn credentials(
    config: &BTreeMap<String, String>,
    user: &str,
    password: &str,
) -> Result<Option<Credentials>, Failure> {
    let get = |key: &str| config.get(key).filter(|text| !text.is_empty());
    match (get(user), get(password)) {
        (None, None) => Ok(None),
        (Some(name), Some(secret)) => Ok(Some(Credentials {
            user: name.clone(),
            password: Secret::new(secret.clone()),
        })),
        _ => {
            let detail = format!("give both {user} and {password}, or neither");
            Err(Failure::backend(
                68,
                "ISCSI login failed - check access settings for the initiator on the storage, if CHAP is used verify CHAP credentials",
                &detail,
                "",
            ))
        }
    }
}

/// `address,port,target|...`
fn sessions(text: Option<&str>) -> Result<Vec<(Portal, String)>, Failure> {
    let session = |word: String| -> Option<(Portal, String)> {
        let mut parts = word.splitn(3, ',');
        let (address, port, target) = (parts.next()?, parts.next()?, parts.next()?);
        let mut portal = Portal::parse(address).ok()?;
        portal.address.set_port(port.parse().ok()?);
        Some((portal, target.to_owned()))
    };
    let read: Option<Vec<_>> = words(text, '|').into_iter().map(session).collect();
    read.ok_or_else(|| {
        let detail = "multiSession has the form address,port,target|address,port,target|";
        Failure::backend(1, "Invalid argument", detail, "")
    })
}

/// The sessions as `multiSession` keeps them.
pub fn session_list(sessions: &[Arc<Session>]) -> String {
    let sessions = sessions.iter().map(|session| {
        let login = session.logged_in();
        let address = login.portal.address;
        format!("{},{},{}|", address.ip(), address.port(), login.target)
    });
    sessions.collect()
}

/// The document of error 96: a portal of each target, and an entry that stands for all.
fn target_list(targets: &[Target]) -> String {
    let mut document = ProbeDocument::new("iscsi-target-iqns");
    let portals = targets.iter().flat_map(|target| {
        let portals = target
            .portals
            .iter()
            .filter_map(|it| Portal::parse(it).ok());
        portals.map(|portal| (portal, target.name.as_str()))
    });
    let mut index = 0;
    for (portal, name) in portals {
        document.open("TGT");
        document.element("Index", &index.to_string());
        document.element("IPAddress", &portal.address.ip().to_string());
        if portal.address.port() != DEFAULT_PORT {
            document.element("Port", &portal.address.port().to_string());
        }
        document.element("TargetIQN", name);
        document.close();
        index += 1;
    }
    document.open("TGT");
    document.element("Index", &index.to_string());
    document.element("IPAddress", ALL_TARGETS);
    document.element("TargetIQN", ALL_TARGETS);
    document.close();
    document.finish()
}
