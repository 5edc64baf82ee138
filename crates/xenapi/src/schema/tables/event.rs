//! `event`: what changed, and the shapes of records inside results.

use crate::schema::Ty;
use crate::schema::class::{Class, Field, Messages, define_class, read_only};
use crate::schema::message::{Definition, message, param};

/// The class. Its records are those in the `events` of a batch.
pub(super) static EVENT: Class = define_class!("event", Messages::Explicit, EVENT_FIELDS, MESSAGES);

/// What `event.from` answers.
pub(super) static EVENT_BATCH: Class =
    define_class!("event_batch", Messages::Explicit, BATCH_FIELDS, &[]);

/// What `SR.probe_ext` answers.
pub(super) static PROBE_RESULT: Class =
    define_class!("probe_result", Messages::Explicit, PROBE_FIELDS, &[]);

/// The state of an SR that was found by a probe.
pub(super) static SR_STAT: Class = define_class!("sr_stat", Messages::Explicit, STAT_FIELDS, &[]);

/// What `VDI.get_nbd_info` answers.
pub(super) static NBD_INFO: Class =
    define_class!("vdi_nbd_server_info", Messages::Explicit, NBD_FIELDS, &[]);

static EVENT_FIELDS: &[Field] = &[
    read_only("id", Ty::String),
    read_only("timestamp", Ty::String),
    read_only("class", Ty::String),
    read_only("operation", OPERATION),
    read_only("ref", Ty::String),
    read_only("obj_uuid", Ty::String),
    read_only("snapshot", Ty::Any),
];

/// What happened to the object.
const OPERATION: Ty = Ty::Enum("event_operation", &["add", "del", "mod"]);

static BATCH_FIELDS: &[Field] = &[
    read_only("events", Ty::Set(&Ty::Record("event"))),
    read_only("valid_ref_counts", Ty::Map(&Ty::String, &Ty::Int)),
    read_only("token", Ty::String),
];

static PROBE_FIELDS: &[Field] = &[
    read_only("configuration", Ty::STRING_MAP),
    read_only("complete", Ty::Bool),
    read_only("sr", Ty::Option(&Ty::Record("sr_stat"))),
    read_only("extra_info", Ty::STRING_MAP),
];

static STAT_FIELDS: &[Field] = &[
    read_only("uuid", Ty::Option(&Ty::String)),
    read_only("name_label", Ty::String),
    read_only("name_description", Ty::String),
    read_only("free_space", Ty::Int),
    read_only("total_space", Ty::Int),
    read_only("clustered", Ty::Bool),
    read_only("health", HEALTH),
];

const HEALTH: Ty = Ty::Enum(
    "sr_health",
    &["healthy", "recovering", "unreachable", "unavailable"],
);

static NBD_FIELDS: &[Field] = &[
    read_only("exportname", Ty::String),
    read_only("address", Ty::String),
    read_only("port", Ty::Int),
    read_only("cert", Ty::String),
    read_only("subject", Ty::String),
];

static MESSAGES: &[Definition] = &[
    message("register", &[param("classes", Ty::STRING_SET)], Ty::Void).direct(),
    message("unregister", &[param("classes", Ty::STRING_SET)], Ty::Void).direct(),
    message("next", &[], Ty::Set(&Ty::Record("event"))).direct(),
    message(
        "from",
        &[
            param("classes", Ty::STRING_SET),
            param("token", Ty::String),
            param("timeout", Ty::Float),
        ],
        Ty::Record("event_batch"),
    )
    .direct(),
    message("get_current_id", &[], Ty::Int).direct(),
    message(
        "inject",
        &[param("class", Ty::String), param("ref", Ty::String)],
        Ty::String,
    )
    .direct(),
];
