//! The volume `xensm-owner`, whose first sector is the record of who owns the SR.
//!
//! It is there while an SR is attached: made by whoever attaches, removed by whoever detaches, so that XenServer finds the
//! group as it left it. Making it is a change of the metadata before anybody owns the SR. Two who do that at once write the
//! same bytes to the same places, since nothing in the change comes from chance, a clock or a host's name: whichever way their
//! writes mix, the group is whole and has one such volume, and the record decides between them.
//!
//! Making it:
//!
//! 1. The metadata is committed. Crash: a volume whose record is nobody's, or an old one that expires.
//! 2. Where the sector holds no record, one is written that says free. Crash: the same.
//! 3. After a wait the metadata is read again. Without the volume in it, it was another's turn, and it is begun again.
//!
//! The wait of 3 is for a commit of another that began before ours and ends later: it must not come after what we change next.
//! One who was slow himself waits for [`Timing::expiry`], in which a holder renews: his record of 2 may have covered a holder's.
//!
//! Until the record is taken, each read and write of it sees first whether the volume is still where it was: he who detaches
//! removes it. Then [`OwnerStore`]'s calls fail, and the volume is looked for again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lvm::device::Device;
use lvm::metadata::{Creation, VolumeGroup, Writer};
use lvm::{ErrorKind, Group, Id};
use uuid::Uuid;

use super::names::OWNER;
use crate::medium::owner::{
    OwnerRecord, OwnerStore, RECORD_LENGTH, RecordBytes, RecordState, Timing,
};

/// How often making the volume is begun again because somebody else changed the group.
const MAX_ROUNDS: usize = 5;

/// How many times longer than for a record the waits are: a commit of metadata is that many writes and flushes.
pub const WRITES_OF_A_COMMIT: u32 = 3;

/// The name that stands for who makes the volume, whoever that is.
const MAKER: &str = "xensm";

/// The record in the volume.
pub struct OwnerVolume {
    group: Group,
    at: Place,
    /// The volume stays where it is, since nobody else changes the group.
    is_owned: AtomicBool,
}

/// Where the record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The physical volume.
    device: Id,
    /// Its index in the group.
    index: usize,
    /// Bytes from its begin.
    offset: u64,
}

/// Where a group has its record; none when it has no such volume.
pub fn place_in(group: &VolumeGroup) -> lvm::Result<Option<Place>> {
    if group.find(OWNER).is_none() {
        return Ok(None);
    }
    let first = group.map(OWNER)?.locate(0);
    Ok(first.and_then(|first| {
        Some(Place {
            device: group.physical_volumes.get(first.pv)?.id,
            index: first.pv,
            offset: first.offset,
        })
    }))
}

impl OwnerVolume {
    /// Finds the volume of a group, or makes it. The group's devices keep nothing in memory and give up in time.
    ///
    /// # Errors
    /// Those of [`Group::commit`]; a group without a free extent has no room for it.
    ///
    /// # Durability
    /// On stable storage at return.
    pub fn find_or_make(group: Group, timing: &Timing) -> lvm::Result<Self> {
        let mut rounds = 0;
        loop {
            if let Some(at) = place_in(&group.volume_group())? {
                return Ok(OwnerVolume {
                    group,
                    at,
                    is_owned: AtomicBool::new(false),
                });
            }
            rounds += 1;
            match make(&group, timing) {
                Err(error) if error.kind() == ErrorKind::Conflict && rounds < MAX_ROUNDS => {}
                Ok(()) if rounds > MAX_ROUNDS => {
                    let source =
                        io::Error::other("it was removed again by somebody else each time");
                    return Err(fault(&group, source));
                }
                made => made?,
            }
            reload(&group, timing)?;
        }
    }

    /// Where the record lies.
    pub fn place(&self) -> Place {
        self.at
    }

    /// Notes that the record was taken: the volume stays where it is.
    ///
    /// # Errors
    /// When it has been removed or moved; the record is not that of the group then.
    pub fn note_owned(&self) -> io::Result<()> {
        self.require_place()?;
        self.is_owned.store(true, Ordering::Release);
        Ok(())
    }

    /// Fails when the volume has been removed, or lies elsewhere.
    fn require_place(&self) -> io::Result<()> {
        if self.is_owned.load(Ordering::Acquire) || self.group.is_current()? {
            return Ok(());
        }
        self.group.reload()?;
        match place_in(&self.group.volume_group())? {
            Some(at) if at == self.at => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the volume has been removed: the SR was being detached elsewhere",
            )),
        }
    }

    fn device(&self) -> io::Result<&Arc<dyn Device>> {
        self.group.devices().get(self.at.index).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "the device of the record is gone")
        })
    }
}

/// Steps 1 and 2, and the wait.
fn make(group: &Group, timing: &Timing) -> lvm::Result<()> {
    let began = Instant::now();
    let before = group.volume_group();
    crate::io::fault::point("owner volume: make").map_err(|source| fault(group, source))?;
    let writer = Writer {
        host: MAKER.to_owned(),
        time: 0,
    };
    group.commit_as(&writer, |changed| make_volume(changed, &before))?;
    crate::io::fault::point("owner volume: made").map_err(|source| fault(group, source))?;
    let record = || -> io::Result<()> {
        let Some(at) = place_in(&group.volume_group())? else {
            return Ok(());
        };
        let device = &group.devices()[at.index];
        let mut found = [0; RECORD_LENGTH];
        device.read_at(&mut found, at.offset)?;
        if OwnerRecord::parse(&found).is_none() {
            device.write_at(&free_record(timing).to_bytes(), at.offset)?;
            device.flush()?;
        }
        Ok(())
    };
    record().map_err(|source| fault(group, source))?;
    let is_fast = began.elapsed() <= timing.write_limit * WRITES_OF_A_COMMIT;
    std::thread::sleep(match is_fast {
        true => timing.settle * WRITES_OF_A_COMMIT,
        false => timing.expiry,
    });
    Ok(())
}

fn fault(group: &Group, source: io::Error) -> lvm::Error {
    lvm::Error::Io {
        device: group
            .devices()
            .first()
            .map(|device| device.name())
            .unwrap_or_default(),
        action: "write the owner record on",
        offset: 0,
        length: RECORD_LENGTH as u64,
        source,
    }
}

/// The volume, with an identity that follows from the group's and the number of this change.
fn make_volume(group: &mut VolumeGroup, before: &VolumeGroup) -> lvm::Result<()> {
    group.create_lv(OWNER, RECORD_LENGTH as u64, &[])?;
    let seed = format!("{OWNER} {} {}", before.id, before.sequence);
    let digest = ring::digest::digest(&ring::digest::SHA256, seed.as_bytes());
    let half = digest.as_ref().iter().take(16);
    let text: String = half.map(|byte| format!("{byte:02x}")).collect();
    if let (Some(id), Some(made)) = (Id::parse(&text), group.logical_volumes.last_mut()) {
        let made = Arc::make_mut(made);
        made.id = id;
        made.creation = Some(Creation {
            time: 0,
            host: MAKER.to_owned(),
        });
    }
    Ok(())
}

/// Makes the volume in a group that nobody else knows yet.
///
/// # Durability
/// As [`OwnerVolume::find_or_make`], without its waits.
pub fn make_in_new(group: &Group) -> lvm::Result<()> {
    let at_once = Timing {
        settle: std::time::Duration::ZERO,
        expiry: std::time::Duration::ZERO,
        ..Timing::default()
    };
    make(group, &at_once)
}

/// Reads the group again; what cannot be read now is tried again, since another may be writing it.
fn reload(group: &Group, timing: &Timing) -> lvm::Result<()> {
    for _ in 1..MAX_ROUNDS {
        if group.reload().is_ok() {
            return Ok(());
        }
        std::thread::sleep(timing.settle);
    }
    group.reload()
}

/// The record of an SR that nobody has had.
fn free_record(timing: &Timing) -> OwnerRecord {
    OwnerRecord {
        state: RecordState::Free,
        owner: Uuid::nil(),
        holder: "nobody".to_owned(),
        generation: 0,
        counter: 0,
        expiry: timing.expiry,
        process: None,
    }
}

impl OwnerStore for OwnerVolume {
    fn place(&self) -> String {
        format!("in volume {OWNER} of {}", self.group.volume_group().name)
    }

    fn read(&self) -> io::Result<Option<RecordBytes>> {
        self.require_place()?;
        let mut record = [0; RECORD_LENGTH];
        self.device()?.read_at(&mut record, self.at.offset)?;
        Ok(Some(record))
    }

    fn write(&self, record: &RecordBytes) -> io::Result<()> {
        self.require_place()?;
        let device = self.device()?;
        device.write_at(record, self.at.offset)?;
        device.flush()
    }
}

impl std::fmt::Debug for OwnerVolume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnerVolume")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
