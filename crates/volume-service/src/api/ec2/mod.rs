//! The EC2 Query API: actions over volumes, snapshots, tags and zones, signed with version 2 or 4. The table of actions is in `route.rs`.

mod accounts;
mod attachments;
mod copy_snapshot;
mod copy_volumes;
mod create_snapshots;
pub(super) mod fault;
mod filters;
mod ids;
mod instance_filters;
mod instance_status;
mod instance_types;
mod instance_view;
mod instances;
mod locks;
mod modifications;
mod page;
pub(super) mod parameters;
mod performance;
mod public_access;
mod recycle_bin;
mod regions;
mod relayed;
mod route;
mod schema;
mod settings;
mod sharing;
pub(super) mod signature;
mod signature_v2;
mod signature_v4;
mod snapshot_filters;
mod snapshot_list;
mod snapshot_view;
mod snapshots;
mod storage_tiers;
mod sts;
mod table;
mod tag_actions;
mod tag_list;
mod tags;
pub(super) mod untrusted;
mod versions;
mod volume_attributes;
mod volume_filters;
mod volume_list;
mod volume_status;
mod volume_view;
mod volumes;
mod wildcard;
mod words;
mod xml;
mod zones;

#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;

use super::ebs;
use super::request::{Api, REQUEST_DEADLINE, Refusal, RequestId, frame, observed, read_body};
use crate::app::Service;
use crate::audit::Witness;

pub(super) use relayed::is_signed;
pub use table::ec2_table;

use fault::{Ec2Fault, Result};
use parameters::Parameters;
use route::{Action, Call};
use signature::SignedRequest;
use xml::Xml;

/// The router of the EC2 listener. Any path will do but those of the EBS direct APIs: old setups say `/services/Cloud`.
pub fn ec2_router(service: Service) -> Router {
    let routes = Router::new()
        .route("/", get(query).post(query))
        .route("/{*path}", get(query).post(query))
        .method_not_allowed_fallback(async |request: Request| {
            refuse(Refusal::Method, &RequestId::of(request.extensions()))
        })
        .merge(ebs::routes())
        .with_state(service.clone());
    frame(Api::Ec2, service, observed(routes))
}

/// A refusal of the frame, in this API's clothes.
pub(super) fn refuse(refusal: Refusal, id: &RequestId) -> Response {
    Ec2Fault::Refused(refusal).response(id)
}

async fn query(State(service): State<Service>, request: Request) -> Response {
    if ebs::owns(request.uri().path()) {
        return ebs::refuse(Refusal::NoRoute);
    }
    let id = RequestId::of(request.extensions());
    match answer(service, request, &id).await {
        Ok(answer) => answer,
        Err(fault) => fault.response(&id),
    }
}

/// Runs an action to its end, and one that only reads for as long as somebody waits for it.
async fn until_deadline(action: &Action, running: impl Future<Output = Result<()>>) -> Result<()> {
    if !action.name.starts_with("Describe") {
        return running.await;
    }
    let ended = tokio::time::timeout(REQUEST_DEADLINE, running).await;
    ended.unwrap_or(Err(Ec2Fault::Refused(Refusal::Deadline)))
}

async fn answer(service: Service, request: Request, id: &RequestId) -> Result<Response> {
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
    let known = signature::authenticate(&service, &request, &parameters).await;
    if let Ok(context) = &known {
        witness.saw(&context.user_id, &context.project_id);
    }
    if sts::is_asked(&parameters) {
        let told = known.and_then(|context| sts::caller_identity(&context, &parameters, id));
        return Ok(told.unwrap_or_else(|fault| sts::refused(fault, id)));
    }
    let mut context = known?.within_project();
    id.as_str().clone_into(&mut context.request_id);
    let version = versions::read(&parameters)?;
    let named = parameters.arguments().text("Action");
    let name = named.ok_or_else(words::missing_action)?;
    let action = route::find(name).ok_or_else(|| words::unknown_action(name))?;
    let mut document = Xml::response(action, &version, id);
    let call = Call::check(service, context, action, parameters)?;
    until_deadline(action, call.run(&mut document)).await?;
    document.end();
    Ok(document.into_response())
}

#[cfg(test)]
mod deadline_tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_only_reads_ends_when_nobody_waits_any_more() {
        let describe = route::find("DescribeVolumes").expect("an action");
        let never = until_deadline(describe, std::future::pending());
        let ended = never.await.expect_err("a refusal");
        assert!(matches!(ended, Ec2Fault::Refused(Refusal::Deadline)));
        let create = route::find("CreateVolume").expect("an action");
        let slow = until_deadline(create, async {
            tokio::time::sleep(2 * REQUEST_DEADLINE).await;
            Ok(())
        });
        assert!(
            slow.await.is_ok(),
            "what changes something is not cut in half"
        );
    }
}
