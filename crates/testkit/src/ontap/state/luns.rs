//! LUNs: made, cloned, changed, deleted.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::cluster::{Cluster, DataId, Effect};
use super::error::ApiError;

/// The least that a LUN may have.
const LEAST_LUN: u64 = 4096;
/// Characters of a comment.
const LONGEST_COMMENT: usize = 254;
/// Bytes of an attribute, name and value together.
const LONGEST_ATTRIBUTE: usize = 4092;
/// The operating systems that a LUN may be for.
const OS_TYPES: [&str; 15] = [
    "aix",
    "hpux",
    "hyper_v",
    "linux",
    "netware",
    "openvms",
    "solaris",
    "solaris_efi",
    "vmware",
    "windows",
    "windows_2008",
    "windows_gpt",
    "xen",
    "image",
    "default",
];

/// A LUN.
#[derive(Debug, Clone)]
pub struct Lun {
    /// Its id.
    pub uuid: Uuid,
    /// Whose it is.
    pub svm: String,
    /// The FlexVol in which it lies.
    pub volume: Uuid,
    /// Its path within the FlexVol: `lun` or `qtree/lun`.
    pub name: String,
    /// Its serial number, of 12 characters.
    pub serial: String,
    /// Its bytes.
    pub size: u64,
    /// `linux`, `xen` and the like.
    pub os_type: String,
    /// Text of the administrator.
    pub comment: String,
    /// Names and values of applications.
    pub attributes: BTreeMap<String, String>,
    /// Whether room is to be kept for all of it.
    pub reserve: bool,
    /// Whether the initiators may give blocks back.
    pub thin_provisioning: bool,
    /// Whether it is online.
    pub enabled: bool,
    /// When it was made.
    pub created: String,
    /// Its contents.
    pub data: DataId,
    /// Bytes of them that it had from the LUN of which it is a clone.
    pub shared: u64,
    /// The snapshot of which it is a clone, if of one.
    pub backing_snapshot: Option<Uuid>,
    /// The name of its policy of quality of service.
    pub policy: Option<String>,
}

/// What a request says of a LUN; what it does not say is absent.
#[derive(Debug, Clone, Default)]
pub struct LunRequest {
    /// Whose it is.
    pub svm: Option<String>,
    /// `/vol/<volume>/<lun>`.
    pub path: Option<String>,
    /// Its bytes.
    pub size: Option<u64>,
    /// Whether it may become smaller: `force` of ZAPI's `lun-resize`.
    pub may_shrink: bool,
    /// `linux`, `xen` and the like.
    pub os_type: Option<String>,
    /// Text.
    pub comment: Option<String>,
    /// Names and values.
    pub attributes: Option<BTreeMap<String, String>>,
    /// Whether room is to be kept for all of it.
    pub reserve: Option<bool>,
    /// Whether the initiators may give blocks back.
    pub thin_provisioning: Option<bool>,
    /// Whether it is online.
    pub enabled: Option<bool>,
    /// The LUN of which it is to be a clone: by its path, which may lie in a snapshot, or its id.
    pub source: Option<CloneSource>,
    /// A policy's name.
    pub policy: Option<String>,
}

/// The LUN of which another is to be a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloneSource {
    /// `/vol/v/lun` or `/vol/v/.snapshot/s/lun`.
    Path(String),
    /// An id.
    Uuid(Uuid),
}

impl Cluster {
    /// The LUNs in a FlexVol.
    pub fn luns_in(&self, volume: Uuid) -> impl Iterator<Item = &Lun> {
        self.luns.iter().filter(move |lun| lun.volume == volume)
    }

    /// A LUN by its id.
    ///
    /// # Errors
    /// 5374875 when it is not there.
    pub fn lun(&self, uuid: Uuid) -> Result<&Lun, ApiError> {
        let found = self.luns.iter().find(|lun| lun.uuid == uuid);
        found.ok_or_else(|| no_lun(&uuid.to_string()))
    }

    /// A LUN by its path.
    ///
    /// # Errors
    /// As [`Cluster::lun`].
    pub fn lun_at(&self, svm: &str, path: &str) -> Result<&Lun, ApiError> {
        let mut luns = self.luns.iter();
        let found = luns.find(|lun| lun.svm == svm && self.lun_path(lun) == path);
        found.ok_or_else(|| no_lun(path))
    }

    /// `/vol/<volume>/<lun>`.
    pub fn lun_path(&self, lun: &Lun) -> String {
        let volume = self
            .volume(lun.volume)
            .map_or("?", |volume| volume.name.as_str());
        format!("/vol/{volume}/{}", lun.name)
    }

    /// Makes a LUN, empty or as a clone.
    ///
    /// # Errors
    /// The codes of `POST /storage/luns`.
    pub fn create_lun(&mut self, asked: LunRequest) -> Result<Uuid, ApiError> {
        let svm = asked.svm.clone().ok_or_else(|| {
            ApiError::bad(
                2_621_707,
                "No SVM was specified. Either svm.name or svm.uuid must be supplied.",
            )
            .at("svm")
        })?;
        self.svm(&svm)?;
        let path = asked.path.clone().ok_or_else(|| {
            ApiError::bad(5_374_859, "No volume was specified for the LUN.").at("name")
        })?;
        let (volume, name) = self.split_path(&svm, &path)?;
        if self.lun_at(&svm, &path).is_ok() {
            let text = format!("A LUN or NVMe namespace already exists at the path \"{path}\".");
            return Err(ApiError::conflict(5_374_242, text).at("name"));
        }
        if self.luns_in(volume).count() >= self.limits.luns_per_volume {
            let text =
                format!("The maximum number of LUNs in the volume of \"{path}\" has been reached.");
            return Err(ApiError::failed(5_374_119, text));
        }
        let mut lun = match &asked.source {
            Some(source) => self.cloned(&svm, volume, &asked, source)?,
            None => self.empty(volume, &asked)?,
        };
        lun.svm = svm;
        lun.name = name;
        self.check_room_for_lun(&lun)?;
        let uuid = lun.uuid;
        self.luns.push(lun);
        Ok(uuid)
    }

    /// Changes a LUN; nothing is changed when it fails.
    ///
    /// # Errors
    /// The codes of `PATCH /storage/luns/{uuid}`.
    pub fn change_lun(&mut self, uuid: Uuid, asked: LunRequest) -> Result<(), ApiError> {
        let mut lun = self.lun(uuid)?.clone();
        let (old_size, old_path) = (lun.size, self.lun_path(&lun));
        self.check_online(lun.volume)?;
        if let Some(path) = asked.path.as_ref().filter(|path| **path != old_path) {
            let (volume, name) = self.split_path(&lun.svm, path)?;
            if volume != lun.volume {
                let text = "Moving a LUN to another volume is not supported by this emulator.";
                return Err(ApiError::bad(5_374_904, text).at("name"));
            }
            if self.lun_at(&lun.svm, path).is_ok() {
                let text =
                    format!("A LUN or NVMe namespace already exists at the path \"{path}\".");
                return Err(ApiError::conflict(1_254_196, text).at("name"));
            }
            lun.name = name;
        }
        if let Some(size) = asked.size {
            self.check_size(size)?;
            if size == old_size && asked.path.is_none() {
                let text = "The specified size is the same as the current size of the LUN.";
                return Err(ApiError::bad(1_254_226, text).at("space.size"));
            }
            if size < old_size && !asked.may_shrink {
                let text =
                    "Reducing the size of a LUN might destroy its data and is not supported.";
                return Err(ApiError::bad(5_374_892, text).at("space.size"));
            }
            lun.size = size;
        }
        set_properties(&mut lun, &asked)?;
        if let Some(source) = &asked.source {
            let from = self.source(&lun.svm, lun.volume, source)?;
            lun.size = from.lun.size;
            lun.shared = self.allocated(from.lun.data);
            lun.backing_snapshot = from.snapshot;
            self.check_room_for_lun(&lun)?;
            let (from, to) = (from.lun.data, lun.data);
            self.effects.push(Effect::Overwrite { from, to });
        } else {
            self.check_room_for_lun(&lun)?;
            if lun.size != old_size {
                self.effects.push(Effect::Resize(lun.data, lun.size));
            }
        }
        let there = self.luns.iter_mut().find(|other| other.uuid == uuid);
        *there.expect("the LUN was found above") = lun;
        Ok(())
    }

    /// Deletes a LUN.
    ///
    /// # Errors
    /// 5374875 when it is not there, 1254197 when it is mapped and `force` is not set.
    pub fn delete_lun(&mut self, uuid: Uuid, force: bool) -> Result<(), ApiError> {
        let lun = self.lun(uuid)?;
        let (data, path) = (lun.data, self.lun_path(lun));
        self.check_online(lun.volume)?;
        if !force && self.maps.iter().any(|map| map.lun == uuid) {
            let text = format!("The LUN \"{path}\" is mapped and cannot be deleted.");
            return Err(ApiError::conflict(1_254_197, text));
        }
        self.maps.retain(|map| map.lun != uuid);
        self.luns.retain(|lun| lun.uuid != uuid);
        self.effects.push(Effect::Remove(data));
        Ok(())
    }

    fn empty(&mut self, volume: Uuid, asked: &LunRequest) -> Result<Lun, ApiError> {
        let missing = |field: &'static str| {
            let text =
                format!("The property \"{field}\" must be specified when creating a new LUN.");
            ApiError::bad(5_374_884, text).at(field)
        };
        let size = asked.size.ok_or_else(|| missing("space.size"))?;
        let os_type = asked.os_type.clone().ok_or_else(|| missing("os_type"))?;
        if !OS_TYPES.contains(&os_type.as_str()) {
            let text = format!("Invalid value \"{os_type}\" for field \"os_type\"");
            return Err(ApiError::bad(262_247, text).at("os_type"));
        }
        self.check_size(size)?;
        let data = self.new_data();
        let mut lun = self.blank(volume, data);
        lun.size = size;
        lun.os_type = os_type;
        set_properties(&mut lun, asked)?;
        if let Some(attributes) = &asked.attributes {
            check_attributes(attributes)?;
            lun.attributes.clone_from(attributes);
        }
        self.effects.push(Effect::Create(data, size));
        Ok(lun)
    }

    pub(super) fn blank(&mut self, volume: Uuid, data: DataId) -> Lun {
        Lun {
            uuid: Uuid::new_v4(),
            svm: String::new(),
            volume,
            name: String::new(),
            serial: self.new_serial(),
            size: 0,
            os_type: String::new(),
            comment: String::new(),
            attributes: BTreeMap::new(),
            reserve: false,
            thin_provisioning: false,
            enabled: true,
            created: super::clock::now(),
            data,
            shared: 0,
            backing_snapshot: None,
            policy: None,
        }
    }

    /// The FlexVol of a path, which must be able to hold LUNs, and the rest of it.
    fn split_path(&self, svm: &str, path: &str) -> Result<(Uuid, String), ApiError> {
        let bad = |code, text: &str| ApiError::bad(code, format!("{text}: \"{path}\"")).at("name");
        let rest = path.strip_prefix("/vol/");
        let (volume, name) = rest.and_then(|rest| rest.split_once('/')).ok_or_else(|| {
            bad(
                5_374_352,
                "The LUN name is not a path of the form /vol/<volume>/<lun>",
            )
        })?;
        if name.starts_with(".snapshot/") {
            return Err(bad(5_374_238, "LUNs cannot be created in snapshots"));
        }
        let fits = |one: char| one.is_ascii_alphanumeric() || "-._{}/".contains(one);
        if name.is_empty()
            || name.ends_with('/')
            || !name.chars().all(fits)
            || name.matches('/').count() > 1
        {
            return Err(bad(
                5_374_121,
                "The LUN name contains characters that are not allowed",
            ));
        }
        let volume = self.volume_named(svm, volume)?;
        if volume.is_root {
            return Err(bad(
                5_374_237,
                "LUNs cannot be created on an SVM root volume",
            ));
        }
        self.check_online(volume.uuid)?;
        Ok((volume.uuid, name.to_owned()))
    }

    fn check_online(&self, volume: Uuid) -> Result<(), ApiError> {
        match self.volume(volume) {
            Some(volume) if !volume.online => Err(ApiError::failed(
                5_374_866,
                format!("The LUN's volume \"{}\" is offline.", volume.name),
            )),
            _ => Ok(()),
        }
    }

    fn check_size(&self, size: u64) -> Result<(), ApiError> {
        if size < LEAST_LUN {
            return Err(
                ApiError::bad(5_374_124, "The specified size is too small.").at("space.size")
            );
        }
        if size > self.limits.lun_size {
            return Err(
                ApiError::bad(5_374_125, "The specified size is too large.").at("space.size")
            );
        }
        Ok(())
    }
}

pub(super) fn set_properties(lun: &mut Lun, asked: &LunRequest) -> Result<(), ApiError> {
    if let Some(comment) = &asked.comment {
        if comment.len() > LONGEST_COMMENT {
            let text = format!("The comment is longer than {LONGEST_COMMENT} characters.");
            return Err(ApiError::bad(262_247, text).at("comment"));
        }
        lun.comment.clone_from(comment);
    }
    lun.reserve = asked.reserve.unwrap_or(lun.reserve);
    lun.thin_provisioning = asked.thin_provisioning.unwrap_or(lun.thin_provisioning);
    lun.enabled = asked.enabled.unwrap_or(lun.enabled);
    lun.policy = asked.policy.clone().or(lun.policy.take());
    Ok(())
}

/// Refuses attributes without a name or too long.
pub fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), ApiError> {
    for (name, value) in attributes {
        if name.is_empty() || value.is_empty() {
            let text = "An incomplete attribute name/value pair was supplied.";
            return Err(ApiError::bad(5_374_928, text).at("attributes"));
        }
        if name.len() + value.len() > LONGEST_ATTRIBUTE {
            let text = "The combined sizes of an attribute name and value are too large.";
            return Err(ApiError::bad(5_374_929, text).at("attributes"));
        }
    }
    Ok(())
}

pub(super) fn no_lun(which: &str) -> ApiError {
    ApiError::missing(
        5_374_875,
        format!("The specified LUN was not found: {which}."),
    )
}
