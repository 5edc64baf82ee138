//! Signals to processes that a test started.

use std::process::Command;
use std::time::Duration;

use crate::{tool, wait};

/// How long a process may take to stop on a machine that is busy.
const STOPPED: Duration = Duration::from_secs(120);

/// Sends a signal, by its name without `SIG`. A process that is gone already is no failure.
pub fn signal(pid: u32, name: &str) {
    let _ = tool::output(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]));
}

/// Stops a process until it is sent `CONT`, and returns when none of its threads runs any more.
///
/// `kill` returns earlier: each thread goes on until it is next scheduled and finds the signal, and may answer
/// a request until then (signal(7)).
///
/// # Panics
/// When the process is gone, or does not stop.
pub fn freeze(pid: u32) {
    signal(pid, "STOP");
    wait::until("the process stops", STOPPED, || {
        threads_are_stopped(pid).then_some(())
    });
}

/// Whether every thread is in state `T`, the field after the name in parentheses (proc_pid_stat(5)).
fn threads_are_stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    tasks.flatten().all(|task| {
        // A thread that ended meanwhile runs no more.
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            return true;
        };
        stat.rsplit_once(')')
            .is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
    })
}
