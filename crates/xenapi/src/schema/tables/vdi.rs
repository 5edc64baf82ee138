//! `VDI`: virtual disk images.

use crate::schema::class::{
    Class, Field, Messages, constructor, define_class, read_only, read_write, required,
};
use crate::schema::message::{Definition, message, optional, param};
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static VDI: Class =
    define_class!("VDI", Messages::StoredWithConstructor, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    constructor("name_label", Ty::String),
    constructor("name_description", Ty::String),
    read_only("allowed_operations", Ty::Set(&OPERATIONS)),
    read_only("current_operations", Ty::Map(&Ty::String, &OPERATIONS)),
    required(constructor("SR", Ty::Ref("SR"))),
    read_only("VBDs", Ty::Set(&Ty::Ref("VBD"))),
    read_only("crash_dumps", Ty::Set(&Ty::Ref("crashdump"))),
    required(constructor("virtual_size", Ty::Int)),
    read_only("physical_utilisation", Ty::Int),
    required(constructor("type", TYPE).initially(Literal::Text("user"))),
    required(constructor("sharable", Ty::Bool)),
    required(constructor("read_only", Ty::Bool)),
    required(read_write("other_config", Ty::STRING_MAP)),
    read_only("storage_lock", Ty::Bool),
    read_only("location", Ty::String),
    read_only("managed", Ty::Bool).initially(Literal::Bool(true)),
    read_only("missing", Ty::Bool),
    read_only("parent", Ty::Ref("VDI")),
    read_write("xenstore_data", Ty::STRING_MAP),
    read_write("sm_config", Ty::STRING_MAP),
    read_only("is_a_snapshot", Ty::Bool),
    read_only("snapshot_of", Ty::Ref("VDI")),
    read_only("snapshots", Ty::Set(&Ty::Ref("VDI"))),
    read_only("snapshot_time", Ty::DateTime),
    read_write("tags", Ty::STRING_SET),
    read_only("allow_caching", Ty::Bool),
    read_only("on_boot", ON_BOOT).initially(Literal::Text("persist")),
    read_only("metadata_of_pool", Ty::Ref("pool")).initially(Literal::Text("")),
    read_only("metadata_latest", Ty::Bool),
    read_only("is_tools_iso", Ty::Bool),
    read_only("cbt_enabled", Ty::Bool),
];

static MESSAGES: &[Definition] = &[
    message(
        "snapshot",
        &[
            param("vdi", Ty::Ref("VDI")),
            optional("driver_params", Ty::STRING_MAP, Literal::Empty),
        ],
        Ty::Ref("VDI"),
    ),
    message(
        "clone",
        &[
            param("vdi", Ty::Ref("VDI")),
            optional("driver_params", Ty::STRING_MAP, Literal::Empty),
        ],
        Ty::Ref("VDI"),
    ),
    message(
        "resize",
        &[param("vdi", Ty::Ref("VDI")), param("size", Ty::Int)],
        Ty::Void,
    ),
    message(
        "resize_online",
        &[param("vdi", Ty::Ref("VDI")), param("size", Ty::Int)],
        Ty::Void,
    ),
    message(
        "introduce",
        &[
            param("uuid", Ty::String),
            param("name_label", Ty::String),
            param("name_description", Ty::String),
            param("SR", Ty::Ref("SR")),
            param("type", TYPE),
            param("sharable", Ty::Bool),
            param("read_only", Ty::Bool),
            param("other_config", Ty::STRING_MAP),
            param("location", Ty::String),
            optional("xenstore_data", Ty::STRING_MAP, Literal::Empty),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
            optional("managed", Ty::Bool, Literal::Bool(true)),
            optional("virtual_size", Ty::Int, Literal::Empty),
            optional("physical_utilisation", Ty::Int, Literal::Empty),
            optional("metadata_of_pool", Ty::Ref("pool"), Literal::Empty),
            optional("is_a_snapshot", Ty::Bool, Literal::Empty),
            optional("snapshot_time", Ty::DateTime, Literal::Empty),
            optional("snapshot_of", Ty::Ref("VDI"), Literal::Empty),
        ],
        Ty::Ref("VDI"),
    ),
    message(
        "pool_introduce",
        &[
            param("uuid", Ty::String),
            param("name_label", Ty::String),
            param("name_description", Ty::String),
            param("SR", Ty::Ref("SR")),
            param("type", TYPE),
            param("sharable", Ty::Bool),
            param("read_only", Ty::Bool),
            param("other_config", Ty::STRING_MAP),
            param("location", Ty::String),
            optional("xenstore_data", Ty::STRING_MAP, Literal::Empty),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
            optional("managed", Ty::Bool, Literal::Bool(true)),
            optional("virtual_size", Ty::Int, Literal::Empty),
            optional("physical_utilisation", Ty::Int, Literal::Empty),
            optional("metadata_of_pool", Ty::Ref("pool"), Literal::Empty),
            optional("is_a_snapshot", Ty::Bool, Literal::Empty),
            optional("snapshot_time", Ty::DateTime, Literal::Empty),
            optional("snapshot_of", Ty::Ref("VDI"), Literal::Empty),
            optional("cbt_enabled", Ty::Bool, Literal::Empty),
        ],
        Ty::Ref("VDI"),
    ),
    message(
        "db_introduce",
        &[
            param("uuid", Ty::String),
            param("name_label", Ty::String),
            param("name_description", Ty::String),
            param("SR", Ty::Ref("SR")),
            param("type", TYPE),
            param("sharable", Ty::Bool),
            param("read_only", Ty::Bool),
            param("other_config", Ty::STRING_MAP),
            param("location", Ty::String),
            optional("xenstore_data", Ty::STRING_MAP, Literal::Empty),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
            optional("managed", Ty::Bool, Literal::Bool(true)),
            optional("virtual_size", Ty::Int, Literal::Empty),
            optional("physical_utilisation", Ty::Int, Literal::Empty),
            optional("metadata_of_pool", Ty::Ref("pool"), Literal::Empty),
            optional("is_a_snapshot", Ty::Bool, Literal::Empty),
            optional("snapshot_time", Ty::DateTime, Literal::Empty),
            optional("snapshot_of", Ty::Ref("VDI"), Literal::Empty),
            optional("cbt_enabled", Ty::Bool, Literal::Empty),
        ],
        Ty::Ref("VDI"),
    ),
    message("db_forget", &[param("vdi", Ty::Ref("VDI"))], Ty::Void),
    message("update", &[param("vdi", Ty::Ref("VDI"))], Ty::Void),
    message(
        "copy",
        &[
            param("vdi", Ty::Ref("VDI")),
            optional("sr", Ty::Ref("SR"), Literal::Empty),
            optional("base_vdi", Ty::Ref("VDI"), Literal::Empty),
            optional("into_vdi", Ty::Ref("VDI"), Literal::Empty),
        ],
        Ty::Ref("VDI"),
    ),
    message("force_unlock", &[param("vdi", Ty::Ref("VDI"))], Ty::Void).deprecated(),
    message("forget", &[param("vdi", Ty::Ref("VDI"))], Ty::Void),
    message(
        "set_managed",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "set_sharable",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "set_read_only",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "set_missing",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "set_virtual_size",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Int)],
        Ty::Void,
    ),
    message(
        "set_physical_utilisation",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Int)],
        Ty::Void,
    ),
    message(
        "set_is_a_snapshot",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "set_snapshot_of",
        &[
            param("self", Ty::Ref("VDI")),
            param("value", Ty::Ref("VDI")),
        ],
        Ty::Void,
    ),
    message(
        "set_snapshot_time",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::DateTime)],
        Ty::Void,
    ),
    message(
        "set_metadata_of_pool",
        &[
            param("self", Ty::Ref("VDI")),
            param("value", Ty::Ref("pool")),
        ],
        Ty::Void,
    ),
    message(
        "set_name_label",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::String)],
        Ty::Void,
    ),
    message(
        "set_name_description",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::String)],
        Ty::Void,
    ),
    message(
        "set_on_boot",
        &[param("self", Ty::Ref("VDI")), param("value", ON_BOOT)],
        Ty::Void,
    ),
    message(
        "set_allow_caching",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "set_cbt_enabled",
        &[param("self", Ty::Ref("VDI")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "generate_config",
        &[param("host", Ty::Ref("host")), param("vdi", Ty::Ref("VDI"))],
        Ty::String,
    ),
    message(
        "open_database",
        &[param("self", Ty::Ref("VDI"))],
        Ty::Ref("session"),
    ),
    message("checksum", &[param("self", Ty::Ref("VDI"))], Ty::String),
    message(
        "read_database_pool_uuid",
        &[param("self", Ty::Ref("VDI"))],
        Ty::String,
    ),
    message(
        "pool_migrate",
        &[
            param("vdi", Ty::Ref("VDI")),
            param("sr", Ty::Ref("SR")),
            param("options", Ty::STRING_MAP),
        ],
        Ty::Ref("VDI"),
    ),
    message("enable_cbt", &[param("self", Ty::Ref("VDI"))], Ty::Void),
    message("disable_cbt", &[param("self", Ty::Ref("VDI"))], Ty::Void),
    message("data_destroy", &[param("self", Ty::Ref("VDI"))], Ty::Void),
    message(
        "list_changed_blocks",
        &[
            param("vdi_from", Ty::Ref("VDI")),
            param("vdi_to", Ty::Ref("VDI")),
        ],
        Ty::String,
    ),
    message(
        "get_nbd_info",
        &[param("self", Ty::Ref("VDI"))],
        Ty::Set(&Ty::Record("vdi_nbd_server_info")),
    ),
    message("revert", &[param("snapshot", Ty::Ref("VDI"))], Ty::Void),
];

/// What a VDI is for.
pub(super) const TYPE: Ty = Ty::Enum(
    "vdi_type",
    &[
        "system",
        "user",
        "ephemeral",
        "suspend",
        "crashdump",
        "ha_statefile",
        "metadata",
        "redo_log",
        "rrd",
        "pvs_cache",
        "cbt_metadata",
    ],
);

/// What becomes of the content when a VM boots.
pub(super) const ON_BOOT: Ty = Ty::Enum("on_boot", &["reset", "persist"]);

/// What can be done with a VDI, or is being done.
pub(super) const OPERATIONS: Ty = Ty::Enum(
    "vdi_operations",
    &[
        "clone",
        "copy",
        "resize",
        "resize_online",
        "snapshot",
        "mirror",
        "destroy",
        "forget",
        "update",
        "force_unlock",
        "generate_config",
        "enable_cbt",
        "disable_cbt",
        "data_destroy",
        "list_changed_blocks",
        "set_on_boot",
        "blocked",
        "revert_to",
        "revert_from",
    ],
);
