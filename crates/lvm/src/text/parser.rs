//! Reads a text.

use std::collections::HashSet;

use super::lexer::{Expect, Lexer, Token};
use super::{Entry, Item, MAX_DEPTH, MAX_NODES, MAX_TEXT, Value};

/// A section with more keys than this is searched for double ones by hash.
const SMALL_SECTION: usize = 24;

/// A text is not of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {offset} of the metadata text")]
pub struct SyntaxError {
    /// Where.
    pub offset: u64,
    /// What would have been right there.
    pub expected: &'static str,
}

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The keys and sections of the top level.
    pub entries: Vec<Entry>,
    /// Whether a string in a section was not UTF-8 and lost some of its bytes here.
    pub lossy: bool,
}

/// Reads a text; a zero byte ends it.
///
/// # Errors
/// Whatever is not of the language, a key that is twice in its section, or a text past [`MAX_TEXT`], [`MAX_DEPTH`] or
/// [`MAX_NODES`].
pub fn parse(text: &[u8]) -> Result<Document, SyntaxError> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        nodes: 0,
        lossy: false,
    };
    if text.len() as u64 > MAX_TEXT {
        return Err(SyntaxError {
            offset: MAX_TEXT,
            expected: "no more than 32 MiB of text",
        });
    }
    let entries = parser.section(0)?;
    Ok(Document {
        entries,
        lossy: parser.lossy,
    })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    nodes: usize,
    lossy: bool,
}

impl Parser<'_> {
    /// The entries up to the end of a section, which is consumed.
    fn section(&mut self, depth: usize) -> Result<Vec<Entry>, SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(self
                .lexer
                .error("no more than 8 sections inside each other"));
        }
        let mut entries = Vec::new();
        loop {
            let key = match self.lexer.next(Expect::Key)? {
                Token::Name(key) | Token::Text(key) => key,
                Token::End if depth == 0 => break,
                Token::Mark(b'}') if depth > 0 => break,
                _ => return Err(self.lexer.error("a key or the end of the section")),
            };
            self.lossy |= std::mem::take(&mut self.lexer.lossy);
            self.count()?;
            let item = match self.lexer.next(Expect::Key)? {
                Token::Mark(b'{') => Item::Section(self.section(depth + 1)?),
                Token::Mark(b'=') => Item::Value(self.value(depth)?),
                _ => return Err(self.lexer.error("'=' or '{'")),
            };
            entries.push(Entry { key, item });
        }
        if has_double_key(&entries) {
            return Err(self.lexer.error("each key once in the section before"));
        }
        Ok(entries)
    }

    fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let value = match self.lexer.next(Expect::Value)? {
            Token::Mark(b'[') => self.list()?,
            token => self.scalar(token)?,
        };
        // What lies at the top level describes the write, not the group, and is written anew each time.
        self.lossy |= std::mem::take(&mut self.lexer.lossy) && depth > 0;
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, SyntaxError> {
        let mut values = Vec::new();
        loop {
            match self.lexer.next(Expect::Value)? {
                Token::Mark(b']') => break,
                token => values.push(self.scalar(token)?),
            }
            match self.lexer.next(Expect::Value)? {
                Token::Mark(b',') => {}
                Token::Mark(b']') => break,
                _ => return Err(self.lexer.error("',' or ']'")),
            }
        }
        Ok(Value::List(values))
    }

    fn scalar(&mut self, token: Token) -> Result<Value, SyntaxError> {
        self.count()?;
        match token {
            Token::Text(text) => Ok(Value::Text(text)),
            Token::Number(number) => match number.parse() {
                Ok(integer) => Ok(Value::Integer(integer)),
                Err(_) if number.contains('.') && number.parse::<f64>().is_ok() => {
                    Ok(Value::Decimal(number))
                }
                Err(_) => Err(self.lexer.error("a number of at most 63 bits")),
            },
            _ => Err(self.lexer.error("a value")),
        }
    }

    fn count(&mut self) -> Result<(), SyntaxError> {
        self.nodes += 1;
        match self.nodes > MAX_NODES {
            true => Err(self.lexer.error("no more than 2097152 keys and values")),
            false => Ok(()),
        }
    }
}

fn has_double_key(entries: &[Entry]) -> bool {
    let keys = entries.iter().map(|entry| entry.key.as_str());
    if entries.len() > SMALL_SECTION {
        return keys.collect::<HashSet<&str>>().len() < entries.len();
    }
    let mut seen = keys.clone().enumerate();
    seen.any(|(number, key)| keys.clone().take(number).any(|earlier| earlier == key))
}
