//! A running `xensm`, in a directory of its own, on ports of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::wait;

/// How long it may take to be ready, on a machine that is busy with other tests.
const READY: Duration = Duration::from_secs(180);
/// The end of what it says when it is ready.
const LAST_LINE: &str = "Ctrl-C stops it.";
/// Names of examples, which must not be found wherever the tests run: the names of the top-level domain `invalid` never are.
const HOST_ALIASES: &str = "myserver myserver.invalid\n";
/// How long a clean stop may take.
const STOPPED: Duration = Duration::from_secs(90);

/// An installation: a data directory and the process that serves from it.
pub struct Installation {
    /// The directory that holds the data directory, and room for SRs.
    pub root: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    binary: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
    output: Arc<Mutex<String>>,
    _directory: tempfile::TempDir,
}

impl Installation {
    /// Starts `xensm serve` in a new directory and waits until it is ready.
    pub fn start(binary: &str) -> Self {
        Self::start_with(binary, "serve", &[])
    }

    /// Starts a subcommand with further arguments in a new directory and waits until it is ready.
    pub fn start_with(binary: &str, subcommand: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("xensm-e2e-")
            .tempdir()
            .expect("a temporary directory");
        let root = directory.path().to_owned();
        let mut all = vec![subcommand.to_owned()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let mut installation = Installation {
            data_dir: root.join("data"),
            root,
            binary: binary.into(),
            arguments: all,
            process: None,
            output: Arc::default(),
            _directory: directory,
        };
        installation.restart();
        installation
    }

    /// Starts the process again on the same data.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.output.lock().expect("no reader panics").clear();
        let aliases = self.root.join("host-aliases");
        std::fs::write(&aliases, HOST_ALIASES).expect("write the aliases of hosts");
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .env("XENSM_DATA_DIR", &self.data_dir)
            .env("HOSTALIASES", &aliases)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for listener in ["VOLUME", "IDENTITY", "EC2", "XENAPI"] {
            command.env(format!("XENSM_LISTEN_{listener}"), "127.0.0.1:0");
        }
        let mut process = command.spawn().expect("xensm starts");
        let readers: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(process.stdout.take().expect("stdout is piped")),
            Box::new(process.stderr.take().expect("stderr is piped")),
        ];
        for reader in readers {
            let output = Arc::clone(&self.output);
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    let mut output = output.lock().expect("no reader panics");
                    output.push_str(&line);
                    output.push('\n');
                }
            });
        }
        self.process = Some(process);
        wait::until("xensm is ready", READY, || {
            let process = self.process.as_mut().expect("it was started");
            if let Some(status) = process.try_wait().expect("the process can be asked") {
                panic!("xensm ended with {status}:\n{}", self.log());
            }
            self.log().contains(LAST_LINE).then_some(())
        });
    }

    /// What it has printed and logged since its start.
    pub fn log(&self) -> String {
        self.output.lock().expect("no reader panics").clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Ends it as a power cut would end the process: without a chance to do anything.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks it to stop and waits for a clean end.
    ///
    /// # Panics
    /// When it does not end in time or not cleanly.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let pid = process.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(
            asked.is_ok_and(|status| status.success()),
            "SIGTERM is sent"
        );
        let status = wait::until("xensm stops", STOPPED, || {
            process.try_wait().expect("the process can be asked")
        });
        assert!(
            status.success(),
            "xensm ended with {status}:\n{}",
            self.log()
        );
    }

    /// A command of this program on this installation.
    pub fn xensm(&self, arguments: &[&str]) -> Command {
        self.own_program("xensm", arguments)
    }

    /// `nova-manage` on this installation.
    pub fn nova_manage(&self, arguments: &[&str]) -> Command {
        self.own_program("nova-manage", arguments)
    }

    fn own_program(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binary.with_file_name(name));
        command
            .env("XENSM_DATA_DIR", &self.data_dir)
            .args(arguments);
        command
    }

    /// Somebody else's program, with the variables of one of the credential files.
    pub fn client(&self, program: &Path, credentials: &str) -> Command {
        let mut command = Command::new(program);
        command
            .envs(self.variables(credentials))
            .env("HOME", &self.root);
        command
    }

    /// The variables that a credential file exports.
    pub fn variables(&self, credentials: &str) -> BTreeMap<String, String> {
        let path = self.data_dir.join(credentials);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|cause| panic!("read {}: {cause}", path.display()));
        let lines = text.lines().filter_map(|line| line.strip_prefix("export "));
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.kill();
    }
}
