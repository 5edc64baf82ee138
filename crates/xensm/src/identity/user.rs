//! `xensm identity user`.

use clap::Subcommand;
use serde_json::{Value, json};
use volume_service::app::identity::{self, Force, NewUser, UserChange, UserEntry, UserFilter};

use super::{Act, PasswordFlags};
use crate::command_record::Change;
use crate::failure::{Exit, Failure, Result};
use crate::ui::{self, Confirmation};

/// What `user` does.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Lists users.
    #[command(after_help = "Examples:
  xensm identity user list
  xensm identity user list --disabled --format json")]
    List {
        /// Only those that are disabled.
        #[arg(long)]
        disabled: bool,
    },
    /// Shows a user and its roles.
    #[command(after_help = "Example:
  xensm identity user show alice")]
    Show {
        /// Its id or name.
        user: String,
    },
    /// Makes a user, with a role in a project when both are given.
    #[command(after_help = "Examples:
  xensm identity user create alice --project lab --role member
  pwgen -s 32 1 | xensm identity user create robot --password-file -")]
    Create {
        /// Its name.
        name: String,
        /// The project that it works in when it names none.
        #[arg(long)]
        project: Option<String>,
        /// Its role there: admin, member or reader.
        #[arg(long, requires = "project")]
        role: Option<String>,
        /// Its address.
        #[arg(long, default_value = "")]
        email: String,
        /// A sentence for people.
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        password: PasswordFlags,
    },
    /// Changes a user.
    #[command(after_help = "Examples:
  xensm identity user set alice --disable
  xensm identity user set alice --name alicia --email alicia@example.org")]
    Set {
        /// Its id or name.
        user: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Another address.
        #[arg(long)]
        email: Option<String>,
        /// Another description.
        #[arg(long)]
        description: Option<String>,
        /// Another default project.
        #[arg(long)]
        project: Option<String>,
        /// Lets it log in again.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Ends its tokens and lets it not log in.
        #[arg(long)]
        disable: bool,
        /// Also when nobody is left who is an administrator.
        #[arg(long)]
        force: bool,
    },
    /// Sets a password, and ends the user's tokens.
    #[command(after_help = "Examples:
  xensm identity user password admin
  xensm identity user password admin --password-file new.txt")]
    Password {
        /// Its id or name.
        user: String,
        #[command(flatten)]
        password: PasswordFlags,
    },
    /// Removes a user with its roles and keys. Volumes stay: they are the project's.
    #[command(after_help = "Example:
  xensm identity user delete alice --yes")]
    Delete {
        /// Its id or name.
        user: String,
        /// Also when nobody is left who is an administrator.
        #[arg(long)]
        force: bool,
        /// Does not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

fn view(entry: &UserEntry) -> Value {
    json!({
        "id": entry.user.id,
        "name": entry.user.name,
        "email": entry.email,
        "description": entry.description,
        "enabled": entry.is_enabled,
        "default_project_id": entry.user.default_project_id,
    })
}

impl UserCommand {
    /// What is written down of it.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            UserCommand::List { .. } | UserCommand::Show { .. } => None,
            UserCommand::Create { name, .. } => Change::of("identity user create", name),
            UserCommand::Set { user, .. } => Change::of("identity user set", user),
            UserCommand::Password { user, .. } => Change::of("identity user password", user),
            UserCommand::Delete { user, .. } => Change::of("identity user delete", user),
        }
    }
}

pub(super) async fn run(act: &Act, command: UserCommand) -> Result<()> {
    let (service, operator) = (&act.service, &act.operator);
    match command {
        UserCommand::List { disabled } => {
            let filter = UserFilter {
                enabled: disabled.then_some(false),
                ..UserFilter::default()
            };
            let listed = identity::users(service, operator, filter, None).await?;
            let views: Vec<Value> = listed.items.iter().map(view).collect();
            act.list(&["id", "name", "enabled", "email"], &views);
            Ok(())
        }
        UserCommand::Show { user } => show(act, &user).await,
        create @ UserCommand::Create { .. } => make(act, create).await,
        set @ UserCommand::Set { .. } => change(act, set).await,
        UserCommand::Password { user, password } => {
            let entry = act.user(&user).await?;
            let change = UserChange {
                password: Some(password.read(&format!("New password for {}", entry.user.name))?),
                ..UserChange::default()
            };
            identity::update_user(service, operator, &entry.user.id, change, Force::No).await?;
            act.done(&format!(
                "the password of {} is changed and its tokens have ended",
                entry.user.name
            ));
            Ok(())
        }
        UserCommand::Delete { user, force, yes } => {
            let entry = act.user(&user).await?;
            let confirmation = if yes {
                Confirmation::Given
            } else {
                Confirmation::Ask
            };
            let warning = format!(
                "WARNING: this removes the user {} with its roles, application credentials and EC2 keys.",
                entry.user.name
            );
            ui::confirm(&warning, confirmation)?;
            identity::delete_user(service, operator, &entry.user.id, insist(force)).await?;
            act.done(&format!("user {} is removed", entry.user.name));
            Ok(())
        }
    }
}

async fn show(act: &Act, user: &str) -> Result<()> {
    let entry = act.user(user).await?;
    let mut view = view(&entry);
    let filter = identity::GrantFilter {
        user_id: Some(entry.user.id),
        project_id: None,
    };
    let grants = identity::grants(&act.service, &act.operator, filter).await?;
    view["roles"] = grants
        .items
        .iter()
        .map(|grant| json!(format!("{} in {}", grant.role, grant.project_name)))
        .collect();
    act.show(&view);
    Ok(())
}

async fn make(act: &Act, create: UserCommand) -> Result<()> {
    let UserCommand::Create {
        name,
        project,
        role,
        email,
        description,
        password,
    } = create
    else {
        return Err(Failure::new(Exit::Usage, "this makes no user"));
    };
    let (service, operator) = (&act.service, &act.operator);
    let project = match &project {
        Some(project) => Some(act.project(project).await?),
        None => None,
    };
    let wanted = NewUser {
        password: Some(password.read(&format!("Password for {name}"))?),
        name,
        email,
        description,
        is_enabled: true,
        default_project_id: project.as_ref().map(|project| project.id.clone()),
    };
    let made = identity::new_user(service, operator, wanted).await?;
    if let (Some(project), Some(role)) = (&project, &role) {
        identity::grant(service, operator, &made.user.id, &project.id, role).await?;
    }
    act.show(&view(&made));
    Ok(())
}

async fn change(act: &Act, set: UserCommand) -> Result<()> {
    let UserCommand::Set {
        user,
        name,
        email,
        description,
        project,
        enable,
        disable,
        force,
    } = set
    else {
        return Err(Failure::new(Exit::Usage, "this is no change of a user"));
    };
    let entry = act.user(&user).await?;
    let default_project_id = match &project {
        Some(project) => Some(Some(act.project(project).await?.id)),
        None => None,
    };
    let change = UserChange {
        name,
        password: None,
        email,
        description,
        is_enabled: match (enable, disable) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            (false, false) => None,
        },
        default_project_id,
    };
    let (service, operator) = (&act.service, &act.operator);
    let id = &entry.user.id;
    let changed = identity::update_user(service, operator, id, change, insist(force)).await?;
    act.show(&view(&changed));
    Ok(())
}

pub(super) fn insist(force: bool) -> Force {
    if force { Force::Yes } else { Force::No }
}
