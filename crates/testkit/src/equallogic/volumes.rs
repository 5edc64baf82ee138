//! What can be done with volumes.

use super::group::{DataChange, Group};
use super::refusal::Refusal;
use super::size;
use super::volume::{
    AccessRecord, Depletion, LONGEST_DESCRIPTION, LONGEST_NAME, MOST_RECORDS, Stopped, Volume,
};

/// What is said about a new volume beside name and size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// The pool, if not the default one.
    pub pool: Option<String>,
    /// Whether it takes space as it is written.
    pub thin: bool,
    /// Percent for snapshots.
    pub snap_reserve: Option<u32>,
    /// Percent of the reserve below which the array warns.
    pub snap_warn: Option<u32>,
    /// What happens when the reserve is full.
    pub depletion: Option<Depletion>,
    /// Free text.
    pub description: Option<String>,
    /// The target's alias, if not the name.
    pub alias: Option<String>,
    /// Whether it starts offline.
    pub offline: bool,
    /// Whether it may only be read.
    pub read_only: bool,
    /// Whether everybody may use it.
    pub unrestricted: bool,
}

impl Group {
    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Result<&Volume, Refusal> {
        self.volumes.get(name).ok_or_else(|| missing(name))
    }

    /// The volume of this name, to change it.
    pub fn volume_mut(&mut self, name: &str) -> Result<&mut Volume, Refusal> {
        self.volumes.get_mut(name).ok_or_else(|| missing(name))
    }

    /// Creates a volume of zeroes.
    pub fn create_volume(
        &mut self,
        name: &str,
        bytes: u64,
        new: &NewVolume,
    ) -> Result<&Volume, Refusal> {
        self.check_new_name(name)?;
        let volume = self.new_volume(name, bytes, new)?;
        self.need(&volume.pool, volume.taken_pages())?;
        let (id, bytes) = (volume.id, size::rounded(bytes));
        self.change(DataChange::Create { id, bytes });
        Ok(self.volumes.entry(name.to_owned()).or_insert(volume))
    }

    /// Creates a volume with the data of another, or of one of its snapshots. It takes after the volume, but nobody may use it yet.
    pub fn clone_volume(
        &mut self,
        source: &str,
        snapshot: Option<&str>,
        name: &str,
        new: &NewVolume,
    ) -> Result<&Volume, Refusal> {
        let origin = self.volume(source)?.clone();
        let (from, bytes, used) = match snapshot {
            None => (origin.id, origin.size, origin.used_pages),
            Some(snapshot) => {
                let found = origin.snapshot(snapshot);
                let found = found.ok_or_else(|| Refusal::Missing {
                    what: "Snapshot",
                    name: snapshot.to_owned(),
                })?;
                (found.id, found.size, found.volume_pages)
            }
        };
        self.check_new_name(name)?;
        let taken_after = NewVolume {
            pool: Some(new.pool.clone().unwrap_or(origin.pool)),
            thin: new.thin || origin.thin,
            snap_reserve: new.snap_reserve.or(Some(origin.snap_reserve)),
            snap_warn: new.snap_warn.or(Some(origin.snap_warn)),
            depletion: new.depletion.or(Some(origin.depletion)),
            ..new.clone()
        };
        let mut volume = self.new_volume(name, bytes, &taken_after)?;
        volume.used_pages = used;
        self.need(&volume.pool, volume.taken_pages())?;
        self.change(DataChange::Copy {
            from,
            to: volume.id,
        });
        Ok(self.volumes.entry(name.to_owned()).or_insert(volume))
    }

    /// Deletes a volume with its snapshots.
    pub fn delete_volume(&mut self, name: &str) -> Result<(), Refusal> {
        if self.volume(name)?.is_online() {
            return Err(Refusal::Online { what: "volume" });
        }
        if let Some(volume) = self.volumes.remove(name) {
            for snapshot in &volume.snapshots {
                self.change(DataChange::Remove { id: snapshot.id });
            }
            self.change(DataChange::Remove { id: volume.id });
        }
        Ok(())
    }

    /// Sets a volume online or offline. Offline ends all sessions.
    pub fn set_volume_online(&mut self, name: &str, online: bool) -> Result<(), Refusal> {
        let volume = self.volume_mut(name)?;
        volume.online = online;
        volume.stopped = None;
        let id = volume.id;
        if !online {
            self.change(DataChange::Disconnect { id });
        }
        Ok(())
    }

    /// Gives a volume another name; its target keeps its own.
    pub fn rename_volume(&mut self, name: &str, to: &str) -> Result<(), Refusal> {
        self.volume(name)?;
        self.check_new_name(to)?;
        if let Some(mut volume) = self.volumes.remove(name) {
            volume.name = to.to_owned();
            self.volumes.insert(to.to_owned(), volume);
        }
        Ok(())
    }

    /// Makes a volume larger.
    pub fn grow_volume(&mut self, name: &str, bytes: u64) -> Result<(), Refusal> {
        let volume = self.volume(name)?;
        if bytes <= volume.size {
            return Err(Refusal::BadValue {
                parameter: "size",
                right: "The new size must be larger than the current size; use shrink to reduce a volume.",
            });
        }
        self.resize_volume(name, bytes)
    }

    /// Makes a volume smaller; what is behind its new end is lost.
    pub fn shrink_volume(&mut self, name: &str, bytes: u64) -> Result<(), Refusal> {
        let volume = self.volume(name)?;
        if volume.is_online() {
            return Err(Refusal::Online { what: "volume" });
        }
        if bytes >= volume.size {
            return Err(Refusal::BadValue {
                parameter: "size",
                right: "The new size must be smaller than the current size.",
            });
        }
        self.resize_volume(name, bytes)
    }

    fn resize_volume(&mut self, name: &str, bytes: u64) -> Result<(), Refusal> {
        let volume = self.volume(name)?;
        let mut resized = volume.clone();
        resized.size = bytes;
        resized.used_pages = resized.used_pages.min(size::pages(bytes));
        let more = resized.taken_pages().saturating_sub(volume.taken_pages());
        self.need(&volume.pool, more)?;
        let change = DataChange::Resize {
            id: volume.id,
            bytes: size::rounded(bytes),
        };
        self.volumes.insert(name.to_owned(), resized);
        self.change(change);
        Ok(())
    }

    /// Changes the percentage that is kept for snapshots.
    pub fn set_snap_reserve(&mut self, name: &str, percent: u32) -> Result<(), Refusal> {
        let volume = self.volume(name)?;
        let mut changed = volume.clone();
        changed.snap_reserve = percent;
        let (before, after) = (
            volume.snapshot_reserve_pages(),
            changed.snapshot_reserve_pages(),
        );
        self.need(&volume.pool, after.saturating_sub(before))?;
        self.volumes.insert(name.to_owned(), changed);
        self.settle_reserve(name);
        Ok(())
    }

    /// Lets somebody use a volume; returns the number of the record. The same record may be there twice: the array does not look.
    pub fn add_record(&mut self, name: &str, mut record: AccessRecord) -> Result<u32, Refusal> {
        if let Some(user) = &record.chap_user
            && !self.chap_users.contains_key(user)
        {
            return Err(Refusal::Missing {
                what: "CHAP user",
                name: user.clone(),
            });
        }
        let volume = self.volume_mut(name)?;
        if volume.records.len() == MOST_RECORDS {
            return Err(Refusal::TooMany {
                what: "access control records",
            });
        }
        let free = (1..).find(|id| volume.records.iter().all(|one| one.id != *id));
        record.id = free.unwrap_or(u32::MAX);
        let id = record.id;
        volume.records.push(record);
        volume.records.sort_by_key(|one| one.id);
        Ok(id)
    }

    /// Takes an access control record away. Sessions that it let in go on.
    pub fn delete_record(&mut self, name: &str, id: u32) -> Result<(), Refusal> {
        let volume = self.volume_mut(name)?;
        let before = volume.records.len();
        volume.records.retain(|record| record.id != id);
        if volume.records.len() == before {
            return Err(Refusal::Missing {
                what: "Access control record",
                name: id.to_string(),
            });
        }
        Ok(())
    }

    /// Says how many pages of a volume are written now. A thin one that its pool cannot hold any more is taken offline.
    pub fn set_written(&mut self, name: &str, pages: u64) -> Result<(), Refusal> {
        let volume = self.volume(name)?;
        let mut grown = volume.clone();
        grown.used_pages = pages.min(size::pages(volume.size)).max(volume.used_pages);
        let more = grown.taken_pages().saturating_sub(volume.taken_pages());
        if self.need(&volume.pool, more).is_ok() {
            self.volumes.insert(name.to_owned(), grown);
            return Ok(());
        }
        let id = grown.id;
        self.volume_mut(name)?.stopped = Some(Stopped::NoSpace);
        self.change(DataChange::Disconnect { id });
        Ok(())
    }

    fn new_volume(&mut self, name: &str, bytes: u64, new: &NewVolume) -> Result<Volume, Refusal> {
        let pool = match &new.pool {
            Some(pool) => self.pool(pool)?,
            None => {
                self.pools
                    .iter()
                    .find(|pool| pool.default)
                    .ok_or_else(|| Refusal::Missing {
                        what: "Pool",
                        name: "default".to_owned(),
                    })?
            }
        };
        let pool = pool.name.clone();
        let (snap_reserve, depletion) = (self.snap_reserve, self.depletion);
        let description = new.description.clone().unwrap_or_default();
        check_description(&description)?;
        let id = self.new_id();
        let everybody = AccessRecord {
            id: 1,
            initiator: None,
            address: AccessRecord::ANYWHERE.to_owned(),
            chap_user: None,
            applies_to: super::volume::AppliesTo::Both,
        };
        Ok(Volume {
            id,
            name: name.to_owned(),
            pool,
            size: bytes,
            thin: new.thin,
            used_pages: 0,
            snap_reserve: new.snap_reserve.unwrap_or(snap_reserve),
            snap_warn: new.snap_warn.unwrap_or(10),
            depletion: new.depletion.unwrap_or(depletion),
            description,
            alias: new.alias.clone().unwrap_or_else(|| name.to_owned()),
            iqn: Self::target_name(id, name),
            writable: !new.read_only,
            online: !new.offline,
            stopped: None,
            multihost: false,
            records: new.unrestricted.then_some(everybody).into_iter().collect(),
            snapshots: Vec::new(),
        })
    }

    fn check_new_name(&self, name: &str) -> Result<(), Refusal> {
        let fits = (1..=LONGEST_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
        if !fits {
            return Err(Refusal::BadValue {
                parameter: "volume name",
                right: "Use up to 63 letters, digits, periods, hyphens and colons.",
            });
        }
        if self.volumes.contains_key(name) {
            return Err(Refusal::Exists {
                what: "Volume",
                name: name.to_owned(),
            });
        }
        Ok(())
    }
}

/// Whether a description fits.
pub fn check_description(text: &str) -> Result<(), Refusal> {
    if text.len() > LONGEST_DESCRIPTION {
        return Err(Refusal::BadValue {
            parameter: "description",
            right: "Use up to 127 characters.",
        });
    }
    Ok(())
}

fn missing(name: &str) -> Refusal {
    Refusal::Missing {
        what: "Volume",
        name: name.to_owned(),
    }
}
