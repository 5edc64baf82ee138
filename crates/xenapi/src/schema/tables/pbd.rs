//! `PBD`: connections of a host to an SR.

use crate::schema::Ty;
use crate::schema::class::{
    Class, Field, Messages, constructor, define_class, read_only, read_write, required,
};
use crate::schema::message::{Definition, message, param};

/// The class.
pub(super) static PBD: Class =
    define_class!("PBD", Messages::StoredWithConstructor, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    required(constructor("host", Ty::Ref("host"))),
    required(constructor("SR", Ty::Ref("SR"))),
    required(constructor("device_config", Ty::STRING_MAP)),
    read_only("currently_attached", Ty::Bool),
    read_write("other_config", Ty::STRING_MAP),
];

static MESSAGES: &[Definition] = &[
    message("plug", &[param("self", Ty::Ref("PBD"))], Ty::Void),
    message("unplug", &[param("self", Ty::Ref("PBD"))], Ty::Void),
    message(
        "set_device_config",
        &[
            param("self", Ty::Ref("PBD")),
            param("value", Ty::STRING_MAP),
        ],
        Ty::Void,
    ),
];
