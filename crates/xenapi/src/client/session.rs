//! Logging in, and the session that comes of it.

use super::call::Client;
use super::endpoint::Endpoint;
use super::error::Error;
use crate::failure::code;
use crate::xmlrpc::{self, Response};
use crate::{Value, reference::HostRef};
use std::fmt;
use std::sync::{Arc, PoisonError};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use zeroize::{Zeroize as _, Zeroizing};

/// How often a login follows the pool to another master.
pub const MAX_REDIRECTS: usize = 3;

const LOGIN: &str = "session.login_with_password";

/// The version that the client tells at login; informational.
const CLIENT_VERSION: &str = "2.21";

/// A user and a password. The password is erased from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Makes credentials.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Credentials {
            username: username.into(),
            password: Zeroizing::new(password.into()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A session at the host that gave it.
pub(super) struct Session {
    pub(super) endpoint: Endpoint,
    pub(super) reference: Zeroizing<String>,
}

/// The place of the one session, filled by whoever needs it first while the others wait for it.
pub(super) type Slot = Arc<OnceCell<Arc<Session>>>;

impl Client {
    /// Logs in if that has not been done.
    ///
    /// # Errors
    /// Those of the login, as [`Error::Login`].
    pub async fn log_in(&self) -> Result<(), Error> {
        self.session(LOGIN, self.deadline()).await.map(|_| ())
    }

    /// Ends the session, if there is one. The next call logs in again.
    ///
    /// # Errors
    /// Those of the call, except that a session which is gone already is no error.
    pub async fn log_out(&self) -> Result<(), Error> {
        let slot = std::mem::take(
            &mut *self
                .inner
                .slot
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let Some(session) = slot.get() else {
            return Ok(());
        };
        let params = [Value::from(session.reference.as_str())];
        match self
            .exchange(
                "session.logout",
                &session.endpoint,
                &params,
                self.deadline(),
            )
            .await?
        {
            Response::Failure(failure) if !failure.is(code::SESSION_INVALID) => Err(Error::Api {
                method: "session.logout".to_owned(),
                failure,
            }),
            _ => Ok(()),
        }
    }

    /// Calls `session.get_this_host`: the host that serves the session.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn this_host(&self) -> Result<HostRef, Error> {
        let session = self
            .session("session.get_this_host", self.deadline())
            .await?;
        let this = Value::from(session.reference.as_str());
        self.text("session.get_this_host", vec![this])
            .await
            .map(HostRef::from)
    }

    pub(super) async fn session(
        &self,
        method: &str,
        deadline: Instant,
    ) -> Result<Arc<Session>, Error> {
        let slot = self
            .inner
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let login = slot.get_or_try_init(|| self.login(deadline));
        let source = match tokio::time::timeout_at(deadline, login).await {
            Ok(Ok(session)) => return Ok(session.clone()),
            Ok(Err(source)) => source,
            Err(_) => self.late(LOGIN, &self.inner.endpoint, super::Sent::No),
        };
        Err(Error::Login {
            method: method.to_owned(),
            source: Box::new(source),
        })
    }

    /// Forgets a session that the pool has forgotten, unless another one has taken its place.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut slot = self
            .inner
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if slot
            .get()
            .is_some_and(|present| Arc::ptr_eq(present, session))
        {
            *slot = Slot::default();
        }
    }

    async fn login(&self, deadline: Instant) -> Result<Arc<Session>, Error> {
        let mut endpoint = self.inner.endpoint.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut params = [
                Value::from(self.inner.credentials.username.as_str()),
                Value::from(self.inner.credentials.password.as_str()),
                Value::from(CLIENT_VERSION),
                Value::from(self.inner.options.originator.as_str()),
            ];
            let response = self.exchange(LOGIN, &endpoint, &params, deadline).await;
            if let Value::String(password) = &mut params[1] {
                password.zeroize();
            }
            match response? {
                Response::Success(Value::String(reference)) => {
                    tracing::debug!(endpoint = %endpoint, "logged in");
                    return Ok(Arc::new(Session {
                        endpoint,
                        reference: Zeroizing::new(reference),
                    }));
                }
                Response::Failure(failure)
                    if failure.is(code::HOST_IS_SLAVE) && !failure.params.is_empty() =>
                {
                    let address = failure.params[0].clone();
                    tracing::info!(endpoint = %endpoint, master = %address, "the host is not the master of its pool");
                    let Some(master) = endpoint.at_host(&address) else {
                        return Err(Error::Redirect {
                            endpoint: endpoint.to_string(),
                            address,
                        });
                    };
                    endpoint = master;
                }
                response => return Err(refusal(LOGIN, response)),
            }
        }
        Err(Error::TooManyRedirects {
            limit: MAX_REDIRECTS,
            address: endpoint.to_string(),
        })
    }
}

/// The error for a response that is not the result that was expected.
pub(super) fn refusal(method: &str, response: xmlrpc::Response) -> Error {
    let method = method.to_owned();
    match response {
        Response::Failure(mut failure) => {
            if failure.is(code::SESSION_INVALID) || failure.is(code::SESSION_NOT_REGISTERED) {
                failure.params.clear();
            }
            Error::Api { method, failure }
        }
        Response::Fault { code, message } => Error::Fault {
            method,
            code,
            message,
        },
        Response::Success(_) | Response::Bare(_) => Error::UnexpectedResult {
            method,
            expected: "string",
        },
    }
}
