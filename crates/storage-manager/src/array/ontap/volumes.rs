//! The volumes of an SR on a filer: what an attached SR asks for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::filer::{Filer, IscsiTarget};
use super::flexvols::FlexVol;
use super::layout::{SrMark, VdiMark, flexvol_name, igroup_name, parse_flexvol, snapshot_name};
use super::luns::FilerLun;
use super::transport::LunMap;
use crate::array::{ArrayError, ArrayListing, ArrayVolume, Exposure, Fault, VolumeArray};
use crate::medium::iscsi::Credentials;
use crate::sr::{
    DamagedImage, KeptLabels, NewVdi, OpenMode, SnapshotHints, SnapshotKind, SrLabels, SrSpace,
    VdiLabels,
};

/// Sizes of VDIs are multiples of this.
pub(super) const SIZE_UNIT: u64 = 1 << 20;

/// The largest VDI: the largest LUN of any filer. Smaller limits are told by the filer itself.
const MOST_SIZE: u64 = 128 << 40;

/// How long what is known of the target is used again.
const TARGET_AGE: Duration = Duration::from_secs(60);

/// How an SR is used.
#[derive(Clone, Debug)]
pub struct VolumesOptions {
    /// Who we are for the target; none where it does not ask.
    pub credentials: Option<Credentials>,
    /// Bytes of a FlexVol for each byte of its LUNs.
    pub multiplier: f64,
    /// True when sizes of FlexVols that the administrator has changed are changed back.
    pub enforces_allocation: bool,
}

/// The volumes of an SR.
#[derive(Debug)]
pub struct OntapVolumes {
    pub(super) filer: Filer,
    pub(super) sr: Uuid,
    pub(super) mark: SrMark,
    pub(super) options: VolumesOptions,
    /// The igroup of this storage manager.
    igroup: String,
    /// Held while a FlexVol is chosen, sized and filled, so that two do not count on the same room.
    pub(super) placing: Mutex<()>,
    target: Mutex<Option<(Instant, IscsiTarget)>>,
    pub(super) collected: Mutex<Option<Instant>>,
    /// What the last scan found wrong.
    trouble: Mutex<Option<String>>,
}

impl OntapVolumes {
    /// Finds an SR on a filer, checks that it is whole and that its LUNs can be reached by `initiator`, and takes back what an
    /// earlier run showed to it.
    ///
    /// # Errors
    /// As [`Filer::iscsi_target`]; a fault when the SR is not there or not whole.
    pub fn attach(
        filer: Filer,
        sr: Uuid,
        initiator: &str,
        options: VolumesOptions,
    ) -> Result<Self, ArrayError> {
        let flexvols = filer
            .flexvols(sr)
            .map_err(filer.failed("list the FlexVols of the SR"))?;
        let mark = mark(&filer, sr, &flexvols)?;
        let volumes = OntapVolumes {
            filer,
            sr,
            mark,
            options,
            igroup: igroup_name(initiator),
            placing: Mutex::default(),
            target: Mutex::default(),
            collected: Mutex::default(),
            trouble: Mutex::default(),
        };
        volumes.check_whole(&flexvols)?;
        volumes.target()?;
        if let Some(credentials) = &volumes.options.credentials {
            volumes.filer.put_credentials(initiator, credentials)?;
        }
        volumes.conceal_all(initiator)?;
        Ok(volumes)
    }

    /// How the SR was made.
    pub fn mark(&self) -> &SrMark {
        &self.mark
    }

    /// The portals of the target, as `multihomelist` has them.
    pub fn portal_list(&self) -> Result<String, ArrayError> {
        let portals = self.target()?.portals;
        let portals: Vec<String> = portals
            .iter()
            .map(|(host, port)| match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            })
            .collect();
        Ok(portals.join(","))
    }

    /// Nothing is open yet: what this initiator sees was left by a run that did not end well.
    fn conceal_all(&self, initiator: &str) -> Result<(), ArrayError> {
        let action = "look for LUNs that an earlier run showed to this host";
        let maps = self.filer.maps_for(self.sr, initiator);
        for map in maps.map_err(self.filer.failed(action))? {
            self.unmap(&map)?;
            tracing::info!(
                lun = map.path,
                "took back a LUN that an earlier run showed to this host"
            );
        }
        Ok(())
    }

    fn unmap(&self, map: &LunMap) -> Result<(), ArrayError> {
        let unmapped = self.filer.unmap_lun(map);
        unmapped.map_err(
            self.filer
                .failed("take a LUN out of the sight of this host"),
        )
    }

    fn target(&self) -> Result<IscsiTarget, ArrayError> {
        if let Some((at, target)) = &*lock(&self.target)
            && at.elapsed() < TARGET_AGE
        {
            return Ok(target.clone());
        }
        let found = self.filer.iscsi_target()?;
        *lock(&self.target) = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    pub(super) fn flexvols(&self) -> Result<Vec<FlexVol>, ArrayError> {
        let found = self.filer.flexvols(self.sr);
        found.map_err(self.filer.failed("list the FlexVols of the SR"))
    }

    pub(super) fn luns(&self) -> Result<Vec<FilerLun>, ArrayError> {
        let found = self.filer.luns(self.sr);
        found.map_err(self.filer.failed("list the LUNs of the SR"))
    }

    fn lun(&self, vdi: Uuid) -> Result<Option<FilerLun>, ArrayError> {
        let found = self.filer.lun(self.sr, vdi);
        found.map_err(self.filer.failed("look for the LUN of a VDI"))
    }

    fn get(&self, vdi: Uuid) -> Result<FilerLun, ArrayError> {
        self.lun(vdi)?.ok_or_else(|| ArrayError::Missing {
            array: self.filer.name(),
            vdi,
        })
    }

    /// Refuses an SR of which FlexVols are missing or offline: their VDIs would look as if they were gone.
    fn check_whole(&self, flexvols: &[FlexVol]) -> Result<(), ArrayError> {
        let is_online = |index| {
            let mut all = flexvols.iter();
            all.any(|it: &FlexVol| it.index == index && it.is_online)
        };
        let missing: Vec<String> = (0..self.mark.flexvols)
            .filter(|index| !is_online(*index))
            .map(|index| flexvol_name(self.sr, index))
            .collect();
        let trouble = (!missing.is_empty()).then(|| {
            format!(
                "of {} FlexVols on {} these are offline or gone: {}; bring them online",
                self.mark.flexvols,
                self.filer.name(),
                missing.join(", ")
            )
        });
        lock(&self.trouble).clone_from(&trouble);
        match trouble {
            None => Ok(()),
            Some(trouble) => Err(ArrayError::Failed {
                array: self.filer.name(),
                action: "list the volumes of the SR",
                source: trouble.into(),
            }),
        }
    }
}

/// What the first FlexVol says.
fn mark(filer: &Filer, sr: Uuid, flexvols: &[FlexVol]) -> Result<SrMark, ArrayError> {
    let failed = |what: String| ArrayError::Failed {
        array: filer.name(),
        action: "find the SR",
        source: what.into(),
    };
    let name = flexvol_name(sr, 0);
    let first = flexvols.iter().find(|flexvol| flexvol.index == 0);
    let first = first.ok_or_else(|| {
        failed(format!(
            "there is no FlexVol {name}; SR.probe lists the SRs that there are"
        ))
    })?;
    SrMark::parse(&first.comment).ok_or_else(|| {
        failed(format!(
            "the comment of FlexVol {name} is not as it was written: {:?}; write back xensm=1&count=<number of FlexVols>&aggregate=<name>&allocation=<thick or thin>",
            first.comment
        ))
    })
}

impl VolumeArray for OntapVolumes {
    fn name(&self) -> String {
        self.filer.name()
    }

    fn list(&self) -> Result<ArrayListing, ArrayError> {
        let flexvols = self.flexvols()?;
        self.check_whole(&flexvols)?;
        // What is made meanwhile must not lose its room.
        let placing = self
            .options
            .enforces_allocation
            .then(|| lock(&self.placing));
        let luns = self.luns()?;
        let contents = self.contents(&luns);
        if placing.is_some() {
            for flexvol in &flexvols {
                let content = contents.get(flexvol.index as usize).copied();
                if let Err(error) = self.fit(flexvol, content.unwrap_or_default()) {
                    let error = error.chain_text();
                    tracing::warn!(
                        flexvol = flexvol.name,
                        error,
                        "a FlexVol could not be given the size that it is to have"
                    );
                }
            }
        }
        drop(placing);
        self.collect(&flexvols);
        let mut listing = ArrayListing {
            space: self.space_of(&flexvols, &contents)?,
            ..ArrayListing::default()
        };
        let mut paths: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for lun in &luns {
            paths.entry(lun.vdi).or_default().push(lun.path());
        }
        for lun in luns {
            let twins = match paths.get_mut(&lun.vdi).map(std::mem::take) {
                // Told with the first of them.
                Some(paths) if paths.is_empty() => continue,
                Some(paths) if paths.len() > 1 => Some(format!(
                    "{} are one VDI; rename those that are not",
                    paths.join(" and ")
                )),
                _ => None,
            };
            let damage = twins.or_else(|| lun.damage.clone());
            match damage {
                None => listing.volumes.push(lun.volume()),
                Some(reason) => listing.damaged.push(DamagedImage {
                    location: lun.vdi.to_string(),
                    reason,
                }),
            }
        }
        Ok(listing)
    }

    fn space(&self) -> Result<SrSpace, ArrayError> {
        let flexvols = self.flexvols()?;
        let luns = self.luns()?;
        self.space_of(&flexvols, &self.contents(&luns))
    }

    fn find(&self, vdi: Uuid) -> Result<Option<ArrayVolume>, ArrayError> {
        Ok(self.lun(vdi)?.map(|lun| lun.volume()))
    }

    fn create(&self, new: &NewVdi) -> Result<ArrayVolume, ArrayError> {
        let asked = new.virtual_size;
        if asked == 0 || asked > MOST_SIZE {
            return Err(ArrayError::Size {
                asked,
                least: SIZE_UNIT,
                most: MOST_SIZE,
            });
        }
        let lun = self.place(new, asked.next_multiple_of(SIZE_UNIT))?;
        Ok(lun.volume())
    }

    fn snapshot(
        &self,
        source: Uuid,
        new: Uuid,
        kind: SnapshotKind,
        hints: &SnapshotHints,
    ) -> Result<ArrayVolume, ArrayError> {
        if let Some(there) = self.lun(new)? {
            return Ok(there.volume());
        }
        let source = self.get(source)?;
        let action = match kind {
            SnapshotKind::Snapshot => "make a snapshot",
            SnapshotKind::Clone => "make a clone",
        };
        let _placing = lock(&self.placing);
        let flexvols = self.flexvols()?;
        let flexvol = flexvols.iter().find(|it| it.name == source.flexvol);
        let Some(flexvol) = flexvol else {
            return Err(ArrayError::Missing {
                array: self.filer.name(),
                vdi: source.vdi,
            });
        };
        let contents = self.contents(&self.luns()?);
        let content = contents.get(flexvol.index as usize).copied();
        let content = content.unwrap_or_default();
        let after = content.and(source.size, kind == SnapshotKind::Snapshot);
        let name = hints.epochhint.as_deref().map(snapshot_name);
        let made = match &name {
            Some(name) => self.ensure_snapshot(flexvol, name),
            None => Ok(()),
        };
        let made = made
            .and_then(|()| self.fit(flexvol, after))
            .and_then(|()| self.branch(&source, flexvol, new, kind, name.as_deref()));
        let lun = made.map_err(|error| {
            self.shrink(&flexvol.name, after, content);
            if error.is_no_space() && kind == SnapshotKind::Snapshot {
                let detail = format!(
                    "{action} on {}: {}; delete VDIs or snapshots, or give the aggregate disks",
                    self.filer.name(),
                    error.chain_text()
                );
                let fault = Fault::NetappSnapshotSpace;
                return ArrayError::Fault { fault, detail };
            }
            error.of(&self.filer.name(), action)
        })?;
        Ok(lun.volume())
    }

    fn revert(&self, vdi: Uuid, snapshot: Uuid) -> Result<ArrayVolume, ArrayError> {
        let (lun, source) = (self.get(vdi)?, self.get(snapshot)?);
        let array = self.filer.name();
        if lun.flexvol != source.flexvol {
            return Err(ArrayError::Unsupported {
                array,
                action: "revert a VDI",
                detail: "its LUN and that of the snapshot lie in different FlexVols; move one back on the filer".to_owned(),
            });
        }
        self.unmap_all(&lun)?;
        let action = "revert a LUN";
        let _placing = lock(&self.placing);
        self.filer
            .overwrite_lun(&lun, &source)
            .map_err(self.filer.failed(action))?;
        // The comment may have come with the content.
        self.filer
            .comment_lun(&lun, &lun.mark)
            .map_err(self.filer.failed(action))?;
        Ok(self.get(vdi)?.volume())
    }

    fn resize(&self, vdi: Uuid, size: u64) -> Result<ArrayVolume, ArrayError> {
        let asked = size;
        if asked == 0 || asked > MOST_SIZE {
            return Err(ArrayError::Size {
                asked,
                least: SIZE_UNIT,
                most: MOST_SIZE,
            });
        }
        let size = asked.next_multiple_of(SIZE_UNIT);
        let _placing = lock(&self.placing);
        let lun = self.get(vdi)?;
        if size < lun.size && asked != lun.size {
            let found = lun.size;
            return Err(ArrayError::Shrink { vdi, found, asked });
        }
        if size <= lun.size {
            return Ok(lun.volume());
        }
        let flexvols = self.flexvols()?;
        let flexvol = flexvols.iter().find(|it| it.name == lun.flexvol);
        let contents = self.contents(&self.luns()?);
        let mut room = None;
        if let Some(flexvol) = flexvol {
            let before = contents.get(flexvol.index as usize).copied();
            let before = before.unwrap_or_default();
            let mut after = before;
            match lun.mark.is_snapshot {
                true => after.snapshots = after.snapshots.saturating_add(size - lun.size),
                false => after.volumes = after.volumes.saturating_add(size - lun.size),
            }
            self.fit(flexvol, after)
                .map_err(self.filer.failed("grow a FlexVol"))?;
            room = Some((before, after));
        }
        if let Err(error) = self.filer.resize_lun(&lun, size) {
            // It may have grown all the same when the answer was lost: then the room is its own.
            if let Some((before, after)) = room.filter(|_| !error.is_lost()) {
                self.shrink(&lun.flexvol, after, before);
            }
            return Err(error.of(&self.filer.name(), "grow a LUN"));
        }
        Ok(self.get(vdi)?.volume())
    }

    fn delete(&self, vdi: Uuid) -> Result<(), ArrayError> {
        let Some(lun) = self.lun(vdi)? else {
            // In a FlexVol that is offline it is not gone.
            return self.check_whole(&self.flexvols()?);
        };
        self.unmap_all(&lun)?;
        let _placing = lock(&self.placing);
        let before = self.contents(&self.luns()?);
        self.filer
            .delete_lun(&lun)
            .map_err(self.filer.failed("delete a LUN"))?;
        let index = parse_flexvol(&lun.flexvol).map(|(_, index)| index as usize);
        if let Some(before) = index.and_then(|index| before.get(index)).copied() {
            let mut after = before;
            after.luns = after.luns.saturating_sub(1);
            let sum = match lun.mark.is_snapshot {
                true => &mut after.snapshots,
                false => &mut after.volumes,
            };
            *sum = sum.saturating_sub(lun.size);
            self.shrink(&lun.flexvol, before, after);
        }
        Ok(())
    }

    /// # Errors
    /// 135 when somebody else sees the LUN, another storage manager or a host of an administrator's igroup, and this one wants to write.
    fn expose(&self, vdi: Uuid, initiator: &str, mode: OpenMode) -> Result<Exposure, ArrayError> {
        let lun = self.get(vdi)?;
        if let Some(damage) = &lun.damage {
            return Err(ArrayError::Failed {
                array: self.filer.name(),
                action: "use a LUN",
                source: format!("{}: {damage}", lun.path()).into(),
            });
        }
        let own = igroup_name(initiator);
        let check_alone = |maps: &[LunMap]| match maps.iter().find(|map| map.igroup != own) {
            Some(other) if mode == OpenMode::ReadWrite => Err(ArrayError::Fault {
                fault: Fault::NetappLunLock,
                detail: format!(
                    "LUN {} is seen by igroup {}, of another storage manager or of an administrator; detach the VDI there, or take the map away on the filer if nobody uses the LUN over it",
                    other.path, other.igroup
                ),
            }),
            _ => Ok(()),
        };
        let maps = self.maps(&lun)?;
        check_alone(&maps)?;
        let is_seen = maps.iter().any(|map| map.igroup == own);
        let map = match maps.into_iter().find(|map| map.igroup == own) {
            Some(map) => Ok(map),
            None => self
                .filer
                .ensure_igroup(initiator)
                .and_then(|()| self.filer.map_lun(&lun, initiator)),
        };
        let map = map.map_err(self.filer.failed("show a LUN to this host"))?;
        // Two that looked at once have both mapped it by now, and then both let go.
        if mode == OpenMode::ReadWrite
            && !is_seen
            && let Err(error) = check_alone(&self.maps(&lun)?)
        {
            self.unmap(&map)?;
            return Err(error);
        }
        let target = self.target()?;
        Ok(Exposure {
            target: target.name,
            portals: target.portals,
            lun: map.number,
            scsi_id: lun.scsi_id(),
            serial: Some(lun.serial),
            credentials: self.options.credentials.clone(),
            limit: None,
        })
    }

    fn conceal(&self, vdi: Uuid, initiator: &str) -> Result<(), ArrayError> {
        let Some(lun) = self.lun(vdi)? else {
            return Ok(());
        };
        let own = igroup_name(initiator);
        for map in self.maps(&lun)? {
            if map.igroup == own {
                self.unmap(&map)?;
            }
        }
        Ok(())
    }

    fn labels(&self) -> Result<KeptLabels, ArrayError> {
        let flexvols = self.flexvols()?;
        let first = flexvols.iter().find(|flexvol| flexvol.index == 0);
        let sr = first.and_then(|first| SrMark::parse(&first.comment)?.labels);
        let luns = self.luns()?.into_iter();
        Ok(KeptLabels {
            sr,
            vdis: luns.filter_map(|lun| lun.mark.labels).collect(),
        })
    }

    fn write_vdi_labels(&self, labels: &[VdiLabels]) -> Result<(), ArrayError> {
        let luns: HashMap<Uuid, FilerLun> = match labels {
            [one] => self
                .lun(one.uuid)?
                .map(|lun| (one.uuid, lun))
                .into_iter()
                .collect(),
            _ => self.luns()?.into_iter().map(|lun| (lun.vdi, lun)).collect(),
        };
        for labels in labels {
            let Some(lun) = luns.get(&labels.uuid) else {
                continue;
            };
            let mark = VdiMark {
                labels: Some(labels.clone()),
                ..lun.mark.clone()
            };
            if mark.to_comment() == lun.mark.to_comment() {
                continue;
            }
            match self.filer.comment_lun(lun, &mark) {
                Err(error) if error.is_missing() => {}
                written => written.map_err(self.filer.failed("write the names of a VDI"))?,
            }
        }
        Ok(())
    }

    fn write_sr_labels(&self, labels: &SrLabels) -> Result<(), ArrayError> {
        let flexvols = self.flexvols()?;
        let Some(first) = flexvols.iter().find(|flexvol| flexvol.index == 0) else {
            return Ok(());
        };
        let mut mark = mark(&self.filer, self.sr, &flexvols)?;
        if mark.labels.as_ref() == Some(labels) {
            return Ok(());
        }
        mark.labels = Some(labels.clone());
        let written = self.filer.comment_flexvol(first, &mark);
        written.map_err(self.filer.failed("write the names of the SR"))
    }

    fn health(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

impl OntapVolumes {
    fn maps(&self, lun: &FilerLun) -> Result<Vec<LunMap>, ArrayError> {
        let found = self.filer.maps_of(lun);
        found.map_err(self.filer.failed("ask who sees a LUN"))
    }

    /// Takes a LUN, which this storage manager does not use, out of its sight.
    ///
    /// # Errors
    /// When others see it too: they may have it open.
    fn unmap_all(&self, lun: &FilerLun) -> Result<(), ArrayError> {
        let maps = self.maps(lun)?;
        if let Some(other) = maps.iter().find(|map| map.igroup != self.igroup) {
            let detail = format!(
                "igroup {} sees LUN {}; detach it there, or take the map away on the filer",
                other.igroup, other.path
            );
            return Err(ArrayError::InUse {
                vdi: lun.vdi,
                detail,
            });
        }
        maps.iter().try_for_each(|map| self.unmap(map))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
