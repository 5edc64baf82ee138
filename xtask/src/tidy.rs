//! House rules that no compiler checks.
//!
//! Crate edges against the table in ARCHITECTURE.md; names that say nothing; lengths of files; ASCII sources; deferred work
//! without an issue; relative links in documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Lines of a source file past which a warning is printed; tests are not counted.
const LINES_WORTH_A_LOOK: usize = 600;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "common", "core", "util", "utils", "helper", "helpers", "misc", "manager", "types",
];

/// Checks everything and lists all that is wrong.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let mut warnings = Vec::new();
    check_edges(root, &mut wrong)?;
    for file in tracked_files(root)? {
        check_file(root, &file, &mut wrong, &mut warnings)?;
    }
    for warning in &warnings {
        println!("tidy: worth a look: {warning}");
    }
    if wrong.is_empty() {
        return Ok(());
    }
    for line in &wrong {
        println!("tidy: {line}");
    }
    bail!("tidy found {} things", wrong.len())
}

/// What a crate may use, and what its tests may use beside that.
type Allowed = (BTreeSet<String>, BTreeSet<String>);

/// The edges that ARCHITECTURE.md allows: rows `| crate | may use | may use in tests |` below the heading "Crate edges".
fn allowed_edges(root: &Path) -> anyhow::Result<BTreeMap<String, Allowed>> {
    let path = root.join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let section = text
        .split("Crate edges")
        .nth(1)
        .context("ARCHITECTURE.md has a section \"Crate edges\"")?;
    let mut edges = BTreeMap::new();
    for line in section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<BTreeSet<String>> =
            line.trim_matches('|').split('|').map(names_in).collect();
        if let [owner, uses, tests] = cells.as_slice()
            && let Some(owner) = owner.first()
        {
            edges.insert(owner.clone(), (uses.clone(), tests.clone()));
        }
    }
    Ok(edges)
}

/// The words between back-ticks of a table cell.
fn names_in(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn check_edges(root: &Path, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let allowed = allowed_edges(root)?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("parse cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((uses, tests)) = allowed.get(name) else {
            wrong.push(format!(
                "crate {name} is not in the table of crate edges in ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let is_for_tests = dependency["kind"].as_str() == Some("dev");
            let is_allowed = uses.contains(target) || (is_for_tests && tests.contains(target));
            if ours.contains(target) && !is_allowed {
                let where_to = if is_for_tests { "in tests " } else { "" };
                wrong.push(format!(
                    "crate {name} may not use {target} {where_to}(ARCHITECTURE.md, Crate edges)"
                ));
            }
        }
    }
    Ok(())
}

fn tracked_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("run git ls-files")?;
    let names = String::from_utf8(output.stdout).context("file names are UTF-8")?;
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}

fn check_file(
    root: &Path,
    file: &Path,
    wrong: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
    let shown = file.display();
    let is_source = file.extension().is_some_and(|extension| extension == "rs");
    let is_document = file.extension().is_some_and(|extension| extension == "md");
    if !(is_source || is_document) || !root.join(file).is_file() {
        return Ok(());
    }
    let text = fs::read_to_string(root.join(file)).with_context(|| format!("read {shown}"))?;
    if is_document {
        check_links(root, file, &text, wrong);
        return Ok(());
    }
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let folder = file
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    for name in [stem, folder] {
        if EMPTY_NAMES.contains(&name) {
            wrong.push(format!(
                "{shown}: the name {name} says nothing about what is inside"
            ));
        }
    }
    for (index, line) in text.lines().enumerate() {
        if !line.is_ascii() {
            wrong.push(format!("{shown}:{}: source is ASCII", index + 1));
        }
        let marker = concat!("TO", "DO");
        if line.contains(marker) && !line.contains(&format!("{marker}(#")) {
            wrong.push(format!(
                "{shown}:{}: {marker} needs an issue: {marker}(#123)",
                index + 1
            ));
        }
    }
    let is_test = stem == "tests" || file.components().any(|part| part.as_os_str() == "tests");
    let counted = text
        .split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines()
        .count();
    if !is_test && counted > LINES_WORTH_A_LOOK {
        warnings.push(format!("{shown} has {counted} lines"));
    }
    Ok(())
}

/// Every relative link of a document leads to a file.
fn check_links(root: &Path, file: &Path, text: &str, wrong: &mut Vec<String>) {
    for target in text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        let path = target.split('#').next().unwrap_or_default();
        if path.is_empty() || path.contains("://") || path.contains(' ') {
            continue;
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        if !root.join(folder).join(path).exists() {
            wrong.push(format!(
                "{}: the link {target} leads nowhere",
                file.display()
            ));
        }
    }
}
