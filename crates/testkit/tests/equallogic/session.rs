//! A session of OpenSSH with the emulated group.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::equallogic::EqualLogicEmulator;
use testkit::tool;

/// How long an answer may take on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A session of OpenSSH.
pub struct Session {
    client: Child,
    pub input: ChildStdin,
    output: std::sync::mpsc::Receiver<Vec<u8>>,
    heard: String,
    _home: tempfile::TempDir,
}

impl Session {
    /// Logs in; none when OpenSSH is missing.
    pub fn open(group: &EqualLogicEmulator, user: &str, password: &str) -> Option<Session> {
        let ssh = tool::program("ssh")?;
        let home = tempfile::tempdir().expect("the test's own session");
        let ask = home.path().join("ask");
        std::fs::write(&ask, format!("#!/bin/sh\necho '{password}'\n"))
            .expect("the test's own session");
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700))
            .expect("the test's own session");
        let known = home.path().join("known_hosts");
        let place = format!("[{}]:{}", group.address(), group.ssh_port());
        std::fs::write(&known, format!("{place} {}\n", group.host_key()))
            .expect("the test's own session");
        let mut command = Command::new("setsid");
        command
            .arg(ssh)
            .args(["-tt", "-F", "/dev/null", "-l", user]);
        command.args(["-o", "StrictHostKeyChecking=yes"]);
        command.args(["-o", "NumberOfPasswordPrompts=1"]);
        command
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()));
        command.args([
            "-p",
            &group.ssh_port().to_string(),
            &group.address().to_string(),
        ]);
        command
            .env("SSH_ASKPASS", &ask)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", ":0");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut client = command.spawn().expect("the test's own session");
        let (input, mut stdout) = (
            client.stdin.take().expect("the test's own session"),
            client.stdout.take().expect("the test's own session"),
        );
        let (sender, output) = std::sync::mpsc::sync_channel(64);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Some(Session {
            client,
            input,
            output,
            heard: String::new(),
            _home: home,
        })
    }

    /// What is shown up to a text, and with it.
    pub fn until(&mut self, end: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.find(end) {
                let rest = self.heard.split_off(at + end.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self
                    .heard
                    .push_str(&String::from_utf8(bytes).expect("the test's own session")),
                Err(_) => panic!("{end:?} was not heard, but {:?}", self.heard),
            }
        }
    }

    /// Says a line.
    pub fn say(&mut self, line: &str) {
        self.input
            .write_all(format!("{line}\r").as_bytes())
            .expect("the test's own session");
    }

    /// Says a line and returns the lines of the answer, without echo and prompt.
    pub fn ask(&mut self, line: &str) -> Vec<String> {
        self.say(line);
        let shown = self.until("group-0> ");
        let mut lines: Vec<String> = shown.split("\r\n").map(str::to_owned).collect();
        assert!(
            lines[0].starts_with(&line[..line.len().min(20)]),
            "{lines:?}"
        );
        lines.remove(0);
        assert_eq!(lines.pop().as_deref(), Some("group-0> "), "{lines:?}");
        lines
    }

    /// Whether everything is said and the client has ended.
    pub fn ends(mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self
                    .heard
                    .push_str(&String::from_utf8(bytes).expect("the test's own session")),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(_) => panic!("the session goes on: {:?}", self.heard),
            }
        }
        let mut told = String::new();
        let mut stderr = BufReader::new(self.client.stderr.take().expect("the test's own session"));
        while stderr.read_line(&mut told).expect("the test's own session") > 0 {}
        std::mem::take(&mut self.heard) + &told
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A session in which nothing is asked, paged or broken.
pub fn quiet(group: &EqualLogicEmulator) -> Option<Session> {
    let mut session = Session::open(group, "grpadmin", "eqlpassword")?;
    session.until("group-0> ");
    for line in [
        "stty columns 255",
        "cli-settings events off",
        "cli-settings confirmation off",
        "cli-settings paging off",
        "cli-settings formatoutput off",
    ] {
        assert!(session.ask(line).is_empty());
    }
    Some(session)
}

/// The value of a key in a block.
pub fn value<'a>(lines: &'a [String], key: &str) -> &'a str {
    let found = lines
        .iter()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("{key} is not in {lines:#?}"))
}
