//! Which path is answered by what.

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::body::Body;
use super::call::{Answered, Call, JobTrouble};
use super::query::{Links, Query};
use super::{iscsi, luns, san, system, volumes};
use crate::ontap::http::{Request, Response};
use crate::ontap::state::cluster::Cluster;
use crate::ontap::state::error::ApiError;

/// Answers a request whose login is good; `svm` is the SVM to which the login is confined.
pub fn handle(
    cluster: &mut Cluster,
    request: &Request,
    svm: Option<&str>,
    job: JobTroubleOf,
) -> Response {
    route(cluster, request, svm, job).unwrap_or_else(|error| refusal(&error))
}

/// What goes wrong with the job that a request begins: so many calls until it works, and whether it is forgotten.
pub type JobTroubleOf = (Option<u32>, bool);

/// The answer to a request that is refused.
fn refusal(error: &ApiError) -> Response {
    let mut value = json!({"error": {"code": error.code.to_string(), "message": error.message}});
    if let Some(target) = error.target {
        value["error"]["target"] = json!(target);
    }
    Response::json(error.status, &value)
}

fn route(
    cluster: &mut Cluster,
    request: &Request,
    scope: Option<&str>,
    job: JobTroubleOf,
) -> Answered {
    // Clients are known that send `/api//cluster/`.
    let segments: Vec<String> = request
        .path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(("api", path)) = segments.split_first().map(|(first, rest)| (*first, rest)) else {
        return Err(not_found(request));
    };
    let tunnel = request
        .header("x-dot-svm-name")
        .filter(|name| !name.is_empty());
    if let Some(tunnel) = tunnel {
        cluster.svm(tunnel)?;
    }
    let is_confined = scope.is_some();
    let mut call = Call {
        method: &request.method,
        query: Query::parse(&request.query),
        body: Body::parse(&request.body)?,
        links: match request.header("accept") {
            Some("application/json") => Links::Collection,
            _ => Links::All,
        },
        svm: scope.or(tunnel).map(str::to_owned),
        job: JobTrouble {
            slow: job.0,
            is_lost: job.1,
        },
        cluster,
    };
    match path {
        ["cluster", "nodes" | "licensing" | "counter", ..]
        | ["storage", "aggregates" | "disks", ..]
            if is_confined =>
        {
            Err(ApiError::forbidden())
        }
        ["cluster", rest @ ..] => system::cluster(&mut call, rest),
        ["svm", "svms", rest @ ..] => system::svms(&call, rest),
        ["storage", "aggregates", rest @ ..] => system::aggregates(&call, rest),
        ["storage", "disks"] => system::disks(&call),
        ["storage", "qos", "policies", rest @ ..] => system::policies(&mut call, rest),
        ["storage", "volumes", volume, "snapshots", rest @ ..] => {
            volumes::snapshots(&mut call, volume, rest)
        }
        ["storage", "volumes", rest @ ..] => volumes::volumes(&mut call, rest),
        ["storage", "luns", lun, "attributes", rest @ ..] => luns::attributes(&mut call, lun, rest),
        ["storage", "luns", rest @ ..] => luns::luns(&mut call, rest),
        ["storage", "file", "clone", "split-status"]
        | ["snapmirror", "relationships"]
        | ["application", "consistency-groups"]
        | ["private", "cli", "volume", "efficiency"] => system::nothing(&call, &path.join("/")),
        ["support", "ems", "application-logs"] => Ok(call.made(Some(path.join("/")), None)),
        ["protocols", "san", "igroups", rest @ ..] => san::igroups(&mut call, rest),
        ["protocols", "san", "lun-maps", rest @ ..] => san::maps(&mut call, rest),
        ["protocols", "san", "iscsi", "services", rest @ ..] => iscsi::services(&mut call, rest),
        ["protocols", "san", "iscsi", "credentials", rest @ ..] => {
            iscsi::credentials(&mut call, rest)
        }
        ["protocols", "san", "iscsi", "sessions"] => iscsi::sessions(&call),
        ["network", "ip", "interfaces", rest @ ..] => iscsi::interfaces(&call, rest),
        _ => Err(not_found(request)),
    }
}

fn not_found(request: &Request) -> ApiError {
    ApiError::missing(3, format!("API not found: {}", request.path))
}
