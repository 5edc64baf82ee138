//! The data of volumes and snapshots: files, served by istgt.
//!
//! istgt reads its targets when it starts; a SIGHUP does not make it find new ones (tried with Debian's 0.4~20111008-4+b1), so one istgt
//! for the whole group would have to be restarted, with everybody thrown out, at each change. Therefore each target has an istgt of its
//! own, on a port of its own, started when the first initiator is sent there by [`super::portal`] and killed when the volume goes
//! offline: the sessions of other volumes never notice, and a volume that nobody logs in to costs a file.
//!
//! Not as on the array: istgt answers each login a second late; a volume whose size changes loses its sessions, which come back by the
//! portal, where the array raises a unit attention; vendor, product and serial number are the array's, while the NAA name is istgt's own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::group::DataChange;
use super::size::PAGE;
use crate::iscsi_target::Keeper;
use crate::{port, process, tool};

/// How long an istgt may take to listen.
const START_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at whether it listens.
const PAUSE: Duration = Duration::from_millis(5);
/// How often other ports are tried: somebody may take one between the choice and the start.
const PORT_TRIES: usize = 5;
/// The state of an established connection in /proc/net/tcp. Source: proc_net_tcp.txt of Linux.
const ESTABLISHED: &str = "01";

/// Files and their servers.
pub struct DataPlane {
    directory: tempfile::TempDir,
    address: Ipv4Addr,
    servers: HashMap<Target, Server>,
}

/// What is served: the same data with another account, or for reading only, is another target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which data.
    pub id: u64,
    /// The target's name.
    pub iqn: String,
    /// Whether it may be written.
    pub writable: bool,
    /// User and password with which initiators prove who they are.
    pub chap: Option<(String, String)>,
}

struct Server {
    port: u16,
    /// The process of istgt.
    pid: u32,
    /// Who was sent there since nobody was connected.
    admitted: Vec<String>,
    _keeper: Keeper,
}

impl DataPlane {
    /// Without any data; istgts listen at this address.
    pub fn new(address: Ipv4Addr) -> Self {
        let directory = tempfile::Builder::new().prefix("xensm-eql-").tempdir();
        DataPlane {
            directory: directory.expect("a temporary directory"),
            address,
            servers: HashMap::new(),
        }
    }

    /// The file of some data.
    pub fn file(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("data-{id}"))
    }

    /// Does to the files what happened to the volumes.
    pub fn apply(&mut self, change: &DataChange) -> Result<()> {
        match change {
            DataChange::Create { id, bytes } => {
                let file = std::fs::File::create(self.file(*id))?;
                file.set_len(*bytes)?;
            }
            DataChange::Copy { from, to } => {
                self.disconnect(*to);
                self.copy(*from, *to)?;
            }
            DataChange::Resize { id, bytes } => {
                self.disconnect(*id);
                let file = std::fs::File::options().write(true).open(self.file(*id))?;
                file.set_len(*bytes)?;
            }
            DataChange::Disconnect { id } => self.disconnect(*id),
            DataChange::Remove { id } => {
                self.disconnect(*id);
                std::fs::remove_file(self.file(*id))?;
            }
        }
        Ok(())
    }

    /// Copies data as it is at one moment: its istgts stand still meanwhile.
    fn copy(&self, from: u64, to: u64) -> Result<()> {
        let servers = self.servers.iter().filter(|(target, _)| target.id == from);
        let frozen: Vec<u32> = servers.map(|(_, server)| server.pid).collect();
        for pid in &frozen {
            process::freeze(*pid);
        }
        let mut copy = Command::new("cp");
        copy.args(["--reflink=auto", "--sparse=always", "--"]);
        let done = tool::output(copy.arg(self.file(from)).arg(self.file(to)));
        for pid in &frozen {
            process::signal(*pid, "CONT");
        }
        if !done.status.success() {
            bail!("copy data: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// Pages of some data that were ever written.
    pub fn written_pages(&self, id: u64) -> u64 {
        let blocks = std::fs::metadata(self.file(id)).map_or(0, |about| about.blocks());
        (blocks * 512).div_ceil(PAGE)
    }

    /// How many initiators are connected to some data.
    pub fn connections(&self, id: u64) -> usize {
        let servers = self.servers.iter().filter(|(target, _)| target.id == id);
        servers.map(|(_, server)| self.connected(server.port)).sum()
    }

    /// Whether an initiator other than this one uses some data.
    pub fn is_used_by_another(&self, id: u64, initiator: &str) -> bool {
        self.servers.iter().any(|(target, server)| {
            target.id == id
                && server.admitted.iter().any(|one| one != initiator)
                && self.connected(server.port) > 0
        })
    }

    /// Ends all sessions with some data.
    pub fn disconnect(&mut self, id: u64) {
        self.servers.retain(|target, _| target.id != id);
    }

    /// Ends all sessions.
    pub fn disconnect_all(&mut self) {
        self.servers.clear();
    }

    /// Serves a target to an initiator; returns the port at the group's address.
    pub fn serve(&mut self, target: &Target, initiator: &str) -> Result<u16> {
        let free = self
            .servers
            .get(target)
            .is_some_and(|server| self.connected(server.port) == 0);
        if !self.servers.contains_key(target) {
            let server = self.start(target)?;
            self.servers.insert(target.clone(), server);
        }
        let server = self.servers.get_mut(target).context("it was started")?;
        if free {
            server.admitted.clear();
        }
        if !server.admitted.iter().any(|one| one == initiator) {
            server.admitted.push(initiator.to_owned());
        }
        Ok(server.port)
    }

    fn start(&self, target: &Target) -> Result<Server> {
        let istgt = tool::program("istgt").context("istgt is missing")?;
        let home = self.directory.path().join(format!(
            "istgt-{}-{}-{}",
            target.id,
            target.writable,
            target.chap.as_ref().map_or("", |chap| chap.0.as_str())
        ));
        std::fs::create_dir_all(&home)?;
        for _ in 0..PORT_TRIES {
            let (port, control) = (port::free(), port::free());
            self.configure(target, &home, port, control)?;
            // One of an earlier server would be another process by now.
            let _ = std::fs::remove_file(home.join("pid"));
            let mut command = Command::new(&istgt);
            command.arg("-D").arg("-c").arg(home.join("conf"));
            let keeper = Keeper::start(&command, &home.join("log"));
            let started = Instant::now();
            while started.elapsed() < START_WAIT / PORT_TRIES as u32 {
                let pid = std::fs::read_to_string(home.join("pid")).unwrap_or_default();
                if let Ok(pid) = pid.trim().parse()
                    && TcpStream::connect((self.address, port)).is_ok()
                {
                    return Ok(Server {
                        port,
                        pid,
                        admitted: Vec::new(),
                        _keeper: keeper,
                    });
                }
                std::thread::sleep(PAUSE);
            }
        }
        let log = std::fs::read_to_string(home.join("log")).unwrap_or_default();
        bail!("istgt does not start: {log}")
    }

    fn configure(&self, target: &Target, home: &Path, port: u16, control: u16) -> Result<()> {
        let (at, address) = (home.display(), self.address);
        let file = self.file(target.id);
        let (method, account) = match &target.chap {
            None => ("None", ("u", "p")),
            Some((user, password)) => ("CHAP", (user.as_str(), password.as_str())),
        };
        let read_only = if target.writable { "No" } else { "Yes" };
        let auth = format!("[AuthGroup1]\n  Auth \"{}\" \"{}\"\n", account.0, account.1);
        let configuration = format!(
            "[Global]\n  NodeBase \"iqn.2001-05.com.equallogic\"\n  PidFile {at}/pid\n  AuthFile {at}/auth\n  LogFacility \"local7\"\n  \
             Timeout 30\n  NopInInterval 20\n  DiscoveryAuthMethod Auto\n  MaxSessions 16\n  MaxConnections 4\n  \
             FirstBurstLength 262144\n  MaxBurstLength 1048576\n  MaxRecvDataSegmentLength 262144\n\
             [UnitControl]\n  AuthMethod Auto\n  Portal UC1 {address}:{control}\n  Netmask 127.0.0.1\n\
             [PortalGroup1]\n  Portal DA1 {address}:{port}\n\
             [InitiatorGroup1]\n  InitiatorName \"ALL\"\n  Netmask ALL\n\
             [LogicalUnit1]\n  TargetName {iqn}\n  Mapping PortalGroup1 InitiatorGroup1\n  AuthMethod {method}\n  \
             AuthGroup AuthGroup1\n  UseDigest Auto\n  UnitType Disk\n  UnitInquiry \"EQLOGIC\" \"100E-00\" \"9.1\"\n  \
             ReadOnly {read_only}\n  QueueDepth 0\n  LUN0 Storage {file} Auto\n  \
             LUN0 Option Serial \"{serial}\"\n",
            iqn = target.iqn,
            serial = scsi_name(&target.iqn).context("a target of ours")?,
            file = file.display(),
        );
        std::fs::write(home.join("auth"), auth)?;
        std::fs::write(home.join("conf"), configuration)?;
        Ok(())
    }

    /// Established connections at a port, as the kernel lists them.
    fn connected(&self, port: u16) -> usize {
        let place = format!(
            "{:08X}:{port:04X}",
            u32::from_ne_bytes(self.address.octets())
        );
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let lines = table.lines().map(|line| line.split_whitespace());
        lines
            .filter(|words| {
                let words: Vec<&str> = words.clone().skip(1).take(3).collect();
                matches!(words[..], [local, _, state] if local == place && state == ESTABLISHED)
            })
            .count()
    }
}

/// The NAA name that belongs to a target: the bytes of its parts, each part backwards. Source: `_lun_wwid` of libsan 0.5.10 (Red Hat),
/// which finds volumes by it.
fn scsi_name(iqn: &str) -> Option<String> {
    let mut parts = iqn.split_once("equallogic:")?.1.split('-');
    let (first, vendor) = (parts.next()?, parts.next()?);
    let (third, fourth) = (parts.next()?, parts.next()?);
    // Parts of an odd length get the first digit of the part before them.
    let third = format!("{third}{}", vendor.get(..1)?);
    let vendor = format!("{}{first}", vendor.get(1..)?);
    let backwards = |digits: &str| -> Option<String> {
        let pairs = (0..digits.len()).step_by(2).rev();
        pairs.map(|at| digits.get(at..at + 2)).collect()
    };
    let name = backwards(&vendor)? + &backwards(&third)? + &backwards(fourth)?;
    Some(name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pair was made by libsan from what the emulator had told it.
    #[test]
    fn names_follow_from_targets() {
        let iqn = "iqn.2001-05.com.equallogic:0-8a0906-19f91850d-0670000001004532-lun-1";
        let name = "6090A0D85018F9193245000100007006";
        assert_eq!(scsi_name(iqn).as_deref(), Some(name));
    }
}
