//! The command lines of `xensm` and `nova-manage`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use volume_service::api::Microversion;

use crate::config::{CommonFlags, ServeFlags, Severity};
use crate::failure::{Exit, Failure, Result};
use crate::serve::Roles;
use crate::ui::Format;
use crate::{
    attach, audit, chain, command_record, config, data_owner, demo, identity, serve, sm, ui, vdi,
    webhook,
};

/// Block storage as a service for Xen pools.
#[derive(Parser)]
#[command(name = "xensm", version, after_help = XENSM_EXAMPLES)]
struct Xensm {
    #[command(flatten)]
    common: CommonFlags,
    #[command(subcommand)]
    command: XensmCommand,
}

const XENSM_EXAMPLES: &str = "Examples:
  xensm serve                          everything in one process, in ./xensm-data
  xensm demo                           the whole story in a temporary directory
  xensm sm flavor_list                 what `nova-manage sm flavor_list` shows
  xensm attach myvolume                prints the NBD URI of a volume on this machine";

#[derive(Subcommand)]
enum XensmCommand {
    /// Runs everything in one process: APIs, workers and the embedded Storage Manager.
    #[command(after_help = "Examples:
  xensm serve
  xensm serve --data-dir /var/lib/xensm --listen-volume 127.0.0.1:18776
  xensm serve --config /etc/xensm.toml --log-format json")]
    Serve(ServeFlags),
    /// Runs the APIs alone.
    #[command(after_help = "Example:
  xensm api --config /etc/xensm.toml")]
    Api(ServeFlags),
    /// Runs the worker of one zone alone.
    #[command(after_help = "Example:
  xensm worker --zone nova --config /etc/xensm.toml")]
    Worker {
        /// The zone whose operations it carries out.
        #[arg(long)]
        zone: String,
        #[command(flatten)]
        flags: ServeFlags,
    },
    /// Runs the Storage Manager alone.
    #[command(after_help = "Example:
  xensm storage-manager --data-dir /var/lib/xensm --listen-xenapi 127.0.0.1:8780")]
    StorageManager(ServeFlags),
    /// Shows the main job from flavor to bytes and back, in a temporary directory.
    Demo(demo::Options),
    /// Flavors and backends, as `nova-manage sm` has them.
    Sm(SmArguments),
    /// Attaches a volume on this machine and prints its NBD URI.
    #[command(after_help = "Examples:
  nbdcopy image.raw \"$(xensm attach myvolume)\"
  xensm attach --read-only 9a0c5c1e-3c0e-4f5b-8a51-0d5a6a1f6f5e --format json")]
    Attach(attach::AttachArguments),
    /// Ends the attachment that `xensm attach` made.
    #[command(after_help = "Example:
  xensm detach myvolume")]
    Detach(attach::DetachArguments),
    /// VDIs of a storage manager, and their content to and from files.
    #[command(after_help = "Examples:
  xensm vdi list
  xensm vdi export myvdi backup.vhd
  xensm vdi import backup.vhd --sr mysr --name restored")]
    Vdi(vdi::VdiArguments),
    /// Chains of images: what waits to be merged and why, checks, pause and resume.
    Chain(ChainArguments),
    /// Users, projects, roles, tokens and keys of the built-in identity; works while nothing runs and nobody can log in.
    #[command(after_help = "Examples:
  xensm identity user password admin
  xensm identity project create lab
  xensm identity user create alice --project lab --role member
  xensm identity role assignments --format json")]
    Identity(IdentityArguments),
    /// Who changed what, and whether the record of it is whole.
    Audit(AuditArguments),
    /// Who is told of what happens.
    Webhook(WebhookArguments),
    /// Prints the OpenAPI document of the Block Storage API.
    #[command(after_help = "Example:
  xensm openapi --microversion 3.59 > block-storage.json")]
    Openapi {
        /// The microversion that it is about: the newest, unless another is named.
        #[arg(long, default_value = "latest")]
        microversion: String,
    },
    /// Prints an example configuration or judges one.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(clap::Args)]
struct ChainArguments {
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value = "table")]
    format: Format,
    #[command(subcommand)]
    command: chain::ChainCommand,
}

#[derive(clap::Args)]
struct AuditArguments {
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value = "table")]
    format: Format,
    #[command(subcommand)]
    command: audit::AuditCommand,
}

#[derive(clap::Args)]
struct WebhookArguments {
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value = "table")]
    format: Format,
    #[command(subcommand)]
    command: webhook::WebhookCommand,
}

#[derive(clap::Args)]
struct IdentityArguments {
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value = "table")]
    format: Format,
    #[command(subcommand)]
    command: identity::IdentityCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Prints a commented configuration with every default.
    Example,
    /// Judges a configuration file.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Flavors and backends of the Xen Storage Manager volume service.
#[derive(Parser)]
#[command(name = "nova-manage", version, after_help = NOVA_MANAGE_EXAMPLES)]
struct NovaManage {
    #[command(flatten)]
    common: CommonFlags,
    #[command(subcommand)]
    command: NovaManageCommand,
}

const NOVA_MANAGE_EXAMPLES: &str = "Examples:
  nova-manage sm flavor_create gold \"Not all that glitters\"
  nova-manage sm backend_add gold nfs name_label=toybox-renuka server=myserver serverpath=/local/scratch/myname
  nova-manage sm backend_list
  nova-manage sm backend_remove 1
  nova-manage sm flavor_delete gold";

#[derive(Subcommand)]
enum NovaManageCommand {
    /// Flavors and backends.
    Sm(SmArguments),
}

#[derive(clap::Args)]
struct SmArguments {
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value = "table")]
    format: Format,
    #[command(subcommand)]
    command: sm::SmCommand,
}

/// Runs `xensm`.
pub fn run_xensm() -> ExitCode {
    let arguments = Xensm::parse();
    let common = arguments.common;
    if arguments.command.works_in_data_dir()
        && let Err(failure) = work_as_owner(&common)
    {
        return finish(Err(failure));
    }
    finish(match arguments.command {
        XensmCommand::Serve(flags) => serve::run(&common, &flags, &Roles::everything()),
        XensmCommand::Api(flags) => serve::run(&common, &flags, &Roles::api()),
        XensmCommand::Worker { zone, flags } => serve::run(&common, &flags, &Roles::worker(zone)),
        XensmCommand::StorageManager(flags) => {
            serve::run(&common, &flags, &Roles::storage_manager())
        }
        XensmCommand::Demo(options) => demo::run(&options),
        XensmCommand::Sm(arguments) => sm::run(&common, arguments.command, arguments.format),
        XensmCommand::Attach(arguments) => attach::attach(&common, &arguments),
        XensmCommand::Detach(arguments) => attach::detach(&common, &arguments),
        XensmCommand::Vdi(arguments) => vdi::run(&common, &arguments),
        XensmCommand::Chain(arguments) => chain::run(&common, arguments.command, arguments.format),
        XensmCommand::Identity(arguments) => {
            identity::run(&common, arguments.command, arguments.format)
        }
        XensmCommand::Audit(arguments) => audit::run(&common, arguments.command, arguments.format),
        XensmCommand::Webhook(arguments) => {
            webhook::run(&common, arguments.command, arguments.format)
        }
        XensmCommand::Openapi { microversion } => run_openapi(&microversion),
        XensmCommand::Config { command } => run_config(command),
    })
}

/// Runs `nova-manage`.
pub fn run_nova_manage() -> ExitCode {
    let arguments = NovaManage::parse();
    let NovaManageCommand::Sm(sm_arguments) = arguments.command;
    let done = work_as_owner(&arguments.common)
        .and_then(|()| sm::run(&arguments.common, sm_arguments.command, sm_arguments.format));
    finish(done)
}

/// Notes who types, and lets root go on as the owner of the data directory.
fn work_as_owner(common: &CommonFlags) -> Result<()> {
    command_record::person();
    data_owner::become_owner(common)
}

impl XensmCommand {
    /// True for commands that work in the data directory beside the service, and need nothing that only root has.
    fn works_in_data_dir(&self) -> bool {
        match self {
            XensmCommand::Sm(_)
            | XensmCommand::Attach(_)
            | XensmCommand::Detach(_)
            | XensmCommand::Chain(_)
            | XensmCommand::Identity(_)
            | XensmCommand::Webhook(_) => true,
            XensmCommand::Audit(arguments) => arguments.command.is_of_data_dir(),
            // What serves may need root's devices; `vdi` reads and writes files and devices that are root's to name, and
            // nothing in the data directory but the credentials.
            XensmCommand::Serve(_)
            | XensmCommand::Api(_)
            | XensmCommand::Worker { .. }
            | XensmCommand::StorageManager(_)
            | XensmCommand::Vdi(_)
            | XensmCommand::Demo(_)
            | XensmCommand::Openapi { .. }
            | XensmCommand::Config { .. } => false,
        }
    }
}

fn finish(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = data_owner::explain(failure);
            ui::talk(failure.to_string());
            failure.exit_code()
        }
    }
}

fn run_openapi(microversion: &str) -> Result<()> {
    let version = Microversion::parse(&format!("volume {microversion}")).map_err(|_| {
        let (oldest, newest) = (Microversion::MIN, Microversion::MAX);
        Failure::new(
            Exit::Usage,
            format!("{microversion} is no microversion of the Block Storage API"),
        )
        .hint(format!(
            "{oldest} to {newest} are spoken, and latest is the last of them"
        ))
    })?;
    ui::json(&volume_service::api::openapi(version));
    Ok(())
}

fn run_config(command: ConfigCommand) -> Result<()> {
    let ConfigCommand::Check { file } = command else {
        ui::result(config::EXAMPLE.trim_end());
        return Ok(());
    };
    let text = std::fs::read_to_string(&file).map_err(|cause| {
        Failure::failed(format!("read the configuration {}", file.display()), &cause)
    })?;
    let findings = config::check_text(&text);
    for finding in &findings {
        let label = if finding.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        ui::result(format!("{label}: {}", finding.text));
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    if errors > 0 {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} has {errors} error(s)", file.display()),
        ));
    }
    ui::result(format!("{} is good", file.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_consistent() {
        Xensm::command().debug_assert();
        NovaManage::command().debug_assert();
    }
}
