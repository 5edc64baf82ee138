//! The emulated EqualLogic group, asked by clients that nobody here wrote: OpenSSH, libiscsi's tools and QEMU's.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::equallogic::{Cut, EqualLogicEmulator, Options, PAGE, Refused, Role};
use testkit::tool;

/// How long an answer may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
const INITIATOR: &str = "iqn.2026-11.example:host-with-a-rather-long-name";

/// A session of OpenSSH.
struct Session {
    client: Child,
    input: ChildStdin,
    output: std::sync::mpsc::Receiver<Vec<u8>>,
    heard: String,
    _home: tempfile::TempDir,
}

impl Session {
    fn open(group: &EqualLogicEmulator, user: &str, password: &str) -> Option<Session> {
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
    fn until(&mut self, end: &str) -> String {
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

    fn say(&mut self, line: &str) {
        self.input
            .write_all(format!("{line}\r").as_bytes())
            .expect("the test's own session");
    }

    /// Says a line and returns the lines of the answer, without echo and prompt.
    fn ask(&mut self, line: &str) -> Vec<String> {
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
    fn ends(mut self) -> String {
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
fn quiet(group: &EqualLogicEmulator) -> Option<Session> {
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

fn value<'a>(lines: &'a [String], key: &str) -> &'a str {
    let found = lines
        .iter()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("{key} is not in {lines:#?}"))
}

#[test]
fn a_volume_lives_and_dies() {
    let group = EqualLogicEmulator::start(Options::default());
    let Some(mut session) = quiet(&group) else {
        return;
    };
    let parameters = session.ask("grpparams show");
    assert_eq!(
        value(&parameters, "Group-Ipaddress"),
        group.address().to_string()
    );
    let made = session.ask("volume create vol-1 1G thin-provision description \"a b\" offline");
    assert_eq!(made[0], "Volume creation succeeded.");
    let iqn = made[1].strip_prefix("iSCSI target name is ").unwrap();
    let iqn = iqn.strip_suffix('.').unwrap().to_owned();
    assert!(iqn.starts_with("iqn.2001-05.com.equallogic:0-8a0906-") && iqn.ends_with("-vol-1"));
    let shown = session.ask("volume select vol-1 show");
    assert_eq!(value(&shown, "Size"), "1GB");
    assert_eq!(value(&shown, "VolReserve"), "105MB");
    assert_eq!(value(&shown, "iSCSI Name"), iqn);
    assert_eq!(value(&shown, "Description"), "a b");
    assert_eq!(value(&shown, "Status"), "offline");
    assert_eq!(value(&shown, "Thin-Provision"), "enabled");
    let file = group.volume_file("vol-1").unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 1_085_276_160);
    assert_eq!(
        session.ask("volume create vol-1 1G"),
        ["% Error - Volume vol-1 already exists."]
    );
    assert!(session.ask("volume select vol-1 online").is_empty());
    assert!(
        session.ask("volume delete vol-1")[0].starts_with("% Error - The volume must be offline")
    );
    assert!(
        session
            .ask("volume select vol-1 size 2G no-snap")
            .is_empty()
    );
    assert_eq!(
        value(&session.ask("volume select vol-1 show"), "Snapshots"),
        "0"
    );
    assert!(session.ask("volume select vol-1 offline").is_empty());
    assert_eq!(
        session.ask("volume delete vol-1"),
        ["Volume deletion succeeded."]
    );
    assert_eq!(
        session.ask("volume select vol-1 show"),
        ["% Error - Volume vol-1 does not exist."]
    );
    assert!(!file.exists());
    session.say("logout");
    session.ends();
}

#[test]
fn the_terminal_echoes_breaks_pages_and_asks() {
    let group = EqualLogicEmulator::start(Options::default());
    let Some(mut session) = Session::open(&group, "grpadmin", "eqlpassword") else {
        return;
    };
    let greeting = session.until("group-0> ");
    assert!(greeting.contains("Welcome to Group Manager"));
    assert!(greeting.contains(":INFO:"), "an event: {greeting}");
    session.ask("stty columns 80");
    session.ask("cli-settings events off");
    let long = "v".repeat(62);
    session.say(&format!("volume create {long} 30MB"));
    let shown = session.until("group-0> ");
    // The echo and the name of the target go beyond the 80th column.
    assert!(shown.split("\r\n").all(|line| line.len() <= 80), "{shown}");
    assert!(
        shown.replace("\r\n", "").contains(&format!("-{long}.")),
        "{shown}"
    );
    let table = session.ask("volume show");
    let rows: Vec<&str> = table.iter().map(|line| line.as_str()).collect();
    assert_eq!(
        rows[2].split_whitespace().nth(1),
        Some("30MB"),
        "{table:#?}"
    );
    assert!(rows[3].starts_with("  vvvvv"), "{table:#?}");
    session.ask("stty rows 10");
    session.say(&format!("volume select {long} show"));
    session.until("-- More --");
    session.input.write_all(b"q").unwrap();
    session.until("group-0> ");
    session.ask(&format!("volume select {long} offline"));
    session.say(&format!("volume delete {long}"));
    session.until("(y/n) [n]");
    session.say("n");
    session.until("group-0> ");
    assert_eq!(group.state().group.volumes.len(), 1);
    session.say(&format!("volume delete {long}"));
    session.until("(y/n) [n]");
    session.say("y");
    assert!(
        session
            .until("group-0> ")
            .contains("Volume deletion succeeded.")
    );
    session.say("volume frobnicate");
    let refused = session.until("group-0> ");
    assert!(
        refused.contains("% Error - Bad command\r\n       ^\r\n"),
        "{refused}"
    );
    session.ask("volume create short 30MB");
    session.say("volume select short");
    session.until("group-0 (volume_short)> ");
    session.say("offline");
    session.until("group-0 (volume_short)> ");
    session.say("exit");
    session.until("group-0> ");
    assert_eq!(
        group.log().last().map(String::as_str),
        Some("volume select short offline")
    );
    assert!(!group.state().group.volumes["short"].online);
}

#[test]
fn refuses_wrong_passwords_and_too_many_sessions() {
    let group = EqualLogicEmulator::start(Options::default());
    let Some(wrong) = Session::open(&group, "grpadmin", "no") else {
        return;
    };
    assert!(wrong.ends().contains("Permission denied"));
    group.limit_sessions(7, 6, Refused::Told);
    let mut first = Session::open(&group, "grpadmin", "eqlpassword").unwrap();
    first.until("group-0> ");
    let told = Session::open(&group, "grpadmin", "eqlpassword")
        .unwrap()
        .ends();
    assert!(told.contains("Maximum number of CLI sessions"), "{told}");
    group.limit_sessions(7, 6, Refused::Disconnected);
    let cut = Session::open(&group, "grpadmin", "eqlpassword")
        .unwrap()
        .ends();
    assert!(!cut.contains("Group Manager"), "{cut}");
    first.say("exit");
    first.ends();
    testkit::wait::until("the session is closed", PATIENCE, || {
        (group.state().sessions == 0).then_some(())
    });
    let mut next = Session::open(&group, "grpadmin", "eqlpassword").unwrap();
    next.until("group-0> ");
    group.log_out_idle(Some(Duration::from_millis(1)));
    next.ask("whoami");
    assert!(next.ends().contains("idle"));
}

#[test]
fn cuts_connections_before_after_and_within_a_command() {
    let group = EqualLogicEmulator::start(Options::default());
    for (number, (place, exists)) in [
        (Cut::Before, false),
        (Cut::After, true),
        (Cut::Midway, true),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(mut session) = quiet(&group) else {
            return;
        };
        group.cut(place, 2);
        session.ask("pool show");
        session.say(&format!("volume create v{number} 30MB"));
        let heard = session.ends();
        assert!(!heard.ends_with("group-0> "), "{heard}");
        assert_eq!(heard.contains("Volume creation"), place == Cut::Midway);
        assert_eq!(
            group
                .state()
                .group
                .volumes
                .contains_key(&format!("v{number}")),
            exists
        );
        assert!(!group.calm(), "it has struck");
    }
    let mut session = quiet(&group).unwrap();
    group.fail(1, "Something is wrong.");
    assert_eq!(
        session.ask("volume show"),
        ["% Error - Something is wrong."]
    );
}

#[test]
fn keeps_to_space_and_roles() {
    let options = Options {
        pools: vec![("second".to_owned(), 100 * PAGE)],
        ..Options::default()
    };
    let group = EqualLogicEmulator::start(options);
    group.add_account(
        "helper",
        "pw",
        Role::PoolAdministrator(vec!["second".to_owned()]),
    );
    group.add_account("looker", "pw", Role::ReadOnly);
    let Some(mut session) = quiet(&group) else {
        return;
    };
    let refused = session.ask("volume create big 1500MB pool second snap-reserve 0%");
    assert!(
        refused.is_empty() || refused[0] == "Volume creation succeeded.",
        "{refused:?}"
    );
    let full = session.ask("volume create one 15MB pool second snap-reserve 0%");
    assert!(
        full[0].starts_with("% Error - Insufficient free space"),
        "{full:?}"
    );
    session.ask("volume create mine 150MB snap-reserve 20%");
    for _ in 0..2 {
        session.ask("volume select mine snapshot create-now");
    }
    group.overwrite("mine", 2);
    assert_eq!(group.state().group.volumes["mine"].snapshots.len(), 2);
    group.overwrite("mine", 1);
    assert!(
        group.state().group.volumes["mine"].snapshots.is_empty(),
        "the newest held all"
    );
    session.ask("volume select mine snap-depletion volume-offline");
    session.ask("volume select mine snapshot create-now");
    group.overwrite("mine", 3);
    let shown = session.ask("volume select mine show");
    assert_eq!(value(&shown, "Status"), "offline-snap-reserve-met");
    assert_eq!(value(&shown, "DesiredStatus"), "online");
    let mut helper = Session::open(&group, "helper", "pw").unwrap();
    helper.until("group-0> ");
    let hidden = helper.ask("volume select mine show");
    assert_eq!(hidden, ["% Error - Volume mine does not exist."]);
    assert!(helper.ask("volume create w 15MB")[0].starts_with("% Error - You do not have"));
    let mut looker = Session::open(&group, "looker", "pw").unwrap();
    looker.until("group-0> ");
    assert!(looker.ask("volume select mine offline")[0].starts_with("% Error - You do not have"));
    assert!(group.state().group.is_consistent());
}

#[test]
fn initiators_are_sent_on_to_the_data() {
    let Some(group) = EqualLogicEmulator::start_with_data(Options::default()) else {
        return;
    };
    let (Some(io), Some(inq)) = (tool::program("qemu-io"), tool::program("iscsi-inq")) else {
        return;
    };
    let Some(mut session) = quiet(&group) else {
        return;
    };
    session.ask("volume create Data 30MB");
    let iqn = group.state().group.volumes["Data"].iqn.clone();
    let url = format!("iscsi://{}/{iqn}/0", group.portal());
    let options = format!(
        "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={},file.target={iqn},file.lun=0,file.initiator-name={INITIATOR}",
        group.portal()
    );
    let write = |command: &str| {
        let mut qemu = Command::new("timeout");
        qemu.arg("20")
            .arg(&io)
            .args(["--image-opts", &options, "-c", command]);
        let done = tool::output(&mut qemu);
        (done.status.success(), format!("{done:?}"))
    };
    let (done, told) = write("read 0 4k");
    assert!(!done, "nobody is admitted: {told}");
    session.ask(&format!(
        "volume select Data access create initiator {INITIATOR}"
    ));
    let table = session.ask("volume select Data access show");
    assert!(
        table[4].starts_with("1   iqn.2026-11.example:host-with"),
        "{table:#?}"
    );
    let (done, told) = write("write -P 0x5a 15M 64k");
    assert!(done, "{told}");
    let bytes = std::fs::read(group.volume_file("Data").unwrap()).unwrap();
    assert_eq!((bytes.len(), bytes[15 << 20]), (30 << 20, 0x5a));
    let mut inquiry = Command::new("timeout");
    inquiry.arg("20").arg(inq).args(["-i", INITIATOR, &url]);
    let identity = tool::run(&mut inquiry);
    assert!(identity.contains("Vendor:EQLOGIC") && identity.contains("Product:100E-00"));

    // A snapshot keeps what was there, and is a target of its own once it is online.
    let taken = session.ask("volume select Data snapshot create-now");
    let snapshot = taken[1].strip_prefix("Snapshot name is ").unwrap();
    session.ask(&format!(
        "volume select Data snapshot rename {snapshot} snap"
    ));
    let (done, told) = write("write -P 0x11 15M 64k");
    assert!(done, "{told}");
    session.ask("volume select Data snapshot select snap clone Copy");
    let copy = std::fs::read(group.volume_file("Copy").unwrap()).unwrap();
    assert_eq!(copy[15 << 20], 0x5a);

    // Offline ends it, and CHAP is asked for when the record says so.
    session.ask("volume select Data offline");
    assert!(!write("read 0 4k").0);
    session.ask("volume select Data online");
    session.ask("chapuser create user password secretsecret1");
    session.ask("volume select Data access delete 1");
    let record = format!(
        "volume select Data access create initiator {INITIATOR} authmethod chap username user"
    );
    session.ask(&record);
    assert!(!write("read 0 4k").0, "without a password");
}
