//! VDIs that nobody makes: LUNs that are taken into use and given back, and VDIs that a caller introduces.
//!
//! ```text
//! take:       choose -> record says managed (one transaction) -> answer
//! give back:  record says not managed, and names nothing any more -> answer
//! ```
//!
//! The caller holds the SR alone from the choice to the record, so no two calls choose one LUN. Which LUNs are in use stands
//! in the records alone; a crash in between leaves a LUN that is not in use. What other SRs of the pool have is not taken
//! (`lun_users`), nor what a forgotten SR had in use (`forgotten_luns`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;
use xenapi::{Failure, NULL_REF, Value};

use super::call::{Args, Record};
use super::{Server, forgotten_luns, lun_users, storage, vdi_records};
use crate::database::{Objects, Transaction};
use crate::sr::{FoundVdi, IntroducedVdi, NewVdi};

/// Takes a VDI into use for a caller's record; answers its reference.
///
/// # Errors
/// What the driver fails with; `SR_UNHEALTHY`.
pub async fn take(
    server: &Arc<Server>,
    sr: &str,
    new: NewVdi,
    record: Record,
) -> Result<String, Failure> {
    let in_use = {
        let objects = server.database.read();
        let mut in_use = in_use(&objects, sr);
        in_use.extend(lun_users::taken_by_others(server, &objects, sr));
        in_use
    };
    let chosen = storage::on_sr(server, sr, move |driver| driver.take_vdi(&new, &in_use));
    let chosen = chosen.await?;
    let written = server.database.write(|transaction| {
        let mut chosen = chosen;
        chosen.managed = true;
        lun_users::check_vdi(server, transaction, sr, &chosen.sm_config)?;
        let known = known(transaction, sr, &chosen)?;
        // What the record said of a LUN that nobody used is of no use to anybody.
        if let Some(known) = known {
            vdi_records::remove(transaction, &known);
        }
        Ok(vdi_records::insert_created(
            transaction,
            sr,
            record,
            &chosen,
        ))
    });
    written.await
}

/// Records that a VDI is not in use any more. Its bytes stay on the medium.
///
/// # Errors
/// Those of a transaction.
pub fn give_back(transaction: &mut Transaction<'_>, vdi: &str) -> Result<(), Failure> {
    let vbds: Vec<String> = transaction
        .pointing_at("VBD", "VDI", vdi)
        .map(|vbd| vbd.reference.to_string())
        .collect();
    vbds.iter().for_each(|vbd| transaction.remove("VBD", vbd));
    let record = transaction.get("VDI", vdi)?;
    let (sr, bytes) = (
        record.text("SR").to_owned(),
        vdi_records::visible_bytes(record),
    );
    transaction.update("VDI", vdi, |record| {
        record.put("managed", false.into());
        record.put("name_label", "".into());
        record.put("name_description", "".into());
        record.put("other_config", Value::Struct(BTreeMap::new()));
        record.put("xenstore_data", Value::Struct(BTreeMap::new()));
        record.put("tags", Value::Array(Vec::new()));
    })?;
    vdi_records::add_to_allocation(transaction, &sr, -bytes);
    Ok(())
}

/// Records a VDI that is on the medium under the names that a caller of `VDI.introduce` gives it; answers its reference.
///
/// # Errors
/// What the driver fails with; `UUID_INVALID`; `SR_UNHEALTHY`.
pub async fn introduce(server: &Arc<Server>, sr: &str, args: &Args) -> Result<String, Failure> {
    let uuid = match args.text(0) {
        "" => None,
        text => {
            let uuid = Uuid::parse_str(text);
            Some(uuid.map_err(|_| Failure::new("UUID_INVALID", ["VDI", text]))?)
        }
    };
    let introduced = IntroducedVdi {
        uuid,
        location: args.text(8).to_owned(),
        sm_config: args.texts(10),
    };
    let found = storage::on_sr(server, sr, move |driver| driver.introduce_vdi(&introduced));
    let mut found = found.await?;
    found.managed = true;
    let fields: Vec<(&str, Value)> = vec![
        ("name_label", args.text(1).into()),
        ("name_description", args.text(2).into()),
        ("type", args.text(4).into()),
        ("sharable", args.flag(5).into()),
        ("read_only", (args.flag(6) || found.read_only).into()),
        ("other_config", args.0.get(7).cloned().unwrap_or(Value::Nil)),
        (
            "xenstore_data",
            args.0.get(9).cloned().unwrap_or(Value::Nil),
        ),
        ("tags", Value::Array(Vec::new())),
    ];
    let record = Record(
        fields
            .into_iter()
            .map(|(field, value)| (field.to_owned(), value))
            .collect(),
    );
    let written = server.database.write(|transaction| {
        lun_users::check_vdi(server, transaction, sr, &found.sm_config)?;
        if let Some(known) = known(transaction, sr, &found)? {
            if transaction.get("VDI", &known)?.flag("managed") {
                return Err(Failure::backend(
                    43,
                    "The VDI already exists",
                    &format!("VDI {} is in use already", found.uuid),
                    "",
                ));
            }
            vdi_records::remove(transaction, &known);
        }
        let vdi = vdi_records::insert_created(transaction, sr, record, &found);
        transaction.set("VDI", &vdi, "metadata_of_pool", NULL_REF)?;
        forgotten_luns::settle(transaction, sr)?;
        Ok(vdi)
    });
    written.await
}

/// The record of a VDI that a driver names.
///
/// # Errors
/// 43 when its uuid is that of a VDI in another SR.
fn known(objects: &Objects, sr: &str, found: &FoundVdi) -> Result<Option<String>, Failure> {
    let Some(vdi) = objects.find_by_uuid("VDI", &found.uuid.to_string()) else {
        return Ok(None);
    };
    if vdi.text("SR") != sr {
        let detail = format!(
            "another SR has a VDI {} too; forget one of the two SRs",
            found.uuid
        );
        return Err(Failure::backend(43, "The VDI already exists", &detail, ""));
    }
    Ok(Some(vdi.reference.to_string()))
}

fn in_use(objects: &Objects, sr: &str) -> BTreeSet<Uuid> {
    let vdis = objects.pointing_at("VDI", "SR", sr);
    vdis.filter(|vdi| vdi.flag("managed"))
        .filter_map(|vdi| Uuid::parse_str(vdi.uuid()).ok())
        .collect()
}
