//! Volume actions: what they are.

use axum::response::{IntoResponse, Response};
use axum::routing::on;

use super::answers::TEXTS;
use super::fault::{Fault, Result, success};
use super::route::{Action, Call, Route, act};
use super::schema::{
    ANY_OBJECT, BOOLEAN, FILLED_TEXT, METADATA, NAME, SIZE, Schema, TEXT, UUID, UUID_OR_NULL,
    closed, field, open, required, words,
};
use super::volumes::volume_id;
use super::{admin_actions, attach_actions, content_actions};
use crate::app::snapshots::InUse;
use crate::app::volumes;
use crate::app::volumes::DeleteMode;
use crate::auth::rule::Rule;
use crate::error::{ErrorKind, Subject};

pub(super) const ROUTES: &[Route] =
    &[Route::post("/volumes/{id}/action", |verb| on(verb, act)).actions(ACTIONS)];

const ACTIONS: &[Action] = &[
    Action::new("os-reserve", Rule::VolumeActionsReserve, |call| {
        Box::pin(attach_actions::reserve(call))
    }),
    Action::new("os-unreserve", Rule::VolumeActionsUnreserve, |call| {
        Box::pin(attach_actions::unreserve(call))
    }),
    Action::new(
        "os-initialize_connection",
        Rule::VolumeActionsInitializeConnection,
        |call| Box::pin(attach_actions::initialize_connection(call)),
    )
    .body(&CONNECTOR)
    .answers(200, &closed(&[required("connection_info", ANY_OBJECT)])),
    Action::new(
        "os-terminate_connection",
        Rule::VolumeActionsTerminateConnection,
        |call| Box::pin(attach_actions::terminate_connection(call)),
    ),
    Action::new("os-attach", Rule::VolumeActionsAttach, |call| {
        Box::pin(attach_actions::attach(call))
    })
    .body(&ATTACH),
    Action::new("os-detach", Rule::VolumeActionsDetach, |call| {
        Box::pin(attach_actions::detach(call))
    })
    .body(&DETACH),
    Action::new(
        "os-begin_detaching",
        Rule::VolumeActionsBeginDetaching,
        |call| Box::pin(attach_actions::begin_detaching(call)),
    ),
    Action::new(
        "os-roll_detaching",
        Rule::VolumeActionsRollDetaching,
        |call| Box::pin(attach_actions::roll_detaching(call)),
    ),
    Action::new(
        "os-force_delete",
        Rule::VolumeAdminActionsForceDelete,
        |call| Box::pin(force_delete(call)),
    ),
    Action::new("os-extend", Rule::VolumeExtend, |call| {
        Box::pin(extend(call))
    })
    .body(&EXTEND),
    Action::new("revert", Rule::VolumeRevertToSnapshot, |call| {
        Box::pin(revert(call))
    })
    .since(40)
    .body(&REVERT),
    Action::refused(
        "os-extend_volume_completion",
        Rule::VolumeAdminActionsExtendVolumeCompletion,
        |call| Box::pin(admin_actions::extend_completion(call)),
    )
    .since(71)
    .body(&closed(&[field("error", Schema::Any)])),
    Action::new("os-retype", Rule::VolumeRetype, |call| {
        Box::pin(content_actions::retype(call))
    })
    .body(&RETYPE),
    Action::new(
        "os-reset_status",
        Rule::VolumeAdminActionsResetStatus,
        |call| Box::pin(admin_actions::reset_status(call)),
    )
    .body(&RESET),
    Action::new("os-set_bootable", Rule::VolumeUpdate, |call| {
        Box::pin(content_actions::set_bootable(call))
    })
    .body(&closed(&[required("bootable", BOOLEAN)]))
    .status(200),
    Action::new(
        "os-update_readonly_flag",
        Rule::VolumeUpdateReadonlyFlag,
        |call| Box::pin(content_actions::set_read_only(call)),
    )
    .body(&closed(&[required("readonly", BOOLEAN)])),
    Action::refused(
        "os-volume_upload_image",
        Rule::VolumeActionsUploadImage,
        |call| Box::pin(content_actions::upload_image(call)),
    )
    .body(&UPLOAD),
    Action::refused("os-reimage", Rule::VolumeReimage, |call| {
        Box::pin(content_actions::reimage(call))
    })
    .since(68)
    .body(&closed(&[
        required("image_id", UUID),
        field("reimage_reserved", BOOLEAN),
    ])),
    Action::refused(
        "os-migrate_volume",
        Rule::VolumeAdminActionsMigrateVolume,
        |call| Box::pin(admin_actions::migrate(call)),
    )
    .body(&MIGRATE),
    Action::refused(
        "os-migrate_volume_completion",
        Rule::VolumeAdminActionsMigrateVolumeCompletion,
        |call| Box::pin(admin_actions::migrate_completion(call)),
    )
    .body(&closed(&[
        required("new_volume", UUID),
        field("error", Schema::Any),
    ])),
    Action::new(
        "os-force_detach",
        Rule::VolumeAdminActionsForceDetach,
        |call| Box::pin(admin_actions::force_detach(call)),
    )
    .body(&FORCE_DETACH),
    Action::new("os-unmanage", Rule::VolumeUnmanage, |call| {
        Box::pin(admin_actions::unmanage(call))
    }),
    Action::new(
        "os-set_image_metadata",
        Rule::VolumeImageMetadataSet,
        |call| Box::pin(content_actions::set_image_metadata(call)),
    )
    .body(&closed(&[required("metadata", METADATA)]))
    .answers(200, &IMAGE_METADATA),
    Action::new(
        "os-unset_image_metadata",
        Rule::VolumeImageMetadataRemove,
        |call| Box::pin(content_actions::unset_image_metadata(call)),
    )
    .body(&closed(&[required("key", FILLED_TEXT)]))
    .status(200),
    Action::new(
        "os-show_image_metadata",
        Rule::VolumeGetVolumeMetadata,
        |call| Box::pin(content_actions::show_image_metadata(call)),
    )
    .answers(200, &IMAGE_METADATA),
];

const IMAGE_METADATA: Schema = closed(&[required("metadata", TEXTS)]);
const RESET: Schema = closed(&[
    field("status", NAME),
    field("attach_status", NAME),
    field("migration_status", NAME),
]);
const RETYPE: Schema = closed(&[
    required("new_type", TEXT),
    field(
        "migration_policy",
        Schema::OrNull(&words(&["on-demand", "never"])),
    ),
]);
const UPLOAD: Schema = closed(&[
    required("image_name", FILLED_TEXT),
    field("force", BOOLEAN),
    field(
        "disk_format",
        words(&["raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx", "ploop"]),
    ),
    field("container_format", NAME),
    field(
        "visibility",
        words(&["community", "public", "private", "shared"]),
    )
    .since(1),
    field("protected", BOOLEAN).since(1),
]);
const MIGRATE: Schema = closed(&[
    field("host", NAME),
    field("force_host_copy", BOOLEAN),
    field("lock_volume", BOOLEAN),
    field("cluster", NAME).since(16),
]);
const FORCE_DETACH: Schema = closed(&[
    field("connector", Schema::Any),
    field("attachment_id", NAME),
]);
const CONNECTOR: Schema = closed(&[required("connector", ANY_OBJECT)]);
const ATTACH: Schema = closed(&[
    field("instance_uuid", UUID_OR_NULL),
    required("mountpoint", FILLED_TEXT),
    field("host_name", Schema::OrNull(&TEXT)),
    field("mode", Schema::OrNull(&words(&["rw", "ro"]))),
]);
const DETACH: Schema = Schema::OrNull(&closed(&[field("attachment_id", UUID_OR_NULL)]));
const EXTEND: Schema = closed(&[required("new_size", SIZE)]);
const REVERT: Schema = open(&[field("snapshot_id", NAME)]);

async fn force_delete(call: Call) -> Result<Response> {
    let id = volume_id(&call.id)?;
    volumes::delete(&call.service, &call.caller.context, id, DeleteMode::Force).await?;
    Ok(success::ACCEPTED.into_response())
}

/// Up to 3.41 only a volume that is attached nowhere can grow.
async fn extend(call: Call) -> Result<Response> {
    let volume = volume_id(&call.id)?;
    let fields = call.fields();
    let size_gib = fields
        .size("new_size")?
        .ok_or_else(|| fields.missing("new_size"))?;
    let in_use = if call.caller.version.at_least(42) {
        InUse::Allow
    } else {
        InUse::Refuse
    };
    volumes::extend(
        &call.service,
        &call.caller.context,
        volume,
        size_gib,
        in_use,
    )
    .await?;
    Ok(success::ACCEPTED.into_response())
}

/// To the latest snapshot (3.40). What is wrong with the choice of the snapshot is a 400, a state that forbids it a 409.
async fn revert(call: Call) -> Result<Response> {
    let volume = volume_id(&call.id)?;
    let fields = call.fields();
    let named = fields.text("snapshot_id")?;
    let not_the_latest = || {
        Fault::BadRequest(format!(
            "Specified snapshot {} is None or not the latest one of volume {}.",
            named.unwrap_or("None"),
            volume
        ))
    };
    let Some(snapshot) = named.and_then(|text| text.parse().ok()) else {
        volumes::get(&call.service, &call.caller.context, volume).await?;
        return Err(not_the_latest());
    };
    volumes::revert(&call.service, &call.caller.context, volume, snapshot)
        .await
        .map_err(|error| match (error.kind, error.subject) {
            (ErrorKind::Conflict, _) => Fault::Conflict(error),
            (ErrorKind::NotFound, Subject::Snapshot) => not_the_latest(),
            _ => error.into(),
        })?;
    Ok(success::ACCEPTED.into_response())
}
