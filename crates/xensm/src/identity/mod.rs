//! `xensm identity`: users, projects, roles, tokens and keys of the built-in identity.
//!
//! The commands work on the database directly, so that they work while no service runs and nobody can log in; running
//! services notice within seconds. `act` opens the service; each noun has a file.

mod application_credential;
mod ec2;
mod project;
mod role;
mod token;
mod user;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use volume_service::RequestContext;
use volume_service::app::Service;
use volume_service::app::identity::{self, Project, ProjectFilter, UserEntry};
use volume_service::config::Secret;

use crate::command_record::{Change, recorded};
use crate::config::CommonFlags;
use crate::failure::{Exit, Failure, Result};
use crate::sm;
use crate::ui::{self, Format};

/// What `identity` does.
#[derive(Subcommand)]
pub enum IdentityCommand {
    /// Projects: who owns volumes.
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// Users and their passwords.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Roles, and who has which where.
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Tokens: issued, looked at, revoked.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// EC2 key pairs.
    #[command(subcommand)]
    Ec2(ec2::Ec2Command),
    /// Application credentials: passwords for programs.
    #[command(subcommand)]
    ApplicationCredential(application_credential::ApplicationCredentialCommand),
}

/// The service, the operator, and how results are written.
struct Act {
    service: Service,
    operator: RequestContext,
    format: Format,
}

/// Runs a command.
pub fn run(common: &CommonFlags, command: IdentityCommand, format: Format) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?;
    runtime.block_on(async {
        let change = command.change();
        let service = sm::open_service(common, change.as_ref()).await?;
        if let Some(keystone) = &service.config.keystone {
            return Err(Failure::new(
                Exit::Usage,
                format!("users and projects are Keystone's, at {}", keystone.url),
            )
            .hint("use: openstack project|user|role ..."));
        }
        let act = Act {
            service,
            operator: RequestContext::operator(),
            format,
        };
        recorded(&act.service, change, act.carry_out(command)).await
    })
}

impl IdentityCommand {
    /// What is written down of it.
    fn change(&self) -> Option<Change> {
        match self {
            IdentityCommand::Project(command) => command.change(),
            IdentityCommand::User(command) => command.change(),
            IdentityCommand::Role(command) => command.change(),
            IdentityCommand::Token(command) => command.change(),
            IdentityCommand::Ec2(command) => command.change(),
            IdentityCommand::ApplicationCredential(command) => command.change(),
        }
    }
}

impl Act {
    async fn carry_out(&self, command: IdentityCommand) -> Result<()> {
        match command {
            IdentityCommand::Project(command) => project::run(self, command).await,
            IdentityCommand::User(command) => user::run(self, command).await,
            IdentityCommand::Role(command) => role::run(self, command).await,
            IdentityCommand::Token(command) => token::run(self, command).await,
            IdentityCommand::Ec2(command) => ec2::run(self, command).await,
            IdentityCommand::ApplicationCredential(command) => {
                application_credential::run(self, command).await
            }
        }
    }

    /// The user with this id or name.
    async fn user(&self, id_or_name: &str) -> Result<UserEntry> {
        Ok(identity::find_user(&self.service, &self.operator, id_or_name).await?)
    }

    /// The project with this id or name.
    async fn project(&self, id_or_name: &str) -> Result<Project> {
        let filter = ProjectFilter {
            name: Some(id_or_name.to_owned()),
            ..ProjectFilter::default()
        };
        match identity::project(&self.service, &self.operator, id_or_name).await {
            Ok(entry) => Ok(entry.project),
            Err(error) if error.kind == volume_service::ErrorKind::NotFound => {
                let named = identity::projects(&self.service, &self.operator, filter, None).await?;
                let found = named.items.into_iter().next();
                found.map(|entry| entry.project).ok_or_else(|| {
                    Failure::from(error).hint("xensm identity project list shows all")
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Acts as a user: for what only its user may see.
    fn acting_for(&self, user_id: &str) -> RequestContext {
        RequestContext {
            user_id: user_id.to_owned(),
            ..self.operator.clone()
        }
    }

    /// Writes one object.
    fn show(&self, object: &Value) {
        match self.format {
            Format::Json => ui::json(object),
            Format::Table => {
                let rows = object
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| vec![key.clone(), plain(value)])
                    .collect();
                ui::table(&["field", "value"], rows);
            }
        }
    }

    /// Writes a list of objects by these fields.
    fn list(&self, header: &[&str], objects: &[Value]) {
        match self.format {
            Format::Json => ui::json(&json!(objects)),
            Format::Table => {
                let row = |object: &Value| header.iter().map(|key| plain(&object[*key])).collect();
                ui::table(header, objects.iter().map(row).collect());
            }
        }
    }

    /// Says that something was done.
    fn done(&self, text: &str) {
        match self.format {
            Format::Json => ui::json(&json!({"result": text})),
            Format::Table => ui::result(text),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Where a password comes from; never the command line, which everybody on the machine can read.
#[derive(clap::Args)]
pub struct PasswordFlags {
    /// File whose first line is the password; - for stdin [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordFlags {
    fn read(&self, question: &str) -> Result<Secret> {
        match &self.password_file {
            None => ui::secret(question).map(Secret::new),
            Some(path) if path.as_os_str() == "-" => ui::secret(question).map(Secret::new),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|cause| {
                    Failure::failed(format!("read the password in {}", path.display()), &cause)
                })?;
                let line = text.lines().next().unwrap_or_default();
                if line.is_empty() {
                    return Err(Failure::new(
                        Exit::Usage,
                        format!("the first line of {} is empty", path.display()),
                    ));
                }
                Ok(Secret::new(line))
            }
        }
    }
}
