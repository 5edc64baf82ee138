//! From a method's name and raw parameters to its result: the same steps in the same order for every message.
//!
//! 1. find the message; 2. check the session; 3. check the number of parameters; 4. bring them to their types;
//! 5. run it, or for `Async.` make a task, answer its reference and run it behind.
//!
//! Source: golden 01 for the order of the refusals.

use std::sync::Arc;

use uuid::Uuid;
use xenapi::schema::{self, Effect, Message, Resolved, Status};
use xenapi::{Failure, Value};

use super::call::{Args, Call};
use super::{Server, classes, generated, tasks};

/// The one method whose result XML-RPC carries without its envelope.
pub const LIST_METHODS: &str = "system.listMethods";

/// Listings of more objects than this are made off the runtime's own threads.
const LARGE_LISTING: usize = 500;

/// Where a call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The unix socket: root, because only root can open it.
    UnixSocket,
    /// TCP: whoever knows the password.
    Tcp,
}

/// Runs one call.
///
/// # Cancel safety
/// What changes something runs to its end in a task of its own; dropping the future only gives up the answer.
pub async fn call(
    server: Arc<Server>,
    origin: Origin,
    method: String,
    mut params: Vec<Value>,
) -> Result<Value, Failure> {
    let Some(Resolved { message, is_async }) = schema::resolve(&method) else {
        // A real pool looks at the session first whenever there is one.
        if let Some(session) = params.first() {
            server
                .sessions
                .check(&server.database, session_text(session)?)?;
        }
        return Err(Failure::new(
            "MESSAGE_METHOD_UNKNOWN",
            [method.strip_prefix("Async.").unwrap_or(&method)],
        ));
    };
    if method == LIST_METHODS {
        return Ok(super::classes::served_methods());
    }
    let mut session = String::new();
    if message.needs_session {
        match params.first() {
            None => message.check_count(0)?,
            Some(given) => {
                session = session_text(given)?.to_owned();
                server.sessions.check(&server.database, &session)?;
            }
        }
    }
    message.check_count(params.len())?;
    if message.needs_session {
        params.remove(0);
    }
    match message.status {
        Status::Live => {}
        Status::Deprecated => return Err(Failure::new("MESSAGE_DEPRECATED", Vec::<String>::new())),
        Status::Removed => return Err(Failure::new("MESSAGE_REMOVED", Vec::<String>::new())),
    }
    if is_async && !message.has_async {
        return Err(Failure::no_async_mode(&message.name));
    }
    let args = arguments(message, params)?;
    let mut call = Call {
        server,
        session,
        origin,
        task: String::new(),
        cancel: Default::default(),
    };
    if is_async {
        let task = tasks::begin(&call, &format!("Async.{}", message.name))?;
        call.task = task.clone();
        let cancellable = tasks::cancellable(&call.server, &task);
        call.cancel = cancellable.token();
        let running = call.server.running.clone();
        running.spawn(async move {
            let (server, task) = (call.server.clone(), call.task.clone());
            let result = run(call, message, args).await;
            drop(cancellable);
            tasks::finish(&server, &task, &result);
        });
        return Ok(task.into());
    }
    call.task = format!("DummyRef:|{}|{}", Uuid::new_v4(), message.name);
    if message.effect.is_read() {
        return read(call, message, args).await;
    }
    let running = call.server.running.clone();
    running
        .spawn(run(call, message, args))
        .await
        .unwrap_or_else(|_| {
            tracing::error!(method = message.name, "a call panicked");
            Err(Failure::internal_error("the call failed; see the log"))
        })
}

fn session_text(value: &Value) -> Result<&str, Failure> {
    value
        .as_str()
        .ok_or_else(|| Failure::internal_error("expected string for the session"))
}

/// Brings the parameters to their types and fills in the ones that were left out.
fn arguments(message: &'static Message, params: Vec<Value>) -> Result<Args, Failure> {
    let mut given = params.into_iter();
    let mut args = Vec::with_capacity(message.params.len());
    for param in &message.params {
        args.push(match (given.next(), param.default) {
            (Some(record), _) if message.effect == Effect::Create => {
                let class = message.class.expect("constructors belong to a class");
                Value::Struct(schema::coerce_constructor(record, class)?)
            }
            (Some(value), _) => schema::coerce(value, &param.ty)?,
            (None, Some(default)) => default.value(&param.ty),
            (None, None) => {
                return Err(Failure::internal_error(
                    "a parameter without a default was left out",
                ));
            }
        });
    }
    Ok(Args(args))
}

async fn read(call: Call, message: &'static Message, args: Args) -> Result<Value, Failure> {
    let class = message.class.expect("reads belong to a class");
    if call.server.database.read().count(class.name) > LARGE_LISTING
        && !matches!(message.effect, Effect::GetField(_))
    {
        let listing = tokio::task::spawn_blocking(move || generated::read(&call, message, &args));
        return listing
            .await
            .unwrap_or_else(|_| Err(Failure::internal_error("the listing failed; see the log")));
    }
    generated::read(&call, message, &args)
}

async fn run(call: Call, message: &'static Message, args: Args) -> Result<Value, Failure> {
    let (server, name) = (call.server.clone(), message.name.as_str());
    let result = match message.effect {
        Effect::Explicit | Effect::Create | Effect::Destroy => {
            classes::run(call, message, args).await
        }
        _ => generated::write(&call, message, args).await,
    };
    if let Err(failure) = &result {
        // Parameters of a failure may be what a caller gave, but never a secret: no message fails with one.
        tracing::debug!(
            method = name,
            code = failure.code,
            closed = server.database.is_closed(),
            "a call failed"
        );
    }
    result
}
