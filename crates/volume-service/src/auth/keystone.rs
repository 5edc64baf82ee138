//! Tokens of a Keystone: asked for with our own token, remembered for a minute, forgotten when Keystone revokes.
//!
//! What was remembered is good while all of these hold: the token has not expired, it was looked up less than
//! `GOOD_FOR_US` ago, and Keystone's list of revocations has not changed since (it is asked for every
//! `REVOCATIONS_EVERY_US` while requests come). When Keystone is away nothing new is believed: 503.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::http_client::{Answer, Ask, HttpClient, HttpError};
use super::recent::Recent;
use super::token_source::{Lateness, TokenFuture, TokenSource};
use crate::app::identity::{Project, Token, User, implied};
use crate::config::{KeystoneConfig, Secret, Trust};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, Subject};

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer: a catalogue is left out, a list of revocations is not.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Questions at a time; more are refused with 503.
const QUESTIONS_MAX: usize = 64;
/// Tokens, and refused tokens, that are remembered at most.
const REMEMBERED_MAX: usize = 4096;
/// How long a good token is remembered.
const GOOD_FOR_US: i64 = 60_000_000;
/// How long a refused one is.
const REFUSED_FOR_US: i64 = 10_000_000;
/// How often Keystone is asked what it revoked.
const REVOCATIONS_EVERY_US: i64 = 5_000_000;
/// How far back it is asked.
const REVOCATIONS_SINCE_US: i64 = 10 * 60_000_000;
/// Our own token is renewed when it is this near to its end.
const RENEW_BEFORE_US: i64 = 60_000_000;
/// Longest token that is sent on, in bytes; Keystone's have about 250.
const TOKEN_MAX_BYTES: usize = 4096;

/// A client of a Keystone.
pub struct Keystone {
    config: KeystoneConfig,
    context: Context,
    http: HttpClient,
    own: tokio::sync::Mutex<Option<OwnToken>>,
    good: Recent<Key, Token>,
    refused: Recent<Key, ()>,
    revocations: Mutex<Vec<u8>>,
    revocations_at_us: AtomicI64,
}

/// The SHA-256 of a token, and whether it may be late.
type Key = ([u8; 32], Lateness);

#[derive(Clone)]
struct OwnToken {
    text: Secret,
    expires_at_us: i64,
}

impl Keystone {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// `Invalid` for a URL or a file of certificates that cannot be used.
    pub fn new(context: Context, config: KeystoneConfig) -> Result<Self> {
        super::http_client::target(&config.url).map_err(|cause| {
            Error::invalid("identity.keystone_url is not usable.").caused_by(cause)
        })?;
        let trust = match &config.trust {
            Trust::CaFile(path) => Some(xenapi::client::Trust::CaFile(path.clone())),
            Trust::Fingerprint(text) => Some(xenapi::client::Trust::Fingerprints(vec![
                xenapi::client::Trust::fingerprint(text).map_err(unusable)?,
            ])),
            Trust::NotNeeded if config.url.starts_with("https:") => {
                Some(xenapi::client::Trust::SystemCa)
            }
            Trust::NotNeeded => None,
        };
        let tls = match trust {
            Some(trust) => Some(trust.client_config().map_err(unusable)?),
            None => None,
        };
        Ok(Keystone {
            http: HttpClient::new(tls, DEADLINE, ANSWER_MAX_BYTES, QUESTIONS_MAX, |_| true),
            config,
            context,
            own: tokio::sync::Mutex::new(None),
            good: Recent::new(REMEMBERED_MAX, GOOD_FOR_US),
            refused: Recent::new(REMEMBERED_MAX, REFUSED_FOR_US),
            revocations: Mutex::default(),
            revocations_at_us: AtomicI64::new(0),
        })
    }

    async fn look(&self, token: &Secret, late: Lateness) -> Result<Token> {
        let text = token.expose();
        if text.is_empty()
            || text.len() > TOKEN_MAX_BYTES
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(refused());
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        let key = (hash, late);
        let now_us = self.context.now_us();
        self.follow_revocations(now_us).await;
        if let Some(known) = self.good.get(&key, now_us) {
            if late == Lateness::Allowed || known.expires_at_us > now_us {
                return Ok(known);
            }
            return Err(refused().detail("the token has expired"));
        }
        if self.refused.get(&key, now_us).is_some() {
            return Err(refused());
        }
        let changes = self.good.changes();
        match self.ask_for(token, late).await? {
            Some(found) if late == Lateness::Allowed || found.expires_at_us > now_us => {
                // What was revoked while we asked must not be remembered.
                self.good
                    .insert_unless_changed(changes, key, found.clone(), now_us);
                Ok(found)
            }
            _ => {
                self.refused.insert(key, (), now_us);
                Err(refused())
            }
        }
    }

    /// What Keystone says about a token; none when it does not know it.
    async fn ask_for(&self, token: &Secret, late: Lateness) -> Result<Option<Token>> {
        let path = match late {
            Lateness::Refused => "/auth/tokens?nocatalog",
            Lateness::Allowed => "/auth/tokens?nocatalog&allow_expired=1",
        };
        let answer = self.ask_as_ourselves(path, Some(token)).await?;
        match answer.status {
            StatusCode::OK => read(&answer.body)
                .map(Some)
                .ok_or_else(|| away("Keystone's description of a token is not understood")),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(away(format!(
                "Keystone answered {status} to a question about a token"
            ))),
        }
    }

    /// What Keystone says about whoever signed a request; nothing of it is remembered, as no two requests are alike.
    async fn ask_for_signed(&self, described: Value) -> Result<Token> {
        let own = self.own_token(false).await?;
        let url = format!("{}/ec2tokens", self.config.url);
        let ask = Ask {
            method: Method::POST,
            url: &url,
            headers: vec![
                ("x-auth-token", value(&own.text)?),
                ("content-type", HeaderValue::from_static("application/json")),
            ],
            body: json!({ "credentials": described }).to_string().into(),
        };
        let answer = self.http.ask(ask).await.map_err(unreachable)?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => read(&answer.body)
                .ok_or_else(|| away("Keystone's description of a token is not understood")),
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => {
                Err(refused())
            }
            status => Err(away(format!(
                "Keystone answered {status} to a question about a signature"
            ))),
        }
    }

    /// Forgets what is remembered when Keystone revoked something meanwhile. One request asks; the others go on.
    async fn follow_revocations(&self, now_us: i64) {
        let last_us = self.revocations_at_us.load(Ordering::Relaxed);
        if now_us.saturating_sub(last_us) < REVOCATIONS_EVERY_US
            || self
                .revocations_at_us
                .compare_exchange(last_us, now_us, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let since = OffsetDateTime::from_unix_timestamp_nanos(
            i128::from(now_us - REVOCATIONS_SINCE_US) * 1000,
        );
        let since = since.ok().and_then(|time| time.format(&Rfc3339).ok());
        let path = format!("/OS-REVOKE/events?since={}", since.unwrap_or_default());
        let answer = match self.ask_as_ourselves(&path, None).await {
            Ok(answer) if answer.status == StatusCode::OK => answer,
            Ok(answer) => {
                tracing::debug!(
                    status = answer.status.as_u16(),
                    "Keystone does not say what it revoked"
                );
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot ask Keystone what it revoked");
                return;
            }
        };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = body["events"].to_string();
        let seen = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut last = self
            .revocations
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.as_slice() != seen.as_ref() {
            *last = seen.as_ref().to_vec();
            self.good.clear();
        }
    }

    /// Asks with our own token, once more with a new one when that is refused.
    async fn ask_as_ourselves(&self, path: &str, subject: Option<&Secret>) -> Result<Answer> {
        let url = format!("{}{path}", self.config.url);
        for renew in [false, true] {
            let own = self.own_token(renew).await?;
            let mut headers = vec![("x-auth-token", value(&own.text)?)];
            if let Some(subject) = subject {
                headers.push(("x-subject-token", value(subject)?));
            }
            let ask = Ask {
                method: Method::GET,
                url: &url,
                headers,
                body: Bytes::new(),
            };
            let answer = self.http.ask(ask).await.map_err(unreachable)?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
        }
        Err(away("Keystone refuses the token that it gave us"))
    }

    async fn own_token(&self, renew: bool) -> Result<OwnToken> {
        // Not behind everybody else's failed logins, one after the other.
        let mut own = tokio::time::timeout(DEADLINE, self.own.lock())
            .await
            .map_err(|_| away("others wait for Keystone to take our login"))?;
        let now_us = self.context.now_us();
        if let Some(token) = own.as_ref()
            && !renew
            && token.expires_at_us - RENEW_BEFORE_US > now_us
        {
            return Ok(token.clone());
        }
        let config = &self.config;
        let domain = json!({"name": config.domain});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {"name": config.username,
                "domain": domain, "password": config.password.expose()}}},
            "scope": {"project": {"name": config.project, "domain": domain}}}});
        let url = format!("{}/auth/tokens?nocatalog", config.url);
        let ask = Ask {
            method: Method::POST,
            url: &url,
            headers: vec![("content-type", HeaderValue::from_static("application/json"))],
            body: body.to_string().into(),
        };
        let answer = self.http.ask(ask).await.map_err(unreachable)?;
        if answer.status != StatusCode::CREATED {
            let status = answer.status;
            let user = &config.username;
            return Err(away(format!(
                "Keystone answered {status} to the login of {user}: look at [identity] in the configuration"
            )));
        }
        let text = answer.headers.get("x-subject-token");
        let text = text.and_then(|text| text.to_str().ok());
        let described = read(&answer.body);
        let (Some(text), Some(described)) = (text, described) else {
            return Err(away("Keystone's answer to our login is not understood"));
        };
        let fresh = OwnToken {
            text: Secret::new(text),
            expires_at_us: described.expires_at_us,
        };
        *own = Some(fresh.clone());
        Ok(fresh)
    }
}

impl TokenSource for Keystone {
    fn validate<'a>(&'a self, token: &'a Secret, late: Lateness) -> TokenFuture<'a> {
        Box::pin(self.look(token, late))
    }

    fn validate_signed(&self, described: Value) -> TokenFuture<'_> {
        Box::pin(self.ask_for_signed(described))
    }

    fn service_roles(&self) -> &[String] {
        &self.config.service_roles
    }
}

/// What Keystone's JSON says; none when it is not of its form.
fn read(body: &[u8]) -> Option<Token> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let token = &body["token"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let named: Vec<String> = token["roles"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|role| role["name"].as_str())
        .map(str::to_lowercase)
        .collect();
    let mut roles = implied(&named);
    for role in named {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    let project = match &token["project"] {
        Value::Null => None,
        project => Some(Project {
            id: text(&project["id"])?,
            name: text(&project["name"])?,
            description: String::new(),
        }),
    };
    let methods = token["methods"].as_array()?;
    Some(Token {
        text: None,
        audit_id: text(&token["audit_ids"][0])?,
        user: User {
            id: text(&token["user"]["id"])?,
            name: text(&token["user"]["name"])?,
            default_project_id: None,
        },
        project,
        roles,
        methods: methods.iter().filter_map(text).collect(),
        application_credential_id: text(&token["application_credential"]["id"]),
        issued_at_us: moment(&token["issued_at"])?,
        expires_at_us: moment(&token["expires_at"])?,
    })
}

fn moment(value: &Value) -> Option<i64> {
    let time = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1000).ok()
}

fn value(secret: &Secret) -> Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(secret.expose()).map_err(|cause| refused().caused_by(cause))?;
    value.set_sensitive(true);
    Ok(value)
}

fn refused() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        Subject::Identity,
        "The request you have made requires authentication.",
    )
}

fn away(detail: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Subject::Identity,
        "The identity service cannot be asked, please try again later.",
    )
    .detail(detail)
}

fn unreachable(cause: HttpError) -> Error {
    away("ask Keystone").caused_by(cause)
}

fn unusable(cause: xenapi::client::Error) -> Error {
    Error::invalid("identity.ca_file is not usable.").caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_of_keystone_28_is_read() {
        let body = json!({"token": {"methods": ["password"],
            "user": {"domain": {"id": "default", "name": "Default"}, "id": "d6306f4e", "name": "admin", "password_expires_at": null},
            "audit_ids": ["e5EIhmlZRDWYaWXTZStpyA"],
            "expires_at": "2026-11-22T22:00:04.000000Z", "issued_at": "2026-11-22T21:00:04.000000Z",
            "project": {"domain": {"id": "default", "name": "Default"}, "id": "ae682ea1", "name": "admin"},
            "is_domain": false,
            "roles": [{"id": "1", "name": "manager"}, {"id": "2", "name": "member"}, {"id": "3", "name": "Reader"}]}});
        let token = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(token.roles, ["member", "reader", "manager"]);
        assert_eq!(token.project.unwrap().id, "ae682ea1");
        assert_eq!(token.expires_at_us - token.issued_at_us, 3_600_000_000);
        for wrong in [
            "",
            "{}",
            r#"{"token": {}}"#,
            "[]",
            r#"{"token": {"methods": 1}}"#,
        ] {
            assert!(read(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
