//! `xensm identity ec2`.

use clap::Subcommand;
use serde_json::{Value, json};
use volume_service::app::identity::{self, ShownKey};
use volume_service::config::Secret;

use super::Act;
use crate::command_record::Change;
use crate::failure::Result;

/// What `ec2` does.
#[derive(Subcommand)]
pub enum Ec2Command {
    /// Lists a user's EC2 keys, without their secrets.
    #[command(after_help = "Example:
  xensm identity ec2 list --user alice")]
    List {
        /// The user's id or name.
        #[arg(long)]
        user: String,
    },
    /// Shows an EC2 key with its secret.
    #[command(after_help = "Example:
  xensm identity ec2 show 0123456789abcdef0123456789abcdef --user alice")]
    Show {
        /// The access key.
        access_key: String,
        /// The user's id or name.
        #[arg(long)]
        user: String,
    },
    /// Makes an EC2 key pair.
    #[command(after_help = "Example:
  xensm identity ec2 create --user alice --project lab")]
    Create {
        /// The user's id or name.
        #[arg(long)]
        user: String,
        /// The project's id or name.
        #[arg(long)]
        project: String,
    },
    /// Removes an EC2 key.
    #[command(after_help = "Example:
  xensm identity ec2 delete 0123456789abcdef0123456789abcdef --user alice")]
    Delete {
        /// The access key.
        access_key: String,
        /// The user's id or name.
        #[arg(long)]
        user: String,
    },
}

fn view(key: &ShownKey) -> Value {
    json!({"access_key": key.access_key, "user_id": key.user_id, "project_id": key.project_id})
}

impl Ec2Command {
    /// What is written down of it.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            Ec2Command::List { .. } => None,
            // It shows the secret.
            Ec2Command::Show { access_key, .. } => Change::of("identity ec2 show", access_key),
            Ec2Command::Create { user, project } => {
                Change::of("identity ec2 create", format!("{user} in {project}"))
            }
            Ec2Command::Delete { access_key, .. } => Change::of("identity ec2 delete", access_key),
        }
    }
}

pub(super) async fn run(act: &Act, command: Ec2Command) -> Result<()> {
    let service = &act.service;
    match command {
        Ec2Command::List { user } => {
            let user = act.user(&user).await?.user;
            let keys = identity::ec2_keys(service, &act.operator, &user.id).await?;
            let views: Vec<Value> = keys.iter().map(view).collect();
            act.list(&["access_key", "project_id"], &views);
        }
        Ec2Command::Show { access_key, user } => {
            let user = act.user(&user).await?.user;
            let request = act.acting_for(&user.id);
            let key = identity::show_ec2_key(service, &request, &user.id, &access_key).await?;
            let mut view = view(&key);
            view["secret"] = json!(key.secret.as_ref().map(Secret::expose));
            act.show(&view);
        }
        Ec2Command::Create { user, project } => {
            let user = act.user(&user).await?.user;
            let project = act.project(&project).await?;
            let (access_key, secret) =
                identity::create_ec2_key(service, &act.operator, &user.id, &project.id).await?;
            act.show(&json!({"access_key": access_key, "secret": secret.expose(),
                "user_id": user.id, "project_id": project.id}));
        }
        Ec2Command::Delete { access_key, user } => {
            let user = act.user(&user).await?.user;
            identity::delete_ec2_key(service, &act.operator, &user.id, &access_key).await?;
            act.done(&format!("EC2 key {access_key} is removed"));
        }
    }
    Ok(())
}
