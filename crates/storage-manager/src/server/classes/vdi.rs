//! Class `VDI`: what each message is, and the ones that make, delete and rename. Source: reference 2.6; golden 04 and 05.

use std::collections::BTreeMap;

use uuid::Uuid;
use xenapi::{Failure, Value};

use super::{vdi_cbt, vdi_copy, vdi_resize, vdi_snapshot};
use crate::database::{Object, Objects};
use crate::server::allowed::{self, CBT_METADATA, CBT_METADATA_WORDS};
use crate::server::call::{Args, Call, Record};
use crate::server::operations::{self, Sharing};
use crate::server::{attachments, images, labels, storage, taken_vdis, vdi_records};
use crate::sr::{NewVdi, SnapshotKind};

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, mut args: Args) -> Result<Value, Failure> {
    match name {
        "create" => return create(call, args.record()).await,
        "introduce" => return introduce(call, &args).await,
        "pool_introduce" => {
            call.server.database.read().get("SR", args.text(3))?;
            return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [args.text(3)]));
        }
        "db_introduce" => return Err(Failure::new("PERMISSION_DENIED", [""])),
        _ => {}
    }
    let place = usize::from(name == "generate_config");
    let vdi = args.text(place).to_owned();
    let sr = {
        let objects = call.server.database.read();
        objects.get("VDI", &vdi)?.text("SR").to_owned()
    };
    match name {
        "destroy" => destroy(call, &vdi, &sr).await,
        "forget" => forget(call, &vdi).await,
        "update" => update(call, &vdi).await,
        "snapshot" => {
            let driver_params = args.texts(1);
            vdi_snapshot::make(call, &vdi, SnapshotKind::Snapshot, &driver_params).await
        }
        "clone" => clone(call, &vdi, &sr, &args.texts(1)).await,
        "revert" => vdi_snapshot::revert(call, &vdi).await,
        "copy" => {
            let copy = vdi_copy::Wish {
                source: &vdi,
                sr: args.text(1),
                base: args.text(2),
                into: args.text(3),
            };
            vdi_copy::run(call, &copy).await
        }
        "resize" | "resize_online" => vdi_resize::run(call, &vdi, name, args.int(1)).await,
        "enable_cbt" => vdi_cbt::enable(call, &vdi).await,
        "disable_cbt" => vdi_cbt::disable(call, &vdi).await,
        "data_destroy" => vdi_cbt::data_destroy(call, &vdi).await,
        "list_changed_blocks" => vdi_cbt::list_changed_blocks(call, &vdi, args.text(1)).await,
        "set_name_label" | "set_name_description" | "set_allow_caching" => {
            let field = name.trim_start_matches("set_");
            let value = args.take(1);
            let written = call
                .server
                .database
                .write(|transaction| transaction.set("VDI", &vdi, field, value));
            written.await?;
            if field.starts_with("name_") {
                labels::push(&call.server, &sr, &[&vdi]).await;
            }
            Ok(Value::Nil)
        }
        "get_nbd_info" => nbd_info(call, &vdi),
        _ => refuse(call, name, &vdi, &sr),
    }
}

/// What no storage manager without a hypervisor does, and what only a driver of a real pool may call.
fn refuse(call: &Call, name: &str, vdi: &str, sr: &str) -> Result<Value, Failure> {
    match name {
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
        // VDIs are migrated with the VM that uses them, and no VM runs here.
        "pool_migrate" => Err(Failure::new("VDI_NEEDS_VM_FOR_MIGRATE", [vdi])),
        "read_database_pool_uuid" => Ok("".into()),
        // No VDI here holds the metadata of a pool. A real pool writes the type with a capital letter.
        "open_database" => {
            let mut kind = call
                .server
                .database
                .read()
                .get("VDI", vdi)?
                .text("type")
                .to_owned();
            if let Some(first) = kind.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            Err(Failure::new("VDI_INCOMPATIBLE_TYPE", [vdi, &kind]))
        }
        _ => {
            // Whatever needs the VDI unplugged says so first, as on a real pool.
            allowed::check_vdi(&call.server.database.read(), vdi, name)?;
            Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [sr]))
        }
    }
}

async fn create(call: &Call, record: Record) -> Result<Value, Failure> {
    let server = &call.server;
    let sr = record.text("SR").to_owned();
    if record.text("type") == CBT_METADATA {
        server.database.read().get("SR", &sr)?;
        return Err(Failure::new(
            "VDI_INCOMPATIBLE_TYPE",
            ["", CBT_METADATA_WORDS],
        ));
    }
    check_creation(&server.database.read(), &sr)?;
    // A negative size is too small for every driver; it is refused by it as one that is too large.
    let virtual_size = u64::try_from(record.int("virtual_size")).unwrap_or(u64::MAX);
    let sm_config = record.texts("sm_config");
    if storage::attached(server, &sr)?.takes_vdis() {
        let _alone = operations::begin(call, "SR", &sr, "vdi_create", Sharing::Exclusive).await?;
        let new = NewVdi {
            uuid: Uuid::new_v4(),
            virtual_size,
            sm_config,
        };
        let taken = taken_vdis::take(server, &sr, new, record).await;
        return taken
            .map(Value::from)
            .map_err(|failure| for_sr(failure, &sr));
    }
    let _operation = operations::begin(call, "SR", &sr, "vdi_create", Sharing::Shared).await?;
    let made = images::make(server, &sr, move |driver, uuid| {
        driver.create_vdi(&NewVdi {
            uuid,
            virtual_size,
            sm_config,
        })
    });
    let recorded = made.await?.record(|transaction, found| {
        Ok(vdi_records::insert_created(transaction, &sr, record, found))
    });
    let vdi = recorded.await?;
    labels::push(server, &sr, &[&vdi]).await;
    Ok(vdi.into())
}

/// Takes a VDI in that a driver finds by what the caller says of it; other drivers' VDIs are found by a scan.
async fn introduce(call: &Call, args: &Args) -> Result<Value, Failure> {
    let sr = args.text(3);
    {
        let objects = call.server.database.read();
        if !allowed::is_capable(&objects, objects.get("SR", sr)?, "VDI_INTRODUCE") {
            return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [sr]));
        }
    }
    let _alone = operations::begin(call, "SR", sr, "vdi_introduce", Sharing::Exclusive).await?;
    let vdi = taken_vdis::introduce(&call.server, sr, args).await;
    let vdi = vdi.map_err(|failure| for_sr(failure, sr))?;
    labels::push(&call.server, sr, &[&vdi]).await;
    Ok(vdi.into())
}

/// A driver's failure that names no SR as clients expect it.
fn for_sr(mut failure: Failure, sr: &str) -> Failure {
    if failure.code == "SR_OPERATION_NOT_SUPPORTED" {
        failure.params = vec![sr.to_owned()];
    }
    failure
}

/// Checks whether VDIs can be made in an SR.
///
/// # Errors
/// `HANDLE_INVALID`, `SR_HAS_NO_PBDS [sr]` and `SR_OPERATION_NOT_SUPPORTED [sr]`.
pub fn check_creation(objects: &Objects, sr: &str) -> Result<(), Failure> {
    let record = objects.get("SR", sr)?;
    if !allowed::is_attached(objects, sr) {
        return Err(Failure::new("SR_HAS_NO_PBDS", [sr]));
    }
    if !allowed::is_capable(objects, record, "VDI_CREATE") {
        return Err(Failure::new("SR_OPERATION_NOT_SUPPORTED", [sr]));
    }
    Ok(())
}

/// Where the driver cannot clone, every byte is copied, as on a real pool.
async fn clone(
    call: &Call,
    vdi: &str,
    sr: &str,
    driver_params: &BTreeMap<String, String>,
) -> Result<Value, Failure> {
    let can_clone = {
        let objects = call.server.database.read();
        allowed::is_capable(&objects, objects.get("SR", sr)?, "VDI_CLONE")
    };
    if can_clone {
        return vdi_snapshot::make(call, vdi, SnapshotKind::Clone, driver_params).await;
    }
    let copy = vdi_copy::Wish {
        source: vdi,
        sr,
        base: "",
        into: "",
    };
    vdi_copy::run(call, &copy).await
}

async fn destroy(call: &Call, vdi: &str, sr: &str) -> Result<Value, Failure> {
    let server = &call.server;
    let _on_sr = operations::begin(call, "SR", sr, "vdi_destroy", Sharing::Shared).await?;
    let _on_vdi = operations::begin(call, "VDI", vdi, "destroy", Sharing::Exclusive).await?;
    let uuid = {
        let objects = server.database.read();
        allowed::check_vdi(&objects, vdi, "destroy")?;
        uuid_of(objects.get("VDI", vdi)?)?
    };
    let driver = storage::attached(server, sr)?;
    attachments::withdraw_unplugged(server, sr, vec![uuid.to_string()]).await?;
    if driver.takes_vdis() {
        storage::on_sr(server, sr, move |driver| driver.delete_vdi(uuid)).await?;
        let written = server
            .database
            .write(|transaction| taken_vdis::give_back(transaction, vdi));
        return written.await.map(|()| Value::Nil);
    }
    let removed = images::destroy(server, sr, uuid, |transaction| {
        vdi_records::remove(transaction, vdi);
        Ok(())
    });
    removed.await.map(|()| Value::Nil)
}

async fn forget(call: &Call, vdi: &str) -> Result<Value, Failure> {
    let _operation = operations::begin(call, "VDI", vdi, "forget", Sharing::Exclusive).await?;
    let written = call.server.database.write(|transaction| {
        allowed::check_vdi(transaction, vdi, "forget")?;
        vdi_records::remove(transaction, vdi);
        Ok(Value::Nil)
    });
    written.await
}

/// Reads the VDI from its medium again, where the driver says that this is of use.
async fn update(call: &Call, vdi: &str) -> Result<Value, Failure> {
    let server = &call.server;
    let (sr, uuid) = begun(&server.database.read(), vdi, "update")?;
    let _on_sr = operations::begin(call, "SR", &sr, "update", Sharing::Shared).await?;
    let _on_vdi = operations::begin(call, "VDI", vdi, "update", Sharing::Exclusive).await?;
    let driver = storage::attached(server, &sr)?;
    let mut found = storage::on_sr(server, &sr, move |driver| driver.stat_vdi(uuid)).await?;
    let written = server.database.write(|transaction| {
        if driver.takes_vdis() {
            found.managed = transaction.get("VDI", vdi)?.flag("managed");
        }
        vdi_records::refresh(transaction, vdi, &found)
    });
    written.await?;
    labels::push(server, &sr, &[vdi]).await;
    Ok(Value::Nil)
}

/// The SR and the uuid of a VDI with which an operation is possible as things are.
///
/// # Errors
/// Those of [`allowed::check_vdi`].
pub fn begun(objects: &Objects, vdi: &str, operation: &str) -> Result<(String, Uuid), Failure> {
    allowed::check_vdi(objects, vdi, operation)?;
    let record = objects.get("VDI", vdi)?;
    Ok((record.text("SR").to_owned(), uuid_of(record)?))
}

/// The uuid of a VDI.
///
/// # Errors
/// `UUID_INVALID ["VDI", uuid]`.
pub fn uuid_of(record: &Object) -> Result<Uuid, Failure> {
    Uuid::parse_str(record.uuid()).map_err(|_| Failure::new("UUID_INVALID", ["VDI", record.uuid()]))
}

/// A driver's failure as clients expect it: drivers know uuids, clients know references.
pub fn for_clients(mut failure: Failure, sr: &str, vdi: &str, uuid: Uuid) -> Failure {
    match failure.code.as_str() {
        "SR_OPERATION_NOT_SUPPORTED" => failure.params = vec![sr.to_owned()],
        "VDI_IN_USE" | "VDI_NO_CBT_METADATA" => {
            if let Some(named) = failure.params.first_mut()
                && *named == uuid.to_string()
            {
                vdi.clone_into(named);
            }
        }
        _ => {}
    }
    failure
}

/// Where the VDI can be read over NBD with TLS: nowhere unless that is configured.
fn nbd_info(call: &Call, vdi: &str) -> Result<Value, Failure> {
    let objects = call.server.database.read();
    let record = objects.get("VDI", vdi)?;
    if record.text("type") == CBT_METADATA {
        return Err(Failure::new(
            "VDI_INCOMPATIBLE_TYPE",
            [vdi, CBT_METADATA_WORDS],
        ));
    }
    let endpoint = call.server.exports.tls_endpoint();
    let Some(endpoint) = endpoint.filter(|_| allowed::is_attached(&objects, record.text("SR")))
    else {
        return Ok(Value::Array(Vec::new()));
    };
    let uuid = uuid_of(record)?;
    let export_name = crate::export::VdiExports::session_export_name(uuid, &call.session);
    Ok(Value::Array(vec![Value::Struct(BTreeMap::from([
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
    ]))]))
}
