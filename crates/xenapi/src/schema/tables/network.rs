//! `network`: networks.

use crate::schema::class::{
    Class, Field, Messages, constructor, define_class, read_only, read_write, required,
};
use crate::schema::message::{Definition, message, param};
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static NETWORK: Class =
    define_class!("network", Messages::StoredWithConstructor, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_write("name_label", Ty::String),
    read_write("name_description", Ty::String),
    read_only("allowed_operations", Ty::STRING_SET),
    read_only("current_operations", Ty::STRING_MAP),
    read_only("VIFs", Ty::Set(&Ty::Ref("VIF"))),
    read_only("PIFs", Ty::Set(&Ty::Ref("PIF"))),
    read_write("MTU", Ty::Int).initially(Literal::Int(1500)),
    required(read_write("other_config", Ty::STRING_MAP)),
    constructor("bridge", Ty::String),
    constructor("managed", Ty::Bool).initially(Literal::Bool(true)),
    read_only("blobs", Ty::Map(&Ty::String, &Ty::Ref("blob"))),
    read_write("tags", Ty::STRING_SET),
    read_only("default_locking_mode", LOCKING_MODE).initially(Literal::Text("unlocked")),
    read_only("assigned_ips", Ty::Map(&Ty::Ref("VIF"), &Ty::String)),
    read_only("purpose", Ty::Set(&PURPOSE)),
];

static MESSAGES: &[Definition] = &[
    message(
        "add_purpose",
        &[param("self", Ty::Ref("network")), param("value", PURPOSE)],
        Ty::Void,
    ),
    message(
        "remove_purpose",
        &[param("self", Ty::Ref("network")), param("value", PURPOSE)],
        Ty::Void,
    ),
    message(
        "set_default_locking_mode",
        &[
            param("network", Ty::Ref("network")),
            param("value", LOCKING_MODE),
        ],
        Ty::Void,
    ),
];

/// What a network is for, beside its traffic.
pub(super) const PURPOSE: Ty = Ty::Enum("network_purpose", &["nbd", "insecure_nbd"]);

/// Whether virtual interfaces are locked when they say nothing.
pub(super) const LOCKING_MODE: Ty =
    Ty::Enum("network_default_locking_mode", &["unlocked", "disabled"]);
