//! Plugging a VBD into the control domain: the VDI is opened and exported over NBD.
//!
//! All plugged VBDs of a VDI share one export. Where it is, is told in `VBD.other_config` under [`SOCKET`] and [`EXPORT`].

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};

use nbd::{Export, Refusal};
use uuid::Uuid;
use xenapi::Failure;

use super::Server;
use super::call::Call;
use super::context::Home;
use super::operations::{self, Sharing};
use super::storage;
use super::vdi_records::{self, CONTENT_ID};
use crate::database::{Object, Objects, Transaction};
use crate::export::{Endpoint, Error as ExportError, ReaderGate};
use crate::sr::OpenMode;

/// Key in `VBD.other_config`: the path of the export's unix socket, while the VBD is plugged.
pub const SOCKET: &str = "xensm:nbd_socket";

/// Key in `VBD.other_config`: the name of the export on the socket, while the VBD is plugged.
pub const EXPORT: &str = "xensm:nbd_export";

/// What has to be known of a VBD to plug it.
#[derive(Clone, Debug)]
pub struct Attachable {
    vdi: String,
    uuid: Uuid,
    sr: String,
    mode: OpenMode,
    /// True when another VBD of the VDI is plugged already.
    is_exported: bool,
}

/// Checks whether a VBD can be plugged as things are.
///
/// # Errors
/// Those of `VBD.plug`.
pub fn check(objects: &Objects, home: &Home, vbd: &str) -> Result<Attachable, Failure> {
    let record = objects.get("VBD", vbd)?;
    if record.flag("currently_attached") {
        return Err(Failure::new("DEVICE_ALREADY_ATTACHED", [vbd]));
    }
    attachable(objects, home, record)
}

/// Checks whether a VBD could be plugged if it was not plugged.
fn attachable(objects: &Objects, home: &Home, record: &Object) -> Result<Attachable, Failure> {
    let vbd: &str = &record.reference;
    if record.flag("empty") {
        return Err(Failure::new("VBD_IS_EMPTY", [vbd]));
    }
    if record.text("VM") != home.control_domain {
        return Err(Failure::new(
            "VM_BAD_POWER_STATE",
            [record.text("VM"), "Running", "Halted"],
        ));
    }
    let vdi = record.text("VDI");
    let vdi_record = objects.get("VDI", vdi)?;
    let mode = if record.text("mode") == "RW" {
        OpenMode::ReadWrite
    } else {
        OpenMode::ReadOnly
    };
    if !vdi_record.flag("managed") {
        return Err(Failure::new("VDI_NOT_MANAGED", [vdi]));
    }
    if mode == OpenMode::ReadWrite && vdi_record.flag("read_only") {
        return Err(Failure::new("VDI_READONLY", [vdi]));
    }
    let mut is_exported = false;
    for other in objects
        .pointing_at("VBD", "VDI", vdi)
        .filter(|other| other.flag("currently_attached") && other.reference != record.reference)
    {
        is_exported = true;
        // One writer or many readers; a sharable VDI may have many writers, but not some of each, since they share one export.
        let both_read = mode == OpenMode::ReadOnly && other.text("mode") == "RO";
        let shared = vdi_record.flag("sharable") && other.text("mode") == record.text("mode");
        if !both_read && !shared {
            return Err(Failure::new("VDI_IN_USE", [vdi, "attach"]));
        }
    }
    let uuid = Uuid::parse_str(vdi_record.uuid())
        .map_err(|_| Failure::new("UUID_INVALID", ["VDI", vdi_record.uuid()]))?;
    Ok(Attachable {
        vdi: vdi.to_owned(),
        uuid,
        sr: vdi_record.text("SR").to_owned(),
        mode,
        is_exported,
    })
}

/// `VBD.plug`.
pub async fn plug(call: &Call, vbd: &str) -> Result<(), Failure> {
    let server = &call.server;
    let seen = check(&server.database.read(), &server.home, vbd)?;
    let _on_sr = operations::begin(call, "SR", &seen.sr, "vdi_attach", Sharing::Shared).await?;
    let _on_vdi = operations::begin(call, "VDI", &seen.vdi, "attach", Sharing::Exclusive).await?;
    let _on_vbd = operations::begin(call, "VBD", vbd, "plug", Sharing::Exclusive).await?;
    let attachable = check(&server.database.read(), &server.home, vbd)?;
    let endpoint = if attachable.is_exported {
        None
    } else {
        Some(publish(server, &attachable).await?)
    };
    let endpoint = endpoint.or_else(|| server.exports.endpoint(attachable.uuid));
    let endpoint = endpoint.ok_or_else(|| {
        Failure::internal_error("the export of the VDI is gone; unplug its VBDs first")
    })?;
    let written = server
        .database
        .write(|transaction| note_plugged(transaction, vbd, &attachable, &endpoint));
    if let Err(failure) = written.await {
        if !attachable.is_exported {
            // A failed last flush was logged; nothing was written through this export.
            let _ = withdraw(server, &attachable.sr, attachable.uuid, vbd).await?;
        }
        return Err(failure);
    }
    tracing::info!(vdi.uuid = %attachable.uuid, "the VDI is attached");
    Ok(())
}

/// Opens the VDI on the threads of its SR and exports it.
async fn publish(server: &Arc<Server>, attachable: &Attachable) -> Result<Endpoint, Failure> {
    let (uuid, mode) = (attachable.uuid, attachable.mode);
    let driver = storage::attached(server, &attachable.sr)?;
    let publisher = server.clone();
    let opened = storage::on_threads(server, &attachable.sr, move || {
        // Readers with a session hold the image open; a writer comes before them. And no VBD is plugged, so an export that
        // is there was made for a plug that had given up waiting.
        if mode == OpenMode::ReadWrite || publisher.exports.endpoint(uuid).is_some() {
            publisher
                .exports
                .withdraw(uuid)
                .map_err(|error| export_failure(&error))?;
        }
        let export = driver.open_vdi(uuid, mode)?;
        publisher.exports.publish(uuid, export.clone()).map_err(|error| {
            if let Err(close) = export.close() {
                tracing::warn!(error = %close, vdi.uuid = %uuid, "a VDI that could not be exported did not close cleanly");
            }
            export_failure(&error)
        })
    });
    opened.await
}

fn export_failure(error: &ExportError) -> Failure {
    let text = crate::error::chain_text(error);
    tracing::warn!(error = text, "an export failed");
    Failure::backend(46, "The VDI is not available", &text, "")
}

/// Notes that a VBD is plugged. The intent of a destruction that came to no end goes: who attaches a VDI wants to keep it.
fn note_plugged(
    transaction: &mut Transaction<'_>,
    vbd: &str,
    attachable: &Attachable,
    endpoint: &Endpoint,
) -> Result<(), Failure> {
    let vm = transaction.get("VBD", vbd)?.text("VM").to_owned();
    let device = free_device(transaction, vbd, &vm);
    transaction.set("VBD", vbd, "device", device)?;
    transaction.set("VBD", vbd, "currently_attached", true)?;
    transaction.set_entry(
        "VBD",
        vbd,
        "other_config",
        SOCKET,
        endpoint.unix_socket.to_str(),
    )?;
    transaction.set_entry(
        "VBD",
        vbd,
        "other_config",
        EXPORT,
        Some(&endpoint.export_name),
    )?;
    if attachable.mode == OpenMode::ReadWrite {
        // From now on its content may be another at any time.
        transaction.set_entry("VDI", &attachable.vdi, "other_config", CONTENT_ID, None)?;
    }
    transaction.touch("VDI", &attachable.vdi);
    transaction.drop_intent(attachable.uuid);
    Ok(())
}

/// The first device name that no other plugged VBD of the VM has.
fn free_device(objects: &Objects, vbd: &str, vm: &str) -> String {
    let others = objects
        .pointing_at("VBD", "VM", vm)
        .filter(|other| other.flag("currently_attached") && *other.reference != *vbd);
    let used: HashSet<&str> = others.map(|other| other.text("device")).collect();
    (0..)
        .map(|number| format!("nbd{number}"))
        .find(|device| !used.contains(device.as_str()))
        .unwrap_or_default()
}

/// `VBD.unplug` and `VBD.unplug_force`.
pub async fn unplug(call: &Call, vbd: &str, operation: &str) -> Result<(), Failure> {
    let server = &call.server;
    let vdi = {
        let objects = server.database.read();
        let record = objects.get("VBD", vbd)?;
        if !record.flag("currently_attached") {
            return Err(Failure::new("DEVICE_ALREADY_DETACHED", [vbd]));
        }
        objects.get("VDI", record.text("VDI"))?.clone()
    };
    let (sr, vdi_reference) = (vdi.text("SR"), vdi.reference.to_string());
    let _on_sr = operations::begin(call, "SR", sr, "vdi_detach", Sharing::Shared).await?;
    let _on_vdi =
        operations::begin(call, "VDI", &vdi_reference, "detach", Sharing::Exclusive).await?;
    let _on_vbd = operations::begin(call, "VBD", vbd, operation, Sharing::Exclusive).await?;
    let is_last = {
        let objects = server.database.read();
        if !objects.get("VBD", vbd)?.flag("currently_attached") {
            return Err(Failure::new("DEVICE_ALREADY_DETACHED", [vbd]));
        }
        let plugged = objects
            .pointing_at("VBD", "VDI", &vdi_reference)
            .filter(|other| other.flag("currently_attached"));
        plugged.count() == 1
    };
    let uuid = Uuid::parse_str(vdi.uuid())
        .map_err(|_| Failure::new("UUID_INVALID", ["VDI", vdi.uuid()]))?;
    let closed = if is_last {
        withdraw(server, sr, uuid, vbd).await?
    } else {
        Ok(())
    };
    let written = server.database.write(|transaction| {
        note_unplugged(transaction, vbd)?;
        if is_last {
            name_content(transaction, &vdi_reference)?;
        }
        transaction.touch("VDI", &vdi_reference);
        Ok(())
    });
    written.await?;
    tracing::info!(vdi.uuid = %uuid, "the VDI is detached");
    closed
}

/// Gives the content of a VDI that nobody can write any more a name, unless it has one: whoever copies it takes the name along.
fn name_content(transaction: &mut Transaction<'_>, vdi: &str) -> Result<(), Failure> {
    if transaction
        .get("VDI", vdi)?
        .entry("other_config", CONTENT_ID)
        .is_some()
    {
        return Ok(());
    }
    let id = vdi_records::fresh_content_id();
    transaction.set_entry("VDI", vdi, "other_config", CONTENT_ID, Some(&id))
}

/// Notes that a VBD is not plugged.
pub fn note_unplugged(transaction: &mut Transaction<'_>, vbd: &str) -> Result<(), Failure> {
    transaction.set("VBD", vbd, "currently_attached", false)?;
    transaction.set_entry("VBD", vbd, "other_config", SOCKET, None)?;
    transaction.set_entry("VBD", vbd, "other_config", EXPORT, None)
}

/// Ends an export. The inner error is a failed last flush: the VDI is closed all the same.
async fn withdraw(
    server: &Arc<Server>,
    sr: &str,
    uuid: Uuid,
    vbd: &str,
) -> Result<Result<(), Failure>, Failure> {
    let (withdrawer, vbd) = (server.clone(), vbd.to_owned());
    storage::on_threads(server, sr, move || match withdrawer.exports.withdraw(uuid) {
        Ok(()) => Ok(Ok(())),
        Err(error @ ExportError::Close { .. }) => {
            tracing::error!(error = %error, vdi.uuid = %uuid, "the last writes to a VDI may be lost");
            Ok(Err(Failure::new("VDI_IO_ERROR", [error.to_string()])))
        }
        Err(error) => Err(Failure::new("DEVICE_DETACH_REJECTED", ["VBD", &vbd, &error.to_string()])),
    })
    .await
}

/// Ends whatever keeps VDIs of an SR open that no VBD has plugged: readers that came with a session, and exports that were
/// made for a plug that had given up waiting.
pub async fn withdraw_unplugged(
    server: &Arc<Server>,
    sr: &str,
    vdis: Vec<String>,
) -> Result<(), Failure> {
    let withdrawer = server.clone();
    storage::on_threads(server, sr, move || {
        for uuid in vdis.iter().filter_map(|uuid| Uuid::parse_str(uuid).ok()) {
            withdrawer
                .exports
                .withdraw(uuid)
                .map_err(|error| export_failure(&error))?;
        }
        Ok(())
    })
    .await
}

/// Exports again what was plugged when the process ended; a VBD whose VDI does not open is noted as unplugged.
///
/// The record says plugged until that is known: whenever this is cut short, the next start does it again.
pub async fn republish(server: &Arc<Server>, sr: &str) {
    let plugged: Vec<String> = {
        let objects = server.database.read();
        let vdis = objects.pointing_at("VDI", "SR", sr);
        let vbds = vdis.flat_map(|vdi| objects.pointing_at("VBD", "VDI", &vdi.reference));
        vbds.filter(|vbd| vbd.flag("currently_attached"))
            .map(|vbd| vbd.reference.to_string())
            .collect()
    };
    for vbd in &plugged {
        let Err(failure) = republish_one(server, vbd).await else {
            continue;
        };
        tracing::warn!(%failure, vbd.reference = vbd, "a VBD that was plugged could not be plugged again; plug it when the cause is gone");
        let noted = server
            .database
            .write(|transaction| note_unplugged(transaction, vbd));
        if let Err(failure) = noted.await {
            tracing::error!(%failure, vbd.reference = vbd, "a VBD that is not plugged could not be noted so");
        }
    }
}

async fn republish_one(server: &Arc<Server>, vbd: &str) -> Result<(), Failure> {
    let attachable = {
        let objects = server.database.read();
        attachable(&objects, &server.home, objects.get("VBD", vbd)?)?
    };
    let endpoint = match server.exports.endpoint(attachable.uuid) {
        Some(endpoint) => endpoint,
        None => publish(server, &attachable).await?,
    };
    let noted =
        |transaction: &mut Transaction<'_>| note_plugged(transaction, vbd, &attachable, &endpoint);
    server.database.write(noted).await
}

/// Answers for readers who come over TCP with a session.
#[derive(Default)]
pub struct Door {
    server: OnceLock<Weak<Server>>,
}

impl Door {
    /// Tells the door which server it belongs to; nobody passes before.
    pub fn set_server(&self, server: &Arc<Server>) {
        // It is told once, right after the server was made.
        let _ = self.server.set(Arc::downgrade(server));
    }

    fn server(&self) -> Option<Arc<Server>> {
        self.server.get().and_then(Weak::upgrade)
    }
}

impl ReaderGate for Door {
    fn is_valid_session(&self, session: &str) -> bool {
        self.server()
            .is_some_and(|server| server.sessions.check(&server.database, session).is_ok())
    }

    fn open(&self, vdi: Uuid) -> Result<Arc<dyn Export>, Refusal> {
        let server = self.server().ok_or(Refusal::ShuttingDown)?;
        let sr = {
            let objects = server.database.read();
            let record = objects
                .find_by_uuid("VDI", &vdi.to_string())
                .ok_or(Refusal::Unknown)?;
            record.text("SR").to_owned()
        };
        let driver = server.storage.state(&sr).sr();
        let driver = driver.ok_or(Refusal::Forbidden {
            reason: "the SR of the VDI is not attached",
        })?;
        driver.open_vdi(vdi, OpenMode::ReadOnly).map_err(|failure| {
            tracing::warn!(%failure, vdi.uuid = %vdi, "a VDI could not be opened for a reader");
            Refusal::Forbidden {
                reason: "the VDI cannot be opened for reading",
            }
        })
    }
}
