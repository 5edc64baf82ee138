//! `task`: tasks.

use crate::schema::class::{Class, Field, Messages, define_class, read_only, read_write};
use crate::schema::message::{Definition, message, param};
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static TASK: Class = define_class!("task", Messages::Stored, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("name_label", Ty::String),
    read_only("name_description", Ty::String),
    read_only("allowed_operations", Ty::Set(&OPERATIONS)),
    read_only("current_operations", Ty::Map(&Ty::String, &OPERATIONS)),
    read_only("created", Ty::DateTime),
    read_only("finished", Ty::DateTime),
    read_only("status", STATUS),
    read_only("resident_on", Ty::Ref("host")),
    read_only("progress", Ty::Float),
    read_only("type", Ty::String).initially(Literal::Text("<none/>")),
    read_only("result", Ty::String),
    read_only("error_info", Ty::STRING_SET),
    read_write("other_config", Ty::STRING_MAP),
    read_only("subtask_of", Ty::Ref("task")),
    read_only("subtasks", Ty::Set(&Ty::Ref("task"))),
    read_only("backtrace", Ty::String).initially(Literal::Text("()")),
];

static MESSAGES: &[Definition] = &[
    message(
        "create",
        &[param("label", Ty::String), param("description", Ty::String)],
        Ty::Ref("task"),
    )
    .direct(),
    message("destroy", &[param("self", Ty::Ref("task"))], Ty::Void).direct(),
    message("cancel", &[param("task", Ty::Ref("task"))], Ty::Void),
    message(
        "set_status",
        &[param("self", Ty::Ref("task")), param("value", STATUS)],
        Ty::Void,
    )
    .direct(),
    message(
        "set_progress",
        &[param("self", Ty::Ref("task")), param("value", Ty::Float)],
        Ty::Void,
    )
    .direct(),
    message(
        "set_result",
        &[param("self", Ty::Ref("task")), param("value", Ty::String)],
        Ty::Void,
    )
    .direct(),
    message(
        "set_error_info",
        &[
            param("self", Ty::Ref("task")),
            param("value", Ty::STRING_SET),
        ],
        Ty::Void,
    )
    .direct(),
];

/// How a task stands.
pub(super) const STATUS: Ty = Ty::Enum(
    "task_status_type",
    &["pending", "success", "failure", "cancelling", "cancelled"],
);

/// What can be done with a task.
pub(super) const OPERATIONS: Ty = Ty::Enum("task_allowed_operations", &["cancel", "destroy"]);
