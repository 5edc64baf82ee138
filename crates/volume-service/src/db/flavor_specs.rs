//! Extra specs of flavors.

use std::collections::BTreeMap;

use super::{Param, Row, Transaction};
use crate::error::Result;
use crate::model::id::FlavorId;

/// Flavors whose specs one statement asks for.
const FLAVORS_PER_STATEMENT: usize = 64;

/// A flavor's specs.
pub fn load(tx: &mut Transaction<'_>, id: FlavorId) -> Result<BTreeMap<String, String>> {
    let pairs = tx.query(
        "SELECT name, value FROM flavor_specs WHERE flavor_id = ?1",
        &[id.into()],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    Ok(pairs.into_iter().collect())
}

/// The specs of several flavors.
pub fn load_all(
    tx: &mut Transaction<'_>,
    ids: &[FlavorId],
) -> Result<BTreeMap<FlavorId, BTreeMap<String, String>>> {
    let mut all: BTreeMap<FlavorId, BTreeMap<String, String>> = BTreeMap::new();
    let triple = |row: &Row<'_>| {
        let id: FlavorId = row.parsed(0, |text| text.parse().ok())?;
        Ok((id, row.text(1)?, row.text(2)?))
    };
    for some in ids.chunks(FLAVORS_PER_STATEMENT) {
        let places: Vec<String> = (1..=some.len()).map(|place| format!("?{place}")).collect();
        let params: Vec<Param> = some.iter().map(|id| (*id).into()).collect();
        let sql = format!(
            "SELECT flavor_id, name, value FROM flavor_specs WHERE flavor_id IN ({})",
            places.join(", ")
        );
        for (id, name, value) in tx.query(&sql, &params, triple)? {
            all.entry(id).or_default().insert(name, value);
        }
    }
    Ok(all)
}

/// Adds specs, or gives them other values.
pub fn merge(
    tx: &mut Transaction<'_>,
    id: FlavorId,
    specs: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, value) in specs {
        tx.execute(
            "INSERT INTO flavor_specs (flavor_id, name, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (flavor_id, name) DO UPDATE SET value = excluded.value",
            &[id.into(), name.as_str().into(), value.as_str().into()],
        )?;
    }
    Ok(())
}

/// Removes a spec; false when there is none of this name.
pub fn remove(tx: &mut Transaction<'_>, id: FlavorId, name: &str) -> Result<bool> {
    let touched = tx.execute(
        "DELETE FROM flavor_specs WHERE flavor_id = ?1 AND name = ?2",
        &[id.into(), name.into()],
    )?;
    Ok(touched == 1)
}
