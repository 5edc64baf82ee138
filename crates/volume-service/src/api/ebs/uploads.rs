//! StartSnapshot, PutSnapshotBlock and CompleteSnapshot.

use std::collections::BTreeMap;

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::asked::{Asked, snapshot_id};
use super::blocks::epoch;
use super::fault::{EbsFault, Result};
use crate::app::Service;
use crate::app::direct::{self, BLOCK_BYTES, StartUpload, Written};
use crate::context::RequestContext;

/// How long nobody may write when nothing is said, in minutes; and what may be said.
const TIMEOUT_DEFAULT: i64 = 60;
const TIMEOUT_MINUTES: std::ops::RangeInclusive<i64> = 10..=4320;
/// Longest description, token and value of a tag, in characters.
const TEXT_MAX: usize = 255;
/// Most tags.
const TAGS_MAX: usize = 50;

pub(super) async fn start(
    service: &Service,
    context: &RequestContext,
    asked: Asked<'_>,
) -> Result<Response> {
    let body: Value = serde_json::from_slice(asked.body).map_err(|_| EbsFault::Schema)?;
    let wanted = read_start(&body)?;
    let (parent, timeout) = (wanted.parent.clone(), wanted.metadata.clone());
    let made = direct::start(service, context, wanted).await?;
    let tags: Vec<Value> = timeout
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    let answer = json!({
        "BlockSize": BLOCK_BYTES,
        "Description": made.description,
        "KmsKeyArn": null,
        "OwnerId": made.project_id,
        "ParentSnapshotId": parent,
        "SnapshotId": made.ec2_id,
        "SseType": null,
        "StartTime": epoch(made.created_at_us),
        "Status": "pending",
        "Tags": tags,
        "VolumeSize": made.size_gib,
    });
    Ok(super::json(StatusCode::CREATED, &answer))
}

fn read_start(body: &Value) -> Result<StartUpload> {
    const KNOWN: [&str; 8] = [
        "VolumeSize",
        "ParentSnapshotId",
        "Tags",
        "Description",
        "ClientToken",
        "Encrypted",
        "KmsKeyArn",
        "Timeout",
    ];
    let body = body.as_object().ok_or(EbsFault::Schema)?;
    if body.keys().any(|key| !KNOWN.contains(&key.as_str())) {
        return Err(EbsFault::Schema);
    }
    let given = |name: &str| body.get(name).filter(|value| !value.is_null());
    let text = |name: &str| match given(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= TEXT_MAX => Ok(Some(text.clone())),
        Some(_) => Err(EbsFault::Schema),
    };
    let number = |name: &str| match given(name) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or(EbsFault::Schema),
    };
    let size = number("VolumeSize")?.ok_or(EbsFault::Schema)?;
    let size_gib = u64::try_from(size).map_err(|_| EbsFault::Schema)?;
    let timeout = number("Timeout")?.unwrap_or(TIMEOUT_DEFAULT);
    if size_gib == 0 || !TIMEOUT_MINUTES.contains(&timeout) {
        return Err(EbsFault::Schema);
    }
    let parent = text("ParentSnapshotId")?;
    if let Some(parent) = &parent {
        snapshot_id(parent)?;
    }
    let encrypted = match given("Encrypted") {
        None => false,
        Some(Value::Bool(wanted)) => *wanted,
        Some(_) => return Err(EbsFault::Schema),
    };
    let has_key = given("KmsKeyArn").is_some();
    if parent.is_some() && has_key {
        return Err(EbsFault::bad_value(
            "ParentSnapshotId and KmsKeyArn cannot be specified together",
        ));
    }
    if parent.is_some() && given("Encrypted").is_some() {
        return Err(EbsFault::bad_value(
            "ParentSnapshotId and Encrypt cannot be specified together",
        ));
    }
    if encrypted || has_key {
        return Err(EbsFault::unsupported(
            "Encrypted snapshots are not supported by this service.",
        ));
    }
    Ok(StartUpload {
        size_gib,
        parent,
        description: text("Description")?.unwrap_or_default(),
        metadata: read_tags(given("Tags"))?,
        // No database takes a zero.
        client_token: match text("ClientToken")? {
            Some(token) if token.contains('\0') => return Err(EbsFault::Schema),
            token => token,
        },
        timeout_s: u32::try_from(timeout * 60).unwrap_or(u32::MAX),
    })
}

fn read_tags(given: Option<&Value>) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    let Some(given) = given else {
        return Ok(tags);
    };
    let given = given.as_array().ok_or(EbsFault::Schema)?;
    let bad = |words: &str| Err(EbsFault::bad_tag(words));
    if given.len() > TAGS_MAX {
        return bad("More than 50 tags specified.");
    }
    for tag in given {
        let text = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default();
        let (key, value) = (text("Key"), text("Value"));
        if key.is_empty() || key.starts_with("aws:") {
            return bad("Tag keys must not be empty, nor start with aws:.");
        }
        if key.chars().count() > 127 || value.chars().count() > TEXT_MAX {
            return bad("A tag has at most 127 characters in its key and 255 in its value.");
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return bad(&format!("Duplicate tag key '{key}' specified."));
        }
    }
    Ok(tags)
}

pub(super) async fn put(
    service: &Service,
    context: &RequestContext,
    asked: Asked<'_>,
) -> Result<Response> {
    let (snapshot, index) = (asked.snapshot()?, asked.block()?);
    let checksum = asked.header("x-amz-checksum").ok_or(EbsFault::Schema)?;
    if asked.header("x-amz-checksum-algorithm") != Some("SHA256") {
        return Err(EbsFault::Schema);
    }
    let announced: u64 = asked
        .header("x-amz-data-length")
        .and_then(|text| text.parse().ok())
        .ok_or(EbsFault::Schema)?;
    if announced != asked.body.len() as u64 {
        let words = format!("Block data length {announced} is not valid, expected {BLOCK_BYTES}");
        return Err(EbsFault::bad_block(words));
    }
    direct::put_block(
        service,
        context,
        snapshot,
        index,
        asked.body.clone(),
        checksum,
    )
    .await?;
    let mut response = super::json(StatusCode::CREATED, &json!({}));
    let headers = response.headers_mut();
    headers.insert(
        "x-amz-checksum-algorithm",
        HeaderValue::from_static("SHA256"),
    );
    if let Ok(value) = HeaderValue::from_str(checksum) {
        headers.insert("x-amz-checksum", value);
    }
    Ok(response)
}

pub(super) async fn complete(
    service: &Service,
    context: &RequestContext,
    asked: Asked<'_>,
) -> Result<Response> {
    let snapshot = asked.completed_snapshot()?;
    let blocks: i32 = asked
        .header("x-amz-changedblockscount")
        .and_then(|text| text.parse().ok())
        .ok_or(EbsFault::Schema)?;
    let blocks = u64::try_from(blocks).map_err(|_| EbsFault::Schema)?;
    let checksum = asked.header("x-amz-checksum");
    let trio = [
        (checksum, "Snapshot checksum"),
        (
            asked.header("x-amz-checksum-algorithm"),
            "Checksum algorithm",
        ),
        (
            asked.header("x-amz-checksum-aggregation-method"),
            "Checksum aggregation method",
        ),
    ];
    if trio.iter().any(|(value, _)| value.is_some())
        && let Some((_, missing)) = trio.iter().find(|(value, _)| value.is_none())
    {
        let words = format!("Invalid parameter combination. {missing} is missing.");
        return Err(EbsFault::bad_value(&words));
    }
    let known = [("SHA256", trio[1].0), ("LINEAR", trio[2].0)];
    if known
        .iter()
        .any(|(word, value)| value.is_some_and(|value| value != *word))
    {
        return Err(EbsFault::Schema);
    }
    let said = Written {
        blocks,
        checksum: checksum.map(str::to_owned),
    };
    direct::complete(service, context, snapshot, said).await?;
    Ok(super::json(
        StatusCode::ACCEPTED,
        &json!({"Status": "pending"}),
    ))
}
