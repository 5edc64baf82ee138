//! What the storage manager is started with.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// A password or key: it has no `Display`, its `Debug` is blank and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Zeroizing::new(text.into()))
    }

    /// Returns the text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret::new(text)
    }
}

/// A certificate chain and its private key, both PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key, PKCS #8 or SEC1.
    pub key: PathBuf,
}

/// What the storage manager is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the object database, the key file and the NBD sockets are; made if it is absent.
    pub data_dir: PathBuf,
    /// The unix socket of XenAPI; whoever can open it is root.
    pub unix_socket: PathBuf,
    /// The TCP address of XenAPI, if any; port 0 takes a free one, see `StorageManager::local_addresses`.
    pub http: Option<SocketAddr>,
    /// Makes the TCP listener speak TLS only.
    pub tls: Option<TlsFiles>,
    /// The TCP address of NBD, always with TLS, if any.
    pub nbd_tls: Option<SocketAddr>,
    /// Who may log in over TCP.
    pub username: String,
    /// With what.
    pub password: Secret,
    /// What `host.hostname` and `host.name_label` say on a first start.
    pub host_name: String,
    /// How long a call to a driver may take before its caller gets an answer without it.
    pub driver_deadline: Duration,
    /// How long a clean shutdown waits for running calls.
    pub shutdown_deadline: Duration,
    /// How long the peer of an import or export may send or take nothing before it is cut off.
    pub transfer_patience: Duration,
    /// How long a call waits for an operation that is in its way.
    pub operation_patience: Duration,
}

impl Config {
    /// Longest wait for a driver, unless configured otherwise: less than clients of ours wait for a call (60 s), so that they
    /// are told that the SR does not answer, and try another backend, rather than wonder what became of their call.
    pub const DRIVER_DEADLINE: Duration = Duration::from_secs(45);

    /// Longest wait for running calls at shutdown, unless configured otherwise.
    pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

    /// Longest silence of the peer of an import or export, unless configured otherwise.
    pub const TRANSFER_PATIENCE: Duration = Duration::from_secs(60);

    /// Longest wait for an operation that is in the way, unless configured otherwise.
    pub const OPERATION_PATIENCE: Duration = Duration::from_secs(20);

    /// Makes a configuration that listens on a unix socket in the data directory only.
    pub fn new(
        data_dir: impl Into<PathBuf>,
        username: impl Into<String>,
        password: impl Into<Secret>,
    ) -> Self {
        let data_dir = data_dir.into();
        Config {
            unix_socket: data_dir.join("xenapi.sock"),
            data_dir,
            http: None,
            tls: None,
            nbd_tls: None,
            username: username.into(),
            password: password.into(),
            host_name: "localhost".to_owned(),
            driver_deadline: Self::DRIVER_DEADLINE,
            shutdown_deadline: Self::SHUTDOWN_DEADLINE,
            transfer_patience: Self::TRANSFER_PATIENCE,
            operation_patience: Self::OPERATION_PATIENCE,
        }
    }
}
