//! The terminal: results on stdout, talk on stderr. The only place that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, IsTerminal, Write};

use crate::failure::{Exit, Failure, Result};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: one JSON document.
    Json,
}

/// Whether a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Ask on the terminal.
    Ask,
    /// The caller said yes beforehand.
    Given,
}

/// Writes a line of a result.
pub fn result(line: impl AsRef<str>) {
    // A reader that went away (`| head`) is no failure of ours.
    let _ = writeln!(std::io::stdout().lock(), "{}", line.as_ref());
}

/// Writes a JSON result.
pub fn json(value: &serde_json::Value) {
    result(serde_json::to_string_pretty(value).expect("a JSON value is printable"));
}

/// Says something beside the result.
pub fn talk(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
}

/// Writes over the line that says how far something is.
pub fn status(line: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "\r{line}\x1b[K");
    let _ = stderr.flush();
}

/// True when somebody watches stderr.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Asks before something that cannot be taken back.
///
/// # Errors
/// `Exit::Usage` when nobody can answer; `Exit::Failed` when the answer is no.
pub fn confirm(warning: &str, confirmation: Confirmation) -> Result<()> {
    if confirmation == Confirmation::Given {
        return Ok(());
    }
    eprint!("{warning} Proceed? (y/n) ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if !read.is_ok_and(|length| length > 0) {
        eprintln!();
        return Err(Failure::new(Exit::Usage, "nobody answered the question")
            .hint("say --yes to go on without being asked"));
    }
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "stopped; nothing was changed")),
    }
}

/// A table for people: a header and rows.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    result(table.to_string());
}

/// A number of bytes for people: `5.0 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = count as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{number:.1} {}", UNITS[unit]),
    }
}

/// Asks for a secret: a line of stdin, which a terminal does not show.
///
/// # Errors
/// `Exit::Usage` when nobody answers.
pub fn secret(question: &str) -> Result<String> {
    let stdin = std::io::stdin();
    let hidden = Hidden::begin(&stdin);
    eprint!("{question}: ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    if hidden.is_some() {
        eprintln!();
    }
    if !read.is_ok_and(|length| length > 0) {
        return Err(
            Failure::new(Exit::Usage, format!("nobody answered: {question}"))
                .hint("give the secret on stdin, or in a file as key=@FILE"),
        );
    }
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden<'a> {
    stdin: &'a std::io::Stdin,
    before: rustix::termios::Termios,
}

impl<'a> Hidden<'a> {
    /// None when stdin is no terminal.
    fn begin(stdin: &'a std::io::Stdin) -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(stdin).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO;
        tcsetattr(stdin, OptionalActions::Flush, &quiet).ok()?;
        Some(Hidden { stdin, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // A terminal that is gone shows nothing anyway.
        let _ = tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}
