//! The LVM2 tools on loop devices, without device-mapper: they read and change metadata, and activate nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::tool;

/// What the tools are told, with the devices they may see in place of `FILTER`.
///
/// # Source
/// lvm.conf(5). Nothing outside the directory is read or written, and no other device is looked at.
const CONFIGURATION: &str = r#"
global { activation = 0 locking_dir = "DIRECTORY/lock" use_lvmpolld = 0 use_lvmlockd = 0 notify_dbus = 0 event_activation = 0 }
devices {
    use_devicesfile = 0 obtain_device_list_from_udev = 0 external_device_info_source = "none" hints = "none"
    filter = [ FILTER "r|.*|" ] global_filter = [ FILTER "r|.*|" ]
}
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
backup { backup = 0 archive = 0 }
log { syslog = 0 }
"#;

/// What they say in each call, since the configuration says so.
const NO_DEVICE_MAPPER: &str =
    "Activation disabled. No device-mapper interaction will be attempted.";

/// The tools with the loop devices that they may see; dropped, it detaches them.
pub struct LvmTools {
    program: PathBuf,
    losetup: PathBuf,
    directory: tempfile::TempDir,
    devices: Vec<PathBuf>,
}

impl LvmTools {
    /// The tools, without a device yet; `None` after a printed line when they or the rights for loop devices are not there.
    ///
    /// # Panics
    /// When they are not there and `CI` is set.
    pub fn new() -> Option<Self> {
        let program = tool::program("lvm")?;
        let losetup = tool::program("losetup")?;
        let control = fs::OpenOptions::new().write(true).open("/dev/loop-control");
        if control.is_err() {
            return tool::missing("the right to make loop devices", "the tests as root");
        }
        let directory = tempfile::Builder::new()
            .prefix("lvm-tools-")
            .tempdir()
            .expect("a temporary directory");
        fs::create_dir(directory.path().join("lock")).expect("make the tools' lock directory");
        let tools = LvmTools {
            program,
            losetup,
            directory,
            devices: Vec::new(),
        };
        tools.configure();
        Some(tools)
    }

    /// Makes a loop device of a file, which from now on the tools see.
    ///
    /// # Panics
    /// When there is none left.
    pub fn attach(&mut self, file: &Path) -> PathBuf {
        let shown = tool::run(
            Command::new(&self.losetup)
                .args(["--find", "--show"])
                .arg(file),
        );
        let device = PathBuf::from(shown.trim());
        self.devices.push(device.clone());
        self.configure();
        device
    }

    /// Takes a loop device away from the tools.
    ///
    /// # Panics
    /// When it cannot be detached.
    pub fn detach(&mut self, device: &Path) {
        self.devices.retain(|one| one != device);
        self.configure();
        tool::run(Command::new(&self.losetup).arg("--detach").arg(device));
    }

    /// The loop devices.
    pub fn devices(&self) -> &[PathBuf] {
        &self.devices
    }

    /// A call of one of the tools, such as `vgck`.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "300"])
            .arg(&self.program)
            .arg(name)
            .env("LVM_SYSTEM_DIR", self.directory.path())
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .env("DM_DISABLE_UDEV", "1")
            .env("LC_ALL", "C");
        command
    }

    /// Runs one of the tools and gives what it said.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, name: &str, arguments: &[&str]) -> String {
        tool::run(self.command(name).args(arguments))
    }

    /// Runs one of the tools, whatever comes of it.
    pub fn output(&self, name: &str, arguments: &[&str]) -> Output {
        tool::output(self.command(name).args(arguments))
    }

    /// What one of the tools has to complain of; nothing when it finds everything in order.
    pub fn complaints(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.output(name, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        let mut complaints: String = said
            .lines()
            .filter(|line| !line.contains(NO_DEVICE_MAPPER))
            .map(|line| format!("{}\n", line.trim()))
            .collect();
        if !output.status.success() {
            complaints.push_str(&format!("{name} ended with {}", output.status));
        }
        complaints
    }

    /// The metadata of a group as `vgcfgbackup` writes it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn backup(&self, group: &str) -> String {
        let file = self.directory.path().join("backup");
        let _ = fs::remove_file(&file);
        let shown = file.display().to_string();
        self.run("vgcfgbackup", &["--file", &shown, group]);
        fs::read_to_string(&file).expect("vgcfgbackup has written its file")
    }

    fn configure(&self) {
        let allowed: String = self
            .devices
            .iter()
            .map(|device| format!("\"a|^{}$|\", ", device.display()))
            .collect();
        let directory = self.directory.path();
        let text = CONFIGURATION
            .replace("DIRECTORY", &directory.display().to_string())
            .replace("FILTER", &allowed);
        fs::write(directory.join("lvm.conf"), text).expect("write the tools' configuration");
    }
}

impl Drop for LvmTools {
    fn drop(&mut self) {
        for device in &self.devices {
            let _ = tool::output(Command::new(&self.losetup).arg("--detach").arg(device));
        }
    }
}
