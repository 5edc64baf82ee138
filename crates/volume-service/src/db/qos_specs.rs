//! QoS specs, and the flavors that refer to them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::select::{Select, count, order};
use super::{Param, Row, Transaction};
use crate::app::qos_specs::{QosQuery, QosSortKey};
use crate::app::volumes::SortDirection;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::FlavorId;
use crate::model::qos_specs::{Consumer, QosSpecs};

const COLUMNS: &str = "q.id, q.name, q.consumer, q.created_at_us";

/// Most flavors of QoS specs that are shown.
const FLAVORS_SHOWN_MAX: i64 = 10_000;

/// Adds QoS specs; false, with nothing changed, when the name exists.
pub fn insert(tx: &mut Transaction<'_>, qos: &QosSpecs) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO qos_specs (id, name, consumer, created_at_us, updated_at_us) VALUES (?1, ?2, ?3, ?4, ?4) \
         ON CONFLICT DO NOTHING",
        &[
            param(qos.id),
            qos.name.as_str().into(),
            qos.consumer.as_str().into(),
            qos.created_at_us.into(),
        ],
    )?;
    if added == 1 {
        merge(tx, qos.id, &qos.specs)?;
    }
    Ok(added == 1)
}

/// QoS specs by id.
pub fn find(tx: &mut Transaction<'_>, id: Uuid) -> Result<Option<QosSpecs>> {
    let sql = format!("SELECT {COLUMNS} FROM qos_specs q WHERE q.id = ?1");
    let found = tx.query_first(&sql, &[param(id)], from_row)?;
    filled(tx, found)
}

/// The QoS specs of a flavor's volumes.
pub fn of_flavor(tx: &mut Transaction<'_>, flavor_id: FlavorId) -> Result<Option<QosSpecs>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM flavor_traits t JOIN qos_specs q ON q.id = t.qos_id WHERE t.flavor_id = ?1"
    );
    let found = tx.query_first(&sql, &[flavor_id.into()], from_row)?;
    filled(tx, found)
}

fn filled(tx: &mut Transaction<'_>, found: Option<QosSpecs>) -> Result<Option<QosSpecs>> {
    let Some(mut qos) = found else {
        return Ok(None);
    };
    qos.specs = load(tx, qos.id)?;
    Ok(Some(qos))
}

fn load(tx: &mut Transaction<'_>, id: Uuid) -> Result<BTreeMap<String, String>> {
    let pairs = tx.query(
        "SELECT name, value FROM qos_spec_values WHERE qos_id = ?1",
        &[param(id)],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    Ok(pairs.into_iter().collect())
}

/// The QoS specs behind the marker that match, one more than `limit`.
///
/// # Errors
/// `Invalid` when the marker does not exist.
pub fn page(tx: &mut Transaction<'_>, query: &QosQuery, limit: usize) -> Result<Vec<QosSpecs>> {
    let mut sort = query.sort.clone();
    if sort.is_empty() {
        sort.push((QosSortKey::CreatedAt, SortDirection::Descending));
    }
    let last = sort.last().map(|(_, direction)| *direction);
    sort.push((QosSortKey::Id, last.unwrap_or(SortDirection::Descending)));
    let columns: Vec<(&str, SortDirection)> = sort
        .iter()
        .map(|(key, direction)| (column(*key), *direction))
        .collect();
    let mut select = Select::all();
    if let Some(id) = query.id {
        select.equal("q.id", param(id));
    }
    if let Some(name) = &query.name {
        select.equal("q.name", name.as_str().into());
    }
    if let Some(consumer) = query.consumer {
        select.equal("q.consumer", consumer.as_str().into());
    }
    if let Some(marker) = query.marker {
        let values = sort_values(tx, marker, &sort)?;
        select.behind(&columns, values);
    }
    let limit = select.param(count(limit.saturating_add(1)));
    let offset = select.param(count(query.offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM qos_specs q WHERE {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
        select.condition,
        order(&columns)
    );
    let mut found = tx.query(&sql, &select.params, from_row)?;
    for qos in &mut found {
        qos.specs = load(tx, qos.id)?;
    }
    Ok(found)
}

fn sort_values(
    tx: &mut Transaction<'_>,
    marker: Uuid,
    sort: &[(QosSortKey, SortDirection)],
) -> Result<Vec<Param>> {
    let columns: Vec<&str> = sort.iter().map(|(key, _)| column(*key)).collect();
    let sql = format!(
        "SELECT {} FROM qos_specs q WHERE q.id = ?1",
        columns.join(", ")
    );
    let found = tx.query_first(&sql, &[param(marker)], |row| {
        sort.iter()
            .enumerate()
            .map(|(place, (key, _))| {
                Ok(match key {
                    QosSortKey::CreatedAt => Param::Int(row.int(place)?),
                    QosSortKey::Name | QosSortKey::Consumer | QosSortKey::Id => {
                        Param::Text(row.text(place)?)
                    }
                })
            })
            .collect::<Result<Vec<Param>>>()
    })?;
    found.ok_or_else(|| missing(marker))
}

/// What is said of specs that are not there.
pub fn missing(id: Uuid) -> Error {
    let text = format!("No such QoS spec {id}.");
    Error::new(ErrorKind::NotFound, Subject::Request, text).on(id.to_string())
}

fn column(key: QosSortKey) -> &'static str {
    match key {
        QosSortKey::CreatedAt => "q.created_at_us",
        QosSortKey::Name => "q.name",
        QosSortKey::Consumer => "q.consumer",
        QosSortKey::Id => "q.id",
    }
}

/// Locks QoS specs until the transaction ends; false when there are none of this id.
pub fn lock(tx: &mut Transaction<'_>, id: Uuid) -> Result<bool> {
    let sql = "SELECT id FROM qos_specs WHERE id = ?1 /* for update */";
    Ok(tx.query_first(sql, &[param(id)], |_| Ok(()))?.is_some())
}

/// Changes who is to obey.
pub fn set_consumer(
    tx: &mut Transaction<'_>,
    id: Uuid,
    consumer: Consumer,
    now_us: i64,
) -> Result<()> {
    tx.execute(
        "UPDATE qos_specs SET consumer = ?2, updated_at_us = ?3 WHERE id = ?1",
        &[param(id), consumer.as_str().into(), now_us.into()],
    )
    .map(drop)
}

/// Adds figures, or gives them other values.
pub fn merge(tx: &mut Transaction<'_>, id: Uuid, specs: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in specs {
        tx.execute(
            "INSERT INTO qos_spec_values (qos_id, name, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (qos_id, name) DO UPDATE SET value = excluded.value",
            &[param(id), name.as_str().into(), value.as_str().into()],
        )?;
    }
    Ok(())
}

/// Removes a figure; false when there is none of this name.
pub fn remove_key(tx: &mut Transaction<'_>, id: Uuid, name: &str) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM qos_spec_values WHERE qos_id = ?1 AND name = ?2",
        &[param(id), name.into()],
    )?;
    Ok(removed == 1)
}

/// Removes QoS specs; the database refuses (`Conflict`) while flavors refer to them.
pub fn remove(tx: &mut Transaction<'_>, id: Uuid) -> Result<()> {
    let sql = "DELETE FROM qos_specs WHERE id = ?1";
    tx.execute(sql, &[param(id)]).map(drop)
}

/// The flavors that refer to QoS specs: id and label, by label.
pub fn flavors(tx: &mut Transaction<'_>, id: Uuid) -> Result<Vec<(FlavorId, String)>> {
    tx.query(
        "SELECT f.id, f.label FROM flavor_traits t JOIN flavors f ON f.id = t.flavor_id WHERE t.qos_id = ?1 \
         ORDER BY f.label LIMIT ?2",
        &[param(id), FLAVORS_SHOWN_MAX.into()],
        |row| Ok((row.parsed(0, |text| text.parse().ok())?, row.text(1)?)),
    )
}

/// Lets a flavor refer to QoS specs, or to none.
pub fn set_of_flavor(
    tx: &mut Transaction<'_>,
    flavor_id: FlavorId,
    id: Option<Uuid>,
    now_us: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO flavor_traits (flavor_id, is_public, qos_id, updated_at_us) VALUES (?1, 1, ?2, ?3) \
         ON CONFLICT (flavor_id) DO UPDATE SET qos_id = excluded.qos_id, updated_at_us = excluded.updated_at_us",
        &[
            flavor_id.into(),
            id.map(|id| id.to_string()).into(),
            now_us.into(),
        ],
    )
    .map(drop)
}

/// Lets no flavor refer to QoS specs any more.
pub fn leave_flavors(tx: &mut Transaction<'_>, id: Uuid, now_us: i64) -> Result<()> {
    tx.execute(
        "UPDATE flavor_traits SET qos_id = NULL, updated_at_us = ?2 WHERE qos_id = ?1",
        &[param(id), now_us.into()],
    )
    .map(drop)
}

fn from_row(row: &Row<'_>) -> Result<QosSpecs> {
    Ok(QosSpecs {
        id: row.parsed(0, |text| text.parse().ok())?,
        name: row.text(1)?,
        consumer: row.parsed(2, Consumer::parse)?,
        specs: BTreeMap::new(),
        created_at_us: row.int(3)?,
    })
}

fn param(id: Uuid) -> Param {
    Param::Text(id.to_string())
}
