//! `message`: messages to the administrator.

use crate::schema::Ty;
use crate::schema::class::{Class, Field, Messages, define_class, read_only};
use crate::schema::message::{Definition, message, param};

/// The class.
pub(super) static MESSAGE: Class = define_class!("message", Messages::Explicit, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("name", Ty::String),
    read_only("priority", Ty::Int),
    read_only("cls", CLS),
    read_only("obj_uuid", Ty::String),
    read_only("timestamp", Ty::DateTime),
    read_only("body", Ty::String),
];

static MESSAGES: &[Definition] = &[
    message(
        "create",
        &[
            param("name", Ty::String),
            param("priority", Ty::Int),
            param("cls", CLS),
            param("obj_uuid", Ty::String),
            param("body", Ty::String),
        ],
        Ty::Ref("message"),
    )
    .direct(),
    message("destroy", &[param("self", Ty::Ref("message"))], Ty::Void).direct(),
    message(
        "destroy_many",
        &[param("messages", Ty::Set(&Ty::Ref("message")))],
        Ty::Void,
    ),
    message("destroy_all", &[], Ty::Void),
    message(
        "get",
        &[
            param("cls", CLS),
            param("obj_uuid", Ty::String),
            param("since", Ty::DateTime),
        ],
        Ty::Map(&Ty::Ref("message"), &Ty::Record("message")),
    )
    .direct(),
    message("get_all", &[], Ty::Set(&Ty::Ref("message"))).direct(),
    message(
        "get_since",
        &[param("since", Ty::DateTime)],
        Ty::Map(&Ty::Ref("message"), &Ty::Record("message")),
    )
    .direct(),
    message(
        "get_record",
        &[param("self", Ty::Ref("message"))],
        Ty::Record("message"),
    )
    .direct(),
    message(
        "get_by_uuid",
        &[param("uuid", Ty::String)],
        Ty::Ref("message"),
    )
    .direct(),
    message(
        "get_all_records",
        &[],
        Ty::Map(&Ty::Ref("message"), &Ty::Record("message")),
    )
    .direct(),
    message(
        "get_all_records_where",
        &[param("expr", Ty::String)],
        Ty::Map(&Ty::Ref("message"), &Ty::Record("message")),
    )
    .direct(),
];

/// The class of the object that a message is about.
pub(super) const CLS: Ty = Ty::Enum(
    "cls",
    &[
        "VM",
        "Host",
        "SR",
        "Pool",
        "VMPP",
        "VMSS",
        "PVS_proxy",
        "VDI",
        "Certificate",
    ],
);
