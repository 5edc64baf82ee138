//! Projects: made, changed, removed.

use super::model::{Force, Project, ProjectChange, ProjectEntry, ProjectFilter};
use super::permission::{admin, own_or_admin};
use super::users::too_many;
use super::{KEPT_MAX, Listed, forget_tokens, guarded, missing, new_id, page, taken};
use crate::app::{Service, limits};
use crate::context::RequestContext;
use crate::db::{directory, identity};
use crate::error::{Error, ErrorKind, Result, Subject};

/// Most tags of a project; Keystone's limit.
const TAGS_MAX: usize = 80;

/// Projects by name: everybody its own, administrators all.
pub async fn projects(
    service: &Service,
    request: &RequestContext,
    filter: ProjectFilter,
    limit: Option<usize>,
) -> Result<Listed<ProjectEntry>> {
    match &filter.of_user {
        Some(user_id) => own_or_admin(request, user_id, "identity:list_user_projects")?,
        None => admin(request, "identity:list_projects")?,
    }
    if filter.tags.len() > TAGS_MAX {
        return Err(Error::invalid(format!(
            "A project has at most {TAGS_MAX} tags."
        )));
    }
    let limit = page(limit);
    let found = service
        .database
        .read(move |tx| directory::projects(tx, &filter, limit + 1))
        .await?;
    Ok(Listed::cut(found, limit))
}

/// The enabled projects that a user has a role in.
pub async fn projects_of(service: &Service, user_id: &str) -> Result<Vec<Project>> {
    let user_id = user_id.to_owned();
    service
        .database
        .read(move |tx| identity::projects_of(tx, &user_id))
        .await
}

/// A project by id: one's own, or as an administrator.
pub async fn project(
    service: &Service,
    request: &RequestContext,
    id: &str,
) -> Result<ProjectEntry> {
    if request.project_id != id {
        admin(request, "identity:get_project")?;
    }
    let wanted = id.to_owned();
    let found = service
        .database
        .read(move |tx| directory::project(tx, &wanted))
        .await?;
    found.ok_or_else(|| missing("project", id))
}

/// Makes a project; administrators only.
pub async fn create_project(
    service: &Service,
    request: &RequestContext,
    name: &str,
    description: &str,
) -> Result<Project> {
    let entry = ProjectEntry {
        project: Project {
            id: String::new(),
            name: name.to_owned(),
            description: description.to_owned(),
        },
        is_enabled: true,
        tags: Vec::new(),
    };
    Ok(new_project(service, request, entry).await?.project)
}

/// Makes a project of which all but the id is given; administrators only.
pub async fn new_project(
    service: &Service,
    request: &RequestContext,
    mut entry: ProjectEntry,
) -> Result<ProjectEntry> {
    admin(request, "identity:create_project")?;
    check(&entry)?;
    entry.project.id = new_id(service);
    let now_us = service.context.now_us();
    service
        .database
        .write(move |tx| {
            directory::lock(tx)?;
            let all = directory::projects(tx, &ProjectFilter::default(), KEPT_MAX)?;
            if all.len() >= KEPT_MAX {
                return Err(too_many("projects"));
            }
            if !identity::insert_project(tx, &entry.project, now_us)? {
                return Err(taken("A project", &entry.project.name));
            }
            directory::update_project(tx, &entry)?;
            Ok(entry.clone())
        })
        .await
}

/// Changes a project; administrators only.
///
/// # Errors
/// `Conflict` for a name that another one has, and when the last administrator works only there and it would be disabled.
pub async fn update_project(
    service: &Service,
    request: &RequestContext,
    id: &str,
    change: ProjectChange,
    force: Force,
) -> Result<ProjectEntry> {
    admin(request, "identity:update_project")?;
    let id = id.to_owned();
    let now_us = service.context.now_us();
    let changed = service
        .database
        .write(move |tx| {
            guarded(tx, force, |tx| {
                let mut entry =
                    directory::project(tx, &id)?.ok_or_else(|| missing("project", &id))?;
                let was_enabled = entry.is_enabled;
                let change = change.clone();
                if let Some(name) = change.name {
                    entry.project.name = name;
                }
                if let Some(description) = change.description {
                    entry.project.description = description;
                }
                if let Some(tags) = change.tags {
                    entry.tags = tags;
                }
                entry.is_enabled = change.is_enabled.unwrap_or(was_enabled);
                check(&entry)?;
                if !directory::update_project(tx, &entry)? {
                    return Err(taken("A project", &entry.project.name));
                }
                if was_enabled && !entry.is_enabled {
                    directory::end_tokens_of_project(tx, &id, now_us)?;
                }
                entry.tags.sort();
                entry.tags.dedup();
                Ok(entry)
            })
        })
        .await?;
    forget_tokens(service);
    Ok(changed)
}

/// Removes a project with its grants, application credentials and EC2 keys; administrators only.
///
/// # Errors
/// `Conflict` while it has volumes or snapshots, which nobody could reach any more, and when the last administrator works
/// only there.
pub async fn delete_project(
    service: &Service,
    request: &RequestContext,
    id: &str,
    force: Force,
) -> Result<()> {
    admin(request, "identity:delete_project")?;
    let id = id.to_owned();
    service
        .database
        .write(move |tx| {
            guarded(tx, force, |tx| {
                let (volumes, snapshots) = directory::owned_by(tx, &id)?;
                if volumes + snapshots > 0 {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        Subject::Identity,
                        format!(
                            "Project {id} still has {volumes} volumes and {snapshots} snapshots; \
                             delete or transfer them first."
                        ),
                    )
                    .on(&id));
                }
                if directory::remove_project(tx, &id)? {
                    return Ok(());
                }
                Err(missing("project", &id))
            })
        })
        .await?;
    forget_tokens(service);
    Ok(())
}

fn check(entry: &ProjectEntry) -> Result<()> {
    limits::check_name("project name", &entry.project.name)?;
    limits::check_text("description", &entry.project.description)?;
    if entry.tags.len() > TAGS_MAX {
        return Err(Error::invalid(format!(
            "A project has at most {TAGS_MAX} tags."
        )));
    }
    for tag in &entry.tags {
        limits::check_name("tag", tag)?;
        if tag.contains(['/', ',']) {
            return Err(Error::invalid(format!(
                "The tag '{tag}' has a slash or a comma."
            )));
        }
    }
    Ok(())
}
