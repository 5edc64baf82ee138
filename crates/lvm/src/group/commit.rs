//! Writes a changed group to its metadata areas.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::scan::Area;
use super::{Group, State};
use crate::area::{Header, TextLocation};
use crate::checksum::{INITIAL, crc};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::label::{flush, probe, read, write};
use crate::metadata::{Creation, VolumeGroup, Writer};

/// Where Linux tells the name of the machine.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What one area is about to get.
struct Write {
    device: usize,
    area: usize,
    text: TextLocation,
}

impl Group {
    /// Changes the group: edits a copy of it and writes that to all metadata areas as one change. Nothing is written when the
    /// edit fails or changes nothing. Areas that were damaged or outdated are repaired by it.
    ///
    /// # Errors
    /// Those of `edit`; [`Error::Unsupported`] and [`Error::NotOurs`] for a group that is not changed here;
    /// [`Error::MetadataFull`]; [`Error::Changed`] when the devices do not hold what was read or written last. Nothing was
    /// written then. [`Error::Io`] when a device failed: the change may be there or not, and the group is poisoned until
    /// [`Group::reload`].
    ///
    /// # Durability
    /// On stable storage when it returns. The order, and what a crash leaves behind each step:
    /// 1. The text is written to free space of every area, and flushed. No header points to it: the old text counts.
    /// 2. Every header is written with the new text as its precommitted one, and flushed. The old text counts.
    /// 3. Every header is written with the new text as its committed one, and flushed. As soon as one is there the new text
    ///    counts, since its sequence number is the highest; areas that still have the old one are repaired by the next commit.
    ///
    /// A header is one sector, so it is never torn. `tests/crash.rs` shows all this.
    pub fn commit<T>(&self, edit: impl FnOnce(&mut VolumeGroup) -> Result<T>) -> Result<T> {
        self.commit_as(&writer(), edit)
    }

    /// As [`Group::commit`], with a text that says this of who wrote it. Of an edit that takes nothing from chance, everybody who
    /// makes it on the same group then writes the same bytes to the same places: it does not matter how their writes mix.
    ///
    /// # Errors
    /// As [`Group::commit`].
    ///
    /// # Durability
    /// As [`Group::commit`].
    pub fn commit_as<T>(
        &self,
        writer: &Writer,
        edit: impl FnOnce(&mut VolumeGroup) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.sound_state()?;
        state.group.changeable()?;
        let mut changed = VolumeGroup::clone(&state.group);
        let value = edit(&mut changed)?;
        if changed == *state.group {
            return Ok(value);
        }
        self.write(&mut state, changed, writer)?;
        Ok(value)
    }

    /// Writes the group as it is to all areas, with the next sequence number, if one of them is outdated or damaged.
    ///
    /// # Errors
    /// As [`Group::commit`].
    pub fn repair(&self) -> Result<()> {
        if self.outdated().is_empty() {
            return Ok(());
        }
        self.rewrite()
    }

    /// Writes the group as it is to all areas, with the next sequence number: after [`Group::reload`] it says which state counts,
    /// whatever of a commit that failed a device had kept in its caches.
    ///
    /// # Errors
    /// As [`Group::commit`].
    pub fn rewrite(&self) -> Result<()> {
        let mut state = self.sound_state()?;
        state.group.changeable()?;
        let same = VolumeGroup::clone(&state.group);
        self.write(&mut state, same, &writer())
    }

    fn write(&self, state: &mut State, mut changed: VolumeGroup, writer: &Writer) -> Result<()> {
        let next = state.group.sequence.checked_add(1);
        changed.sequence = next.ok_or_else(|| Error::Limit {
            what: "sequence number of the metadata",
            found: u64::from(u32::MAX) + 1,
            minimum: 0,
            maximum: u32::MAX.into(),
        })?;
        stamp(&mut changed, &state.group, writer);
        changed.changeable()?;
        let text = changed.to_text(writer);
        // What LVM2 does too: a text that cannot be read back as what was meant is never written. Reading checks that the
        // group holds together.
        let read_back = VolumeGroup::parse(&text, &changed.name)?;
        assert!(read_back == changed, "a text says what it was made from");
        let writes = self.plan(state, &changed, &text)?;
        self.verify_unchanged(state)?;
        state.is_poisoned = true;
        self.write_texts(state, &writes, &text)?;
        self.write_headers(state, &writes, |header, text| Header {
            precommitted: Some(text),
            ..header
        })?;
        self.write_headers(state, &writes, |header, text| Header {
            committed: Some(text),
            precommitted: None,
            ..header
        })?;
        for write in &writes {
            state.members[write.device].areas[write.area].sequence = Some(changed.sequence);
        }
        self.publish(state, Arc::new(changed));
        state.is_poisoned = false;
        Ok(())
    }

    /// Where the text goes in each area.
    fn plan(&self, state: &State, changed: &VolumeGroup, text: &[u8]) -> Result<Vec<Write>> {
        let size = text.len() as u64;
        let checksum = crc(INITIAL, text);
        let mut writes = Vec::new();
        for (device, member) in state.members.iter().enumerate() {
            for (number, area) in member
                .areas
                .iter()
                .enumerate()
                .filter(|(_, one)| one.is_used())
            {
                let offset = area.header.next(size).ok_or_else(|| Error::MetadataFull {
                    group: changed.name.clone(),
                    device: self.devices[device].name(),
                    needed: size,
                    room: area.header.room(),
                })?;
                writes.push(Write {
                    device,
                    area: number,
                    text: TextLocation {
                        offset,
                        size,
                        checksum,
                        flags: 0,
                    },
                });
            }
        }
        match writes.is_empty() {
            false => Ok(writes),
            true => Err(Error::Unsupported {
                group: changed.name.clone(),
                object: changed.name.clone(),
                feature: "no metadata area that is written to".to_owned(),
            }),
        }
    }

    /// Whether the devices hold what was read or written last: somebody else may have changed the group.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_current(&self) -> Result<bool> {
        match self.verify_unchanged(&self.state()) {
            Err(Error::Changed { .. }) => Ok(false),
            verified => verified.map(|()| true),
        }
    }

    /// The labels and headers on the devices are those that we know.
    pub(super) fn verify_unchanged(&self, state: &State) -> Result<()> {
        for (device, member) in self.devices.iter().zip(&state.members) {
            let mut is_same = probe(&**device)?.as_ref() == Some(&member.label);
            for area in &member.areas {
                let mut sector = [0; 512];
                read(&**device, &mut sector, area.header.area.offset)?;
                is_same &= sector == area.sector;
            }
            if !is_same {
                return Err(Error::Changed {
                    group: state.group.name.clone(),
                    device: device.name(),
                });
            }
        }
        Ok(())
    }

    fn write_texts(&self, state: &State, writes: &[Write], text: &[u8]) -> Result<()> {
        for one in writes {
            let header = &state.members[one.device].areas[one.area].header;
            write_text(&*self.devices[one.device], header, one.text, text)?;
        }
        self.flush_all(writes)
    }

    fn write_headers(
        &self,
        state: &mut State,
        writes: &[Write],
        change: impl Fn(Header, TextLocation) -> Header,
    ) -> Result<()> {
        for one in writes {
            let area = &mut state.members[one.device].areas[one.area];
            write_header(&*self.devices[one.device], area, |header| {
                change(header, one.text)
            })?;
        }
        self.flush_all(writes)
    }

    fn flush_all(&self, writes: &[Write]) -> Result<()> {
        for (index, device) in self.devices.iter().enumerate() {
            if writes.iter().any(|one| one.device == index) {
                flush(&**device)?;
            }
        }
        Ok(())
    }
}

/// Writes a text into the ring, in whole sectors.
pub(super) fn write_text(
    device: &dyn Device,
    header: &Header,
    location: TextLocation,
    text: &[u8],
) -> Result<()> {
    let mut padded = text.to_vec();
    padded.resize(text.len().next_multiple_of(512), 0);
    let pieces = header.pieces(location.offset, padded.len() as u64);
    let mut rest = padded.as_slice();
    for (offset, length) in pieces.expect("the text was given its place in this ring") {
        let (piece, behind) = rest.split_at(length as usize);
        if !piece.is_empty() {
            write(device, piece, header.area.offset + offset)?;
        }
        rest = behind;
    }
    Ok(())
}

pub(super) fn write_header(
    device: &dyn Device,
    area: &mut Area,
    change: impl Fn(Header) -> Header,
) -> Result<()> {
    let header = change(area.header.clone());
    let sector = header.to_bytes();
    write(device, &sector, header.area.offset)?;
    area.header = header;
    area.sector = sector;
    Ok(())
}

/// Who writes now.
pub(super) fn writer() -> Writer {
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|one| !one.is_control())
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Writer {
        host: if host.is_empty() {
            "localhost".to_owned()
        } else {
            host
        },
        time: now.map_or(0, |now| now.as_secs()),
    }
}

/// Says of new volumes when and where they were made.
fn stamp(changed: &mut VolumeGroup, before: &VolumeGroup, writer: &Writer) {
    let known: std::collections::HashSet<crate::Id> =
        before.logical_volumes.iter().map(|one| one.id).collect();
    for volume in &mut changed.logical_volumes {
        if volume.creation.is_none() && !known.contains(&volume.id) {
            Arc::make_mut(volume).creation = Some(Creation {
                time: writer.time,
                host: writer.host.clone(),
            });
        }
    }
}
