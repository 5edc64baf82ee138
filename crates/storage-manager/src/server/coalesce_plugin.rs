//! `host.call_plugin` with the plugin `xensm-chain`: what `xensm chain` calls, and any other client of XenAPI may.
//!
//! Why a plugin: `docs/decisions/2026-11-22-chain-commands.md`. Each function answers one JSON document.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use uuid::Uuid;
use xenapi::{Failure, Value};

use super::Server;
use super::storage;
use crate::gc::{Collector, Image, ImageStore, Status, StepError};

/// The plugin's name.
pub const PLUGIN: &str = "xensm-chain";

/// Code of the failure of a plugin that was called wrongly. Source: XenAPI.
const FAILED: &str = "XENAPI_PLUGIN_FAILURE";

/// Runs a function of the plugin: `status`, `show`, `check`, `pause`, `resume`, `cancel`, `coalesce`.
///
/// Arguments: `sr`, the SR's uuid; `vdi`, a VDI's uuid, which `check` needs, the ones that act take and the others do not.
///
/// # Errors
/// `XENAPI_PLUGIN_FAILURE [function, kind, reason]`, `UUID_INVALID`, and what reading the medium fails with.
pub async fn run(
    server: &Arc<Server>,
    function: &str,
    args: &BTreeMap<String, String>,
) -> Result<Value, Failure> {
    let refused = |kind: &str, reason: &str| Failure::new(FAILED, [function, kind, reason]);
    if function == "status" && !args.contains_key("sr") {
        let all = server.coalescing.all();
        let objects = server.database.read();
        let list: Vec<Json> = all
            .iter()
            .filter_map(|(sr, collector)| {
                let record = objects.find("SR", sr)?;
                Some(status(
                    record.uuid(),
                    record.text("name_label"),
                    &collector.status(),
                ))
            })
            .collect();
        return Ok(Json::Array(list).to_string().into());
    }
    let sr_uuid = args.get("sr").ok_or_else(|| {
        refused(
            "MissingArgument",
            "the argument sr, the uuid of an SR, is missing",
        )
    })?;
    let (sr, name) = {
        let objects = server.database.read();
        let record = objects
            .find_by_uuid("SR", sr_uuid)
            .ok_or_else(|| Failure::new("UUID_INVALID", ["SR", sr_uuid]))?;
        (
            record.reference.to_string(),
            record.text("name_label").to_owned(),
        )
    };
    let collector = server.coalescing.of(&sr).ok_or_else(|| {
        refused(
            "NoChains",
            "the SR is not attached, or its VDIs have no chains",
        )
    })?;
    let vdi = match args.get("vdi") {
        None => None,
        Some(text) => {
            Some(Uuid::try_parse(text).map_err(|_| Failure::new("UUID_INVALID", ["VDI", text]))?)
        }
    };
    let answer = match function {
        "status" => status(sr_uuid, &name, &collector.status()),
        "show" => show(server, &sr, sr_uuid, &name, &collector).await?,
        "check" => {
            let vdi =
                vdi.ok_or_else(|| refused("MissingArgument", "the argument vdi is missing"))?;
            check(server, &sr, collector.store().clone(), vdi).await?
        }
        "pause" => {
            if let Some(vdi) = vdi {
                check_known(server, &sr, &collector, vdi).await?;
            }
            collector.pause(vdi);
            status(sr_uuid, &name, &collector.status())
        }
        "resume" => {
            collector.resume(vdi);
            status(sr_uuid, &name, &collector.status())
        }
        "cancel" => json!({"cancelled": collector.cancel(vdi)}),
        "coalesce" => {
            collector.resume(vdi);
            collector.retry_now();
            status(sr_uuid, &name, &collector.status())
        }
        _ => return Err(refused("UnknownFunction", "there is no such function")),
    };
    Ok(answer.to_string().into())
}

/// Refuses the name of no image: a pause of that would hold nothing, and look as if it did.
async fn check_known(
    server: &Arc<Server>,
    sr: &str,
    collector: &Arc<Collector>,
    vdi: Uuid,
) -> Result<(), Failure> {
    let text = vdi.to_string();
    if server.database.read().find_by_uuid("VDI", &text).is_some() {
        return Ok(());
    }
    let store = collector.store().clone();
    let images = storage::on_threads(server, sr, move || store.images().map_err(failure)).await?;
    match images.iter().any(|image| image.uuid == vdi) {
        true => Ok(()),
        false => Err(Failure::new("UUID_INVALID", ["VDI", text.as_str()])),
    }
}

fn status(uuid: &str, name: &str, status: &Status) -> Json {
    let running: Vec<Json> = status
        .running
        .iter()
        .map(|step| {
            let elapsed_s = step.elapsed.as_secs_f64();
            let (done, total) = (step.progress.done, step.progress.total);
            // Of what was looked at up to now; none before there is something to go by.
            let left_s = (done > 0 && elapsed_s > 0.0)
                .then(|| total.saturating_sub(done) as f64 / (done as f64 / elapsed_s));
            json!({
                "vdi": step.work.vdi().to_string(),
                "work": step.work.to_string(),
                "total_bytes": total,
                "done_bytes": done,
                "copied_bytes": step.progress.copied,
                "elapsed_s": elapsed_s,
                "left_s": left_s,
            })
        })
        .collect();
    let left: BTreeMap<String, String> = status
        .left
        .iter()
        .map(|(vdi, reason)| (vdi.to_string(), reason.to_string()))
        .collect();
    json!({
        "sr": uuid,
        "name": name,
        "paused": status.paused,
        "paused_vdis": status.paused_vdis.iter().map(Uuid::to_string).collect::<Vec<_>>(),
        "backlog_images": status.backlog.len(),
        "backlog_bytes": status.backlog.values().sum::<u64>(),
        "running": running,
        "left": left,
        "no_space": status.no_space,
        "last_error": status.last_error,
        "done": status.totals.done,
        "failed": status.totals.failed,
        "cancelled": status.totals.cancelled,
        "copied_bytes": status.totals.copied_bytes,
        "longest_pause_us": status.pauses.longest_us,
    })
}

/// Every chain of the SR: each image with its place, root first.
async fn show(
    server: &Arc<Server>,
    sr: &str,
    uuid: &str,
    name: &str,
    collector: &Arc<Collector>,
) -> Result<Json, Failure> {
    let store = collector.store().clone();
    let images = storage::on_threads(server, sr, move || store.images().map_err(failure)).await?;
    let known = collector.status();
    let objects = server.database.read();
    let mut rows = Vec::new();
    let mut roots: Vec<&Image> = images.iter().filter(|i| i.parent.is_none()).collect();
    roots.sort_by_key(|image| image.uuid);
    let mut next: Vec<(&Image, usize)> = roots.into_iter().rev().map(|root| (root, 1)).collect();
    // Each image is reached once: it has one parent.
    while let Some((image, depth)) = next.pop() {
        let label = objects
            .find_by_uuid("VDI", &image.uuid.to_string())
            .map(|record| record.text("name_label").to_owned());
        let plan = if known
            .running
            .iter()
            .any(|step| step.work.vdi() == image.uuid)
        {
            "running".to_owned()
        } else if known.backlog.contains_key(&image.uuid) {
            "waits".to_owned()
        } else if let Some(reason) = known.left.get(&image.uuid) {
            format!("stays: {reason}")
        } else {
            String::new()
        };
        rows.push(json!({
            "vdi": image.uuid.to_string(),
            "parent": image.parent.map(|parent| parent.to_string()),
            "name": label,
            "depth": depth,
            "hidden": image.hidden,
            "raw": image.raw,
            "virtual_size": image.virtual_size,
            "physical_size": image.physical_size,
            "consumers": format!("{:?}", image.consumers).to_lowercase(),
            "coalesce": plan,
        }));
        let mut children: Vec<&Image> = images
            .iter()
            .filter(|child| child.parent == Some(image.uuid))
            .collect();
        children.sort_by_key(|child| child.uuid);
        next.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
    }
    let mut answer = status(uuid, name, &known);
    answer["images"] = Json::Array(rows);
    Ok(answer)
}

async fn check(
    server: &Arc<Server>,
    sr: &str,
    store: Arc<dyn ImageStore>,
    vdi: Uuid,
) -> Result<Json, Failure> {
    let checked =
        storage::on_threads(server, sr, move || store.check(vdi).map_err(failure)).await?;
    let images: Vec<Json> = checked
        .iter()
        .map(|image| json!({"image": image.name, "defects": image.defects}))
        .collect();
    let sound = checked.iter().all(|image| image.defects.is_empty());
    Ok(json!({"vdi": vdi.to_string(), "sound": sound, "images": images}))
}

fn failure(error: StepError) -> Failure {
    Failure::new("SR_BACKEND_FAILURE", ["", &error.to_string()])
}
