//! The volumes of an SR on a group.
//!
//! ```text
//! create    thick: volume with STATE-new -> zeros -> STATE-live     thin: volume with STATE-live, which is all
//! snapshot  snapshot with the note of its final name -> renamed     clone: volume with its note, which is all
//! grow, revert                                                       see `growth` and `revert`
//! delete    without snapshots: offline -> deleted                   with: DELETED-True -> offline -> records
//!           the last snapshot of a deleted volume takes the volume along
//! ```
//!
//! What a crash leaves in each gap is told by names and Descriptions, and `leftovers` finishes or removes it: a volume that is new,
//! a snapshot with a name of the group and a note of ours, a volume larger than its PAGES, one with STATE-grow or STATE-revert, a deleted
//! volume without snapshots. What has no
//! note of ours is never changed. Test: `tests/equal/crash.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::claims::{Claim, Claims};
use super::description::{Allocation, State, VdiNote};
use super::error::{CliError, Refusal, absent};
use super::group::{Group, Object, Shelf};
use super::management::ManagementVolume;
use super::names;
use super::size::PAGE;
use crate::array::{ArrayError, ArrayVolume, DataPath, Fault, VolumeArray};
use crate::layout::label_record::LabelRecord;
use crate::medium::iscsi::Credentials;

/// What is told of an SR on a group.
#[derive(Clone)]
pub struct EqualOptions {
    /// The SR.
    pub sr: Uuid,
    /// Its pool.
    pub pool: String,
    /// How space of VDIs is taken where they do not say.
    pub allocation: Allocation,
    /// Where targets are logged in to: the group sends logins on to its members.
    pub portal: (String, u16),
    /// The account of iSCSI.
    pub credentials: Option<Credentials>,
    /// Our name for targets.
    pub initiator: String,
}

impl EqualOptions {
    /// The account of iSCSI that access records ask for.
    pub(super) fn chap_user(&self) -> Option<&str> {
        self.credentials.as_ref().map(|it| it.user.as_str())
    }
}

/// See the module.
pub struct EqualVolumes {
    pub(super) group: Group,
    pub(super) options: EqualOptions,
    pub(super) data: Arc<dyn DataPath>,
    pub(super) claims: Arc<Claims>,
    /// The volumes whose access records are being changed, by `names::family`.
    pub(super) families: Arc<Claims>,
    /// The volume of which a VDI is a snapshot, as far as was seen.
    pub(super) bases: Mutex<HashMap<Uuid, String>>,
    /// What is exposed for a consumer.
    pub(super) exposed: Mutex<HashSet<Uuid>>,
    /// What the management volume keeps of names; none before it was read, and after a failure.
    pub(super) labels: Mutex<Option<LabelRecord>>,
    pub(super) management: Arc<ManagementVolume>,
}

impl std::fmt::Debug for EqualVolumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "EqualVolumes({}, SR {})",
            self.group.address(),
            self.options.sr
        )
    }
}

/// A volume or snapshot of ours.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub name: String,
    /// The volume that it is a snapshot of.
    pub base: Option<String>,
    pub note: VdiNote,
    pub shelf: Shelf,
}

impl Found {
    pub fn object(&self) -> Object<'_> {
        match &self.base {
            None => Object::Volume(&self.name),
            Some(base) => Object::Snapshot(base, &self.name),
        }
    }

    /// The volume whose access records count.
    pub fn family(&self) -> &str {
        self.base.as_deref().unwrap_or(&self.name)
    }

    /// Pages that the VDI has.
    pub fn pages(&self) -> u64 {
        self.note.pages.min(self.shelf.size.pages(self.note.pages))
    }

    /// Pages of a volume that was being grown; none where all is as it was noted.
    pub fn grown(&self) -> Option<u64> {
        if let State::Grow { pages } = self.note.state {
            return Some(pages);
        }
        let shown = self.shelf.size.pages(self.note.pages);
        (self.base.is_none() && shown > self.note.pages).then_some(shown)
    }

    /// True when no change of it was cut off.
    pub fn is_settled(&self) -> bool {
        self.grown().is_none() && !matches!(self.note.state, State::Revert { .. })
    }

    /// True for what a client may know.
    pub fn is_visible(&self) -> bool {
        !self.note.is_deleted && self.note.state != State::New
    }

    pub fn volume(&self) -> ArrayVolume {
        let mut sm_config = BTreeMap::new();
        let allocation = self.note.allocation.as_str().to_owned();
        sm_config.insert("allocation".to_owned(), allocation);
        if self.base.is_none() {
            if let Some(percent) = self.shelf.snap_reserve {
                sm_config.insert("snap-reserve-percentage".to_owned(), percent.to_string());
            }
            if let Some(depletion) = &self.shelf.snap_depletion {
                sm_config.insert("snap-depletion".to_owned(), depletion.clone());
            }
        }
        ArrayVolume {
            vdi: self.note.uuid,
            virtual_size: self.pages() * PAGE,
            physical_utilisation: if self.base.is_none() {
                self.shelf.reserved
            } else {
                0
            },
            read_only: self.base.is_some(),
            sm_config,
        }
    }
}

impl EqualVolumes {
    /// Talks to a group about an SR that is on it.
    pub fn new(group: Group, options: EqualOptions, data: Arc<dyn DataPath>) -> Self {
        let management = ManagementVolume::new(group.clone(), options.clone(), Arc::clone(&data));
        EqualVolumes {
            group,
            options,
            data,
            claims: Arc::default(),
            families: Arc::default(),
            bases: Mutex::default(),
            exposed: Mutex::default(),
            labels: Mutex::default(),
            management: Arc::new(management),
        }
    }

    /// How bytes of volumes are reached.
    pub fn data_path(&self) -> Arc<dyn DataPath> {
        Arc::clone(&self.data)
    }

    /// The note of an object of ours.
    pub(super) fn note(&self, name: &str, shelf: &Shelf) -> Result<VdiNote, String> {
        let text = &shelf.description;
        let note = VdiNote::parse(text, name).map_err(|error| {
            format!(
                "its Description is {text:?}: {error}; write back what it was, or give the volume another name to keep it (error {})",
                Fault::EqualDescription.number()
            )
        })?;
        match names::volume(self.options.sr, note.uuid) == name {
            true => Ok(note),
            false => Err(format!("its Description is that of VDI {}", note.uuid)),
        }
    }

    /// Looks for a VDI, also one that is deleted or new.
    pub(super) fn look(&self, vdi: Uuid) -> Result<Option<Found>, ArrayError> {
        let base = lock(&self.bases).get(&vdi).cloned();
        if let Some(base) = base
            && let Some(found) = self.snapshot_of(&base, vdi)?
        {
            return Ok(Some(found));
        }
        if let Some(found) = self.volume_of(vdi)? {
            return Ok(Some(found));
        }
        let name = names::volume(self.options.sr, vdi);
        let base = self.base_of(&name);
        let Some(base) = base.map_err(|error| self.failed("look for a snapshot", error))? else {
            lock(&self.bases).remove(&vdi);
            return Ok(None);
        };
        lock(&self.bases).insert(vdi, base.clone());
        self.snapshot_of(&base, vdi)
    }

    /// The volume of a VDI.
    pub(super) fn volume_of(&self, vdi: Uuid) -> Result<Option<Found>, ArrayError> {
        let name = names::volume(self.options.sr, vdi);
        let shown = self.group.show(Object::Volume(&name));
        match shown.map_err(|error| self.failed("look for a volume", error))? {
            Some(shelf) => self.identified(vdi, name, None, shelf),
            None => Ok(None),
        }
    }

    /// The snapshot of a volume that a VDI is.
    pub(super) fn snapshot_of(&self, base: &str, vdi: Uuid) -> Result<Option<Found>, ArrayError> {
        let name = names::volume(self.options.sr, vdi);
        let shown = self.group.show(Object::Snapshot(base, &name));
        match shown.map_err(|error| self.failed("look for a snapshot", error))? {
            Some(shelf) => self.identified(vdi, name, Some(base.to_owned()), shelf),
            None => Ok(None),
        }
    }

    fn identified(
        &self,
        vdi: Uuid,
        name: String,
        base: Option<String>,
        shelf: Shelf,
    ) -> Result<Option<Found>, ArrayError> {
        let note = self.note(&name, &shelf).map_err(|reason| {
            fault(
                Fault::EqualDescription,
                format!("volume {name} of {}: {reason}", self.name()),
            )
        })?;
        // Twenty digits of another VDI's uuid are the same: it is not this one.
        Ok((note.uuid == vdi).then_some(Found {
            name,
            base,
            note,
            shelf,
        }))
    }

    pub(super) fn need(&self, vdi: Uuid) -> Result<Found, ArrayError> {
        let found = self.look(vdi)?.filter(Found::is_visible);
        found.ok_or_else(|| ArrayError::Missing {
            array: self.name(),
            vdi,
        })
    }

    pub(super) fn claim(&self, vdi: Uuid) -> Result<Claim, ArrayError> {
        let claim = self.claims.wait_for(vdi);
        claim.ok_or_else(|| ArrayError::InUse {
            vdi,
            detail: "another change of it takes too long".to_owned(),
        })
    }

    /// A VDI that stays as it is until the claim is dropped; a growth or revert that was cut off is ended before, so that bytes behind the
    /// noted end get into no copy.
    pub(super) fn settled(&self, vdi: Uuid) -> Result<(Found, Claim), ArrayError> {
        let busy = |detail: &str| ArrayError::InUse {
            vdi,
            detail: detail.to_owned(),
        };
        let settle = || {
            let claim = self.claims.wait_to_use(vdi);
            let claim = claim.ok_or_else(|| busy("a change of it takes too long"))?;
            Ok((self.need(vdi)?, claim))
        };
        let (found, claim) = settle()?;
        if found.is_settled() {
            return Ok((found, claim));
        }
        drop(claim);
        let change = self.claim(vdi)?;
        self.settle(vdi)?;
        drop(change);
        let (found, claim) = settle()?;
        match found.is_settled() {
            true => Ok((found, claim)),
            false => Err(busy("it is being grown or reverted")),
        }
    }

    /// The failure of a command as clients know it.
    pub(super) fn failed(&self, action: &'static str, error: CliError) -> ArrayError {
        failure(&self.name(), action, error)
    }

    /// Deletes a volume or snapshot.
    pub(super) fn remove(&self, found: &Found) -> Result<(), CliError> {
        if found.shelf.is_online {
            absent(self.group.set_online(found.object(), false))?;
        }
        absent(self.group.delete(found.object())).map(drop)
    }

    /// Deletes the volume or snapshot of a VDI; a volume with snapshots goes with the last of them.
    pub(super) fn delete_vdi(&self, vdi: Uuid) -> Result<(), ArrayError> {
        let action = "delete a volume";
        let _claim = self.claim(vdi)?;
        let Some(found) = self.look(vdi)? else {
            return Ok(());
        };
        let found = match found.note.state {
            State::Revert { .. } => {
                self.settle_restore(&found)?;
                self.look(vdi)?.unwrap_or(found)
            }
            _ => found,
        };
        if found.base.is_none() && found.shelf.snapshots > 0 {
            if !found.note.is_deleted {
                self.describe(
                    &found.name,
                    VdiNote {
                        is_deleted: true,
                        ..found.note
                    },
                )?;
            }
            let hidden = self.hide(&found, &self.options.initiator);
            return hidden.map_err(|error| self.failed(action, error));
        }
        self.remove(&found)
            .map_err(|error| self.failed(action, error))?;
        lock(&self.bases).remove(&vdi);
        match &found.base {
            Some(base) => self.remove_if_bare(base),
            None => Ok(()),
        }
    }

    /// Deletes a deleted volume that has no snapshots any more.
    pub(super) fn remove_if_bare(&self, volume: &str) -> Result<(), ArrayError> {
        let action = "delete a volume whose last snapshot is gone";
        let shown = self
            .group
            .show(Object::Volume(volume))
            .map_err(|error| self.failed(action, error))?;
        let Some(shelf) = shown else { return Ok(()) };
        // One whose Description was edited is not ours to delete.
        let Ok(note) = self.note(volume, &shelf) else {
            return Ok(());
        };
        if !note.is_deleted || shelf.snapshots > 0 {
            return Ok(());
        }
        let name = volume.to_owned();
        let bare = Found {
            name,
            base: None,
            note,
            shelf,
        };
        self.remove(&bare)
            .map_err(|error| self.failed(action, error))
    }
}

/// A failure of a command as clients know it.
pub fn failure(array: &str, action: &'static str, error: CliError) -> ArrayError {
    let number = match &error {
        CliError::TooManySessions { .. } | CliError::Queue { .. } => Fault::EqualConnection,
        CliError::Unreachable { .. } | CliError::Login { .. } | CliError::HostKey { .. } => {
            Fault::EqualLogin
        }
        CliError::Unreadable { .. } => Fault::EqualAnswer,
        CliError::Ended { .. } => Fault::EqualEnd,
        CliError::Description { .. } => Fault::EqualDescription,
        CliError::Refused {
            refusal: Refusal::NoSpace,
            ..
        } => Fault::EqualSpace,
        CliError::Refused {
            refusal: Refusal::Permission,
            ..
        } => Fault::EqualPermission,
        _ => {
            return ArrayError::Failed {
                array: array.to_owned(),
                action,
                source: Box::new(error),
            };
        }
    };
    fault(
        number,
        format!("{action} on {array}: {}", error.chain_text()),
    )
}

pub(super) fn fault(fault: Fault, detail: String) -> ArrayError {
    ArrayError::Fault { fault, detail }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
