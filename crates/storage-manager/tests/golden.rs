//! Replays what was recorded of a real pool and compares the answers.
//!
//! References, uuids and event tokens are mapped by order of first appearance. Compared are: the status and content type,
//! the error code, the number of its parameters and which of them are references, and of a result the field names, the
//! type of every value on the wire, enum values, references, names and sizes. See "How to compare" beside the recordings.
//!
//! Steps that cannot agree are listed in `exceptions.rs` with the reason; a listed step that agrees fails the test too.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail the test, and say what they skip

#[path = "golden/coalescing.rs"]
mod coalescing;
#[path = "golden/compare.rs"]
mod compare;
#[path = "support/consumer.rs"]
mod consumer;
#[path = "golden/exceptions.rs"]
mod exceptions;
mod support;
#[path = "golden/writes.rs"]
mod writes;

use std::path::PathBuf;

use compare::{Answer, Mapping};
use exceptions::{DIFFERENT, NOT_REPLAYED};
use support::{Address, Client, Running, config};

/// The recordings, in the order in which they were made.
const RECORDINGS: [&str; 12] = [
    "01-session",
    "02-fresh-pool",
    "03-sr",
    "04-vdi-create",
    "05-vdi-snapshot-clone-copy",
    "06-vdi-chain-with-data",
    "07-vdi-cbt",
    "08-vbd",
    "09-tasks",
    "10-events",
    "11-errors-and-misc",
    "12-populated-pool",
];

#[derive(serde::Deserialize)]
struct Step {
    scenario: String,
    step: u32,
    what: String,
    protocol: String,
    method: String,
    path: String,
    request: String,
    response: String,
    status: u16,
    headers: Vec<(String, String)>,
}

fn golden() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let path =
        std::env::var_os("XENSM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "the golden data is missing at {}",
        path.display()
    );
    println!(
        "SKIPPED: no golden data at {}; set XENSM_GOLDEN",
        path.display()
    );
    None
}

#[test]
fn answers_as_a_real_pool_does() {
    let Some(golden) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    let srv = dir.path().join("srv");
    std::fs::create_dir(&srv).unwrap();
    let running = Running::start(config(dir.path()), None);
    let address = Address::Tcp(running.addresses.http.unwrap());
    let mut client = Client::login(address.clone());
    let mut mapping = Mapping::new(srv.to_str().unwrap());
    let mut problems = Vec::new();
    let (mut agreed, mut seen) = (0, Vec::new());
    for name in RECORDINGS {
        let text = std::fs::read_to_string(golden.join(format!("xenapi/{name}.jsonl"))).unwrap();
        for line in text.lines() {
            let step: Step = serde_json::from_str(line).unwrap();
            let here = (step.scenario.as_str(), step.step);
            if listed(NOT_REPLAYED, here).is_some() {
                continue;
            }
            let outcome = replay(&step, &mut client, &address, &mut mapping);
            match (outcome, listed(DIFFERENT, here)) {
                (Ok(()), None) => agreed += 1,
                (Err(_), Some(row)) => seen.push(row),
                (Ok(()), Some(row)) => problems.push(format!(
                    "{here:?} {} agrees now, but is listed in row {row}",
                    step.what
                )),
                (Err(why), None) => {
                    problems.push(format!("{here:?} {} ({}): {why}", step.what, step.method))
                }
            }
        }
    }
    println!("{agreed} steps agree");
    for (row, exception) in DIFFERENT.iter().enumerate() {
        if !seen.contains(&row)
            && !problems
                .iter()
                .any(|problem| problem.contains(&format!("row {row}")))
        {
            problems.push(format!(
                "row {row} of the exceptions ({}) names no step",
                exception.reason
            ));
        }
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
    assert!(agreed > 500, "only {agreed} steps were compared");
}

fn listed(table: &[exceptions::Exception], (scenario, step): (&str, u32)) -> Option<usize> {
    table.iter().position(|row| {
        row.scenario == scenario && row.steps.iter().any(|range| range.contains(&step))
    })
}

fn replay(
    step: &Step,
    client: &mut Client,
    address: &Address,
    mapping: &mut Mapping,
) -> Result<(), String> {
    let golden = Answer::parse(&step.protocol, step.status, step.response.as_bytes());
    if let Some(session) = mapping.unknown_session(&step.request, &step.protocol)
        && golden.failure_code() != Some("SESSION_INVALID")
    {
        mapping.learn(&session, &Client::login(address.clone()).session);
    }
    let mut request = mapping.apply(&step.request);
    if let Some(write) = writes::before(&step.scenario, step.step) {
        let vdi = compare::parameter(&request, &step.protocol, write.parameter);
        write.make(client, &vdi);
    }
    coalescing::before(&step.scenario, step.step, client);
    if step.method == "event.from" {
        // What was waited for there for seconds is here at once, or never comes.
        for seconds in ["1.0", "2.0", "5.0"] {
            request = request.replace(
                &format!("<double>{seconds}</double>"),
                "<double>0.2</double>",
            );
            request = request.replace(&format!("\", {seconds}]"), "\", 0.2]");
        }
    }
    if step.what.contains("when it ended") {
        let task = compare::parameter(&request, &step.protocol, 1);
        support::wait_for("the task ends", || {
            client
                .call("task.get_status", [task.as_str().into()])
                .is_ok_and(|status| status.as_str() != Some("pending"))
        });
    }
    let verb = step
        .what
        .split(' ')
        .next()
        .filter(|verb| matches!(*verb, "GET" | "OPTIONS" | "HEAD"))
        .unwrap_or("POST");
    let response = client.send(verb, &step.path, request.as_bytes()).unwrap();
    if response.status != step.status {
        return Err(format!(
            "status {} instead of {}",
            response.status, step.status
        ));
    }
    let content_type = step
        .headers
        .iter()
        .find(|(name, _)| name == "content-type")
        .map(|(_, value)| value.as_str());
    if response.headers.get("content-type").map(String::as_str) != content_type {
        return Err(format!(
            "content type {:?} instead of {content_type:?}",
            response.headers.get("content-type")
        ));
    }
    let ours = Answer::parse(&step.protocol, response.status, &response.body);
    mapping.compare(&step.method, &step.what, &golden, &ours)
}
