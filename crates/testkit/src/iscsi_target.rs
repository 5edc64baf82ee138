//! iSCSI targets in user space: tgt, with as many LUNs, portals and accounts as a test wants, which can be killed and started again;
//! and istgt, which serves LUN 0.
//!
//! Each listens on 127.0.0.1 on ports of its own and lives no longer than the test process, or `LONGEST_LIFE`.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{port, tool};

/// After this a server ends by itself, whatever became of the test.
const LONGEST_LIFE: Duration = Duration::from_secs(600);
/// How long a server may take to listen on a machine that is busy.
const START_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(10);
/// How often other ports are tried: another test may take one between the choice and the start.
const PORT_TRIES: usize = 5;

/// Starts the server, then waits for the end of its input and kills it: whatever way the test process ends, its pipe closes.
/// Arguments: seconds to live, log, program and its arguments.
const KEEPER: &str = r#"
life=$1; log=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null &
server=$!
timeout "$life" cat >/dev/null
kill -KILL $server 2>/dev/null
wait $server 2>/dev/null
"#;

/// A running tgt.
pub struct Tgt {
    directory: tempfile::TempDir,
    tgtd: PathBuf,
    tgtadm: PathBuf,
    port: u16,
    server: Option<Keeper>,
    /// What was configured, to be said again after a restart.
    said: Vec<Vec<String>>,
}

/// What a LUN tells initiators of itself.
#[derive(Debug, Clone)]
pub struct LunIdentity {
    /// Up to 8 characters.
    pub vendor: String,
    /// Up to 16 characters.
    pub product: String,
    /// Up to 4 characters; tgt's own if empty.
    pub revision: String,
    /// The unit serial number.
    pub serial: String,
    /// The text of the T10 designator.
    pub id: String,
}

/// A server that is killed when this is dropped.
pub(crate) struct Keeper {
    process: Child,
    input: Option<ChildStdin>,
}

impl Tgt {
    /// Starts tgt; none, with a printed line, when it is not installed and `CI` is not set.
    ///
    /// # Panics
    /// When it is installed and does not start, or is missing while `CI` is set.
    pub fn start() -> Option<Self> {
        let (tgtd, tgtadm) = (tool::program("tgtd")?, tool::program("tgtadm")?);
        let directory = tempfile::Builder::new().prefix("xensm-tgt-").tempdir();
        let mut tgt = Tgt {
            directory: directory.expect("a temporary directory"),
            tgtd,
            tgtadm,
            port: 0,
            server: None,
            said: Vec::new(),
        };
        for _ in 0..PORT_TRIES {
            tgt.port = port::free();
            if tgt.run() {
                return Some(tgt);
            }
        }
        panic!("tgtd does not start: {}", tgt.log());
    }

    /// Where it listens.
    pub fn portal(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port of [`Tgt::portal`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A directory for backing files, gone with the server.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a target that every initiator may use.
    pub fn add_target(&mut self, tid: u32, name: &str) {
        let tid = tid.to_string();
        self.say(&["--op", "new", "--mode", "target", "--tid", &tid, "-T", name]);
        self.say(&[
            "--op", "bind", "--mode", "target", "--tid", &tid, "-I", "ALL",
        ]);
    }

    /// Makes a LUN of a new sparse file of `size` bytes; LUN 0 is taken by a controller. Returns the file.
    pub fn add_lun(&mut self, tid: u32, lun: u16, size: u64) -> PathBuf {
        let file = self.directory().join(format!("lun-{tid}-{lun}"));
        let backing = std::fs::File::create(&file).expect("a backing file");
        backing.set_len(size).expect("a sparse file");
        self.add_lun_of(tid, lun, &file);
        file
    }

    /// Makes a LUN of a file. Its serial number and id say which file it is, so that several targets show one device.
    pub fn add_lun_of(&mut self, tid: u32, lun: u16, file: &Path) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let identity = LunIdentity {
            vendor: "XENSM".to_owned(),
            product: "TEST DISK".to_owned(),
            revision: String::new(),
            serial: format!("sn-{name}"),
            id: format!("id-{name}"),
        };
        self.add_lun_as(tid, lun, file, &identity);
    }

    /// Makes a LUN of a file, which tells initiators what it is.
    pub fn add_lun_as(&mut self, tid: u32, lun: u16, file: &Path, identity: &LunIdentity) {
        let (tid, lun, path) = (tid.to_string(), lun.to_string(), file.display().to_string());
        self.say_of_lun("new", &tid, &lun, &["-b", &path]);
        let mut parameters = format!(
            "vendor_id={},product_id={},scsi_sn={},scsi_id={}",
            identity.vendor, identity.product, identity.serial, identity.id
        );
        if !identity.revision.is_empty() {
            parameters.push_str(&format!(",product_rev={}", identity.revision));
        }
        self.say_of_lun("update", &tid, &lun, &["--params", &parameters]);
    }

    /// Has a LUN use its file anew, which has another size now.
    pub fn reopen_lun(&mut self, tid: u32, lun: u16, file: &Path) {
        let (tid, lun) = (tid.to_string(), lun.to_string());
        for parameter in ["online=0", &format!("path={}", file.display()), "online=1"] {
            self.say_of_lun("update", &tid, &lun, &["--params", parameter]);
        }
    }

    /// Takes a LUN away.
    pub fn remove_lun(&mut self, tid: u32, lun: u16) {
        self.say_of_lun("delete", &tid.to_string(), &lun.to_string(), &[]);
    }

    fn say_of_lun(&mut self, operation: &str, tid: &str, lun: &str, more: &[&str]) {
        let mut words = vec![
            "--op",
            operation,
            "--mode",
            "logicalunit",
            "--tid",
            tid,
            "--lun",
            lun,
        ];
        words.extend_from_slice(more);
        self.say(&words);
    }

    /// Has the initiators of a target prove who they are.
    pub fn require_chap(&mut self, tid: u32, user: &str, password: &str) {
        self.add_account(user, password);
        self.bind_account(tid, user, false);
    }

    /// Lets a target prove who it is.
    pub fn offer_chap(&mut self, tid: u32, user: &str, password: &str) {
        self.add_account(user, password);
        self.bind_account(tid, user, true);
    }

    /// Makes an account, for no target yet.
    pub fn add_account(&mut self, user: &str, password: &str) {
        self.say_of_account("new", &["--user", user, "--password", password]);
    }

    /// Deletes an account; no target uses it any more.
    pub fn remove_account(&mut self, user: &str) {
        self.say_of_account("delete", &["--user", user]);
    }

    /// Has a target use an account: for its initiators, or for itself if it is `outgoing`.
    pub fn bind_account(&mut self, tid: u32, user: &str, outgoing: bool) {
        self.say_of_bound_account("bind", tid, user, outgoing);
    }

    /// Has a target not use an account any more.
    pub fn unbind_account(&mut self, tid: u32, user: &str, outgoing: bool) {
        self.say_of_bound_account("unbind", tid, user, outgoing);
    }

    fn say_of_bound_account(&mut self, operation: &str, tid: u32, user: &str, outgoing: bool) {
        let tid = tid.to_string();
        let mut words = vec!["--tid", &tid, "--user", user];
        if outgoing {
            words.push("--outgoing");
        }
        self.say_of_account(operation, &words);
    }

    fn say_of_account(&mut self, operation: &str, more: &[&str]) {
        let mut words = vec!["--op", operation, "--mode", "account"];
        words.extend_from_slice(more);
        self.say(&words);
    }

    /// Listens on one more port, which is returned.
    pub fn add_portal(&mut self) -> u16 {
        let port = port::free();
        let portal = format!("portal=127.0.0.1:{port}");
        self.say(&["--op", "new", "--mode", "portal", "--param", &portal]);
        port
    }

    /// Stops listening on a port that [`Tgt::add_portal`] returned. Sessions stay.
    pub fn remove_portal(&mut self, port: u16) {
        let portal = format!("portal=127.0.0.1:{port}");
        self.say(&["--op", "delete", "--mode", "portal", "--param", &portal]);
    }

    /// Kills the server, as a power cut would.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts a killed server again, with everything as it was.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "tgtd does not start again: {}", self.log());
        // Nobody is let in before everything is there: an initiator that comes at once would not find its LUNs.
        let (last, first): (Vec<_>, Vec<_>) = self
            .said
            .iter()
            .partition(|words| words.iter().any(|word| word == "-I"));
        for words in first.into_iter().chain(last) {
            self.tell(words);
        }
    }

    fn run(&mut self) -> bool {
        // Neither the socket nor the complaints of an earlier start are those of this one.
        for left in ["ipc.0", "log"] {
            let _ = std::fs::remove_file(self.directory().join(left));
        }
        let mut command = Command::new(&self.tgtd);
        let portal = format!("portal={},nop_interval=0", self.portal());
        command.args(["-f", "-C", "0", "--iscsi", &portal]);
        command.env("TGT_IPC_SOCKET", self.directory().join("ipc"));
        self.server = Some(Keeper::start(&command, &self.directory().join("log")));
        let started = Instant::now();
        while started.elapsed() < START_WAIT {
            let shown = tool::output(self.administer().args(["--op", "show", "--mode", "target"]));
            if shown.status.success() {
                return std::net::TcpStream::connect(self.portal()).is_ok();
            }
            if self.log().contains("failed to create/bind") {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.kill();
        false
    }

    fn say(&mut self, words: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        self.tell(&words);
        self.said.push(words);
    }

    fn tell(&self, words: &[String]) {
        tool::run(self.administer().args(words));
    }

    fn administer(&self) -> Command {
        let mut command = Command::new(&self.tgtadm);
        command.args(["-C", "0", "--lld", "iscsi"]);
        command.env("TGT_IPC_SOCKET", self.directory().join("ipc"));
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }
}

impl Keeper {
    pub(crate) fn start(server: &Command, log: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]);
        command.arg(LONGEST_LIFE.as_secs().to_string()).arg(log);
        command.arg(server.get_program()).args(server.get_args());
        for (name, value) in server.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::null()).spawn().expect("start sh");
        let input = process.stdin.take();
        Keeper { process, input }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The keeper kills its server when its input ends.
        self.input = None;
        let _ = self.process.wait();
    }
}

/// A running istgt with one target, whose LUN 0 is a disk.
pub struct Istgt {
    directory: tempfile::TempDir,
    port: u16,
    _server: Keeper,
}

impl Istgt {
    /// The target's name.
    pub const TARGET: &'static str = "iqn.2026-11.istgt:disk";

    /// Starts istgt with a disk of `megabytes`; with credentials, initiators must prove who they are (user and password), and the
    /// target can (the second pair).
    ///
    /// # Panics
    /// As [`Tgt::start`].
    pub fn start(megabytes: u32, chap: Option<[&str; 4]>) -> Option<Self> {
        let istgt = tool::program("istgt")?;
        let directory = tempfile::Builder::new().prefix("xensm-istgt-").tempdir();
        let directory = directory.expect("a temporary directory");
        for _ in 0..PORT_TRIES {
            let port = port::free();
            let server = Self::run(&istgt, directory.path(), port, megabytes, chap);
            let started = Instant::now();
            while started.elapsed() < START_WAIT / 4 {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Istgt {
                        directory,
                        port,
                        _server: server,
                    });
                }
                std::thread::sleep(PAUSE);
            }
        }
        let log = std::fs::read_to_string(directory.path().join("log"));
        panic!("istgt does not start: {}", log.unwrap_or_default());
    }

    fn run(
        istgt: &Path,
        directory: &Path,
        port: u16,
        megabytes: u32,
        chap: Option<[&str; 4]>,
    ) -> Keeper {
        let at = directory.display();
        let [user, password, target_user, target_password] = chap.unwrap_or(["u", "p", "", ""]);
        let second = if target_user.is_empty() {
            String::new()
        } else {
            format!(" \"{target_user}\" \"{target_password}\"")
        };
        let method = match (chap, target_user) {
            (None, _) => "None",
            (Some(_), "") => "CHAP",
            _ => "CHAP Mutual",
        };
        let authentication = format!("[AuthGroup1]\n  Auth \"{user}\" \"{password}\"{second}\n");
        let control = port::free();
        let (name, target) = Self::TARGET.split_once(':').expect("a name with a colon");
        let configuration = format!(
            "[Global]\n  NodeBase \"{name}\"\n  PidFile {at}/pid\n  AuthFile {at}/auth\n  LogFacility \"local7\"\n  Timeout 30\n  \
             NopInInterval 20\n  DiscoveryAuthMethod Auto\n  MaxSessions 16\n  MaxConnections 4\n  FirstBurstLength 262144\n  \
             MaxBurstLength 1048576\n  MaxRecvDataSegmentLength 262144\n\
             [UnitControl]\n  AuthMethod Auto\n  Portal UC1 127.0.0.1:{control}\n  Netmask 127.0.0.1\n\
             [PortalGroup1]\n  Portal DA1 127.0.0.1:{port}\n\
             [InitiatorGroup1]\n  InitiatorName \"ALL\"\n  Netmask ALL\n\
             [LogicalUnit1]\n  TargetName {target}\n  Mapping PortalGroup1 InitiatorGroup1\n  AuthMethod {method}\n  \
             AuthGroup AuthGroup1\n  UseDigest Auto\n  UnitType Disk\n  QueueDepth 0\n  LUN0 Storage {at}/disk {megabytes}MB\n"
        );
        let disk = std::fs::File::create(directory.join("disk")).expect("a backing file");
        disk.set_len(u64::from(megabytes) << 20)
            .expect("a sparse file");
        std::fs::write(directory.join("auth"), authentication).expect("write the accounts");
        std::fs::write(directory.join("conf"), configuration).expect("write the configuration");
        let mut command = Command::new(istgt);
        command.arg("-D").arg("-c").arg(directory.join("conf"));
        Keeper::start(&command, &directory.join("log"))
    }

    /// Where it listens.
    pub fn portal(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file behind LUN 0.
    pub fn disk(&self) -> PathBuf {
        self.directory.path().join("disk")
    }
}
