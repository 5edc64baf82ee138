//! The text of policy files: entries, and the small language of checks.

use serde_json::{Map, Value};

use super::policy::{Check, DEPTH_MAX, Parsed, PolicyError};

/// Longest policy file that is read.
const FILE_MAX_BYTES: usize = 1 << 20;
/// How much of what is wrong is repeated, in characters.
const SHOWN_MAX_CHARS: usize = 60;

/// One rule of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) check: String,
    /// From 1; 0 when the file is JSON, whose lines are not known.
    pub(super) line: usize,
}

/// Takes a file apart: JSON when it begins with a brace, YAML lines otherwise.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, PolicyError> {
    if text.len() > FILE_MAX_BYTES {
        return Err(PolicyError::TooLong {
            found: text.len(),
            limit: FILE_MAX_BYTES,
        });
    }
    let entries = if text.trim_start().starts_with('{') {
        json_entries(text)?
    } else {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            entries.extend(yaml_entry(line, index + 1)?);
        }
        entries
    };
    let mut seen = std::collections::BTreeSet::new();
    for entry in &entries {
        if !seen.insert(&entry.name) {
            let (name, line) = (entry.name.clone(), entry.line);
            return Err(PolicyError::Twice { name, line });
        }
    }
    Ok(entries)
}

fn json_entries(text: &str) -> Result<Vec<Entry>, PolicyError> {
    let map: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| PolicyError::Line {
            line: error.line(),
            found: error.to_string(),
        })?;
    map.into_iter()
        .map(|(name, value)| {
            let line = text
                .split_inclusive('\n')
                .position(|line| line.contains(&format!("\"{name}\"")))
                .map_or(1, |index| index + 1);
            match value {
                Value::String(check) => Ok(Entry { name, check, line }),
                other => Err(PolicyError::Line {
                    line,
                    found: format!(
                        "the check of {name} is {}, not a text",
                        cut(&other.to_string())
                    ),
                }),
            }
        })
        .collect()
}

/// A line `name: check`, both in quotes or not; `None` for blank lines, remarks and the line `---`.
fn yaml_entry(text: &str, line: usize) -> Result<Option<Entry>, PolicyError> {
    let wrong = |found: &str| PolicyError::Line {
        line,
        found: format!("{found}: {}", cut(text)),
    };
    let rest = text.trim();
    if rest.is_empty() || rest.starts_with('#') || rest == "---" {
        return Ok(None);
    }
    let (name, rest) = match quoted(rest) {
        Some((name, rest)) => {
            let rest = rest
                .trim_start()
                .strip_prefix(':')
                .ok_or_else(|| wrong("a colon is missing behind the name"))?;
            (name.to_owned(), rest)
        }
        None => rest
            .split_once(": ")
            .map(|(name, rest)| (name.trim().to_owned(), rest))
            .ok_or_else(|| wrong("a colon and a check are missing behind the name"))?,
    };
    let rest = rest.trim();
    let check = match quoted(rest) {
        Some((check, rest)) if rest.trim().is_empty() || rest.trim_start().starts_with('#') => {
            check
        }
        Some(_) => return Err(wrong("something follows the check")),
        // In YAML it is nothing, or on the next line; `""` lets everybody pass, and must be said.
        None if rest.is_empty() => return Err(wrong("the check is missing")),
        None if rest.starts_with(['"', '\'', '[', '{', '|', '>', '&', '*']) => {
            return Err(wrong("the check must be a text on one line"));
        }
        None => rest.split(" #").next().unwrap_or_default().trim(),
    };
    let (name, check) = (name, check.to_owned());
    Ok(Some(Entry { name, check, line }))
}

/// The text in quotes at the beginning, and what follows; there are no escapes in rules.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    text[1..].split_once(quote)
}

/// Reads a check.
pub(super) fn check(name: &str, line: usize, text: &str) -> Result<Parsed, PolicyError> {
    let mut reader = Reader {
        text,
        place: 0,
        depth: 0,
    };
    let syntax = |(place, found): (usize, String)| PolicyError::Syntax {
        name: name.to_owned(),
        line,
        column: text[..place].chars().count() + 1,
        found,
    };
    if text.trim().is_empty() {
        return Ok(Parsed::Plain(Check::Everybody));
    }
    let parsed = reader.any().map_err(syntax)?;
    match reader.word() {
        None => Ok(parsed),
        Some((place, word)) => Err(syntax((
            place,
            format!("and, or or the end is expected, not {}", cut(word)),
        ))),
    }
}

/// Where it went wrong, in bytes, and what.
type Wrong = (usize, String);

/// A recursive reader: `or` binds less than `and`, `and` less than `not`.
struct Reader<'a> {
    text: &'a str,
    place: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The next word or parenthesis and its place, without taking it.
    fn word(&self) -> Option<(usize, &'a str)> {
        let rest = &self.text[self.place..];
        let start = self.place + rest.find(|c: char| !c.is_whitespace())?;
        let rest = &self.text[start..];
        if rest.starts_with(['(', ')']) {
            return Some((start, &rest[..1]));
        }
        // `%(project_id)s` is part of a word.
        let mut end = rest.len();
        let mut letters = rest.char_indices().peekable();
        let mut in_substitution = false;
        while let Some((index, letter)) = letters.next() {
            match letter {
                '%' if matches!(letters.peek(), Some((_, '('))) => {
                    in_substitution = true;
                    letters.next();
                }
                ')' if in_substitution => in_substitution = false,
                '(' | ')' => {
                    end = index;
                    break;
                }
                _ if letter.is_whitespace() => {
                    end = index;
                    break;
                }
                _ => {}
            }
        }
        Some((start, &rest[..end]))
    }

    fn take(&mut self, wanted: &str) -> bool {
        match self.word() {
            Some((place, word)) if word.eq_ignore_ascii_case(wanted) => {
                self.place = place + word.len();
                true
            }
            _ => false,
        }
    }

    fn any(&mut self) -> Result<Parsed, Wrong> {
        let mut checks = vec![self.all()?];
        while self.take("or") {
            checks.push(self.all()?);
        }
        Ok(match checks.len() {
            1 => checks.remove(0),
            _ => Parsed::Any(checks),
        })
    }

    fn all(&mut self) -> Result<Parsed, Wrong> {
        let mut checks = vec![self.one()?];
        while self.take("and") {
            checks.push(self.one()?);
        }
        Ok(match checks.len() {
            1 => checks.remove(0),
            _ => Parsed::All(checks),
        })
    }

    fn one(&mut self) -> Result<Parsed, Wrong> {
        let Some((place, word)) = self.word() else {
            return Err((
                self.text.len(),
                "a check is expected, not the end".to_owned(),
            ));
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err((place, format!("it nests deeper than {DEPTH_MAX}")));
        }
        let parsed = if self.take("not") {
            Parsed::Not(Box::new(self.one()?))
        } else if self.take("(") {
            let inner = self.any()?;
            if !self.take(")") {
                let end = self.word().map_or(self.text.len(), |(place, _)| place);
                return Err((end, "a closing parenthesis is missing".to_owned()));
            }
            inner
        } else {
            self.place = place + word.len();
            leaf(word).map_err(|found| (place, found))?
        };
        self.depth -= 1;
        Ok(parsed)
    }
}

fn leaf(word: &str) -> Result<Parsed, String> {
    let plain = |check| Ok(Parsed::Plain(check));
    match word {
        "@" => return plain(Check::Everybody),
        "!" => return plain(Check::Nobody),
        _ => {}
    }
    let (kind, value) = word
        .split_once(':')
        .filter(|(_, value)| !value.is_empty())
        .ok_or_else(|| format!("a check as role:name is expected, not {}", cut(word)))?;
    let is_literal = !value.contains('%');
    match (kind, value) {
        ("rule", name) => Ok(Parsed::Rule(name.to_owned())),
        ("role", role) => plain(Check::Role(role.to_owned())),
        ("is_admin", "True" | "true" | "1") => plain(Check::IsAdmin),
        // Tokens of ours are scoped to projects, each of which may administer.
        ("is_admin_project", "True" | "true") => plain(Check::Everybody),
        ("system_scope", "all") => plain(Check::Nobody),
        ("project_id" | "tenant", "%(project_id)s") => plain(Check::OwnProject),
        ("user_id" | "user", "%(user_id)s") => plain(Check::OwnUser),
        ("project_id" | "tenant", id) if is_literal => plain(Check::Project(id.to_owned())),
        ("user_id" | "user", id) if is_literal => plain(Check::User(id.to_owned())),
        _ => Err(format!("checks of the kind {} are not known", cut(word))),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN_MAX_CHARS).collect()
}
