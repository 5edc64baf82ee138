//! An NFS server (nfs-ganesha, versions 3 and 4, in user space) that exports a directory on ports of its own.
//!
//! Several run at once. No port mapper is needed: a small library tells the server that it is registered with one.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::{port, process, tool, wait};

/// How long it may take to serve on a machine that is busy.
const READY: Duration = Duration::from_secs(120);

/// How often other ports are tried when somebody else took them first.
const ATTEMPTS: usize = 5;

/// What the server asks of a port mapper.
const PORT_MAPPER: &str = "int rpcb_set(void){return 1;} int rpcb_unset(void){return 1;}\n";

/// Starts the server, says its number, and kills it when the input ends: whatever way the test process ends, its pipe closes.
/// Arguments: the program, the preloaded library, the directory of the configuration.
const KEEPER: &str = r#"
LD_PRELOAD="$2" "$1" -F -L "$3/log" -f "$3/conf" -p "$3/pid" >"$3/out" 2>&1 </dev/null &
server=$!
echo $server
cat >/dev/null || true
kill -KILL $server 2>/dev/null || true
wait $server || true
"#;

/// How the server lets clients in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportAccess {
    /// They read and write.
    ReadWrite,
    /// They only read.
    ReadOnly,
}

/// A server, running or stopped.
pub struct NfsServer {
    /// The port of NFS.
    pub port: u16,
    /// The port of the mount service.
    pub mount_port: u16,
    /// The path that clients mount.
    pub path: String,
    exported: PathBuf,
    access: ExportAccess,
    directory: tempfile::TempDir,
    program: PathBuf,
    library: PathBuf,
    running: Option<Running>,
}

struct Running {
    pid: u32,
    keeper: Child,
    _input: ChildStdin,
}

impl NfsServer {
    /// Exports a directory as `/sr`; `None` after a printed line when the server is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start, or missing while `CI` is set.
    pub fn start(exported: &Path) -> Option<Self> {
        Self::start_with(exported, ExportAccess::ReadWrite)
    }

    /// As [`NfsServer::start`], with rules.
    ///
    /// # Panics
    /// As [`NfsServer::start`].
    pub fn start_with(exported: &Path, access: ExportAccess) -> Option<Self> {
        let program = tool::program("ganesha.nfsd")?;
        let directory = tempfile::Builder::new()
            .prefix("xensm-nfs-")
            .tempdir()
            .expect("a temporary directory");
        let library = directory.path().join("port_mapper.so");
        let source = directory.path().join("port_mapper.c");
        std::fs::write(&source, PORT_MAPPER).expect("the library's source is written");
        tool::run(
            Command::new("cc")
                .args(["-shared", "-fPIC", "-o"])
                .arg(&library)
                .arg(&source),
        );
        let mut server = NfsServer {
            port: 0,
            mount_port: 0,
            path: "/sr".to_owned(),
            exported: exported.to_owned(),
            access,
            directory,
            program,
            library,
            running: None,
        };
        for attempt in 1..=ATTEMPTS {
            (server.port, server.mount_port) = (port::free(), port::free());
            server.write_configuration();
            match server.try_run() {
                Ok(()) => return Some(server),
                Err(log) if attempt == ATTEMPTS => panic!("nfs-ganesha does not start:\n{log}"),
                Err(_) => server.kill(),
            }
        }
        unreachable!("the last attempt panics");
    }

    /// The `options` of a PBD for it.
    pub fn options(&self) -> String {
        format!("port={},mountport={}", self.port, self.mount_port)
    }

    /// A URL for libnfs' tools.
    pub fn url(&self, file: &str) -> String {
        format!(
            "nfs://127.0.0.1{}/{file}?nfsport={}&mountport={}&version=3",
            self.path, self.port, self.mount_port
        )
    }

    /// Its number, while it runs.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid
    }

    /// Ends it without a chance to do anything.
    pub fn kill(&mut self) {
        if let Some(Running {
            pid,
            mut keeper,
            _input,
        }) = self.running.take()
        {
            process::signal(pid, "KILL");
            drop(_input);
            let _ = keeper.wait();
        }
    }

    /// Has it do nothing until [`NfsServer::resume`]: its connections stay. It answers nothing after this returned.
    pub fn freeze(&self) {
        process::freeze(self.pid());
    }

    /// Has it go on.
    pub fn resume(&self) {
        process::signal(self.pid(), "CONT");
    }

    /// Starts it again on the same ports, with another write verifier.
    ///
    /// # Panics
    /// When it runs, or does not start.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        self.wait_for_another_second();
        if let Err(log) = self.try_run() {
            panic!("nfs-ganesha does not start again:\n{log}");
        }
    }

    /// Changes the rules from its next start on.
    pub fn set_access(&mut self, access: ExportAccess) {
        self.access = access;
        self.write_configuration();
    }

    /// The server makes its verifier of the second in which it starts.
    fn wait_for_another_second(&self) {
        let second = || {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        };
        let now = second();
        wait::until("the next second", READY, || (second() > now).then_some(()));
    }

    fn write_configuration(&self) {
        let root = self.directory.path().display();
        let access = match self.access {
            ExportAccess::ReadWrite => "RW",
            ExportAccess::ReadOnly => "RO",
        };
        let text = format!(
            "NFS_CORE_PARAM {{ NFS_Port={}; MNT_Port={}; Bind_addr=127.0.0.1; Protocols=3,4; Enable_NLM=false;\n\
             Enable_RQUOTA=false; Enable_UDP=false; mount_path_pseudo=true; }}\n\
             NFSv4 {{ Graceless=true; RecoveryBackend=fs; RecoveryRoot={root}; }}\n\
             EXPORT {{ Export_Id=1; Path={}; Pseudo={}; Access_Type={access}; Squash=No_Root_Squash;\n\
             SecType=sys; FSAL {{ Name=VFS; }} }}\n\
             LOG {{ Default_Log_Level=EVENT; }}\n",
            self.port,
            self.mount_port,
            self.exported.display(),
            self.path,
        );
        std::fs::write(self.directory.path().join("conf"), text)
            .expect("the configuration is written");
    }

    /// Starts the process and waits until it serves; its log when it does not.
    fn try_run(&mut self) -> Result<(), String> {
        let log = self.directory.path().join("log");
        std::fs::File::create(&log).expect("the log is emptied");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args([&self.program, &self.library])
            .arg(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let mut input = keeper.stdin.take().expect("its input is piped");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("its output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it says the number of the server");
        input.flush().expect("a pipe");
        let pid = line.trim().parse().expect("a number of a process");
        self.running = Some(Running {
            pid,
            keeper,
            _input: input,
        });
        let process = PathBuf::from(format!("/proc/{pid}/exe"));
        let served = wait::until("nfs-ganesha serves", READY, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("NFS SERVER INITIALIZED") {
                return [self.port, self.mount_port]
                    .iter()
                    .all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok())
                    .then_some(true);
            }
            (!process.exists()).then_some(false)
        });
        if served {
            return Ok(());
        }
        Err(std::fs::read_to_string(&log).unwrap_or_default())
    }
}

impl Drop for NfsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
