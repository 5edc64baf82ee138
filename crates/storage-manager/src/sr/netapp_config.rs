//! The parameters of SR type `netapp`.

use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use xenapi::Failure;

use super::SrParams;
use crate::Secret;
use crate::array::ontap::{
    Api, DEFAULT_MULTIPLIER, Filer, FilerTrust, MAX_FLEXVOLS, Place, VolumesOptions,
};
use crate::array::{ArrayError, Fault};
use crate::medium::iscsi::Credentials;

/// Keys of `SR.other_config` that the driver reads.
pub(crate) const OTHER_CONFIG_KEYS: [&str; 2] = ["multiplier", "enforce_allocation"];

/// FlexVols of an SR when nothing is said.
const DEFAULT_FLEXVOLS: u32 = 8;

/// Ports of the management interface with and without TLS.
const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// What is configured.
pub struct NetappConfig {
    target: String,
    username: String,
    password: Secret,
    port: u16,
    trust: Option<FilerTrust>,
    api: Api,
    svm: Option<String>,
    initiator: Option<String>,
    credentials: Option<Credentials>,
    multiplier: f64,
    enforces_allocation: bool,
    /// The aggregate for a new SR.
    pub aggregate: Option<String>,
    /// How many FlexVols a new SR gets.
    pub flexvols: u32,
    /// True when a new SR reserves no space.
    pub is_thin: bool,
    /// True when a new SR is deduplicated.
    pub is_deduplicated: bool,
}

impl NetappConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// 120, 121 and 122 for what is missing, 142 for a port that is none, 68 for half of a pair of credentials, 1 for what makes
    /// no sense.
    pub fn of(params: &SrParams) -> Result<Self, Failure> {
        let config = &params.device_config;
        let get = |key: &str| {
            let text = config.get(key).map(|text| text.trim());
            text.filter(|text| !text.is_empty())
        };
        let needed = |key: &str, fault: Fault| {
            let text = get(key).map(str::to_owned);
            text.ok_or_else(|| fault.failure(&format!("give it by device_config:{key}")))
        };
        let uses_tls = truth("usehttps", get("usehttps"), true)?;
        let default_port = if uses_tls { HTTPS_PORT } else { HTTP_PORT };
        let is_thin = match get("allocation") {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("thick") => false,
            Some(text) if text.eq_ignore_ascii_case("thin") => true,
            Some(text) => {
                return Err(senseless("allocation", text, "thick or thin"));
            }
        };
        let is_deduplicated = truth("asis", get("asis"), false)?;
        if is_deduplicated && !is_thin {
            return Err(senseless(
                "asis",
                "true",
                "false, or true with allocation=thin",
            ));
        }
        let flexvols = parsed("FlexVols", get("FlexVols"), DEFAULT_FLEXVOLS, "1 to 32")?;
        if !(1..=MAX_FLEXVOLS).contains(&flexvols) {
            return Err(senseless("FlexVols", &flexvols.to_string(), "1 to 32"));
        }
        let multiplier = parsed(
            "multiplier",
            get("multiplier"),
            DEFAULT_MULTIPLIER,
            "a number from 1 on",
        )?;
        if !(1.0..=1000.0).contains(&multiplier) {
            let text = multiplier.to_string();
            return Err(senseless("multiplier", &text, "a number from 1 to 1000"));
        }
        Ok(NetappConfig {
            target: needed("target", Fault::NetappTarget)?,
            username: needed("username", Fault::NetappUsername)?,
            password: needed("password", Fault::NetappPassword)?.into(),
            port: port(get("controlport").or(get("port")), default_port)?,
            trust: trust(uses_tls, &get)?,
            api: api(get("api"))?,
            svm: get("svm").map(str::to_owned),
            initiator: get("localIQN").map(initiator).transpose()?,
            credentials: credentials(get("chapuser"), get("chappassword"))?,
            multiplier,
            enforces_allocation: truth("enforce_allocation", get("enforce_allocation"), false)?,
            aggregate: get("aggregate").map(str::to_owned),
            flexvols,
            is_thin,
            is_deduplicated,
        })
    }

    /// Our name for targets.
    ///
    /// # Errors
    /// 97 when there is none.
    pub fn initiator(&self) -> Result<&str, Failure> {
        self.initiator.as_deref().ok_or_else(|| {
            Failure::backend(
                97,
                "Unable to retrieve the host configuration ISCSI IQN parameter",
                "give this host a name by host.set_iscsi_iqn, or the SR one by device_config:localIQN",
                "",
            )
        })
    }

    /// How the SR is used.
    pub fn volumes(&self) -> VolumesOptions {
        VolumesOptions {
            credentials: self.credentials.clone(),
            multiplier: self.multiplier,
            enforces_allocation: self.enforces_allocation,
        }
    }

    /// Talks to the filer for the first time.
    ///
    /// # Errors
    /// As [`Filer::open`]; 1 for a certificate file or a fingerprint that cannot be used.
    pub fn open(&self) -> Result<Filer, ArrayError> {
        let tls = self.trust.as_ref().map(FilerTrust::client_config);
        let tls = tls.transpose().map_err(|error| ArrayError::Fault {
            fault: Fault::Argument,
            detail: format!("ca_certificate or tls_fingerprint cannot be used: {error}"),
        })?;
        let account = format!("{}:{}", self.username, self.password.expose());
        let account = base64::engine::general_purpose::STANDARD.encode(account);
        let place = Place {
            host: self.target.clone(),
            port: self.port,
            tls,
            authorization: Secret::new(format!("Basic {account}")),
        };
        Filer::open(place, self.api, self.svm.as_deref())
    }
}

/// By what the certificate is known; none without TLS.
fn trust<'a>(
    uses_tls: bool,
    get: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Option<FilerTrust>, Failure> {
    if !uses_tls {
        return Ok(None);
    }
    let verifies = truth("tls_verify", get("tls_verify"), true)?;
    Ok(Some(
        match (get("tls_fingerprint"), get("ca_certificate")) {
            (Some(fingerprint), _) => FilerTrust::Fingerprint(fingerprint.to_owned()),
            (None, Some(path)) => FilerTrust::Authority(Some(PathBuf::from(path))),
            (None, None) if verifies => FilerTrust::Authority(None),
            (None, None) => FilerTrust::Anything,
        },
    ))
}

/// The interface; none is named where the filer's version is to decide.
fn api(text: Option<&str>) -> Result<Api, Failure> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(Api::Either),
        Some("rest") => Ok(Api::Rest),
        Some("zapi") => Ok(Api::Zapi),
        Some(text) => Err(senseless(
            "api",
            text,
            "rest or zapi, or leave it out to have the filer's version decide",
        )),
    }
}

/// A name of an initiator. It becomes part of paths and queries, in which other characters have a meaning.
fn initiator(text: &str) -> Result<String, Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:-_".contains(c);
    if text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    let wanted =
        "a name like iqn.2026-11.org.example:host, of letters, digits, dots, colons and dashes";
    Err(senseless("localIQN", text, wanted))
}

fn credentials(user: Option<&str>, password: Option<&str>) -> Result<Option<Credentials>, Failure> {
    match (user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Ok(Some(Credentials {
            user: user.to_owned(),
            password: Secret::new(password),
        })),
        _ => Err(Fault::IscsiLogin.failure("give both chapuser and chappassword, or neither")),
    }
}

fn port(text: Option<&str>, default: u16) -> Result<u16, Failure> {
    match text.map(str::parse::<u16>) {
        None => Ok(default),
        Some(Ok(port)) if port > 0 => Ok(port),
        Some(_) => {
            let detail = format!("port {text:?} is not between 1 and 65535");
            Err(Fault::Port.failure(&detail))
        }
    }
}

fn truth(key: &str, text: Option<&str>, default: bool) -> Result<bool, Failure> {
    let text = text.map(str::to_ascii_lowercase);
    parsed(key, text.as_deref(), default, "true or false")
}

fn parsed<T: FromStr>(
    key: &str,
    text: Option<&str>,
    default: T,
    wanted: &str,
) -> Result<T, Failure> {
    match text {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| senseless(key, text, wanted)),
    }
}

fn senseless(key: &str, text: &str, wanted: &str) -> Failure {
    let detail = format!("device_config:{key} is {text:?}; give {wanted}");
    Fault::Argument.failure(&detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;

    fn number(more: &[(&str, &str)]) -> Option<u16> {
        let own = [
            ("target", "filer"),
            ("username", "admin"),
            ("password", "a secret"),
        ];
        let all = own.iter().chain(more);
        let params = SrParams {
            sr_uuid: Uuid::nil(),
            device_config: all
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            sm_config: BTreeMap::new(),
        };
        let failure = NetappConfig::of(&params).err()?;
        assert!(!failure.to_string().contains("secret"), "{failure}");
        failure.backend_number()
    }

    #[test]
    fn parameters_are_checked() {
        for (more, expected) in [
            (&[][..], None),
            (&[("target", " ")], Some(120)),
            (&[("username", "")], Some(121)),
            (&[("password", "")], Some(122)),
            (&[("FlexVols", "0")], Some(1)),
            (&[("FlexVols", "33")], Some(1)),
            (&[("FlexVols", "32")], None),
            (&[("allocation", "fat")], Some(1)),
            (&[("asis", "true")], Some(1)),
            (&[("asis", "True"), ("allocation", "thin")], None),
            (&[("chapuser", "somebody")], Some(68)),
            (&[("controlport", "0")], Some(142)),
            (&[("port", "8443"), ("usehttps", "true")], None),
            (&[("usehttps", "maybe")], Some(1)),
            (&[("api", "ZAPI")], None),
            (&[("api", "soap")], Some(1)),
            (&[("localIQN", "iqn.2026-11.org.example:a")], None),
            (&[("localIQN", "iqn.*|!b")], Some(1)),
            (&[("localIQN", "iqn.a/../b?c")], Some(1)),
            (&[("multiplier", "0.9")], Some(1)),
            (&[("multiplier", "NaN")], Some(1)),
            (&[("multiplier", "1")], None),
        ] {
            assert_eq!(number(more), expected, "{more:?}");
        }
    }
}
