//! `xensm identity role`.

use clap::Subcommand;
use serde_json::{Value, json};
use volume_service::app::identity::{self, EVERY_ROLE, GrantFilter, implied};

use super::Act;
use super::user::insist;
use crate::command_record::Change;
use crate::failure::Result;

/// What `role` does.
#[derive(Subcommand)]
pub enum RoleCommand {
    /// Lists the roles and what they imply.
    #[command(after_help = "Example:
  xensm identity role list")]
    List,
    /// Lists who has which role where.
    #[command(after_help = "Examples:
  xensm identity role assignments
  xensm identity role assignments --user alice --format json")]
    Assignments {
        /// Only this user's.
        #[arg(long)]
        user: Option<String>,
        /// Only those in this project.
        #[arg(long)]
        project: Option<String>,
    },
    /// Gives a user a role in a project.
    #[command(after_help = "Example:
  xensm identity role grant member --user alice --project lab")]
    Grant(Target),
    /// Takes it away, with the application credentials that the user has there.
    #[command(after_help = "Example:
  xensm identity role revoke member --user alice --project lab")]
    Revoke {
        #[command(flatten)]
        target: Target,
        /// Also when nobody is left who is an administrator.
        #[arg(long)]
        force: bool,
    },
}

/// A role of a user in a project.
#[derive(clap::Args)]
pub struct Target {
    /// admin, member, reader or service.
    role: String,
    /// The user's id or name.
    #[arg(long)]
    user: String,
    /// The project's id or name.
    #[arg(long)]
    project: String,
}

impl Target {
    fn told(&self) -> String {
        format!("{} of {} in {}", self.role, self.user, self.project)
    }
}

impl RoleCommand {
    /// What is written down of it.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            RoleCommand::List | RoleCommand::Assignments { .. } => None,
            RoleCommand::Grant(target) => Change::of("identity role grant", target.told()),
            RoleCommand::Revoke { target, .. } => Change::of("identity role revoke", target.told()),
        }
    }
}

pub(super) async fn run(act: &Act, command: RoleCommand) -> Result<()> {
    let (service, operator) = (&act.service, &act.operator);
    match command {
        RoleCommand::List => {
            let view = |role: &str| {
                let held = [role.to_owned()];
                let implies: Vec<String> = implied(&held)
                    .into_iter()
                    .filter(|other| other != role)
                    .collect();
                json!({"name": role, "implies": implies})
            };
            let views: Vec<Value> = EVERY_ROLE.into_iter().map(view).collect();
            act.list(&["name", "implies"], &views);
        }
        RoleCommand::Assignments { user, project } => {
            let filter = GrantFilter {
                user_id: match user {
                    Some(user) => Some(act.user(&user).await?.user.id),
                    None => None,
                },
                project_id: match project {
                    Some(project) => Some(act.project(&project).await?.id),
                    None => None,
                },
            };
            let listed = identity::grants(service, operator, filter).await?;
            let views: Vec<Value> = listed
                .items
                .iter()
                .map(|grant| {
                    json!({"role": grant.role, "user": grant.user_name, "project": grant.project_name,
                        "user_id": grant.user_id, "project_id": grant.project_id})
                })
                .collect();
            act.list(&["role", "user", "project"], &views);
        }
        RoleCommand::Grant(target) => {
            let user = act.user(&target.user).await?.user;
            let project = act.project(&target.project).await?;
            identity::grant(service, operator, &user.id, &project.id, &target.role).await?;
            act.done(&format!(
                "{} has the role {} in {}",
                user.name, target.role, project.name
            ));
        }
        RoleCommand::Revoke { target, force } => {
            let user = act.user(&target.user).await?.user;
            let project = act.project(&target.project).await?;
            let force = insist(force);
            identity::revoke_grant(
                service,
                operator,
                &user.id,
                &project.id,
                &target.role,
                force,
            )
            .await?;
            act.done(&format!(
                "{} no longer has the role {} in {}",
                user.name, target.role, project.name
            ));
        }
    }
    Ok(())
}
