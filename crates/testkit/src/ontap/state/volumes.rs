//! FlexVols: made, changed, deleted.

use uuid::Uuid;

use super::cluster::Cluster;
use super::error::ApiError;

/// The least that a FlexVol may have.
pub const LEAST_VOLUME: u64 = 20 << 20;
/// What a FlexVol gets that asks for no size.
const DEFAULT_SIZE: u64 = LEAST_VOLUME;
/// Characters of a FlexVol's name.
const LONGEST_NAME: usize = 203;

/// A FlexVol.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Its id.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub svm: String,
    /// Where it lies.
    pub aggregate: String,
    /// Its bytes, with the snapshots' reserve.
    pub size: u64,
    /// Whether the aggregate keeps room for all of it.
    pub guarantee: Guarantee,
    /// Percent that only snapshots use.
    pub snapshot_reserve: u32,
    /// Percent of a reserved LUN's bytes that are kept for overwriting once there is a snapshot.
    pub fractional_reserve: u32,
    /// The policy that makes snapshots.
    pub snapshot_policy: String,
    /// `none`, `background`, `inline` or `both`.
    pub dedupe: String,
    /// Whether it is online.
    pub online: bool,
    /// Text of the administrator.
    pub comment: String,
    /// The SVM's root volume.
    pub is_root: bool,
    /// The language's name.
    pub language: String,
    /// When it was made, as the array prints it.
    pub created: String,
}

/// Whether the aggregate keeps room for a FlexVol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// For what is written only.
    None,
    /// For all of it.
    Volume,
}

/// What a request says of a FlexVol; what it does not say is absent.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// Its name.
    pub name: Option<String>,
    /// Whose it is.
    pub svm: Option<String>,
    /// Where it lies.
    pub aggregates: Vec<String>,
    /// Its bytes.
    pub size: Option<u64>,
    /// `none` or `volume`.
    pub guarantee: Option<String>,
    /// Percent.
    pub snapshot_reserve: Option<u32>,
    /// Percent.
    pub fractional_reserve: Option<u32>,
    /// A policy's name.
    pub snapshot_policy: Option<String>,
    /// `none`, `background`, `inline` or `both`.
    pub dedupe: Option<String>,
    /// `online` or `offline`.
    pub state: Option<String>,
    /// Text.
    pub comment: Option<String>,
    /// The language's name.
    pub language: Option<String>,
}

impl Volume {
    /// A FlexVol with a guarantee, and without a snapshots' reserve.
    pub fn new(name: &str, svm: &str, aggregate: &str, size: u64) -> Self {
        Volume {
            uuid: Uuid::new_v4(),
            name: name.to_owned(),
            svm: svm.to_owned(),
            aggregate: aggregate.to_owned(),
            size,
            guarantee: Guarantee::Volume,
            snapshot_reserve: 0,
            fractional_reserve: 100,
            snapshot_policy: "none".to_owned(),
            dedupe: "none".to_owned(),
            online: true,
            comment: String::new(),
            is_root: false,
            language: "c.utf_8".to_owned(),
            created: super::clock::now(),
        }
    }
}

impl Guarantee {
    /// As the API says it.
    pub fn word(self) -> &'static str {
        match self {
            Guarantee::None => "none",
            Guarantee::Volume => "volume",
        }
    }

    fn parse(word: &str) -> Result<Self, ApiError> {
        match word {
            "none" => Ok(Guarantee::None),
            "volume" => Ok(Guarantee::Volume),
            _ => Err(ApiError::bad(
                262_247,
                format!("Invalid value \"{word}\" for field \"guarantee.type\""),
            )
            .at("guarantee.type")),
        }
    }
}

impl Cluster {
    /// A FlexVol by its id.
    pub fn volume(&self, uuid: Uuid) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.uuid == uuid)
    }

    /// A FlexVol by its name.
    ///
    /// # Errors
    /// 917927 when the SVM has none.
    pub fn volume_named(&self, svm: &str, name: &str) -> Result<&Volume, ApiError> {
        let mut volumes = self.volumes.iter();
        let found = volumes.find(|volume| volume.svm == svm && volume.name == name);
        found.ok_or_else(|| {
            ApiError::missing(
                917_927,
                format!("The specified volume was not found: {name} in SVM {svm}."),
            )
        })
    }

    /// Makes a FlexVol.
    ///
    /// # Errors
    /// 787140 without an aggregate, 917536 when the name is taken, 917534 when there is no room or a value is wrong.
    pub fn create_volume(&mut self, asked: VolumeRequest) -> Result<Uuid, ApiError> {
        let name = asked.name.clone().ok_or_else(|| {
            ApiError::bad(262_185, "Field \"name\" is required for this operation").at("name")
        })?;
        let svm = asked.svm.clone().ok_or_else(|| {
            ApiError::bad(
                2_621_707,
                "No SVM was specified. Either svm.name or svm.uuid must be supplied.",
            )
            .at("svm")
        })?;
        self.svm(&svm)?;
        check_name(&name)?;
        let [aggregate] = asked.aggregates.as_slice() else {
            return Err(ApiError::bad(
                787_140,
                "One of \"aggregates.uuid\", \"aggregates.name\", or \"style\" must be provided.",
            ));
        };
        if self.aggregate(aggregate).is_none() {
            return Err(ApiError::missing(
                787_136,
                format!("Aggregate \"{aggregate}\" does not exist."),
            )
            .at("aggregates.name"));
        }
        if self.volume_named(&svm, &name).is_ok() {
            let text = format!("Volume name \"{name}\" in SVM \"{svm}\" is already in use.");
            return Err(ApiError::conflict(917_536, text).at("name"));
        }
        if self.volumes.len() >= self.limits.volumes {
            let text = "The maximum number of volumes on this node has been reached.";
            return Err(ApiError::failed(917_534, text));
        }
        let size = asked.size.unwrap_or(DEFAULT_SIZE);
        let mut volume = Volume::new(&name, &svm, aggregate, size);
        // What a FlexVol gets unless the request says otherwise.
        volume.snapshot_reserve = 5;
        "default".clone_into(&mut volume.snapshot_policy);
        self.volumes.push(volume);
        let uuid = self.volumes.last().expect("it was just added").uuid;
        let made = self.change_volume(uuid, asked);
        if made.is_err() {
            self.volumes.pop();
        }
        made.map(|()| uuid)
    }

    /// Changes a FlexVol; nothing is changed when it fails.
    ///
    /// # Errors
    /// 4 when it is not there, 917534 when there is no room or a value is wrong.
    pub fn change_volume(&mut self, uuid: Uuid, asked: VolumeRequest) -> Result<(), ApiError> {
        let index = self.volumes.iter().position(|volume| volume.uuid == uuid);
        let index = index.ok_or_else(|| ApiError::no_entry("volume"))?;
        let mut changed = self.volumes[index].clone();
        apply(&mut changed, asked)?;
        if changed.dedupe != "none" && !self.licences.asis {
            let text = "Volume efficiency is not available: the A-SIS licence is missing.";
            return Err(ApiError::failed(1_966_753, text));
        }
        let other = self.volumes.iter().any(|volume| {
            volume.uuid != uuid && volume.svm == changed.svm && volume.name == changed.name
        });
        if other {
            let text = format!("Volume name \"{}\" is already in use.", changed.name);
            return Err(ApiError::conflict(917_536, text).at("name"));
        }
        self.check_room_for(index, &changed)?;
        self.volumes[index] = changed;
        Ok(())
    }

    /// Deletes a FlexVol with all that is in it.
    ///
    /// # Errors
    /// 4 when it is not there, 917658 when its LUNs are mapped.
    pub fn delete_volume(&mut self, uuid: Uuid) -> Result<(), ApiError> {
        let volume = self.volume(uuid).cloned();
        let volume = volume.ok_or_else(|| ApiError::no_entry("volume"))?;
        if volume.is_root
            && self
                .volumes
                .iter()
                .any(|other| other.svm == volume.svm && other.uuid != uuid)
        {
            let text = "The root volume cannot be deleted while the SVM has other volumes.";
            return Err(ApiError::failed(917_531, text));
        }
        let inside: Vec<Uuid> = self.luns_in(uuid).map(|lun| lun.uuid).collect();
        if self.maps.iter().any(|map| inside.contains(&map.lun)) {
            let text = format!(
                "Volume \"{}\" in SVM \"{}\" cannot be taken offline because it contains mapped LUNs.",
                volume.name, volume.svm
            );
            return Err(ApiError::failed(917_658, text));
        }
        for lun in inside {
            self.delete_lun(lun, true)?;
        }
        let snapshots = self
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.volume == uuid);
        let snapshots: Vec<Uuid> = snapshots.map(|snapshot| snapshot.uuid).collect();
        for snapshot in snapshots {
            self.drop_snapshot(snapshot);
        }
        self.volumes.retain(|volume| volume.uuid != uuid);
        Ok(())
    }
}

fn apply(volume: &mut Volume, asked: VolumeRequest) -> Result<(), ApiError> {
    if let Some(name) = asked.name {
        check_name(&name)?;
        volume.name = name;
    }
    if let Some(size) = asked.size {
        if size < LEAST_VOLUME {
            let text = format!(
                "Size \"{size}B\" is too small.  Minimum size is \"20MB\" (\"{LEAST_VOLUME}B\"). "
            );
            return Err(ApiError::failed(917_534, text));
        }
        volume.size = size;
    }
    if let Some(word) = asked.guarantee {
        volume.guarantee = Guarantee::parse(&word)?;
        volume.fractional_reserve = match volume.guarantee {
            Guarantee::None => 0,
            Guarantee::Volume => 100,
        };
    }
    if let Some(percent) = asked.fractional_reserve {
        if percent != 0 && percent != 100 {
            let text = "The fractional reserve must be 0 or 100.";
            return Err(ApiError::bad(917_534, text).at("space.fractional_reserve"));
        }
        volume.fractional_reserve = percent;
    }
    if let Some(percent) = asked.snapshot_reserve {
        if percent > 90 {
            let text = "The snapshot reserve must be between 0 and 90 percent.";
            return Err(ApiError::bad(917_534, text).at("space.snapshot.reserve_percent"));
        }
        volume.snapshot_reserve = percent;
    }
    match asked.state.as_deref() {
        None => {}
        Some("online") => volume.online = true,
        Some("offline") => volume.online = false,
        Some(word) => {
            let text = format!("Invalid value \"{word}\" for field \"state\"");
            return Err(ApiError::bad(262_247, text).at("state"));
        }
    }
    volume.snapshot_policy = asked
        .snapshot_policy
        .unwrap_or(std::mem::take(&mut volume.snapshot_policy));
    volume.dedupe = asked.dedupe.unwrap_or(std::mem::take(&mut volume.dedupe));
    volume.comment = asked.comment.unwrap_or(std::mem::take(&mut volume.comment));
    volume.language = asked
        .language
        .unwrap_or(std::mem::take(&mut volume.language));
    Ok(())
}

/// Letters, digits and underscores, the first no digit.
fn check_name(name: &str) -> Result<(), ApiError> {
    let first = name.chars().next();
    let fits = first.is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && name.len() <= LONGEST_NAME
        && name
            .chars()
            .all(|one| one == '_' || one.is_ascii_alphanumeric());
    if fits {
        return Ok(());
    }
    let text = format!(
        "Volume name \"{name}\" is not valid: it must begin with a letter or an underscore, hold only letters, digits and \
         underscores, and have at most {LONGEST_NAME} characters."
    );
    Err(ApiError::bad(917_888, text).at("name"))
}
