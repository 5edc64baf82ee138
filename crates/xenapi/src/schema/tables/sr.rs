//! `SR`: storage repositories.

use crate::schema::class::{
    Class, Field, Messages, constructor, define_class, read_only, read_write,
};
use crate::schema::message::{Definition, message, optional, param};
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static SR: Class = define_class!("SR", Messages::Stored, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("name_label", Ty::String),
    read_only("name_description", Ty::String),
    read_only("allowed_operations", Ty::Set(&STORAGE_OPERATIONS)),
    read_only(
        "current_operations",
        Ty::Map(&Ty::String, &STORAGE_OPERATIONS),
    ),
    read_only("VDIs", Ty::Set(&Ty::Ref("VDI"))),
    read_only("PBDs", Ty::Set(&Ty::Ref("PBD"))),
    read_only("virtual_allocation", Ty::Int),
    read_only("physical_utilisation", Ty::Int).initially(Literal::Int(-1)),
    constructor("physical_size", Ty::Int).initially(Literal::Int(-1)),
    constructor("type", Ty::String),
    constructor("content_type", Ty::String),
    read_only("shared", Ty::Bool),
    read_write("other_config", Ty::STRING_MAP),
    read_write("tags", Ty::STRING_SET),
    read_write("sm_config", Ty::STRING_MAP),
    read_only("blobs", Ty::Map(&Ty::String, &Ty::Ref("blob"))),
    read_only("local_cache_enabled", Ty::Bool),
    read_only("introduced_by", Ty::Ref("DR_task")),
    read_only("clustered", Ty::Bool),
    read_only("is_tools_sr", Ty::Bool),
];

static MESSAGES: &[Definition] = &[
    message(
        "create",
        &[
            param("host", Ty::Ref("host")),
            param("device_config", Ty::STRING_MAP),
            param("physical_size", Ty::Int),
            param("name_label", Ty::String),
            param("name_description", Ty::String),
            param("type", Ty::String),
            param("content_type", Ty::String),
            param("shared", Ty::Bool),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
        ],
        Ty::Ref("SR"),
    ),
    message(
        "introduce",
        &[
            param("uuid", Ty::String),
            param("name_label", Ty::String),
            param("name_description", Ty::String),
            param("type", Ty::String),
            param("content_type", Ty::String),
            param("shared", Ty::Bool),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
        ],
        Ty::Ref("SR"),
    ),
    message(
        "make",
        &[
            param("host", Ty::Ref("host")),
            param("device_config", Ty::STRING_MAP),
            param("physical_size", Ty::Int),
            param("name_label", Ty::String),
            param("name_description", Ty::String),
            param("type", Ty::String),
            param("content_type", Ty::String),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
        ],
        Ty::String,
    )
    .deprecated(),
    message("destroy", &[param("sr", Ty::Ref("SR"))], Ty::Void),
    message("forget", &[param("sr", Ty::Ref("SR"))], Ty::Void),
    message("update", &[param("sr", Ty::Ref("SR"))], Ty::Void),
    message("get_supported_types", &[], Ty::STRING_SET).direct(),
    message("scan", &[param("sr", Ty::Ref("SR"))], Ty::Void),
    message(
        "probe",
        &[
            param("host", Ty::Ref("host")),
            param("device_config", Ty::STRING_MAP),
            param("type", Ty::String),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
        ],
        Ty::String,
    ),
    message(
        "probe_ext",
        &[
            param("host", Ty::Ref("host")),
            param("device_config", Ty::STRING_MAP),
            param("type", Ty::String),
            optional("sm_config", Ty::STRING_MAP, Literal::Empty),
        ],
        Ty::Set(&Ty::Record("probe_result")),
    ),
    message(
        "set_shared",
        &[param("sr", Ty::Ref("SR")), param("value", Ty::Bool)],
        Ty::Void,
    ),
    message(
        "set_name_label",
        &[param("sr", Ty::Ref("SR")), param("value", Ty::String)],
        Ty::Void,
    ),
    message(
        "set_name_description",
        &[param("sr", Ty::Ref("SR")), param("value", Ty::String)],
        Ty::Void,
    ),
    message(
        "create_new_blob",
        &[
            param("sr", Ty::Ref("SR")),
            param("name", Ty::String),
            param("mime_type", Ty::String),
            optional("public", Ty::Bool, Literal::Empty),
        ],
        Ty::Ref("blob"),
    ),
    message(
        "set_physical_size",
        &[param("self", Ty::Ref("SR")), param("value", Ty::Int)],
        Ty::Void,
    ),
    message(
        "set_virtual_allocation",
        &[param("self", Ty::Ref("SR")), param("value", Ty::Int)],
        Ty::Void,
    ),
    message(
        "set_physical_utilisation",
        &[param("self", Ty::Ref("SR")), param("value", Ty::Int)],
        Ty::Void,
    ),
    message(
        "assert_can_host_ha_statefile",
        &[param("sr", Ty::Ref("SR"))],
        Ty::Void,
    ),
    message(
        "assert_supports_database_replication",
        &[param("sr", Ty::Ref("SR"))],
        Ty::Void,
    ),
    message(
        "enable_database_replication",
        &[param("sr", Ty::Ref("SR"))],
        Ty::Void,
    ),
    message(
        "disable_database_replication",
        &[param("sr", Ty::Ref("SR"))],
        Ty::Void,
    ),
    message(
        "get_live_hosts",
        &[param("sr", Ty::Ref("SR"))],
        Ty::Set(&Ty::Ref("host")),
    ),
];

/// What an SR can do, or is doing.
///
/// The first ones are those that a pool reports in `allowed_operations`; clients may refuse unknown ones.
pub(super) const STORAGE_OPERATIONS: Ty = Ty::Enum(
    "storage_operations",
    &[
        "scan",
        "destroy",
        "forget",
        "plug",
        "unplug",
        "update",
        "vdi_create",
        "vdi_introduce",
        "vdi_destroy",
        "vdi_resize",
        "vdi_clone",
        "vdi_snapshot",
        "vdi_mirror",
        "vdi_enable_cbt",
        "vdi_disable_cbt",
        "vdi_data_destroy",
        "vdi_list_changed_blocks",
        "vdi_set_on_boot",
        "vdi_blocked",
        "vdi_copy",
        "vdi_force_unlock",
        "vdi_forget",
        "vdi_generate_config",
        "vdi_resize_online",
        "vdi_update",
        "vdi_revert",
        "pbd_create",
        "pbd_destroy",
    ],
);
