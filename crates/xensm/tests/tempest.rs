//! Tempest, OpenStack's acceptance suite, against the real binary: a part that touches everything here, the whole of it with
//! `cargo xtask tempest`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]
#![allow(clippy::print_stdout, reason = "how many tests there were")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::installation::Installation;
use testkit::tempest::{Outcome, Tempest, left_out};
use testkit::{tool, wait};

const XENSM: &str = env!("CARGO_BIN_EXE_xensm");
const PATIENCE: Duration = Duration::from_secs(180);
/// Set when all of it is to run.
const WHOLE: &str = "XENSM_TEMPEST_WHOLE";
/// Asks for what a host can do that a pool's name begins with. The client cuts the name off at its `#`, so the zone must have
/// one backend alone.
const OF_ONE_BACKEND: &str = "tempest.api.volume.admin.test_backends_capabilities.BackendsCapabilitiesAdminTestsJSON.test_compare_volume_stats_values";

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/tempest")
}

/// Two backends: types choose between them.
fn add_backend(installation: &Installation) {
    let location = format!("location={}", installation.root.join("second").display());
    let add = [
        "sm",
        "backend_add",
        "default",
        "file",
        &location,
        "name_label=second",
        "--yes",
    ];
    tool::run(&mut installation.nova_manage(&add));
    wait::until("every backend is connected", PATIENCE, || {
        let list = ["sm", "backend_list", "--format", "json"];
        let listed = tool::run(&mut installation.nova_manage(&list));
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let mut backends = listed.as_array().unwrap().iter();
        backends
            .all(|backend| backend["state"] == "connected")
            .then_some(())
    });
}

fn must_pass(outcome: &Outcome, wanted: &BTreeSet<&str>) {
    let passed: BTreeSet<&str> = outcome.passed.iter().map(String::as_str).collect();
    let missing: Vec<_> = wanted.difference(&passed).collect();
    assert!(
        missing.is_empty(),
        "did not pass: {missing:#?}\nfailed: {:#?}\nskipped: {:#?}\n{}",
        outcome.failed,
        outcome.skipped,
        outcome.said()
    );
}

/// Tempest tests much that needs other services; what is left out is named with the reason, and nothing else may be skipped.
#[test]
fn tempest_finds_a_block_storage_service() {
    let installation = Installation::start(XENSM);
    let Some(tempest) = Tempest::of(&installation, &templates()) else {
        return;
    };
    // One backend first, as that one test has it.
    let first = BTreeSet::from([OF_ONE_BACKEND]);
    must_pass(&tempest.run(&first), &first);
    add_backend(&installation);
    tempest.learn(&installation, &templates());
    if std::env::var_os(WHOLE).is_some() {
        return whole(&tempest);
    }
    let text = fs::read_to_string(templates().join("quick.txt")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let wanted: BTreeSet<&str> = lines.collect();
    must_pass(&tempest.run(&wanted), &wanted);
}

fn whole(tempest: &Tempest) {
    let all = tempest.tests();
    let text = fs::read_to_string(templates().join("left_out.txt")).unwrap();
    let left_out = left_out(&text);
    let gone: Vec<_> = left_out
        .keys()
        .filter(|test| !all.contains(*test))
        .collect();
    assert!(
        gone.is_empty(),
        "left out, and no tests of Tempest: {gone:#?}"
    );
    let wanted = all
        .iter()
        .filter(|test| !left_out.contains_key(*test))
        .map(String::as_str);
    let mut wanted: BTreeSet<&str> = wanted.collect();
    let passes = wanted.len();
    assert!(wanted.remove(OF_ONE_BACKEND), "it is no test of Tempest");
    must_pass(&tempest.run(&wanted), &wanted);
    println!(
        "Tempest: {passes} of {} tests passed, and each of the others has its reason",
        all.len()
    );
}
