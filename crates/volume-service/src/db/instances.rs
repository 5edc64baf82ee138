//! Instances: the virtual machines of the pools, as a reconciler last saw them.

use super::select::count;
use super::{Param, Row, Transaction, ec2_names};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::model::id::InstanceId;
use crate::model::instance::{BlockDevice, Instance, PowerState};

const COLUMNS: &str = "i.id, i.zone, i.name, i.power_state, i.is_control_domain, i.instance_type, i.vcpus, i.memory_mib, \
                       i.started_at_us, i.devices, i.created_at_us, i.gone_at_us";
/// What every EC2 name begins with.
const PREFIX: &str = "i-";
/// The instances that the project `?1` may see.
const SHOWN: &str = "EXISTS (SELECT 1 FROM instance_projects p WHERE p.instance_id = i.id AND p.project_id IN (?1, '*'))";

/// The instance with this EC2 name, of 17 digits or of 8 when they are of one instance only, if the project may see it. It may be gone
/// from its pool.
pub fn find(tx: &mut Transaction<'_>, project_id: &str, ec2_id: &str) -> Result<Option<Instance>> {
    // 'g' sorts right behind every hexadecimal digit.
    let last = match ec2_names::short(ec2_id, PREFIX) {
        Some(short) => format!("{short}g"),
        None => ec2_id.to_owned(),
    };
    let mut found = tx.query(
        &format!(
            "SELECT {COLUMNS} FROM instances i WHERE i.ec2_id >= ?2 AND i.ec2_id <= ?3 AND {SHOWN} ORDER BY i.ec2_id LIMIT 2"
        ),
        &[project_id.into(), ec2_id.into(), last.into()],
        from_row,
    )?;
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// An instance, whoever may see it.
pub fn of_id(tx: &mut Transaction<'_>, id: InstanceId) -> Result<Option<Instance>> {
    tx.query_first(
        &format!("SELECT {COLUMNS} FROM instances i WHERE i.id = ?1"),
        &[id.into()],
        from_row,
    )
}

/// Up to `limit` instances that a project may see, those first that were seen first, behind a place in that order.
pub fn page(
    tx: &mut Transaction<'_>,
    project_id: &str,
    after: Option<(i64, InstanceId)>,
    limit: usize,
) -> Result<Vec<Instance>> {
    let (after_us, after_id) = match after {
        Some((us, id)) => (us, id.to_string()),
        None => (i64::MIN, String::new()),
    };
    tx.query(
        &format!(
            "SELECT {COLUMNS} FROM instances i WHERE {SHOWN} AND (i.created_at_us, i.id) > (?2, ?3) \
             ORDER BY i.created_at_us, i.id LIMIT ?4"
        ),
        &[
            project_id.into(),
            after_us.into(),
            after_id.into(),
            count(limit),
        ],
        from_row,
    )
}

/// Every instance of a zone, also those that are gone.
pub fn of_zone(tx: &mut Transaction<'_>, zone: &str) -> Result<Vec<Instance>> {
    tx.query(
        &format!("SELECT {COLUMNS} FROM instances i WHERE i.zone = ?1 ORDER BY i.id"),
        &[zone.into()],
        from_row,
    )
}

/// Who may see which instance of a zone.
pub fn projects_of_zone(tx: &mut Transaction<'_>, zone: &str) -> Result<Vec<(InstanceId, String)>> {
    tx.query(
        "SELECT p.instance_id, p.project_id FROM instance_projects p JOIN instances i ON i.id = p.instance_id \
         WHERE i.zone = ?1 ORDER BY p.instance_id, p.project_id",
        &[zone.into()],
        |row| Ok((row.parsed(0, |text| text.parse().ok())?, row.text(1)?)),
    )
}

/// Writes an instance as it is now; when it was first seen stays.
pub fn put(tx: &mut Transaction<'_>, instance: &Instance) -> Result<()> {
    let devices = serde_json::to_string(&instance.devices).map_err(|error| {
        let text = "block devices could not be written as JSON";
        Error::new(ErrorKind::Internal, Subject::Database, text).caused_by(error)
    })?;
    let memory_mib = i64::try_from(instance.memory_mib).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO instances (id, ec2_id, zone, name, power_state, is_control_domain, instance_type, vcpus, memory_mib, \
         started_at_us, devices, created_at_us, gone_at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
         ON CONFLICT (id) DO UPDATE SET zone = excluded.zone, name = excluded.name, power_state = excluded.power_state, \
         is_control_domain = excluded.is_control_domain, instance_type = excluded.instance_type, vcpus = excluded.vcpus, \
         memory_mib = excluded.memory_mib, started_at_us = excluded.started_at_us, devices = excluded.devices, \
         gone_at_us = excluded.gone_at_us",
        &[
            instance.id.into(),
            instance.id.ec2_id().into(),
            instance.zone.as_str().into(),
            instance.name.as_str().into(),
            instance.power_state.as_str().into(),
            instance.is_control_domain.into(),
            instance.instance_type.as_str().into(),
            i64::from(instance.vcpus).into(),
            memory_mib.into(),
            instance.started_at_us.into(),
            devices.into(),
            instance.created_at_us.into(),
            instance.gone_at_us.into(),
        ],
    )?;
    Ok(())
}

/// Says who may see an instance.
pub fn set_projects(tx: &mut Transaction<'_>, id: InstanceId, projects: &[String]) -> Result<()> {
    tx.execute(
        "DELETE FROM instance_projects WHERE instance_id = ?1",
        &[id.into()],
    )?;
    for project in projects {
        tx.execute(
            "INSERT INTO instance_projects (instance_id, project_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            &[id.into(), project.as_str().into()],
        )?;
    }
    Ok(())
}

/// The pool of a zone does not have it any more.
pub fn set_gone(tx: &mut Transaction<'_>, id: InstanceId, now_us: i64) -> Result<bool> {
    let touched = tx.execute(
        "UPDATE instances SET gone_at_us = ?2, power_state = 'Halted', devices = '[]' WHERE id = ?1 AND gone_at_us IS NULL",
        &[id.into(), now_us.into()],
    )?;
    Ok(touched == 1)
}

/// Forgets the instances of a zone that have been gone since before a moment and that nothing is attached to.
pub fn forget_gone(tx: &mut Transaction<'_>, zone: &str, before_us: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM instances WHERE zone = ?1 AND gone_at_us < ?2 \
         AND NOT EXISTS (SELECT 1 FROM instance_attachments a WHERE a.instance_id = instances.id)",
        &[zone.into(), before_us.into()],
    )
}

fn from_row(row: &Row<'_>) -> Result<Instance> {
    let devices = |text: &str| serde_json::from_str::<Vec<BlockDevice>>(text).ok();
    Ok(Instance {
        id: row.parsed(0, |text| text.parse().ok())?,
        zone: row.text(1)?,
        name: row.text(2)?,
        power_state: row.parsed(3, PowerState::parse)?,
        is_control_domain: row.int(4)? != 0,
        instance_type: row.text(5)?,
        vcpus: u32::try_from(row.int(6)?).unwrap_or(0),
        memory_mib: u64::try_from(row.int(7)?).unwrap_or(0),
        started_at_us: row.int(8)?,
        devices: row.parsed(9, devices)?,
        created_at_us: row.int(10)?,
        gone_at_us: row.opt_int(11)?,
    })
}

impl From<InstanceId> for Param {
    fn from(id: InstanceId) -> Self {
        Param::Text(id.to_string())
    }
}
