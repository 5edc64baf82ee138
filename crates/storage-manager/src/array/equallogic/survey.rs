//! What a group lists of an SR. A list that lacks something which must be there is none: nobody's VDI is to be taken for gone.

use std::collections::HashSet;

use super::error::{CliError, absent};
use super::group::{ListedVolume, Object, Shelf};
use super::names::{self, Named};
use super::volumes::{EqualVolumes, Found, lock};
use crate::sr::DamagedImage;

/// What there is of an SR.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub found: Vec<Found>,
    /// Snapshots of our volumes with other names, by the volume.
    pub strangers: Vec<(String, String)>,
    pub damaged: Vec<DamagedImage>,
}

impl Survey {
    /// Of two objects with the name and note of one VDI, which somebody copied, the volume is the VDI, or the first snapshot.
    fn set_twins_apart(&mut self) {
        let mut seen = HashSet::new();
        self.found.sort_by_key(|found| found.base.is_some());
        let (found, twins) = std::mem::take(&mut self.found)
            .into_iter()
            .partition::<Vec<_>, _>(|found| seen.insert(found.note.uuid));
        self.found = found;
        self.damaged.extend(twins.into_iter().map(|twin| DamagedImage {
            reason: format!(
                "it is a snapshot of {} with the name and Description of VDI {}, which is another one; give it another name",
                twin.family(),
                twin.note.uuid
            ),
            location: twin.name,
        }));
    }
}

impl EqualVolumes {
    /// Looks at all volumes of the SR and their snapshots.
    pub(super) fn survey(&self) -> Result<Survey, CliError> {
        let mut survey = Survey::default();
        for listed in self.own_volumes()? {
            let name = listed.name;
            // One that went meanwhile is no part of the SR.
            let Some(shelf) = self.show_or_note(&mut survey, Object::Volume(&name))? else {
                continue;
            };
            let snapshots = shelf.snapshots;
            self.add(&mut survey, name.clone(), None, shelf);
            if snapshots == 0 {
                continue;
            }
            for snapshot in self.own_snapshots(&name, snapshots)? {
                if names::parse(&snapshot) != Some(Named::Vdi(self.options.sr)) {
                    if names::is_word(&snapshot) {
                        survey.strangers.push((name.clone(), snapshot));
                    }
                    continue;
                }
                let shown = self.show_or_note(&mut survey, Object::Snapshot(&name, &snapshot))?;
                if let Some(shelf) = shown {
                    self.add(&mut survey, snapshot, Some(name.clone()), shelf);
                }
            }
        }
        survey.set_twins_apart();
        let snapshots = survey.found.iter();
        let snapshots = snapshots.filter_map(|found| Some((found.note.uuid, found.base.clone()?)));
        // What was exposed since the volume was looked at needs its access records.
        let in_use = lock(&self.exposed).clone();
        let mut bases = lock(&self.bases);
        bases.retain(|vdi, _| in_use.contains(vdi));
        bases.extend(snapshots);
        drop(bases);
        Ok(survey)
    }

    /// The volumes of VDIs of the SR, and of snapshots.
    ///
    /// # Errors
    /// `Unreadable` when the management volume is not listed: then others may be missing too, and their VDIs must not be taken for
    /// gone.
    fn own_volumes(&self) -> Result<Vec<ListedVolume>, CliError> {
        let mut listed = self.group.volumes()?;
        let management = names::management(self.options.sr);
        if !listed.iter().any(|listed| listed.name == management) {
            return Err(CliError::Unreadable {
                command: "volume show".to_owned(),
                reason: format!("the SR's management volume {management} is not in it"),
            });
        }
        listed.retain(|listed| names::parse(&listed.name) == Some(Named::Vdi(self.options.sr)));
        Ok(listed)
    }

    /// The names of the snapshots of a volume, of which it told to have so many.
    ///
    /// # Errors
    /// `Unreadable` when there are fewer, and the volume still says so.
    pub(super) fn own_snapshots(&self, volume: &str, told: u32) -> Result<Vec<String>, CliError> {
        let names = absent(self.group.snapshot_names(volume))?.unwrap_or_default();
        if names.len() >= told as usize {
            return Ok(names);
        }
        let now = self.group.show(Object::Volume(volume))?;
        let now = now.map_or(0, |shelf| shelf.snapshots);
        if names.len() >= now as usize {
            return Ok(names);
        }
        Err(CliError::Unreadable {
            command: format!("volume select {volume} snapshot show"),
            reason: format!("it lists {} snapshots, the volume has {now}", names.len()),
        })
    }

    /// What is there of a name; an answer that cannot be read makes it a damaged one.
    fn show_or_note(
        &self,
        survey: &mut Survey,
        object: Object<'_>,
    ) -> Result<Option<Shelf>, CliError> {
        match self.group.show(object) {
            Err(error @ CliError::Unreadable { .. }) => {
                survey.damaged.push(DamagedImage {
                    location: object.name().to_owned(),
                    reason: error.to_string(),
                });
                Ok(None)
            }
            shown => shown,
        }
    }

    fn add(&self, survey: &mut Survey, name: String, base: Option<String>, shelf: Shelf) {
        match self.note(&name, &shelf) {
            Ok(note) => survey.found.push(Found {
                name,
                base,
                note,
                shelf,
            }),
            Err(reason) => survey.damaged.push(DamagedImage {
                location: name,
                reason,
            }),
        }
    }

    /// The volume of ours that has a snapshot of a name.
    pub(super) fn base_of(&self, snapshot: &str) -> Result<Option<String>, CliError> {
        for listed in self.own_volumes()? {
            if listed.snapshots == Some(0) {
                continue;
            }
            let told = listed.snapshots.unwrap_or_default();
            let own = self.own_snapshots(&listed.name, told)?;
            if own.iter().any(|own| own == snapshot) {
                return Ok(Some(listed.name));
            }
        }
        Ok(None)
    }
}
