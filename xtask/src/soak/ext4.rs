//! An ext4 file system on a loop device that can be stopped: what was not synced is gone afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ci::checked;

/// Size of the file system's file.
const SIZE: u64 = 4 << 30;

/// Stops a file system without writing its journal: `ioctl(EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH)`.
const STOP: &str = "import fcntl, os, struct, sys; \
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// The file system; it is unmounted when this is dropped.
pub struct Ext4 {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Ext4 {
    /// Makes and mounts one.
    pub fn make(work: &Path) -> anyhow::Result<Self> {
        let (image, mount_point) = (work.join("ext4.img"), work.join("mnt"));
        std::fs::create_dir_all(&mount_point)?;
        std::fs::File::create(&image)?.set_len(SIZE)?;
        checked(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        let ext4 = Ext4 { image, mount_point };
        ext4.mount()?;
        Ok(ext4)
    }

    /// Where it is.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// What stops it.
    pub fn stopper(&self) -> Box<dyn FnOnce() -> anyhow::Result<()> + Send> {
        let mount_point = self.mount_point.clone();
        Box::new(move || checked(Command::new("python3").args(["-c", STOP]).arg(mount_point)))
    }

    /// Unmounts and mounts it, which replays its journal.
    pub fn remount(&self) -> anyhow::Result<()> {
        checked(Command::new("umount").arg(&self.mount_point))?;
        self.mount()
    }

    fn mount(&self) -> anyhow::Result<()> {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mount_point);
        checked(&mut mount)
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // What cannot be unmounted is told by umount itself.
        let _ = Command::new("umount").arg(&self.mount_point).status();
    }
}
