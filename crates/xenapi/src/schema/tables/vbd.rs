//! `VBD`: attachments of a VDI to a VM.

use crate::schema::class::{
    Class, Field, Messages, constructor, define_class, read_only, read_write, required,
};
use crate::schema::message::{Definition, message, param};
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static VBD: Class =
    define_class!("VBD", Messages::StoredWithConstructor, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("allowed_operations", Ty::Set(&OPERATIONS)),
    read_only("current_operations", Ty::Map(&Ty::String, &OPERATIONS)),
    required(constructor("VM", Ty::Ref("VM"))),
    required(constructor("VDI", Ty::Ref("VDI"))),
    constructor("device", Ty::String),
    required(read_write("userdevice", Ty::String)),
    required(read_write("bootable", Ty::Bool)),
    required(constructor("mode", MODE)),
    required(read_write("type", TYPE)),
    read_write("unpluggable", Ty::Bool).initially(Literal::Bool(true)),
    read_only("storage_lock", Ty::Bool),
    required(constructor("empty", Ty::Bool)),
    required(read_write("other_config", Ty::STRING_MAP)),
    read_only("currently_attached", Ty::Bool),
    read_only("status_code", Ty::Int),
    read_only("status_detail", Ty::String),
    read_only("runtime_properties", Ty::STRING_MAP),
    required(read_write("qos_algorithm_type", Ty::String)),
    required(read_write("qos_algorithm_params", Ty::STRING_MAP)),
    read_only("qos_supported_algorithms", Ty::STRING_SET),
    read_only("metrics", Ty::Ref("VBD_metrics")),
];

static MESSAGES: &[Definition] = &[
    message("eject", &[param("vbd", Ty::Ref("VBD"))], Ty::Void),
    message(
        "insert",
        &[param("vbd", Ty::Ref("VBD")), param("vdi", Ty::Ref("VDI"))],
        Ty::Void,
    ),
    message("plug", &[param("self", Ty::Ref("VBD"))], Ty::Void),
    message("unplug", &[param("self", Ty::Ref("VBD"))], Ty::Void),
    message("unplug_force", &[param("self", Ty::Ref("VBD"))], Ty::Void),
    message(
        "assert_attachable",
        &[param("self", Ty::Ref("VBD"))],
        Ty::Void,
    ),
    message("pause", &[param("self", Ty::Ref("VBD"))], Ty::String),
    message(
        "unpause",
        &[param("self", Ty::Ref("VBD")), param("token", Ty::String)],
        Ty::Void,
    ),
    message(
        "set_mode",
        &[param("self", Ty::Ref("VBD")), param("value", MODE)],
        Ty::Void,
    ),
];

/// How the VDI is attached.
pub(super) const MODE: Ty = Ty::Enum("vbd_mode", &["RO", "RW"]);

/// As what the VM sees the VDI.
pub(super) const TYPE: Ty = Ty::Enum("vbd_type", &["CD", "Disk", "Floppy"]);

/// What can be done with a VBD, or is being done.
pub(super) const OPERATIONS: Ty = Ty::Enum(
    "vbd_operations",
    &[
        "attach",
        "eject",
        "insert",
        "plug",
        "unplug",
        "unplug_force",
        "pause",
        "unpause",
    ],
);
