//! Version discovery, open to everybody: clients ask before they have a token.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::on;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::answers::VERSION;
use super::fault::success;
use super::microversion::{self, Microversion};
use super::openapi::openapi_text;
use super::route::Route;
use super::schema::{ANY_OBJECT, Schema, closed, list_of, required};
use crate::app::Service;

/// When version 3.71, the newest that is spoken, was published.
const UPDATED: &str = "2023-08-31T00:00:00Z";

pub(super) const ROUTES: &[Route] = &[
    Route::get("", |verb| on(verb, show))
        .open()
        .answers(200, &VERSIONS),
    Route::get("/", |verb| on(verb, show))
        .open()
        .answers(200, &VERSIONS),
    Route::get("/openapi.json", |verb| on(verb, document))
        .open()
        .answers(200, &ANY_OBJECT),
];

const VERSIONS: Schema = closed(&[required("versions", list_of(&VERSION))]);

fn versions(service: &Service) -> Value {
    let base = service.config.endpoints.volume.trim_end_matches('/');
    json!({"versions": [{
        "id": "v3.0",
        "status": "CURRENT",
        "version": Microversion::MAX.to_string(),
        "min_version": Microversion::MIN.to_string(),
        "updated": UPDATED,
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": format!("{base}/v3/")},
        ],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"},
        ],
    }]})
}

/// `GET /`
pub(super) async fn list(State(service): State<Service>) -> (StatusCode, Json<Value>) {
    (success::MULTIPLE_CHOICES, Json(versions(&service)))
}

/// `GET /v3/`
pub(super) async fn show(State(service): State<Service>) -> Json<Value> {
    Json(versions(&service))
}

/// `GET /openapi.json`: of the microversion that is asked for, of the newest where none is.
async fn document(headers: HeaderMap, version: Option<Extension<Microversion>>) -> Response {
    let asked = version.filter(|_| headers.contains_key(microversion::HEADER));
    let version = asked.map_or(Microversion::MAX, |Extension(version)| version);
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, openapi_text(version)).into_response()
}
