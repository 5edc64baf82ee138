//! Version discovery of the Identity API.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::openstack::fault::success;
use crate::app::Service;

fn version(service: &Service) -> Value {
    let base = service.config.endpoints.identity.trim_end_matches('/');
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/v3/")}],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"},
        ],
    })
}

/// `GET /`
pub(super) async fn list(State(service): State<Service>) -> (StatusCode, Json<Value>) {
    let versions = json!({"versions": {"values": [version(&service)]}});
    (success::MULTIPLE_CHOICES, Json(versions))
}

/// `GET /v3`
pub(super) async fn show(State(service): State<Service>) -> Json<Value> {
    Json(json!({"version": version(&service)}))
}
