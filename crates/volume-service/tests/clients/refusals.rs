//! EC2's refusals, each provoked: `tests/clients/ec2_refusals.tsv`.

use std::path::Path;

use testkit::tool;
use volume_service::api;

use crate::{Servers, run, script};

#[allow(clippy::print_stderr, reason = "how many ran, and which ones sleep")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ec2_refuses_is_refused_in_its_words() {
    let Some(python) = tool::python_client("python") else {
        return;
    };
    let servers = Servers::start().await;
    let actions = servers.directory.path().join("actions.json");
    std::fs::write(&actions, api::ec2_table().to_string()).unwrap();
    let refusals = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/clients")
        .join("ec2_refusals.tsv");
    let mut command = servers.command(&python);
    command
        .arg(script("ec2_refusals.py"))
        .args([&actions, &refusals])
        .arg(servers.directory.path().join("xensm.sqlite"));
    let said = run(&mut command).await;
    assert!(said.trim_end().ends_with("done"), "{said}");
    eprintln!("{said}");
}
