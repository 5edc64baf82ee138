//! Services: what serves the volumes of a zone and what schedules, and administrators who stop them.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::on;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::timestamp;
use super::answers::{SERVICE, SERVICE_CHANGED};
use super::body::{Fields, JsonBody};
use super::caller::Caller;
use super::fault::{Fault, Result, success};
use super::route::Route;
use super::schema::{FILLED_TEXT, NAME, Pattern, Schema, TEXT, closed, field, list_of, required};
use crate::app::services::{self, Freeze, ServiceStatus, Usability};
use crate::app::{Service, backends};
use crate::auth::rule::Rule;
use crate::db::service_states::VOLUME_BINARY;
use crate::model::backend::{Backend, BackendState, BackendUse};

/// The microversions of clusters, of failing over by another path, and of a backend's state.
const CLUSTER_SINCE: u16 = 7;
const FAILOVER_SINCE: u16 = 26;
const BACKEND_STATE_SINCE: u16 = 49;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/os-services", |verb| on(verb, list))
        .rule(Rule::ServicesIndex)
        .query(&[field("binary", TEXT), field("host", TEXT)])
        .answers(200, &closed(&[required("services", list_of(&SERVICE))])),
    Route::put("/os-services/enable", |verb| on(verb, enable))
        .rule(Rule::ServicesUpdate)
        .body(&WHICH)
        .answers(200, &SERVICE_CHANGED),
    Route::put("/os-services/disable", |verb| on(verb, disable))
        .rule(Rule::ServicesUpdate)
        .body(&WHICH)
        .answers(200, &SERVICE_CHANGED),
    Route::put("/os-services/disable-log-reason", |verb| {
        on(verb, disable_with_reason)
    })
    .rule(Rule::ServicesUpdate)
    .body(&WHICH_AND_WHY)
    .answers(200, &SERVICE_CHANGED),
    Route::put("/os-services/freeze", |verb| on(verb, freeze))
        .rule(Rule::VolumeFreezeHost)
        .body(&HOST_ONLY),
    Route::put("/os-services/thaw", |verb| on(verb, thaw))
        .rule(Rule::VolumeThawHost)
        .body(&HOST_ONLY),
    Route::put("/os-services/failover_host", |verb| on(verb, fail_over))
        .rule(Rule::VolumeFailoverHost)
        .body(&FAILOVER)
        .status(202)
        .refused(),
    Route::put("/os-services/failover", |verb| on(verb, fail_over))
        .rule(Rule::VolumeFailoverHost)
        .since(FAILOVER_SINCE)
        .body(&FAILOVER)
        .status(202)
        .refused(),
];

const WHICH: Schema = closed(&[
    field("binary", FILLED_TEXT),
    field("service", FILLED_TEXT),
    field("host", HOST),
    field("cluster", NAME),
]);
const WHICH_AND_WHY: Schema = closed(&[
    field("binary", FILLED_TEXT),
    field("service", FILLED_TEXT),
    field("host", HOST),
    field("cluster", NAME),
    field("disabled_reason", FILLED_TEXT),
]);
const HOST_ONLY: Schema = closed(&[field("host", HOST), field("cluster", NAME)]);
const FAILOVER: Schema = closed(&[
    field("host", HOST),
    field("cluster", NAME),
    field("backend_id", NAME),
]);
/// What Cinder takes for the name of a host, with or without a pool.
pub(super) const HOST: Schema = Schema::OrNull(&Schema::Text {
    min: 1,
    max: 255,
    pattern: Some(Pattern {
        expression: "^[a-zA-Z0-9-._#@:/+\\[\\]]*$",
        matches: |text| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._#@:/+[]".contains(&b))
        },
    }),
});

/// `GET /os-services`
async fn list(
    State(service): State<Service>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>> {
    let found = services::list(&service, &caller.context).await?;
    let backends = if caller.version.at_least(BACKEND_STATE_SINCE) {
        backends::list(&service, &caller.context, None).await?
    } else {
        Vec::new()
    };
    let query = query.unwrap_or_default();
    let wanted = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.into_owned())
    };
    let (binary, host) = (wanted("binary"), wanted("host"));
    let views: Vec<_> = found
        .iter()
        .filter(|one| binary.as_ref().is_none_or(|name| *name == one.binary))
        .filter(|one| host.as_ref().is_none_or(|name| one.is_on(name)))
        .map(|one| view(&caller, one, &backends))
        .collect();
    Ok(Json(json!({ "services": views })))
}

fn view(caller: &Caller, status: &ServiceStatus, backends: &[Backend]) -> Value {
    let mut view = json!({
        "binary": status.binary,
        "host": status.host,
        "zone": status.zone,
        "status": if status.is_disabled { "disabled" } else { "enabled" },
        "state": up_or_down(status.is_up),
        "updated_at": timestamp::openstack(status.updated_at_us),
        "disabled_reason": status.reason,
    });
    if caller.version.at_least(CLUSTER_SINCE) {
        view["cluster"] = Value::Null;
    }
    if status.binary == VOLUME_BINARY {
        view["replication_status"] = json!("disabled");
        view["active_backend_id"] = Value::Null;
        view["frozen"] = json!(status.is_frozen);
        if caller.version.at_least(BACKEND_STATE_SINCE) {
            let is_usable = |one: &Backend| {
                one.zone == status.zone
                    && one.state == BackendState::Connected
                    && one.usage == BackendUse::Enabled
            };
            view["backend_state"] = json!(up_or_down(backends.iter().any(is_usable)));
        }
    }
    view
}

fn up_or_down(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

/// `PUT /os-services/enable`
async fn enable(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let which = Which::of(Fields::top(&body))?;
    let (binary, host) = (which.known_as(), which.host);
    services::set_usability(&service, &caller.context, binary, host, Usability::Enabled).await?;
    Ok(Json(which.view("enabled", false)))
}

/// `PUT /os-services/disable`
async fn disable(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let which = Which::of(Fields::top(&body))?;
    which.disable(&service, &caller, "").await?;
    Ok(Json(which.view("disabled", true)))
}

/// `PUT /os-services/disable-log-reason`
async fn disable_with_reason(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>> {
    let fields = Fields::top(&body);
    let which = Which::of(fields)?;
    let reason = fields.text("disabled_reason")?;
    if reason.is_some_and(|text| text.trim().is_empty()) {
        return Err(Fault::BadRequest(
            "Invalid input received: Disabled reason contains invalid characters or is too long."
                .to_owned(),
        ));
    }
    which
        .disable(&service, &caller, reason.unwrap_or_default())
        .await?;
    let mut view = which.view("disabled", true);
    view["disabled_reason"] = json!(reason);
    Ok(Json(view))
}

/// Which service a request is about.
#[derive(Clone, Copy)]
struct Which<'a> {
    host: &'a str,
    binary: &'a str,
    /// The old name of the field `binary`.
    service: &'a str,
}

impl<'a> Which<'a> {
    fn of(fields: Fields<'a>) -> Result<Self> {
        let binary = fields.text("binary")?.unwrap_or_default();
        let service = fields.text("service")?.unwrap_or_default();
        if binary.is_empty() && service.is_empty() {
            return Err(fields.missing("binary"));
        }
        Ok(Which {
            host: host(fields)?,
            binary,
            service,
        })
    }

    fn known_as(&self) -> &'a str {
        if self.binary.is_empty() {
            self.service
        } else {
            self.binary
        }
    }

    async fn disable(&self, service: &Service, caller: &Caller, reason: &str) -> Result<()> {
        let usability = Usability::Disabled {
            reason: reason.to_owned(),
        };
        let (binary, context) = (self.known_as(), &caller.context);
        Ok(services::set_usability(service, context, binary, self.host, usability).await?)
    }

    fn view(&self, status: &str, is_disabled: bool) -> Value {
        json!({
            "host": self.host,
            "service": self.service,
            "binary": self.binary,
            "status": status,
            "disabled": is_disabled,
        })
    }
}

fn host(fields: Fields<'_>) -> Result<&str> {
    if fields.value("cluster").is_some() {
        return Err(Fault::BadRequest(
            "Invalid input received: There are no clusters.".to_owned(),
        ));
    }
    fields.text("host")?.ok_or_else(|| {
        Fault::BadRequest(
            "Invalid input received: One and only one of cluster and host must be set.".to_owned(),
        )
    })
}

/// `PUT /os-services/freeze`
async fn freeze(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let host = host(Fields::top(&body))?;
    services::set_frozen(&service, &caller.context, host, Freeze::Frozen).await?;
    Ok(success::OK)
}

/// `PUT /os-services/thaw`
async fn thaw(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let host = host(Fields::top(&body))?;
    services::set_frozen(&service, &caller.context, host, Freeze::Thawed).await?;
    Ok(success::OK)
}

/// `PUT /os-services/failover_host`: there is no replication, which Cinder refuses in these words.
async fn fail_over(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<StatusCode> {
    let host = host(Fields::top(&body))?;
    let found = services::list(&service, &caller.context).await?;
    let is_known = found
        .iter()
        .any(|one| one.binary == VOLUME_BINARY && one.host == host);
    let why = if is_known {
        "Host status must be enabled or failed-over.".to_owned()
    } else {
        format!("No {VOLUME_BINARY} service could be found with parameters: host={host}.")
    };
    Err(Fault::BadRequest(format!("Invalid input received: {why}")))
}
