//! The data, read and written by libiscsi's tools and QEMU's.

use std::io::Write;
use std::process::{Command, Stdio};

use testkit::equallogic::{EqualLogicEmulator, Options};
use testkit::{tool, wait};

use crate::session::{PATIENCE, quiet};

const INITIATOR: &str = "iqn.2026-11.example:host-with-a-rather-long-name";
const OTHER: &str = "iqn.2026-11.example:other";

/// A program that is killed when it hangs: those of libiscsi wait for ever.
fn bounded(program: &std::path::Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program);
    command
}

#[test]
fn initiators_are_sent_on_to_the_data() {
    let Some(group) = EqualLogicEmulator::start_with_data(Options::default()) else {
        return;
    };
    let (Some(io), Some(inq), Some(ls)) = (
        tool::program("qemu-io"),
        tool::program("iscsi-inq"),
        tool::program("iscsi-ls"),
    ) else {
        return;
    };
    let Some(mut session) = quiet(&group) else {
        return;
    };
    session.ask("volume create Data 30MB");
    let iqn = group.state().group.volumes["Data"].iqn.clone();
    let options = format!(
        "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={},file.target={iqn},file.lun=0,file.initiator-name={INITIATOR}",
        group.portal()
    );
    let qemu = |said: &str| {
        let mut command = bounded(&io);
        command.args(["--image-opts", &options, "-c", said]);
        let done = tool::output(&mut command);
        (done.status.success(), format!("{done:?}"))
    };
    let discover = || tool::run(bounded(&ls).arg(format!("iscsi://{}", group.portal())));
    let (done, told) = qemu("read 0 4k");
    assert!(!done, "nobody is admitted: {told}");
    session.ask(&format!(
        "volume select Data access create initiator {INITIATOR}"
    ));
    assert!(!discover().contains(&iqn), "it is not for everybody");
    let (done, told) = qemu("write -P 0x5a 15M 64k");
    assert!(done, "{told}");
    let bytes = std::fs::read(group.volume_file("Data").unwrap()).unwrap();
    assert_eq!((bytes.len(), bytes[15 << 20]), (30 << 20, 0x5a));

    // A snapshot keeps what was there, and is a target of its own once it is online.
    let taken = session.ask("volume select Data snapshot create-now online read-only");
    let snapshot = taken[1].strip_prefix("Snapshot name is ").unwrap();
    session.ask(&format!(
        "volume select Data snapshot rename {snapshot} snap"
    ));
    let (done, told) = qemu("write -P 0x11 15M 64k");
    assert!(done, "{told}");
    session.ask("volume select Data snapshot select snap clone Copy");
    let copy = std::fs::read(group.volume_file("Copy").unwrap()).unwrap();
    assert_eq!(copy[15 << 20], 0x5a);
    session.ask("volume select Data access create initiator * apply-to snapshot");
    let found = discover();
    let target = group.state().group.volumes["Data"].snapshots[0].iqn.clone();
    assert!(
        found.contains(&target) && !found.contains("-copy"),
        "{found}"
    );
    let url = format!("iscsi://{}/{target}/0", group.portal());
    let read = ["-r", "-f", "raw", "-c", "read -P 0x5a 15M 64k", &url];
    let told = tool::run(bounded(&io).args(read));
    assert!(!told.contains("verification failed"), "{told}");
    assert!(
        !tool::output(bounded(&io).args(["-f", "raw", "-c", "write 0 4k", &url]))
            .status
            .success()
    );
    let identity = tool::run(bounded(&inq).arg(&url));
    assert!(identity.contains("Vendor:EQLOGIC") && identity.contains("Product:100E-00"));
}

#[test]
fn access_is_looked_at_when_somebody_logs_in() {
    let Some(group) = EqualLogicEmulator::start_with_data(Options::default()) else {
        return;
    };
    let (Some(io), Some(inq)) = (tool::program("qemu-io"), tool::program("iscsi-inq")) else {
        return;
    };
    let Some(mut session) = quiet(&group) else {
        return;
    };
    session.ask("volume create data 30MB");
    session.ask("volume select data access create initiator *");
    let (id, iqn) = {
        let volume = &group.state().group.volumes["data"];
        (volume.id, volume.iqn.clone())
    };
    let asks = |initiator: &str, account: &str| {
        let url = format!("iscsi://{account}{}/{iqn}/0", group.portal());
        let done = tool::output(bounded(&inq).args(["-i", initiator, &url]));
        String::from_utf8(done.stdout).unwrap().contains("EQLOGIC")
    };

    // One initiator at a time, unless several are allowed.
    let mut user = bounded(&io);
    user.args(["-f", "raw", &format!("iscsi://{}/{iqn}/0", group.portal())]);
    let mut user = user
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("QEMU is connected", PATIENCE, || {
        (group.state().data.connections(id) == 1).then_some(())
    });
    assert!(!asks(OTHER, ""), "another one uses it");
    session.ask("volume select data multihost-access enable");
    assert!(asks(OTHER, ""));
    user.stdin.take().unwrap().write_all(b"quit\n").unwrap();
    user.wait().unwrap();

    // CHAP is asked for when the record says so, and offline ends everything.
    session.ask("chapuser create user password secretsecret1");
    session.ask("volume select data access delete 1");
    assert!(!asks(INITIATOR, ""), "there is no record");
    session.ask(&format!(
        "volume select data access create initiator {INITIATOR} authmethod chap username user"
    ));
    assert!(!asks(INITIATOR, ""), "without a password");
    assert!(asks(INITIATOR, "user%secretsecret1@"));
    session.ask("volume select data offline");
    assert!(!asks(INITIATOR, "user%secretsecret1@"));
    assert_eq!(group.state().data.connections(id), 0);
}
