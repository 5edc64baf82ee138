//! Processes of this machine, as owner records name them.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// A process, told from every other of this boot of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// The kernel's id of this boot.
    boot: String,
    /// The namespace in which `pid` counts: containers of one machine have their own.
    namespace: u64,
    pid: u32,
    /// When it was started, in ticks since the boot: a pid is given again.
    started: u64,
}

impl ProcessId {
    /// This process; none where the system does not tell.
    pub fn current() -> Option<Self> {
        static CURRENT: OnceLock<Option<ProcessId>> = OnceLock::new();
        let find = || {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            let pid = std::process::id();
            Some(ProcessId {
                boot: boot.trim().to_owned(),
                namespace: std::fs::metadata("/proc/self/ns/pid").ok()?.ino(),
                pid,
                started: started(pid)?,
            })
        };
        CURRENT.get_or_init(find).clone()
    }

    /// True when the process is known to have ended: it was one of this boot and namespace, and is no more.
    pub fn is_dead(&self) -> bool {
        let Some(current) = Self::current() else {
            return false;
        };
        let is_comparable = current.boot == self.boot && current.namespace == self.namespace;
        is_comparable && started(self.pid) != Some(self.started)
    }

    /// Reads what is written of it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let mut next = || parts.next();
        let process = ProcessId {
            boot: next()?.to_owned(),
            namespace: next()?.parse().ok()?,
            pid: next()?.parse().ok()?,
            started: next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(process)
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProcessId {
            boot,
            namespace,
            pid,
            started,
        } = self;
        write!(f, "{boot}:{namespace}:{pid}:{started}")
    }
}

/// When a process was started; none when there is none, or when it only waits to be reaped.
///
/// Source: proc_pid_stat(5): field 3 is the state, field 22 the start; the name in field 2 may hold anything.
fn started(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_dead() {
        let ours = ProcessId::current().unwrap();
        assert_eq!(ProcessId::parse(&ours.to_string()), Some(ours.clone()));
        assert!(!ours.is_dead());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let of_child = ProcessId {
            pid: child.id(),
            started: started(child.id()).unwrap(),
            ..ours.clone()
        };
        assert!(!of_child.is_dead());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_child.is_dead());
        let elsewhere = ProcessId {
            boot: "another".to_owned(),
            ..of_child.clone()
        };
        assert!(!elsewhere.is_dead(), "nobody here can tell");
        let contained = ProcessId {
            namespace: 1,
            ..of_child
        };
        assert!(!contained.is_dead(), "nobody here can tell");
    }
}
