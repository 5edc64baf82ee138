//! `session`: sessions.

use crate::schema::class::{Class, Field, Messages, define_class, read_only, read_write};
use crate::schema::message::{Definition, message, optional, param};
use crate::schema::{Literal, Ty};

/// The class.
pub(super) static SESSION: Class = define_class!("session", Messages::Unlisted, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("this_host", Ty::Ref("host")),
    read_only("this_user", Ty::Ref("user")),
    read_only("last_active", Ty::DateTime),
    read_only("pool", Ty::Bool),
    read_write("other_config", Ty::STRING_MAP),
    read_only("is_local_superuser", Ty::Bool),
    read_only("subject", Ty::Ref("subject")),
    read_only("validation_time", Ty::DateTime),
    read_only("auth_user_sid", Ty::String),
    read_only("auth_user_name", Ty::String),
    read_only("rbac_permissions", Ty::STRING_SET),
    read_only("tasks", Ty::Set(&Ty::Ref("task"))),
    read_only("parent", Ty::Ref("session")),
    read_only("originator", Ty::String),
    read_only("client_certificate", Ty::Bool),
];

static MESSAGES: &[Definition] = &[
    message(
        "login_with_password",
        &[
            param("uname", Ty::String),
            param("pwd", Ty::String),
            optional("version", Ty::String, Literal::Text("1.1")),
            optional("originator", Ty::String, Literal::Empty),
        ],
        Ty::Ref("session"),
    )
    .without_session(),
    message(
        "slave_local_login_with_password",
        &[param("uname", Ty::String), param("pwd", Ty::String)],
        Ty::Ref("session"),
    )
    .without_session(),
    message("logout", &[], Ty::Void).direct(),
    message("local_logout", &[], Ty::Void).direct(),
    message(
        "change_password",
        &[param("old_pwd", Ty::String), param("new_pwd", Ty::String)],
        Ty::Void,
    )
    .direct(),
    message("get_all_subject_identifiers", &[], Ty::STRING_SET),
    message(
        "logout_subject_identifier",
        &[param("subject_identifier", Ty::String)],
        Ty::Void,
    ),
];
