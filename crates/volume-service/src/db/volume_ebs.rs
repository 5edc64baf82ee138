//! What EC2 says of few volumes: a row only where something is not as usual.

use std::collections::HashMap;

use super::volume_metadata::{CHUNK, in_list, padded};
use super::{Row, Transaction};
use crate::error::Result;
use crate::model::id::VolumeId;
use crate::model::performance::Ebs;

const COLUMNS: &str = "iops, throughput, initialization_rate, auto_enable_io";

/// Of one volume.
pub fn load(tx: &mut Transaction<'_>, id: VolumeId) -> Result<Ebs> {
    let sql = format!("SELECT volume_id, {COLUMNS} FROM volume_ebs WHERE volume_id = ?1");
    let found = tx.query_first(&sql, &[id.into()], from_row)?;
    Ok(found.map(|(_, ebs)| ebs).unwrap_or_default())
}

/// Of many volumes, by their ids; those of which nothing is to be said are left out.
pub fn of_volumes(tx: &mut Transaction<'_>, ids: &[VolumeId]) -> Result<HashMap<VolumeId, Ebs>> {
    let head = format!("SELECT volume_id, {COLUMNS} FROM volume_ebs WHERE volume_id IN");
    let sql = in_list(&head, CHUNK);
    let mut found = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        found.extend(tx.query(&sql, &padded(chunk), from_row)?);
    }
    Ok(found)
}

/// Writes what is to be said of a volume that is there.
pub fn store(tx: &mut Transaction<'_>, id: VolumeId, ebs: &Ebs) -> Result<()> {
    if *ebs == Ebs::default() {
        tx.execute("DELETE FROM volume_ebs WHERE volume_id = ?1", &[id.into()])?;
        return Ok(());
    }
    let int = |number: Option<u64>| number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    tx.execute(
        "INSERT INTO volume_ebs (volume_id, iops, throughput, initialization_rate, auto_enable_io) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (volume_id) DO UPDATE SET iops = excluded.iops, throughput = excluded.throughput, \
         initialization_rate = excluded.initialization_rate, auto_enable_io = excluded.auto_enable_io",
        &[
            id.into(),
            int(ebs.iops).into(),
            int(ebs.throughput).into(),
            int(ebs.initialization_rate).into(),
            ebs.auto_enable_io.into(),
        ],
    )?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<(VolumeId, Ebs)> {
    let number = |place| -> Result<Option<u64>> {
        let number = row.opt_int(place)?;
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    };
    let ebs = Ebs {
        iops: number(1)?,
        throughput: number(2)?,
        initialization_rate: number(3)?,
        auto_enable_io: row.int(4)? != 0,
    };
    Ok((row.parsed(0, |text| text.parse().ok())?, ebs))
}
