//! `xensm webhook`: who is told of what happens. Only the operator at the machine says so.

use clap::Subcommand;
use serde_json::{Value, json};
use volume_service::RequestContext;
use volume_service::app::Service;
use volume_service::app::webhooks::{self, NewWebhook};
use volume_service::db::webhooks::Webhook;

use crate::command_record::{Change, recorded};
use crate::config::CommonFlags;
use crate::failure::{Failure, Result};
use crate::sm;
use crate::ui::{self, Format};

/// What `webhook` does.
#[derive(Subcommand)]
pub enum WebhookCommand {
    /// Adds a webhook; the secret that signs is shown this once.
    #[command(after_help = "Examples:
  xensm webhook add https://hooks.example.org/xensm
  xensm webhook add https://10.0.0.9/events --kinds volume. --project 0123456789abcdef0123456789abcdef
  xensm webhook add http://127.0.0.1:9000/ --local

Events are CloudEvents 1.0 (JSON), sent at least once, in order, and tried again for a day and a half.
The header Xensm-Signature is t=SECONDS,v1=HEX with the HMAC-SHA256 of SECONDS, a dot and the body.
Addresses of this machine, of its links and of cloud metadata are refused, unless --local is given.")]
    Add {
        /// https://..., or http://... where nobody can listen.
        url: String,
        /// Only of this project, by id.
        #[arg(long)]
        project: Option<String>,
        /// Only kinds that begin so: volume., snapshot.error
        #[arg(long, default_value = "")]
        kinds: String,
        /// Also addresses of this machine and its links.
        #[arg(long)]
        local: bool,
    },
    /// Lists webhooks and how they do.
    #[command(after_help = "Example:
  xensm webhook list --format json")]
    List,
    /// Removes a webhook.
    #[command(after_help = "Example:
  xensm webhook remove 5b0f4a1e-3c0e-4f5b-8a51-0d5a6a1f6f5e")]
    Remove {
        /// Its id.
        id: String,
    },
    /// Sends a webhook an event of kind test, now and from here.
    #[command(after_help = "Example:
  xensm webhook test 5b0f4a1e-3c0e-4f5b-8a51-0d5a6a1f6f5e")]
    Test {
        /// Its id.
        id: String,
    },
}

fn view(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id,
        "url": webhook.url,
        "project_id": webhook.project_id,
        "kinds": webhook.kinds,
        "local": webhook.allows_local,
        "attempts": webhook.attempts,
        "dropped": webhook.dropped,
        "failure": webhook.failure,
    })
}

impl WebhookCommand {
    /// What is written down of it. URLs may hold secrets.
    fn change(&self) -> Option<Change> {
        match self {
            WebhookCommand::List => None,
            WebhookCommand::Add { kinds, project, .. } => {
                let project = project.as_deref().unwrap_or("every project");
                Change::of("webhook add", format!("{kinds}* of {project}"))
            }
            WebhookCommand::Remove { id } => Change::of("webhook remove", id),
            WebhookCommand::Test { id } => Change::of("webhook test", id),
        }
    }
}

/// Runs a command.
pub fn run(common: &CommonFlags, command: WebhookCommand, format: Format) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::failed("start the runtime", &cause))?;
    runtime.block_on(async {
        let change = command.change();
        let service = sm::open_service(common, change.as_ref()).await?;
        recorded(&service, change, carry_out(&service, command, format)).await
    })
}

async fn carry_out(service: &Service, command: WebhookCommand, format: Format) -> Result<()> {
    let operator = RequestContext::operator();
    match command {
        WebhookCommand::Add {
            url,
            project,
            kinds,
            local,
        } => {
            let wanted = NewWebhook {
                url,
                project_id: project,
                kinds,
                allows_local: local,
            };
            let (added, secret) = webhooks::add(service, &operator, wanted).await?;
            let mut view = view(&added);
            view["secret"] = json!(secret.expose());
            match format {
                Format::Json => ui::json(&view),
                Format::Table => {
                    ui::result(format!("webhook {} is added", added.id));
                    ui::result(format!("secret {}", secret.expose()));
                }
            }
        }
        WebhookCommand::List => show(&webhooks::list(service, &operator).await?, format),
        WebhookCommand::Remove { id } => {
            webhooks::remove(service, &operator, &id).await?;
            said(format, &format!("webhook {id} is removed"));
        }
        WebhookCommand::Test { id } => {
            webhooks::test(service, &operator, &id).await?;
            said(format, &format!("webhook {id} took the test"));
        }
    }
    Ok(())
}

fn show(all: &[Webhook], format: Format) {
    match format {
        Format::Json => {
            let views: Vec<Value> = all.iter().map(view).collect();
            ui::json(&json!(views));
        }
        Format::Table => {
            let row = |webhook: &Webhook| {
                vec![
                    webhook.id.clone(),
                    webhook.url.clone(),
                    webhook.kinds.clone(),
                    webhook.dropped.to_string(),
                    webhook.failure.clone(),
                ]
            };
            let header = ["id", "url", "kinds", "dropped", "last failure"];
            ui::table(&header, all.iter().map(row).collect());
        }
    }
}

fn said(format: Format, text: &str) {
    match format {
        Format::Json => ui::json(&json!({"result": text})),
        Format::Table => ui::result(text),
    }
}
