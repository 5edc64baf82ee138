//! What can be done with snapshots.

use super::group::{DataChange, Group};
use super::refusal::Refusal;
use super::size;
use super::volume::{Depletion, MOST_SNAPSHOTS, Snapshot, Stopped};
use super::volumes::check_description;

/// What is said about a new snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Free text.
    pub description: Option<String>,
    /// Whether it starts online.
    pub online: bool,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// Longest name of a snapshot: the volume's with a time behind it must fit.
const LONGEST_NAME: usize = 127;

impl Group {
    /// The snapshot of this name of this volume.
    pub fn snapshot(&self, volume: &str, name: &str) -> Result<&Snapshot, Refusal> {
        let found = self.volume(volume)?.snapshot(name);
        found.ok_or_else(|| missing(name))
    }

    /// The snapshot of this name of this volume, to change it.
    pub fn snapshot_mut(&mut self, volume: &str, name: &str) -> Result<&mut Snapshot, Refusal> {
        let mut all = self.volume_mut(volume)?.snapshots.iter_mut();
        all.find(|one| one.name == name)
            .ok_or_else(|| missing(name))
    }

    /// Takes a snapshot, which gets a name of the volume's and the time.
    pub fn create_snapshot(
        &mut self,
        volume: &str,
        now: &str,
        new: &NewSnapshot,
    ) -> Result<&Snapshot, Refusal> {
        let description = new.description.clone().unwrap_or_default();
        check_description(&description)?;
        let origin = self.volume(volume)?;
        if origin.snapshots.len() == MOST_SNAPSHOTS {
            return Err(Refusal::TooMany { what: "snapshots" });
        }
        if origin.snap_reserve == 0 {
            return Err(Refusal::ReserveFull {
                volume: volume.to_owned(),
            });
        }
        let (from, bytes, pages) = (origin.id, origin.size, origin.used_pages);
        let id = self.new_id();
        let name = format!("{volume}-{now}.{id}.1");
        let snapshot = Snapshot {
            id,
            iqn: Self::target_name(id, &name),
            name,
            size: bytes,
            description,
            writable: !new.read_only,
            online: new.online,
            used_pages: 0,
            volume_pages: pages,
            created: now.to_owned(),
        };
        self.change(DataChange::Copy { from, to: id });
        let snapshots = &mut self.volume_mut(volume)?.snapshots;
        snapshots.push(snapshot);
        Ok(&snapshots[snapshots.len() - 1])
    }

    /// Gives a snapshot another name; its target keeps its own.
    pub fn rename_snapshot(&mut self, volume: &str, name: &str, to: &str) -> Result<(), Refusal> {
        self.snapshot(volume, name)?;
        let fits = (1..=LONGEST_NAME).contains(&to.len())
            && to
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
        if !fits {
            return Err(Refusal::BadValue {
                parameter: "snapshot name",
                right: "Use up to 127 letters, digits, periods, hyphens and colons.",
            });
        }
        if self.volume(volume)?.snapshot(to).is_some() {
            return Err(Refusal::Exists {
                what: "Snapshot",
                name: to.to_owned(),
            });
        }
        self.snapshot_mut(volume, name)?.name = to.to_owned();
        Ok(())
    }

    /// Sets a snapshot online or offline. Offline ends all sessions.
    pub fn set_snapshot_online(
        &mut self,
        volume: &str,
        name: &str,
        online: bool,
    ) -> Result<(), Refusal> {
        let snapshot = self.snapshot_mut(volume, name)?;
        snapshot.online = online;
        let id = snapshot.id;
        if !online {
            self.change(DataChange::Disconnect { id });
        }
        Ok(())
    }

    /// Deletes a snapshot.
    pub fn delete_snapshot(&mut self, volume: &str, name: &str) -> Result<(), Refusal> {
        if self.snapshot(volume, name)?.online {
            return Err(Refusal::Online { what: "snapshot" });
        }
        self.drop_snapshot(volume, name);
        Ok(())
    }

    /// Gives a volume the data of its snapshot; what it had goes into a new snapshot first, and the used one stays.
    pub fn restore_snapshot(&mut self, volume: &str, name: &str, now: &str) -> Result<(), Refusal> {
        let snapshot = self.snapshot(volume, name)?.clone();
        if self.volume(volume)?.is_online() {
            return Err(Refusal::Online { what: "volume" });
        }
        if snapshot.online {
            return Err(Refusal::Online { what: "snapshot" });
        }
        let origin = self.volume(volume)?;
        let mut restored = origin.clone();
        (restored.size, restored.used_pages) = (snapshot.size, snapshot.volume_pages);
        let more = restored.taken_pages().saturating_sub(origin.taken_pages());
        self.need(&restored.pool, more)?;
        self.create_snapshot(volume, now, &NewSnapshot::default())?;
        let origin = self.volume_mut(volume)?;
        origin.size = snapshot.size;
        origin.used_pages = snapshot.volume_pages;
        let (from, to) = (snapshot.id, origin.id);
        self.change(DataChange::Copy { from, to });
        let bytes = size::rounded(snapshot.size);
        self.change(DataChange::Resize { id: to, bytes });
        Ok(())
    }

    /// Says that so many pages of a volume were overwritten: the newest snapshot keeps their old content.
    ///
    /// When the reserve is full the policy of the volume decides.
    pub fn overwrite(&mut self, volume: &str, pages: u64) -> Result<(), Refusal> {
        let written = self.volume(volume)?.used_pages + pages;
        self.set_written(volume, written)?;
        if let Some(newest) = self.volume_mut(volume)?.snapshots.last_mut() {
            newest.used_pages += pages;
        }
        self.settle_reserve(volume);
        Ok(())
    }

    /// Lets the policy of a volume act when its snapshots need more than their reserve.
    pub(super) fn settle_reserve(&mut self, name: &str) {
        while let Ok(volume) = self.volume(name)
            && volume.snapshot_used_pages() > volume.snapshot_reserve_pages()
        {
            match (volume.depletion, volume.snapshots.first()) {
                (Depletion::DeleteOldest, Some(oldest)) => {
                    let oldest = oldest.name.clone();
                    self.drop_snapshot(name, &oldest);
                }
                _ => return self.stop_for_reserve(name),
            }
        }
    }

    fn stop_for_reserve(&mut self, name: &str) {
        let Ok(volume) = self.volume_mut(name) else {
            return;
        };
        volume.stopped = Some(Stopped::ReserveMet);
        let mut stopped = vec![volume.id];
        for snapshot in &mut volume.snapshots {
            snapshot.online = false;
            stopped.push(snapshot.id);
        }
        for id in stopped {
            self.change(DataChange::Disconnect { id });
        }
    }

    fn drop_snapshot(&mut self, volume: &str, name: &str) {
        let Ok(origin) = self.volume_mut(volume) else {
            return;
        };
        if let Some(at) = origin.snapshots.iter().position(|one| one.name == name) {
            let id = origin.snapshots.remove(at).id;
            self.change(DataChange::Remove { id });
        }
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::Missing {
        what: "Snapshot",
        name: name.to_owned(),
    }
}
