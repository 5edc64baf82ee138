//! `host_metrics`: what is measured of a host.

use crate::schema::class::{Class, Field, Messages, define_class, read_only, read_write};
use crate::schema::message::Definition;
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static HOST_METRICS: Class =
    define_class!("host_metrics", Messages::Stored, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("memory_total", Ty::Int),
    read_only("memory_free", Ty::Int),
    read_only("live", Ty::Bool).initially(Literal::Bool(true)),
    read_only("last_updated", Ty::DateTime),
    read_write("other_config", Ty::STRING_MAP),
];

static MESSAGES: &[Definition] = &[];
