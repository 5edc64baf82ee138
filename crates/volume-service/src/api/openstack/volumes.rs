//! Volumes: create, list, show, update, delete.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::paging::Paging;
use super::volume_list::{self, Selection};
use super::volume_view::{VolumeDetail, VolumeSummary};
use crate::app::volumes::{CreateVolume, DeleteMode, UpdateVolume, VolumeQuery};
use crate::app::{Page, Service, attachments, overview, volumes};
use crate::error::{Error, Subject};
use crate::model::id::VolumeId;
use crate::model::volume::Volume;

/// Pages that a summary's metadata is gathered from; a project with more volumes is refused it.
const SUMMARY_PAGES_MAX: usize = 20;

/// What Cinder's create takes; the last two since 3.13 and 3.47.
const CREATE_FIELDS: [&str; 15] = [
    "name",
    "description",
    "display_name",
    "display_description",
    "volume_type",
    "metadata",
    "snapshot_id",
    "source_volid",
    "consistencygroup_id",
    "size",
    "availability_zone",
    "multiattach",
    "image_id",
    "imageRef",
    "group_id",
];

/// The fields that ask for a source or a grouping that is not built, and what the refusal calls them.
const UNBUILT_FIELDS: [(&str, &str); 8] = [
    ("snapshot_id", "Creating a volume from a snapshot"),
    ("source_volid", "Creating a volume from another volume"),
    ("image_id", "Creating a volume from an image"),
    ("imageRef", "Creating a volume from an image"),
    ("backup_id", "Creating a volume from a backup"),
    (
        "consistencygroup_id",
        "Creating a volume in a consistency group",
    ),
    ("group_id", "Creating a volume in a group"),
    ("source_replica", "Creating a volume from a replica"),
];

/// The volume that a path names; what is no uuid cannot exist.
pub(super) fn volume_id(text: &str) -> Result<VolumeId> {
    text.parse()
        .map_err(|_| Error::not_found(Subject::Volume, text).into())
}

/// `POST /volumes`
pub(super) async fn create(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>)> {
    let top = Fields::top(&body);
    top.only(&["volume", "OS-SCH-HNT:scheduler_hints"])?;
    let wanted = wanted_volume(&caller, top.object("volume")?)?;
    let volume = volumes::create(&service, &caller.context, wanted).await?;
    let view = json!({"volume": VolumeDetail::new(&caller, &volume, &[])});
    Ok((success::ACCEPTED, Json(view)))
}

fn wanted_volume(caller: &Caller, fields: Fields<'_>) -> Result<CreateVolume> {
    if caller.version.at_least(53) {
        let mut allowed = CREATE_FIELDS.to_vec();
        allowed.push("backup_id");
        fields.only(&allowed)?;
    }
    if let Some((_, what)) = UNBUILT_FIELDS
        .iter()
        .find(|(field, _)| fields.value(field).is_some_and(|value| *value != json!("")))
    {
        return Err(Fault::not_supported(what));
    }
    if let Some(Value::Bool(true)) = fields.value("multiattach") {
        return Err(Fault::not_supported("Attaching a volume more than once"));
    }
    let name = fields.text("name")?.or(fields.text("display_name")?);
    let description = fields
        .text("description")?
        .or(fields.text("display_description")?);
    let size_gib = fields.size("size")?.ok_or_else(|| {
        Fault::BadRequest(
            "Invalid input received: Volume size 'None' must be an integer and greater than 0"
                .to_owned(),
        )
    })?;
    Ok(CreateVolume {
        name: name.unwrap_or_default().trim().to_owned(),
        description: description.unwrap_or_default().trim().to_owned(),
        size_gib,
        flavor: fields
            .text("volume_type")?
            .filter(|flavor| !flavor.is_empty())
            .map(str::to_owned),
        zone: fields.text("availability_zone")?.map(str::to_owned),
        metadata: fields.metadata("metadata")?.unwrap_or_default(),
        client_token: None,
        ..CreateVolume::default()
    })
}

/// `GET /volumes`
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging).await?;
    let views: Vec<_> = page
        .items
        .iter()
        .map(|volume| VolumeSummary::new(&caller, volume))
        .collect();
    Ok(listed(&caller, &paging, &page, "volumes", &views))
}

/// `GET /volumes/detail`
pub(super) async fn detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging).await?;
    let ids: Vec<_> = page.items.iter().map(|volume| volume.id).collect();
    let attached = if ids.is_empty() {
        Vec::new()
    } else {
        attachments::of_volumes(&service, &caller.context, &ids).await?
    };
    let views: Vec<_> = page
        .items
        .iter()
        .map(|volume| VolumeDetail::new(&caller, volume, &attached))
        .collect();
    Ok(listed(&caller, &paging, &page, "volumes/detail", &views))
}

async fn select(service: &Service, caller: &Caller, paging: &mut Paging) -> Result<Page<Volume>> {
    let nothing = |total| Page {
        items: Vec::new(),
        has_more: false,
        total,
    };
    match volume_list::read(caller, paging)? {
        Selection::Nothing => Ok(nothing(Some(0))),
        Selection::Query(query) if query.limit == Some(0) && !query.with_total => Ok(nothing(None)),
        Selection::Query(query) => Ok(volumes::list(service, &caller.context, query).await?),
    }
}

fn listed<T: Serialize>(
    caller: &Caller,
    paging: &Paging,
    page: &Page<Volume>,
    path: &str,
    views: &[T],
) -> Json<Value> {
    let mut body = json!({"volumes": views});
    if page.has_more
        && let Some(last) = page.items.last()
    {
        let next = caller.links.next(path, &paging.query, &last.id.to_string());
        body["volumes_links"] = json!(next);
    }
    let counted = paging
        .query
        .iter()
        .any(|(name, _)| name == "with_count" && caller.version.at_least(45));
    if let Some(total) = page.total.filter(|_| counted) {
        body["count"] = json!(total);
    }
    Json(body)
}

/// `GET /volumes/summary` (3.12; the distinct metadata since 3.36)
pub(super) async fn summary(State(service): State<Service>, caller: Caller) -> Result<Json<Value>> {
    caller.version.needs(12)?;
    let usage = overview::usage(&service, &caller.context).await?;
    let mut view = json!({
        "total_count": usage.volumes,
        "total_size": usage.gigabytes,
    });
    if caller.version.at_least(36) {
        view["metadata"] = json!(distinct_metadata(&service, &caller).await?);
    }
    Ok(Json(json!({"volume-summary": view})))
}

async fn distinct_metadata(
    service: &Service,
    caller: &Caller,
) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut query = VolumeQuery::default();
    for _ in 0..SUMMARY_PAGES_MAX {
        let page = volumes::list(service, &caller.context, query.clone()).await?;
        query.marker = page.items.last().map(|volume| volume.id);
        for volume in page.items {
            for (key, value) in volume.metadata {
                found.entry(key).or_default().insert(value);
            }
        }
        if !page.has_more {
            return Ok(found);
        }
    }
    Err(Fault::not_supported(
        "A metadata summary of so many volumes",
    ))
}

/// `GET /volumes/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let volume = volumes::get(&service, &caller.context, volume_id(&id)?).await?;
    shown(&service, &caller, &volume).await
}

async fn shown(service: &Service, caller: &Caller, volume: &Volume) -> Result<Json<Value>> {
    let attached = attachments::of_volumes(service, &caller.context, &[volume.id]).await?;
    let view = VolumeDetail::new(caller, volume, &attached);
    Ok(Json(json!({ "volume": view })))
}

/// `PUT /volumes/{id}`
pub(super) async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let top = Fields::top(&body);
    top.only(&["volume"])?;
    let fields = top.object("volume")?;
    fields.only(&[
        "name",
        "description",
        "display_name",
        "display_description",
        "metadata",
    ])?;
    if fields.is_empty() && caller.version.at_least(53) {
        return Err(Fault::BadRequest(
            "Invalid input for field/attribute volume. Value: {}. {} is not valid under any of the given schemas"
                .to_owned(),
        ));
    }
    // Null clears a name, absence leaves it.
    let changed = |key: &str, old_key: &str| -> Result<Option<String>> {
        for key in [key, old_key] {
            if fields.has(key) {
                return Ok(Some(
                    fields.text(key)?.unwrap_or_default().trim().to_owned(),
                ));
            }
        }
        Ok(None)
    };
    let change = UpdateVolume {
        name: changed("name", "display_name")?,
        description: changed("description", "display_description")?,
        metadata: fields.metadata("metadata")?,
    };
    let volume = volumes::update(&service, &caller.context, volume_id(&id)?, change).await?;
    shown(&service, &caller, &volume).await
}

/// `DELETE /volumes/{id}`; `cascade` is accepted because there are no snapshots, `force` since 3.23.
pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode> {
    let force = caller.version.at_least(23)
        && form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .any(|(name, value)| name == "force" && value.eq_ignore_ascii_case("true"));
    let mode = if force {
        DeleteMode::Force
    } else {
        DeleteMode::Normal
    };
    volumes::delete(&service, &caller.context, volume_id(&id)?, mode).await?;
    Ok(success::ACCEPTED)
}
