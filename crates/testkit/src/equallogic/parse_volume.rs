//! What follows `volume` in a line of the CLI.

use super::command::{Command, Context, SnapshotCommand, VolumeCommand};
use super::refusal::Refusal;
use super::size;
use super::snapshots::NewSnapshot;
use super::volume::{AccessRecord, AppliesTo, Depletion};
use super::volumes::NewVolume;
use super::words::Words;

/// What `volume select NAME` is followed by.
const VOLUME_VERBS: &[&str] = &[
    "show",
    "online",
    "offline",
    "size",
    "shrink",
    "description",
    "iscsi-alias",
    "snap-reserve",
    "snap-warn",
    "snap-depletion",
    "read-write",
    "read-only",
    "multihost-access",
    "clone",
    "access",
    "snapshot",
];

/// What `snapshot select NAME` is followed by.
const SNAPSHOT_VERBS: &[&str] = &[
    "show",
    "online",
    "offline",
    "description",
    "read-write",
    "read-only",
    "clone",
    "restore",
];

/// What may follow the size of a new volume.
const VOLUME_OPTIONS: &[&str] = &[
    "pool",
    "thin-provision",
    "snap-reserve",
    "snap-warn",
    "snap-depletion",
    "description",
    "iscsi-alias",
    "offline",
    "online",
    "read-only",
    "read-write",
    "unrestricted",
    "sector-size",
];

/// What may follow the name of a clone. It is made in the pool of its origin. Source: Dell's BP1027, 3.6.
const CLONE_OPTIONS: &[&str] = &[
    "thin-provision",
    "snap-reserve",
    "snap-warn",
    "snap-depletion",
    "description",
    "iscsi-alias",
    "offline",
    "online",
    "read-only",
    "read-write",
    "unrestricted",
];

impl Words {
    /// Reads what follows `volume`.
    pub fn volumes(&mut self) -> Result<Command, Refusal> {
        match self.keyword(&["show", "create", "delete", "rename", "select"])? {
            "show" if self.is_done() || self.is_next("-volume") => {
                self.flag("-volume")?;
                Ok(Command::ShowVolumes)
            }
            "show" => Ok(Command::Volume(self.word()?, VolumeCommand::Show)),
            "create" => {
                let name = self.word()?;
                let bytes = self.size()?;
                Ok(Command::CreateVolume(
                    name,
                    bytes,
                    self.volume_options(VOLUME_OPTIONS)?,
                ))
            }
            "delete" => Ok(Command::DeleteVolume(self.word()?)),
            "rename" => Ok(Command::RenameVolume(self.word()?, self.word()?)),
            _ => {
                let name = self.word()?;
                if self.is_done() {
                    return Ok(Command::Enter(Context::Volume(name)));
                }
                self.volume(name)
            }
        }
    }

    fn volume(&mut self, name: String) -> Result<Command, Refusal> {
        let command = match self.keyword(VOLUME_VERBS)? {
            "show" => VolumeCommand::Show,
            "online" => VolumeCommand::Online(true),
            "offline" => VolumeCommand::Online(false),
            "size" => VolumeCommand::Grow {
                bytes: self.size()?,
                no_snap: self.flag("no-snap")?,
            },
            "shrink" => VolumeCommand::Shrink {
                bytes: self.size()?,
                no_snap: self.flag("no-snap")?,
            },
            "description" => VolumeCommand::Description(self.word()?),
            "iscsi-alias" => VolumeCommand::Alias(self.word()?),
            "snap-reserve" => VolumeCommand::SnapReserve(self.percent("snap-reserve")?),
            "snap-warn" => VolumeCommand::SnapWarn(self.percent("snap-warn")?),
            "snap-depletion" => VolumeCommand::SnapDepletion(self.depletion()?),
            "read-write" => VolumeCommand::Writable(true),
            "read-only" => VolumeCommand::Writable(false),
            "multihost-access" => VolumeCommand::MultihostAccess(self.enabled()?),
            "clone" => VolumeCommand::Clone(self.word()?, self.volume_options(CLONE_OPTIONS)?),
            "access" => self.access()?,
            _ => return self.snapshots(name),
        };
        Ok(Command::Volume(name, command))
    }

    fn access(&mut self) -> Result<VolumeCommand, Refusal> {
        Ok(
            match self.keyword(&["show", "create", "delete", "select"])? {
                "show" => VolumeCommand::ShowAccess,
                "delete" => VolumeCommand::DeleteAccess(self.number_32()?),
                "select" => {
                    let id = self.number_32()?;
                    match self.keyword(&["show", "delete"])? {
                        "show" => VolumeCommand::ShowRecord(id),
                        _ => VolumeCommand::DeleteAccess(id),
                    }
                }
                _ => VolumeCommand::CreateAccess(self.record()?),
            },
        )
    }

    fn record(&mut self) -> Result<AccessRecord, Refusal> {
        let mut record = AccessRecord {
            id: 0,
            initiator: None,
            address: AccessRecord::ANYWHERE.to_owned(),
            chap_user: None,
            applies_to: AppliesTo::Both,
        };
        let keys = [
            "initiator",
            "ipaddress",
            "username",
            "authmethod",
            "apply-to",
            "unrestricted",
        ];
        let mut method = None;
        if self.is_done() {
            return Err(self.bad());
        }
        while !self.is_done() {
            match self.keyword(&keys)? {
                "initiator" => record.initiator = Some(self.word()?),
                "ipaddress" => record.address = self.address()?,
                "username" => record.chap_user = Some(self.word()?),
                "authmethod" => method = Some(self.keyword(&["chap", "none"])?),
                "apply-to" => {
                    record.applies_to = match self.keyword(&["volume", "snapshot", "both"])? {
                        "volume" => AppliesTo::Volume,
                        "snapshot" => AppliesTo::Snapshot,
                        _ => AppliesTo::Both,
                    }
                }
                _ => {}
            }
        }
        if (method == Some("chap")) != record.chap_user.is_some() && method.is_some() {
            return Err(Refusal::BadValue {
                parameter: "authmethod",
                right: "A user name goes with CHAP and with nothing else.",
            });
        }
        Ok(record)
    }

    fn address(&mut self) -> Result<String, Refusal> {
        let word = self.word()?;
        let parts: Vec<&str> = word.split('.').collect();
        let right = |part: &&str| *part == "*" || part.parse::<u8>().is_ok();
        if parts.len() != 4 || !parts.iter().all(right) {
            return Err(Refusal::BadValue {
                parameter: "ipaddress",
                right: "Use four numbers, of which each may be *.",
            });
        }
        Ok(word)
    }

    fn snapshots(&mut self, volume: String) -> Result<Command, Refusal> {
        let command = match self.keyword(&["show", "create-now", "delete", "rename", "select"])? {
            "show" => VolumeCommand::ShowSnapshots,
            "create-now" => VolumeCommand::CreateSnapshot(self.snapshot_options()?),
            "delete" => VolumeCommand::DeleteSnapshot(self.word()?),
            "rename" => VolumeCommand::RenameSnapshot(self.word()?, self.word()?),
            _ => {
                let name = self.word()?;
                if self.is_done() {
                    return Ok(Command::Enter(Context::Snapshot(volume, name)));
                }
                VolumeCommand::Snapshot(name, self.snapshot()?)
            }
        };
        Ok(Command::Volume(volume, command))
    }

    fn snapshot(&mut self) -> Result<SnapshotCommand, Refusal> {
        Ok(match self.keyword(SNAPSHOT_VERBS)? {
            "show" => SnapshotCommand::Show,
            "online" => SnapshotCommand::Online(true),
            "offline" => SnapshotCommand::Online(false),
            "description" => SnapshotCommand::Description(self.word()?),
            "read-write" => SnapshotCommand::Writable(true),
            "read-only" => SnapshotCommand::Writable(false),
            "clone" => SnapshotCommand::Clone(self.word()?, self.volume_options(CLONE_OPTIONS)?),
            _ => SnapshotCommand::Restore,
        })
    }

    fn snapshot_options(&mut self) -> Result<NewSnapshot, Refusal> {
        let mut new = NewSnapshot::default();
        let keys = [
            "description",
            "online",
            "offline",
            "read-only",
            "read-write",
        ];
        while !self.is_done() {
            match self.keyword(&keys)? {
                "description" => new.description = Some(self.word()?),
                "online" => new.online = true,
                "read-only" => new.read_only = true,
                _ => {}
            }
        }
        Ok(new)
    }

    fn volume_options(&mut self, known: &[&'static str]) -> Result<NewVolume, Refusal> {
        let mut new = NewVolume::default();
        while !self.is_done() {
            match self.keyword(known)? {
                "pool" => new.pool = Some(self.word()?),
                "thin-provision" => new.thin = true,
                "snap-reserve" => new.snap_reserve = Some(self.percent("snap-reserve")?),
                "snap-warn" => new.snap_warn = Some(self.percent("snap-warn")?),
                "snap-depletion" => new.depletion = Some(self.depletion()?),
                "description" => new.description = Some(self.word()?),
                "iscsi-alias" => new.alias = Some(self.word()?),
                "offline" => new.offline = true,
                "read-only" => new.read_only = true,
                "unrestricted" => new.unrestricted = true,
                // Sectors of 4096 bytes are more than istgt can do.
                "sector-size" => {
                    self.keyword(&["512"])?;
                }
                _ => {}
            }
        }
        Ok(new)
    }

    fn depletion(&mut self) -> Result<Depletion, Refusal> {
        Ok(match self.keyword(&["delete-oldest", "volume-offline"])? {
            "delete-oldest" => Depletion::DeleteOldest,
            _ => Depletion::VolumeOffline,
        })
    }

    fn percent(&mut self, parameter: &'static str) -> Result<u32, Refusal> {
        let word = self.word()?;
        let number = word.strip_suffix('%').unwrap_or(&word).parse().ok();
        // The array takes up to a thousand per cent for snapshots.
        number
            .filter(|percent| *percent <= 1000)
            .ok_or(Refusal::BadValue {
                parameter,
                right: "Use a percentage up to 1000%.",
            })
    }

    fn size(&mut self) -> Result<u64, Refusal> {
        size::parse(&self.word()?).ok_or(Refusal::BadValue {
            parameter: "size",
            right: "Use a number with MB, GB or TB behind it.",
        })
    }
}
