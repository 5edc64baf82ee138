//! Volumes: create, list, show, update, delete.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use axum::routing::on;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::answers::{LINKS, METADATA_VALUES, VOLUME, VOLUME_SUMMARY};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::filter_values;
use super::groups::group_id;
use super::paging::Paging;
use super::route::Route;
use super::schema::{
    ANY_OBJECT, BOOLEAN, FILLED_TEXT, METADATA, NAME, SIZE, Schema, UUID, closed, closed_since,
    field, integer, list_of, required, text,
};
use super::volume_list::{self, LIST_QUERY, Selection};
use super::volume_view::{Listed, Shown, VolumeDetail, VolumeSummary, written};
use crate::app::volume_summary::{self, Summary};
use crate::app::volumes::{CreateVolume, DeleteMode, UpdateVolume, VolumeSource};
use crate::app::{Page, Service, attachments, volumes};
use crate::auth::rule::Rule;
use crate::error::{Error, Subject};
use crate::model::attachment::Attachment;
use crate::model::id::{SnapshotId, VolumeId};
use crate::model::volume::{Volume, VolumeStatus};

/// The size that means the source's.
const SIZE_OF_SOURCE: u64 = 0;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/volumes", |verb| on(verb, list))
        .rule(Rule::VolumeGetAll)
        .query(&LIST_QUERY)
        .answers(200, &LISTED),
    Route::get("/volumes/detail", |verb| on(verb, detail))
        .rule(Rule::VolumeGetAll)
        .query(&LIST_QUERY)
        .answers(200, &DETAILED),
    Route::get("/volumes/summary", |verb| on(verb, summary))
        .rule(Rule::VolumeGetAll)
        .since(12)
        .query(&LIST_QUERY)
        .answers(200, &SUMMARY),
    Route::post("/volumes", |verb| on(verb, create))
        .rule(Rule::VolumeCreate)
        .body(&CREATE)
        .answers(202, &ONE),
    Route::get("/volumes/{id}", |verb| on(verb, show))
        .rule(Rule::VolumeGet)
        .answers(200, &ONE),
    Route::put("/volumes/{id}", |verb| on(verb, update))
        .rule(Rule::VolumeUpdate)
        .body(&UPDATE)
        .answers(200, &ONE),
    Route::delete("/volumes/{id}", |verb| on(verb, delete))
        .rule(Rule::VolumeDelete)
        .query(&[field("cascade", BOOLEAN), field("force", BOOLEAN).since(23)])
        .status(202),
];

const LISTED: Schema = closed(&[
    required("volumes", list_of(&VOLUME_SUMMARY)),
    field("volumes_links", LINKS),
    field("count", integer(0, i64::MAX)).since(45),
]);
const DETAILED: Schema = closed(&[
    required("volumes", list_of(&VOLUME)),
    field("volumes_links", LINKS),
    field("count", integer(0, i64::MAX)).since(45),
]);
const ONE: Schema = closed(&[required("volume", VOLUME)]);
const SUMMARY: Schema = closed(&[required(
    "volume-summary",
    closed(&[
        required("total_count", integer(0, i64::MAX)),
        required("total_size", integer(0, i64::MAX)),
        field("metadata", METADATA_VALUES).since(36),
    ]),
)]);

/// What a creation takes; unknown fields are refused since 3.53.
pub(super) const CREATE: Schema = closed(&[
    required(
        "volume",
        closed_since(
            53,
            &[
                field("name", NAME),
                field("description", NAME),
                field("display_name", NAME),
                field("display_description", NAME),
                field("volume_type", NAME),
                field("metadata", Schema::OrNull(&METADATA)),
                field("snapshot_id", SOURCE),
                field("source_volid", SOURCE),
                field("consistencygroup_id", SOURCE),
                field("size", Schema::OrNull(&SIZE)),
                field("availability_zone", Schema::OrNull(&FILLED_TEXT)),
                field("multiattach", Schema::OrNull(&BOOLEAN)),
                field("image_id", NAME),
                field("imageRef", NAME),
                field("group_id", NAME).since(13),
                field("backup_id", SOURCE).since(47),
            ],
        ),
    ),
    field("OS-SCH-HNT:scheduler_hints", Schema::OrNull(&ANY_OBJECT)),
]);

/// The uuid of a source; clients send an empty text for none.
const SOURCE: Schema = Schema::OrNull(&Schema::OneOf(&[UUID, text(0, 0)]));

/// What an update takes; one of them since 3.53.
pub(super) const UPDATE: Schema = closed(&[required(
    "volume",
    closed(&[
        field("name", NAME),
        field("description", NAME),
        field("display_name", NAME),
        field("display_description", NAME),
        field("metadata", METADATA),
    ])
    .some_of_since(53),
)]);

/// The fields that ask for a source that is not built, and what the refusal calls them.
const UNBUILT_FIELDS: [(&str, &str); 1] = [("source_replica", "Creating a volume from a replica")];

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
) -> Result<(StatusCode, Response)> {
    let wanted = wanted(&Fields::top(&body))?;
    let volume = volumes::create(&service, &caller.context, wanted).await?;
    let volume = VolumeDetail::changed(&caller, &volume, &[]);
    Ok((success::ACCEPTED, written(&Shown { volume }, 1)?))
}

/// Reads the body of a creation.
pub(super) fn wanted(top: &Fields<'_>) -> Result<CreateVolume> {
    let fields = top.object("volume")?;
    if let Some((_, what)) = UNBUILT_FIELDS
        .iter()
        .find(|(field, _)| fields.value(field).is_some_and(|value| *value != json!("")))
    {
        return Err(Fault::not_supported(what));
    }
    refuse_absent_sources(&fields)?;
    let name = fields.text("name")?.or(fields.text("display_name")?);
    let description = fields
        .text("description")?
        .or(fields.text("display_description")?);
    let source = wanted_source(fields)?;
    let named = |key| fields.value(key).and_then(Value::as_str);
    // The one of the consistency group API, and the one of its successor; the latter wins, as in Cinder.
    let group = named("group_id").or(named("consistencygroup_id"));
    let group_id = match group.filter(|id| !id.is_empty()) {
        Some(id) => Some(group_id(id)?),
        None => None,
    };
    let size_gib = match fields.size("size")? {
        Some(size_gib) => size_gib,
        None if source != VolumeSource::Blank => SIZE_OF_SOURCE,
        None => {
            return Err(Fault::BadRequest(
                "Invalid input received: Volume size 'None' must be an integer and greater than 0"
                    .to_owned(),
            ));
        }
    };
    Ok(CreateVolume {
        name: name.unwrap_or_default().trim().to_owned(),
        description: description.unwrap_or_default().trim().to_owned(),
        size_gib,
        source,
        flavor: fields
            .text("volume_type")?
            .filter(|flavor| !flavor.is_empty())
            .map(str::to_owned),
        zone: fields.text("availability_zone")?.map(str::to_owned),
        group_id,
        metadata: fields.metadata("metadata")?.unwrap_or_default(),
        ..CreateVolume::default()
    })
}

/// Refuses images and backups, of which there are none, and what types say since 3.50, as Cinder does.
fn refuse_absent_sources(fields: &Fields<'_>) -> Result<()> {
    let named = |key: &str| fields.value(key).is_some_and(|value| *value != json!(""));
    if named("imageRef") || named("image_id") {
        return Err(Fault::BadRequest(
            "Invalid image identifier or unable to access requested image.".to_owned(),
        ));
    }
    if let Some(backup) = fields.value("backup_id").filter(|id| **id != json!("")) {
        let id: String = backup
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(64)
            .collect();
        return Err(Fault::NoBackup(id));
    }
    if fields.boolean("multiattach")? == Some(true) {
        return Err(Fault::BadRequest(
            "multiattach parameter has been removed. The default behavior is to use multiattach enabled volume types. Contact \
             your administrator to create a multiattach enabled volume type and use it to create multiattach volumes."
                .to_owned(),
        ));
    }
    Ok(())
}

fn wanted_source(fields: Fields<'_>) -> Result<VolumeSource> {
    let named = |key| match fields.value(key) {
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        _ => fields.uuid(key),
    };
    match (named("snapshot_id")?, named("source_volid")?) {
        (None, None) => Ok(VolumeSource::Blank),
        (Some(id), None) => Ok(VolumeSource::Snapshot(SnapshotId(id))),
        (None, Some(id)) => Ok(VolumeSource::Volume(VolumeId(id))),
        (Some(_), Some(_)) => Err(Fault::BadRequest(
            "Invalid input received: A volume is made from a snapshot or from a volume, not from both."
                .to_owned(),
        )),
    }
}

/// `GET /volumes`
pub(super) async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging).await?;
    let views: Vec<_> = page
        .items
        .iter()
        .map(|volume| VolumeSummary::new(&caller, volume))
        .collect();
    listed(&caller, &paging, &page, "volumes", &views)
}

/// `GET /volumes/detail`
pub(super) async fn detail(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let mut paging = Paging::of(query.as_deref())?;
    let page = select(&service, &caller, &mut paging).await?;
    let attached = attached_to(&service, &caller, &page.items).await?;
    let views: Vec<_> = page
        .items
        .iter()
        .map(|volume| VolumeDetail::new(&caller, volume, &attached))
        .collect();
    listed(&caller, &paging, &page, "volumes/detail", &views)
}

/// The attachments of those volumes that may have any.
async fn attached_to(
    service: &Service,
    caller: &Caller,
    volumes: &[Volume],
) -> Result<Vec<Attachment>> {
    let ids: Vec<_> = volumes
        .iter()
        // A volume in these states has none, which the transaction that gives it the state has seen to.
        .filter(|volume| match volume.status {
            VolumeStatus::Creating | VolumeStatus::Available => volume.traits.is_hand_set,
            _ => true,
        })
        .map(|volume| volume.id)
        .collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(attachments::of_volumes(service, &caller.context, &ids).await?)
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
    volumes: &[T],
) -> Result<Response> {
    let last = page.items.last().filter(|_| paging.leads_on(page));
    let volumes_links =
        last.map(|last| caller.links.next(path, &paging.query, &last.id.to_string()));
    let counted = paging
        .query
        .iter()
        .any(|(name, _)| name == "with_count" && caller.version.at_least(45));
    let list = Listed {
        volumes,
        volumes_links,
        count: page.total.filter(|_| counted),
    };
    written(&list, volumes.len())
}

/// `GET /volumes/summary` (3.12; the distinct metadata since 3.36), of what a list with the same filters would show.
pub(super) async fn summary(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let mut paging = Paging::of(query.as_deref())?;
    let with_metadata = caller.version.at_least(36);
    let summary = match volume_list::read(&caller, &mut paging)? {
        Selection::Nothing => Summary {
            metadata: with_metadata.then(BTreeMap::new),
            ..Summary::default()
        },
        Selection::Query(query) => {
            volume_summary::summarize(&service, &caller.context, query, with_metadata).await?
        }
    };
    let mut view = json!({
        "total_count": summary.count,
        "total_size": summary.size_gib,
    });
    if let Some(metadata) = summary.metadata {
        view["metadata"] = json!(metadata);
    }
    Ok(Json(json!({"volume-summary": view})))
}

/// `GET /volumes/{id}`
pub(super) async fn show(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response> {
    let volume = volumes::get(&service, &caller.context, volume_id(&id)?).await?;
    shown(&service, &caller, &volume).await
}

async fn shown(service: &Service, caller: &Caller, volume: &Volume) -> Result<Response> {
    let attached = attached_to(service, caller, std::slice::from_ref(volume)).await?;
    let volume = VolumeDetail::new(caller, volume, &attached);
    written(&Shown { volume }, 1)
}

/// `PUT /volumes/{id}`
pub(super) async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response> {
    let change = wanted_change(&Fields::top(&body))?;
    let volume = volumes::update(&service, &caller.context, volume_id(&id)?, change).await?;
    let attached = attached_to(&service, &caller, std::slice::from_ref(&volume)).await?;
    let volume = VolumeDetail::changed(&caller, &volume, &attached);
    written(&Shown { volume }, 1)
}

/// Reads the body of an update.
pub(super) fn wanted_change(top: &Fields<'_>) -> Result<UpdateVolume> {
    let fields = top.object("volume")?;
    Ok(UpdateVolume {
        name: fields.changed_text("name", "display_name")?,
        description: fields.changed_text("description", "display_description")?,
        metadata: fields.metadata("metadata")?,
    })
}

/// `DELETE /volumes/{id}`; with `cascade` its snapshots go with it, `force` since 3.23.
pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode> {
    let query = query.unwrap_or_default();
    let says = |key: &str| -> Result<bool> {
        match form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key) {
            Some((_, value)) => filter_values::boolean(key, &value),
            None => Ok(false),
        }
    };
    let mode = if caller.version.at_least(23) && says("force")? {
        DeleteMode::Force
    } else if says("cascade")? {
        DeleteMode::Cascade
    } else {
        DeleteMode::Normal
    };
    volumes::delete(&service, &caller.context, volume_id(&id)?, mode).await?;
    Ok(success::ACCEPTED)
}
