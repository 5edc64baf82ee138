//! Initiator groups and LUN maps.

use uuid::Uuid;

use super::cluster::Cluster;
use super::error::ApiError;

/// The highest number that a LUN may have for an initiator.
const HIGHEST_NUMBER: u16 = 4095;
/// Characters of a group's name.
const LONGEST_NAME: usize = 96;

/// A group of initiators.
#[derive(Debug, Clone)]
pub struct Igroup {
    /// Its id.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub svm: String,
    /// `iscsi`, `fcp` or `mixed`.
    pub protocol: String,
    /// `linux`, `xen` and the like.
    pub os_type: String,
    /// Text.
    pub comment: String,
    /// The initiators' names, with their comments.
    pub initiators: Vec<(String, String)>,
}

/// A LUN that is shown to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LunMap {
    /// The LUN's id.
    pub lun: Uuid,
    /// The group's id.
    pub igroup: Uuid,
    /// The number under which the group's initiators see it.
    pub number: u16,
}

impl Cluster {
    /// A group by its name.
    ///
    /// # Errors
    /// 5374852 when there is none.
    pub fn igroup_named(&self, svm: &str, name: &str) -> Result<&Igroup, ApiError> {
        let mut igroups = self.igroups.iter();
        let found = igroups.find(|igroup| igroup.svm == svm && igroup.name == name);
        found.ok_or_else(|| {
            ApiError::missing(
                5_374_852,
                format!("The initiator group \"{name}\" does not exist in SVM \"{svm}\"."),
            )
        })
    }

    /// A group by its id.
    ///
    /// # Errors
    /// As [`Cluster::igroup_named`].
    pub fn igroup(&self, uuid: Uuid) -> Result<&Igroup, ApiError> {
        let found = self.igroups.iter().find(|igroup| igroup.uuid == uuid);
        found.ok_or_else(|| ApiError::missing(5_374_852, "The initiator group does not exist."))
    }

    /// Makes a group; its id is new.
    ///
    /// # Errors
    /// 5374023 when the name is taken, 5373958 for a bad name, and those of the initiators.
    pub fn create_igroup(&mut self, igroup: Igroup) -> Result<Uuid, ApiError> {
        self.svm(&igroup.svm)?;
        let fits = |one: char| one.is_ascii_alphanumeric() || "-._:".contains(one);
        if igroup.name.is_empty()
            || igroup.name.len() > LONGEST_NAME
            || !igroup.name.chars().all(fits)
        {
            let text = format!("The initiator group name is invalid: \"{}\".", igroup.name);
            return Err(ApiError::bad(5_373_958, text).at("name"));
        }
        if self.igroup_named(&igroup.svm, &igroup.name).is_ok() {
            let text = format!(
                "An initiator group with the name \"{}\" already exists.",
                igroup.name
            );
            return Err(ApiError::conflict(5_374_023, text).at("name"));
        }
        if !["iscsi", "fcp", "mixed"].contains(&igroup.protocol.as_str()) {
            let text = format!(
                "Invalid value \"{}\" for field \"protocol\"",
                igroup.protocol
            );
            return Err(ApiError::bad(262_247, text).at("protocol"));
        }
        for (name, _) in &igroup.initiators {
            check_initiator(name)?;
        }
        let uuid = igroup.uuid;
        self.igroups.push(igroup);
        Ok(uuid)
    }

    /// Deletes a group.
    ///
    /// # Errors
    /// 5374852 when it is not there, 1254213 when LUNs are mapped to it and `force` is not set.
    pub fn delete_igroup(&mut self, uuid: Uuid, force: bool) -> Result<(), ApiError> {
        self.igroup(uuid)?;
        if !force && self.maps.iter().any(|map| map.igroup == uuid) {
            let text = "The initiator group cannot be deleted because LUNs are mapped to it.";
            return Err(ApiError::conflict(1_254_213, text));
        }
        self.maps.retain(|map| map.igroup != uuid);
        self.igroups.retain(|igroup| igroup.uuid != uuid);
        Ok(())
    }

    /// Puts an initiator into a group.
    ///
    /// # Errors
    /// 5374035 when it is in, 1254193 when it would see a LUN twice, 1254324 when it would see two LUNs under one number.
    pub fn add_initiator(&mut self, uuid: Uuid, name: &str, comment: &str) -> Result<(), ApiError> {
        check_initiator(name)?;
        let igroup = self.igroup(uuid)?;
        let svm = igroup.svm.clone();
        if igroup.initiators.iter().any(|(other, _)| other == name) {
            let text = format!("The initiator \"{name}\" is already in the initiator group.");
            return Err(ApiError::conflict(5_374_035, text));
        }
        let new: Vec<LunMap> = self
            .maps
            .iter()
            .filter(|map| map.igroup == uuid)
            .cloned()
            .collect();
        for map in &new {
            self.check_sight(&svm, name, map)?;
        }
        let there = self.igroups.iter_mut().find(|igroup| igroup.uuid == uuid);
        let there = there.expect("the group was found above");
        there.initiators.push((name.to_owned(), comment.to_owned()));
        Ok(())
    }

    /// Takes an initiator out of a group.
    ///
    /// # Errors
    /// 5374029 when it is not in, 1254207 when LUNs are mapped and `force` is not set.
    pub fn remove_initiator(
        &mut self,
        uuid: Uuid,
        name: &str,
        force: bool,
    ) -> Result<(), ApiError> {
        let igroup = self.igroup(uuid)?;
        if !igroup.initiators.iter().any(|(other, _)| other == name) {
            let text = format!("The initiator \"{name}\" is not in the initiator group.");
            return Err(ApiError::missing(5_374_029, text));
        }
        if !force && self.maps.iter().any(|map| map.igroup == uuid) {
            let text = "LUNs are mapped to the initiator group: the initiator cannot be removed without force.";
            return Err(ApiError::conflict(1_254_213, text));
        }
        let there = self.igroups.iter_mut().find(|igroup| igroup.uuid == uuid);
        let there = there.expect("the group was found above");
        there.initiators.retain(|(other, _)| other != name);
        Ok(())
    }

    /// Shows a LUN to a group, under the number asked for or the lowest that is free.
    ///
    /// # Errors
    /// 1254207 when it is shown already, 1254193 and 1254324 as for [`Cluster::add_initiator`].
    pub fn map_lun(
        &mut self,
        lun: Uuid,
        igroup: Uuid,
        number: Option<u16>,
    ) -> Result<LunMap, ApiError> {
        let path = self.lun_path(self.lun(lun)?);
        let group = self.igroup(igroup)?.clone();
        if self
            .maps
            .iter()
            .any(|map| map.lun == lun && map.igroup == igroup)
        {
            let text = format!(
                "LUN \"{path}\" is already mapped to initiator group \"{}\".",
                group.name
            );
            return Err(ApiError::conflict(1_254_207, text));
        }
        if number.is_some_and(|number| number > HIGHEST_NUMBER) {
            let text = "The logical unit number is too large.";
            return Err(ApiError::bad(5_374_917, text).at("logical_unit_number"));
        }
        let number = match number {
            Some(number) => number,
            None => self.lowest_free(&group)?,
        };
        let map = LunMap {
            lun,
            igroup,
            number,
        };
        let clash = self
            .maps
            .iter()
            .any(|other| other.igroup == igroup && other.number == number);
        if clash {
            let text = format!(
                "The logical unit number {number} is already in use by initiator group \"{}\".",
                group.name
            );
            return Err(ApiError::conflict(1_254_324, text));
        }
        for (initiator, _) in &group.initiators {
            self.check_sight(&group.svm, initiator, &map)?;
        }
        self.maps.push(map.clone());
        Ok(map)
    }

    /// Shows a LUN to a group no more.
    ///
    /// # Errors
    /// 5374922 when it was not shown.
    pub fn unmap_lun(&mut self, lun: Uuid, igroup: Uuid) -> Result<(), ApiError> {
        let before = self.maps.len();
        self.maps
            .retain(|map| map.lun != lun || map.igroup != igroup);
        if self.maps.len() == before {
            return Err(ApiError::missing(
                5_374_922,
                "The specified LUN map was not found.",
            ));
        }
        Ok(())
    }

    /// The maps by which an initiator sees LUNs of an SVM.
    pub fn seen_by<'a>(
        &'a self,
        svm: &'a str,
        initiator: &'a str,
    ) -> impl Iterator<Item = &'a LunMap> {
        self.maps.iter().filter(move |map| {
            self.igroups.iter().any(|igroup| {
                igroup.uuid == map.igroup
                    && igroup.svm == svm
                    && igroup.protocol != "fcp"
                    && igroup.initiators.iter().any(|(name, _)| name == initiator)
            })
        })
    }

    /// Refuses a map with which an initiator would see one LUN twice, or two LUNs under one number.
    fn check_sight(&self, svm: &str, initiator: &str, map: &LunMap) -> Result<(), ApiError> {
        for seen in self
            .seen_by(svm, initiator)
            .filter(|seen| seen.igroup != map.igroup)
        {
            if seen.lun == map.lun {
                let text = format!(
                    "LUN already mapped to initiator \"{initiator}\" by another initiator group."
                );
                return Err(ApiError::conflict(1_254_193, text));
            }
            if seen.number == map.number {
                let text = format!(
                    "LUN ID {} is in use for initiator \"{initiator}\" by another map.",
                    map.number
                );
                return Err(ApiError::conflict(1_254_324, text));
            }
        }
        Ok(())
    }

    fn lowest_free(&self, igroup: &Igroup) -> Result<u16, ApiError> {
        let is_taken = |number: u16| {
            self.maps
                .iter()
                .any(|map| map.igroup == igroup.uuid && map.number == number)
                || igroup.initiators.iter().any(|(initiator, _)| {
                    self.seen_by(&igroup.svm, initiator)
                        .any(|seen| seen.number == number)
                })
        };
        (0..=HIGHEST_NUMBER)
            .find(|number| !is_taken(*number))
            .ok_or_else(|| {
                ApiError::failed(
                    1_254_209,
                    "All logical unit numbers of the initiator group are in use.",
                )
            })
    }
}

/// An iSCSI name, or the name of a Fibre Channel port.
fn check_initiator(name: &str) -> Result<(), ApiError> {
    let iqn = name.strip_prefix("iqn.").is_some_and(|rest| {
        let date = rest.get(..7).unwrap_or("").as_bytes();
        date.len() == 7
            && date.iter().enumerate().all(|(at, byte)| match at {
                4 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            })
            && rest.as_bytes().get(7) == Some(&b'.')
            && rest.len() <= 219
    });
    let eui = name.strip_prefix("eui.");
    let eui =
        eui.is_some_and(|rest| rest.len() == 16 && rest.chars().all(|one| one.is_ascii_hexdigit()));
    let wwpn = name.split(':').count() == 8
        && name
            .split(':')
            .all(|byte| u8::from_str_radix(byte, 16).is_ok());
    if iqn || eui || wwpn {
        return Ok(());
    }
    let text = format!("The initiator name \"{name}\" is invalid.");
    Err(ApiError::bad(5_374_039, text).at("initiators.name"))
}
