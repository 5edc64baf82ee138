//! The LUNs behind the adapters of this machine.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::adapters::{Adapter, adapters};
use super::lun_device::LunDevice;
use super::lun_paths::{LunPath, by_lun, is_settling, lun_paths};
use super::sysfs::Sysfs;
use crate::layout::lun_per_vdi::{Look, Lun, LunSource};
use crate::medium::block_device::BlockDevice;
use crate::medium::local_device::is_root_device;

/// Longest wait for the block devices of disks that a rescan found. XenServer waits 2 s always.
const SETTLE: Duration = Duration::from_secs(2);

/// Pause between two looks meanwhile.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// The LUNs behind the adapters of a family.
#[derive(Debug)]
pub struct HbaLuns {
    sysfs: Sysfs,
    family: String,
    open: Mutex<BTreeMap<String, Weak<LunDevice>>>,
    /// Held while a LUN is opened: two who come at once get one device, since nodes are opened by one.
    opening: Mutex<()>,
}

impl HbaLuns {
    /// Those that `family` names; see [`Adapter::is_of`].
    pub fn new(sysfs: Sysfs, family: &str) -> Self {
        HbaLuns {
            sysfs,
            family: family.to_owned(),
            open: Mutex::default(),
            opening: Mutex::default(),
        }
    }

    /// The adapters.
    pub fn adapters(&self) -> io::Result<Vec<Adapter>> {
        adapters(&self.sysfs, &self.family)
    }

    /// The paths by the LUN to which they lead, without those to the disk that the machine runs from.
    pub fn paths_by_lun(&self, look: Look) -> io::Result<Vec<Vec<LunPath>>> {
        if look == Look::Rescan {
            self.rescan()?;
        }
        let mut luns = by_lun(lun_paths(&self.sysfs, &self.family)?);
        luns.retain(|paths| {
            let is_root = |path: &LunPath| is_root_device(&self.sysfs.node(&path.node));
            !paths.iter().any(is_root)
        });
        self.follow(&luns);
        Ok(luns)
    }

    /// Asks adapters for new LUNs and disks for their sizes, where this process may, and waits until nodes are there.
    fn rescan(&self) -> io::Result<()> {
        for adapter in self.adapters()? {
            let scan = format!("class/scsi_host/{}/scan", adapter.host());
            if let Err(error) = self.sysfs.ask(&scan, "- - -\n") {
                tracing::debug!(%error, adapter = adapter.host(), "an adapter could not be asked for new LUNs");
            }
        }
        for path in lun_paths(&self.sysfs, &self.family)? {
            let rescan = format!("bus/scsi/devices/{}/rescan", path.address);
            if let Err(error) = self.sysfs.ask(&rescan, "1\n") {
                tracing::debug!(%error, path = path.node, "a disk could not be asked for its size");
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < SETTLE && is_settling(&self.sysfs, &self.family)? {
            std::thread::sleep(SETTLE_PAUSE);
        }
        Ok(())
    }

    /// Tells the LUNs that are open which paths there are now.
    fn follow(&self, luns: &[Vec<LunPath>]) {
        let open: Vec<(String, Arc<LunDevice>)> = {
            let mut open = self.devices();
            open.retain(|_, device| device.strong_count() > 0);
            open.iter()
                .filter_map(|(id, device)| Some((id.clone(), device.upgrade()?)))
                .collect()
        };
        for (id, device) in open {
            let paths = luns.iter().find(|paths| {
                paths
                    .first()
                    .is_some_and(|path| path.identity.scsi_id == id)
            });
            if let Some(paths) = paths {
                device.set_paths(paths);
            }
        }
    }

    fn devices(&self) -> MutexGuard<'_, BTreeMap<String, Weak<LunDevice>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LunSource for HbaLuns {
    fn name(&self) -> String {
        match self.family.as_str() {
            "" | "any" => "the host bus adapters".to_owned(),
            family => format!("the host bus adapters of type {family}"),
        }
    }

    fn luns(&self, look: Look) -> io::Result<Vec<Lun>> {
        let luns = self.paths_by_lun(look)?;
        let lun = |paths: &Vec<LunPath>| {
            let first = paths.first()?;
            Some(Lun {
                scsi_id: first.identity.scsi_id.clone(),
                lun_id: first.address.lun,
                size: first.size,
            })
        };
        Ok(luns.iter().filter_map(lun).collect())
    }

    fn open(&self, scsi_id: &str) -> io::Result<Arc<dyn BlockDevice>> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.devices().get(scsi_id).and_then(Weak::upgrade);
        if let Some(device) = known {
            return Ok(device);
        }
        let luns = by_lun(lun_paths(&self.sysfs, &self.family)?);
        let paths = luns.into_iter().find(|paths| {
            paths
                .first()
                .is_some_and(|path| path.identity.scsi_id == scsi_id)
        });
        let paths = paths.ok_or_else(|| {
            let text = format!(
                "no LUN {scsi_id} is behind {}; see that it is mapped to this machine",
                self.name()
            );
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        let device = Arc::new(LunDevice::open(&self.sysfs, &paths)?);
        self.devices()
            .insert(scsi_id.to_owned(), Arc::downgrade(&device));
        Ok(device)
    }

    fn health(&self) -> Option<String> {
        let open: Vec<Arc<LunDevice>> = self.devices().values().filter_map(Weak::upgrade).collect();
        let ill: Vec<String> = open.iter().filter_map(|device| device.health()).collect();
        (!ill.is_empty()).then(|| ill.join("; "))
    }

    /// Nothing is held but the LUNs that are open, by whoever has them open.
    fn release(&self) {}
}
