//! Webhooks: added, listed, removed and tried by the operator at the machine; no API does it.

use base64::Engine as _;

use super::identity::admin;
use super::{Service, limits};
use crate::auth::http_client::target;
use crate::config::Secret;
use crate::context::RequestContext;
use crate::db::webhooks::{self, Event, Webhook};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::notify::Notifier;

/// Most webhooks.
const WEBHOOKS_MAX: usize = 100;
/// Longest URL, in bytes.
const URL_MAX_BYTES: usize = 2048;

/// A webhook that is to be added.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// `https://...`, or `http://...` where nobody can listen.
    pub url: String,
    /// The only project of which it is told.
    pub project_id: Option<String>,
    /// A prefix of the kinds: `volume.`; empty for all.
    pub kinds: String,
    /// Whether addresses of this machine and its links will do.
    pub allows_local: bool,
}

/// Adds a webhook and returns it with the secret that signs, which is not shown again.
pub async fn add(
    service: &Service,
    request: &RequestContext,
    wanted: NewWebhook,
) -> Result<(Webhook, Secret)> {
    admin(request, "webhook:add")?;
    let (_, _) = target(&wanted.url).map_err(|cause| {
        Error::invalid("The URL of a webhook must be https:// or http://, with a host and no user.")
            .caused_by(cause)
    })?;
    if wanted.url.len() > URL_MAX_BYTES {
        return Err(Error::invalid(format!(
            "The URL of a webhook has at most {URL_MAX_BYTES} bytes."
        )));
    }
    limits::check_text("kinds", &wanted.kinds)?;
    let is_prefix = |byte: u8| byte.is_ascii_lowercase() || b".-_".contains(&byte);
    if !wanted.kinds.bytes().all(is_prefix) {
        return Err(Error::invalid(
            "The kinds of a webhook are a prefix such as volume. or snapshot.error",
        ));
    }
    let bytes: [u8; 32] = service.context.random_bytes();
    let secret = Secret::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes));
    let id = service.context.new_uuid().to_string();
    let webhook = Webhook {
        sealed_secret: service
            .vault
            .seal(&seal_name(&id), secret.expose().as_bytes()),
        id,
        project_id: wanted.project_id,
        url: wanted.url,
        kinds: wanted.kinds,
        allows_local: wanted.allows_local,
        attempts: 0,
        dropped: 0,
        failure: String::new(),
        created_at_us: service.context.now_us(),
    };
    let added = webhook.clone();
    service
        .database
        .write(move |tx| {
            if webhooks::list(tx)?.len() >= WEBHOOKS_MAX {
                return Err(Error::new(
                    ErrorKind::QuotaExceeded,
                    Subject::Request,
                    format!("There are {WEBHOOKS_MAX} webhooks already, which is the most."),
                ));
            }
            webhooks::insert(tx, &added)
        })
        .await?;
    Ok((webhook, secret))
}

/// Every webhook.
pub async fn list(service: &Service, request: &RequestContext) -> Result<Vec<Webhook>> {
    admin(request, "webhook:list")?;
    service.database.read(webhooks::list).await
}

/// Removes a webhook.
pub async fn remove(service: &Service, request: &RequestContext, id: &str) -> Result<()> {
    admin(request, "webhook:remove")?;
    let id = id.to_owned();
    service
        .database
        .write(move |tx| {
            if webhooks::remove(tx, &id)? {
                return Ok(());
            }
            Err(unknown(&id))
        })
        .await
}

/// Sends a webhook an event of kind `test` now, from this process.
///
/// # Errors
/// `Unavailable`, saying why it was not taken.
pub async fn test(service: &Service, request: &RequestContext, id: &str) -> Result<()> {
    let all = list(service, request).await?;
    let found = all.into_iter().find(|webhook| webhook.id == id);
    let webhook = found.ok_or_else(|| unknown(id))?;
    let event = Event {
        id: 0,
        at_us: service.context.now_us(),
        kind: "test".to_owned(),
        project_id: webhook.project_id.clone().unwrap_or_default(),
        resource_type: "webhook".to_owned(),
        resource_id: webhook.id.clone(),
        data: "{}".to_owned(),
    };
    let notifier = Notifier::new(service.clone());
    notifier.tell(&webhook, &event).await.map_err(|failure| {
        Error::new(
            ErrorKind::Unavailable,
            Subject::Request,
            "The webhook did not take the test.",
        )
        .detail(failure)
    })
}

/// The secret that signs what a webhook is told.
pub(crate) fn opened(service: &Service, webhook: &Webhook) -> Result<Secret> {
    let secret = service
        .vault
        .open(&seal_name(&webhook.id), &webhook.sealed_secret)?;
    Ok(Secret::new(String::from_utf8_lossy(&secret)))
}

fn seal_name(id: &str) -> String {
    format!("webhook:{id}")
}

fn unknown(id: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        Subject::Request,
        format!("There is no webhook {id}."),
    )
    .on(id)
}
