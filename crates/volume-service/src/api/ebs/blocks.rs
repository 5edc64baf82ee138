//! ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock.

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::asked::Asked;
use super::fault::{EbsFault, Result};
use crate::app::Service;
use crate::app::direct::{self, BLOCK_BYTES, Block, BlockPage, ChangedBlock};
use crate::context::RequestContext;

pub(super) async fn list(
    service: &Service,
    context: &RequestContext,
    asked: Asked<'_>,
) -> Result<Response> {
    let (snapshot, paging) = (asked.snapshot()?, asked.paging()?);
    let page = direct::list_blocks(service, context, snapshot, paging).await?;
    Ok(listed(
        "Blocks",
        &page,
        |block: &Block| json!({"BlockIndex": block.index, "BlockToken": block.token}),
    ))
}

pub(super) async fn list_changed(
    service: &Service,
    context: &RequestContext,
    asked: Asked<'_>,
) -> Result<Response> {
    let (first, second) = (asked.first_snapshot()?, asked.snapshot()?);
    let paging = asked.paging()?;
    let page = direct::list_changed(service, context, first, second, paging).await?;
    Ok(listed("ChangedBlocks", &page, |block: &ChangedBlock| {
        let mut shown = Map::from_iter([("BlockIndex".to_owned(), json!(block.index))]);
        for (name, token) in [
            ("FirstBlockToken", &block.first),
            ("SecondBlockToken", &block.second),
        ] {
            if let Some(token) = token {
                shown.insert(name.to_owned(), json!(token));
            }
        }
        Value::Object(shown)
    }))
}

/// An empty list says nothing of the snapshot: AWS leaves that out.
fn listed<T>(name: &str, page: &BlockPage<T>, show: impl Fn(&T) -> Value) -> Response {
    let blocks: Vec<Value> = page.blocks.iter().map(show).collect();
    let mut answer = Map::new();
    if !blocks.is_empty() {
        answer.insert("BlockSize".to_owned(), json!(BLOCK_BYTES));
        answer.insert("VolumeSize".to_owned(), json!(page.size_gib));
        answer.insert("ExpiryTime".to_owned(), epoch(page.expiry_us));
    }
    if let Some(next) = &page.next {
        answer.insert("NextToken".to_owned(), json!(next));
    }
    answer.insert(name.to_owned(), Value::Array(blocks));
    super::json(StatusCode::OK, &Value::Object(answer))
}

/// Seconds since 1970, to the millisecond.
pub(super) fn epoch(us: i64) -> Value {
    json!((us / 1000) as f64 / 1000.0)
}

pub(super) async fn get(
    service: &Service,
    context: &RequestContext,
    asked: Asked<'_>,
) -> Result<Response> {
    let (snapshot, index) = (asked.snapshot()?, asked.block()?);
    let token = asked.token("blockToken")?.ok_or(EbsFault::Schema)?;
    let read = direct::get_block(service, context, snapshot, index, token).await?;
    let checksum = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &read.bytes));
    let length = read.bytes.len();
    let mut response = Response::new(Body::from(read.bytes));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert("x-amz-data-length", HeaderValue::from(length));
    headers.insert(
        "x-amz-checksum-algorithm",
        HeaderValue::from_static("SHA256"),
    );
    if let Ok(value) = HeaderValue::from_str(&checksum) {
        headers.insert("x-amz-checksum", value);
    }
    Ok(response)
}
