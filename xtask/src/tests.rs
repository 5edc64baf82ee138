//! Runs the tests of the workspace, two programs at a time: cargo runs one after the other, and many of them wait for a server, a
//! virtual machine with one processor or a client that starts.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::ci::checked;

/// Programs that run at once; each runs as many tests at once as the machine has processors.
const AT_ONCE: usize = 2;

/// Seconds after which a program is ended: it hangs.
const LIMIT_S: &str = "900";

/// Those that take longest, which begin first so that none of them is the last to end.
const LONGEST: [&str; 19] = [
    "xensm tempest",
    "volume-service operations",
    "volume-service clients",
    "xensm adoption",
    "volume-service lib",
    "xensm snapshots",
    "storage-manager hba_guest",
    "storage-manager lib",
    "xensm arrays",
    "storage-manager equal_sr",
    "storage-manager kernel_client",
    "xensm trouble",
    "volume-service service",
    "xensm sr_types",
    "xensm commands",
    "storage-manager drivers",
    "xensm clients",
    "storage-manager netapp_sr",
    "storage-manager ext_guest",
];

/// A program with tests.
struct Program {
    /// Package and target.
    name: String,
    path: PathBuf,
    /// Where the package lies, in which its tests run.
    package: PathBuf,
}

/// Builds and runs them all, and then the examples in the documentation, with further variables in their environment.
///
/// # Errors
/// When one failed; the others were run all the same.
pub fn run(root: &Path, variables: &[(&str, OsString)]) -> anyhow::Result<()> {
    let mut programs = build(root, variables)?;
    let place = |program: &Program| LONGEST.iter().position(|name| *name == program.name);
    programs.sort_by_key(|program| place(program).unwrap_or(LONGEST.len()));
    let queue = Mutex::new(VecDeque::from(programs));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(program) = next(&queue) {
                    let begun = Instant::now();
                    let outcome = program.run(variables);
                    let mut failed = lock(&failed);
                    if !program.tell(outcome, begun) {
                        failed.push(program.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!("tests failed in: {}", failed.join(", "));
    }
    let mut examples = Command::new("cargo");
    examples.args(["test", "--workspace", "--doc", "--quiet"]);
    checked(with(&mut examples, variables).current_dir(root))
}

/// The next program. A function of its own, so that nobody holds the queue while a program runs.
fn next(queue: &Mutex<VecDeque<Program>>) -> Option<Program> {
    lock(queue).pop_front()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with<'a>(command: &'a mut Command, variables: &[(&str, OsString)]) -> &'a mut Command {
    command.envs(variables.iter().map(|(name, value)| (name, value)))
}

/// Builds the programs and asks cargo where they are.
fn build(root: &Path, variables: &[(&str, OsString)]) -> anyhow::Result<Vec<Program>> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics");
    let output = with(&mut cargo, variables)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!(
            "the tests cannot be built: {cargo:?} ended with {}",
            output.status
        );
    }
    let told = String::from_utf8(output.stdout).context("read what cargo tells")?;
    let mut programs = Vec::new();
    for line in told.lines() {
        let told: Value = serde_json::from_str(line).context("read what cargo tells")?;
        if told["profile"]["test"] == true && told["executable"].is_string() {
            programs.push(Program::read(&told)?);
        }
    }
    Ok(programs)
}

impl Program {
    fn read(told: &Value) -> anyhow::Result<Self> {
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .context("cargo tells a text")
        };
        let manifest = PathBuf::from(text(&told["manifest_path"])?);
        let package = manifest
            .parent()
            .context("a manifest lies in a directory")?;
        let target = match told["target"]["kind"][0].as_str() {
            Some("lib") => "lib".to_owned(),
            _ => text(&told["target"]["name"])?,
        };
        let directory = package.file_name().unwrap_or_default().to_string_lossy();
        Ok(Program {
            name: format!("{directory} {target}"),
            path: text(&told["executable"])?.into(),
            package: package.to_owned(),
        })
    }

    fn run(&self, variables: &[(&str, OsString)]) -> std::io::Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["-k", "10", LIMIT_S]).arg(&self.path);
        with(&mut command, variables)
            .env("CARGO_MANIFEST_DIR", &self.package)
            .current_dir(&self.package)
            .stdin(Stdio::null())
            .output()
    }

    /// Prints what came of it; true when all is well.
    fn tell(&self, outcome: std::io::Result<Output>, begun: Instant) -> bool {
        let seconds = begun.elapsed().as_secs_f64();
        let (status, is_well) = match &outcome {
            Ok(output) => (output.status.to_string(), output.status.success()),
            Err(error) => (error.to_string(), false),
        };
        println!("--- tests of {}: {status} after {seconds:.1} s", self.name);
        if let Ok(output) = &outcome {
            for said in [&output.stdout, &output.stderr] {
                print!("{}", String::from_utf8_lossy(said));
            }
        }
        is_well
    }
}
