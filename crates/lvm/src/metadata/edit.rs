//! Changes of a volume group, in memory.
//!
//! Each either does all that it says or leaves the group as it was.

use std::sync::Arc;

use super::allocate::truncate;
use super::name::{check_logical_volume_name, check_tag};
use super::{LogicalVolume, VolumeGroup};
use crate::Id;
use crate::error::{Error, Result};

/// Logical volumes of one group: what the largest metadata holds.
pub const MAX_LOGICAL_VOLUMES: usize = 65_536;

impl VolumeGroup {
    /// Makes a logical volume of at least `size` bytes: whole extents, at least one. It is the last in the order, readable
    /// and writable.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Exists`], [`Error::Limit`], [`Error::NoExtents`].
    pub fn create_lv(&mut self, name: &str, size: u64, tags: &[&str]) -> Result<()> {
        self.check_new_name(name)?;
        for tag in tags {
            check_tag(tag)?;
        }
        self.check_count()?;
        let mut volume = LogicalVolume {
            name: name.to_owned(),
            id: Id::random(),
            status: ["READ", "WRITE", "VISIBLE"].map(str::to_owned).to_vec(),
            flags: Vec::new(),
            tags: Vec::new(),
            creation: None,
            segments: Vec::new(),
            others: Vec::new(),
        };
        for tag in tags {
            add(&mut volume.tags, tag);
        }
        self.extend(&mut volume, self.extents_for(size)?)?;
        self.logical_volumes.push(Arc::new(volume));
        Ok(())
    }

    /// Removes a logical volume; its extents are free then.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_lv(&mut self, name: &str) -> Result<()> {
        let position = self.position(name)?;
        self.logical_volumes.remove(position);
        Ok(())
    }

    /// Gives a logical volume another name; it keeps its place in the order.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`], [`Error::Exists`].
    pub fn rename_lv(&mut self, name: &str, new_name: &str) -> Result<()> {
        let position = self.position(name)?;
        if name != new_name {
            self.check_new_name(new_name)?;
            self.at(position).name = new_name.to_owned();
        }
        Ok(())
    }

    /// Gives a logical volume at least `size` bytes: whole extents, at least one. What is taken away is taken from its end.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Limit`], [`Error::NoExtents`]; [`Error::Unsupported`] when stripes would be cut, or
    /// longer ones needed.
    pub fn resize_lv(&mut self, name: &str, size: u64) -> Result<()> {
        let position = self.position(name)?;
        let wanted = self.extents_for(size)?;
        let mut volume = LogicalVolume::clone(&self.logical_volumes[position]);
        let had = volume.extents();
        let striped = volume.segments.iter().find(|one| one.single().is_none());
        match (wanted > had, striped) {
            (true, Some(segment)) => return Err(self.striped(name, segment.stripes().len())),
            (true, None) => self.extend(&mut volume, wanted - had)?,
            (false, _) => {
                truncate(&mut volume, wanted).map_err(|count| self.striped(name, count))?
            }
        }
        self.logical_volumes[position] = Arc::new(volume);
        Ok(())
    }

    /// Adds a tag to a logical volume; one that is there is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Name`].
    pub fn add_tag(&mut self, name: &str, tag: &str) -> Result<()> {
        let position = self.position(name)?;
        check_tag(tag)?;
        add(&mut self.at(position).tags, tag);
        Ok(())
    }

    /// Takes a tag from a logical volume; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_tag(&mut self, name: &str, tag: &str) -> Result<()> {
        let position = self.position(name)?;
        self.at(position).tags.retain(|one| one != tag);
        Ok(())
    }

    /// Says whether programs that activate a logical volume may write to it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_writable(&mut self, name: &str, writable: bool) -> Result<()> {
        const WRITE: &str = "WRITE";
        let position = self.position(name)?;
        let status = &mut self.at(position).status;
        match writable {
            false => status.retain(|state| state != WRITE),
            true if status.iter().any(|state| state == WRITE) => {}
            // LVM2 lists READ first.
            true => status.insert(1.min(status.len()), WRITE.to_owned()),
        }
        Ok(())
    }

    /// The extents that hold `size` bytes.
    ///
    /// # Errors
    /// [`Error::Limit`] past what LVM2 can count.
    pub fn extents_for(&self, size: u64) -> Result<u64> {
        let extents = size.div_ceil(self.extent_bytes()).max(1);
        match extents <= u64::from(u32::MAX) {
            true => Ok(extents),
            false => Err(Error::Limit {
                what: "size of a logical volume",
                found: size,
                minimum: 0,
                maximum: self.extent_bytes().saturating_mul(u32::MAX.into()),
            }),
        }
    }

    /// The group may have one more volume; it can have a limit of its own.
    fn check_count(&self) -> Result<()> {
        let own = self.other_number("max_lv").filter(|most| *most > 0);
        let most = own.unwrap_or(u64::MAX).min(MAX_LOGICAL_VOLUMES as u64);
        let wanted = self.logical_volumes.len() as u64 + 1;
        match wanted <= most {
            true => Ok(()),
            false => Err(Error::Limit {
                what: "number of logical volumes",
                found: wanted,
                minimum: 0,
                maximum: most,
            }),
        }
    }

    fn check_new_name(&self, name: &str) -> Result<()> {
        check_logical_volume_name(name)?;
        match self.find(name) {
            None => Ok(()),
            Some(_) => Err(Error::Exists {
                group: self.name.clone(),
                name: name.to_owned(),
            }),
        }
    }

    fn at(&mut self, position: usize) -> &mut LogicalVolume {
        Arc::make_mut(&mut self.logical_volumes[position])
    }

    fn striped(&self, name: &str, stripes: usize) -> Error {
        Error::Unsupported {
            group: self.name.clone(),
            object: name.to_owned(),
            feature: format!("a segment of {stripes} stripes"),
        }
    }
}

fn add(tags: &mut Vec<String>, tag: &str) {
    if !tags.iter().any(|one| one == tag) {
        tags.push(tag.to_owned());
    }
}
