//! The CLI, asked by OpenSSH.

use std::io::Write;
use std::time::Duration;

use testkit::equallogic::{Cut, EqualLogicEmulator, Options, PAGE, Refused, Role};

use crate::session::{PATIENCE, Session, quiet, value};

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
    // A wrong command is offered again when the account wants that.
    session.ask("cli-settings reprintBadInput on");
    session.say("volume frob");
    session.until("group-0> volume frob");
    session.input.write_all(&[0x08; 4]).unwrap();
    session.say("create short 30MB");
    let made = session.until("group-0> ");
    assert!(made.contains("Volume creation succeeded."), "{made}");
    session.ask("cli-settings reprintBadInput off");
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
    session.ask("volume create thin 300MB thin-provision snap-reserve 0%");
    group.fill_pool("default", 1);
    group.overwrite("thin", 10);
    let shown = session.ask("volume select thin show");
    assert_eq!(value(&shown, "Status"), "offline-nospace-for-auto-grow");
    group.set_firmware("V4.1.4");
    let shown = session.ask("volume select thin show");
    assert!(!shown.iter().any(|line| line.starts_with("Thin-Provision")));
    assert!(session.ask("member show")[2].contains(" V4.1.4 "));
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
