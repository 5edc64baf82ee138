//! Class `message`: notes for operators.

use std::collections::BTreeMap;

use xenapi::{Failure, Value};

use crate::database::{Object, Objects, Transaction};
use crate::server::call::{Args, Call, not_implemented};
use crate::server::context::now;
use crate::server::filter::Filter;

/// Most messages that are kept; the oldest makes room.
const MESSAGES_KEPT: usize = 10_000;

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, args: &Args) -> Result<Value, Failure> {
    let database = &call.server.database;
    match name {
        "create" => create(call, args).await,
        "destroy" | "destroy_many" => {
            let gone = if name == "destroy" {
                vec![args.text(0).to_owned()]
            } else {
                args.list(0)
            };
            let written = database.write(|transaction| {
                for reference in &gone {
                    transaction.get("message", reference)?;
                    transaction.remove("message", reference);
                }
                Ok(Value::Nil)
            });
            written.await
        }
        "get_record" => {
            let objects = database.read();
            Ok(objects.record(objects.get("message", args.text(0))?))
        }
        "get_by_uuid" => {
            let objects = database.read();
            let found = objects.find_by_uuid("message", args.text(0));
            Ok((&*found
                .ok_or_else(|| Failure::new("UUID_INVALID", ["message", args.text(0)]))?
                .reference)
                .into())
        }
        "get_all" => Ok(Value::Array(
            database
                .read()
                .all("message")
                .map(|m| (&*m.reference).into())
                .collect(),
        )),
        "get_all_records" => records(call, |_, _| Ok(true)),
        "get" => {
            let since = args
                .0
                .get(2)
                .and_then(Value::as_datetime)
                .unwrap_or_default();
            let (class, uuid) = (args.text(0), args.text(1));
            records(call, |_, m| {
                Ok(m.text("cls") == class && m.text("obj_uuid") == uuid && time(m) >= since)
            })
        }
        "get_since" => {
            let since = args
                .0
                .first()
                .and_then(Value::as_datetime)
                .unwrap_or_default();
            records(call, |_, message| Ok(time(message) >= since))
        }
        "get_all_records_where" => {
            let filter = Filter::parse(args.text(0))?;
            records(call, |objects, message| filter.matches(objects, message))
        }
        _ => Err(not_implemented(&format!("message.{name}"))),
    }
}

async fn create(call: &Call, args: &Args) -> Result<Value, Failure> {
    let written = call.server.database.write(|transaction| {
        let table = match args.text(2) {
            "VM" => Some("VM"),
            "Host" => Some("host"),
            "SR" => Some("SR"),
            "Pool" => Some("pool"),
            "VDI" => Some("VDI"),
            _ => None,
        };
        let uuid = args.text(3);
        if table.is_some_and(|table| transaction.find_by_uuid(table, uuid).is_none()) {
            return Err(Failure::new("UUID_INVALID", [args.text(2), uuid]));
        }
        Ok(note(
            transaction,
            args.text(0),
            args.int(1),
            args.text(2),
            uuid,
            args.text(4),
        ))
    });
    written.await.map(Value::from)
}

/// Makes a message inside a transaction.
pub fn note(
    transaction: &mut Transaction<'_>,
    name: &str,
    priority: i64,
    class: &str,
    uuid: &str,
    body: &str,
) -> String {
    if transaction.count("message") >= MESSAGES_KEPT {
        let oldest = transaction
            .all("message")
            .min_by_key(|m| time(m))
            .map(|m| m.reference.clone());
        if let Some(oldest) = oldest {
            transaction.remove("message", &oldest);
        }
    }
    transaction.insert(
        "message",
        [
            ("name", name.into()),
            ("priority", Value::Int(priority)),
            ("cls", class.into()),
            ("obj_uuid", uuid.into()),
            ("timestamp", Value::DateTime(now())),
            ("body", body.into()),
        ],
    )
}

fn time(message: &Object) -> i64 {
    message.value("timestamp").as_datetime().unwrap_or_default()
}

fn records(
    call: &Call,
    wanted: impl Fn(&Objects, &Object) -> Result<bool, Failure>,
) -> Result<Value, Failure> {
    let objects = call.server.database.read();
    let mut found = BTreeMap::new();
    for message in objects.all("message") {
        if wanted(&objects, message)? {
            found.insert(message.reference.to_string(), objects.record(message));
        }
    }
    Ok(Value::Struct(found))
}
