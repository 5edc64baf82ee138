//! Class `SR`. Source: reference 2.4; golden 03.

use std::collections::BTreeMap;

use uuid::Uuid;
use xenapi::{Failure, Value};

use super::pbd;
use crate::database::{Object, Objects, Transaction, text_map, text_set};
use crate::server::call::{Args, Call};
use crate::server::operations::{self, Sharing};
use crate::server::reconcile::Wish;
use crate::server::{
    allowed, config_changes, forgotten_luns, labels, lun_users, reconcile, storage, vdi_records,
};
use crate::sr::SrParams;

/// Size and utilisation of an SR that was never attached.
const UNKNOWN_SIZE: i64 = -1;

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, args: Args) -> Result<Value, Failure> {
    match name {
        "create" => create(call, &args).await,
        "introduce" => introduce(call, &args).await,
        "forget" => forget(call, args.text(0)).await,
        "destroy" => destroy(call, args.text(0)).await,
        "scan" => {
            let sr = args.text(0);
            let _operation = operations::begin(call, "SR", sr, "scan", Sharing::Exclusive).await?;
            reconcile::scan(&call.server, sr, Wish::Asked).await?;
            // As in XenServer: who scans wants to see the garbage go, also what has failed too often.
            if let Some(collector) = call.server.coalescing.of(sr) {
                collector.retry_now();
            }
            Ok(Value::Nil)
        }
        "update" => update(call, args.text(0)).await,
        "probe" => probe(call, &args).await,
        "probe_ext" => Err(Failure::new(
            "SR_OPERATION_NOT_SUPPORTED",
            Vec::<String>::new(),
        )),
        "get_supported_types" => Ok(text_set(
            call.server
                .types
                .iter()
                .map(|sr_type| sr_type.info().sr_type),
        )),
        "set_name_label" | "set_name_description" | "set_shared" | "set_physical_size" => {
            let field = name.trim_start_matches("set_");
            let value = args.0.get(1).cloned().unwrap_or(Value::Nil);
            let written = call
                .server
                .database
                .write(|transaction| transaction.set("SR", args.text(0), field, value));
            written.await?;
            if field.starts_with("name_") {
                labels::push_sr(&call.server, args.text(0)).await;
            }
            Ok(Value::Nil)
        }
        "set_virtual_allocation" | "set_physical_utilisation" => {
            Err(Failure::new("PERMISSION_DENIED", [""]))
        }
        _ => {
            call.server.database.read().get("SR", args.text(0))?;
            Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [args.text(0)]))
        }
    }
}

/// Makes the SR on its medium first and records it then: a crash in between leaves an empty SR that nobody knows, and the
/// same call can be made again.
async fn create(call: &Call, args: &Args) -> Result<Value, Failure> {
    let server = &call.server;
    let (host, device_config, type_name) = (
        args.text(0),
        args.texts(1),
        args.text(5).to_ascii_lowercase(),
    );
    let sr_type = server
        .sr_type(&type_name)
        .cloned()
        .ok_or_else(|| Failure::new("SR_UNKNOWN_DRIVER", [args.text(5)]))?;
    if host != server.home.host {
        return Err(Failure::new("HOST_OFFLINE", [host]));
    }
    let uuid = Uuid::new_v4();
    let params = SrParams {
        sr_uuid: uuid,
        device_config: pbd::with_clear_passwords(&server.database.read(), &device_config)?,
        sm_config: args.texts(8),
    };
    sr_type.check_beside(&params, &config_changes::known_srs(server))?;
    // The SR has no reference yet; its uuid names its threads until it has one.
    let (name, patience) = (uuid.to_string(), storage::patience(server, &*sr_type));
    let claimer = server.clone();
    let made = storage::on_threads_within(server, &name, patience, move || {
        let params = sr_type.resolved(params)?;
        let claim = lun_users::claim(&claimer, &params)?;
        sr_type.create(&params)?;
        Ok(claim)
    });
    let made = made.await;
    server.storage.forget(&name);
    // Until the records say which LUN the SR has.
    let _claim = made?;
    let written = server.database.write(|transaction| {
        let sr = transaction.insert("SR", fields(args, uuid, &type_name, [3, 4, 6, 7, 8]));
        let pbd = pbd::insert(transaction, host, &sr, &device_config, Value::Nil)?;
        Ok((sr, pbd))
    });
    let (sr, pbd) = written.await?;
    let _operation = operations::begin(call, "SR", &sr, "plug", Sharing::Exclusive).await?;
    // As on a real pool, an SR that was made and cannot be plugged stays, unplugged.
    if let Err(failure) = pbd::plug(call, &pbd).await {
        tracing::warn!(%failure, sr.uuid = %uuid, "a new SR could not be plugged");
    }
    Ok(sr.into())
}

/// The fields that `create` and `introduce` share; `at` are the places of name, description, content type, shared and
/// sm_config among the arguments.
fn fields(args: &Args, uuid: Uuid, type_name: &str, at: [usize; 5]) -> Vec<(&'static str, Value)> {
    vec![
        ("uuid", uuid.to_string().into()),
        ("name_label", args.text(at[0]).into()),
        ("name_description", args.text(at[1]).into()),
        ("type", type_name.into()),
        ("content_type", args.text(at[2]).into()),
        ("shared", args.flag(at[3]).into()),
        ("sm_config", text_map(args.texts(at[4]))),
        ("physical_size", Value::Int(UNKNOWN_SIZE)),
        ("physical_utilisation", Value::Int(UNKNOWN_SIZE)),
    ]
}

async fn introduce(call: &Call, args: &Args) -> Result<Value, Failure> {
    let uuid = match args.text(0) {
        "" => Uuid::new_v4(),
        text => Uuid::parse_str(text).map_err(|_| Failure::new("UUID_INVALID", ["SR", text]))?,
    };
    let type_name = args.text(3).to_ascii_lowercase();
    let written = call.server.database.write(|transaction| {
        if transaction.find_by_uuid("SR", &uuid.to_string()).is_some() {
            return Err(Failure::new("SR_UUID_EXISTS", [uuid.to_string()]));
        }
        Ok(transaction.insert("SR", fields(args, uuid, &type_name, [1, 2, 4, 5, 6])))
    });
    written.await.map(Value::from)
}

async fn forget(call: &Call, sr: &str) -> Result<Value, Failure> {
    let _operation = operations::begin(call, "SR", sr, "forget", Sharing::Exclusive).await?;
    let written = call.server.database.write(|transaction| {
        refuse_attached(transaction, sr)?;
        forgotten_luns::note(transaction, sr)?;
        remove_records(transaction, sr);
        drop_reserve(transaction, call, sr);
        Ok(Value::Nil)
    });
    let result = written.await?;
    call.server.storage.forget(sr);
    Ok(result)
}

async fn destroy(call: &Call, sr: &str) -> Result<Value, Failure> {
    let server = &call.server;
    let _operation = operations::begin(call, "SR", sr, "destroy", Sharing::Exclusive).await?;
    let (device_config, sr_type) = {
        let objects = server.database.read();
        refuse_attached(&objects, sr)?;
        let record = objects.get("SR", sr)?;
        if record.entry("other_config", "indestructible") == Some("true") {
            return Err(Failure::new("SR_INDESTRUCTIBLE", [sr]));
        }
        if forgotten_luns::has_vdis_in_use(&objects, sr) {
            return Err(Failure::new("SR_NOT_EMPTY", [""; 0]));
        }
        let pbd = objects
            .pointing_at("PBD", "SR", sr)
            .find(|pbd| pbd.text("host") == server.home.host);
        let pbd = pbd.ok_or_else(|| Failure::new("SR_HAS_NO_PBDS", [sr]))?;
        (pbd.texts("device_config"), known_type(call, record)?)
    };
    let params = storage::params(server, sr, &device_config)?;
    let patience = storage::patience(server, &*sr_type);
    storage::on_threads_within(server, sr, patience, move || sr_type.delete(&params)).await?;
    let written = server.database.write(|transaction| {
        remove_records(transaction, sr);
        drop_reserve(transaction, call, sr);
        Ok(Value::Nil)
    });
    let result = written.await?;
    server.storage.forget(sr);
    Ok(result)
}

fn known_type(call: &Call, sr: &Object) -> Result<std::sync::Arc<dyn crate::sr::SrType>, Failure> {
    call.server
        .sr_type(sr.text("type"))
        .cloned()
        .ok_or_else(|| Failure::new("SR_UNKNOWN_DRIVER", [sr.text("type")]))
}

fn refuse_attached(objects: &Objects, sr: &str) -> Result<(), Failure> {
    objects.get("SR", sr)?;
    if allowed::is_attached(objects, sr) {
        Err(Failure::new("SR_HAS_PBD", [sr]))
    } else {
        Ok(())
    }
}

/// Drops the intents of the images that the SR had in reserve.
fn drop_reserve(transaction: &mut Transaction<'_>, call: &Call, sr: &str) {
    for uuid in call.server.storage.state(sr).drain_reserved() {
        transaction.drop_intent(uuid);
    }
}

/// Removes the SR's record and those of its PBDs, VDIs and VBDs; the medium is not touched.
fn remove_records(transaction: &mut Transaction<'_>, sr: &str) {
    let names = |objects: Vec<_>| {
        objects
            .iter()
            .map(|object: &&std::sync::Arc<Object>| object.reference.to_string())
            .collect::<Vec<_>>()
    };
    let pbds = names(transaction.pointing_at("PBD", "SR", sr).collect());
    let vdis = names(transaction.pointing_at("VDI", "SR", sr).collect());
    pbds.iter().for_each(|pbd| pbd::remove(transaction, pbd));
    vdis.iter()
        .for_each(|vdi| vdi_records::remove(transaction, vdi));
    transaction.remove("SR", sr);
}

/// Pushes the names of the SR to its medium, where it keeps them, and reads its space.
async fn update(call: &Call, sr: &str) -> Result<Value, Failure> {
    let _operation = operations::begin(call, "SR", sr, "update", Sharing::Exclusive).await?;
    storage::attached(&call.server, sr)?;
    labels::push_sr(&call.server, sr).await;
    reconcile::refresh_space(&call.server, sr).await?;
    Ok(Value::Nil)
}

async fn probe(call: &Call, args: &Args) -> Result<Value, Failure> {
    let server = &call.server;
    let sr_type = server
        .sr_type(args.text(2))
        .cloned()
        .ok_or_else(|| Failure::new("SR_UNKNOWN_DRIVER", [args.text(2)]))?;
    let params = SrParams {
        sr_uuid: Uuid::new_v4(),
        device_config: pbd::with_clear_passwords(&server.database.read(), &args.texts(1))?,
        sm_config: args.texts(3),
    };
    let target = format!(
        "{} {}",
        sr_type.info().sr_type,
        target_of(&params.device_config)
    );
    let Some(name) = server.storage.probe_name(&target) else {
        return Err(Failure::backend(
            202,
            "General backend error",
            "too many targets that are being probed do not answer; try again later",
            "",
        ));
    };
    let patience = storage::patience(server, &*sr_type);
    let probed =
        storage::on_threads_within(server, &name, patience, move || sr_type.probe(&params));
    let probed = probed.await;
    // What hangs keeps its threads, for the next probe of the same target to wait for.
    if !probed
        .as_ref()
        .is_err_and(|failure| failure.code == storage::UNHEALTHY)
    {
        server.storage.forget(&name);
    }
    probed.map(Value::from)
}

/// What of a `device_config` says which server or device is meant.
fn target_of(device_config: &BTreeMap<String, String>) -> &str {
    let target = ["server", "target", "device", "SCSIid", "location"]
        .iter()
        .find_map(|key| device_config.get(*key));
    target.map_or("", String::as_str)
}
