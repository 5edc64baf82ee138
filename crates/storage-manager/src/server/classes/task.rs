//! Class `task`. Source: reference 1.6; golden 09.

use uuid::Uuid;
use xenapi::{Failure, Value};

use crate::server::call::{Args, Call, not_implemented};
use crate::server::tasks;

/// Runs a message of the class.
pub fn run(call: &Call, name: &str, args: &Args) -> Result<Value, Failure> {
    let task = args.text(0);
    let field = match name {
        "create" => {
            return tasks::create(&call.server, args.text(0), args.text(1)).map(Value::from);
        }
        "destroy" => return tasks::destroy(&call.server, task).map(|()| Value::Nil),
        "cancel" => return cancel(call, task),
        "set_status" => "status",
        "set_progress" => "progress",
        "set_result" => "result",
        "set_error_info" => "error_info",
        "set_resident_on" => "resident_on",
        _ => return Err(not_implemented(&format!("task.{name}"))),
    };
    let value = args.0.get(1).cloned().unwrap_or(Value::Nil);
    call.server
        .database
        .write_volatile(|transaction| transaction.set("task", task, field, value))?;
    Ok(Value::Nil)
}

/// Notes the wish and tells it to whoever works on the task. A copy, an import or an export stops, and so does what still
/// waits for its turn; every other operation is short and ends as it would. A client's own task is its own business.
fn cancel(call: &Call, task: &str) -> Result<Value, Failure> {
    let wish = format!("DummyRef:|{}|task.cancel", Uuid::new_v4());
    call.server.database.write_volatile(|transaction| {
        transaction.set_entry("task", task, "current_operations", &wish, Some("cancel"))
    })?;
    call.server.cancellations.cancel(task);
    Ok(Value::Nil)
}
