//! The messages that every class has without code of its own.
//!
//! Source: reference 1.5; golden 03, 04 and 11 for the refusals.

use std::collections::BTreeMap;

use xenapi::schema::{Effect, Message};
use xenapi::{Failure, Value};

use super::call::{Args, Call};
use super::filter::Filter;
use crate::database::{Class, Object};

/// Runs a message that changes nothing.
pub fn read(call: &Call, message: &'static Message, args: &Args) -> Result<Value, Failure> {
    let class = stored_class(message);
    let objects = call.server.database.read();
    let reference = |object: &Object| Value::from(&*object.reference);
    Ok(match message.effect {
        Effect::GetAll => Value::Array(
            objects
                .all(class.name)
                .map(|object| reference(object))
                .collect(),
        ),
        Effect::GetAllRecords => {
            let all: Vec<_> = objects.all(class.name).cloned().collect();
            Value::Struct(
                all.iter()
                    .map(|o| (o.reference.to_string(), objects.record(o)))
                    .collect(),
            )
        }
        Effect::GetAllWhere | Effect::GetAllRecordsWhere => {
            let filter = Filter::parse(args.text(0))?;
            let mut found = Vec::new();
            for object in objects.all(class.name) {
                if filter.matches(&objects, object)? {
                    found.push(object);
                }
            }
            if message.effect == Effect::GetAllWhere {
                Value::Array(found.into_iter().map(|object| reference(object)).collect())
            } else {
                Value::Struct(
                    found
                        .into_iter()
                        .map(|o| (o.reference.to_string(), objects.record(o)))
                        .collect(),
                )
            }
        }
        Effect::GetRecord => objects.record(objects.get(class.name, args.text(0))?),
        Effect::GetByUuid => {
            let uuid = args.text(0);
            let found = objects.find_by_uuid(class.name, uuid);
            reference(found.ok_or_else(|| Failure::new("UUID_INVALID", [class.name, uuid]))?)
        }
        Effect::GetByNameLabel => {
            let found = objects.by_name_label(class.name, args.text(0));
            Value::Array(
                found
                    .iter()
                    .map(|reference| Value::from(&**reference))
                    .collect(),
            )
        }
        Effect::GetField(field) => {
            let object = objects.get(class.name, args.text(0))?;
            objects.value(object, class.index(field.name))
        }
        effect => {
            return Err(Failure::internal_error(&format!(
                "{effect:?} is not a read"
            )));
        }
    })
}

/// Runs a generated message that changes a field.
pub async fn write(
    call: &Call,
    message: &'static Message,
    mut args: Args,
) -> Result<Value, Failure> {
    let class = stored_class(message);
    let reference = args.text(0).to_owned();
    let (first, second) = (args.take(1), args.take(2));
    let effect = message.effect;
    call.server
        .database
        .write(move |transaction| {
            match effect {
                Effect::SetField(field) => {
                    transaction.set(class.name, &reference, field.name, first)?
                }
                Effect::AddToMap(field) => {
                    let mut map = map_of(transaction.get(class.name, &reference)?, field.name);
                    let key = first.as_str().unwrap_or_default().to_owned();
                    if map.contains_key(&key) {
                        return Err(Failure::new(
                            "MAP_DUPLICATE_KEY",
                            [class.name, field.name, &reference, &key],
                        ));
                    }
                    map.insert(key, second);
                    transaction.set(class.name, &reference, field.name, Value::Struct(map))?;
                }
                Effect::RemoveFromMap(field) => {
                    let mut map = map_of(transaction.get(class.name, &reference)?, field.name);
                    map.remove(first.as_str().unwrap_or_default());
                    transaction.set(class.name, &reference, field.name, Value::Struct(map))?;
                }
                Effect::AddToSet(field) => {
                    let mut set = set_of(transaction.get(class.name, &reference)?, field.name);
                    if !set.contains(&first) {
                        set.push(first);
                    }
                    transaction.set(class.name, &reference, field.name, Value::Array(set))?;
                }
                Effect::RemoveFromSet(field) => {
                    let mut set = set_of(transaction.get(class.name, &reference)?, field.name);
                    set.retain(|element| *element != first);
                    transaction.set(class.name, &reference, field.name, Value::Array(set))?;
                }
                effect => {
                    return Err(Failure::internal_error(&format!(
                        "{effect:?} is not a setter"
                    )));
                }
            }
            Ok(Value::Nil)
        })
        .await
}

fn stored_class(message: &Message) -> &'static Class {
    Class::get(
        message
            .class
            .expect("generated messages belong to a class")
            .name,
    )
}

fn map_of(object: &Object, field: &str) -> BTreeMap<String, Value> {
    object.value(field).as_struct().cloned().unwrap_or_default()
}

fn set_of(object: &Object, field: &str) -> Vec<Value> {
    object
        .value(field)
        .as_array()
        .map(<[Value]>::to_vec)
        .unwrap_or_default()
}
