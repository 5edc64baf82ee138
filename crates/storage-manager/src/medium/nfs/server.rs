//! An NFS server by name, with the options of a PBD: what it exports, and the way to one export.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection;
use super::error::{NfsError, Refusal, Result};
use super::files::NfsFiles;
use super::mountd::{Export, MountService};
use super::options::{NfsOptions, Version};
use super::pieces::Pieces;
use super::protocol::Protocol;
use super::rpc::{Credentials, Program};
use super::transport::{Patience, Transport};
use super::version3::Version3;
use super::version4::{MinorVersions, Version4};
use super::xdr::Writer;

/// Default of `nfs-timeout`, in tenths of a second.
///
/// Source: XenServer's NFS driver.
const TIMEOUT_TENTHS: u32 = 200;

/// Default of `nfs-retrans`.
///
/// Source: XenServer's NFS driver.
const RETRIES: u32 = 4;

/// Longest time that options may set.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// Most retries that options may set.
const MOST_RETRIES: u32 = 100;

/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// How long is waited for a server to take a connection, when it is asked whether it is there.
const REACHABLE: Duration = Duration::from_secs(10);

/// The number of NFS.
const NFS_PROGRAM: u32 = 100_003;

/// A server.
#[derive(Clone, Debug)]
pub struct NfsServer {
    name: String,
    addresses: Vec<SocketAddr>,
    options: NfsOptions,
    patience: Patience,
}

impl NfsServer {
    /// Finds the addresses of a server; an address may stand for a name, version 6 with or without brackets.
    ///
    /// # Errors
    /// When the name has none.
    pub fn resolve(name: &str, options: NfsOptions) -> io::Result<Self> {
        let plain = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(name);
        let addresses: Vec<SocketAddr> = match plain.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, options.port)],
            Err(_) => (plain, options.port)
                .to_socket_addrs()?
                .take(MAX_ADDRESSES)
                .collect(),
        };
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        let mut server = NfsServer {
            name: name.to_owned(),
            addresses,
            options,
            patience: Patience {
                timeout: Duration::ZERO,
                retries: 0,
            },
        };
        server.set_patience(TIMEOUT_TENTHS, RETRIES);
        Ok(server)
    }

    /// Sets how long is waited, where the options do not say it: tenths of a second, and how often they pass.
    pub fn set_patience(&mut self, timeout_tenths: u32, retries: u32) {
        let tenths = self.options.timeout.unwrap_or(timeout_tenths).max(1);
        let timeout = Duration::from_millis(u64::from(tenths) * 100);
        self.patience = Patience {
            timeout: timeout.min(LONGEST_TIMEOUT),
            retries: self.options.retries.unwrap_or(retries).min(MOST_RETRIES),
        };
    }

    /// Has calls fail after so many tenths of a second, whatever the options say.
    pub fn limit_patience(&mut self, tenths: u32) {
        let timeout = Duration::from_millis(u64::from(tenths) * 100);
        self.patience = Patience {
            timeout: self.patience.whole().min(timeout),
            retries: 0,
        };
    }

    /// The name by which it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether something listens at the port, without waiting longer than a moment.
    pub fn reach(&self) -> io::Result<()> {
        let patience = self.patience.whole().min(REACHABLE);
        let mut outcome = Ok(());
        for address in &self.addresses {
            match connection::connect(*address, false, patience) {
                Ok(_) => return Ok(()),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// The versions that it offers: 3, 4.
    pub fn versions(&self) -> Result<Vec<u32>> {
        let transport = self.transport();
        let mut versions = Vec::new();
        for version in [3, 4] {
            let program = Program {
                number: NFS_PROGRAM,
                version,
            };
            let call = transport.call(("NULL", 0), program, &Writer::default(), &[]);
            let deadline = Instant::now() + self.patience.whole().min(REACHABLE);
            let calls = std::slice::from_ref(&call);
            match transport.exchange(calls, deadline, &mut |_, _, _| Ok(())) {
                Ok(()) => versions.push(version),
                Err(NfsError::Refused {
                    reason: Refusal::Version { .. } | Refusal::NoProgram,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(versions)
    }

    /// What it exports: as its mount service says, or the top of its tree of version 4.
    pub fn exports(&self) -> Result<Vec<Export>> {
        match self.mount_service(self.short_patience()).exports() {
            Ok(exports) => Ok(exports),
            Err(error) => self.pseudo_exports().map_err(|_| error),
        }
    }

    fn pseudo_exports(&self) -> Result<Vec<Export>> {
        let versions = match self.options.version {
            Version::Four(versions) => versions,
            Version::Three => MinorVersions {
                lowest: 1,
                highest: 2,
            },
        };
        let transport = self.transport_with(self.short_patience());
        let root = Version4::new(transport, versions, "", Pieces::default());
        let listed = root
            .root()
            .and_then(|found| root.directories(&found.handle));
        root.close();
        let exports = listed?.into_iter().map(|name| Export {
            path: format!("/{name}"),
            groups: Vec::new(),
        });
        Ok(exports.collect())
    }

    /// The files of a directory below an export: `below` is looked up name by name.
    pub fn open(&self, path: &str, below: &[&str]) -> io::Result<NfsFiles> {
        NfsFiles::open(self.protocol(path), &self.name, path, below)
    }

    fn protocol(&self, path: &str) -> Arc<dyn Protocol> {
        let pieces = self.options.pieces;
        match self.options.version {
            Version::Three => {
                let mounts = self.mount_service(self.patience);
                Arc::new(Version3::new(self.transport(), mounts, path, pieces))
            }
            Version::Four(versions) => {
                Arc::new(Version4::new(self.transport(), versions, path, pieces))
            }
        }
    }

    fn transport(&self) -> Transport {
        self.transport_with(self.patience)
    }

    fn transport_with(&self, patience: Patience) -> Transport {
        Transport::new(
            self.addresses.clone(),
            self.options.reserved_port,
            patience,
            credentials(),
        )
    }

    /// For questions that somebody waits for.
    fn short_patience(&self) -> Patience {
        Patience {
            timeout: self.patience.timeout.min(REACHABLE),
            retries: 0,
        }
    }

    fn mount_service(&self, patience: Patience) -> MountService {
        MountService::new(
            self.addresses.clone(),
            self.options.mount_port,
            self.options.reserved_port,
            patience,
            credentials(),
        )
    }
}

/// Who this process is.
fn credentials() -> Credentials {
    let machine = rustix::system::uname();
    Credentials::user(
        &machine.nodename().to_string_lossy(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}
