//! `SM`: types of SR.

use crate::schema::Ty;
use crate::schema::class::{Class, Field, Messages, define_class, read_only, read_write};
use crate::schema::message::Definition;

/// The class.
pub(super) static SM: Class = define_class!("SM", Messages::Stored, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("name_label", Ty::String),
    read_only("name_description", Ty::String),
    read_only("type", Ty::String),
    read_only("vendor", Ty::String),
    read_only("copyright", Ty::String),
    read_only("version", Ty::String),
    read_only("required_api_version", Ty::String),
    read_only("configuration", Ty::STRING_MAP),
    read_only("capabilities", Ty::STRING_SET),
    read_only("features", Ty::Map(&Ty::String, &Ty::Int)),
    read_write("other_config", Ty::STRING_MAP),
    read_only("driver_filename", Ty::String),
    read_only("required_cluster_stack", Ty::STRING_SET),
    read_only("supported_image_formats", Ty::STRING_SET),
];

static MESSAGES: &[Definition] = &[];
