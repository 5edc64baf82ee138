//! A volume as OpenStack clients see it, by microversion and role.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;

use super::super::timestamp;
use super::address::Link;
use super::caller::Caller;
use super::fault::Result;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::attachment::{Attachment, AttachmentStatus};
use crate::model::id::BackendId;
use crate::model::volume::{Volume, VolumeStatus};

/// A list of either form.
#[derive(Serialize)]
pub(super) struct Listed<'a, T> {
    pub(super) volumes: &'a [T],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) volumes_links: Option<[Link; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
}

/// One volume.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    pub(super) volume: VolumeDetail<'a>,
}

/// What a volume takes in an answer, in bytes; more costs a copy.
const VOLUME_BYTES: usize = 1280;

/// Writes an answer of so many volumes, straight into its body: a tree of values would cost a list more than its query.
pub(super) fn written<T: Serialize>(answer: &T, volumes: usize) -> Result<Response> {
    let mut body = Vec::with_capacity(volumes.saturating_add(1).saturating_mul(VOLUME_BYTES));
    serde_json::to_writer(&mut body, answer).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            Subject::Volume,
            "An unexpected error has occurred.",
        )
        .detail("write an answer as JSON")
        .caused_by(error)
    })?;
    let media_type = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, media_type)], body).into_response())
}

/// The short form, of `GET /volumes`.
#[derive(Serialize)]
pub(super) struct VolumeSummary<'a> {
    id: String,
    name: Option<&'a str>,
    links: [Link; 2],
}

impl<'a> VolumeSummary<'a> {
    pub(super) fn new(caller: &Caller, volume: &'a Volume) -> Self {
        let id = volume.id.to_string();
        VolumeSummary {
            links: caller.links.item("volumes", &id),
            name: some_text(&volume.name),
            id,
        }
    }
}

/// A field that exists only from some microversion on, or only for administrators. `Some(None)` is JSON null.
type Gated<T> = Option<T>;

/// The long form.
#[derive(Serialize)]
pub(super) struct VolumeDetail<'a> {
    id: String,
    status: &'static str,
    size: u64,
    availability_zone: &'a str,
    created_at: String,
    updated_at: Option<String>,
    name: Option<&'a str>,
    description: Option<&'a str>,
    volume_type: &'a str,
    snapshot_id: Option<String>,
    source_volid: Option<String>,
    metadata: Cow<'a, BTreeMap<String, String>>,
    links: [Link; 2],
    user_id: &'a str,
    bootable: &'static str,
    encrypted: bool,
    replication_status: Option<&'a str>,
    consistencygroup_id: Option<String>,
    multiattach: bool,
    attachments: Vec<AttachedView<'a>>,
    #[serde(
        rename = "os-vol-tenant-attr:tenant_id",
        skip_serializing_if = "Option::is_none"
    )]
    tenant_id: Gated<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    migration_status: Gated<Value>,
    #[serde(
        rename = "os-vol-host-attr:host",
        skip_serializing_if = "Option::is_none"
    )]
    host: Gated<Option<String>>,
    #[serde(
        rename = "os-vol-mig-status-attr:migstat",
        skip_serializing_if = "Option::is_none"
    )]
    migstat: Gated<Value>,
    #[serde(
        rename = "os-vol-mig-status-attr:name_id",
        skip_serializing_if = "Option::is_none"
    )]
    name_id: Gated<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Gated<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Gated<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_targets: Gated<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_uuid: Gated<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Gated<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_type_id: Gated<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_key_id: Gated<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumes_quota: Gated<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_image_metadata: Gated<&'a BTreeMap<String, String>>,
}

/// One entry of a volume's `attachments`.
#[derive(Serialize)]
struct AttachedView<'a> {
    id: String,
    attachment_id: String,
    volume_id: String,
    server_id: Option<&'a str>,
    host_name: Option<&'a str>,
    device: Option<&'a str>,
    attached_at: Option<String>,
}

impl<'a> VolumeDetail<'a> {
    /// The view of a volume; `attachments` may hold those of other volumes too.
    pub(super) fn new(caller: &Caller, volume: &'a Volume, attachments: &'a [Attachment]) -> Self {
        let id = volume.id.to_string();
        let version = caller.version;
        let shown = caller.shown;
        let admin = shown.internals;
        VolumeDetail {
            status: status_word(volume.status),
            size: shown_size(volume),
            availability_zone: &volume.zone,
            created_at: timestamp::openstack(volume.created_at_us),
            updated_at: volume.updated_at_us.map(timestamp::openstack),
            name: some_text(&volume.name),
            description: some_text(&volume.description),
            volume_type: &volume.flavor_label,
            snapshot_id: volume.source_snapshot_id.map(|id| id.to_string()),
            source_volid: volume.source_volume_id.map(|id| id.to_string()),
            metadata: shown_metadata(volume),
            links: caller.links.item("volumes", &id),
            user_id: &volume.user_id,
            bootable: if volume.bootable { "true" } else { "false" },
            encrypted: volume.traits.encryption_key_id.is_some(),
            replication_status: None,
            consistencygroup_id: (volume.traits.group_id)
                .filter(|_| volume.traits.in_consistency_group)
                .map(|id| id.to_string()),
            multiattach: volume.traits.multiattach,
            attachments: attachments
                .iter()
                .filter(|attachment| attachment.volume_id == volume.id)
                .filter(|attachment| attachment.status == AttachmentStatus::Attached)
                .map(|attachment| AttachedView::new(attachment, admin))
                .collect(),
            tenant_id: shown.project.then_some(volume.project_id.as_str()),
            migration_status: admin
                .then(|| text_or_null(volume.traits.migration_status.as_deref())),
            host: shown.host.then(|| {
                volume
                    .backend_id
                    .map(|backend| pool_name(&volume.zone, backend))
            }),
            migstat: shown
                .migration
                .then(|| text_or_null(volume.traits.migration_status.as_deref())),
            name_id: shown.migration.then_some(Value::Null),
            group_id: version
                .at_least(13)
                .then(|| uuid_or_null(volume.traits.group_id)),
            provider_id: (admin && version.at_least(21))
                .then(|| volume.vdi_uuid.map(|vdi| vdi.to_string())),
            // Since 3.69 it may be null: whether targets are shared matters to no consumer of ours.
            shared_targets: version.at_least(48).then(|| {
                if version.at_least(69) {
                    Value::Null
                } else {
                    Value::Bool(false)
                }
            }),
            service_uuid: version.at_least(48).then_some(Value::Null),
            cluster_name: (admin && version.at_least(61)).then_some(Value::Null),
            volume_type_id: version.at_least(63).then(|| volume.flavor_id.to_string()),
            // Since 3.64, of volumes that have one.
            encryption_key_id: volume
                .traits
                .encryption_key_id
                .filter(|_| version.at_least(64))
                .map(|id| id.to_string()),
            consumes_quota: version.at_least(65).then_some(true),
            volume_image_metadata: Some(&volume.traits.image_metadata)
                .filter(|metadata| shown.image_metadata && !metadata.is_empty()),
            id,
        }
    }

    /// The view of a volume that a request has made or changed: without what Cinder's extensions add to show and detail alone.
    pub(super) fn changed(
        caller: &Caller,
        volume: &'a Volume,
        attachments: &'a [Attachment],
    ) -> Self {
        VolumeDetail {
            tenant_id: None,
            host: None,
            migstat: None,
            name_id: None,
            volume_image_metadata: None,
            ..Self::new(caller, volume, attachments)
        }
    }
}

impl<'a> AttachedView<'a> {
    fn new(attachment: &'a Attachment, admin: bool) -> Self {
        let volume_id = attachment.volume_id.to_string();
        AttachedView {
            id: volume_id.clone(),
            attachment_id: attachment.id.to_string(),
            volume_id,
            server_id: attachment.instance_id.as_deref(),
            host_name: attachment.host_name.as_deref().filter(|_| admin),
            device: attachment.mountpoint.as_deref(),
            attached_at: attachment.attached_at_us.map(timestamp::openstack),
        }
    }
}

/// A backend as a scheduler pool: `xensm@<zone>#backend-<number>`.
pub(super) fn pool_name(zone: &str, backend: BackendId) -> String {
    format!("xensm@{zone}#backend-{backend}")
}

/// The states of an adoption have other words outside, as in Cinder.
fn status_word(status: VolumeStatus) -> &'static str {
    match status {
        VolumeStatus::Managing => VolumeStatus::Creating.as_str(),
        VolumeStatus::ErrorManaging => VolumeStatus::Error.as_str(),
        status => status.as_str(),
    }
}

/// How large a VDI is that is being adopted is known only when it is found.
fn shown_size(volume: &Volume) -> u64 {
    match volume.status {
        VolumeStatus::Managing | VolumeStatus::ErrorManaging => 0,
        _ => volume.size_gib,
    }
}

/// The user's keys, and the one of Cinder's own that everybody sees among them.
fn shown_metadata(volume: &Volume) -> Cow<'_, BTreeMap<String, String>> {
    let Some(read_only) = volume.traits.read_only else {
        return Cow::Borrowed(&volume.metadata);
    };
    let mut all = volume.metadata.clone();
    let word = if read_only { "True" } else { "False" };
    all.insert("readonly".to_owned(), word.to_owned());
    Cow::Owned(all)
}

fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

fn uuid_or_null(id: Option<uuid::Uuid>) -> Value {
    id.map_or(Value::Null, |id| Value::from(id.to_string()))
}

fn some_text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
