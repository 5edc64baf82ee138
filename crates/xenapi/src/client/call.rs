//! The client itself, and how one call is made.

use super::body::{CallBody, sent_state};
use super::connector::Connector;
use super::endpoint::Endpoint;
use super::error::{Error, Sent};
use super::options::Options;
use super::session::{Credentials, Slot, refusal};
use super::tls::Trust;
use crate::record::Record;
use crate::schema::{self, Effect, Resolved, Ty};
use crate::xmlrpc::{self, Response};
use crate::{Value, failure::code};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How often a call that changes nothing is repeated after a transport error.
pub const MAX_READ_REPEATS: u32 = 2;

/// The wait before the first repetition; it doubles.
const REPEAT_WAIT: Duration = Duration::from_millis(50);

/// How long a connection is kept without a call. Shorter than servers keep theirs, so that a call rarely meets one that
/// the server has just closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one pool. Clones share the session and the connections.
///
/// # Cancel safety
/// Dropping the future of a call that has been sent does not recall it: its outcome is then unknown.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    call_deadline: Duration,
}

pub(super) struct Inner {
    pub(super) endpoint: Endpoint,
    pub(super) credentials: Credentials,
    pub(super) options: Options,
    pub(super) slot: Mutex<Slot>,
    http: HttpClient<Connector, CallBody>,
    permits: Semaphore,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.inner.endpoint)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client. Nothing is connected before the first call.
    ///
    /// # Errors
    /// [`Error::TrustMissing`] for HTTPS without trust, [`Error::CaFile`] when its file cannot be used, and
    /// [`Error::Endpoint`] when the host is none.
    pub fn connect(
        endpoint: Endpoint,
        trust: Option<&Trust>,
        credentials: Credentials,
        options: Options,
    ) -> Result<Self, Error> {
        if endpoint.uri().is_none() {
            return Err(Error::Endpoint {
                url: endpoint.to_string(),
                expected: "the name or address of a host",
            });
        }
        let tls = match (&endpoint, trust) {
            (Endpoint::Https { .. }, Some(trust)) => Some(trust.client_config()?),
            (Endpoint::Https { .. }, None) => {
                return Err(Error::TrustMissing {
                    endpoint: endpoint.to_string(),
                });
            }
            _ => None,
        };
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(options.max_calls)
            .build(Connector::new(&endpoint, tls, options.connect_timeout));
        let permits = Semaphore::new(options.max_calls.clamp(1, Semaphore::MAX_PERMITS));
        let call_deadline = options.call_deadline;
        let inner = Inner {
            endpoint,
            credentials,
            options,
            slot: Mutex::default(),
            http,
            permits,
        };
        Ok(Client {
            inner: Arc::new(inner),
            call_deadline,
        })
    }

    /// The same client with another time for each call, for what is known to take long.
    pub fn with_deadline(&self, call_deadline: Duration) -> Self {
        Client {
            inner: self.inner.clone(),
            call_deadline,
        }
    }

    pub(super) fn for_at_least(&self, call_deadline: Duration) -> Self {
        self.with_deadline(self.call_deadline.max(call_deadline))
    }

    /// Calls any method. The session is put in front of the parameters where the method has one.
    ///
    /// Methods of the schema answer their declared type; others what XML-RPC could carry (integers as text).
    ///
    /// # Errors
    /// [`Error`]; ask it for its [`outcome`](Error::outcome) before calling again.
    pub async fn call(&self, method: &str, mut params: Vec<Value>) -> Result<Value, Error> {
        let deadline = self.deadline();
        let resolved = schema::resolve(method);
        let repeatable = is_repeatable(method, resolved);
        let needs_session = resolved.is_none_or(|resolved| resolved.message.needs_session);
        if needs_session {
            params.insert(0, Value::Nil);
        }
        let (mut repeats, mut logged_in_again) = (0, false);
        loop {
            let session = self.session(method, deadline).await?;
            if needs_session {
                params[0] = Value::from(session.reference.as_str());
            }
            let error = match self
                .exchange(method, &session.endpoint, &params, deadline)
                .await
            {
                Ok(Response::Success(value) | Response::Bare(value)) => {
                    return typed(method, value, resolved);
                }
                Ok(Response::Failure(failure))
                    if failure.is(code::SESSION_INVALID) && !logged_in_again =>
                {
                    // A call that is refused so has not been executed.
                    logged_in_again = true;
                    self.forget(&session);
                    continue;
                }
                Ok(response) => {
                    if matches!(&response, Response::Failure(failure) if failure.is(code::HOST_IS_SLAVE))
                    {
                        // The master moved away: the next login finds it.
                        self.forget(&session);
                    }
                    return Err(refusal(method, response));
                }
                Err(error) => error,
            };
            if !matches!(error, Error::Transport { .. }) {
                return Err(error);
            }
            if session.endpoint != self.inner.endpoint {
                // The master that we followed may be master no more: ask the configured host again.
                self.forget(&session);
            }
            if !repeatable || repeats == MAX_READ_REPEATS {
                return Err(error);
            }
            let wait = REPEAT_WAIT * 2u32.pow(repeats);
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(method, error = %error, "repeating a read after a transport error");
            repeats += 1;
            tokio::time::sleep(wait).await;
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.call_deadline
    }

    pub(super) fn late(&self, method: &str, endpoint: &Endpoint, sent: Sent) -> Error {
        Error::Deadline {
            method: method.to_owned(),
            endpoint: endpoint.to_string(),
            deadline_ms: self.call_deadline.as_millis(),
            sent,
        }
    }

    /// Sends one request and reads its response, once.
    pub(super) async fn exchange(
        &self,
        method: &str,
        endpoint: &Endpoint,
        params: &[Value],
        deadline: Instant,
    ) -> Result<Response, Error> {
        let parameter = |source| Error::Parameter {
            method: method.to_owned(),
            source,
        };
        // The body holds a session or a password: it is erased with the last of its holders.
        let body = Zeroizing::new(xmlrpc::write_call(method, params).map_err(parameter)?);
        let sent = Arc::new(AtomicBool::new(false));
        let body = CallBody::new(Bytes::from_owner(body), sent.clone());
        match tokio::time::timeout_at(deadline, self.request(method, endpoint, body, &sent)).await {
            Ok(result) => result,
            Err(_) => Err(self.late(method, endpoint, sent_state(&sent))),
        }
    }

    async fn request(
        &self,
        method: &str,
        endpoint: &Endpoint,
        body: CallBody,
        sent: &AtomicBool,
    ) -> Result<Response, Error> {
        let transport = |source: Box<dyn std::error::Error + Send + Sync>| Error::Transport {
            method: method.to_owned(),
            endpoint: endpoint.to_string(),
            sent: sent_state(sent),
            source,
        };
        let _permit = self
            .inner
            .permits
            .acquire()
            .await
            .map_err(|error| transport(Box::new(error)))?;
        let uri = endpoint.uri().ok_or_else(|| Error::Endpoint {
            url: endpoint.to_string(),
            expected: "a host",
        })?;
        let request = http::Request::post(uri)
            .header(http::header::CONTENT_TYPE, "text/xml")
            .header(
                http::header::USER_AGENT,
                concat!("xensm/", env!("CARGO_PKG_VERSION")),
            )
            .body(body)
            .map_err(|error| transport(Box::new(error)))?;
        let response = self
            .inner
            .http
            .request(request)
            .await
            .map_err(|error| transport(Box::new(error)))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Error::HttpStatus {
                method: method.to_owned(),
                status,
            });
        }
        let limits = &self.inner.options.response;
        let body = match Limited::new(response.into_body(), limits.body_bytes)
            .collect()
            .await
        {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Error::TooLarge {
                    method: method.to_owned(),
                    limit: limits.body_bytes,
                });
            }
            Err(error) => return Err(transport(error)),
        };
        xmlrpc::parse_response(&body, limits).map_err(|source| Error::Protocol {
            method: method.to_owned(),
            source,
        })
    }

    pub(super) async fn void(&self, method: &str, params: Vec<Value>) -> Result<(), Error> {
        self.call(method, params).await.map(|_| ())
    }

    pub(super) async fn text(&self, method: &str, params: Vec<Value>) -> Result<String, Error> {
        match self.call(method, params).await? {
            Value::String(text) => Ok(text),
            _ => Err(Error::UnexpectedResult {
                method: method.to_owned(),
                expected: "string",
            }),
        }
    }

    pub(super) async fn texts(
        &self,
        method: &str,
        params: Vec<Value>,
    ) -> Result<Vec<String>, Error> {
        let unexpected = || Error::UnexpectedResult {
            method: method.to_owned(),
            expected: "set of strings",
        };
        let Value::Array(elements) = self.call(method, params).await? else {
            return Err(unexpected());
        };
        let text = |element| {
            if let Value::String(text) = element {
                Ok(text)
            } else {
                Err(unexpected())
            }
        };
        elements.into_iter().map(text).collect()
    }

    pub(super) async fn record<R: Record>(&self, reference: Value) -> Result<R, Error> {
        let method = format!("{}.get_record", R::CLASS);
        let result = self.call(&method, vec![reference]).await?;
        record(result).ok_or(Error::UnexpectedResult {
            method,
            expected: "record",
        })
    }

    pub(super) async fn records<R: Record, K: From<String>>(
        &self,
        filter: Option<&str>,
    ) -> Result<Vec<(K, R)>, Error> {
        let (method, params) = match filter {
            None => (format!("{}.get_all_records", R::CLASS), Vec::new()),
            Some(filter) => (
                format!("{}.get_all_records_where", R::CLASS),
                vec![Value::from(filter)],
            ),
        };
        let result = self.call(&method, params).await?;
        let unexpected = || Error::UnexpectedResult {
            method: method.clone(),
            expected: "map of records",
        };
        let Value::Struct(records) = result else {
            return Err(unexpected());
        };
        let pair = |(reference, value)| Some((K::from(reference), record(value)?));
        records
            .into_iter()
            .map(|entry| pair(entry).ok_or_else(unexpected))
            .collect()
    }
}

pub(super) fn record<R: Record>(value: Value) -> Option<R> {
    match value {
        Value::Struct(fields) => R::from_fields(fields),
        _ => None,
    }
}

pub(super) fn map(texts: &BTreeMap<String, String>) -> Value {
    Value::from(texts)
}

fn typed(method: &str, value: Value, resolved: Option<Resolved>) -> Result<Value, Error> {
    let ty = match resolved {
        None => return Ok(value),
        Some(resolved) if resolved.is_async => Ty::Ref("task"),
        Some(resolved) => resolved.message.result,
    };
    schema::coerce_result(value, &ty).map_err(|_| Error::UnexpectedResult {
        method: method.to_owned(),
        expected: ty.noun(),
    })
}

/// Tells whether a call changes nothing, so that it may be made twice.
fn is_repeatable(method: &str, resolved: Option<Resolved>) -> bool {
    match resolved {
        Some(resolved) if resolved.is_async => false,
        Some(resolved) if resolved.message.effect != Effect::Explicit => {
            resolved.message.effect.is_read()
        }
        _ => {
            let name = method.rsplit('.').next().unwrap_or_default();
            !method.starts_with("Async.") && (name.starts_with("get_") || method == "event.from")
        }
    }
}
