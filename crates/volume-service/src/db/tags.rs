//! Tags of many things at once: what is written to several, and lists of tags of a project.
//!
//! Tags are the metadata of volumes and snapshots under EC2's name; each kind of thing has a table of them, with its things in
//! another.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::select::Select;
use super::volume_metadata::{CHUNK, in_list};
use super::{Param, Transaction};
use crate::app::tags::{Kind, Removal, Tag, TagQuery};
use crate::error::Result;

/// The statements of a kind of thing. Of those with a list of ids, the list has [`CHUNK`] places, and what else is bound stands
/// behind it.
struct Statements {
    lock: String,
    touch: String,
    count: String,
    add: String,
    remove_key: String,
    remove_pair: String,
    remove_all: String,
}

impl Statements {
    fn of(things: &str, tags: &str, thing_id: &str) -> Self {
        let [first, second] = [CHUNK + 1, CHUNK + 2];
        let list = in_list("", CHUNK);
        Statements {
            lock: format!("SELECT id FROM {things} WHERE id IN{list} ORDER BY id /* for update */"),
            touch: format!("UPDATE {things} SET updated_at_us = ?{first} WHERE id IN{list}"),
            count: format!(
                "SELECT {thing_id}, COUNT(*) FROM {tags} WHERE {thing_id} IN{list} GROUP BY {thing_id}"
            ),
            add: format!(
                "INSERT INTO {tags} ({thing_id}, name, value) SELECT id, CAST(?{first} AS TEXT), CAST(?{second} AS TEXT) FROM {things} WHERE id IN{list} \
                 ON CONFLICT ({thing_id}, name) DO UPDATE SET value = excluded.value"
            ),
            remove_key: format!("DELETE FROM {tags} WHERE name = ?{first} AND {thing_id} IN{list}"),
            remove_pair: format!(
                "DELETE FROM {tags} WHERE name = ?{first} AND value = ?{second} AND {thing_id} IN{list}"
            ),
            remove_all: format!(
                "DELETE FROM {tags} WHERE substr(name, 1, 4) <> ?{first} AND {thing_id} IN{list}"
            ),
        }
    }
}

static OF_SNAPSHOTS: LazyLock<Statements> =
    LazyLock::new(|| Statements::of("snapshots", "snapshot_metadata", "snapshot_id"));
static OF_VOLUMES: LazyLock<Statements> =
    LazyLock::new(|| Statements::of("volumes", "volume_metadata", "volume_id"));

fn statements(kind: Kind) -> &'static Statements {
    match kind {
        Kind::Snapshot => &OF_SNAPSHOTS,
        Kind::Volume => &OF_VOLUMES,
    }
}

/// The ids in their places, and what stands behind them.
fn params(ids: &[String], more: &[&str]) -> Vec<Param> {
    let mut params: Vec<Param> = ids.iter().map(|id| id.as_str().into()).collect();
    if let Some(last) = params.last().cloned() {
        params.resize(CHUNK, last);
    }
    params.extend(more.iter().map(|text| Param::from(*text)));
    params
}

/// Locks things until the transaction ends, in the order of their ids; returns those that are there.
pub fn lock(tx: &mut Transaction<'_>, kind: Kind, ids: &[String]) -> Result<Vec<String>> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        found.extend(
            tx.query(&statements(kind).lock, &params(chunk, &[]), |row| {
                row.text(0)
            })?,
        );
    }
    Ok(found)
}

/// How many tags these things have, by their ids; those without any are left out.
pub fn counts(
    tx: &mut Transaction<'_>,
    kind: Kind,
    ids: &[String],
) -> Result<BTreeMap<String, i64>> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(CHUNK) {
        found.extend(
            tx.query(&statements(kind).count, &params(chunk, &[]), |row| {
                Ok((row.text(0)?, row.int(1)?))
            })?,
        );
    }
    Ok(found)
}

/// Adds or replaces tags of things.
pub fn add(
    tx: &mut Transaction<'_>,
    kind: Kind,
    ids: &[String],
    tags: &BTreeMap<String, String>,
    now_us: i64,
) -> Result<()> {
    for chunk in ids.chunks(CHUNK) {
        for (key, value) in tags {
            tx.execute(&statements(kind).add, &params(chunk, &[key, value]))?;
        }
    }
    touch(tx, kind, ids, now_us)
}

/// Removes tags of things; what is not there is passed over.
pub fn remove(
    tx: &mut Transaction<'_>,
    kind: Kind,
    ids: &[String],
    removal: &Removal,
    now_us: i64,
) -> Result<()> {
    let statements = statements(kind);
    for chunk in ids.chunks(CHUNK) {
        match removal {
            Removal::Key(key) => tx.execute(&statements.remove_key, &params(chunk, &[key]))?,
            Removal::Pair(key, value) => {
                tx.execute(&statements.remove_pair, &params(chunk, &[key, value]))?
            }
            Removal::AllBut(prefix) => {
                tx.execute(&statements.remove_all, &params(chunk, &[prefix]))?
            }
        };
    }
    touch(tx, kind, ids, now_us)
}

/// Things that get tags have changed.
fn touch(tx: &mut Transaction<'_>, kind: Kind, ids: &[String], now_us: i64) -> Result<()> {
    for chunk in ids.chunks(CHUNK) {
        let mut params = params(chunk, &[]);
        params.push(now_us.into());
        tx.execute(&statements(kind).touch, &params)?;
    }
    Ok(())
}

/// The next tags of a project's things of one kind, by name and key, one more than `limit` when more follow.
pub fn page(
    tx: &mut Transaction<'_>,
    kind: Kind,
    project_id: &str,
    query: &TagQuery,
    limit: usize,
) -> Result<Vec<Tag>> {
    let (things, tags) = match kind {
        Kind::Snapshot => ("snapshots", "snapshot_metadata m ON m.snapshot_id = t.id"),
        Kind::Volume => ("volumes", "volume_metadata m ON m.volume_id = t.id"),
    };
    let mut select = Select::all();
    select.equal("t.project_id", project_id.into());
    for (column, narrowings) in [
        ("t.ec2_id", &query.resources),
        ("m.name", &query.keys),
        ("m.value", &query.values),
    ] {
        for values in narrowings {
            select.one_of(column, values.iter().map(|value| value.as_str().into()));
        }
    }
    if let Some((resource, key)) = &query.after
        && Kind::of(resource) == Some(kind)
    {
        let resource = select.param(resource.as_str().into());
        let key = select.param(key.as_str().into());
        // The first condition is one that an index serves.
        select.condition.push_str(&format!(
            " AND t.ec2_id >= {resource} AND (t.ec2_id, m.name) > ({resource}, {key})"
        ));
    }
    let limit = select.param(super::select::count(limit.saturating_add(1)));
    let sql = format!(
        "SELECT t.ec2_id, m.name, m.value FROM {things} t JOIN {tags} WHERE {} ORDER BY t.ec2_id, m.name LIMIT {limit}",
        select.condition
    );
    tx.query(&sql, &select.params, |row| {
        Ok(Tag {
            kind,
            resource: row.text(0)?,
            key: row.text(1)?,
            value: row.text(2)?,
        })
    })
}
