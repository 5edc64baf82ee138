//! What has to hold in a volume group.

use std::collections::HashSet;

use super::name::{check_group_name, check_volume_characters};
use super::{LogicalVolume, Segment, SegmentKind, VolumeGroup};
use crate::error::{Error, Result};

/// States of a group that do not keep us from changing it.
const GROUP_STATUS: [&str; 3] = ["RESIZEABLE", "READ", "WRITE"];
/// States of a logical volume that do not.
const VOLUME_STATUS: [&str; 4] = ["READ", "WRITE", "VISIBLE", "FIXED_MINOR"];
/// Flags of a logical volume that do not.
const VOLUME_FLAGS: [&str; 3] = ["ACTIVATION_SKIP", "NOAUTOACTIVATE", "ERROR_WHEN_FULL"];
/// Keys of a segment, beside the fields, whose meaning does not depend on its extents.
const SEGMENT_KEYS: [&str; 1] = ["tags"];

impl VolumeGroup {
    /// Whether the group holds together: names and identities are there once, segments follow each other, and no extent is
    /// given out twice or lies outside its physical volume.
    ///
    /// # Errors
    /// [`Error::Metadata`] with the first thing that does not hold, [`Error::Name`] for a name.
    pub fn check(&self) -> Result<()> {
        check_group_name(&self.name)?;
        if self.extent_size == 0 {
            return Err(wrong(&self.name, "extent_size is not 0", 0));
        }
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        for one in &self.physical_volumes {
            if !ids.insert(one.id) || !names.insert(one.name.as_str()) {
                return Err(wrong(&one.name, "a physical volume is there once", one.id));
            }
            let data = one.extents.checked_mul(self.extent_size);
            let end = data.and_then(|data| data.checked_add(one.data_start));
            if end.is_none_or(|end| end > u64::MAX / crate::SECTOR_SIZE) {
                return Err(wrong(&one.name, "pe_count is in range", one.extents));
            }
        }
        names.clear();
        for volume in &self.logical_volumes {
            check_volume_characters(&volume.name)?;
            if !ids.insert(volume.id) || !names.insert(volume.name.as_str()) {
                let rule = "a logical volume is there once";
                return Err(wrong(&volume.name, rule, volume.id));
            }
            self.check_segments(volume)?;
        }
        self.check_overlaps()
    }

    fn check_segments(&self, volume: &LogicalVolume) -> Result<()> {
        let mut end = 0;
        for segment in &volume.segments {
            let rule = match () {
                () if segment.start != end => "segments follow each other",
                () if segment.extents == 0 => "segments have extents",
                () if !self.is_inside(segment) => "stripes lie inside their physical volumes",
                () => {
                    end += segment.extents;
                    continue;
                }
            };
            return Err(wrong(&volume.name, rule, segment.start));
        }
        let sectors = end.checked_mul(self.extent_size);
        match sectors.and_then(|sectors| sectors.checked_mul(crate::SECTOR_SIZE)) {
            Some(_) => Ok(()),
            None => Err(wrong(&volume.name, "extents are in range", end)),
        }
    }

    fn is_inside(&self, segment: &Segment) -> bool {
        let SegmentKind::Striped {
            stripe_size,
            stripes,
        } = &segment.kind
        else {
            return true;
        };
        let count = stripes.len() as u64;
        let is_even = count == 1
            || (count > 1
                && segment.extents.is_multiple_of(count)
                && *stripe_size > 0
                && self.extent_size.is_multiple_of(*stripe_size));
        let extents = segment.stripe_extents();
        is_even
            && stripes.iter().all(|stripe| {
                let on = self.physical_volumes.get(stripe.physical_volume);
                on.is_some_and(|on| stripe.extent + extents <= on.extents)
            })
    }

    fn check_overlaps(&self) -> Result<()> {
        let runs = self.used_runs();
        for pair in runs.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            if first.physical_volume == second.physical_volume
                && first.extent + first.extents > second.extent
            {
                let on = &self.physical_volumes[first.physical_volume].name;
                return Err(wrong(on, "an extent belongs to one volume", second.extent));
            }
        }
        Ok(())
    }

    /// Whether everything in the group is known well enough to change it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] names the first thing that is not; [`Error::NotOurs`] as [`VolumeGroup::usable`].
    pub fn changeable(&self) -> Result<()> {
        self.usable()?;
        let unknown = |object: &str, feature: String| {
            Err(Error::Unsupported {
                group: self.name.clone(),
                object: object.to_owned(),
                feature,
            })
        };
        if self.lossy {
            return unknown(&self.name, "a text that is not UTF-8".to_owned());
        }
        if let Some(format) = self.other("format").filter(|format| *format != "lvm2") {
            return unknown(&self.name, format!("format {format}"));
        }
        if !self.has_status("WRITE") || self.flags.iter().any(|flag| flag == "WRITE_LOCKED") {
            return unknown(&self.name, "no status WRITE".to_owned());
        }
        if let Some(state) = stranger(&self.status, &GROUP_STATUS) {
            return unknown(&self.name, format!("status {state}"));
        }
        for one in &self.physical_volumes {
            if one.is_missing() {
                return unknown(&one.name, "status MISSING".to_owned());
            }
            if let Some(state) = stranger(&one.status, &["ALLOCATABLE"]) {
                return unknown(&one.name, format!("status {state}"));
            }
        }
        for volume in &self.logical_volumes {
            if let Some(feature) = unknown_feature(volume) {
                return unknown(&volume.name, feature);
            }
        }
        Ok(())
    }
}

fn unknown_feature(volume: &LogicalVolume) -> Option<String> {
    if let Some(state) = stranger(&volume.status, &VOLUME_STATUS) {
        return Some(format!("status {state}"));
    }
    if let Some(flag) = stranger(&volume.flags, &VOLUME_FLAGS) {
        return Some(format!("flag {flag}"));
    }
    for segment in &volume.segments {
        if let SegmentKind::Other { name } = &segment.kind {
            return Some(format!("a segment of type {name}"));
        }
        let mut keys = segment.others.iter().map(|entry| entry.key.as_str());
        if let Some(key) = keys.find(|key| !SEGMENT_KEYS.contains(key)) {
            return Some(format!("a segment with {key}"));
        }
    }
    None
}

/// The first state that is not among the known ones.
fn stranger<'a>(states: &'a [String], known: &[&str]) -> Option<&'a str> {
    let mut states = states.iter().map(String::as_str);
    states.find(|state| !known.contains(state))
}

fn wrong(object: &str, rule: &'static str, found: impl ToString) -> Error {
    Error::Metadata {
        object: object.to_owned(),
        rule,
        found: found.to_string(),
    }
}
