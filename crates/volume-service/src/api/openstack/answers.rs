//! What answers look like: as full as the acceptance suite's schemas, and closed as those are.
//!
//! Source: the response schemas of Tempest 47, for what is there since 3.0; Cinder's API reference for later fields.

use super::schema::{
    ANY_OBJECT, Field, INTEGER_MAX, Pattern, Schema, TEXT, UUID, UUID_OR_NULL, closed, field,
    integer, list_of, required, text, words,
};

/// A text of any length: what is stored was checked when it came.
pub(super) const SAID: Schema = text(0, usize::MAX);
/// The same, or null.
pub(super) const SAID_OR_NULL: Schema = Schema::OrNull(&SAID);
/// True or false, and no word for it.
pub(super) const FLAG: Schema = Schema::TrueOrFalse;
/// How many, or how many GiB.
pub(super) const COUNT: Schema = integer(0, i64::MAX);
/// A number, or -1 for no limit.
const LIMIT: Schema = integer(-1, INTEGER_MAX);
/// `2026-11-22T07:00:00.123456`
const TIME: Schema = Schema::Text {
    min: 19,
    max: 32,
    pattern: Some(Pattern {
        expression: "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}",
        matches: |text| text.is_ascii() && text.as_bytes().get(10) == Some(&b'T'),
    }),
};
const TIME_OR_NULL: Schema = Schema::OrNull(&TIME);

/// An object of texts.
pub(super) const TEXTS: Schema = Schema::Map {
    key: ANY_KEY,
    value: &SAID,
    min: 0,
    max: usize::MAX,
};
/// The same as it was sent: null stands for an empty text.
pub(super) const TEXTS_AS_SENT: Schema = Schema::Map {
    key: ANY_KEY,
    value: &SAID_OR_NULL,
    min: 0,
    max: usize::MAX,
};
const ANY_KEY: Pattern = Pattern {
    expression: "",
    matches: |_| true,
};

const LINK: Schema = closed(&[
    required("href", SAID),
    required("rel", SAID),
    field("type", SAID),
]);
/// Where more is to be found.
pub(super) const LINKS: Schema = list_of(&LINK);

const ATTACHED: Schema = closed(&[
    required("id", UUID),
    required("attachment_id", UUID),
    required("volume_id", UUID),
    required("server_id", SAID_OR_NULL),
    required("host_name", SAID_OR_NULL),
    required("device", SAID_OR_NULL),
    field("attached_at", TIME_OR_NULL),
]);

/// A volume in a list without details.
pub(super) const VOLUME_SUMMARY: Schema = closed(&[
    required("id", UUID),
    required("name", SAID_OR_NULL),
    required("links", LINKS),
]);

/// A volume. What policies decide over is there or not.
pub(super) const VOLUME: Schema = closed(&[
    required("id", UUID),
    required("status", SAID),
    required("size", COUNT),
    required("availability_zone", SAID_OR_NULL),
    required("created_at", TIME),
    required("updated_at", TIME_OR_NULL),
    required("name", SAID_OR_NULL),
    required("description", SAID_OR_NULL),
    required("volume_type", SAID_OR_NULL),
    required("snapshot_id", UUID_OR_NULL),
    required("source_volid", UUID_OR_NULL),
    required("metadata", TEXTS),
    required("links", LINKS),
    required("user_id", SAID),
    required("bootable", words(&["true", "false"])),
    required("encrypted", FLAG),
    required("replication_status", SAID_OR_NULL),
    required("consistencygroup_id", UUID_OR_NULL),
    required("multiattach", FLAG),
    required("attachments", list_of(&ATTACHED)),
    field("migration_status", SAID_OR_NULL),
    field("volume_image_metadata", TEXTS),
    field("os-vol-tenant-attr:tenant_id", SAID),
    field("os-vol-host-attr:host", SAID_OR_NULL),
    field("os-vol-mig-status-attr:migstat", SAID_OR_NULL),
    field("os-vol-mig-status-attr:name_id", UUID_OR_NULL),
    field("group_id", UUID_OR_NULL).since(13),
    field("provider_id", SAID_OR_NULL).since(21),
    field("service_uuid", UUID_OR_NULL).since(48),
    field("shared_targets", Schema::OrNull(&FLAG)).since(48),
    field("cluster_name", SAID_OR_NULL).since(61),
    field("volume_type_id", UUID).since(63),
    field("encryption_key_id", UUID).since(64),
    field("consumes_quota", FLAG).since(65),
]);

/// Each key of volumes with its values.
pub(super) const METADATA_VALUES: Schema = Schema::Map {
    key: ANY_KEY,
    value: &list_of(&SAID),
    min: 0,
    max: usize::MAX,
};

/// A snapshot in whatever form.
pub(super) const SNAPSHOT: Schema = closed(&[
    required("id", UUID),
    required("volume_id", UUID),
    required("status", SAID),
    required("size", COUNT),
    required("created_at", TIME),
    required("updated_at", TIME_OR_NULL),
    required("name", SAID_OR_NULL),
    required("description", SAID_OR_NULL),
    required("metadata", TEXTS),
    field("os-extended-snapshot-attributes:progress", SAID),
    field("os-extended-snapshot-attributes:project_id", SAID),
    field("group_snapshot_id", UUID_OR_NULL).since(14),
    field("user_id", SAID).since(41),
    field("consumes_quota", FLAG).since(65),
]);

/// An attachment in a list without details.
pub(super) const ATTACHMENT_SUMMARY: Schema = closed(&ATTACHMENT_FIELDS);
const ATTACHMENT_FIELDS: [Field; 4] = [
    required("id", UUID),
    required("status", SAID),
    required("instance", SAID_OR_NULL),
    required("volume_id", UUID),
];
/// An attachment.
pub(super) const ATTACHMENT: Schema = closed(&[
    ATTACHMENT_FIELDS[0],
    ATTACHMENT_FIELDS[1],
    ATTACHMENT_FIELDS[2],
    ATTACHMENT_FIELDS[3],
    required("attached_at", SAID),
    required("detached_at", SAID),
    required("attach_mode", words(&["rw", "ro"])),
    required("connection_info", ANY_OBJECT),
]);

/// A transfer; its key is told once.
pub(super) const TRANSFER: Schema = closed(&[
    required("id", UUID),
    required("volume_id", UUID),
    required("name", SAID_OR_NULL),
    required("links", LINKS),
    field("created_at", TIME),
    field("auth_key", SAID),
    field("no_snapshots", FLAG).since(55),
    field("source_project_id", SAID).since(57),
    field("destination_project_id", SAID_OR_NULL).since(57),
    field("accepted", FLAG).since(57),
]);

/// A message.
pub(super) const MESSAGE: Schema = closed(&[
    required("id", UUID),
    required("request_id", SAID),
    required("message_level", SAID),
    required("event_id", SAID),
    required("user_message", SAID),
    required("created_at", TIME),
    required("guaranteed_until", TIME),
    required("resource_type", SAID),
    required("resource_uuid", SAID_OR_NULL),
    required("links", LINKS),
]);

/// A project that may use a type.
pub(super) const TYPE_ACCESS: Schema = closed(&[
    required("volume_type_id", UUID),
    required("project_id", SAID),
]);

/// The encryption of a type; nothing where it has none.
pub(super) const ENCRYPTION: Schema = closed(&[
    field("volume_type_id", UUID),
    field("encryption_id", UUID),
    field("provider", SAID),
    field("control_location", words(&["front-end", "back-end"])),
    field("cipher", SAID_OR_NULL),
    field("key_size", Schema::OrNull(&COUNT)),
    field("created_at", TIME),
    field("updated_at", TIME_OR_NULL),
    field("deleted", FLAG),
    field("deleted_at", TIME_OR_NULL),
]);

/// The encryption of a volume, for who attaches it.
pub(super) const VOLUME_ENCRYPTION: Schema = closed(&[
    required("encryption_key_id", UUID_OR_NULL),
    field("control_location", SAID),
    field("cipher", SAID_OR_NULL),
    field("key_size", Schema::OrNull(&COUNT)),
    field("provider", SAID),
]);

/// A type that refers to QoS specs.
pub(super) const QOS_ASSOCIATION: Schema = closed(&[
    required("association_type", words(&["volume_type"])),
    required("id", UUID),
    required("name", SAID),
]);

/// A service.
pub(super) const SERVICE: Schema = closed(&[
    required("binary", SAID),
    required("host", SAID),
    required("zone", SAID),
    required("status", words(&["enabled", "disabled"])),
    required("state", UP_OR_DOWN),
    required("updated_at", TIME),
    required("disabled_reason", SAID_OR_NULL),
    field("replication_status", SAID),
    field("active_backend_id", SAID_OR_NULL),
    field("frozen", FLAG),
    field("cluster", SAID_OR_NULL).since(7),
    field("backend_state", UP_OR_DOWN).since(49),
]);
const UP_OR_DOWN: Schema = words(&["up", "down"]);

/// A service that was enabled or disabled.
pub(super) const SERVICE_CHANGED: Schema = closed(&[
    required("host", SAID),
    required("binary", SAID),
    required("service", SAID),
    required("status", words(&["enabled", "disabled"])),
    required("disabled", FLAG),
    field("disabled_reason", SAID_OR_NULL),
]);

/// A service in the list of hosts.
pub(super) const HOST: Schema = closed(&[
    required("host_name", SAID),
    required("service", SAID),
    required("zone", SAID),
    required("service-status", words(&["available", "unavailable"])),
    required("service-state", words(&["enabled", "disabled"])),
    required("last-update", TIME_OR_NULL),
]);

/// What lies on a host.
pub(super) const HOST_RESOURCE: Schema = closed(&[required(
    "resource",
    closed(&[
        required("host", SAID),
        required("project", SAID),
        required("volume_count", SAID),
        required("total_volume_gb", SAID),
        required("snapshot_count", SAID),
        required("total_snapshot_gb", SAID),
    ]),
)]);

/// A backend as the scheduler knows it.
pub(super) const CAPABILITIES: Schema = closed(&[
    required("namespace", SAID),
    required("vendor_name", SAID),
    required("volume_backend_name", SAID),
    required("pool_name", SAID_OR_NULL),
    required("driver_version", SAID),
    required("storage_protocol", SAID),
    required("display_name", SAID_OR_NULL),
    required("description", SAID_OR_NULL),
    required("visibility", SAID_OR_NULL),
    required("replication_targets", list_of(&Schema::Any)),
    required("properties", ANY_OBJECT),
]);

/// What a project may have at most, and has.
pub(super) const ABSOLUTE_LIMITS: Schema = closed(&[
    required("maxTotalVolumes", LIMIT),
    required("maxTotalVolumeGigabytes", LIMIT),
    required("maxTotalSnapshots", LIMIT),
    required("maxTotalBackups", LIMIT),
    required("maxTotalBackupGigabytes", LIMIT),
    field("totalVolumesUsed", COUNT),
    field("totalGigabytesUsed", COUNT),
    field("totalSnapshotsUsed", COUNT),
    field("totalBackupsUsed", COUNT),
    field("totalBackupGigabytesUsed", COUNT),
]);

/// Quotas by name: limits, or what `usage` shows; the project or class under `id`.
pub(super) const QUOTAS: Schema = Schema::Map {
    key: ANY_KEY,
    value: &Schema::OneOf(&[LIMIT, TEXT, QUOTA_USAGE]),
    min: 1,
    max: usize::MAX,
};
const QUOTA_USAGE: Schema = closed(&[
    required("limit", LIMIT),
    required("in_use", COUNT),
    required("reserved", COUNT),
]);

/// A zone.
pub(super) const ZONE: Schema = closed(&[
    required("zoneName", SAID),
    required("zoneState", closed(&[required("available", FLAG)])),
]);

/// An extension.
pub(super) const EXTENSION: Schema = closed(&[
    required("name", SAID),
    required("alias", SAID),
    required("description", SAID),
    required("updated", SAID),
    required("links", LINKS),
]);

/// A version.
pub(super) const VERSION: Schema = closed(&[
    required("id", SAID),
    required("status", SAID),
    required("version", SAID),
    required("min_version", SAID),
    required("updated", SAID),
    required("links", LINKS),
    required("media-types", list_of(&TEXTS)),
]);

/// The filters of a list.
pub(super) const RESOURCE_FILTERS: Schema = closed(&[
    required("resource", SAID),
    required("filters", list_of(&SAID)),
]);

/// A VDI or a snapshot of one that could be adopted, or could not.
pub(super) const MANAGEABLE: Schema = closed(&[
    required("reference", TEXTS),
    required("size", COUNT),
    required("safe_to_manage", FLAG),
    field("source_reference", TEXTS),
    field("reason_not_safe", SAID_OR_NULL),
    field("cinder_id", SAID_OR_NULL),
    field("extra_info", SAID_OR_NULL),
]);
