//! Blocks of `Key: value` lines. Pure.
//!
//! ```text
//! _____________________________ Volume Information ______________________________
//! Name: data
//! Size: 1GB
//! iSCSI Name: iqn.2001-05.com.equallogic:0-8a0906-...
//! ```
//!
//! A value that is too long goes on in the next line, which begins with blanks. Source: reference 6.3.

use super::error::CliError;
use super::screen::Answer;

/// Longest name of a field.
const MAX_KEY: usize = 40;

/// The fields of an object.
#[derive(Clone, Debug)]
pub struct Fields {
    command: String,
    fields: Vec<(String, String)>,
}

impl Fields {
    /// Reads the first block of an answer; it ends where another has its title, or at a table.
    pub fn of(answer: &Answer, command: &str) -> Self {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in answer.lines() {
            if is_title(line) {
                if fields.is_empty() {
                    continue;
                }
                break;
            }
            if is_rule(line) {
                break;
            }
            if line.starts_with(' ') {
                if let Some((_, value)) = fields.last_mut() {
                    value.push_str(line.trim());
                }
                continue;
            }
            if let Some((key, value)) = key_and_value(line) {
                fields.push((key.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        Fields {
            command: command.to_owned(),
            fields,
        }
    }

    /// A field; none where the object has no such, or an empty one.
    ///
    /// # Errors
    /// When it is there twice: nobody could tell which is meant.
    pub fn get(&self, key: &str) -> Result<Option<&str>, CliError> {
        let key = key.to_ascii_lowercase();
        let mut found = self.fields.iter().filter(|(name, _)| *name == key);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.unreadable(format!("{key} is there twice")));
        }
        Ok(first
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty()))
    }

    /// A field that must be there.
    pub fn need(&self, key: &str) -> Result<&str, CliError> {
        self.get(key)?
            .ok_or_else(|| self.unreadable(format!("{key} is missing")))
    }

    /// Why the answer makes no sense.
    pub fn unreadable(&self, reason: String) -> CliError {
        CliError::Unreadable {
            command: self.command.clone(),
            reason,
        }
    }
}

fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let is_key = |c: char| c.is_ascii_alphanumeric() || " -_/".contains(c);
    let is_named = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.len() <= MAX_KEY;
    (is_named && key.chars().all(is_key)).then_some((key.trim_end(), value))
}

/// `____ Volume Information ____`
fn is_title(line: &str) -> bool {
    line.starts_with("___") && line.ends_with("___")
}

/// `---- ------ ---`
pub fn is_rule(line: &str) -> bool {
    line.contains("---") && line.chars().all(|c| c == '-' || c == ' ')
}
