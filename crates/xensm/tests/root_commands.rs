//! Commands that root types on an installation of somebody else's.
//!
//! Seen: root's commands followed the names of a data directory whose owner controls them, so that this owner could have root's
//! files overwritten or given away; and the first command there left files that the service could not read. Now root's commands
//! act as the owner.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::tool;

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const NOVA_MANAGE: &str = env!("CARGO_BIN_EXE_nova-manage");
/// Nobody whom a machine knows.
const OWNER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// An empty data directory of somebody else's, in a directory that all may enter.
fn of_somebody_else() -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    fs::set_permissions(above.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data_dir = above.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    chown(&data_dir, Some(OWNER), Some(GROUP)).unwrap();
    (above, data_dir)
}

fn on(data_dir: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env("XENSM_DATA_DIR", data_dir).args(arguments);
    command
}

fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while next < found.len() {
        if found[next].is_dir() {
            found.extend(
                fs::read_dir(&found[next])
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        next += 1;
    }
    found
}

#[test]
fn what_roots_first_command_makes_is_the_owners() {
    if tool::root().is_none() {
        return;
    }
    let (_above, data_dir) = of_somebody_else();
    let create = ["sm", "flavor_create", "gold", "typed by root"];
    tool::run(&mut on(&data_dir, NOVA_MANAGE, &create));
    tool::run(&mut on(
        &data_dir,
        XENSM,
        &["sm", "flavor_delete", "gold", "--yes"],
    ));
    let made = all_below(&data_dir);
    for name in ["secrets.toml", "xensm.db", "audit"] {
        assert!(made.contains(&data_dir.join(name)), "{name}: {made:?}");
    }
    for path in &made {
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.uid(), found.gid()), (OWNER, GROUP), "{path:?}");
    }
    // It was root all the same, and the record says so.
    let show = ["audit", "show", "--format", "json"];
    let lines: Value = serde_json::from_str(&tool::run(&mut on(&data_dir, XENSM, &show))).unwrap();
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        let person = line["user"].as_str().unwrap();
        assert!(person == "uid 0" || person.starts_with("uid 0,"), "{line}");
    }
}

#[test]
fn roots_commands_follow_no_link_of_the_owners() {
    if tool::root().is_none() {
        return;
    }
    for name in ["secrets.toml", "secrets.new", "xensm.db", "audit"] {
        let (above, data_dir) = of_somebody_else();
        // A file and a directory that are root's alone, and a name that is not there in one.
        let ours = above.path().join("ours");
        fs::create_dir(&ours).unwrap();
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).unwrap();
        let file = ours.join("file");
        fs::write(&file, "precious").unwrap();
        for target in [&file, &ours.join("absent"), &ours] {
            let link = data_dir.join(name);
            symlink(target, &link).unwrap();
            lchown(&link, Some(OWNER), Some(GROUP)).unwrap();
            let create = ["sm", "flavor_create", "gold", "typed by root"];
            let output = tool::output(&mut on(&data_dir, NOVA_MANAGE, &create));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // Only a link in the place of what the command needs stops it.
            assert_eq!(
                output.status.success(),
                name == "secrets.new",
                "{name} {said}"
            );
            assert_eq!(fs::read_to_string(&file).unwrap(), "precious", "{name}");
            assert_eq!(all_below(&ours).len(), 2, "{name}: {:?}", all_below(&ours));
            for path in all_below(&ours) {
                assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{name}: {path:?}");
            }
            fs::remove_dir_all(&data_dir).unwrap();
            fs::create_dir(&data_dir).unwrap();
            chown(&data_dir, Some(OWNER), Some(GROUP)).unwrap();
        }
    }
}

#[test]
fn a_file_that_the_owner_may_not_read_is_explained() {
    if tool::root().is_none() {
        return;
    }
    let (above, data_dir) = of_somebody_else();
    let password = above.path().join("password");
    fs::write(&password, "a-secret-of-roots\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let create = ["identity", "user", "create", "alice", "--password-file"];
    let mut command = on(&data_dir, XENSM, &create);
    let output = tool::output(command.arg(&password));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(&format!("uid {OWNER}")), "{said}");
    assert!(said.contains("stdin"), "{said}");
}
