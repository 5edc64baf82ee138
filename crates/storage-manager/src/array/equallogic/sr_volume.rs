//! The management volume of an SR: that it is there says that the SR is. `labels` keeps names on it.
//!
//! Source: reference 2.5.

use uuid::Uuid;

use super::description::{Allocation, SrNote};
use super::error::{CliError, Refusal, absent};
use super::group::{Group, NewVolume, Object};
use super::names::{self, Named};

/// Its size: 30 MB.
pub(super) const PAGES: u64 = 2;

/// An SR on a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrVolume {
    /// The SR.
    pub sr: Uuid,
    /// Its pool.
    pub pool: String,
    /// How space of its VDIs is taken where nothing else is said.
    pub allocation: Allocation,
}

impl SrVolume {
    /// Makes it, or finds it made by an earlier try.
    pub fn make(&self, group: &Group) -> Result<(), CliError> {
        let name = names::management(self.sr);
        let note = SrNote {
            uuid: self.sr,
            pool: Some(self.pool.clone()),
            allocation: self.allocation,
        };
        let description = note.to_text(&name);
        let made = group.create(&NewVolume {
            name: &name,
            pages: PAGES,
            allocation: Allocation::Thick,
            snap_reserve: 0,
            snap_depletion: None,
            description: &description,
            pool: &self.pool,
        });
        match made {
            Ok(()) => Ok(()),
            // Also when the answer was lost: what is there tells.
            Err(error) if matches!(error.refusal(), None | Some(Refusal::Exists)) => {
                match SrVolume::find(group, self.sr)? {
                    Some(found) if found == *self => Ok(()),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The SR of a uuid.
    ///
    /// # Errors
    /// `Unreadable` when the Description is not ours.
    pub fn find(group: &Group, sr: Uuid) -> Result<Option<Self>, CliError> {
        let name = names::management(sr);
        let Some(shelf) = group.show(Object::Volume(&name))? else {
            return Ok(None);
        };
        let unreadable = |reason: String| CliError::Description {
            volume: name.clone(),
            reason,
        };
        let note = SrNote::parse(&shelf.description, &name)
            .map_err(|error| unreadable(format!("{:?}: {error}", shelf.description)))?;
        if note.uuid != sr {
            return Err(unreadable(format!("it is that of SR {}", note.uuid)));
        }
        // The administrator may have moved it since.
        let pool = shelf
            .pool
            .or(note.pool)
            .unwrap_or_else(|| "default".to_owned());
        Ok(Some(SrVolume {
            sr,
            pool,
            allocation: note.allocation,
        }))
    }

    /// Every SR on a group; those whose Description is not ours are left out.
    pub fn all(group: &Group) -> Result<Vec<Self>, CliError> {
        let mut all = Vec::new();
        for name in group.volumes()?.into_iter().map(|listed| listed.name) {
            let Some(Named::Management(sr)) = names::parse(&name) else {
                continue;
            };
            match SrVolume::find(group, sr) {
                Ok(found) => all.extend(found),
                Err(error @ CliError::Description { .. }) => {
                    tracing::warn!(%error, "an SR is left out of a probe")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Removes it.
    ///
    /// # Errors
    /// `Snapshots` when somebody made snapshots of it, which would go with it.
    pub fn remove(&self, group: &Group) -> Result<(), CliError> {
        let name = names::management(self.sr);
        let shelf = group.show(Object::Volume(&name))?;
        if let Some(shelf) = shelf.filter(|shelf| shelf.snapshots > 0) {
            return Err(CliError::Snapshots {
                volume: name,
                count: shelf.snapshots,
            });
        }
        absent(group.set_online(Object::Volume(&name), false))?;
        absent(group.delete(Object::Volume(&name))).map(drop)
    }
}
