//! The EC2 Query API: actions over volumes, snapshots and zones, signed with version 2 or 4.

mod fault;
mod filters;
mod modifications;
mod page;
pub(super) mod parameters;
mod relayed;
pub(super) mod signature;
mod signature_v2;
mod signature_v4;
mod snapshot_filters;
mod snapshot_list;
mod snapshot_view;
mod snapshots;
mod tags;
pub(super) mod untrusted;
mod volume_filters;
mod volume_list;
mod volume_view;
mod volumes;
mod xml;
mod zones;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;

use super::request::{Api, Refusal, RequestId, frame, observed, read_body};
use crate::app::Service;
use crate::audit::Witness;
use crate::context::RequestContext;

pub(super) use relayed::is_signed;

use fault::{Code, Ec2Fault, Result};
use parameters::Parameters;
use signature::SignedRequest;
use xml::Xml;

/// The API version of a request that names none.
const DEFAULT_VERSION: &str = "2016-11-15";

/// The router of the EC2 listener. Any path will do: old setups say `/services/Cloud`.
pub fn ec2_router(service: Service) -> Router {
    let routes = Router::new()
        .route("/", get(query).post(query))
        .route("/{*path}", get(query).post(query))
        .method_not_allowed_fallback(async |request: Request| {
            refuse(Refusal::Method, &RequestId::of(request.extensions()))
        })
        .with_state(service.clone());
    frame(Api::Ec2, service, observed(routes))
}

/// A refusal of the frame, in this API's clothes.
pub(super) fn refuse(refusal: Refusal, id: &RequestId) -> Response {
    Ec2Fault::Refused(refusal).response(id)
}

/// An authenticated call of an action.
struct Call {
    service: Service,
    context: RequestContext,
    parameters: Parameters,
}

impl Call {
    /// Ends a request that only asks whether it would have been let through.
    fn stop_if_dry(&self) -> Result<()> {
        if self.parameters.boolean("DryRun")? == Some(true) {
            return Err(Ec2Fault::coded(
                Code::DryRunOperation,
                "Request would have succeeded, but DryRun flag is set.",
            ));
        }
        Ok(())
    }
}

async fn query(State(service): State<Service>, request: Request) -> Response {
    let id = RequestId::of(request.extensions());
    match answer(service, request, &id).await {
        Ok(document) => document.into_response(),
        Err(fault) => fault.response(&id),
    }
}

async fn answer(service: Service, request: Request, id: &RequestId) -> Result<Xml> {
    let (parts, body) = request.into_parts();
    let witness = parts
        .extensions
        .get::<Witness>()
        .cloned()
        .unwrap_or_default();
    let body = read_body(&service, body).await.map_err(Ec2Fault::Refused)?;
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default(), &body)?;
    witness.saw_action(parameters.get("Action").unwrap_or_default());
    let request = SignedRequest {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
        body_hash: None,
    };
    let mut context = signature::authenticate(&service, &request, &parameters).await?;
    witness.saw(&context.user_id, &context.project_id);
    id.as_str().clone_into(&mut context.request_id);
    let action = parameters.required("Action")?.to_owned();
    let version = parameters
        .get("Version")
        .filter(|text| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
        .unwrap_or(DEFAULT_VERSION);
    let mut document = Xml::response(&action, version, id);
    let call = Call {
        service,
        context,
        parameters,
    };
    match action.as_str() {
        "CreateVolume" => volumes::create(&call, &mut document).await?,
        "DeleteVolume" => volumes::delete(&call, &mut document).await?,
        "DescribeVolumes" => volume_list::describe(&call, &mut document).await?,
        "ModifyVolume" => modifications::modify(&call, &mut document).await?,
        "DescribeVolumesModifications" => modifications::describe(&call, &mut document).await?,
        "CreateSnapshot" => snapshots::create(&call, &mut document).await?,
        "DeleteSnapshot" => snapshots::delete(&call, &mut document).await?,
        "DescribeSnapshots" => snapshot_list::describe(&call, &mut document).await?,
        "DescribeSnapshotAttribute" => snapshots::describe_attribute(&call, &mut document).await?,
        "DescribeAvailabilityZones" => zones::describe(&call, &mut document).await?,
        _ => {
            let action: String = action.chars().take(64).collect();
            return Err(Ec2Fault::coded(
                Code::InvalidAction,
                format!("The action {action} is not valid for this web service."),
            ));
        }
    }
    document.end();
    Ok(document)
}
