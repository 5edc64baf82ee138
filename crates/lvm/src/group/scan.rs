//! Reads devices and finds the metadata that counts.

use std::collections::HashMap;
use std::sync::Arc;

use crate::area::{HEADER_SIZE, Header, TextLocation};
use crate::checksum::{INITIAL, crc};
use crate::device::Device;
use crate::error::{Defect, Error, Part, Result};
use crate::label::{Label, Location, device_size, probe, read};
use crate::metadata::VolumeGroup;
use crate::text::MAX_TEXT;
use crate::{Id, SECTOR_SIZE};

/// A device with its label and its metadata areas.
pub(super) struct Member {
    pub label: Label,
    pub areas: Vec<Area>,
}

/// A metadata area as it was read or written last.
pub(super) struct Area {
    /// The sector of the header.
    pub sector: [u8; 512],
    /// What it says; an empty one when it is damaged.
    pub header: Header,
    /// The sequence number of the text; none when there is no sound one.
    pub sequence: Option<u32>,
}

/// A group with its devices, both in the order of the physical volumes.
pub(super) struct Scanned {
    pub devices: Vec<Arc<dyn Device>>,
    pub members: Vec<Member>,
    pub group: Arc<VolumeGroup>,
}

/// What one device says of itself.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its label.
    pub label: Label,
    /// The newest sound metadata on it; none when it belongs to no group, or to one whose metadata lies elsewhere.
    pub group: Option<Arc<VolumeGroup>>,
}

/// Reads what one device says, without judging whether its group is complete or ours to use. `None` when it has no label.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`], [`Error::Syntax`] or [`Error::Metadata`] when there is a label or metadata and no sound
/// copy of it.
pub fn inspect(device: &dyn Device) -> Result<Option<Inspection>> {
    let Some(label) = probe(device)? else {
        return Ok(None);
    };
    let mut texts = Texts::default();
    let member = texts.member(device, label)?;
    let mut copies = texts.copies;
    copies.sort_by_key(|copy| copy.sequence);
    match (copies.pop(), texts.first_error) {
        (None, Some(error)) => Err(error),
        (group, _) => Ok(Some(Inspection {
            label: member.label,
            group,
        })),
    }
}

/// Reads all devices of a group.
pub(super) fn scan(devices: Vec<Arc<dyn Device>>) -> Result<Scanned> {
    let mut texts = Texts::default();
    let mut members = Vec::with_capacity(devices.len());
    let mut by_id: HashMap<Id, usize> = HashMap::new();
    for (index, device) in devices.iter().enumerate() {
        let label = probe(&**device)?.ok_or_else(|| Error::NotPhysicalVolume {
            device: device.name(),
        })?;
        if let Some(first) = by_id.insert(label.id, index) {
            return Err(Error::DuplicatePhysicalVolume {
                id: label.id,
                first: devices[first].name(),
                second: device.name(),
            });
        }
        members.push(texts.member(&**device, label)?);
    }
    let group = texts.newest(&devices)?;
    group.usable()?;
    for (device, member) in devices.iter().zip(&members) {
        let mut of_group = group.physical_volumes.iter();
        if !of_group.any(|one| one.id == member.label.id) {
            return Err(Error::NotMember {
                device: device.name(),
                id: member.label.id,
                group: group.name.clone(),
            });
        }
    }
    let is_there = |id: &Id| by_id.contains_key(id);
    let ids: Vec<Id> = group.physical_volumes.iter().map(|one| one.id).collect();
    let missing: Vec<Id> = ids.iter().filter(|id| !is_there(id)).copied().collect();
    if !missing.is_empty() {
        return Err(Error::MissingPhysicalVolumes {
            group: group.name.clone(),
            missing,
        });
    }
    let scanned = Scanned {
        devices,
        members,
        group,
    };
    let order: Vec<usize> = ids.iter().map(|id| by_id[id]).collect();
    let scanned = scanned.sorted(&order);
    scanned.check_places()?;
    Ok(scanned)
}

impl Scanned {
    /// With devices and members in another order.
    fn sorted(self, order: &[usize]) -> Self {
        let mut members: Vec<Option<Member>> = self.members.into_iter().map(Some).collect();
        let members = order.iter().filter_map(|index| members[*index].take());
        Scanned {
            devices: order
                .iter()
                .map(|index| Arc::clone(&self.devices[*index]))
                .collect(),
            members: members.collect(),
            group: self.group,
        }
    }

    /// The group and its members with the physical volumes in the order of these devices, which are the same.
    pub fn reordered(self, devices: &[Arc<dyn Device>]) -> Result<(Arc<VolumeGroup>, Vec<Member>)> {
        let place = |device: &Arc<dyn Device>| {
            let mut found = self.devices.iter();
            found.position(|one| Arc::ptr_eq(one, device))
        };
        let order: Vec<usize> = devices.iter().filter_map(place).collect();
        if order.iter().enumerate().all(|(index, old)| index == *old) {
            return Ok((self.group, self.members));
        }
        let group = VolumeGroup::clone(&self.group).with_order(&order);
        group.check()?;
        Ok((Arc::new(group), self.sorted(&order).members))
    }

    /// Extents lie on the device, and not where metadata lies.
    fn check_places(&self) -> Result<()> {
        for (index, device) in self.devices.iter().enumerate() {
            let on = &self.group.physical_volumes[index];
            let begin = on.data_start * SECTOR_SIZE;
            let end = begin + on.extents * self.group.extent_bytes();
            let found = device_size(&**device)?;
            if end > found {
                return Err(Error::DeviceTooSmall {
                    device: device.name(),
                    group: self.group.name.clone(),
                    found,
                    expected: end,
                });
            }
            for location in &self.members[index].label.metadata_areas {
                if location.offset < end && location.offset + location.size > begin {
                    return Err(Error::Metadata {
                        object: on.name.clone(),
                        rule: "extents lie outside the metadata areas",
                        found: location.offset.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The texts of all areas that were read.
#[derive(Default)]
struct Texts {
    /// Each sound text once.
    copies: Vec<Arc<VolumeGroup>>,
    /// The bytes of each of them.
    bytes: Vec<Vec<u8>>,
    first_error: Option<Error>,
}

impl Texts {
    fn member(&mut self, device: &dyn Device, label: Label) -> Result<Member> {
        let size = device_size(device)?;
        let mut areas = Vec::with_capacity(label.metadata_areas.len());
        for (number, location) in label.metadata_areas.iter().enumerate() {
            let end = location.offset.checked_add(location.size);
            if end.is_none_or(|end| end > size) || location.size <= HEADER_SIZE {
                return Err(Error::Corrupt {
                    device: device.name(),
                    defect: Defect {
                        part: Part::Label,
                        field: "end of a metadata area",
                        found: end.unwrap_or(u64::MAX),
                        expected: size,
                    },
                });
            }
            areas.push(self.area(device, *location, number)?);
        }
        Ok(Member { label, areas })
    }

    fn area(&mut self, device: &dyn Device, location: Location, number: usize) -> Result<Area> {
        let mut sector = [0; 512];
        read(device, &mut sector, location.offset)?;
        let damaged = Area {
            sector,
            header: Header::new(location),
            sequence: None,
        };
        let header = match Header::parse(&sector, location, number) {
            Ok(header) => header,
            Err(defect) => {
                self.remember(device, defect);
                return Ok(damaged);
            }
        };
        let Some(text) = header.committed.filter(|_| !header.ignored) else {
            return Ok(Area { header, ..damaged });
        };
        let bytes = match read_text(device, &header, text, number)? {
            Ok(bytes) => bytes,
            Err(defect) => {
                self.remember(device, defect);
                return Ok(damaged);
            }
        };
        match self.parsed(device, bytes) {
            Ok(sequence) => Ok(Area {
                header,
                sequence: Some(sequence),
                ..damaged
            }),
            Err(error) => {
                self.first_error.get_or_insert(error);
                Ok(damaged)
            }
        }
    }

    /// The sequence number of a text.
    fn parsed(&mut self, device: &dyn Device, bytes: Vec<u8>) -> Result<u32> {
        if let Some(known) = self.bytes.iter().position(|one| *one == bytes) {
            return Ok(self.copies[known].sequence);
        }
        let group = VolumeGroup::parse(&bytes, &device.name())?;
        let sequence = group.sequence;
        self.copies.push(Arc::new(group));
        self.bytes.push(bytes);
        Ok(sequence)
    }

    /// The text that counts.
    fn newest(self, devices: &[Arc<dyn Device>]) -> Result<Arc<VolumeGroup>> {
        let Some(newest) = self.copies.iter().max_by_key(|copy| copy.sequence) else {
            let device = devices.first().map(|one| one.name()).unwrap_or_default();
            return Err(self.first_error.unwrap_or(Error::NoGroup { device }));
        };
        for copy in &self.copies {
            if copy.id != newest.id {
                return Err(Error::SeveralGroups {
                    first_name: newest.name.clone(),
                    first: newest.id,
                    second_name: copy.name.clone(),
                    second: copy.id,
                });
            }
            if copy.sequence == newest.sequence && copy != newest {
                return Err(Error::AreasDisagree {
                    group: newest.name.clone(),
                    sequence: newest.sequence,
                });
            }
        }
        Ok(Arc::clone(newest))
    }

    fn remember(&mut self, device: &dyn Device, defect: Defect) {
        self.first_error.get_or_insert(Error::Corrupt {
            device: device.name(),
            defect,
        });
    }
}

/// The bytes of a text, or what is wrong with it.
fn read_text(
    device: &dyn Device,
    header: &Header,
    text: TextLocation,
    number: usize,
) -> Result<std::result::Result<Vec<u8>, Defect>> {
    let wrong = |field, found, expected| Defect {
        part: Part::Text(number),
        field,
        found,
        expected,
    };
    let pieces = header.pieces(text.offset, text.size);
    let Some(pieces) = pieces.filter(|_| (1..=MAX_TEXT).contains(&text.size)) else {
        return Ok(Err(wrong("size", text.size, header.room())));
    };
    let mut bytes = Vec::with_capacity(text.size as usize);
    for (offset, length) in pieces {
        let begin = bytes.len();
        bytes.resize(begin + length as usize, 0);
        read(device, &mut bytes[begin..], header.area.offset + offset)?;
    }
    let checksum = crc(INITIAL, &bytes);
    match checksum == text.checksum {
        true => Ok(Ok(bytes)),
        false => Ok(Err(wrong(
            "checksum",
            text.checksum.into(),
            checksum.into(),
        ))),
    }
}
