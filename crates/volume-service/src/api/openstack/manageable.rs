//! VDIs that were not made here: lists of what could be adopted, and the requests to adopt (3.8; the older paths since 3.0).

use std::cmp::Ordering;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::answers;
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::paging::Paging;
use super::route::Route;
use super::schema::{
    ANY_OBJECT, BOOLEAN, Field, METADATA, NAME, PAGING, Schema, TEXT, UUID, closed, field, list_of,
    required,
};
use super::snapshot_view::{Form, SnapshotView};
use super::volume_view::VolumeDetail;
use crate::app::Service;
use crate::app::adoption::{self, Judged, Kind, ManageSnapshot, ManageVolume, Manageable};
use crate::app::volumes::SortDirection;
use crate::auth::rule::Rule;
use crate::error::{Error, ErrorKind, Subject};
use crate::model::adoption::Reference;
use crate::model::id::VolumeId;

macro_rules! routes {
    ($path:literal, $since:literal, $list:ident, $detail:ident, $manage:ident, $body:expr, $answer:expr, $list_rule:expr, $rule:expr) => {
        &[
            Route::get(concat!("/", $path), |verb| on(verb, $list))
                .rule($list_rule)
                .since($since)
                .query(&QUERY)
                .answers(200, &LISTED),
            Route::get(concat!("/", $path, "/detail"), |verb| on(verb, $detail))
                .rule($list_rule)
                .since($since)
                .query(&QUERY)
                .answers(200, &LISTED),
            Route::post(concat!("/", $path), |verb| on(verb, $manage))
                .rule($rule)
                .since($since)
                .body($body)
                .answers(202, $answer),
        ]
    };
}

macro_rules! volume_routes {
    ($path:literal, $since:literal) => {
        routes!(
            $path,
            $since,
            volumes,
            volumes_detail,
            manage_volume,
            &VOLUME,
            &MANAGED_VOLUME,
            Rule::VolumeListManageable,
            Rule::VolumeManage
        )
    };
}

macro_rules! snapshot_routes {
    ($path:literal, $since:literal) => {
        routes!(
            $path,
            $since,
            snapshots,
            snapshots_detail,
            manage_snapshot,
            &SNAPSHOT,
            &MANAGED_SNAPSHOT,
            Rule::SnapshotListManageable,
            Rule::SnapshotManage
        )
    };
}

pub(super) const OLD_VOLUMES: &[Route] = volume_routes!("os-volume-manage", 0);
pub(super) const VOLUMES: &[Route] = volume_routes!("manageable_volumes", 8);
pub(super) const OLD_SNAPSHOTS: &[Route] = snapshot_routes!("os-snapshot-manage", 0);
pub(super) const SNAPSHOTS: &[Route] = snapshot_routes!("manageable_snapshots", 8);

const QUERY: [Field; 8] = [
    field("host", TEXT),
    field("cluster", TEXT).since(17),
    PAGING[0],
    PAGING[1],
    PAGING[2],
    PAGING[3],
    PAGING[4],
    PAGING[5],
];
const LISTED: Schema = closed(&[
    field("manageable-volumes", list_of(&answers::MANAGEABLE)),
    field("manageable-snapshots", list_of(&answers::MANAGEABLE)),
]);
const MANAGED_VOLUME: Schema = closed(&[required("volume", answers::VOLUME)]);
const MANAGED_SNAPSHOT: Schema = closed(&[required("snapshot", answers::SNAPSHOT)]);
const VOLUME: Schema = closed(&[required(
    "volume",
    closed(&[
        field("description", NAME),
        field("availability_zone", NAME),
        field("bootable", Schema::OrNull(&BOOLEAN)),
        field("volume_type", NAME),
        field("name", NAME),
        field("host", NAME),
        field("cluster", NAME).since(16),
        required("ref", REFERENCE),
        field("metadata", Schema::OrNull(&METADATA)),
    ]),
)]);
const SNAPSHOT: Schema = closed(&[required(
    "snapshot",
    closed(&[
        field("description", NAME),
        field("metadata", Schema::OrNull(&METADATA)),
        field("name", NAME),
        required("volume_id", UUID),
        required("ref", Schema::OrNull(&REFERENCE)),
    ]),
)]);
/// An object that names it, or a text that none of ours understands.
const REFERENCE: Schema = Schema::OneOf(&[ANY_OBJECT, TEXT]);

/// Which VDI a body means: `{"source-name": name_label}` or `{"source-id": uuid}`; none for anything else.
pub(super) fn reference(value: Option<&Value>) -> Option<Reference> {
    let text = |key: &str| {
        value
            .and_then(|value| value.get(key))
            .and_then(Value::as_str)
    };
    if let Some(name) = text("source-name").filter(|name| !name.is_empty()) {
        return Some(Reference::Name(name.chars().take(TEXT_MAX_CHARS).collect()));
    }
    Some(Reference::Uuid(text("source-id")?.parse().ok()?))
}

/// Longest name that is looked for: XenAPI sets no limit.
const TEXT_MAX_CHARS: usize = 1024;

/// The host that a request names, and no cluster beside it, of which there are none.
fn host_of(
    caller: &Caller,
    cluster_since: u16,
    host: Option<&str>,
    cluster: Option<&str>,
) -> Result<String> {
    let given = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    let knows_clusters = caller.version.at_least(cluster_since);
    let cluster = cluster.filter(|_| knows_clusters);
    if given(host) == given(cluster) {
        return Err(Fault::BadRequest(if knows_clusters {
            "Invalid input received: One and only one of cluster and host must be set.".to_owned()
        } else {
            "Invalid input received: Host field is missing.".to_owned()
        }));
    }
    let named = host.filter(|host| !host.is_empty()).or(cluster);
    Ok(named.unwrap_or_default().to_owned())
}

async fn manage_volume(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("volume")?;
    let host = host_of(&caller, 16, fields.text("host")?, fields.text("cluster")?)?;
    let text = |key: &'static str| -> Result<String> {
        Ok(fields.text(key)?.unwrap_or_default().trim().to_owned())
    };
    let named = |key: &'static str| -> Result<Option<String>> {
        let text = fields.text(key)?.filter(|text| !text.is_empty());
        Ok(text.map(str::to_owned))
    };
    let wanted = ManageVolume {
        reference: reference(fields.value("ref")),
        name: text("name")?,
        description: text("description")?,
        flavor: named("volume_type")?,
        zone: named("availability_zone")?,
        metadata: fields.metadata("metadata")?.unwrap_or_default(),
        bootable: fields.boolean("bootable")?.unwrap_or(false),
        host: host.clone(),
    };
    let volume = adoption::manage_volume(&service, &caller.context, wanted).await;
    let volume = volume.map_err(|error| no_host(error, &host))?;
    let view = json!({"volume": VolumeDetail::changed(&caller, &volume, &[])});
    Ok((success::ACCEPTED, Json(view)))
}

/// A host that is none is a 400 here, as in Cinder.
fn no_host(error: Error, host: &str) -> Fault {
    if error.kind == ErrorKind::NotFound && error.subject == Subject::Backend {
        let host: String = host.chars().take(255).collect();
        return Fault::BadRequest(format!("Host '{host}' not found"));
    }
    error.into()
}

async fn manage_snapshot(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let fields = Fields::top(&body).object("snapshot")?;
    let text = |key: &'static str| -> Result<String> {
        Ok(fields.text(key)?.unwrap_or_default().trim().to_owned())
    };
    let volume = fields
        .uuid("volume_id")?
        .ok_or_else(|| fields.missing("volume_id"))?;
    let wanted = ManageSnapshot {
        volume_id: VolumeId(volume),
        reference: reference(fields.value("ref")),
        name: text("name")?,
        description: text("description")?,
        metadata: fields.metadata("metadata")?.unwrap_or_default(),
    };
    let snapshot = adoption::manage_snapshot(&service, &caller.context, wanted).await?;
    let view = SnapshotView::new(&caller, &snapshot, Form::Detail);
    Ok((success::ACCEPTED, Json(json!({ "snapshot": view }))))
}

async fn volumes(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    listed(service, caller, query, Kind::Volumes, Depth::Summary).await
}

async fn volumes_detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    listed(service, caller, query, Kind::Volumes, Depth::Detail).await
}

async fn snapshots(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    listed(service, caller, query, Kind::Snapshots, Depth::Summary).await
}

async fn snapshots_detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    listed(service, caller, query, Kind::Snapshots, Depth::Detail).await
}

/// How much of each VDI is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Summary,
    Detail,
}

async fn listed(
    service: Service,
    caller: Caller,
    query: Option<String>,
    kind: Kind,
    depth: Depth,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let (host, cluster) = (paging.take("host"), paging.take("cluster"));
    let host = host_of(&caller, 17, host.as_deref(), cluster.as_deref())?;
    let sort = sort(&paging)?;
    let mut found = adoption::list(&service, &caller.context, &host, kind).await?;
    found.sort_by(|one, other| {
        let mut order = Ordering::Equal;
        for (key, direction) in &sort {
            let next = match key {
                SortKey::Reference => one.name_label.cmp(&other.name_label),
                SortKey::Size => one.size_gib.cmp(&other.size_gib),
            };
            order = order.then(match direction {
                SortDirection::Ascending => next,
                SortDirection::Descending => next.reverse(),
            });
        }
        order.then(one.vdi_uuid.cmp(&other.vdi_uuid))
    });
    let most = service.config.limits.page_max;
    let limit = paging.limit.map_or(most, |limit| limit.min(most));
    let skipped = match &paging.marker {
        None => 0,
        Some(marker) => {
            let place = found.iter().position(|vdi| vdi.name_label == *marker);
            place.map_or(0, |place| place + 1)
        }
    };
    let page = found
        .iter()
        .skip(skipped.saturating_add(paging.offset))
        .take(limit);
    let views: Vec<Value> = page.map(|vdi| view(vdi, kind, depth)).collect();
    let key = match kind {
        Kind::Volumes => "manageable-volumes",
        Kind::Snapshots => "manageable-snapshots",
    };
    Ok(Json(json!({ key: views })))
}

/// What such a list is sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SortKey {
    Reference,
    Size,
}

fn sort(paging: &Paging) -> Result<Vec<(SortKey, SortDirection)>> {
    if paging.sort.is_empty() {
        return Ok(vec![(SortKey::Reference, SortDirection::Descending)]);
    }
    let refused = |what: &str, word: &str| {
        let word: String = word.chars().take(64).collect();
        Fault::BadRequest(format!("Invalid sort {what} passed: {word}"))
    };
    let sort = paging.sort.iter().map(|(key, direction)| {
        let key = match key.as_str() {
            "reference" => SortKey::Reference,
            "size" => SortKey::Size,
            // What `sort_dir` alone means elsewhere.
            "created_at"
                if paging
                    .query
                    .iter()
                    .all(|(name, _)| name != "sort_key" && name != "sort") =>
            {
                SortKey::Reference
            }
            other => return Err(refused("keys", other)),
        };
        match direction.as_str() {
            "asc" => Ok((key, SortDirection::Ascending)),
            "" | "desc" => Ok((key, SortDirection::Descending)),
            other => Err(refused("dirs", other)),
        }
    });
    sort.collect()
}

fn view(vdi: &Manageable, kind: Kind, depth: Depth) -> Value {
    let named =
        |name: &str, uuid: uuid::Uuid| json!({"source-name": name, "source-id": uuid.to_string()});
    let (is_safe, why, owner) = match &vdi.judged {
        Judged::Safe => (true, None, None),
        Judged::Unsafe { why, owner } => (false, Some(why), owner.as_ref()),
    };
    let mut view = json!({
        "reference": named(&vdi.name_label, vdi.vdi_uuid),
        "size": vdi.size_gib,
        "safe_to_manage": is_safe,
    });
    if kind == Kind::Snapshots {
        view["source_reference"] = match &vdi.source {
            Some((name, uuid)) => named(name, *uuid),
            None => json!({}),
        };
    }
    if depth == Depth::Detail {
        view["reason_not_safe"] = json!(why);
        view["cinder_id"] = json!(owner);
        view["extra_info"] = Value::Null;
    }
    view
}
