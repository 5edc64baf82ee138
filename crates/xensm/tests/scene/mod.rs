//! What the tests of SR types share: an installation with a flavor `gold`, its operator and its users.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::installation::Installation;
use testkit::nfs_server::NfsServer;
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");

/// Longest wait for anything; a server that is dead takes its deadline.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// An installation with a flavor `gold`.
pub struct Scene {
    /// Where it runs.
    pub installation: Installation,
}

impl Scene {
    pub fn new() -> Scene {
        let scene = Scene {
            installation: Installation::start(XENSM),
        };
        scene.sm(&["flavor_create", "gold", "Not all that glitters"]);
        scene
    }

    pub fn sm(&self, arguments: &[&str]) -> String {
        let all: Vec<&str> = [&["sm"], arguments].concat();
        tool::run(&mut self.installation.nova_manage(&all))
    }

    /// Adds a backend to `gold` and waits until it is connected.
    pub fn add(&self, sr_type: &str, parameters: &[&str]) -> serde_json::Value {
        self.add_to("gold", sr_type, parameters)
    }

    pub fn add_to(&self, flavor: &str, sr_type: &str, parameters: &[&str]) -> serde_json::Value {
        let format = ["--yes", "--format", "json"];
        let all = [&["backend_add", flavor, sr_type], parameters, &format].concat();
        let added: serde_json::Value = serde_json::from_str(&self.sm(&all)).unwrap();
        let id = added["id"].to_string();
        wait::until("the backend is connected", PATIENCE, || {
            let backend = self.backend(&id);
            (backend["state"] == "connected").then_some(backend)
        })
    }

    pub fn backend(&self, id: &str) -> serde_json::Value {
        let listed = self.sm(&["backend_list", id, "--format", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed[0].clone()
    }

    /// Runs a script of stock clients on the flavor; it says `ok` at its end.
    pub fn story(&self, name: &str, credentials: &str) {
        self.story_of(name, credentials, &[]);
    }

    pub fn story_of(&self, name: &str, credentials: &str, arguments: &[&str]) {
        let Some(python) = tool::python_client("python") else {
            return;
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/clients")
            .join(name);
        let mut command = self.installation.client(&python, credentials);
        command
            .env(
                "OS_CLIENT_CONFIG_FILE",
                self.installation.data_dir.join("clouds.yaml"),
            )
            .env("XENSM_DATA_DIR", &self.installation.data_dir)
            .env("XENSM_VOLUME_TYPE", "gold");
        let said = tool::run(command.arg(path).arg(XENSM).args(arguments));
        assert!(said.ends_with("ok\n"), "{said}");
    }

    pub fn openstack(&self, program: &Path, line: &str) -> Command {
        let mut command = self.installation.client(program, "openrc.sh");
        command.args(line.split(' '));
        command
    }

    /// Makes a volume and waits until it is there.
    pub fn volume(&self, program: &Path, name: &str) {
        let create = format!("volume create --type gold --size 1 {name}");
        tool::run(&mut self.openstack(program, &create));
        wait::until(&format!("{name} is available"), PATIENCE, || {
            let show = format!("volume show {name}");
            let shown = tool::run(&mut self.openstack(program, &show));
            assert!(!shown.contains("| error "), "{shown}");
            shown.contains("available").then_some(())
        });
    }

    /// Looks into a volume, or writes to it.
    pub fn io(&self, volume: &str, command: &str) {
        let uri = tool::run(&mut self.installation.xensm(&["attach", volume]));
        let mut qemu_io = Command::new("qemu-io");
        qemu_io.args(["-f", "raw", uri.trim(), "-c", command, "-c", "flush"]);
        let said = tool::run(&mut qemu_io);
        assert!(
            !said.contains("failed") && !said.contains("different"),
            "{said}"
        );
        tool::run(&mut self.installation.xensm(&["detach", volume]));
    }
}

/// What the specification has, with the options of a server that is not on its usual ports, and others.
pub fn nfs_parameters(server: &NfsServer, more_options: &str) -> [String; 4] {
    [
        "name_label=toybox-renuka".to_owned(),
        "server=127.0.0.1".to_owned(),
        format!("serverpath={}", server.path),
        format!("options={}{more_options}", server.options()),
    ]
}

/// Parameters as a command takes them.
pub fn texts(parameters: &[String]) -> Vec<&str> {
    parameters.iter().map(String::as_str).collect()
}

/// How many VHDs lie below a directory.
pub fn images(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .map(|path| match path.is_dir() {
            true => images(&path),
            false => usize::from(path.extension().is_some_and(|ending| ending == "vhd")),
        })
        .sum()
}
