//! The service catalogue of a token.

use serde_json::{Value, json};

use super::REGION;
use crate::app::Service;

/// The services and their endpoints. Block storage is there under its present type and under the one that older
/// clients look up; its URL names the project, which every client can use.
pub(super) fn catalog(service: &Service, project_id: &str) -> Value {
    let endpoints = &service.config.endpoints;
    let volume = format!("{}/v3/{project_id}", endpoints.volume.trim_end_matches('/'));
    let identity = format!("{}/v3", endpoints.identity.trim_end_matches('/'));
    let ec2 = format!("{}/", endpoints.ec2.trim_end_matches('/'));
    json!([
        entry("block-storage", "xensm", &volume),
        entry("volumev3", "xensm-volumev3", &volume),
        entry("identity", "xensm-identity", &identity),
        entry("ec2", "xensm-ec2", &ec2),
    ])
}

fn entry(kind: &str, name: &str, url: &str) -> Value {
    let endpoints: Vec<_> = ["public", "internal", "admin"]
        .iter()
        .map(|interface| {
            json!({
                "id": stable_id(&[kind, interface]),
                "interface": interface,
                "region": REGION,
                "region_id": REGION,
                "url": url,
            })
        })
        .collect();
    json!({
        "id": stable_id(&[kind]),
        "type": kind,
        "name": name,
        "endpoints": endpoints,
    })
}

/// 32 hex digits that are the same in every process: these things have no row and no id of their own.
pub(super) fn stable_id(parts: &[&str]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, parts.join("/").as_bytes());
    digest.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
