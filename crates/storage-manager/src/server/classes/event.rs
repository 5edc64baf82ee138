//! Class `event`.

use xenapi::{Failure, Value};

use crate::server::call::{Args, Call, not_implemented};
use crate::server::events;

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, args: &Args) -> Result<Value, Failure> {
    match name {
        "from" => events::from(call, &args.list(0), args.text(1), args.float(2)).await,
        "inject" => events::inject(call, args.text(0), args.text(1)),
        "register" => events::register(call, &args.list(0)),
        "unregister" => events::unregister(call, &args.list(0)),
        "next" => events::next(call).await,
        "get_current_id" => {
            let generation = call.server.database.read().generation();
            Ok(Value::Int(i64::try_from(generation).unwrap_or(i64::MAX)))
        }
        _ => Err(not_implemented(&format!("event.{name}"))),
    }
}
