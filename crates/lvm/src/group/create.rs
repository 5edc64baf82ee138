//! Makes and removes groups.

use std::sync::Arc;

use super::Group;
use super::commit::{write_header, write_text, writer};
use super::scan::Area;
use crate::area::{Header, TextLocation};
use crate::checksum::{INITIAL, crc};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::label::{Label, Location, device_size, flush, probe, wipe, write};
use crate::metadata::{PhysicalVolume, VolumeGroup, check_group_name};
use crate::text::{Entry, Item, Value};
use crate::{Id, SECTOR_SIZE};

/// Where LVM2 begins the first metadata area.
const AREA_OFFSET: u64 = 4096;
/// Data begins at a multiple of this.
///
/// # Source
/// lvm.conf, `devices/default_data_alignment` of 1 MiB.
const DATA_ALIGNMENT: u64 = 1 << 20;
/// Bytes at the end of a device that are cleared too: other programs keep their marks there.
const TAIL: u64 = 128 << 10;
/// Bytes that one write clears.
const CLEARED_AT_ONCE: u64 = 1 << 20;
/// Sizes of extents that LVM2 takes.
const EXTENT_SIZES: std::ops::RangeInclusive<u64> = 4096..=1 << 34;
/// Sizes of metadata areas that make sense: two texts of the smallest group, and two of the largest that are read.
const METADATA_SIZES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// What a new group is like. The default is what XenServer makes.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// Bytes of an extent, a power of two.
    pub extent_size: u64,
    /// Bytes of the metadata area on each device, at least.
    pub metadata_size: u64,
    /// Whether devices may have a label.
    pub overwrite: Overwrite,
}

/// What to do with a device that is a physical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse it.
    Refuse,
    /// Make it one of the new group.
    Force,
}

impl Default for NewGroup {
    fn default() -> Self {
        NewGroup {
            extent_size: 4 << 20,
            metadata_size: 10 << 20,
            overwrite: Overwrite::Refuse,
        }
    }
}

impl Group {
    /// Makes physical volumes of these devices and a group of them, as `pvcreate` and `vgcreate` do. Everything that was on
    /// the devices is lost; only an LVM2 label is looked for, other contents are the caller's to find.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Limit`] for a device that is too small, [`Error::IsPhysicalVolume`]: nothing was written
    /// then. [`Error::Io`].
    ///
    /// # Durability
    /// The begin of each device is cleared, then metadata is written and flushed, labels come last. A crash leaves devices
    /// without a label, or the group, or (between two labels) a group that lacks a device; make it again with
    /// [`Overwrite::Force`].
    pub fn create(devices: Vec<Arc<dyn Device>>, name: &str, new: &NewGroup) -> Result<Self> {
        check_group_name(name)?;
        check_sizes(new, devices.len())?;
        let data_start = (AREA_OFFSET + new.metadata_size).next_multiple_of(DATA_ALIGNMENT);
        let location = Location {
            offset: AREA_OFFSET,
            size: data_start - AREA_OFFSET,
        };
        let mut group = empty_group(name, new);
        let mut labels = Vec::with_capacity(devices.len());
        for device in &devices {
            let size = check_device(&**device, new, data_start)?;
            let id = Id::random();
            labels.push(Label::new(id, size, data_start, vec![location]));
            group.physical_volumes.push(PhysicalVolume {
                name: format!("pv{}", group.physical_volumes.len()),
                id,
                device: device.name(),
                status: vec!["ALLOCATABLE".to_owned()],
                flags: Vec::new(),
                device_size: size / SECTOR_SIZE,
                data_start: data_start / SECTOR_SIZE,
                extents: (size - data_start) / new.extent_size,
                others: Vec::new(),
            });
        }
        group.check()?;
        let text = group.to_text(&writer());
        for device in &devices {
            clear(&**device, data_start)?;
            write_area(&**device, location, &text)?;
        }
        for (device, label) in devices.iter().zip(&labels) {
            write(&**device, &label.to_bytes(), label.sector * SECTOR_SIZE)?;
            flush(&**device)?;
        }
        Group::open(devices)
    }

    /// Removes the group with all its volumes, as `vgremove` and `pvremove` do.
    ///
    /// # Errors
    /// [`Error::Changed`] when the devices do not hold what was read or written last, [`Error::Poisoned`], [`Error::Io`].
    ///
    /// # Durability
    /// The headers of all metadata areas are emptied first, then labels are cleared. A crash leaves the group, on fewer
    /// areas or lacking devices, or physical volumes without a group, which [`wipe`] clears.
    pub fn remove(&self) -> Result<()> {
        let mut state = self.sound_state()?;
        self.verify_unchanged(&state)?;
        state.is_poisoned = true;
        for (device, member) in self.devices.iter().zip(&mut state.members) {
            for area in &mut member.areas {
                write_header(&**device, area, |header| Header::new(header.area))?;
            }
            flush(&**device)?;
        }
        for device in &self.devices {
            wipe(&**device)?;
        }
        Ok(())
    }
}

fn empty_group(name: &str, new: &NewGroup) -> VolumeGroup {
    let value = |key: &str, value| Entry {
        key: key.to_owned(),
        item: Item::Value(value),
    };
    VolumeGroup {
        name: name.to_owned(),
        id: Id::random(),
        sequence: 1,
        extent_size: new.extent_size / SECTOR_SIZE,
        status: ["RESIZEABLE", "READ", "WRITE"].map(str::to_owned).to_vec(),
        flags: Vec::new(),
        tags: Vec::new(),
        physical_volumes: Vec::new(),
        logical_volumes: Vec::new(),
        others: vec![
            value("format", Value::Text("lvm2".to_owned())),
            value("max_lv", Value::Integer(0)),
            value("max_pv", Value::Integer(0)),
            value("metadata_copies", Value::Integer(0)),
        ],
        lossy: false,
    }
}

fn check_sizes(new: &NewGroup, devices: usize) -> Result<()> {
    limit("number of devices", devices as u64, 1..=1024)?;
    limit("size of an extent", new.extent_size, EXTENT_SIZES)?;
    limit("size of the metadata", new.metadata_size, METADATA_SIZES)?;
    let nearest = new.extent_size.next_power_of_two();
    limit("size of an extent", new.extent_size, nearest..=nearest)
}

fn limit(what: &'static str, found: u64, allowed: std::ops::RangeInclusive<u64>) -> Result<()> {
    match allowed.contains(&found) {
        true => Ok(()),
        false => Err(Error::Limit {
            what,
            found,
            minimum: *allowed.start(),
            maximum: *allowed.end(),
        }),
    }
}

/// The size of a device that can be taken, in whole sectors.
fn check_device(device: &dyn Device, new: &NewGroup, data_start: u64) -> Result<u64> {
    let size = device_size(device)?;
    let size = size - size % SECTOR_SIZE;
    let largest = new.extent_size.saturating_mul(u32::MAX.into());
    limit(
        "size of a device",
        size,
        data_start + new.extent_size..=largest,
    )?;
    // A damaged label is foreign as well: only a forced call goes on.
    match probe(device) {
        _ if new.overwrite == Overwrite::Force => Ok(size),
        Ok(None) => Ok(size),
        Ok(Some(label)) => Err(Error::IsPhysicalVolume {
            device: device.name(),
            id: label.id,
        }),
        Err(error) => Err(error),
    }
}

/// Clears what lies in front of the data, and the end.
fn clear(device: &dyn Device, data_start: u64) -> Result<()> {
    let zeros = vec![0; CLEARED_AT_ONCE as usize];
    for offset in (0..data_start).step_by(CLEARED_AT_ONCE as usize) {
        let length = CLEARED_AT_ONCE.min(data_start - offset);
        write(device, &zeros[..length as usize], offset)?;
    }
    let size = device_size(device)?;
    let size = size - size % SECTOR_SIZE;
    let tail = TAIL.min(size - data_start);
    write(device, &zeros[..tail as usize], size - tail)?;
    flush(device)
}

fn write_area(device: &dyn Device, location: Location, text: &[u8]) -> Result<()> {
    let header = Header::new(location);
    let offset = header.next(text.len() as u64);
    let text_location = TextLocation {
        offset: offset.ok_or_else(|| Error::MetadataFull {
            group: String::new(),
            device: device.name(),
            needed: text.len() as u64,
            room: header.room(),
        })?,
        size: text.len() as u64,
        checksum: crc(INITIAL, text),
        flags: 0,
    };
    write_text(device, &header, text_location, text)?;
    flush(device)?;
    let mut area = Area {
        sector: [0; 512],
        header,
        sequence: None,
    };
    write_header(device, &mut area, |header| Header {
        committed: Some(text_location),
        ..header
    })?;
    flush(device)
}
