//! How large the volume of an image is: full while the image is written, small while it is only read.
//!
//! Source: XenServer's LVHD. A *thick* SR keeps the volumes of visible images full, a *thin* one only those that are attached
//! for writing; what is only a parent is as small as its data allow, and read-only.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use super::mgt::Allocation;
use super::names::is_vhd;
use super::volume::Volume;
use super::volumes::{Volumes, io_error};
use crate::medium::files::Room;

/// Gives images room.
#[derive(Debug)]
pub struct Capacity {
    volumes: Arc<Volumes>,
    allocation: RwLock<Allocation>,
}

/// What a volume is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    length: u64,
    writable: bool,
}

impl Capacity {
    pub(super) fn new(volumes: Arc<Volumes>, allocation: Allocation) -> Self {
        let allocation = RwLock::new(allocation);
        Capacity {
            volumes,
            allocation,
        }
    }

    /// Thick or thin.
    pub fn allocation(&self) -> Allocation {
        *self
            .allocation
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the image in a file the room that it needs for what is about to be done with it.
    ///
    /// To make a volume longer, the footer is written where it will be the last sector, to extents that are still free, and
    /// flushed; then one commit gives the extents to the volume. Crash between: the volume is as it was. To make it shorter,
    /// the footer is written at the new end, too, and flushed; then one commit takes the extents. Crash between: the volume is
    /// long still, and a sound image. XenServer needs the journal `inflate` for this; here nothing is left half made.
    pub fn provide(&self, file_name: &str, room: Room) -> io::Result<bool> {
        let found = self.volumes.volume_of_file(file_name)?;
        let (volume, lv_name) = found.ok_or(io::ErrorKind::NotFound)?;
        let index = self.volumes.index();
        let is_writable = index.group.get(&lv_name).map_err(io_error)?.is_writable();
        let raw = !is_vhd(&lv_name);
        let wanted = match raw {
            true => raw_wanted(&index, &lv_name, &volume, room)?,
            false => match self.vhd_wanted(&volume, room)? {
                Some(wanted) => wanted,
                None => return Ok(false),
            },
        };
        let now = Wanted {
            length: volume.length()?,
            writable: is_writable,
        };
        self.apply(&volume, &lv_name, now, wanted, !raw)?;
        Ok(now.length != wanted.length)
    }

    fn vhd_wanted(&self, volume: &Volume, room: Room) -> io::Result<Option<Wanted>> {
        let info = vhd::image::inspect(volume).map_err(io::Error::from)?;
        let Ok(data_end) = vhd::volume::data_end(volume) else {
            // A fixed image, or one whose table cannot be read: it stays as it is.
            return Ok(None);
        };
        let length = volume.length()?;
        let full = vhd::volume::full_size(info.virtual_size);
        let small = vhd::volume::deflated_size(data_end);
        let is_thick = self.allocation() == Allocation::Thick;
        let wanted = match room {
            Room::Written => Wanted {
                length: full.max(length),
                writable: true,
            },
            Room::More(bytes) => Wanted {
                length: vhd::volume::deflated_size(data_end.saturating_add(bytes)).max(length),
                writable: true,
            },
            Room::Grown {
                virtual_size,
                is_written,
            } => Wanted {
                length: match is_thick || is_written {
                    true => vhd::volume::full_size(virtual_size).max(length),
                    false => length,
                },
                writable: true,
            },
            Room::Resting if info.hidden => Wanted {
                length: small,
                writable: false,
            },
            Room::Resting => Wanted {
                length: if is_thick { full.max(small) } else { small },
                writable: true,
            },
            Room::Least => Wanted {
                length: small,
                writable: true,
            },
        };
        Ok(Some(wanted))
    }

    fn apply(
        &self,
        volume: &Volume,
        lv_name: &str,
        now: Wanted,
        wanted: Wanted,
        has_footer: bool,
    ) -> io::Result<()> {
        if now == wanted {
            return Ok(());
        }
        let edit = |group: &mut lvm::metadata::VolumeGroup| {
            group.resize_lv(lv_name, wanted.length)?;
            group.set_writable(lv_name, wanted.writable)
        };
        let turn = self.volumes.turn();
        if wanted.length != now.length && has_footer {
            let (old, new) = (now.length, wanted.length);
            let moved = match new > old {
                true => {
                    let planned = self.volumes.planned(&edit, lv_name)?;
                    vhd::volume::move_footer(&planned, old, planned.length()?)
                }
                false => vhd::volume::move_footer(volume, old, new),
            };
            moved.map_err(io::Error::from)?;
        }
        self.volumes.change_in(&turn, volume, lv_name, &edit)
    }
}

fn raw_wanted(
    index: &super::volumes::Index,
    lv_name: &str,
    volume: &Volume,
    room: Room,
) -> io::Result<Wanted> {
    let is_hidden = index
        .group
        .get(lv_name)
        .map_err(io_error)?
        .has_tag(super::names::TAG_HIDDEN);
    Ok(Wanted {
        length: volume.length()?,
        writable: room != Room::Resting || !is_hidden,
    })
}

/// A volume as an image sees it that does not make it longer: what is known of its room.
impl vhd::Storage for Volume {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Volume::read_at(self, buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        Volume::write_at(self, data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.length()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        match length <= self.length()? {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn is_volume(&self) -> bool {
        true
    }

    fn flush(&self) -> io::Result<()> {
        Volume::flush(self)
    }

    fn write_zeroes_at(&self, offset: u64, length: u64) -> io::Result<()> {
        Volume::write_zeroes_at(self, offset, length)
    }
}
