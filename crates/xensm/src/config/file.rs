//! The configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use volume_service::config::Secret;

/// A commented file with every default; `xensm config example` prints it.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The whole file; every table and key may be left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Directory that holds everything of this installation.
    pub data_dir: PathBuf,
    /// Addresses.
    pub listen: Listen,
    /// Certificate of the listeners.
    pub tls: Tls,
    /// Public base URLs, when they differ from the listeners.
    pub endpoints: Endpoints,
    /// The database.
    pub database: Database,
    /// Secrets.
    pub secrets: SecretFiles,
    /// The zone of a request that names none.
    pub default_zone: Option<String>,
    /// Zones; none means one zone `nova` on the embedded Storage Manager.
    #[serde(rename = "zone")]
    pub zones: Vec<Zone>,
    /// Tokens.
    pub identity: Identity,
    /// Who may do what.
    pub policy: Policy,
    /// Limits.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
}

impl Default for File {
    fn default() -> Self {
        File {
            data_dir: PathBuf::from("xensm-data"),
            listen: Listen::default(),
            tls: Tls::default(),
            endpoints: Endpoints::default(),
            database: Database::default(),
            secrets: SecretFiles::default(),
            default_zone: None,
            zones: Vec::new(),
            identity: Identity::default(),
            policy: Policy::default(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

/// Policies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// A policy file as Cinder reads it: `"name": "check"` as JSON or YAML lines.
    pub file: Option<PathBuf>,
}

/// Addresses; port 0 takes a free one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Block Storage API, health and metrics.
    pub volume: SocketAddr,
    /// Identity API.
    pub identity: SocketAddr,
    /// EC2 API.
    pub ec2: SocketAddr,
    /// XenAPI of the embedded Storage Manager, beside its unix socket.
    pub xenapi: SocketAddr,
    /// NBD over TLS; absent: unix sockets only.
    pub nbd: Option<SocketAddr>,
    /// Allows plain HTTP on addresses that are not loopback (behind a proxy that speaks TLS, say).
    pub allow_plaintext: bool,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Listen {
            volume: loopback(8776),
            identity: loopback(5000),
            ec2: loopback(8773),
            xenapi: loopback(8780),
            nbd: None,
            allow_plaintext: false,
        }
    }
}

/// Certificate of the API listeners.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key.
    pub key_file: Option<PathBuf>,
    /// PEM file that clients should trust; written into the credential files.
    pub ca_file: Option<PathBuf>,
}

/// Public base URLs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// Of the Block Storage API, without `/v3`.
    pub volume: Option<String>,
    /// Of the Identity API, without `/v3`.
    pub identity: Option<String>,
    /// Of the EC2 API.
    pub ec2: Option<String>,
}

/// The database.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite:///path` or `postgresql://user:password@host/name`; absent: a file in the data directory.
    #[serde(deserialize_with = "optional_secret")]
    pub url: Option<Secret>,
}

/// Files that hold secrets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretFiles {
    /// 64 hex digits, the same for every process of an installation; absent: made in the data directory.
    pub master_key_file: Option<PathBuf>,
}

/// An availability zone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its pools; none means the embedded Storage Manager.
    #[serde(default, rename = "pool")]
    pub pools: Vec<Pool>,
}

/// A pool's XenAPI.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// `https://host`, `unix:/path` or, on loopback, `http://host:port`.
    pub url: String,
    /// The XenAPI user.
    #[serde(default = "root")]
    pub user: String,
    /// File with its password, on one line.
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the server's certificate.
    pub fingerprint: Option<String>,
}

/// Tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Lifetime of a token in seconds.
    pub token_lifetime_s: u64,
    /// `https://keystone.example.org:5000/v3`: that Keystone's tokens are taken, and there is no built-in identity.
    pub keystone_url: Option<String>,
    /// The user as whom Keystone is asked about tokens.
    pub username: String,
    /// File with its password, on one line.
    pub password_file: Option<PathBuf>,
    /// The project in which it may ask.
    pub project: String,
    /// The name of the domain of both.
    pub domain: String,
    /// PEM file with the certificates to trust; absent: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Roles whose bearers are services.
    pub service_roles: Vec<String>,
}

impl Default for Identity {
    fn default() -> Self {
        Identity {
            token_lifetime_s: 3600,
            keystone_url: None,
            username: "xensm".to_owned(),
            password_file: None,
            project: "service".to_owned(),
            domain: "Default".to_owned(),
            ca_file: None,
            service_roles: vec!["service".to_owned()],
        }
    }
}

/// Limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body in bytes.
    pub request_body_max_bytes: usize,
    /// Largest page of a list.
    pub page_max: usize,
    /// Most volumes of a project; -1 for no limit.
    pub volumes_per_project: i64,
    /// Most snapshots of a project; -1 for no limit.
    pub snapshots_per_project: i64,
    /// Most GiB of a project; -1 for no limit.
    pub gigabytes_per_project: i64,
    /// Largest volume in GiB; -1 for no limit.
    pub gigabytes_per_volume: i64,
    /// Most groups of a project; -1 for no limit.
    pub groups_per_project: i64,
    /// Operations that one worker runs at a time.
    pub worker_concurrency: usize,
    /// Connections that one listener serves at a time.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let service = volume_service::config::Limits::default();
        Limits {
            request_body_max_bytes: service.request_body_max_bytes,
            page_max: service.page_max,
            volumes_per_project: service.volumes_per_project,
            snapshots_per_project: service.snapshots_per_project,
            gigabytes_per_project: service.gigabytes_per_project,
            gigabytes_per_volume: service.gigabytes_per_volume,
            groups_per_project: service.groups_per_project,
            worker_concurrency: service.worker_concurrency,
            connections_max: 1024,
        }
    }
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,volume_service=debug`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn root() -> String {
    "root".to_owned()
}

fn optional_secret<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}
