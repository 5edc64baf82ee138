//! Which initiator sees a volume, and the bytes of thick ones before anybody does.

use uuid::Uuid;

use super::claims::{self, Claim};
use super::description::VdiNote;
use super::error::{CliError, absent};
use super::group::Group;
use super::names;
use super::size::PAGE;
use super::volumes::{EqualOptions, EqualVolumes, Found, lock};
use super::zeros;
use crate::array::{ArrayError, Exposure, VolumeArray};

/// The LUN of a volume. Source: reference 6.3.
const LUN: u16 = 0;

impl EqualVolumes {
    /// Makes what a volume with this note has from a page on zeros. It is exposed for that, and concealed after unless a consumer uses it.
    pub(super) fn zero(&self, note: VdiNote, from: u64, to: u64) -> Result<(), ArrayError> {
        let vdi = note.uuid;
        let found = self.look(vdi)?.ok_or_else(|| ArrayError::Missing {
            array: self.name(),
            vdi,
        })?;
        // One that is there already has bytes of somebody.
        self.check_note(&found, note)?;
        let is_first = lock(&self.exposed).insert(vdi);
        let zeroed = self.show_to(&found, &self.options.initiator).and_then(|exposure| {
            let volume = self.data.open(&exposure, vdi)?;
            let done = volume.await_size(to * PAGE).and_then(|()| zeros::write(&*volume.device, from * PAGE, to * PAGE));
            done.map_err(|source| ArrayError::Failed {
                array: self.name(),
                action: "make a thick volume zeros (with sm_config:allocation=thin it has none but zeros by itself)",
                source: Box::new(source),
            })
        });
        if is_first {
            lock(&self.exposed).remove(&vdi);
            self.hide_from(vdi, &self.options.initiator)?;
        }
        zeroed
    }

    pub(super) fn show_to(&self, found: &Found, initiator: &str) -> Result<Exposure, ArrayError> {
        let action = "let an initiator see a volume";
        let user = self.options.chap_user();
        let allow = || -> Result<(), CliError> {
            let _family = self.claim_family(found)?;
            let_in(&self.group, found.family(), initiator, user)?;
            if !found.shelf.is_online {
                self.group.set_online(found.object(), true)?;
            }
            Ok(())
        };
        allow().map_err(|error| self.failed(action, error))?;
        Ok(exposure(
            &self.options,
            &found.shelf.target,
            found.pages() * PAGE,
        ))
    }

    /// The right to change the access records of a volume, which are those of its snapshots too.
    fn claim_family(&self, found: &Found) -> Result<Claim, CliError> {
        let claim = self.families.wait_for(names::family(found.family()));
        claim.ok_or_else(|| CliError::Queue {
            address: self.group.address(),
            command: format!("volume select {} access", found.family()),
            waited: claims::PATIENCE,
        })
    }

    pub(super) fn hide_from(&self, vdi: Uuid, initiator: &str) -> Result<(), ArrayError> {
        let action = "take a volume out of an initiator's sight";
        let Some(found) = self.look(vdi)? else {
            return Ok(());
        };
        self.hide(&found, initiator)
            .map_err(|error| self.failed(action, error))
    }

    /// True when another of the family is exposed for a consumer, and needs the access records.
    fn is_shared(&self, found: &Found) -> bool {
        let in_use: Vec<Uuid> = lock(&self.exposed).iter().copied().collect();
        let bases = lock(&self.bases);
        in_use
            .iter()
            .filter(|other| **other != found.note.uuid)
            .any(|other| {
                let base = bases.get(other).map(String::as_str);
                base == Some(found.family())
                    || names::volume(self.options.sr, *other) == found.family()
            })
    }

    /// Ends sessions with an object and takes back what let the initiator in, unless another of the family needs that.
    pub(super) fn hide(&self, found: &Found, initiator: &str) -> Result<(), CliError> {
        let _family = self.claim_family(found)?;
        if found.shelf.is_online {
            self.group.set_online(found.object(), false)?;
        }
        if self.is_shared(found) {
            return Ok(());
        }
        shut_out(&self.group, found.family(), initiator)
    }
}

/// Lets an initiator log in to a volume and its snapshots, with this account of iSCSI and no other.
pub(super) fn let_in(
    group: &Group,
    volume: &str,
    initiator: &str,
    user: Option<&str>,
) -> Result<(), CliError> {
    let records = group.access(volume)?;
    let records = records.iter().filter(|record| record.is_of(initiator));
    let (current, old): (Vec<_>, Vec<_>) =
        records.partition(|record| record.chap_user.as_deref() == user);
    if current.is_empty() {
        group.allow(volume, initiator, user)?;
    }
    // One with another account, or with none, would let in who does not know this one.
    for record in old {
        absent(group.disallow(volume, record.id))?;
    }
    Ok(())
}

/// Takes back what lets an initiator log in.
pub(super) fn shut_out(group: &Group, volume: &str, initiator: &str) -> Result<(), CliError> {
    for record in group.access(volume)? {
        if record.is_of(initiator) {
            absent(group.disallow(volume, record.id))?;
        }
    }
    Ok(())
}

/// Where the bytes of a volume are.
pub(super) fn exposure(options: &EqualOptions, target: &str, limit: u64) -> Exposure {
    Exposure {
        target: target.to_owned(),
        portals: vec![options.portal.clone()],
        lun: LUN,
        scsi_id: None,
        serial: None,
        credentials: options.credentials.clone(),
        limit: Some(limit),
    }
}
