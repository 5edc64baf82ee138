//! A session of the CLI: what is typed, echoed, asked, paged and prompted.

use std::collections::VecDeque;

use super::answer::{Answer, wrapped};
use super::array::Array;
use super::command::{Command, Context, Terminal};
use super::parse::parse;
use super::refusal::Refusal;

/// Longest line that is taken; more is ignored.
const LONGEST_LINE: usize = 4096;
/// What asks for a key after each screen.
const MORE: &str = "-- More -- (press any key to continue, q to quit)";

/// A session.
pub struct Shell {
    account: String,
    context: Context,
    columns: usize,
    rows: usize,
    hardwrap: bool,
    line: String,
    /// Where the next letter is echoed.
    column: usize,
    /// The last byte, if it ended a line.
    ended: Option<u8>,
    waiting: Waiting,
}

enum Waiting {
    /// For a line.
    Line,
    /// For a yes.
    Yes(Command, String),
    /// For a key, to show more.
    Key(VecDeque<String>),
}

/// What comes of a byte.
#[derive(Debug)]
pub enum Reaction {
    /// This is shown.
    Text(String),
    /// This is carried out, and [`Shell::finish`] shows the result; the line is as it was typed, in its context.
    Run(Command, String),
    /// The session ends.
    End,
}

impl Shell {
    /// A session of an account, at a terminal of this size.
    pub fn new(account: &str, columns: usize, rows: usize) -> Self {
        Shell {
            account: account.to_owned(),
            context: Context::default(),
            columns: if columns == 0 { 80 } else { columns },
            rows: if rows == 0 { 24 } else { rows },
            hardwrap: true,
            line: String::new(),
            column: 0,
            ended: None,
            waiting: Waiting::Line,
        }
    }

    /// What is shown first.
    pub fn greeting(&mut self, array: &Array) -> String {
        let mut text = String::from(
            "\r\n           Welcome to Group Manager\r\n\r\n        Copyright 2001-2016 Dell Inc.\r\n\r\n\r\n\r\n",
        );
        let login = format!("Login to account {} succeeded.", self.account);
        if let Some(event) = array.event(&self.account, &login) {
            text.push_str(&self.laid_out(&event));
        }
        text + &self.prompt(array)
    }

    /// The terminal has another size.
    pub fn resize(&mut self, columns: usize, rows: usize) {
        if columns > 0 {
            self.columns = columns;
        }
        if rows > 0 {
            self.rows = rows;
        }
    }

    /// Takes a byte that was typed.
    pub fn typed(&mut self, byte: u8, array: &Array) -> Reaction {
        if let Waiting::Key(_) = self.waiting {
            return Reaction::Text(self.next_page(byte, array));
        }
        // A line ends with CR. Some clients send CR LF (XenRT), some LF CR (libsan): neither has an empty line in it.
        let line_end = matches!(byte, b'\r' | b'\n').then_some(byte);
        let before = std::mem::replace(&mut self.ended, line_end);
        match byte {
            b'\r' | b'\n' if before.is_some_and(|other| other != byte) => {
                self.ended = None;
                Reaction::Text(String::new())
            }
            b'\r' | b'\n' => self.entered(array),
            0x08 | 0x7f => Reaction::Text(match self.line.pop() {
                Some(_) => {
                    self.column = self.column.saturating_sub(1);
                    "\u{8} \u{8}".to_owned()
                }
                None => String::new(),
            }),
            // Ctrl-D on an empty line.
            0x04 if self.line.is_empty() => Reaction::End,
            0x20..=0x7e if self.line.len() < LONGEST_LINE => Reaction::Text(self.echo(byte)),
            _ => Reaction::Text(String::new()),
        }
    }

    /// Shows what came of a command.
    pub fn finish(
        &mut self,
        command: &Command,
        result: Result<Answer, Refusal>,
        array: &Array,
    ) -> String {
        let mut lines = VecDeque::new();
        let done = result.is_ok();
        match result {
            Ok(answer) => lines.extend(answer.lines),
            Err(refusal) => return self.refuse(&refusal, "", array),
        }
        if let (true, Command::Enter(context)) = (done, command) {
            self.context = context.clone();
        }
        if command.changes()
            && let Some(event) =
                array.event(&self.account, "Configuration of the group was changed.")
        {
            // Events come when they come: here, between two lines of the answer.
            lines.insert(lines.len().min(1), event);
        }
        let lines: VecDeque<String> = lines.iter().flat_map(|line| self.broken(line)).collect();
        self.page(lines, array)
    }

    /// Shows an error in place of a result.
    pub fn fail(&mut self, text: &str, array: &Array) -> String {
        let line = self.laid_out(&format!("% Error - {text}"));
        line + &self.prompt(array)
    }

    /// Whether the session ends when nothing is said for long.
    pub fn may_idle_out(&self, array: &Array) -> bool {
        array.settings(&self.account).idlelogout
    }

    /// The account.
    pub fn account(&self) -> &str {
        &self.account
    }

    fn echo(&mut self, byte: u8) -> String {
        let letter = char::from(byte);
        self.line.push(letter);
        self.echo_letter(letter)
    }

    fn echo_letter(&mut self, letter: char) -> String {
        let broken = self.hardwrap && self.column >= self.columns;
        self.column = if broken { 1 } else { self.column + 1 };
        if broken {
            format!("\r\n{letter}")
        } else {
            letter.to_string()
        }
    }

    fn entered(&mut self, array: &Array) -> Reaction {
        let line = std::mem::take(&mut self.line);
        if let Waiting::Yes(command, said) = std::mem::replace(&mut self.waiting, Waiting::Line) {
            if line.trim().eq_ignore_ascii_case("y") || line.trim().eq_ignore_ascii_case("yes") {
                return Reaction::Run(command, said);
            }
            return Reaction::Text(format!("\r\n{}", self.prompt(array)));
        }
        let command = match parse(&line, &self.context) {
            Ok(command) => command,
            Err(refusal) => {
                let text = self.refuse(&refusal, &line, array);
                return Reaction::Text(format!("\r\n{text}"));
            }
        };
        match command {
            Command::Nothing => Reaction::Text(format!("\r\n{}", self.prompt(array))),
            Command::Logout => Reaction::End,
            Command::Exit => match self.context.parent() {
                Some(parent) => {
                    self.context = parent;
                    Reaction::Text(format!("\r\n{}", self.prompt(array)))
                }
                None => Reaction::End,
            },
            Command::Terminal(change) => Reaction::Text(self.change_terminal(change, array)),
            command => self.ask(command, line, array),
        }
    }

    fn ask(&mut self, command: Command, line: String, array: &Array) -> Reaction {
        let mut said = self.context.words();
        said.push(line.trim());
        let said = said.join(" ");
        match command.question() {
            Some(question) if array.settings(&self.account).confirmation => {
                self.waiting = Waiting::Yes(command, said);
                self.column = question.len();
                Reaction::Text(format!("\r\n{question}"))
            }
            _ => Reaction::Run(command, said),
        }
    }

    fn change_terminal(&mut self, change: Terminal, array: &Array) -> String {
        let mut text = String::from("\r\n");
        match change {
            Terminal::Columns(columns) => self.columns = columns.max(1),
            Terminal::Rows(rows) => self.rows = rows,
            Terminal::Hardwrap(on) => self.hardwrap = on,
            Terminal::Show => {
                let wrap = if self.hardwrap { "on" } else { "off" };
                let line = format!(
                    "columns {} rows {} hardwrap {wrap}",
                    self.columns, self.rows
                );
                text.push_str(&self.laid_out(&line));
            }
        }
        text + &self.prompt(array)
    }

    /// An error; a command that means nothing has a mark where it stops to, and is offered again if the account wants that.
    fn refuse(&mut self, refusal: &Refusal, line: &str, array: &Array) -> String {
        let mut text = self.laid_out(&format!("% Error - {refusal}"));
        let mut again = String::new();
        if let Refusal::BadCommand { column } = refusal {
            text.push_str(&format!("{}^\r\n", " ".repeat(*column)));
            if array.settings(&self.account).reprint_bad_input {
                line.clone_into(&mut again);
            }
        }
        text.push_str(&self.prompt(array));
        self.line.clone_from(&again);
        let echoed: String = again
            .chars()
            .map(|letter| self.echo_letter(letter))
            .collect();
        text + &echoed
    }

    fn page(&mut self, mut lines: VecDeque<String>, array: &Array) -> String {
        let screen = self.rows.saturating_sub(1);
        let stops = array.settings(&self.account).paging && screen > 0 && lines.len() > screen;
        let now = if stops { screen } else { lines.len() };
        let mut text: String = lines.drain(..now).map(|line| line + "\r\n").collect();
        if stops {
            self.waiting = Waiting::Key(lines);
            text.push_str(MORE);
        } else {
            self.waiting = Waiting::Line;
            text.push_str(&self.prompt(array));
        }
        text
    }

    fn next_page(&mut self, byte: u8, array: &Array) -> String {
        let Waiting::Key(lines) = std::mem::replace(&mut self.waiting, Waiting::Line) else {
            return String::new();
        };
        let erased = format!("\r{}\r", " ".repeat(MORE.len()));
        let rest = if byte == b'q' { VecDeque::new() } else { lines };
        erased + &self.page(rest, array)
    }

    fn prompt(&mut self, array: &Array) -> String {
        let prompt = self.context.prompt(&array.state().group.name);
        self.column = prompt.len();
        prompt
    }

    fn laid_out(&self, line: &str) -> String {
        self.broken(line)
            .into_iter()
            .map(|piece| piece + "\r\n")
            .collect()
    }

    fn broken(&self, line: &str) -> Vec<String> {
        if self.hardwrap {
            wrapped(line, 0, self.columns)
        } else {
            vec![line.to_owned()]
        }
    }
}
