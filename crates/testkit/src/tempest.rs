//! Tempest, the acceptance suite of OpenStack's APIs, against an installation; what it tests there is the Block Storage API.
//!
//! It is told of the installation by `tests/clients/tempest/tempest.conf` and a list of accounts that are made for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::installation::Installation;
use crate::tool;

/// Its tests that are about block storage.
const ABOUT_VOLUMES: &str = r"^(tempest\.api\.volume|cinder_tempest_plugin\.(api|rbac))\.";
/// Runs at once. Each has a project for itself: what one makes must not be in the lists and usages of another.
const AT_ONCE: usize = 2;
/// Seconds after which a run is ended: something hangs.
const LIMIT_S: &str = "2400";
/// The password of its accounts.
const PASSWORD: &str = "tempest-of-the-tests";
/// Lines of a failed run that are shown.
const SHOWN_LINES: usize = 400;

/// Tempest, told of an installation.
pub struct Tempest {
    lanes: Vec<Lane>,
}

/// A directory that Tempest runs in, with accounts of its own.
struct Lane {
    bin: PathBuf,
    directory: PathBuf,
}

impl Tempest {
    /// Makes the accounts and the configuration; `None` after a printed line when Tempest is not installed.
    ///
    /// # Panics
    /// When the installation does not make the accounts, or Tempest is missing while `CI` is set.
    pub fn of(installation: &Installation, templates: &Path) -> Option<Self> {
        let bin = tool::tempest_programs()?;
        let template = templates.join("tempest.conf");
        let template = fs::read_to_string(&template).expect("the template is read");
        let lanes = (1..=AT_ONCE).map(|number| {
            let lane = Lane {
                bin: bin.clone(),
                directory: installation.root.join(format!("tempest-{number}")),
            };
            lane.prepare(installation, &template, number);
            lane
        });
        Some(Tempest {
            lanes: lanes.collect(),
        })
    }

    /// The configuration once more, after a backend was added.
    pub fn learn(&self, installation: &Installation, templates: &Path) {
        let template = templates.join("tempest.conf");
        let template = fs::read_to_string(&template).expect("the template is read");
        for lane in &self.lanes {
            lane.configure(installation, &template);
        }
    }

    /// The names of all its tests about block storage.
    pub fn tests(&self) -> BTreeSet<String> {
        let lane = self.lanes.first().expect("there is a lane");
        let listed = tool::run(lane.stestr().args(["list", ABOUT_VOLUMES]));
        listed
            .lines()
            .filter(|line| line.contains('.'))
            .map(name)
            .collect()
    }

    /// Runs tests by their names.
    pub fn run(&self, tests: &BTreeSet<&str>) -> Outcome {
        let mut outcome = Outcome::default();
        std::thread::scope(|scope| {
            let runs: Vec<_> = dealt(tests, self.lanes.len())
                .into_iter()
                .zip(&self.lanes)
                .map(|(tests, lane)| scope.spawn(move || lane.run(&tests)))
                .collect();
            for run in runs {
                outcome.add(run.join().expect("a run ends"));
            }
        });
        outcome
    }
}

/// Deals tests to lanes: those of a class stay together, the largest classes go first.
fn dealt<'a>(tests: &BTreeSet<&'a str>, lanes: usize) -> Vec<Vec<&'a str>> {
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for test in tests {
        let class = test.rsplit_once('.').map_or(*test, |(class, _)| class);
        classes.entry(class).or_default().push(test);
    }
    let mut classes: Vec<Vec<&str>> = classes.into_values().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.len()));
    let mut dealt = vec![Vec::new(); lanes];
    for class in classes {
        if let Some(shortest) = dealt.iter_mut().min_by_key(|lane| lane.len()) {
            shortest.extend(class);
        }
    }
    dealt
}

impl Lane {
    fn prepare(&self, installation: &Installation, template: &str, number: usize) {
        for directory in [&self.directory, &locks(installation)] {
            fs::create_dir_all(directory).expect("a directory for Tempest");
        }
        self.write("password", PASSWORD);
        let password = self.directory.join("password");
        let password = password.to_string_lossy();
        let own = format!("tempest-{number}");
        let other = format!("{own}-alt");
        for project in [&own, &other] {
            tool::run(&mut installation.xensm(&["identity", "project", "create", project]));
        }
        let mut accounts = String::new();
        // Tempest takes the first that fits. The first user has no roles in this list, so it is never taken for a member; tests of
        // roles read the role from the end of the name. They want an administrator in the project of the members, all other tests
        // want one elsewhere: that one is of the type that the configuration calls `administrator`.
        for (user, project, role, marks) in [
            (&other, &other, "member", "roles: []"),
            (&format!("{own}-member"), &own, "member", "roles: [member]"),
            (&format!("{own}-reader"), &own, "reader", "roles: [reader]"),
            (&format!("{own}-admin"), &own, "admin", "roles: [admin]"),
            (&format!("{other}-admin"), &other, "admin", "types: [admin]"),
        ] {
            let create = ["identity", "user", "create", user, "--project", project];
            let as_who = ["--role", role, "--password-file", &password];
            tool::run(&mut installation.xensm(&[&create[..], &as_who].concat()));
            accounts.push_str(&format!(
                "- username: {user}\n  project_name: {project}\n  password: {PASSWORD}\n  {marks}\n"
            ));
        }
        self.write("accounts.yaml", &accounts);
        self.configure(installation, template);
        self.write(".stestr.conf", &self.suite());
        tool::run(self.stestr().arg("init"));
    }

    fn configure(&self, installation: &Installation, template: &str) {
        let identity = &installation.variables("openrc.sh")["OS_AUTH_URL"];
        let names = backend_names(installation);
        let configuration = template
            .replace("{directory}", &self.directory.to_string_lossy())
            .replace("{locks}", &locks(installation).to_string_lossy())
            .replace("{identity}", identity)
            .replace("{several}", if names.len() > 1 { "true" } else { "false" })
            .replace("{backend_names}", &names.join(","));
        self.write("tempest.conf", &configuration);
    }

    fn run(&self, tests: &[&str]) -> Outcome {
        if tests.is_empty() {
            return Outcome::default();
        }
        let expressions: Vec<String> = tests
            .iter()
            .map(|test| format!("^{}(\\[|$)\n", test.replace('.', "\\.")))
            .collect();
        self.write("wanted.txt", &expressions.concat());
        let mut run = self.stestr();
        run.args([
            "run",
            "--color",
            "off",
            "--serial",
            "--include-list",
            "wanted.txt",
        ]);
        let ran = tool::output(&mut run);
        let stream = self.directory.join("last.subunit");
        let last = tool::output(self.stestr().args(["last", "--subunit"]));
        fs::write(&stream, last.stdout).expect("the results are written");
        let table = tool::run(self.program("subunit2csv").arg(&stream));
        let mut outcome = Outcome {
            said: String::from_utf8_lossy(&ran.stdout).into_owned()
                + &String::from_utf8_lossy(&ran.stderr),
            ..Outcome::default()
        };
        for line in table.lines().skip(1) {
            // test, status, start and stop; only the first can hold commas, and is quoted then.
            let cells: Vec<&str> = line.rsplitn(4, ',').collect();
            let [_, _, status, test] = cells[..] else {
                panic!("a row has four cells: {line}");
            };
            let test = name(test.trim_matches('"'));
            match status {
                "success" => outcome.passed.insert(test),
                "skip" => outcome.skipped.insert(test),
                _ => outcome.failed.insert(test),
            };
        }
        outcome
    }

    /// What stestr is told: where the tests are.
    fn suite(&self) -> String {
        let mut ask = self.program("python");
        let say = "import os, tempest; print(os.path.dirname(os.path.dirname(tempest.__file__)))";
        let packages = tool::run(ask.args(["-c", say]));
        let packages = packages.trim();
        format!("[DEFAULT]\ntest_path={packages}/tempest/test_discover\ntop_dir={packages}\n")
    }

    fn stestr(&self) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "10", LIMIT_S])
            .arg(self.bin.join("stestr"));
        self.prepared(command)
    }

    fn program(&self, name: &str) -> Command {
        self.prepared(Command::new(self.bin.join(name)))
    }

    fn prepared(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.directory)
            .env("HOME", &self.directory)
            .env("PYTHON", self.bin.join("python"))
            .env("TEMPEST_CONFIG_DIR", &self.directory)
            .env("TEMPEST_CONFIG", "tempest.conf");
        command
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.directory.join(file);
        fs::write(&path, text).unwrap_or_else(|cause| panic!("write {}: {cause}", path.display()));
    }
}

/// What came of a run. A class that could not be prepared is there as `setUpClass (its name)`, and its tests are not.
#[derive(Default)]
pub struct Outcome {
    /// Tests that passed.
    pub passed: BTreeSet<String>,
    /// Tests and classes that were skipped.
    pub skipped: BTreeSet<String>,
    /// Tests and classes that failed.
    pub failed: BTreeSet<String>,
    said: String,
}

impl Outcome {
    fn add(&mut self, mut other: Outcome) {
        self.passed.append(&mut other.passed);
        self.skipped.append(&mut other.skipped);
        self.failed.append(&mut other.failed);
        self.said.push_str(&other.said);
    }

    /// The end of what the run said: what failed, and why.
    pub fn said(&self) -> String {
        let lines: Vec<&str> = self.said.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

/// Tests that are left out, each with the reason, as the text has them: reasons begin with `## `, remarks with `#`.
///
/// # Panics
/// When a test has no reason, or is there twice.
pub fn left_out(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut reason = None;
    for line in text.lines().map(str::trim) {
        if let Some(new) = line.strip_prefix("## ") {
            reason = Some(new.to_owned());
        } else if !line.is_empty() && !line.starts_with('#') {
            let reason = reason.clone().expect("a reason stands above the tests");
            let before = all.insert(line.to_owned(), reason);
            assert!(before.is_none(), "{line} is left out twice");
        }
    }
    all
}

/// A test's name without the marks that its id ends with.
fn name(id: &str) -> String {
    id.split('[').next().unwrap_or(id).to_owned()
}

/// Where tests that must not run beside each other, as those of quota classes, find that out.
fn locks(installation: &Installation) -> PathBuf {
    installation.root.join("tempest-locks")
}

fn backend_names(installation: &Installation) -> Vec<String> {
    let listed =
        tool::run(&mut installation.nova_manage(&["sm", "backend_list", "--format", "json"]));
    let listed: Value = serde_json::from_str(&listed).expect("backends are listed as JSON");
    let all = listed.as_array().expect("backends are a list");
    all.iter()
        .filter_map(|backend| backend["name_label"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_stay_together() {
        let tests = BTreeSet::from(["m.A.a", "m.A.b", "m.A.c", "m.B.a", "m.C.a"]);
        let expected = [vec!["m.A.a", "m.A.b", "m.A.c"], vec!["m.B.a", "m.C.a"]];
        assert_eq!(dealt(&tests, 2), expected);
    }

    #[test]
    fn names_lose_their_marks() {
        assert_eq!(name("a.b.C.test_d[id-1,smoke]"), "a.b.C.test_d");
        assert_eq!(name("setUpClass (a.b.C)"), "setUpClass (a.b.C)");
    }

    #[test]
    fn each_test_that_is_left_out_has_a_reason() {
        let all = left_out("# remark\n\n## needs images\na.b\na.c\n## needs servers\nd\n");
        let reasons: Vec<_> = all
            .iter()
            .map(|(test, why)| (test.as_str(), why.as_str()))
            .collect();
        let expected = [
            ("a.b", "needs images"),
            ("a.c", "needs images"),
            ("d", "needs servers"),
        ];
        assert_eq!(reasons, expected);
    }

    #[test]
    #[should_panic(expected = "left out twice")]
    fn a_test_is_left_out_once() {
        left_out("## x\na\n## y\na\n");
    }
}
