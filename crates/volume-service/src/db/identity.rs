//! Users, projects and the roles that tie them.

use super::{Row, Transaction};
use crate::app::identity::{Project, User};
use crate::error::Result;

const PROJECT: &str = "id, name, description";

/// Adds a project; false, with nothing changed, when the name exists.
pub fn insert_project(tx: &mut Transaction<'_>, project: &Project, now_us: i64) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO projects (id, name, description, created_at_us) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        &[
            project.id.as_str().into(),
            project.name.as_str().into(),
            project.description.as_str().into(),
            now_us.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Adds a user; false, with nothing changed, when the name exists.
pub fn insert_user(
    tx: &mut Transaction<'_>,
    user: &User,
    password_hash: &str,
    now_us: i64,
) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO users (id, name, password_hash, default_project_id, created_at_us) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO NOTHING",
        &[
            user.id.as_str().into(),
            user.name.as_str().into(),
            password_hash.into(),
            user.default_project_id.clone().into(),
            now_us.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Gives a user a role in a project.
pub fn assign_role(
    tx: &mut Transaction<'_>,
    user_id: &str,
    project_id: &str,
    role: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO role_assignments (user_id, project_id, role) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &[user_id.into(), project_id.into(), role.into()],
    )?;
    Ok(())
}

/// True when there is at least one user.
pub fn has_users(tx: &mut Transaction<'_>) -> Result<bool> {
    let found = tx.query("SELECT id FROM users LIMIT 1", &[], |row| row.text(0))?;
    Ok(!found.is_empty())
}

/// A project by id or, when there is no such id, by name.
pub fn find_project(tx: &mut Transaction<'_>, id_or_name: &str) -> Result<Option<Project>> {
    tx.query_first(
        &format!(
            "SELECT {PROJECT} FROM projects WHERE id = ?1 OR name = ?1 ORDER BY CASE WHEN id = ?1 THEN 0 ELSE 1 END LIMIT 1"
        ),
        &[id_or_name.into()],
        project,
    )
}

/// A user as a login sees it.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub user: User,
    /// The hash of its password; empty when it has none.
    pub password_hash: String,
    /// False while the user may not log in and its tokens are refused.
    pub is_enabled: bool,
    /// Tokens that were issued at this time or before are refused.
    pub tokens_after_us: i64,
}

/// A project as a token sees it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The project.
    pub project: Project,
    /// False while nobody may have a token for it.
    pub is_enabled: bool,
    /// Tokens that were issued at this time or before are refused.
    pub tokens_after_us: i64,
}

/// A user by id or, when there is no such id, by name; with what a login needs.
pub fn find_login(tx: &mut Transaction<'_>, id_or_name: &str) -> Result<Option<Login>> {
    tx.query_first(
        "SELECT u.id, u.name, u.default_project_id, u.password_hash, COALESCE(t.enabled, 1), COALESCE(t.tokens_after_us, -1) \
         FROM users u LEFT JOIN user_traits t ON t.user_id = u.id \
         WHERE u.id = ?1 OR u.name = ?1 ORDER BY CASE WHEN u.id = ?1 THEN 0 ELSE 1 END LIMIT 1",
        &[id_or_name.into()],
        |row| {
            Ok(Login {
                user: User {
                    id: row.text(0)?,
                    name: row.text(1)?,
                    default_project_id: row.opt_text(2)?,
                },
                password_hash: row.text(3)?,
                is_enabled: row.int(4)? != 0,
                tokens_after_us: row.int(5)?,
            })
        },
    )
}

/// A project by id or, when there is no such id, by name; with what a token needs.
pub fn find_target(tx: &mut Transaction<'_>, id_or_name: &str) -> Result<Option<Target>> {
    tx.query_first(
        "SELECT p.id, p.name, p.description, COALESCE(t.enabled, 1), COALESCE(t.tokens_after_us, -1) \
         FROM projects p LEFT JOIN project_traits t ON t.project_id = p.id \
         WHERE p.id = ?1 OR p.name = ?1 ORDER BY CASE WHEN p.id = ?1 THEN 0 ELSE 1 END LIMIT 1",
        &[id_or_name.into()],
        |row| {
            Ok(Target {
                project: project(row)?,
                is_enabled: row.int(3)? != 0,
                tokens_after_us: row.int(4)?,
            })
        },
    )
}

/// The roles that a user has in a project, by name.
pub fn roles(tx: &mut Transaction<'_>, user_id: &str, project_id: &str) -> Result<Vec<String>> {
    tx.query(
        "SELECT role FROM role_assignments WHERE user_id = ?1 AND project_id = ?2 ORDER BY role",
        &[user_id.into(), project_id.into()],
        |row| row.text(0),
    )
}

/// The enabled projects that a user has a role in, by name.
pub fn projects_of(tx: &mut Transaction<'_>, user_id: &str) -> Result<Vec<Project>> {
    tx.query(
        &format!(
            "SELECT {PROJECT} FROM projects WHERE id IN (SELECT project_id FROM role_assignments WHERE user_id = ?1) \
             AND id NOT IN (SELECT project_id FROM project_traits WHERE enabled = 0) ORDER BY name"
        ),
        &[user_id.into()],
        project,
    )
}

fn project(row: &Row<'_>) -> Result<Project> {
    Ok(Project {
        id: row.text(0)?,
        name: row.text(1)?,
        description: row.text(2)?,
    })
}
