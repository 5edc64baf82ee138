//! A volume with its snapshots and access control records.

use std::net::Ipv4Addr;

use super::size;

/// Most access control records of a volume.
pub const MOST_RECORDS: usize = 16;
/// Most snapshots of a volume.
pub const MOST_SNAPSHOTS: usize = 512;
/// Longest name of a volume.
pub const LONGEST_NAME: usize = 63;
/// Longest description of a volume or a snapshot.
pub const LONGEST_DESCRIPTION: usize = 127;

/// What the array does when the snapshots need more space than their reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depletion {
    /// It deletes the oldest snapshots.
    DeleteOldest,
    /// It sets the volume and its snapshots offline.
    VolumeOffline,
}

impl Depletion {
    /// As the CLI writes it.
    pub fn text(self) -> &'static str {
        match self {
            Depletion::DeleteOldest => "delete-oldest",
            Depletion::VolumeOffline => "volume-offline",
        }
    }
}

/// Why an array takes a volume offline. Source: the states `not-available-due-to-...` of its EQLVOLUME-MIB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Its snapshot reserve is full, and its policy is to stop then.
    ReserveMet,
    /// It is thin and its pool is full.
    NoSpace,
}

/// A volume: an iSCSI target with LUN 0.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Which data it has; never used again.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The pool it takes its space of.
    pub pool: String,
    /// The size that was asked for, in bytes; the block device has whole pages.
    pub size: u64,
    /// Whether it takes space as it is written.
    pub thin: bool,
    /// Pages that were ever written.
    pub used_pages: u64,
    /// Percentage of its space that is kept for snapshots.
    pub snap_reserve: u32,
    /// Percentage of the reserve below which the array warns.
    pub snap_warn: u32,
    /// What happens when the reserve is full.
    pub depletion: Depletion,
    /// Free text.
    pub description: String,
    /// The target's alias.
    pub alias: String,
    /// The target's name.
    pub iqn: String,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it shall be online.
    pub online: bool,
    /// Why the array took it offline, if it did.
    pub stopped: Option<Stopped>,
    /// Whether several initiators may use it at once.
    pub multihost: bool,
    /// Who may use it.
    pub records: Vec<AccessRecord>,
    /// Its snapshots, the oldest first.
    pub snapshots: Vec<Snapshot>,
}

impl Volume {
    /// Whether initiators find it.
    pub fn is_online(&self) -> bool {
        self.online && self.stopped.is_none()
    }

    /// Pages that it takes of its pool, without those for snapshots.
    pub fn reserved_pages(&self) -> u64 {
        let pages = size::pages(self.size);
        if self.thin {
            percent_of(pages, THIN_MINIMUM)
                .max(self.used_pages)
                .min(pages)
        } else {
            pages
        }
    }

    /// All pages that it takes of its pool.
    pub fn taken_pages(&self) -> u64 {
        self.reserved_pages() + self.snapshot_reserve_pages()
    }

    /// Pages that are kept for its snapshots.
    pub fn snapshot_reserve_pages(&self) -> u64 {
        percent_of(self.reserved_pages(), self.snap_reserve)
    }

    /// Pages of the reserve that its snapshots have used up.
    pub fn snapshot_used_pages(&self) -> u64 {
        self.snapshots.iter().map(|one| one.used_pages).sum()
    }

    /// The snapshot of this name.
    pub fn snapshot(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.iter().find(|one| one.name == name)
    }

    /// The word for its state.
    pub fn status(&self) -> &'static str {
        match (self.online, self.stopped) {
            (true, None) => "online",
            (true, Some(Stopped::ReserveMet)) => "offline-snap-reserve-met",
            (true, Some(Stopped::NoSpace)) => "offline-nospace-for-auto-grow",
            (false, _) => "offline",
        }
    }
}

/// Percentage of its size that a thin volume takes at least.
pub const THIN_MINIMUM: u32 = 10;

/// So many percent of a count, rounded up.
pub fn percent_of(pages: u64, percent: u32) -> u64 {
    (pages * u64::from(percent)).div_ceil(100)
}

/// A snapshot: a target of its own, which dies with its volume.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which data it has; never used again.
    pub id: u64,
    /// Its name, unique in its volume.
    pub name: String,
    /// The size of the volume then, in bytes.
    pub size: u64,
    /// Free text.
    pub description: String,
    /// The target's name.
    pub iqn: String,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it is online.
    pub online: bool,
    /// Pages of the volume that were overwritten since, and are kept for it.
    pub used_pages: u64,
    /// Pages that the volume had written then.
    pub volume_pages: u64,
    /// When it was made.
    pub created: String,
}

/// Who may use a volume: everything that is given must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// Its number; the lowest free one.
    pub id: u32,
    /// The initiator's name; none, or `*`, is every one.
    pub initiator: Option<String>,
    /// Four parts, of which `*` is every value.
    pub address: String,
    /// The account with which the initiator proves who it is.
    pub chap_user: Option<String>,
    /// What it is for.
    pub applies_to: AppliesTo,
}

/// What an access control record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppliesTo {
    /// The volume alone.
    Volume,
    /// Its snapshots alone.
    Snapshot,
    /// Both.
    Both,
}

impl AppliesTo {
    /// As the CLI writes it.
    pub fn text(self) -> &'static str {
        match self {
            AppliesTo::Volume => "volume",
            AppliesTo::Snapshot => "snapshot",
            AppliesTo::Both => "both",
        }
    }
}

impl AccessRecord {
    /// Every address.
    pub const ANYWHERE: &'static str = "*.*.*.*";

    /// Whether this initiator may use the volume, or its snapshot.
    pub fn admits(&self, initiator: &str, address: Ipv4Addr, snapshot: bool) -> bool {
        let applies = match self.applies_to {
            AppliesTo::Both => true,
            AppliesTo::Volume => !snapshot,
            AppliesTo::Snapshot => snapshot,
        };
        let named = self
            .initiator
            .as_deref()
            .is_none_or(|name| name == "*" || name.eq_ignore_ascii_case(initiator));
        let octets = address.octets();
        let placed = self
            .address
            .split('.')
            .zip(octets)
            .all(|(part, octet)| part == "*" || part.parse() == Ok(octet));
        applies && named && placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(initiator: Option<&str>, address: &str, applies_to: AppliesTo) -> AccessRecord {
        AccessRecord {
            id: 1,
            initiator: initiator.map(str::to_owned),
            address: address.to_owned(),
            chap_user: None,
            applies_to,
        }
    }

    #[test]
    fn admits_what_fits_in_every_part() {
        let here = Ipv4Addr::LOCALHOST;
        let all = record(None, AccessRecord::ANYWHERE, AppliesTo::Both);
        assert!(all.admits("iqn.a", here, false) && all.admits("iqn.a", here, true));
        let one = record(Some("iqn.a"), "127.0.*.*", AppliesTo::Volume);
        assert!(one.admits("IQN.A", here, false));
        assert!(!one.admits("iqn.ab", here, false));
        assert!(!one.admits("iqn.a", here, true));
        assert!(!one.admits("iqn.a", Ipv4Addr::new(10, 0, 0, 1), false));
    }

    #[test]
    fn thin_volumes_take_a_tenth_and_then_what_is_written() {
        let mut volume = Volume {
            id: 1,
            name: "v".to_owned(),
            pool: "default".to_owned(),
            size: 100 * size::PAGE,
            thin: true,
            used_pages: 0,
            snap_reserve: 50,
            snap_warn: 10,
            depletion: Depletion::DeleteOldest,
            description: String::new(),
            alias: String::new(),
            iqn: String::new(),
            writable: true,
            online: true,
            stopped: None,
            multihost: false,
            records: Vec::new(),
            snapshots: Vec::new(),
        };
        assert_eq!(volume.reserved_pages(), 10);
        assert_eq!(volume.snapshot_reserve_pages(), 5);
        volume.used_pages = 30;
        assert_eq!(volume.reserved_pages(), 30);
        volume.thin = false;
        assert_eq!(volume.reserved_pages(), 100);
    }
}
