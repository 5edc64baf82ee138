//! `xensm identity application-credential`.

use clap::Subcommand;
use serde_json::{Value, json};
use volume_service::app::identity::{self, NewApplicationCredential};
use volume_service::db::credentials::ApplicationCredential;

use super::Act;
use super::token::time_of;
use crate::command_record::Change;
use crate::failure::Result;

/// Microseconds of a day.
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// What `application-credential` does.
#[derive(Subcommand)]
pub enum ApplicationCredentialCommand {
    /// Lists a user's application credentials.
    #[command(after_help = "Example:
  xensm identity application-credential list --user alice")]
    List {
        /// The user's id or name.
        #[arg(long)]
        user: String,
    },
    /// Shows one.
    #[command(after_help = "Example:
  xensm identity application-credential show ci --user alice")]
    Show {
        /// Its id or name.
        credential: String,
        /// The user's id or name.
        #[arg(long)]
        user: String,
    },
    /// Makes one; its secret is shown this once.
    #[command(after_help = "Examples:
  xensm identity application-credential create ci --user alice --project lab --role reader
  xensm identity application-credential create ci --user alice --project lab --days 90 --format json")]
    Create {
        /// Its name.
        name: String,
        /// The user's id or name.
        #[arg(long)]
        user: String,
        /// The project's id or name.
        #[arg(long)]
        project: String,
        /// A role that it has [default: all that the user has there]
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// A sentence for people.
        #[arg(long, default_value = "")]
        description: String,
        /// Days after which it ends [default: never]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        days: Option<u16>,
        /// Lets it make and remove other application credentials.
        #[arg(long)]
        unrestricted: bool,
    },
    /// Removes one, and with it its tokens.
    #[command(after_help = "Example:
  xensm identity application-credential delete ci --user alice")]
    Delete {
        /// Its id or name.
        credential: String,
        /// The user's id or name.
        #[arg(long)]
        user: String,
    },
}

fn view(credential: &ApplicationCredential) -> Result<Value> {
    Ok(json!({
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "user_id": credential.user_id,
        "project_id": credential.project_id,
        "roles": credential.roles,
        "unrestricted": credential.is_unrestricted,
        "expires_at": credential.expires_at_us.map(time_of).transpose()?,
    }))
}

async fn find(act: &Act, user: &str, credential: &str) -> Result<ApplicationCredential> {
    let user = act.user(user).await?.user;
    let all = identity::application_credentials(&act.service, &act.operator, &user.id).await?;
    let found = all
        .iter()
        .find(|known| known.id == credential)
        .or_else(|| all.iter().find(|known| known.name == credential));
    match found {
        Some(found) => Ok(found.clone()),
        None => Err(identity::missing("application credential", credential).into()),
    }
}

impl ApplicationCredentialCommand {
    /// What is written down of it.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            ApplicationCredentialCommand::List { .. }
            | ApplicationCredentialCommand::Show { .. } => None,
            ApplicationCredentialCommand::Create { name, user, .. } => Change::of(
                "identity application-credential create",
                format!("{name} of {user}"),
            ),
            ApplicationCredentialCommand::Delete {
                credential, user, ..
            } => Change::of(
                "identity application-credential delete",
                format!("{credential} of {user}"),
            ),
        }
    }
}

pub(super) async fn run(act: &Act, command: ApplicationCredentialCommand) -> Result<()> {
    let (service, operator) = (&act.service, &act.operator);
    match command {
        ApplicationCredentialCommand::List { user } => {
            let user = act.user(&user).await?.user;
            let all = identity::application_credentials(service, operator, &user.id).await?;
            let views = all.iter().map(view).collect::<Result<Vec<Value>>>()?;
            act.list(&["id", "name", "project_id", "roles", "expires_at"], &views);
        }
        ApplicationCredentialCommand::Show { credential, user } => {
            act.show(&view(&find(act, &user, &credential).await?)?);
        }
        ApplicationCredentialCommand::Create {
            name,
            user,
            project,
            roles,
            description,
            days,
            unrestricted,
        } => {
            let user = act.user(&user).await?.user;
            let project = act.project(&project).await?;
            let token = identity::issue_for_user(service, operator, &user.id, &project.id).await?;
            let now_us = service.context.now_us();
            let wanted = NewApplicationCredential {
                name,
                description,
                secret: None,
                roles: (!roles.is_empty()).then_some(roles),
                expires_at_us: days.map(|days| now_us + i64::from(days) * DAY_US),
                is_unrestricted: unrestricted,
            };
            let (made, secret) =
                identity::create_application_credential(service, &token, wanted).await?;
            let mut view = view(&made)?;
            view["secret"] = json!(secret.expose());
            act.show(&view);
        }
        ApplicationCredentialCommand::Delete { credential, user } => {
            let found = find(act, &user, &credential).await?;
            let (user_id, id) = (&found.user_id, &found.id);
            identity::delete_application_credential(service, operator, None, user_id, id).await?;
            act.done(&format!("application credential {} is removed", found.name));
        }
    }
    Ok(())
}
