//! `xensm identity project`.

use clap::Subcommand;
use serde_json::{Value, json};
use volume_service::app::identity::{self, ProjectChange, ProjectEntry, ProjectFilter};

use super::Act;
use super::user::insist;
use crate::command_record::Change;
use crate::failure::Result;
use crate::ui::{self, Confirmation};

/// What `project` does.
#[derive(Subcommand)]
pub enum ProjectCommand {
    /// Lists projects.
    #[command(after_help = "Examples:
  xensm identity project list
  xensm identity project list --user alice --format json")]
    List {
        /// Only those in which this user has a role.
        #[arg(long)]
        user: Option<String>,
    },
    /// Shows a project.
    #[command(after_help = "Example:
  xensm identity project show lab")]
    Show {
        /// Its id or name.
        project: String,
    },
    /// Makes a project.
    #[command(after_help = "Example:
  xensm identity project create lab --description 'Third floor'")]
    Create {
        /// Its name.
        name: String,
        /// A sentence for people.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Changes a project.
    #[command(after_help = "Examples:
  xensm identity project set lab --disable
  xensm identity project set lab --name laboratory")]
    Set {
        /// Its id or name.
        project: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Another description.
        #[arg(long)]
        description: Option<String>,
        /// Lets its users have tokens again.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Ends its tokens.
        #[arg(long)]
        disable: bool,
        /// Also when nobody is left who is an administrator.
        #[arg(long)]
        force: bool,
    },
    /// Removes a project that has no volumes and no snapshots.
    #[command(after_help = "Example:
  xensm identity project delete lab --yes")]
    Delete {
        /// Its id or name.
        project: String,
        /// Also when nobody is left who is an administrator.
        #[arg(long)]
        force: bool,
        /// Does not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

fn view(entry: &ProjectEntry) -> Value {
    json!({
        "id": entry.project.id,
        "name": entry.project.name,
        "description": entry.project.description,
        "enabled": entry.is_enabled,
        "tags": entry.tags,
    })
}

impl ProjectCommand {
    /// What is written down of it.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            ProjectCommand::List { .. } | ProjectCommand::Show { .. } => None,
            ProjectCommand::Create { name, .. } => Change::of("identity project create", name),
            ProjectCommand::Set { project, .. } => Change::of("identity project set", project),
            ProjectCommand::Delete { project, .. } => {
                Change::of("identity project delete", project)
            }
        }
    }
}

pub(super) async fn run(act: &Act, command: ProjectCommand) -> Result<()> {
    let (service, operator) = (&act.service, &act.operator);
    match command {
        ProjectCommand::List { user } => {
            let of_user = match user {
                Some(user) => Some(act.user(&user).await?.user.id),
                None => None,
            };
            let filter = ProjectFilter {
                of_user,
                ..ProjectFilter::default()
            };
            let listed = identity::projects(service, operator, filter, None).await?;
            let views: Vec<Value> = listed.items.iter().map(view).collect();
            act.list(&["id", "name", "enabled", "description"], &views);
        }
        ProjectCommand::Show { project } => {
            let id = act.project(&project).await?.id;
            act.show(&view(&identity::project(service, operator, &id).await?));
        }
        ProjectCommand::Create { name, description } => {
            let made = identity::create_project(service, operator, &name, &description).await?;
            act.show(&view(
                &identity::project(service, operator, &made.id).await?,
            ));
        }
        ProjectCommand::Set {
            project,
            name,
            description,
            enable,
            disable,
            force,
        } => {
            let id = act.project(&project).await?.id;
            let change = ProjectChange {
                name,
                description,
                is_enabled: (enable || disable).then_some(enable),
                tags: None,
            };
            let changed =
                identity::update_project(service, operator, &id, change, insist(force)).await?;
            act.show(&view(&changed));
        }
        ProjectCommand::Delete {
            project,
            force,
            yes,
        } => {
            let found = act.project(&project).await?;
            let confirmation = if yes {
                Confirmation::Given
            } else {
                Confirmation::Ask
            };
            let warning = format!(
                "WARNING: this removes the project {} with its users' roles and keys in it.",
                found.name
            );
            ui::confirm(&warning, confirmation)?;
            identity::delete_project(service, operator, &found.id, insist(force)).await?;
            act.done(&format!("project {} is removed", found.name));
        }
    }
    Ok(())
}
