//! What the service is told at start. The binary fills this from file, environment and flags.

use std::path::PathBuf;

use crate::auth::policy::Policies;

/// A string that is never shown: no `Display`, a blank `Debug`, wiped when dropped.
#[derive(Clone, Default)]
pub struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(zeroize::Zeroizing::new(text.into()))
    }

    /// The text, at the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// The service's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `sqlite:///path/to/file` or `postgresql://user:password@host:port/database`; may hold a password.
    pub database_url: Secret,
    /// 32 bytes that encrypt secrets at rest and sign tokens.
    pub master_key: MasterKey,
    /// The zones and their pools, in order.
    pub zones: Vec<ZoneConfig>,
    /// The zone of a request that names none.
    pub default_zone: String,
    /// The public base of each API, for links and the catalogue: `http://127.0.0.1:8776`.
    pub endpoints: Endpoints,
    /// Stated limits.
    pub limits: Limits,
    /// Lifetime of a token, in seconds.
    pub token_lifetime_s: u64,
    /// The Keystone whose tokens are taken; none for the built-in identity.
    pub keystone: Option<KeystoneConfig>,
    /// Where the audit log is written; none for no audit log.
    pub audit_dir: Option<PathBuf>,
    /// Who may do what.
    pub policies: Policies,
}

/// How to reach a Keystone, and as whom.
#[derive(Clone, Debug)]
pub struct KeystoneConfig {
    /// Its public base with the version: `https://keystone.example.org:5000/v3`.
    pub url: String,
    /// The user as whom it is asked about tokens.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// The project in which it may ask.
    pub project: String,
    /// The name of the domain of both.
    pub domain: String,
    /// How the server of an `https` URL is known; `NotNeeded`: by the system's authorities.
    pub trust: Trust,
    /// Roles whose bearers are services: their token in `X-Service-Token` lets a user's token be late.
    pub service_roles: Vec<String>,
}

/// The key that protects secrets and tokens; never shown.
#[derive(Clone)]
pub struct MasterKey(pub zeroize::Zeroizing<[u8; 32]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// An availability zone.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// The zone's name: `nova`.
    pub name: String,
    /// Its pools; today exactly one.
    pub pools: Vec<PoolConfig>,
}

/// How to reach a pool's XenAPI.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// `unix:/path/to/socket`, `http://host:port` (loopback only) or `https://host[:port]`.
    pub url: String,
    /// The XenAPI user.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// How the server of an `https` URL is known.
    pub trust: Trust,
}

/// How a TLS server is known.
#[derive(Clone, Debug)]
pub enum Trust {
    /// By the certificates in this PEM file.
    CaFile(PathBuf),
    /// By the SHA-256 of its certificate, 64 hex digits (colons allowed).
    Fingerprint(String),
    /// Not needed: a unix socket or plain HTTP on loopback.
    NotNeeded,
}

/// Public base URLs without a trailing slash.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Block Storage: `http://127.0.0.1:8776`; the API lives under `/v3` of it.
    pub volume: String,
    /// Identity: `http://127.0.0.1:5000`; the API lives under `/v3` of it.
    pub identity: String,
    /// EC2 Query: `http://127.0.0.1:8773`.
    pub ec2: String,
}

/// Limits that an operator may set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub request_body_max_bytes: usize,
    /// Largest page of a list.
    pub page_max: usize,
    /// Most volumes of a project; negative for no limit.
    pub volumes_per_project: i64,
    /// Most snapshots of a project; negative for no limit.
    pub snapshots_per_project: i64,
    /// Most GiB of a project, volumes and snapshots together; negative for no limit.
    pub gigabytes_per_project: i64,
    /// Largest volume in GiB; negative for no limit.
    pub gigabytes_per_volume: i64,
    /// Most groups of a project; negative for no limit.
    pub groups_per_project: i64,
    /// Operations that one worker runs at a time.
    pub worker_concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_body_max_bytes: 114_688,
            page_max: 1000,
            volumes_per_project: 10_000,
            snapshots_per_project: 100_000,
            gigabytes_per_project: -1,
            gigabytes_per_volume: -1,
            groups_per_project: 1000,
            worker_concurrency: 128,
        }
    }
}
