//! Class `VDI`. Source: reference 2.6; golden 04.

use std::collections::BTreeMap;

use uuid::Uuid;
use xenapi::{Failure, Value};

use crate::database::{Object, Objects, Transaction, text_map};
use crate::server::call::{Args, Call, Record};
use crate::server::operations::{self, Sharing};
use crate::server::reconcile::{recorded_sm_config, size};
use crate::server::{allowed, attachments, images, storage};
use crate::sr::FoundVdi;

/// The type whose VDIs are made by changed block tracking only.
const CBT_METADATA: &str = "cbt_metadata";

/// Operations that a plugged VDI allows where the driver can do them.
const LIVE: [&str; 7] = [
    "snapshot",
    "clone",
    "resize_online",
    "revert",
    "enable_cbt",
    "disable_cbt",
    "data_destroy",
];

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, mut args: Args) -> Result<Value, Failure> {
    if name == "create" {
        return create(call, args.record()).await;
    }
    if matches!(name, "introduce" | "pool_introduce") {
        // No driver of ours takes a VDI in by its location; a scan finds what is on the medium.
        call.server.database.read().get("SR", args.text(3))?;
        return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [args.text(3)]));
    }
    if name == "db_introduce" {
        return Err(Failure::new("PERMISSION_DENIED", [""]));
    }
    let vdi = if name == "generate_config" {
        args.text(1)
    } else {
        args.text(0)
    }
    .to_owned();
    let sr = call
        .server
        .database
        .read()
        .get("VDI", &vdi)?
        .text("SR")
        .to_owned();
    match name {
        "destroy" => destroy(call, &vdi, &sr).await,
        "forget" => forget(call, &vdi).await,
        "set_name_label" | "set_name_description" | "set_allow_caching" => {
            let field = name.trim_start_matches("set_");
            let value = args.take(1);
            call.server
                .database
                .write(|transaction| transaction.set("VDI", &vdi, field, value))
                .await?;
            Ok(Value::Nil)
        }
        "get_nbd_info" => Ok(nbd_info(call, &vdi)),
        "db_forget"
        | "set_managed"
        | "set_missing"
        | "set_virtual_size"
        | "set_physical_utilisation"
        | "set_is_a_snapshot"
        | "set_snapshot_of"
        | "set_snapshot_time"
        | "set_metadata_of_pool"
        | "set_cbt_enabled"
        | "set_sharable"
        | "set_read_only" => Err(Failure::new("PERMISSION_DENIED", [""])),
        _ => {
            // Whatever needs the VDI unplugged says so first, as on a real pool.
            if !LIVE.contains(&name) {
                refuse_in_use(&call.server.database.read(), &vdi, name)?;
            }
            Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [sr]))
        }
    }
}

async fn create(call: &Call, record: Record) -> Result<Value, Failure> {
    let server = &call.server;
    let sr = record.text("SR").to_owned();
    {
        let objects = server.database.read();
        let sr_record = objects.get("SR", &sr)?;
        if record.text("type") == CBT_METADATA {
            return Err(Failure::new("VDI_INCOMPATIBLE_TYPE", ["", "CBT metadata"]));
        }
        if !allowed::is_attached(&objects, &sr) {
            return Err(Failure::new("SR_HAS_NO_PBDS", [&sr]));
        }
        if !allowed::is_capable(&objects, sr_record, "VDI_CREATE") {
            return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [&sr]));
        }
    }
    let _operation = operations::begin(call, "SR", &sr, "vdi_create", Sharing::Shared).await?;
    // A negative size is too small for every driver; it is refused by it as one that is too large.
    let virtual_size = u64::try_from(record.int("virtual_size")).unwrap_or(u64::MAX);
    let sm_config = record.texts("sm_config");
    let sr_name = sr.clone();
    let made = images::create(
        server,
        &sr,
        virtual_size,
        sm_config,
        move |transaction, found| Ok(insert(transaction, &sr_name, record, found)),
    );
    made.await.map(Value::from)
}

fn insert(
    transaction: &mut Transaction<'_>,
    sr: &str,
    mut record: Record,
    found: &FoundVdi,
) -> String {
    let copied = [
        "name_label",
        "name_description",
        "type",
        "sharable",
        "read_only",
        "other_config",
        "xenstore_data",
        "tags",
    ];
    let mut fields: Vec<(&'static str, Value)> = copied
        .into_iter()
        .map(|field| (field, record.take(field)))
        .collect();
    fields.extend([
        ("uuid", found.uuid.to_string().into()),
        ("SR", sr.into()),
        ("location", found.location.as_str().into()),
        ("virtual_size", size(found.virtual_size)),
        ("physical_utilisation", size(found.physical_utilisation)),
        ("managed", true.into()),
        ("sm_config", text_map(recorded_sm_config(found))),
        // As on a real pool, a VDI that was made has the empty text here and one that was found the null reference.
        ("metadata_of_pool", "".into()),
    ]);
    let vdi = transaction.insert("VDI", fields);
    add_to_allocation(
        transaction,
        sr,
        i64::try_from(found.virtual_size).unwrap_or(i64::MAX),
    );
    vdi
}

fn add_to_allocation(transaction: &mut Transaction<'_>, sr: &str, bytes: i64) {
    // The SR is held by the operation, so it is there.
    let _ = transaction.update("SR", sr, |record| {
        let allocation = record
            .int("virtual_allocation")
            .saturating_add(bytes)
            .max(0);
        record.put("virtual_allocation", Value::Int(allocation));
    });
}

async fn destroy(call: &Call, vdi: &str, sr: &str) -> Result<Value, Failure> {
    let server = &call.server;
    let _on_sr = operations::begin(call, "SR", sr, "vdi_destroy", Sharing::Shared).await?;
    let _on_vdi = operations::begin(call, "VDI", vdi, "destroy", Sharing::Exclusive).await?;
    let uuid = {
        let objects = server.database.read();
        let record = objects.get("VDI", vdi)?;
        refuse_in_use(&objects, vdi, "destroy")?;
        if !record.flag("managed") {
            return Err(Failure::new("VDI_NOT_MANAGED", [vdi]));
        }
        if !allowed::is_capable(&objects, objects.get("SR", sr)?, "VDI_DELETE") {
            return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [sr]));
        }
        Uuid::parse_str(record.uuid())
            .map_err(|_| Failure::new("UUID_INVALID", ["VDI", record.uuid()]))?
    };
    storage::attached(server, sr)?;
    attachments::withdraw_unplugged(server, sr, vec![uuid.to_string()]).await?;
    let removed = images::destroy(server, sr, uuid, |transaction| {
        let record = transaction.get("VDI", vdi)?;
        let bytes = if record.flag("managed") {
            record.int("virtual_size")
        } else {
            0
        };
        remove_record(transaction, vdi);
        add_to_allocation(transaction, sr, -bytes);
        Ok(())
    });
    removed.await.map(|()| Value::Nil)
}

async fn forget(call: &Call, vdi: &str) -> Result<Value, Failure> {
    let _operation = operations::begin(call, "VDI", vdi, "forget", Sharing::Exclusive).await?;
    let written = call.server.database.write(|transaction| {
        refuse_in_use(transaction, vdi, "forget")?;
        let record = transaction.get("VDI", vdi)?;
        let (sr, bytes) = (record.text("SR").to_owned(), record.int("virtual_size"));
        let bytes = if record.flag("managed") { bytes } else { 0 };
        remove_record(transaction, vdi);
        add_to_allocation(transaction, &sr, -bytes);
        Ok(Value::Nil)
    });
    written.await
}

/// Removes the record of a VDI and those of its VBDs.
pub fn remove_record(transaction: &mut Transaction<'_>, vdi: &str) {
    let vbds: Vec<String> = transaction
        .pointing_at("VBD", "VDI", vdi)
        .map(|vbd| vbd.reference.to_string())
        .collect();
    vbds.iter().for_each(|vbd| transaction.remove("VBD", vbd));
    transaction.remove("VDI", vdi);
}

/// # Errors
/// `VDI_IN_USE [vdi, operation]` while a VBD of it is plugged.
fn refuse_in_use(objects: &Objects, vdi: &str, operation: &str) -> Result<(), Failure> {
    if allowed::is_plugged(objects, vdi) {
        Err(Failure::new("VDI_IN_USE", [vdi, operation]))
    } else {
        Ok(())
    }
}

/// Where the VDI can be read over NBD with TLS: nowhere unless that is configured.
fn nbd_info(call: &Call, vdi: &str) -> Value {
    let objects = call.server.database.read();
    let readable = |record: &Object| {
        allowed::is_attached(&objects, record.text("SR")) && record.text("type") != CBT_METADATA
    };
    let (Some(endpoint), Some(record)) =
        (call.server.exports.tls_endpoint(), objects.find("VDI", vdi))
    else {
        return Value::Array(Vec::new());
    };
    let Some(uuid) = Uuid::parse_str(record.uuid())
        .ok()
        .filter(|_| readable(record))
    else {
        return Value::Array(Vec::new());
    };
    let export_name = crate::export::VdiExports::session_export_name(uuid, &call.session);
    Value::Array(vec![Value::Struct(BTreeMap::from([
        ("exportname".to_owned(), export_name.into()),
        (
            "address".to_owned(),
            endpoint.address.ip().to_string().into(),
        ),
        (
            "port".to_owned(),
            Value::Int(i64::from(endpoint.address.port())),
        ),
        ("cert".to_owned(), endpoint.certificate_pem.as_str().into()),
        ("subject".to_owned(), endpoint.subject.as_str().into()),
    ]))])
}
