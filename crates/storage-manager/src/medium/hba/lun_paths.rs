//! The disks that the kernel sees through adapters: each is one path to a LUN.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;

use super::adapters::{Adapter, adapters};
use super::sysfs::Sysfs;
use crate::medium::block_device::DeviceIdentity;
use crate::medium::scsi_id;

/// What SCSI calls a disk. Source: SPC-4, table 142, "peripheral device type".
const DISK: &str = "0";

/// Bytes that the file `size` of a block device counts in, whatever the device's blocks are.
const SECTOR: u64 = 512;

/// Bytes of a logical block, where the kernel does not say.
const BLOCK: u32 = 512;

/// Bytes of vendor and product in the standard inquiry data, and where they lie. Source: SPC-4, 6.4.2.
const VENDOR: std::ops::Range<usize> = 8..16;
const PRODUCT: std::ops::Range<usize> = 16..32;

/// Where a SCSI device is: host, channel, target, LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScsiAddress {
    /// The number of the adapter.
    pub host: u32,
    /// The channel (bus) of the adapter.
    pub channel: u32,
    /// The target on the channel.
    pub target: u32,
    /// The LUN of the target.
    pub lun: u64,
}

impl fmt::Display for ScsiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            channel,
            target,
            lun,
        } = self;
        write!(f, "{host}:{channel}:{target}:{lun}")
    }
}

impl FromStr for ScsiAddress {
    type Err = ();

    /// The form of the names in `/sys/bus/scsi/devices`, where hosts and targets have entries of other forms.
    fn from_str(name: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = name.split(':').collect();
        let [host, channel, target, lun] = parts[..] else {
            return Err(());
        };
        Ok(ScsiAddress {
            host: host.parse().map_err(|_| ())?,
            channel: channel.parse().map_err(|_| ())?,
            target: target.parse().map_err(|_| ())?,
            lun: lun.parse().map_err(|_| ())?,
        })
    }
}

/// A disk of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunPath {
    /// Where it is.
    pub address: ScsiAddress,
    /// The driver of its adapter.
    pub driver: String,
    /// The name of its block device: `sda`.
    pub node: String,
    /// The number of its block device: major and minor.
    pub number: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// What the kernel says of its state: `running`, `offline` ...
    pub state: String,
    /// What it says of itself.
    pub identity: DeviceIdentity,
}

impl LunPath {
    /// False when the kernel has given the path up.
    pub fn is_usable(&self) -> bool {
        matches!(self.state.as_str(), "running" | "blocked" | "")
    }
}

/// The disks behind the adapters of a family, by their addresses. One that is being removed, or whose block device is not there
/// yet, is left out.
///
/// # Errors
/// When a directory cannot be listed.
pub fn lun_paths(sysfs: &Sysfs, family: &str) -> io::Result<Vec<LunPath>> {
    let drivers: BTreeMap<u32, String> = adapters(sysfs, family)?
        .into_iter()
        .map(|Adapter { number, driver, .. }| (number, driver))
        .collect();
    let names = sysfs.names("bus/scsi/devices")?;
    let mut addresses: Vec<ScsiAddress> =
        names.iter().filter_map(|name| name.parse().ok()).collect();
    addresses.sort();
    let found = addresses.into_iter().filter_map(|address| {
        let driver = drivers.get(&address.host)?;
        lun_path(sysfs, address, driver)
    });
    Ok(found.collect())
}

/// Says whether a disk has no block device yet, so that another look shortly after makes sense.
pub fn is_settling(sysfs: &Sysfs, family: &str) -> io::Result<bool> {
    let hosts: Vec<u32> = adapters(sysfs, family)?
        .iter()
        .map(|adapter| adapter.number)
        .collect();
    let names = sysfs.names("bus/scsi/devices")?;
    Ok(names.iter().any(|name| {
        let is_ours = name
            .parse::<ScsiAddress>()
            .is_ok_and(|address| hosts.contains(&address.host));
        is_ours
            && sysfs.text(&format!("bus/scsi/devices/{name}/type")) == DISK
            && !sysfs.has(&format!("bus/scsi/devices/{name}/block"))
    }))
}

fn lun_path(sysfs: &Sysfs, address: ScsiAddress, driver: &str) -> Option<LunPath> {
    let directory = format!("bus/scsi/devices/{address}");
    if sysfs.text(&format!("{directory}/type")) != DISK {
        return None;
    }
    let node = sysfs
        .names(&format!("{directory}/block"))
        .ok()?
        .into_iter()
        .next()?;
    let block = format!("{directory}/block/{node}");
    let (major, minor) = sysfs
        .text(&format!("{block}/dev"))
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))?;
    let sectors: u64 = sysfs.text(&format!("{block}/size")).parse().ok()?;
    let block_size = sysfs
        .text(&format!("{block}/queue/logical_block_size"))
        .parse();
    Some(LunPath {
        address,
        driver: driver.to_owned(),
        node,
        number: (major, minor),
        size: sectors.saturating_mul(SECTOR),
        block_size: block_size.unwrap_or(BLOCK),
        state: sysfs.text(&format!("{directory}/state")),
        identity: identity(sysfs, &directory),
    })
}

/// Who a disk is, from the pages that the kernel keeps of it.
pub fn identity(sysfs: &Sysfs, directory: &str) -> DeviceIdentity {
    let mut standard = sysfs.bytes(&format!("{directory}/inquiry"));
    if standard.len() < PRODUCT.end {
        standard = vec![b' '; PRODUCT.end];
        for (name, place) in [("vendor", VENDOR), ("model", PRODUCT)] {
            let text = sysfs.text(&format!("{directory}/{name}"));
            let text = &text.as_bytes()[..text.len().min(place.len())];
            standard[place.start..place.start + text.len()].copy_from_slice(text);
        }
    }
    scsi_id::identity(
        &standard,
        &sysfs.bytes(&format!("{directory}/vpd_pg80")),
        &sysfs.bytes(&format!("{directory}/vpd_pg83")),
    )
}

/// The paths by the LUN to which they lead; those that say nothing of themselves are LUNs of their own.
pub fn by_lun(paths: Vec<LunPath>) -> Vec<Vec<LunPath>> {
    let mut luns: Vec<Vec<LunPath>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for path in paths {
        let id = path.identity.scsi_id.clone();
        match places.get(&id).filter(|_| !id.is_empty()) {
            Some(place) => luns[*place].push(path),
            None => {
                places.insert(id, luns.len());
                luns.push(vec![path]);
            }
        }
    }
    luns
}
