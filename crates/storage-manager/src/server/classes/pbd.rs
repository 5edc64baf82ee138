//! Class `PBD`: how this host reaches an SR. Source: reference 2.5; golden 03.

use std::collections::BTreeMap;

use xenapi::{Failure, Value};

use crate::database::{Objects, Transaction, text_map};
use crate::server::call::{Args, Call, not_implemented};
use crate::server::first_start::INITIATOR_KEY;
use crate::server::operations::{self, Operation, Sharing};
use crate::server::{
    allowed, attachments, coalesce, config_changes, health, lun_users, reconcile, recovery, storage,
};

/// Suffix of the keys that are passwords.
const PASSWORD: &str = "password";

/// What a password's key gets when its value moves to a secret.
const SECRET: &str = "_secret";

/// The key that the server itself puts into what drivers get.
const RESERVED: &str = "SRmaster";

/// Runs a message of the class.
pub async fn run(call: &Call, name: &str, mut args: Args) -> Result<Value, Failure> {
    match name {
        "create" => {
            let mut record = args.record();
            let (host, sr) = (record.text("host").to_owned(), record.text("SR").to_owned());
            let device_config = record.texts("device_config");
            check_reserved(&device_config)?;
            let other_config = record.take("other_config");
            let written = call.server.database.write(|transaction| {
                transaction.get("SR", &sr)?;
                transaction.get("host", &host)?;
                let present = transaction
                    .pointing_at("PBD", "SR", &sr)
                    .find(|pbd| pbd.text("host") == host);
                if let Some(present) = present {
                    return Err(Failure::new(
                        "PBD_EXISTS",
                        [&sr, &host, &*present.reference],
                    ));
                }
                insert(transaction, &host, &sr, &device_config, other_config)
            });
            written.await.map(Value::from)
        }
        "destroy" => {
            let _operation = alone(call, args.text(0), "pbd_destroy").await?;
            let written = call.server.database.write(|transaction| {
                if transaction
                    .get("PBD", args.text(0))?
                    .flag("currently_attached")
                {
                    return Err(Failure::new(
                        "OPERATION_NOT_ALLOWED",
                        ["PBD is currently attached"],
                    ));
                }
                remove(transaction, args.text(0));
                Ok(Value::Nil)
            });
            written.await
        }
        "plug" => {
            let _operation = alone(call, args.text(0), "plug").await?;
            plug(call, args.text(0)).await?;
            Ok(Value::Nil)
        }
        "unplug" => unplug(call, args.text(0)).await,
        "set_device_config" => {
            let _operation = alone(call, args.text(0), "update").await?;
            let device_config = args.texts(1);
            check_reserved(&device_config)?;
            let written = call.server.database.write(|transaction| {
                let pbd = transaction.get("PBD", args.text(0))?;
                if pbd.flag("currently_attached") {
                    return Err(Failure::new("PERMISSION_DENIED", [""]));
                }
                let before = pbd.texts("device_config");
                let moved = move_passwords(transaction, &device_config)?;
                remove_secrets(transaction, &before);
                transaction.set("PBD", args.text(0), "device_config", text_map(moved))?;
                Ok(Value::Nil)
            });
            written.await
        }
        _ => Err(not_implemented(&format!("PBD.{name}"))),
    }
}

/// Holds the SR of a PBD alone, so that it is not plugged meanwhile.
async fn alone(call: &Call, pbd: &str, operation: &str) -> Result<Operation, Failure> {
    let sr = call
        .server
        .database
        .read()
        .get("PBD", pbd)?
        .text("SR")
        .to_owned();
    operations::begin(call, "SR", &sr, operation, Sharing::Exclusive).await
}

fn check_reserved(device_config: &BTreeMap<String, String>) -> Result<(), Failure> {
    match device_config.get(RESERVED) {
        Some(value) => Err(Failure::new(
            "VALUE_NOT_SUPPORTED",
            [RESERVED, value, "the key is reserved for the server"],
        )),
        None => Ok(()),
    }
}

/// Makes a PBD; its passwords move to secrets of its own.
pub fn insert(
    transaction: &mut Transaction<'_>,
    host: &str,
    sr: &str,
    device_config: &BTreeMap<String, String>,
    other_config: Value,
) -> Result<String, Failure> {
    let device_config = move_passwords(transaction, device_config)?;
    Ok(transaction.insert(
        "PBD",
        [
            ("host", host.into()),
            ("SR", sr.into()),
            ("device_config", text_map(device_config)),
            (
                "other_config",
                if other_config == Value::Nil {
                    Value::Struct(BTreeMap::new())
                } else {
                    other_config
                },
            ),
        ],
    ))
}

/// Removes a PBD with its secrets.
pub fn remove(transaction: &mut Transaction<'_>, pbd: &str) {
    if let Some(object) = transaction.find("PBD", pbd).cloned() {
        remove_secrets(transaction, &object.texts("device_config"));
        transaction.remove("PBD", pbd);
    }
}

/// Moves clear passwords to fresh secrets and copies the secrets that are named, so that each PBD owns its own.
fn move_passwords(
    transaction: &mut Transaction<'_>,
    device_config: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut moved = BTreeMap::new();
    for (key, value) in device_config {
        let (name, clear) = if let Some(plain) = secret_of(key) {
            let secret = transaction.find_by_uuid("secret", value);
            let secret = secret.ok_or_else(|| Failure::new("UUID_INVALID", ["secret", value]))?;
            (plain.to_owned(), secret.text("value").to_owned())
        } else if is_password(key) {
            (key.clone(), value.clone())
        } else {
            moved.insert(key.clone(), value.clone());
            continue;
        };
        let secret = transaction.insert("secret", [("value", clear.into())]);
        let uuid = transaction.get("secret", &secret)?.uuid().to_owned();
        moved.insert(format!("{name}{SECRET}"), uuid);
    }
    Ok(moved)
}

fn remove_secrets(transaction: &mut Transaction<'_>, device_config: &BTreeMap<String, String>) {
    for uuid in device_config
        .iter()
        .filter(|(key, _)| secret_of(key).is_some())
        .map(|(_, uuid)| uuid)
    {
        let secret = transaction
            .find_by_uuid("secret", uuid)
            .map(|secret| secret.reference.clone());
        if let Some(secret) = secret {
            transaction.remove("secret", &secret);
        }
    }
}

/// Says whether the value of a key is a password in the clear.
pub fn is_password(key: &str) -> bool {
    key.ends_with(PASSWORD)
}

/// The plain key of `<plain>_secret`, when it is that of a password.
fn secret_of(key: &str) -> Option<&str> {
    key.strip_suffix(SECRET)
        .filter(|plain| plain.ends_with(PASSWORD))
}

/// What a driver gets: passwords in the clear, under their plain keys.
///
/// # Errors
/// `UUID_INVALID ["secret", uuid]`.
pub fn with_clear_passwords(
    objects: &Objects,
    device_config: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut clear = BTreeMap::new();
    for (key, value) in device_config {
        match secret_of(key) {
            Some(plain) => {
                let secret = objects.find_by_uuid("secret", value);
                let secret =
                    secret.ok_or_else(|| Failure::new("UUID_INVALID", ["secret", value]))?;
                clear.insert(plain.to_owned(), secret.text("value").to_owned());
            }
            None => {
                clear.insert(key.clone(), value.clone());
            }
        }
    }
    name_initiator(objects, &mut clear);
    Ok(clear)
}

/// Tells drivers of targets our name, unless the configuration has one.
fn name_initiator(objects: &Objects, device_config: &mut BTreeMap<String, String>) {
    if !device_config.contains_key("target") || device_config.contains_key("localIQN") {
        return;
    }
    let name = objects
        .all("host")
        .find_map(|host| host.entry("other_config", INITIATOR_KEY));
    if let Some(name) = name {
        device_config.insert("localIQN".to_owned(), name.to_owned());
    }
}

/// Attaches the SR of a PBD; the caller holds the SR alone.
pub async fn plug(call: &Call, pbd: &str) -> Result<(), Failure> {
    let server = &call.server;
    let (sr, params, sr_type) = {
        let objects = server.database.read();
        let pbd = objects.get("PBD", pbd)?;
        let sr = objects.get("SR", pbd.text("SR"))?;
        let sr_type = server.sr_type(sr.text("type")).cloned();
        let sr_type =
            sr_type.ok_or_else(|| Failure::new("SR_UNKNOWN_DRIVER", [sr.text("type")]))?;
        let sr_reference = sr.reference.to_string();
        if pbd.flag("currently_attached") && server.storage.state(&sr_reference).sr().is_some() {
            return Ok(());
        }
        lun_users::check_attach(&objects, &sr_reference, &pbd.texts("device_config"))?;
        (sr_reference, pbd.texts("device_config"), sr_type)
    };
    let params = storage::params(server, &sr, &params)?;
    let attached = storage::attach(server, &sr, &sr_type, params).await?;
    let written = server.database.write(|transaction| {
        transaction.set("PBD", pbd, "currently_attached", true)?;
        transaction.touch("SR", &sr);
        config_changes::record(transaction, &sr, &attached.config_changes())
    });
    written.await?;
    recovery::resolve_intents(server, &sr).await;
    // As on a real pool: an SR that attaches and cannot be scanned is attached all the same.
    if let Err(failure) = reconcile::scan(server, &sr, reconcile::Wish::Asked).await {
        tracing::warn!(%failure, sr.reference = sr, "the scan after attaching an SR failed");
        let body = failure.to_string();
        let noted = server.database.write(|transaction| {
            let uuid = transaction.get("SR", &sr)?.uuid().to_owned();
            super::message::note(
                transaction,
                "POST_ATTACH_SCAN_FAILED",
                2,
                "SR",
                &uuid,
                &body,
            );
            Ok(())
        });
        noted.await?;
    }
    coalesce::start(server, &sr);
    // What was plugged when an earlier start could not attach the SR; else nothing is.
    attachments::republish(server, &sr).await;
    Ok(())
}

async fn unplug(call: &Call, pbd: &str) -> Result<Value, Failure> {
    let server = &call.server;
    let sr = server
        .database
        .read()
        .get("PBD", pbd)?
        .text("SR")
        .to_owned();
    let _operation = operations::begin(call, "SR", &sr, "unplug", Sharing::Exclusive).await?;
    let vdis: Vec<String> = {
        let objects = server.database.read();
        if !objects.get("PBD", pbd)?.flag("currently_attached") {
            return Ok(Value::Nil);
        }
        let vdis: Vec<_> = objects.pointing_at("VDI", "SR", &sr).collect();
        let used = vdis
            .iter()
            .filter(|vdi| allowed::is_plugged(&objects, &vdi.reference));
        let used: Vec<String> = used.map(|vdi| vdi.reference.to_string()).collect();
        if !used.is_empty() {
            return Err(Failure::new("VDI_IN_USE", used));
        }
        vdis.iter().map(|vdi| vdi.uuid().to_owned()).collect()
    };
    attachments::withdraw_unplugged(server, &sr, vdis).await?;
    let state = server.storage.state(&sr);
    let mut unsaved = None;
    if let Some(driver) = state.sr() {
        coalesce::stop(server, &sr);
        let patience = storage::patience_of(server, &sr);
        let detached = storage::on_threads_within(server, &sr, patience, move || {
            driver.detach()?;
            Ok(driver.unsaved())
        });
        let detached = detached.await;
        unsaved = detached.inspect_err(|_| coalesce::start(server, &sr))?;
    }
    state.set_sr(None);
    health::note(server, &sr).await;
    let written = server.database.write(|transaction| {
        transaction.set("PBD", pbd, "currently_attached", false)?;
        transaction.touch("SR", &sr);
        if let Some(words) = &unsaved {
            let uuid = transaction.get("SR", &sr)?.uuid().to_owned();
            tracing::error!(
                sr.uuid = uuid,
                "data was lost while an SR was detached: {words}"
            );
            super::message::note(
                transaction,
                "SR_DETACHED_WITH_UNSAVED_DATA",
                2,
                "SR",
                &uuid,
                words,
            );
        }
        Ok(Value::Nil)
    });
    written.await
}
