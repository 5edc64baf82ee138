//! `xensm identity token`. Tokens are read from stdin: a command line is everybody's to read.

use clap::Subcommand;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use volume_service::app::identity::{self, Token};
use volume_service::config::Secret;

use super::Act;
use crate::command_record::Change;
use crate::failure::{Exit, Failure, Result};
use crate::ui;

/// What `token` does.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Issues a token as a user, without its password: who can read the master key can sign.
    #[command(after_help = "Examples:
  xensm identity token issue --user alice --project lab
  OS_TOKEN=$(xensm identity token issue --user alice --project lab --format json | jq -r .token)")]
    Issue {
        /// The user's id or name.
        #[arg(long)]
        user: String,
        /// The project's id or name.
        #[arg(long)]
        project: String,
    },
    /// Shows whom a token is for; the token is read from stdin.
    #[command(after_help = "Example:
  echo \"$OS_TOKEN\" | xensm identity token show")]
    Show,
    /// Ends a token before its time; the token is read from stdin.
    #[command(after_help = "Example:
  echo \"$OS_TOKEN\" | xensm identity token revoke")]
    Revoke,
}

impl TokenCommand {
    /// What is written down of it.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            TokenCommand::Issue { user, project } => {
                Change::of("identity token issue", format!("{user} in {project}"))
            }
            TokenCommand::Show => None,
            // The token itself is a secret.
            TokenCommand::Revoke => Change::of("identity token revoke", ""),
        }
    }
}

pub(super) async fn run(act: &Act, command: TokenCommand) -> Result<()> {
    let (service, operator) = (&act.service, &act.operator);
    match command {
        TokenCommand::Issue { user, project } => {
            let user = act.user(&user).await?.user;
            let project = act.project(&project).await?;
            let token = identity::issue_for_user(service, operator, &user.id, &project.id).await?;
            act.show(&view(&token)?);
        }
        TokenCommand::Show => {
            let token = identity::validate(service, &read()?).await?;
            act.show(&view(&token)?);
        }
        TokenCommand::Revoke => {
            identity::revoke(service, operator, &read()?).await?;
            act.done("the token is revoked");
        }
    }
    Ok(())
}

fn read() -> Result<Secret> {
    let line = ui::secret("Token")?;
    Ok(Secret::new(line.trim()))
}

fn view(token: &Token) -> Result<Value> {
    let mut view = json!({
        "user": token.user.name,
        "user_id": token.user.id,
        "project": token.project.as_ref().map(|project| &project.name),
        "project_id": token.project.as_ref().map(|project| &project.id),
        "roles": token.roles,
        "methods": token.methods,
        "issued_at": time_of(token.issued_at_us)?,
        "expires_at": time_of(token.expires_at_us)?,
    });
    if let Some(text) = &token.text {
        view["token"] = json!(text.expose());
    }
    Ok(view)
}

pub(super) fn time_of(at_us: i64) -> Result<String> {
    let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_us) * 1000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok());
    text.ok_or_else(|| Failure::new(Exit::Failed, format!("{at_us} us is no time of a calendar")))
}
