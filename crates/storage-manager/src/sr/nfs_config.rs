//! What a PBD says of an NFS SR, and the way to its server.

use std::collections::BTreeMap;
use std::io;

use xenapi::Failure;

use super::{SrParams, nfs_probe};
use crate::medium::nfs::{NfsFiles, NfsOptions, NfsServer, OptionError};

/// Keys of `SR.other_config`, in tenths of a second and in times.
///
/// Source: XenServer's NFS driver.
pub const PATIENCE_KEYS: [&str; 2] = ["nfs-timeout", "nfs-retrans"];

/// Defaults of [`PATIENCE_KEYS`].
const PATIENCE: [u32; 2] = [200, 4];

/// A checked configuration, of a server that has an address and listens.
#[derive(Debug)]
pub struct NfsConfig {
    server: NfsServer,
    path: Option<String>,
    /// What else decides how the server is spoken to.
    manner: String,
    has_no_subdirectory: bool,
    patience: [u32; 2],
}

impl NfsConfig {
    /// Reads and checks.
    ///
    /// # Errors
    /// 102 without a server, 72 for a version that is not spoken, 1 for options that cannot be used, 140 for a name without
    /// address, 108 where nothing listens.
    pub fn read(params: &SrParams) -> Result<Self, Failure> {
        let config = &params.device_config;
        let text = |key: &str| config.get(key).map_or("", |text| text.trim());
        let name = text("server");
        if name.is_empty() {
            return Err(Failure::backend(
                102,
                "The request is missing the server parameter",
                "",
                "",
            ));
        }
        let (version, options) = (text("nfsversion"), text("options"));
        let parsed =
            NfsOptions::parse(version, options, text("useUDP")).map_err(|error| refused(&error))?;
        let patience = read_patience(config)?;
        let mut server = NfsServer::resolve(name, parsed).map_err(|error| {
            let detail = format!("look up {name}: {error}");
            Failure::backend(140, "Incorrect DNS name, unable to resolve.", &detail, "")
        })?;
        server.set_patience(patience[0], patience[1]);
        server.reach().map_err(|error| {
            let detail = format!(
                "connect to {name}: {error}; check the server and, where it does not listen on 2049, the option port="
            );
            Failure::backend(
                108,
                "Unable to detect an NFS service on this target.",
                &detail,
                "",
            )
        })?;
        let path = Some(text("serverpath")).filter(|path| !path.is_empty());
        Ok(NfsConfig {
            server,
            path: path.map(str::to_owned),
            manner: format!("{version} {options}"),
            has_no_subdirectory: params
                .sm_config
                .get("nosubdir")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
            patience,
        })
    }

    /// The server, as it was given.
    pub fn server(&self) -> &str {
        self.server.name()
    }

    /// The way to it.
    pub fn way(&self) -> &NfsServer {
        &self.server
    }

    /// True when the SR lies in the export itself.
    pub fn has_no_subdirectory(&self) -> bool {
        self.has_no_subdirectory
    }

    /// The export.
    ///
    /// # Errors
    /// 101 with the list of exports when it is missing, 103 when it is no path.
    pub fn server_path(&self) -> Result<String, Failure> {
        let Some(path) = &self.path else {
            return Err(nfs_probe::path_missing(&self.server));
        };
        let is_plain = path.starts_with('/')
            && !path.contains('\0')
            && !path.split('/').any(|part| part == "." || part == "..");
        if !is_plain {
            let detail = format!(
                "{path:?} is not an absolute path without . and ..; write the path as the server exports it"
            );
            return Err(Failure::backend(
                103,
                "The serverpath argument is not valid",
                &detail,
                "",
            ));
        }
        Ok(match path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        })
    }

    /// What tells this SR's place from others.
    pub fn place(&self, path: &str) -> String {
        let patience = self.patience;
        format!("{}:{path} {} {patience:?}", self.server(), self.manner)
    }

    /// The files of a directory below the export.
    ///
    /// # Errors
    /// 72 for a version that the server does not offer, else 73.
    pub fn mount(&self, path: &str, below: &[&str]) -> Result<NfsFiles, Failure> {
        self.mount_with(path, below, None)
    }

    /// The same, with calls that wait so many tenths of a second at most.
    pub fn mount_with(
        &self,
        path: &str,
        below: &[&str],
        tenths: Option<u32>,
    ) -> Result<NfsFiles, Failure> {
        let opened = match tenths {
            Some(tenths) => {
                let mut server = self.server.clone();
                server.limit_patience(tenths);
                server.open(path, below)
            }
            None => self.server.open(path, below),
        };
        opened.map_err(|error| mount_failed(self.server(), path, below, &error))
    }
}

fn read_patience(config: &BTreeMap<String, String>) -> Result<[u32; 2], Failure> {
    let mut patience = PATIENCE;
    for (key, place) in PATIENCE_KEYS.iter().zip(&mut patience) {
        let Some(text) = config.get(*key) else {
            continue;
        };
        *place = text.trim().parse().map_err(|_| {
            let detail = format!("{key}={text:?} is not a number; set it right, or remove it");
            Failure::backend(1, "Invalid argument", &detail, "")
        })?;
    }
    Ok(patience)
}

fn refused(error: &OptionError) -> Failure {
    match error {
        OptionError::Version { .. } | OptionError::Version40 => {
            Failure::backend(72, "Invalid NFS version", &error.to_string(), "")
        }
        _ => Failure::backend(1, "Invalid argument", &error.to_string(), ""),
    }
}

fn mount_failed(server: &str, path: &str, below: &[&str], error: &io::Error) -> Failure {
    let below: String = below.iter().map(|name| format!("/{name}")).collect();
    let hint = match error.kind() {
        io::ErrorKind::NotFound if !below.is_empty() => {
            "; the SR is not there: check serverpath and the SR's uuid, or sm_config:nosubdir"
        }
        io::ErrorKind::NotFound => "; probe the server without serverpath to see what it exports",
        io::ErrorKind::PermissionDenied => "; allow this machine in the export",
        _ => "",
    };
    let detail = format!("mount {server}:{path}{below}: {error}{hint}");
    match error.kind() {
        io::ErrorKind::Unsupported => Failure::backend(72, "Invalid NFS version", &detail, ""),
        _ => Failure::backend(73, "NFS mount error", &detail, ""),
    }
}
