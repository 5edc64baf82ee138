//! What `device_config` says of an EqualLogic group.
//!
//! Source: reference arrays 2.2.

use uuid::Uuid;
use xenapi::Failure;

use super::SrParams;
use crate::Secret;
use crate::array::Fault;
use crate::array::equallogic::{Allocation, is_quotable, is_word};
use crate::medium::iscsi::{Credentials, DEFAULT_PORT};

/// The port of SSH.
const SSH_PORT: u16 = 22;

/// Key of the fingerprint of the group's SSH key.
pub const HOST_KEY: &str = "ssh_host_key";

/// Key of the storage pool.
pub const STORAGE_POOL: &str = "storagepool";

/// What is configured.
pub struct EqualConfig {
    /// The group's address, by name or by number.
    pub target: String,
    /// The port of the CLI.
    pub control_port: u16,
    /// The port of iSCSI.
    pub port: u16,
    /// The account of the CLI.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// The fingerprint of the group's SSH key.
    pub host_key: Option<String>,
    /// The storage pool.
    pub pool: Option<String>,
    /// How space of VDIs is taken.
    pub allocation: Option<Allocation>,
    /// The account of iSCSI.
    pub credentials: Option<Credentials>,
    initiator: Option<String>,
}

impl EqualConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// 160 to 162 for what is missing, 142 for a port that is none, 172 for a pool that cannot be one, 68 for half of a pair of
    /// credentials, 1 for an `allocation` that is none.
    pub fn of(params: &SrParams) -> Result<Self, Failure> {
        let get = |key: &str| {
            let text = params.device_config.get(key).map(|text| text.trim());
            text.filter(|text| !text.is_empty())
        };
        let need = |key: &str, fault: Fault| {
            let detail = format!("device_config:{key} is needed");
            get(key).ok_or_else(|| fault.failure(&detail))
        };
        let target = need("target", Fault::EqualTarget)?.to_owned();
        let username = need("username", Fault::EqualUsername)?.to_owned();
        // A password may begin or end with blanks.
        let password = params
            .device_config
            .get("password")
            .filter(|text| !text.is_empty());
        let detail = "device_config:password (or password_secret) is needed";
        let password = password.ok_or_else(|| Fault::EqualPassword.failure(detail))?;
        let pool = get(STORAGE_POOL);
        if let Some(pool) = pool.filter(|pool| !is_quotable(pool)) {
            let detail = format!(
                "device_config:{STORAGE_POOL} is {pool:?}, which no storage pool can be called"
            );
            return Err(Fault::EqualUnknownPool.failure(&detail));
        }
        Ok(EqualConfig {
            target,
            control_port: port(get("controlport"), "controlport", SSH_PORT)?,
            port: port(get("port"), "port", DEFAULT_PORT)?,
            username,
            password: Secret::new(password.clone()),
            host_key: get(HOST_KEY).map(str::to_owned),
            pool: pool.map(str::to_owned),
            allocation: allocation(get("allocation"))?,
            credentials: credentials(get("chapuser"), get("chappassword"))?,
            initiator: get("localIQN").map(str::to_owned),
        })
    }

    /// Our name for targets.
    ///
    /// # Errors
    /// 97 when there is none.
    pub fn initiator(&self) -> Result<&str, Failure> {
        let name = self.initiator.as_deref().filter(|name| is_word(name));
        name.ok_or_else(|| {
            Failure::backend(
                97,
                "Unable to retrieve the host configuration ISCSI IQN parameter",
                "give this host a name by host.set_iscsi_iqn, or the SR one by device_config:localIQN",
                "",
            )
        })
    }

    /// What messages call an SR.
    pub fn description(&self, sr_uuid: Uuid) -> String {
        format!("SR {sr_uuid} on group {}", self.target)
    }
}

fn port(text: Option<&str>, key: &str, default: u16) -> Result<u16, Failure> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Fault::Port.failure(&format!("{key} {text:?} is not between 1 and 65535"))),
    }
}

fn allocation(text: Option<&str>) -> Result<Option<Allocation>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let read = Allocation::parse(text).ok_or_else(|| {
        let detail = format!("device_config:allocation is {text:?}; it is thick or thin");
        Failure::backend(1, "Invalid argument", &detail, "")
    })?;
    Ok(Some(read))
}

fn credentials(user: Option<&str>, password: Option<&str>) -> Result<Option<Credentials>, Failure> {
    match (user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) if is_word(user) => Ok(Some(Credentials {
            user: user.to_owned(),
            password: Secret::new(password),
        })),
        (Some(user), Some(_)) => {
            let detail = format!("chapuser {user:?} can be no account of a group");
            Err(Fault::IscsiLogin.failure(&detail))
        }
        _ => Err(Fault::IscsiLogin.failure("give both chapuser and chappassword, or neither")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// No text of a configuration ends the line of a command or begins another one.
    #[test]
    fn texts_that_would_be_commands_are_refused() {
        let with = |key: &str, value: &str| {
            let mut device_config: BTreeMap<String, String> = [
                ("target", "group"),
                ("username", "grpadmin"),
                ("password", "\r volume delete x\r"),
                ("storagepool", "default"),
                ("chapuser", "tom"),
                ("chappassword", "\"; volume delete x\r"),
                ("localIQN", "iqn.2026-11.org.example:us"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
            device_config.insert(key.to_owned(), value.to_owned());
            let config = EqualConfig::of(&SrParams {
                sr_uuid: Uuid::from_u128(1),
                device_config,
                sm_config: BTreeMap::new(),
            });
            config.and_then(|config| config.initiator().map(drop))
        };
        with("storagepool", "the second pool").unwrap();
        for bad in [
            "a\rvolume delete x",
            "a\nb",
            "a;b",
            "a\"b",
            "a'b",
            "a\\b",
            "a?b",
            "a|b",
            "a`b",
            "a$b",
            "a!b",
            "a>b",
            "a#b",
            "a\u{1b}[2Jb",
            "a\u{85}b",
            "a\u{2028}b",
            "-a",
            "a\tb",
        ] {
            for key in ["storagepool", "chapuser", "localIQN"] {
                assert!(with(key, bad).is_err(), "{key} {bad:?}");
            }
        }
    }
}
