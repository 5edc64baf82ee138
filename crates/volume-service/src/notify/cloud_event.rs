//! An event as it is sent: CloudEvents 1.0 in the structured JSON form, and its signature.
//!
//! Source: CloudEvents specification 1.0.2, and its JSON event format.

use ring::hmac;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Secret;
use crate::db::webhooks::Event;

/// The media type of the structured form.
pub(super) const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// The header with the signature: `t=<seconds since 1970>,v1=<hex>`.
pub const SIGNATURE_HEADER: &str = "xensm-signature";

/// The body that tells an event.
pub(super) fn body(event: &Event, source: &str) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.at_us) * 1000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok());
    let mut data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| json!({}));
    data["project_id"] = json!(event.project_id);
    json!({
        "specversion": "1.0",
        "id": event.id.to_string(),
        "source": source,
        "type": format!("org.xensm.{}", event.kind),
        "subject": format!("{}s/{}", event.resource_type, event.resource_id),
        "time": at,
        "datacontenttype": "application/json",
        "data": data,
    })
    .to_string()
}

/// The value of [`SIGNATURE_HEADER`]: HMAC-SHA256 over the seconds, a dot and the body.
pub fn signature(secret: &Secret, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={seconds},v1={hex}")
}
