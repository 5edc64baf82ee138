//! Users, projects and grants as the Identity API lists and changes them.

use super::select::{Select, count};
use super::{Param, Row, Transaction};
use crate::app::identity::{
    Grant, GrantFilter, Project, ProjectEntry, ProjectFilter, User, UserEntry, UserFilter,
};
use crate::error::Result;

const USER: &str = "SELECT u.id, u.name, u.default_project_id, COALESCE(t.email, ''), COALESCE(t.description, ''), \
     COALESCE(t.enabled, 1) FROM users u LEFT JOIN user_traits t ON t.user_id = u.id";
const PROJECT: &str = "SELECT p.id, p.name, p.description, COALESCE(t.enabled, 1) \
     FROM projects p LEFT JOIN project_traits t ON t.project_id = p.id";

/// Makes changes of users, projects and grants wait for one another, so that two of them do not each remove what the other
/// one believes to be the last administrator.
pub fn lock(tx: &mut Transaction<'_>) -> Result<()> {
    tx.execute(
        "INSERT INTO settings (name, value) VALUES ('directory_lock', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[Param::Bytes(Vec::new())],
    )?;
    Ok(())
}

/// True when an enabled user is an administrator in an enabled project.
pub fn has_administrator(tx: &mut Transaction<'_>) -> Result<bool> {
    let found = tx.query(
        "SELECT a.user_id FROM role_assignments a LEFT JOIN user_traits u ON u.user_id = a.user_id \
         LEFT JOIN project_traits p ON p.project_id = a.project_id \
         WHERE a.role = 'admin' AND COALESCE(u.enabled, 1) = 1 AND COALESCE(p.enabled, 1) = 1 LIMIT 1",
        &[],
        |row| row.text(0),
    )?;
    Ok(!found.is_empty())
}

/// A user by id.
pub fn user(tx: &mut Transaction<'_>, id: &str) -> Result<Option<UserEntry>> {
    tx.query_first(&format!("{USER} WHERE u.id = ?1"), &[id.into()], user_entry)
}

/// Users by name, at most `limit`.
pub fn users(
    tx: &mut Transaction<'_>,
    filter: &UserFilter,
    limit: usize,
) -> Result<Vec<UserEntry>> {
    let mut select = Select::all();
    if let Some(name) = &filter.name {
        select.equal("u.name", name.as_str().into());
    }
    if let Some(enabled) = filter.enabled {
        select.equal("COALESCE(t.enabled, 1)", enabled.into());
    }
    if let Some(marker) = &filter.marker {
        let place = select.param(marker.as_str().into());
        select.condition.push_str(&format!(
            " AND u.name > (SELECT name FROM users WHERE id = {place})"
        ));
    }
    let limit = select.param(count(limit));
    let sql = format!(
        "{USER} WHERE {} ORDER BY u.name LIMIT {limit}",
        select.condition
    );
    tx.query(&sql, &select.params, user_entry)
}

/// Stores what can be changed of a user; false when its name is somebody else's.
pub fn update_user(tx: &mut Transaction<'_>, entry: &UserEntry) -> Result<bool> {
    let taken = tx.query_first(
        "SELECT id FROM users WHERE name = ?1 AND id <> ?2",
        &[
            entry.user.name.as_str().into(),
            entry.user.id.as_str().into(),
        ],
        |row| row.text(0),
    )?;
    if taken.is_some() {
        return Ok(false);
    }
    tx.execute(
        "UPDATE users SET name = ?2, default_project_id = ?3 WHERE id = ?1",
        &[
            entry.user.id.as_str().into(),
            entry.user.name.as_str().into(),
            entry.user.default_project_id.clone().into(),
        ],
    )?;
    tx.execute(
        "INSERT INTO user_traits (user_id, email, description, enabled, tokens_after_us) VALUES (?1, ?2, ?3, ?4, -1) \
         ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, description = excluded.description, enabled = excluded.enabled",
        &[
            entry.user.id.as_str().into(),
            entry.email.as_str().into(),
            entry.description.as_str().into(),
            entry.is_enabled.into(),
        ],
    )?;
    Ok(true)
}

/// Replaces the hash of a user's password.
pub fn set_password(tx: &mut Transaction<'_>, user_id: &str, hash: &str) -> Result<()> {
    tx.execute(
        "UPDATE users SET password_hash = ?2 WHERE id = ?1",
        &[user_id.into(), hash.into()],
    )?;
    Ok(())
}

/// Refuses from now on the tokens that a user was issued until now.
pub fn end_tokens_of_user(tx: &mut Transaction<'_>, user_id: &str, now_us: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO user_traits (user_id, email, description, enabled, tokens_after_us) VALUES (?1, '', '', 1, ?2) \
         ON CONFLICT (user_id) DO UPDATE SET tokens_after_us = excluded.tokens_after_us",
        &[user_id.into(), now_us.into()],
    )?;
    Ok(())
}

/// Removes a user with its grants, application credentials and EC2 keys; false when there is none.
pub fn remove_user(tx: &mut Transaction<'_>, id: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM users WHERE id = ?1", &[id.into()])? == 1)
}

/// A project by id.
pub fn project(tx: &mut Transaction<'_>, id: &str) -> Result<Option<ProjectEntry>> {
    let found = tx.query_first(
        &format!("{PROJECT} WHERE p.id = ?1"),
        &[id.into()],
        project_entry,
    )?;
    let Some(mut entry) = found else {
        return Ok(None);
    };
    entry.tags = tx.query(
        "SELECT tag FROM project_tags WHERE project_id = ?1 ORDER BY tag",
        &[id.into()],
        |row| row.text(0),
    )?;
    Ok(Some(entry))
}

/// Projects by name, at most `limit`.
pub fn projects(
    tx: &mut Transaction<'_>,
    filter: &ProjectFilter,
    limit: usize,
) -> Result<Vec<ProjectEntry>> {
    let mut select = Select::all();
    if let Some(name) = &filter.name {
        select.equal("p.name", name.as_str().into());
    }
    if let Some(enabled) = filter.enabled {
        select.equal("COALESCE(t.enabled, 1)", enabled.into());
    }
    if let Some(user_id) = &filter.of_user {
        let place = select.param(user_id.as_str().into());
        select.condition.push_str(&format!(
            " AND p.id IN (SELECT project_id FROM role_assignments WHERE user_id = {place})"
        ));
    }
    for tag in &filter.tags {
        let place = select.param(tag.as_str().into());
        select.condition.push_str(&format!(
            " AND p.id IN (SELECT project_id FROM project_tags WHERE tag = {place})"
        ));
    }
    if let Some(marker) = &filter.marker {
        let place = select.param(marker.as_str().into());
        select.condition.push_str(&format!(
            " AND p.name > (SELECT name FROM projects WHERE id = {place})"
        ));
    }
    let limit = select.param(count(limit));
    let sql = format!(
        "{PROJECT} WHERE {} ORDER BY p.name LIMIT {limit}",
        select.condition
    );
    let mut entries = tx.query(&sql, &select.params, project_entry)?;
    let tags = tx.query(
        "SELECT project_id, tag FROM project_tags ORDER BY project_id, tag",
        &[],
        |row| Ok((row.text(0)?, row.text(1)?)),
    )?;
    for entry in &mut entries {
        let first = tags.partition_point(|(id, _)| *id < entry.project.id);
        let own = tags[first..]
            .iter()
            .take_while(|(id, _)| *id == entry.project.id);
        entry.tags = own.map(|(_, tag)| tag.clone()).collect();
    }
    Ok(entries)
}

/// Stores what can be changed of a project; false when its name is another one's.
pub fn update_project(tx: &mut Transaction<'_>, entry: &ProjectEntry) -> Result<bool> {
    let project = &entry.project;
    let taken = tx.query_first(
        "SELECT id FROM projects WHERE name = ?1 AND id <> ?2",
        &[project.name.as_str().into(), project.id.as_str().into()],
        |row| row.text(0),
    )?;
    if taken.is_some() {
        return Ok(false);
    }
    tx.execute(
        "UPDATE projects SET name = ?2, description = ?3 WHERE id = ?1",
        &[
            project.id.as_str().into(),
            project.name.as_str().into(),
            project.description.as_str().into(),
        ],
    )?;
    tx.execute(
        "INSERT INTO project_traits (project_id, enabled, tokens_after_us) VALUES (?1, ?2, -1) \
         ON CONFLICT (project_id) DO UPDATE SET enabled = excluded.enabled",
        &[project.id.as_str().into(), entry.is_enabled.into()],
    )?;
    tx.execute(
        "DELETE FROM project_tags WHERE project_id = ?1",
        &[project.id.as_str().into()],
    )?;
    for tag in &entry.tags {
        tx.execute(
            "INSERT INTO project_tags (project_id, tag) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            &[project.id.as_str().into(), tag.as_str().into()],
        )?;
    }
    Ok(true)
}

/// Refuses from now on the tokens that were issued for a project until now.
pub fn end_tokens_of_project(
    tx: &mut Transaction<'_>,
    project_id: &str,
    now_us: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO project_traits (project_id, enabled, tokens_after_us) VALUES (?1, 1, ?2) \
         ON CONFLICT (project_id) DO UPDATE SET tokens_after_us = excluded.tokens_after_us",
        &[project_id.into(), now_us.into()],
    )?;
    Ok(())
}

/// What a project still owns: volumes and snapshots.
pub fn owned_by(tx: &mut Transaction<'_>, project_id: &str) -> Result<(i64, i64)> {
    let count = |tx: &mut Transaction<'_>, sql: &str| -> Result<i64> {
        Ok(tx
            .query_first(sql, &[project_id.into()], |row| row.int(0))?
            .unwrap_or_default())
    };
    Ok((
        count(tx, "SELECT COUNT(*) FROM volumes WHERE project_id = ?1")?,
        count(tx, "SELECT COUNT(*) FROM snapshots WHERE project_id = ?1")?,
    ))
}

/// Removes a project with its grants, application credentials and EC2 keys; false when there is none.
pub fn remove_project(tx: &mut Transaction<'_>, id: &str) -> Result<bool> {
    tx.execute(
        "UPDATE users SET default_project_id = NULL WHERE default_project_id = ?1",
        &[id.into()],
    )?;
    Ok(tx.execute("DELETE FROM projects WHERE id = ?1", &[id.into()])? == 1)
}

/// Takes a role of a user in a project away; false when it had none.
pub fn remove_role(
    tx: &mut Transaction<'_>,
    user_id: &str,
    project_id: &str,
    role: &str,
) -> Result<bool> {
    let removed = tx.execute(
        "DELETE FROM role_assignments WHERE user_id = ?1 AND project_id = ?2 AND role = ?3",
        &[user_id.into(), project_id.into(), role.into()],
    )?;
    Ok(removed == 1)
}

/// Grants, by project and user, at most `limit`.
pub fn grants(tx: &mut Transaction<'_>, filter: &GrantFilter, limit: usize) -> Result<Vec<Grant>> {
    let mut select = Select::all();
    for (column, value) in [
        ("a.user_id", &filter.user_id),
        ("a.project_id", &filter.project_id),
    ] {
        if let Some(value) = value {
            select.equal(column, value.as_str().into());
        }
    }
    let limit = select.param(count(limit));
    let sql = format!(
        "SELECT a.user_id, u.name, a.project_id, p.name, a.role FROM role_assignments a JOIN users u ON u.id = a.user_id \
         JOIN projects p ON p.id = a.project_id WHERE {} ORDER BY a.project_id, a.user_id, a.role LIMIT {limit}",
        select.condition
    );
    tx.query(&sql, &select.params, |row| {
        Ok(Grant {
            user_id: row.text(0)?,
            user_name: row.text(1)?,
            project_id: row.text(2)?,
            project_name: row.text(3)?,
            role: row.text(4)?,
        })
    })
}

fn user_entry(row: &Row<'_>) -> Result<UserEntry> {
    Ok(UserEntry {
        user: User {
            id: row.text(0)?,
            name: row.text(1)?,
            default_project_id: row.opt_text(2)?,
        },
        email: row.text(3)?,
        description: row.text(4)?,
        is_enabled: row.int(5)? != 0,
    })
}

fn project_entry(row: &Row<'_>) -> Result<ProjectEntry> {
    Ok(ProjectEntry {
        project: Project {
            id: row.text(0)?,
            name: row.text(1)?,
            description: row.text(2)?,
        },
        is_enabled: row.int(3)? != 0,
        tags: Vec::new(),
    })
}
