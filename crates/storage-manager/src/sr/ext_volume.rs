//! The file system of an `ext` SR: a volume group with one volume, made and mounted by the programs of the system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use crate::io::exec::{self, ExecError};

/// Start of the volume group's name. Source: XenServer's `ext` SRs.
const GROUP_PREFIX: &str = "XSLocalEXT-";

/// Size of the stripes over several devices. Source: XenServer's `ext` SRs.
const STRIPE_KIB: &str = "2048";

/// Longest time for a program that looks or changes metadata.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest time for making or checking a file system.
const LONG_LIMIT: Duration = Duration::from_secs(600);

/// Most tries to unmount a file system that is busy.
const UNMOUNT_TRIES: u32 = 20;

/// Time between two of them.
const UNMOUNT_PAUSE: Duration = Duration::from_millis(100);

/// Package with the tools of volume groups.
const LVM: &str = "lvm2";
/// Package with those of the file system.
const E2FSPROGS: &str = "e2fsprogs";
/// Package with those of mounts.
const MOUNT: &str = "mount";

/// What of the system is used.
#[derive(Clone, Debug)]
pub struct System {
    /// Looked for programs in before the usual directories.
    pub programs: Option<PathBuf>,
    /// Where the kernel lists its drivers of single devices, device-mapper among them.
    pub drivers: PathBuf,
    /// Where the kernel lists what is mounted.
    pub mounts: PathBuf,
    /// Where SRs are mounted. Source: XenServer's.
    pub mount_root: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        System {
            programs: None,
            drivers: PathBuf::from("/proc/misc"),
            mounts: PathBuf::from("/proc/self/mounts"),
            mount_root: PathBuf::from("/run/sr-mount"),
        }
    }
}

/// Why there is no file system, or no use of it.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A program failed or is missing.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The process may not do what is needed.
    #[error(
        "an ext SR needs root: run the storage manager as root, or make the file system yourself and use an SR of type file"
    )]
    NotRoot,
    /// The kernel has no volumes.
    #[error(
        "this kernel has no device-mapper, which the volumes of an ext SR need: load its module (modprobe dm-mod), or make a file system on the device yourself and use an SR of type file"
    )]
    NoDeviceMapper,
    /// Something else is mounted where the SR is to be.
    #[error("{found} is mounted at {}; unmount it", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
        /// What.
        found: String,
    },
    /// A system call failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

type Result<T> = std::result::Result<T, VolumeError>;

/// The group, the volume and the mount of one SR.
#[derive(Clone, Debug)]
pub struct ExtVolume {
    system: System,
    sr_uuid: Uuid,
    devices: Vec<String>,
}

/// A group of an `ext` SR that was found on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundGroup {
    /// The SR whose name it has.
    pub sr_uuid: Uuid,
    /// Its size in bytes.
    pub size: u64,
}

impl ExtVolume {
    /// The volume of an SR on these devices; nothing is looked at.
    pub fn new(system: System, sr_uuid: Uuid, devices: Vec<String>) -> Self {
        ExtVolume {
            system,
            sr_uuid,
            devices,
        }
    }

    /// Where the file system is mounted.
    pub fn mount_point(&self) -> PathBuf {
        self.system.mount_root.join(self.sr_uuid.to_string())
    }

    /// The volume group's name.
    pub fn group(&self) -> String {
        format!("{GROUP_PREFIX}{}", self.sr_uuid)
    }

    fn volume(&self) -> String {
        format!("{}/{}", self.group(), self.sr_uuid)
    }

    fn node(&self) -> String {
        format!("/dev/{}", self.volume())
    }

    /// Refuses a system that cannot have such SRs: a missing program, no root, no device-mapper.
    pub fn require_system(&self) -> Result<()> {
        for (program, package) in [
            ("lvm", LVM),
            ("mkfs.ext4", E2FSPROGS),
            ("e2fsck", E2FSPROGS),
            ("mount", MOUNT),
            ("umount", MOUNT),
        ] {
            self.find(program, package)?;
        }
        if !rustix::process::geteuid().is_root() {
            return Err(VolumeError::NotRoot);
        }
        let drivers = std::fs::read_to_string(&self.system.drivers).unwrap_or_default();
        let has_mapper = drivers
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some("device-mapper"));
        has_mapper.then_some(()).ok_or(VolumeError::NoDeviceMapper)
    }

    /// Makes the group, the volume and the file system, over whatever the devices held.
    ///
    /// Write order: the devices become physical volumes, the group, the volume, the file system. A crash in between leaves a
    /// group that is no SR; the next creation on the devices says so and is refused unless it is forced.
    ///
    /// # Errors
    /// What was made is removed again.
    pub fn create(&self) -> Result<()> {
        let devices: Vec<&str> = self.devices.iter().map(String::as_str).collect();
        let mut pvcreate = vec!["pvcreate", "-ff", "-y"];
        pvcreate.extend(&devices);
        self.lvm(&pvcreate)?;
        let made = self.create_group(&devices);
        if made.is_err()
            && let Err(error) = self.remove()
        {
            tracing::warn!(sr.uuid = %self.sr_uuid, %error, "remove what a failed creation of an SR left");
        }
        made
    }

    fn create_group(&self, devices: &[&str]) -> Result<()> {
        let (group, name) = (self.group(), self.sr_uuid.to_string());
        let mut vgcreate = vec!["vgcreate", &group];
        vgcreate.extend(devices);
        self.lvm(&vgcreate)?;
        let stripes = devices.len().to_string();
        let mut lvcreate = vec!["lvcreate", "-y", "-n", &name, "-l", "100%FREE"];
        if devices.len() > 1 {
            lvcreate.extend(["-i", &stripes, "-I", STRIPE_KIB]);
        }
        lvcreate.push(&group);
        self.lvm(&lvcreate)?;
        let mkfs = self.find("mkfs.ext4", E2FSPROGS)?;
        exec::succeed(&mkfs, &["-F", "-q", &self.node()], LONG_LIMIT)?;
        self.deactivate()
    }

    /// Makes the volume usable, checks the file system and mounts it. One that is mounted already stays so.
    ///
    /// # Errors
    /// The volume is given back, unless it was mounted before.
    pub fn mount(&self) -> Result<()> {
        let point = self.mount_point();
        if let Some(found) = self.mounted()? {
            if self.is_node(&found) {
                return Ok(());
            }
            return Err(VolumeError::Occupied { path: point, found });
        }
        self.lvm(&["vgchange", "-ay", &self.group()])?;
        let mounted = self.check_and_mount(&point);
        if mounted.is_err()
            && let Err(error) = self.deactivate()
        {
            tracing::warn!(sr.uuid = %self.sr_uuid, %error, "give back the volume of an SR that could not be attached");
        }
        mounted
    }

    fn check_and_mount(&self, point: &Path) -> Result<()> {
        let check = self.find("e2fsck", E2FSPROGS)?;
        let arguments = ["-p", &self.node()];
        let said = exec::run(&check, &arguments, LONG_LIMIT)?;
        // 1: what was wrong is put right. Source: e2fsck(8).
        if !matches!(said.status.code(), Some(0 | 1)) {
            return Err(exec::failure(&check, &arguments, &said).into());
        }
        crate::io::durable::create_directories(point).map_err(|source| VolumeError::Io {
            action: "create directory",
            path: point.to_owned(),
            source,
        })?;
        let mount = self.find("mount", MOUNT)?;
        let point = point.display().to_string();
        exec::succeed(&mount, &["-t", "ext4", &self.node(), &point], LIMIT)?;
        Ok(())
    }

    /// Unmounts the file system and gives the volume back; what is done already is no error.
    pub fn unmount(&self) -> Result<()> {
        let point = self.mount_point();
        if self.mounted()?.is_some() {
            let umount = self.find("umount", MOUNT)?;
            self.end_mount(&umount, &point)?;
        }
        // A directory that stays is made use of again.
        let _ = std::fs::remove_dir(&point);
        self.deactivate()
    }

    /// Waits for who is just closing a file of the SR, such as a collector that was stopped.
    fn end_mount(&self, umount: &Path, point: &Path) -> Result<()> {
        let mut tries = 0;
        loop {
            let ended = exec::succeed(umount, &[point], LIMIT);
            tries += 1;
            if ended.is_ok() || tries == UNMOUNT_TRIES {
                return Ok(ended.map(drop)?);
            }
            std::thread::sleep(UNMOUNT_PAUSE);
        }
    }

    fn deactivate(&self) -> Result<()> {
        self.lvm(&["vgchange", "-an", &self.group()]).map(drop)
    }

    /// Removes the volume, the group and the physical volumes; nothing is mounted.
    pub fn remove(&self) -> Result<()> {
        let group = self.group();
        if self.groups()?.iter().any(|name| name.0 == group) {
            self.lvm(&["vgremove", "-f", "-y", &group])?;
        }
        let mut pvremove = vec!["pvremove", "-y"];
        pvremove.extend(self.devices.iter().map(String::as_str));
        self.lvm(&pvremove).map(drop)
    }

    /// The groups of `ext` SRs on the devices.
    pub fn find_groups(&self) -> Result<Vec<FoundGroup>> {
        let groups = self.groups()?.into_iter();
        let found = groups.filter_map(|(name, size)| {
            let sr_uuid = Uuid::try_parse(name.strip_prefix(GROUP_PREFIX)?).ok()?;
            Some(FoundGroup { sr_uuid, size })
        });
        Ok(found.collect())
    }

    /// Names and sizes of the groups on the devices.
    fn groups(&self) -> Result<Vec<(String, u64)>> {
        let listed = self.lvm(&[
            "vgs",
            "--noheadings",
            "--nosuffix",
            "--units",
            "b",
            "-o",
            "vg_name,vg_size",
        ])?;
        let groups = listed.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        });
        Ok(groups.collect())
    }

    /// What is mounted at the mount point.
    fn mounted(&self) -> Result<Option<String>> {
        let path = &self.system.mounts;
        let mounts = std::fs::read_to_string(path).map_err(|source| VolumeError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let point = self.mount_point().display().to_string();
        let found = mounts.lines().rev().find_map(|line| {
            let mut words = line.split(' ');
            let (device, place) = (words.next()?, words.next()?);
            (place == point).then(|| device.to_owned())
        });
        Ok(found)
    }

    /// True for each of the names of the volume's node.
    fn is_node(&self, device: &str) -> bool {
        let mapped = format!(
            "/dev/mapper/{}-{}",
            self.group().replace('-', "--"),
            self.sr_uuid.to_string().replace('-', "--")
        );
        let real = |path: &str| std::fs::canonicalize(path).ok();
        device == self.node()
            || device == mapped
            || real(device).is_some_and(|path| Some(path) == real(&self.node()))
    }

    /// Runs a command of LVM2 that sees the SR's devices and no others.
    fn lvm(&self, arguments: &[&str]) -> Result<String> {
        let lvm = self.find("lvm", LVM)?;
        let accepted: String = self
            .devices
            .iter()
            .map(|device| {
                let exact: String = device
                    .chars()
                    .map(|c| {
                        if c == '.' || c == '+' {
                            format!("[{c}]")
                        } else {
                            c.to_string()
                        }
                    })
                    .collect();
                format!("\"a|^{exact}$|\",")
            })
            .collect();
        // Without udev, LVM2 makes the nodes of volumes itself.
        let udev = match Path::new("/run/udev/control").exists() {
            true => "",
            false => " activation{udev_sync=0 udev_rules=0}",
        };
        let config = format!(
            "devices{{filter=[{accepted}\"r|.*|\"] use_devicesfile=0 obtain_device_list_from_udev=0}}{udev}"
        );
        let (command, rest) = arguments.split_at(arguments.len().min(1));
        let mut all = command.to_vec();
        all.extend(["--config", &config]);
        all.extend(rest);
        Ok(exec::succeed(&lvm, &all, LIMIT)?)
    }

    fn find(&self, program: &str, package: &str) -> Result<PathBuf> {
        let before = self.system.programs.as_deref();
        Ok(exec::find(before, program, package)?)
    }
}
