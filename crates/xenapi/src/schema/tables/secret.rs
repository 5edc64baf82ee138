//! `secret`: secrets, which device configurations name by uuid.

use crate::schema::class::{Class, Field, Messages, define_class, read_only, read_write, required};
use crate::schema::message::{Definition, message, optional, param};
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static SECRET: Class =
    define_class!("secret", Messages::StoredWithConstructor, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    required(read_write("value", Ty::String)),
    read_write("other_config", Ty::STRING_MAP),
];

static MESSAGES: &[Definition] = &[message(
    "introduce",
    &[
        param("uuid", Ty::String),
        param("value", Ty::String),
        optional("other_config", Ty::STRING_MAP, Literal::Empty),
    ],
    Ty::Ref("secret"),
)];
