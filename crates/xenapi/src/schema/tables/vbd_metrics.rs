//! `VBD_metrics`: what was once measured of a VBD; a pool answers `MESSAGE_REMOVED`.

use crate::schema::Ty;
use crate::schema::class::{Class, Field, Messages, define_class, read_only, read_write};
use crate::schema::message::Definition;

/// The class.
pub(super) static VBD_METRICS: Class =
    define_class!("VBD_metrics", Messages::Removed, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("io_read_kbs", Ty::Float),
    read_only("io_write_kbs", Ty::Float),
    read_only("last_updated", Ty::DateTime),
    read_write("other_config", Ty::STRING_MAP),
];

static MESSAGES: &[Definition] = &[];
