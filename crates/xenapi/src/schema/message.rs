//! Messages: those listed for a class and those generated from its fields, found by name.

use super::class::{Class, Field, Messages, Mode};
use super::{Literal, Ty, tables};
use crate::Failure;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A message that can be called.
#[derive(Debug)]
pub struct Message {
    /// The class and the name, for example `VDI.get_record`.
    pub name: String,
    /// The class; nothing for `system.listMethods`.
    pub class: Option<&'static Class>,
    /// What it does.
    pub effect: Effect,
    /// The parameters after the session, those with a default last.
    pub params: Vec<Param>,
    /// The type of the result.
    pub result: Ty,
    /// Whether the first parameter on the wire is a session.
    pub needs_session: bool,
    /// Whether there is an `Async.` form.
    pub has_async: bool,
    /// Whether it can still be called.
    pub status: Status,
}

/// What a message does, so that the generated ones need no code for each class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// `get_all`: the references of all objects.
    GetAll,
    /// `get_all_where(expr)`.
    GetAllWhere,
    /// `get_all_records`.
    GetAllRecords,
    /// `get_all_records_where(expr)`.
    GetAllRecordsWhere,
    /// `get_record(self)`.
    GetRecord,
    /// `get_by_uuid(uuid)`.
    GetByUuid,
    /// `get_by_name_label(label)`.
    GetByNameLabel,
    /// `get_<field>(self)`.
    GetField(&'static Field),
    /// `set_<field>(self, value)`.
    SetField(&'static Field),
    /// `add_to_<map>(self, key, value)`.
    AddToMap(&'static Field),
    /// `remove_from_<map>(self, key)`.
    RemoveFromMap(&'static Field),
    /// `add_<set>(self, value)`.
    AddToSet(&'static Field),
    /// `remove_<set>(self, value)`.
    RemoveFromSet(&'static Field),
    /// `create(record)`.
    Create,
    /// `destroy(self)`.
    Destroy,
    /// What only the message itself knows.
    Explicit,
}

impl Effect {
    /// Tells whether the message changes nothing. [`Effect::Explicit`] messages are taken to change something.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Effect::GetAll
                | Effect::GetAllWhere
                | Effect::GetAllRecords
                | Effect::GetAllRecordsWhere
                | Effect::GetRecord
                | Effect::GetByUuid
                | Effect::GetByNameLabel
                | Effect::GetField(_)
        )
    }
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Param {
    /// The name.
    pub name: &'static str,
    /// The type.
    pub ty: Ty,
    /// What it is when the caller leaves it out; nothing when it must be given.
    pub default: Option<Literal>,
}

/// Whether a message can still be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It can.
    Live,
    /// It answers `MESSAGE_DEPRECATED`.
    Deprecated,
    /// It answers `MESSAGE_REMOVED`.
    Removed,
}

/// A message of the tables, listed with its class.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    pub(super) result: Ty,
    pub(super) needs_session: bool,
    pub(super) has_async: bool,
    pub(super) status: Status,
}

/// What a client's method name means.
#[derive(Clone, Copy, Debug)]
pub struct Resolved {
    /// The message.
    pub message: &'static Message,
    /// Whether the `Async.` form was called: it answers a task. Check [`Message::has_async`].
    pub is_async: bool,
}

impl Message {
    /// The number of parameters, without the session, that a caller must give.
    pub fn required_params(&self) -> usize {
        self.params
            .iter()
            .filter(|param| param.default.is_none())
            .count()
    }

    /// Checks the number of parameters of a call, counting the session.
    ///
    /// # Errors
    /// `MESSAGE_PARAMETER_COUNT_MISMATCH [name, expected, received]`. As on a pool the counts leave the session out
    /// (so a call without any parameter received -1), and what is expected is the number that must be given.
    pub fn check_count(&self, given: usize) -> Result<(), Failure> {
        let session = usize::from(self.needs_session);
        let (least, most) = (
            session + self.required_params(),
            session + self.params.len(),
        );
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let received = i64::try_from(given).unwrap_or(i64::MAX) - i64::from(self.needs_session);
        Err(Failure::message_parameter_count_mismatch(
            &self.name,
            self.required_params(),
            received,
        ))
    }
}

/// Finds the message that a method name means: `VDI.create`, `Async.VDI.create`, or `VDI_create`.
pub fn resolve(method: &str) -> Option<Resolved> {
    let (name, is_async) = match method.strip_prefix("Async.") {
        Some(name) => (name, true),
        None => (method, false),
    };
    if let Some(message) = INDEX.by_name.get(name) {
        return Some(Resolved { message, is_async });
    }
    // The other spelling exists for direct calls only.
    let message = INDEX.by_underscore.get(method)?;
    Some(Resolved {
        message,
        is_async: false,
    })
}

/// All messages, ordered by class and then as a pool lists them.
pub fn all_messages() -> &'static [&'static Message] {
    &INDEX.all
}

struct Index {
    all: Vec<&'static Message>,
    by_name: HashMap<&'static str, &'static Message>,
    by_underscore: HashMap<String, &'static Message>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let all: Vec<&'static Message> = MESSAGES.iter().collect();
    let by_name = all
        .iter()
        .map(|message| (message.name.as_str(), *message))
        .collect();
    let by_underscore = all
        .iter()
        .map(|message| (message.name.replacen('.', "_", 1), *message))
        .collect();
    Index {
        all,
        by_name,
        by_underscore,
    }
});

static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let mut messages: Vec<Message> = tables::ALL
        .iter()
        .flat_map(|class| of_class(class))
        .collect();
    messages.push(Message {
        name: "system.listMethods".to_owned(),
        class: None,
        effect: Effect::Explicit,
        params: Vec::new(),
        result: Ty::STRING_SET,
        needs_session: false,
        has_async: false,
        status: Status::Live,
    });
    messages
});

pub(super) const fn param(name: &'static str, ty: Ty) -> Param {
    Param {
        name,
        ty,
        default: None,
    }
}

pub(super) const fn optional(name: &'static str, ty: Ty, default: Literal) -> Param {
    Param {
        name,
        ty,
        default: Some(default),
    }
}

pub(super) const fn message(
    name: &'static str,
    params: &'static [Param],
    result: Ty,
) -> Definition {
    Definition {
        name,
        params,
        result,
        needs_session: true,
        has_async: true,
        status: Status::Live,
    }
}

impl Definition {
    pub(super) const fn direct(mut self) -> Self {
        self.has_async = false;
        self
    }

    pub(super) const fn without_session(mut self) -> Self {
        self.needs_session = false;
        self.has_async = false;
        self
    }

    pub(super) const fn deprecated(mut self) -> Self {
        self.status = Status::Deprecated;
        self
    }
}

/// The messages of a class. A listed message replaces the generated one of its name.
fn of_class(class: &'static Class) -> Vec<Message> {
    let mut messages = generated(class);
    for definition in class.explicit {
        let name = format!("{}.{}", class.name, definition.name);
        messages.retain(|message| message.name != name);
        messages.push(Message {
            name,
            class: Some(class),
            effect: Effect::Explicit,
            params: definition.params.to_vec(),
            result: definition.result,
            needs_session: definition.needs_session,
            has_async: definition.has_async,
            status: definition.status,
        });
    }
    messages
}

fn generated(class: &'static Class) -> Vec<Message> {
    if class.messages == Messages::Explicit {
        return Vec::new();
    }
    let this = param("self", class.reference);
    let expr = param("expr", Ty::String);
    let mut list = Generator {
        class,
        messages: Vec::new(),
    };
    list.push("get_record", Effect::GetRecord, &[this], class.record);
    list.push(
        "get_by_uuid",
        Effect::GetByUuid,
        &[param("uuid", Ty::String)],
        class.reference,
    );
    if class.messages == Messages::StoredWithConstructor {
        list.push(
            "create",
            Effect::Create,
            &[param("args", class.record)],
            class.reference,
        );
        list.push("destroy", Effect::Destroy, &[this], Ty::Void);
    }
    if class.field("name_label").is_some() && class.name != "pool" {
        list.push(
            "get_by_name_label",
            Effect::GetByNameLabel,
            &[param("label", Ty::String)],
            class.reference_set,
        );
    }
    for field in class.fields {
        list.push(
            &format!("get_{}", field.name),
            Effect::GetField(field),
            &[this],
            field.ty,
        );
    }
    for field in class
        .fields
        .iter()
        .filter(|field| field.mode == Mode::ReadWrite)
    {
        list.setters(field, this);
    }
    if class.messages != Messages::Unlisted {
        list.push("get_all", Effect::GetAll, &[], class.reference_set);
        list.push(
            "get_all_where",
            Effect::GetAllWhere,
            &[expr],
            class.reference_set,
        );
        list.push(
            "get_all_records_where",
            Effect::GetAllRecordsWhere,
            &[expr],
            class.record_map,
        );
        list.push(
            "get_all_records",
            Effect::GetAllRecords,
            &[],
            class.record_map,
        );
    }
    list.messages
}

struct Generator {
    class: &'static Class,
    messages: Vec<Message>,
}

impl Generator {
    fn push(&mut self, name: &str, effect: Effect, params: &[Param], result: Ty) {
        let removed = self.class.messages == Messages::Removed
            || matches!(effect, Effect::GetField(field) if field.ty == Ty::Ref("VBD_metrics"));
        self.messages.push(Message {
            name: format!("{}.{name}", self.class.name),
            class: Some(self.class),
            effect,
            params: params.to_vec(),
            result,
            needs_session: true,
            has_async: matches!(effect, Effect::Create | Effect::Destroy),
            status: if removed {
                Status::Removed
            } else {
                Status::Live
            },
        });
    }

    fn setters(&mut self, field: &'static Field, this: Param) {
        let name = field.name;
        let set = [this, param("value", field.ty)];
        self.push(
            &format!("set_{name}"),
            Effect::SetField(field),
            &set,
            Ty::Void,
        );
        match field.ty {
            Ty::Map(key, value) => {
                let add = [this, param("key", *key), param("value", *value)];
                self.push(
                    &format!("add_to_{name}"),
                    Effect::AddToMap(field),
                    &add,
                    Ty::Void,
                );
                let remove = [this, param("key", *key)];
                self.push(
                    &format!("remove_from_{name}"),
                    Effect::RemoveFromMap(field),
                    &remove,
                    Ty::Void,
                );
            }
            Ty::Set(element) => {
                let one = [this, param("value", *element)];
                self.push(
                    &format!("add_{name}"),
                    Effect::AddToSet(field),
                    &one,
                    Ty::Void,
                );
                self.push(
                    &format!("remove_{name}"),
                    Effect::RemoveFromSet(field),
                    &one,
                    Ty::Void,
                );
            }
            _ => {}
        }
    }
}
