//! Reads the lines back and checks the chains.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::log::{NOTHING, hash};

/// Longest line that is read, in bytes.
const LINE_MAX_BYTES: u64 = 1024 * 1024;
/// Most files that the first line of a file names.
const HEADS_MAX: usize = 16;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line is not what was written.
    #[error("line {line} is no line of an audit log")]
    Unreadable {
        /// Counted from 1.
        line: u64,
    },
    /// A line does not follow the one before it: one was changed, added or taken out.
    #[error("line {line} does not follow line {}: a line was changed, added or taken out", line - 1)]
    Broken {
        /// Counted from 1.
        line: u64,
    },
    /// The last line has no end: a crash, or somebody, cut it.
    #[error("line {line} is cut off")]
    Cut {
        /// Counted from 1.
        line: u64,
    },
    /// A later file remembers more of this one.
    #[error("{by} remembers {lines} lines of this file, ending in {hash}, and they are not there")]
    Shortened {
        /// The file that remembers.
        by: String,
        /// How many lines it saw.
        lines: u64,
        /// The hash of the last of them.
        hash: String,
    },
    /// The file, or the rest of it, cannot be read, so nothing is known of it.
    #[error("the file cannot be read: {cause}")]
    NotRead {
        /// What the system said.
        cause: String,
    },
}

/// What was found in a file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// Its name.
    pub file: String,
    /// Whole lines.
    pub lines: u64,
    /// The hash of the last line.
    pub head: String,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl FileReport {
    /// Why the file, or the rest of it, was not read.
    pub(super) fn not_read(&self) -> Option<&str> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::NotRead { cause } => Some(cause.as_str()),
            _ => None,
        })
    }
}

struct Read1 {
    report: FileReport,
    hashes: Vec<String>,
    before: Vec<(String, u64, String)>,
}

/// Checks every file of the directory, in order; one that cannot be read has a fault that says so.
///
/// # Errors
/// When the directory cannot be read.
pub fn verify(directory: &Path) -> io::Result<Vec<FileReport>> {
    let mut reads: BTreeMap<String, Read1> = BTreeMap::new();
    for path in files(directory)? {
        let name = name_of(&path);
        reads.insert(name.clone(), check(&path, name));
    }
    let remembered: Vec<(String, String, u64, String)> = reads
        .iter()
        .flat_map(|(by, read)| {
            let own = read.before.iter().cloned();
            own.map(|(file, lines, hash)| (by.clone(), file, lines, hash))
        })
        .collect();
    for (by, file, lines, hash) in remembered {
        let is_there = reads.get(&file).is_some_and(|read| {
            // Of a file that is not read, nobody can tell what is there: its fault says that already.
            lines == 0
                || read.report.not_read().is_some()
                || usize::try_from(lines - 1)
                    .ok()
                    .and_then(|at| read.hashes.get(at))
                    .is_some_and(|found| *found == hash)
        });
        if is_there {
            continue;
        }
        let missing = reads.entry(file.clone()).or_insert_with(|| Read1 {
            report: FileReport {
                file,
                lines: 0,
                head: NOTHING.to_owned(),
                faults: Vec::new(),
            },
            hashes: Vec::new(),
            before: Vec::new(),
        });
        missing
            .report
            .faults
            .push(Fault::Shortened { by, lines, hash });
    }
    Ok(reads.into_values().map(|read| read.report).collect())
}

/// Calls `each` with every line of every file, in order of files; lines that cannot be read are left out.
///
/// # Errors
/// When the directory or a file cannot be read.
pub fn read(directory: &Path, mut each: impl FnMut(&Value)) -> io::Result<()> {
    for path in files(directory)? {
        lines(&path, |_, line, _| {
            if let Ok(value) = serde_json::from_slice(line) {
                each(&value);
            }
        })?;
    }
    Ok(())
}

/// What is in the files of a directory that were written last, in order. One that cannot be read has a fault that says so:
/// another user's file must not keep this process from writing its own.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn heads(directory: &Path) -> io::Result<Vec<FileReport>> {
    let mut files = files(directory)?;
    // A name says when its file was begun: by names, a few commands would push out the file that a service still writes.
    files.sort_by_cached_key(|path| {
        let found = std::fs::metadata(path).and_then(|found| found.modified());
        found.ok()
    });
    let older = files.len().saturating_sub(HEADS_MAX);
    let mut latest = files.split_off(older);
    latest.sort();
    Ok(latest
        .iter()
        .map(|path| check(path, name_of(path)).report)
        .collect())
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn check(path: &Path, file: String) -> Read1 {
    let mut read = Read1 {
        report: FileReport {
            file,
            lines: 0,
            head: NOTHING.to_owned(),
            faults: Vec::new(),
        },
        hashes: Vec::new(),
        before: Vec::new(),
    };
    let outcome = lines(path, |number, line, is_whole| {
        let report = &mut read.report;
        if !is_whole {
            report.faults.push(Fault::Cut { line: number });
            return;
        }
        match serde_json::from_slice::<Value>(line) {
            Err(_) => report.faults.push(Fault::Unreadable { line: number }),
            Ok(value) => {
                let follows = value["previous"].as_str() == Some(report.head.as_str())
                    && value["n"].as_u64() == Some(number - 1);
                if !follows {
                    report.faults.push(Fault::Broken { line: number });
                }
                if number == 1 {
                    read.before = remembered(&value);
                }
            }
        }
        report.lines = number;
        report.head = hash(line);
        read.hashes.push(report.head.clone());
    });
    if let Err(error) = outcome {
        read.report.faults.push(Fault::NotRead {
            cause: error.to_string(),
        });
    }
    read
}

fn remembered(first: &Value) -> Vec<(String, u64, String)> {
    let named = first["before"].as_array().into_iter().flatten();
    named
        .filter_map(|file| {
            Some((
                file["file"].as_str()?.to_owned(),
                file["lines"].as_u64()?,
                file["hash"].as_str()?.to_owned(),
            ))
        })
        .collect()
}

/// Calls `each` with the number of each line from 1, its bytes without the end, and whether it has an end.
fn lines(path: &Path, mut each: impl FnMut(u64, &[u8], bool)) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        let read = file
            .by_ref()
            .take(LINE_MAX_BYTES)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let is_whole = line.last() == Some(&b'\n');
        if is_whole {
            line.pop();
        }
        each(number, &line, is_whole);
    }
}
