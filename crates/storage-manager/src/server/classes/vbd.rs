//! Class `VBD`. Source: reference 2.7; golden 08.

use xenapi::{Failure, NULL_REF, Value};

use super::vm::DEVICES;
use crate::database::{Object, Transaction};
use crate::server::attachments;
use crate::server::call::{Args, Call, Record, not_implemented};
use crate::server::operations::{self, Sharing};

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, mut args: Args) -> Result<Value, Failure> {
    if name == "create" {
        let record = args.record();
        return call
            .server
            .database
            .write(|transaction| create(transaction, record))
            .await
            .map(Value::from);
    }
    let vbd = args.text(0).to_owned();
    call.server.database.read().get("VBD", &vbd)?;
    match name {
        "destroy" => {
            let _operation =
                operations::begin(call, "VBD", &vbd, "destroy", Sharing::Exclusive).await?;
            call.server
                .database
                .write(|transaction| destroy(transaction, &vbd))
                .await?;
        }
        "plug" => attachments::plug(call, &vbd).await?,
        "unplug" | "unplug_force" => attachments::unplug(call, &vbd, name).await?,
        "assert_attachable" => {
            attachments::check(&call.server.database.read(), &call.server.home, &vbd)?;
        }
        "set_mode" => {
            let mode = args.take(1);
            let written = call.server.database.write(|transaction| {
                if transaction.get("VBD", &vbd)?.flag("currently_attached") {
                    return Err(Failure::new("DEVICE_ALREADY_ATTACHED", [&vbd]));
                }
                transaction.set("VBD", &vbd, "mode", mode)
            });
            written.await?;
        }
        "eject" | "insert" => return Err(Failure::new("VBD_NOT_REMOVABLE_MEDIA", [vbd])),
        _ => return Err(not_implemented(&format!("VBD.{name}"))),
    }
    Ok(Value::Nil)
}

fn create(transaction: &mut Transaction<'_>, mut record: Record) -> Result<String, Failure> {
    let (vm, vdi) = (record.text("VM").to_owned(), record.text("VDI").to_owned());
    let (is_empty, mode, kind) = (
        record.flag("empty"),
        record.text("mode"),
        record.text("type"),
    );
    transaction.get("VM", &vm)?;
    match kind {
        "CD" if mode != "RO" => {
            return Err(Failure::new(
                "VBD_CDS_MUST_BE_READONLY",
                Vec::<String>::new(),
            ));
        }
        "Floppy" => {
            return Err(Failure::new(
                "NOT_IMPLEMENTED",
                ["VBD of type 'floppy' is not supported on PV domain"],
            ));
        }
        "Disk" if is_empty => {
            return Err(Failure::new("VBD_NOT_REMOVABLE_MEDIA", ["in constructor"]));
        }
        _ => {}
    }
    if !is_empty {
        let record = transaction.get("VDI", &vdi)?;
        if record.flag("read_only") && mode == "RW" {
            return Err(Failure::new("VDI_READONLY", [&vdi]));
        }
        if record.text("type") == "cbt_metadata" {
            return Err(Failure::new(
                "VDI_INCOMPATIBLE_TYPE",
                [vdi.as_str(), "cbt_metadata"],
            ));
        }
    }
    let userdevice = position(transaction, &vm, record.text("userdevice"))?;
    let copied = [
        "bootable",
        "mode",
        "type",
        "unpluggable",
        "empty",
        "other_config",
        "qos_algorithm_type",
        "qos_algorithm_params",
    ];
    let mut fields: Vec<(&'static str, Value)> = copied
        .into_iter()
        .map(|field| (field, record.take(field)))
        .collect();
    fields.push(("VM", vm.into()));
    fields.push((
        "VDI",
        if is_empty {
            NULL_REF.into()
        } else {
            vdi.into()
        },
    ));
    fields.push(("userdevice", userdevice.into()));
    Ok(transaction.insert("VBD", fields))
}

/// The device position that a new VBD gets.
///
/// # Errors
/// `INVALID_DEVICE [userdevice]` and `DEVICE_ALREADY_EXISTS [userdevice]`.
fn position(transaction: &Transaction<'_>, vm: &str, wanted: &str) -> Result<String, Failure> {
    let is_used = |device: &str| {
        transaction
            .pointing_at("VBD", "VM", vm)
            .any(|vbd: &std::sync::Arc<Object>| vbd.text("userdevice") == device)
    };
    if wanted == "autodetect" {
        let free = (0..DEVICES)
            .map(|device| device.to_string())
            .find(|device| !is_used(device));
        return free.ok_or_else(|| Failure::new("INVALID_DEVICE", [wanted]));
    }
    let is_number =
        !wanted.is_empty() && wanted.len() <= 4 && wanted.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = ["xvd", "hd", "sd"].iter().any(|prefix| {
        wanted.strip_prefix(prefix).is_some_and(|rest| {
            (1..=3).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_lowercase())
        })
    });
    if !is_number && !is_name {
        return Err(Failure::new("INVALID_DEVICE", [wanted]));
    }
    if is_used(wanted) {
        Err(Failure::new("DEVICE_ALREADY_EXISTS", [wanted]))
    } else {
        Ok(wanted.to_owned())
    }
}

fn destroy(transaction: &mut Transaction<'_>, vbd: &str) -> Result<(), Failure> {
    let record = transaction.get("VBD", vbd)?;
    if record.flag("currently_attached") {
        let vm = transaction
            .find("VM", record.text("VM"))
            .map(|vm| vm.uuid().to_owned())
            .unwrap_or_default();
        return Err(Failure::new(
            "OPERATION_NOT_ALLOWED",
            [format!("VBD '{}' still attached to '{vm}'", record.uuid())],
        ));
    }
    transaction.remove("VBD", vbd);
    Ok(())
}
