//! Sends what webhooks are to be told.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio_util::sync::CancellationToken;

use super::address::may_be_told;
use super::cloud_event::{MEDIA_TYPE, SIGNATURE_HEADER, body, signature};
use crate::app::Service;
use crate::app::webhooks::opened;
use crate::auth::http_client::{Ask, HttpClient, HttpError};
use crate::db::webhooks::{self, Event, Webhook};
use crate::error::Result;

/// How long one receiver may take for one event.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Events that are sent before the webhook is given back.
const EVENTS_MAX: i64 = 20;
/// How long a webhook is taken: longer than all of these may last.
const LEASE_US: i64 = (EVENTS_MAX + 1) * 10_000_000 + 30_000_000;
/// How often there is a look for something to tell.
const POLL: Duration = Duration::from_secs(1);
/// Tries of one event; about a day and a half with their pauses.
const ATTEMPTS_MAX: i64 = 40;
/// The pause after the first try; it doubles with each.
const FIRST_PAUSE_US: i64 = 1_000_000;
/// The longest pause.
const LONGEST_PAUSE_US: i64 = 3600 * 1_000_000;
/// How long an event is kept for those who were not told.
const KEPT_FOR_US: i64 = 7 * 24 * 3600 * 1_000_000;
/// Events that one sweep looks at, and forgets, at most.
const SWEEP_MAX: i64 = 10_000;
/// Events that wait for receivers at most: the oldest are forgotten, for each look of the writer passes over those of others.
const WAITING_MAX: i64 = 100_000;
/// Longest text of a failure that is kept, in characters.
const FAILURE_MAX_CHARS: usize = 300;

/// Tells webhooks what happened, in a worker's process.
pub struct Notifier {
    service: Service,
    public: HttpClient,
    local: HttpClient,
}

impl Notifier {
    /// A notifier; `https` receivers are known by the system's authorities.
    pub fn new(service: Service) -> Self {
        let tls = match xenapi::client::Trust::SystemCa.client_config() {
            Ok(config) => Some(config),
            Err(error) => {
                tracing::warn!(%error, "no authorities of the system: webhooks cannot be told by https");
                None
            }
        };
        let client = |may_connect: fn(IpAddr) -> bool| {
            HttpClient::new(tls.clone(), DEADLINE, ANSWER_MAX_BYTES, 4, may_connect)
        };
        Notifier {
            service,
            public: client(may_be_told),
            local: client(|_| true),
        }
    }

    /// Tells until it is told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.turn().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot look for what webhooks are to be told")
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Tells one webhook of what is next; false when there was nothing to tell.
    pub async fn turn(&self) -> Result<bool> {
        let service = &self.service;
        let now_us = service.context.now_us();
        let leased = service
            .database
            .write(move |tx| webhooks::lease(tx, now_us, now_us + LEASE_US))
            .await?;
        let Some(webhook) = leased else {
            service
                .database
                .write(move |tx| webhooks::sweep(tx, now_us - KEPT_FOR_US, SWEEP_MAX, WAITING_MAX))
                .await?;
            return Ok(false);
        };
        let told = self.tell_all(&webhook).await;
        let id = webhook.id.clone();
        service
            .database
            .write(move |tx| webhooks::release(tx, &id))
            .await?;
        told.map(|()| true)
    }

    async fn tell_all(&self, webhook: &Webhook) -> Result<()> {
        let id = webhook.id.clone();
        let database = &self.service.database;
        let events = database
            .read(move |tx| webhooks::pending(tx, &id, EVENTS_MAX))
            .await?;
        let mut attempts = webhook.attempts;
        for event in events {
            let failure = self.tell(webhook, &event).await.err();
            let id = webhook.id.clone();
            let now_us = self.service.context.now_us();
            match failure {
                None => {
                    attempts = 0;
                    database
                        .write(move |tx| webhooks::settle(tx, &id, event.id, false))
                        .await?;
                }
                Some(failure) if attempts + 1 >= ATTEMPTS_MAX => {
                    tracing::error!(
                        webhook.id = id,
                        event.id = event.id,
                        failure,
                        "a webhook is not told of an event"
                    );
                    attempts = 0;
                    database
                        .write(move |tx| webhooks::settle(tx, &id, event.id, true))
                        .await?;
                }
                Some(failure) => {
                    tracing::warn!(
                        webhook.id = id,
                        event.id = event.id,
                        failure,
                        "a webhook is told later"
                    );
                    let doubled = FIRST_PAUSE_US << attempts.clamp(0, 20);
                    let next_us = now_us + doubled.min(LONGEST_PAUSE_US);
                    return database
                        .write(move |tx| webhooks::postpone(tx, &id, next_us, &failure))
                        .await;
                }
            }
        }
        Ok(())
    }

    /// Sends one event; the text says why it was not taken.
    pub(crate) async fn tell(
        &self,
        webhook: &Webhook,
        event: &Event,
    ) -> std::result::Result<(), String> {
        let secret = opened(&self.service, webhook).map_err(|error| error.to_string())?;
        let body = body(
            event,
            &format!("urn:xensm:{}", self.service.config.default_zone),
        );
        let seconds = self.service.context.now_us() / 1_000_000;
        let signed = HeaderValue::from_str(&signature(&secret, seconds, &body))
            .map_err(|error| error.to_string())?;
        let ask = Ask {
            method: Method::POST,
            url: &webhook.url,
            headers: vec![
                ("content-type", HeaderValue::from_static(MEDIA_TYPE)),
                ("user-agent", HeaderValue::from_static("xensm")),
                (SIGNATURE_HEADER, signed),
            ],
            body: body.into(),
        };
        let client = match webhook.allows_local {
            true => &self.local,
            false => &self.public,
        };
        match client.ask(ask).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("the receiver answered {}", answer.status)),
            Err(error) => Err(chain(&error)),
        }
    }
}

fn chain(error: &HttpError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text.chars().take(FAILURE_MAX_CHARS).collect()
}
