//! `xensm audit`: who changed what, and whether the record of it is whole.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use volume_service::audit;

use crate::config::{self, CommonFlags, ServeFlags};
use crate::data_dir::DataDir;
use crate::failure::{Exit, Failure, Result};
use crate::ui::{self, Format};

/// Most lines that are shown.
const SHOWN_MAX: usize = 100_000;

/// What `audit` does.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Checks that no line was changed, added or taken out; exit code 1 when one was.
    #[command(after_help = "Examples:
  xensm audit verify
  xensm audit verify --directory /backup/audit --format json

Keep the last hash of a file somewhere else: who may write the directory can replace all of it.")]
    Verify {
        /// The directory [default: audit in the data directory]
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Shows lines, the newest last.
    #[command(after_help = "Examples:
  xensm audit show --last 20
  xensm audit show --project 0123456789abcdef0123456789abcdef --format json")]
    Show {
        /// The directory [default: audit in the data directory]
        #[arg(long)]
        directory: Option<PathBuf>,
        /// Only lines of this user's requests, by id.
        #[arg(long)]
        user: Option<String>,
        /// Only lines of requests in this project, by id.
        #[arg(long)]
        project: Option<String>,
        /// Only the last ones, so many.
        #[arg(long, default_value = "1000")]
        last: usize,
    },
}

impl AuditCommand {
    /// True for a log in the data directory, false for a copy of one somewhere else.
    pub fn is_of_data_dir(&self) -> bool {
        let (AuditCommand::Verify { directory } | AuditCommand::Show { directory, .. }) = self;
        directory.is_none()
    }
}

/// Runs a command.
pub fn run(common: &CommonFlags, command: AuditCommand, format: Format) -> Result<()> {
    let place = |given: Option<PathBuf>| -> Result<PathBuf> {
        if let Some(directory) = given {
            return Ok(directory);
        }
        let file = config::load(common, &ServeFlags::default())?;
        Ok(DataDir::new(&file.data_dir)?.file("audit"))
    };
    match command {
        AuditCommand::Verify { directory } => verify(&place(directory)?, format),
        AuditCommand::Show {
            directory,
            user,
            project,
            last,
        } => {
            let is_wanted = |line: &Value| {
                [("user", &user), ("project", &project)]
                    .iter()
                    .all(|(key, wanted)| {
                        wanted
                            .as_ref()
                            .is_none_or(|wanted| line[*key] == wanted.as_str())
                    })
            };
            show(&place(directory)?, is_wanted, last.min(SHOWN_MAX), format)
        }
    }
}

fn unreadable(directory: &std::path::Path, cause: &std::io::Error) -> Failure {
    Failure::failed(
        format!("read the audit log in {}", directory.display()),
        cause,
    )
}

fn verify(directory: &std::path::Path, format: Format) -> Result<()> {
    let reports = audit::verify(directory).map_err(|cause| unreadable(directory, &cause))?;
    let faults: usize = reports.iter().map(|report| report.faults.len()).sum();
    let views: Vec<Value> = reports
        .iter()
        .map(|report| {
            let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
            json!({"file": report.file, "lines": report.lines, "last_hash": report.head, "faults": faults})
        })
        .collect();
    match format {
        Format::Json => ui::json(&json!(views)),
        Format::Table => {
            let rows = views
                .iter()
                .map(|view| {
                    let verdict = match view["faults"].as_array().map_or(0, Vec::len) {
                        0 => "whole".to_owned(),
                        count => format!("{count} fault(s)"),
                    };
                    vec![
                        text(&view["file"]),
                        view["lines"].to_string(),
                        verdict,
                        text(&view["last_hash"]),
                    ]
                })
                .collect();
            ui::table(&["file", "lines", "verdict", "last hash"], rows);
        }
    }
    if faults == 0 {
        return Ok(());
    }
    let mut failure = Failure::new(Exit::Failed, format!("the audit log has {faults} fault(s)"));
    for report in &reports {
        for fault in &report.faults {
            failure.causes.push(format!("{}: {fault}", report.file));
        }
    }
    failure.causes.truncate(20);
    Err(failure)
}

fn show(
    directory: &std::path::Path,
    is_wanted: impl Fn(&Value) -> bool,
    last: usize,
    format: Format,
) -> Result<()> {
    let mut found = std::collections::VecDeque::new();
    audit::read(directory, |line| {
        if line["kind"] != "begin" && is_wanted(line) {
            if found.len() == last {
                found.pop_front();
            }
            found.push_back(line.clone());
        }
    })
    .map_err(|cause| unreadable(directory, &cause))?;
    match format {
        Format::Json => ui::json(&json!(found)),
        Format::Table => {
            let row = |line: &Value| {
                let at_us = line["at_us"].as_i64().unwrap_or_default();
                let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_us) * 1000)
                    .ok()
                    .and_then(|time| time.format(&Rfc3339).ok());
                let (what, on, outcome) = match line["kind"].as_str() {
                    Some("operation" | "command") => ("what", "target", "outcome"),
                    _ => ("method", "path", "status"),
                };
                vec![
                    at.unwrap_or_default(),
                    text(&line["user"]),
                    text(&line["project"]),
                    text(&line[what]),
                    text(&line[on]),
                    text(&line[outcome]),
                ]
            };
            let header = ["at", "user", "project", "what", "on", "outcome"];
            ui::table(&header, found.iter().map(row).collect());
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
