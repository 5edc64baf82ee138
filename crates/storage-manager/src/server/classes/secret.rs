//! Class `secret`. Values are encrypted in the database file and are in no event and no log.

use xenapi::{Failure, Value};

use crate::server::call::{Args, Call, not_implemented};

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, mut args: Args) -> Result<Value, Failure> {
    let database = &call.server.database;
    match name {
        "create" => {
            let mut record = args.record();
            let fields = [
                ("value", record.take("value")),
                ("other_config", record.take("other_config")),
            ];
            database
                .write(|transaction| Ok(transaction.insert("secret", fields)))
                .await
                .map(Value::from)
        }
        "introduce" => {
            let uuid = args.text(0).to_owned();
            let fields = [
                ("uuid", args.take(0)),
                ("value", args.take(1)),
                ("other_config", args.take(2)),
            ];
            let written = database.write(|transaction| {
                if transaction.find_by_uuid("secret", &uuid).is_some() {
                    return Err(Failure::internal_error(&format!(
                        "a secret with uuid {uuid} exists"
                    )));
                }
                Ok(transaction.insert("secret", fields))
            });
            written.await.map(Value::from)
        }
        "destroy" => {
            let written = database.write(|transaction| {
                transaction.get("secret", args.text(0))?;
                transaction.remove("secret", args.text(0));
                Ok(Value::Nil)
            });
            written.await
        }
        _ => Err(not_implemented(&format!("secret.{name}"))),
    }
}
