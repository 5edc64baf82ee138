//! What the operator says: one TOML file, environment and flags over it, nothing required.

mod check;
mod file;

pub use check::{Finding, Severity, check_text};
pub use file::{EXAMPLE, File, LogFormat, Pool, Zone};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure, Result};

/// Flags (and their environment variables) that every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CommonFlags {
    /// Directory that holds everything of this installation [default: ./xensm-data]
    #[arg(long, env = "XENSM_DATA_DIR", global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file (see `xensm config example`)
    #[arg(long, env = "XENSM_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Database: sqlite:///path or postgresql://user:password@host/name [default: a file in the data directory]
    #[arg(
        long,
        env = "XENSM_DATABASE_URL",
        global = true,
        value_name = "URL",
        hide_env_values = true
    )]
    pub database_url: Option<String>,
}

/// Flags of the serving commands.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeFlags {
    /// Address of the Block Storage API
    #[arg(long, env = "XENSM_LISTEN_VOLUME", value_name = "IP:PORT")]
    pub listen_volume: Option<SocketAddr>,
    /// Address of the Identity API
    #[arg(long, env = "XENSM_LISTEN_IDENTITY", value_name = "IP:PORT")]
    pub listen_identity: Option<SocketAddr>,
    /// Address of the EC2 API
    #[arg(long, env = "XENSM_LISTEN_EC2", value_name = "IP:PORT")]
    pub listen_ec2: Option<SocketAddr>,
    /// Address of the embedded Storage Manager's XenAPI
    #[arg(long, env = "XENSM_LISTEN_XENAPI", value_name = "IP:PORT")]
    pub listen_xenapi: Option<SocketAddr>,
    /// Address of NBD over TLS; without it volumes are served on unix sockets only
    #[arg(long, env = "XENSM_LISTEN_NBD", value_name = "IP:PORT")]
    pub listen_nbd: Option<SocketAddr>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,volume_service=debug`
    #[arg(long, env = "XENSM_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log
    #[arg(long, env = "XENSM_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// Reads the file (if any) and lays environment and flags over it.
///
/// # Errors
/// `Exit::Usage` naming file, line and what is expected; every error that `xensm config check` lists.
pub fn load(common: &CommonFlags, flags: &ServeFlags) -> Result<File> {
    let mut file = match &common.config {
        Some(path) => read(path)?,
        None => File::default(),
    };
    if let Some(data_dir) = &common.data_dir {
        file.data_dir.clone_from(data_dir);
    }
    if let Some(url) = &common.database_url {
        file.database.url = Some(volume_service::config::Secret::new(url.clone()));
    }
    let listen = &mut file.listen;
    for (flag, value) in [
        (flags.listen_volume, &mut listen.volume),
        (flags.listen_identity, &mut listen.identity),
        (flags.listen_ec2, &mut listen.ec2),
        (flags.listen_xenapi, &mut listen.xenapi),
    ] {
        *value = flag.unwrap_or(*value);
    }
    listen.nbd = flags.listen_nbd.or(listen.nbd);
    if let Some(filter) = &flags.log {
        file.log.filter.clone_from(filter);
    }
    file.log.format = flags.log_format.unwrap_or(file.log.format);

    let errors: Vec<String> = check::check(&file)
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.text)
        .collect();
    if errors.is_empty() {
        return Ok(file);
    }
    let mut failure = Failure::new(Exit::Usage, "the configuration cannot be used");
    failure.causes = errors;
    Err(failure.hint(
        "`xensm config example` prints a commented file; `xensm config check FILE` judges one",
    ))
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path).map_err(|cause| {
        Failure::failed(format!("read the configuration {}", path.display()), &cause)
    })?;
    toml::from_str(&text).map_err(|cause| {
        let mut failure = Failure::new(
            Exit::Usage,
            format!("{} is not a configuration", path.display()),
        );
        failure.causes = cause.to_string().lines().map(str::to_owned).collect();
        failure.hint("`xensm config example` prints a commented file")
    })
}
