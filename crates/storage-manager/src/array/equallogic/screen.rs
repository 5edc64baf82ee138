//! What a terminal shows: the end of an answer, and the answer without echo, prompt and noise. Pure.
//!
//! A group's shell echoes each command, answers with lines and ends with its prompt, the name of the group and `> `. Lines of
//! events of other sessions may come between. Source: reference 6.1.

use super::error::{CliError, Refusal};

/// Most lines before the echo that are taken for events.
const MAX_LINES_BEFORE_ECHO: usize = 64;

/// Longest name of a group. Source: PS Series CLI, `grpparams grp-name`.
const MAX_GROUP_NAME: usize = 63;

/// Longest words of an error that are passed on.
const MAX_ERROR_TEXT: usize = 400;

/// The prompt at the end of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The group's name.
    pub group: String,
    /// The object that commands are about until `exit`; none at the top.
    pub context: Option<String>,
}

/// What the shell waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Nothing: more is to come.
    Output,
    /// The next command.
    Command(Prompt),
    /// A key to show the next page.
    Page,
    /// Yes or no.
    Confirmation,
}

/// The text of what a terminal was sent: no control sequences, lines end with `\n`. Bytes that are no printable ASCII become `?`.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut at = bytes.iter().copied().peekable();
    while let Some(byte) = at.next() {
        match byte {
            0x1b => match at.peek() {
                Some(b'[') => {
                    at.next();
                    // Parameters, then one final byte.
                    while at.next_if(|byte| (0x20..0x40).contains(byte)).is_some() {}
                    at.next();
                }
                _ => {
                    at.next();
                }
            },
            b'\r' => {
                at.next_if_eq(&b'\n');
                text.push('\n');
            }
            b'\n' => text.push('\n'),
            b'\t' => text.push(' '),
            0x08 if text.ends_with(|last| last != '\n') => {
                text.pop();
            }
            0x20..=0x7e => text.push(byte.into()),
            0x80.. => text.push('?'),
            _ => (),
        }
    }
    text
}

/// What the shell waits for at the end of a screen. With `group` only that group's prompt counts.
pub fn awaited(text: &str, group: Option<&str>) -> Awaited {
    let last = text.rsplit('\n').next().unwrap_or_default();
    let prompt = prompt(last).filter(|prompt| group.is_none_or(|group| group == prompt.group));
    if let Some(prompt) = prompt {
        return Awaited::Command(prompt);
    }
    let lower = last.trim().to_ascii_lowercase();
    if is_pager(&lower) {
        Awaited::Page
    } else if lower.contains("(y/n)") || lower.ends_with("[y/n]") || lower.ends_with("(yes/no)?") {
        Awaited::Confirmation
    } else {
        Awaited::Output
    }
}

fn is_pager(lower: &str) -> bool {
    let bare = lower.trim_matches(|c: char| "-<>()[] .".contains(c));
    bare == "more"
        || bare.starts_with("press any key")
        || bare.starts_with("press enter to continue")
}

/// `name> ` or `name (object)> `.
fn prompt(line: &str) -> Option<Prompt> {
    let body = line.strip_suffix("> ")?;
    let (group, context) = match body.split_once(" (") {
        Some((group, rest)) => (group, Some(rest.strip_suffix(')')?.to_owned())),
        None => (body, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if group.is_empty() || group.len() > MAX_GROUP_NAME || !group.chars().all(is_name) {
        return None;
    }
    Some(Prompt {
        group: group.to_owned(),
        context,
    })
}

/// The lines of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    lines: Vec<String>,
}

impl Answer {
    /// Takes a screen that ends with a prompt apart.
    ///
    /// # Errors
    /// `Unreadable` when the echo is not that of this command: then the answer may be that of another. `Refused` when the group
    /// says so.
    pub fn of(screen: &str, command: &str) -> Result<Self, CliError> {
        let after = after_echo(screen, command).ok_or_else(|| CliError::Unreadable {
            command: command.to_owned(),
            reason: "it does not begin with the command's echo".to_owned(),
        })?;
        let body = after.rsplit_once('\n').map_or("", |(body, _prompt)| body);
        let lines = body.split('\n').map(str::trim_end);
        let lines = lines.filter(|line| !is_noise(line)).map(str::to_owned);
        let answer = Answer {
            lines: lines.collect(),
        };
        match answer.error() {
            None => Ok(answer),
            Some(text) => Err(CliError::Refused {
                command: command.to_owned(),
                refusal: Refusal::of(&text),
                text,
            }),
        }
    }

    /// An answer of given lines.
    #[cfg(test)]
    pub fn of_lines(text: &str) -> Self {
        Answer {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The lines, without trailing blanks and without those that are events.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// What follows some words on the line that has them, across a line break: `iSCSI target name is`.
    pub fn after(&self, words: &str) -> Option<String> {
        let joined = self.lines.join(" ");
        let (_, rest) = joined.split_once(words)?;
        let word = rest.split_whitespace().next()?;
        let word = word.strip_suffix('.').unwrap_or(word);
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn error(&self) -> Option<String> {
        let at = self.lines.iter().position(|line| is_error(line))?;
        let words = self.lines[at..].iter().map(|line| line.trim());
        let words: Vec<&str> = words.filter(|line| !line.is_empty()).collect();
        let text = words.join(" ");
        let text = text.trim_start_matches(['%', ' ']);
        let text = text.strip_prefix("Error").unwrap_or(text);
        let text = text.trim_start_matches([' ', '-', ':']);
        Some(text.chars().take(MAX_ERROR_TEXT).collect())
    }
}

/// Errors begin a line: `% Error - ...`, `Error: ...`, and what the shell itself says of a command it does not know.
fn is_error(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('%')
        || line.starts_with("Error:")
        || line.starts_with("Error - ")
        || line.starts_with("Bad command")
}

/// Lines of other sessions' events, and the rests of a pager.
pub fn is_noise(line: &str) -> bool {
    let line = line.trim();
    if line.starts_with("Level: ") || is_pager(&line.to_ascii_lowercase()) {
        return true;
    }
    // 12:34:member:process:date and time:file:line:INFO:number:text
    let mut parts = line.split(':');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    is_number(parts.next())
        && is_number(parts.next())
        && parts.any(|part| {
            matches!(
                part,
                "INFO" | "WARNING" | "ERROR" | "FATAL" | "AUDIT" | "CRITICAL"
            )
        })
}

/// True when a screen has the echo of a command, to its end.
pub fn has_echo(screen: &str, command: &str) -> bool {
    after_echo(screen, command).is_some()
}

/// What follows the echo of a command and its line break. A terminal may break the echo anywhere, so blanks are not compared. Events,
/// after which the shell repeats its prompt, may come first.
fn after_echo<'a>(screen: &'a str, command: &str) -> Option<&'a str> {
    let mut rest = screen;
    for _ in 0..=MAX_LINES_BEFORE_ECHO {
        let line = rest.split('\n').next().unwrap_or_default();
        let typed = line
            .find("> ")
            .map(|at| at + 2)
            .filter(|at| prompt(&line[..*at]).is_some());
        let echoed = [Some(0), typed].into_iter().flatten();
        if let Some(after) = echoed
            .filter_map(|at| without_echo(&rest[at..], command))
            .next()
        {
            return Some(after);
        }
        rest = rest.split_once('\n')?.1;
    }
    None
}

fn without_echo<'a>(text: &'a str, command: &str) -> Option<&'a str> {
    let mut wanted = command.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let mut next = wanted.next();
    for (at, byte) in text.bytes().enumerate() {
        let Some(expected) = next else {
            // All of it was there: the line ends here.
            return match byte {
                b'\n' => Some(&text[at + 1..]),
                b' ' => continue,
                _ => None,
            };
        };
        if byte.is_ascii_whitespace() {
            continue;
        }
        if byte != expected {
            return None;
        }
        next = wanted.next();
    }
    None
}
