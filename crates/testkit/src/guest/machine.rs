//! Making and running the virtual machine.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::archive::Archive;
use super::modules::Modules;
use super::programs::{add_libraries, stripped, with_libraries};
use crate::tool;

/// Memory of the machine, where it is not asked for more.
const MEMORY_MIB: u32 = 512;
/// What every guest loads: its network.
const NETWORK: [&str; 2] = ["virtio_pci", "virtio_net"];
/// What the guest prints, with the status, when its script has ended.
const ENDED: &str = "guest: the script ended with ";
/// The guest's address of this machine's loopback.
const HOST: &str = "10.0.2.2";

/// The first program of the guest. It loads the modules, configures the network and runs the script. The kernel of a machine that is
/// slow may complain in the middle of a line of the console: it says the worst only, and the end is told more than once.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /mnt /etc
/bin/busybox --install -s /bin
export PATH=/bin LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/mounts /etc/mtab
for module in /modules/*; do
    options=$(cat "/options/${module##*-}" 2>/dev/null)
    insmod "$module" $options || echo "guest: could not load $module"
done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
dmesg -n 3
sh -e /script
status=$?
for again in 1 2 3; do echo "guest: the script ended with $status"; done
sync
reboot -f
"#;

/// A virtual machine to be.
pub struct Guest {
    qemu: PathBuf,
    packages: PathBuf,
    kernel: PathBuf,
    modules: Vec<String>,
    options: Vec<(String, String)>,
    programs: Vec<String>,
    own_programs: Vec<(String, PathBuf)>,
    memory_mib: u32,
    arguments: Vec<OsString>,
}

/// What a guest said, and how its script ended.
#[derive(Debug)]
pub struct GuestOutput {
    /// All lines of its console.
    pub text: String,
    /// The script's status; none when it did not come to its end.
    pub status: Option<i32>,
}

impl Guest {
    /// A guest with a shell and a network; `None` after a printed line when it cannot be made here.
    ///
    /// # Panics
    /// When it cannot be made and `CI` is set.
    pub fn new() -> Option<Self> {
        let qemu = tool::program("qemu-system-x86_64")?;
        let packages = tool::guest_packages()?;
        let boot = fs::read_dir(packages.join("boot")).ok()?;
        let mut kernels: Vec<PathBuf> = boot
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains("vmlinuz-"))
            .collect();
        kernels.sort();
        Some(Guest {
            qemu,
            packages,
            kernel: kernels.pop()?,
            modules: NETWORK.map(str::to_owned).to_vec(),
            options: Vec::new(),
            programs: vec!["busybox".to_owned()],
            own_programs: Vec::new(),
            memory_mib: MEMORY_MIB,
            arguments: Vec::new(),
        })
    }

    /// Loads a module of the kernel, with those that it needs; one that is built in is no error.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Loads a module with options, as `insmod` takes them.
    #[must_use]
    pub fn module_with(mut self, name: &str, options: &str) -> Self {
        self.options
            .push((name.replace('-', "_"), options.to_owned()));
        self.module(name)
    }

    /// Brings a program of the guest's packages or of this machine; busybox is there without.
    #[must_use]
    pub fn program(mut self, name: &str) -> Self {
        self.programs.push(name.to_owned());
        self
    }

    /// Brings a program that was built here, without its symbols, as `/bin/<name>`.
    #[must_use]
    pub fn own_program(mut self, name: &str, path: &Path) -> Self {
        self.own_programs.push((name.to_owned(), path.to_owned()));
        self
    }

    /// Brings the test program that is running, as `/bin/tests`: the script runs a test of it that is marked `#[ignore]`, since
    /// it makes sense in the guest only, by `tests --ignored --exact <name> --nocapture`.
    ///
    /// # Panics
    /// When the program's own path is not known.
    #[must_use]
    pub fn this_test_program(self) -> Self {
        let path = std::env::current_exe().expect("the path of this program");
        self.own_program("tests", &path)
    }

    /// Gives the machine another amount of memory; its files are in it too.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Adds arguments of qemu, such as further devices.
    #[must_use]
    pub fn arguments<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Boots the machine and runs a shell script in it, which ends at its first failing command. Servers on this machine's
    /// loopback are at `$HOST` inside. `seen` is told each line of the console as it comes.
    ///
    /// # Panics
    /// When qemu cannot be started. A machine that is not done within `limit` is ended, and its output has no status.
    pub fn run(&self, script: &str, limit: Duration, mut seen: impl FnMut(&str)) -> GuestOutput {
        let directory = tempfile::Builder::new()
            .prefix("guest-")
            .tempdir()
            .expect("a temporary directory");
        let initrd = directory.path().join("initrd");
        fs::write(&initrd, self.archive(script)).expect("write the guest's files");
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", &limit.as_secs().to_string()])
            .arg(&self.qemu)
            .args(["-accel", "tcg", "-cpu", "max", "-machine", "q35"])
            .args([
                "-m",
                &self.memory_mib.to_string(),
                "-nodefaults",
                "-nographic",
            ])
            .args(["-no-reboot", "-serial", "stdio", "-netdev", "user,id=n0"])
            .args(["-device", "virtio-net-pci,netdev=n0,romfile="])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", "console=ttyS0 panic=-1 quiet mitigations=off"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut machine = command
            .spawn()
            .unwrap_or_else(|cause| panic!("start {command:?}: {cause}"));
        let console = machine.stdout.take().expect("stdout is piped");
        let mut output = GuestOutput {
            text: String::new(),
            status: None,
        };
        let mut console = BufReader::new(console);
        let mut bytes = Vec::new();
        while console
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|read| read > 0)
        {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if let Some((_, status)) = line.split_once(ENDED) {
                output.status = output.status.or(status.parse().ok());
            }
            seen(&line);
            output.text.push_str(&line);
            output.text.push('\n');
        }
        machine.wait().expect("qemu was started");
        output
    }

    fn archive(&self, script: &str) -> Vec<u8> {
        let mut archive = Archive::default();
        for directory in ["bin", "lib", "lib64", "modules", "options"] {
            archive.directory(directory);
        }
        let mut files = with_libraries(&self.packages, &self.programs);
        for (_, program) in &self.own_programs {
            add_libraries(&self.packages, program, &mut files);
        }
        for (place, file) in files {
            archive.file(&place, &read(&file));
        }
        for (name, program) in &self.own_programs {
            archive.file(&format!("bin/{name}"), &stripped(program));
        }
        let version = self.kernel.file_name().expect("a kernel is a file");
        let version = version.to_string_lossy().replace("vmlinuz-", "");
        let modules = Modules::of(&self.packages.join("lib/modules").join(version));
        let order = modules.load_order(&self.modules);
        for (number, path) in order.iter().enumerate() {
            let name = path.file_stem().expect("a module is a file");
            let name = name.to_string_lossy().replace('-', "_");
            archive.file(&format!("modules/{number:03}-{name}"), &read(path));
        }
        for (name, options) in &self.options {
            archive.file(&format!("options/{name}"), options.as_bytes());
        }
        archive.file("init", INIT.as_bytes());
        archive.file("script", format!("HOST={HOST}\n{script}").as_bytes());
        archive.finish()
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|cause| panic!("read {}: {cause}", path.display()))
}
