//! The messages that do something, one file per class.

pub mod event;
pub mod host;
pub mod message;
pub mod network;
pub mod pbd;
pub mod secret;
pub mod session;
pub mod sr;
pub mod task;
pub mod vbd;
pub mod vdi;
pub mod vdi_cbt;
pub mod vdi_copy;
pub mod vdi_resize;
pub mod vdi_snapshot;
pub mod vm;

use xenapi::schema::{self, Message};
use xenapi::{Failure, Value};

use super::call::{Args, Call, not_implemented};

/// Runs an explicit message, a constructor or a destructor.
pub async fn run(call: Call, message: &'static Message, args: Args) -> Result<Value, Failure> {
    let (class, name) = message.name.split_once('.').unwrap_or_default();
    match class {
        "SR" => sr::run(&call, name, args).await,
        "PBD" => pbd::run(&call, name, args).await,
        "VDI" => vdi::run(&call, name, args).await,
        "VBD" => vbd::run(&call, name, args).await,
        "VM" => vm::run(&call, name, &args),
        "event" => event::run(&call, name, &args).await,
        "host" => host::run(&call, name, &args).await,
        "message" => message::run(&call, name, &args).await,
        "network" => network::run(&call, name, &args).await,
        "secret" => secret::run(&call, name, args).await,
        "session" => session::run(&call, name, &args),
        "task" => task::run(&call, name, &args),
        _ => Err(not_implemented(&message.name)),
    }
}

/// The names of all messages of classes, for `system.listMethods`, which does not list itself.
pub fn served_methods() -> Value {
    let of_classes = schema::all_messages()
        .iter()
        .filter(|message| message.class.is_some());
    Value::Array(
        of_classes
            .map(|message| message.name.as_str().into())
            .collect(),
    )
}
