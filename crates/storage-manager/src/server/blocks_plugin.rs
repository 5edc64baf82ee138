//! `host.call_plugin` with the plugin `xensm-blocks`: what XenAPI has no message for and block by block readers need.
//!
//! Why a plugin: `docs/decisions/2026-11-23-blocks-through-the-service.md`. Each function answers one JSON document, to which fields
//! are only added.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use uuid::Uuid;
use vhd::size::BLOCK_SIZE;
use xenapi::{Failure, Value};

use super::call::Call;
use super::classes::vdi::{for_clients, uuid_of};
use super::operations::{self, Sharing};
use super::{allowed, storage};
use crate::export::VdiExports;

/// The plugin's name.
pub const PLUGIN: &str = "xensm-blocks";

/// Code of the failure of a plugin that was called wrongly. Source: XenAPI.
const FAILED: &str = "XENAPI_PLUGIN_FAILURE";

/// Runs a function of the plugin.
///
/// - `about`: that the plugin is there, as `{}`.
/// - `door`, with `vdi`: where a reader on this machine finds the VDI over NBD, as `{"socket", "export"}`. The export's name holds
///   the session.
/// - `differing`, with `from` and `to`, two VDIs of one SR: the blocks that they may have different, as `{"block_bytes", "map"}`:
///   one bit for each block, the most significant of each byte first, in base64. A block without a bit is the same in both.
///
/// # Errors
/// `XENAPI_PLUGIN_FAILURE [function, kind, reason]`, `UUID_INVALID`, `VDI_INCOMPATIBLE_TYPE`, `SR_NO_PBDS` and the like for an SR
/// that is not attached, and what reading the medium fails with.
pub async fn run(
    call: &Call,
    function: &str,
    args: &BTreeMap<String, String>,
) -> Result<Value, Failure> {
    let refused = |kind: &str, reason: &str| Failure::new(FAILED, [function, kind, reason]);
    let argument = |name: &str| {
        let missing = || {
            let reason = format!("the argument {name}, the uuid of a VDI, is missing");
            refused("MissingArgument", &reason)
        };
        args.get(name).ok_or_else(missing)
    };
    match function {
        "about" => Ok(json!({}).to_string().into()),
        "door" => door(call, argument("vdi")?).await,
        "differing" => differing(call, argument("from")?, argument("to")?).await,
        _ => Err(refused("UnknownFunction", "there is no such function")),
    }
}

/// A VDI that has content, on an attached SR.
struct Readable {
    reference: String,
    sr: String,
    uuid: Uuid,
}

fn readable(call: &Call, uuid: &str) -> Result<Readable, Failure> {
    let objects = call.server.database.read();
    let record = objects
        .find_by_uuid("VDI", uuid)
        .ok_or_else(|| Failure::new("UUID_INVALID", ["VDI", uuid]))?;
    if record.text("type") == allowed::CBT_METADATA {
        let params = [&*record.reference, allowed::CBT_METADATA_WORDS];
        return Err(Failure::new("VDI_INCOMPATIBLE_TYPE", params));
    }
    Ok(Readable {
        reference: record.reference.to_string(),
        sr: record.text("SR").to_owned(),
        uuid: uuid_of(record)?,
    })
}

async fn door(call: &Call, vdi: &str) -> Result<Value, Failure> {
    let vdi = readable(call, vdi)?;
    storage::attached(&call.server, &vdi.sr)?;
    let server = call.server.clone();
    // Binding a socket touches a file system, though none of an SR's.
    let socket = storage::on_threads(&call.server, &vdi.sr, move || {
        let socket = server.exports.readers_socket().map(Path::to_owned);
        socket.map_err(|error| {
            let text = crate::error::chain_text(&error);
            Failure::backend(46, "The VDI is not available", &text, "")
        })
    });
    let socket = socket.await?;
    let export = VdiExports::session_export_name(vdi.uuid, &call.session);
    Ok(
        json!({"socket": socket.display().to_string(), "export": export})
            .to_string()
            .into(),
    )
}

async fn differing(call: &Call, from: &str, to: &str) -> Result<Value, Failure> {
    let (from, to) = (readable(call, from)?, readable(call, to)?);
    if from.sr != to.sr {
        let reason = "the VDIs lie in different SRs";
        return Err(Failure::new(FAILED, ["differing", "OtherSr", reason]));
    }
    let on_sr = "vdi_list_changed_blocks";
    let _on_sr = operations::begin(call, "SR", &to.sr, on_sr, Sharing::Shared).await?;
    let (older, newer) = (from.uuid, to.uuid);
    let compared = storage::on_sr(&call.server, &to.sr, move |driver| {
        driver.differing_blocks(older, newer)
    });
    let map = compared
        .await
        .map_err(|failure| for_clients(failure, &to.sr, &to.reference, newer))?;
    let answer = json!({"block_bytes": BLOCK_SIZE, "map": STANDARD.encode(map)});
    Ok(answer.to_string().into())
}
