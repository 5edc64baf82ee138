//! What `SR.probe` says of an NFS server: its exports, the SRs in an export, the versions that it offers.
//!
//! Source: XenServer's NFS driver; layouts of the documents from the reference, 4.4.

use uuid::Uuid;
use xenapi::Failure;

use super::SrParams;
use super::backend_error::{self as backend, Command};
use super::nfs_config::NfsConfig;
use crate::medium::files::Files;
use crate::medium::nfs::{NfsFiles, NfsServer};
use crate::medium::probe_document::ProbeDocument;

/// The key of `device_config` that asks for versions.
const VERSIONS_KEY: &str = "probeversion";

/// Lists the SRs below the export.
///
/// # Errors
/// 101 with the exports when there is no `serverpath`.
pub fn probe(params: &SrParams) -> Result<String, Failure> {
    let config = NfsConfig::read(params)?;
    let path = config.server_path()?;
    let versions = match params.device_config.contains_key(VERSIONS_KEY) {
        true => config.way().versions().map_err(|error| {
            backend::failed(
                Command::SrAttach,
                &format!("ask {} for its versions: {error}", config.server()),
            )
        })?,
        false => Vec::new(),
    };
    let base = config.mount(&path, &[])?;
    let mut document = ProbeDocument::new("SRlist");
    for uuid in srs(&base)? {
        document.open("SR");
        document.element("UUID", &uuid.to_string());
        document.close();
    }
    if params.device_config.contains_key(VERSIONS_KEY) {
        document.open("SupportedVersions");
        for version in versions {
            document.element("Version", &version.to_string());
        }
        document.close();
    }
    Ok(document.finish())
}

/// The directories that are named as SRs.
fn srs(base: &NfsFiles) -> Result<Vec<Uuid>, Failure> {
    let failed = |error| backend::system_call(Command::SrAttach, "list", base.path(), &error);
    let mut found = Vec::new();
    for name in base.entries().map_err(failed)? {
        let uuid = Uuid::try_parse(&name).ok();
        // Only the form that storage managers write.
        let Some(uuid) = uuid.filter(|uuid| uuid.to_string() == name) else {
            continue;
        };
        if base.is_directory(&name).map_err(failed)? {
            found.push(uuid);
        }
    }
    found.sort();
    Ok(found)
}

/// 101, with the exports of the server, as far as it tells them.
pub fn path_missing(server: &NfsServer) -> Failure {
    let document = match server.exports() {
        Ok(exports) => {
            let mut document = ProbeDocument::new("nfs-exports");
            for export in exports {
                let groups = match export.groups.is_empty() {
                    true => "*".to_owned(),
                    false => export.groups.join(","),
                };
                document.open("Export");
                document.element("Target", server.name());
                document.element("Path", &export.path);
                document.element("Accesslist", &groups);
                document.close();
            }
            document.finish()
        }
        Err(error) => {
            tracing::info!(server.name = server.name(), error = %error.chain_text(), "an NFS server does not tell its exports");
            String::new()
        }
    };
    Failure::backend(
        101,
        "The request is missing the serverpath parameter",
        "",
        &document,
    )
}
