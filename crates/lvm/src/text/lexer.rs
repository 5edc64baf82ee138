//! Splits a text into words.

use super::SyntaxError;

/// A word of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A key without quotes.
    Name(String),
    /// A string in quotes.
    Text(String),
    /// A number, as it was written.
    Number(String),
    /// One of `= { } [ ] ,`.
    Mark(u8),
    /// Nothing follows.
    End,
}

/// Whether a word may be a value or a key: a key may begin like a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// A key, or the end of a section.
    Key,
    /// A value, or the end of a list.
    Value,
}

/// A position in a text.
pub struct Lexer<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Where the last word began.
    pub begin: usize,
    /// Whether a string was met that is not UTF-8 and was read with replacements.
    pub lossy: bool,
}

fn is_mark(byte: u8) -> bool {
    matches!(byte, b'=' | b'{' | b'}' | b'[' | b']' | b',')
}

impl<'a> Lexer<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Lexer {
            bytes,
            offset: 0,
            begin: 0,
            lossy: false,
        }
    }

    /// The next word.
    pub fn next(&mut self, expect: Expect) -> Result<Token, SyntaxError> {
        self.skip_space();
        self.begin = self.offset;
        let Some(first) = self.bytes.get(self.offset) else {
            return Ok(Token::End);
        };
        match *first {
            byte if is_mark(byte) => {
                self.offset += 1;
                Ok(Token::Mark(byte))
            }
            b'"' => self.quoted(),
            _ if expect == Expect::Value => self.number(),
            _ => self.name(),
        }
    }

    /// An error at the last word.
    pub fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError {
            offset: self.begin as u64,
            expected,
        }
    }

    /// Spaces, and comments up to the end of their line. A zero byte ends a text.
    fn skip_space(&mut self) {
        let mut is_comment = false;
        while let Some(byte) = self.bytes.get(self.offset) {
            match byte {
                0 => self.offset = self.bytes.len(),
                b'\n' => is_comment = false,
                b'#' => is_comment = true,
                byte if is_comment || byte.is_ascii_whitespace() => {}
                _ => return,
            }
            self.offset = (self.offset + 1).min(self.bytes.len());
        }
    }

    fn quoted(&mut self) -> Result<Token, SyntaxError> {
        let mut text = Vec::new();
        let mut rest = self.bytes[self.offset + 1..].iter();
        loop {
            match rest.next() {
                Some(b'"') => break,
                Some(b'\\') => text.extend(rest.next()),
                Some(0) | None => return Err(self.error("a closing quote")),
                Some(byte) => text.push(*byte),
            }
        }
        self.offset = self.bytes.len() - rest.len();
        Ok(Token::Text(self.decoded(text)))
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let word = self.word(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.'));
        match word {
            [] => Err(self.error("a value")),
            word => Ok(Token::Number(String::from_utf8_lossy(word).into_owned())),
        }
    }

    fn name(&mut self) -> Result<Token, SyntaxError> {
        let word = self.word(|byte| {
            !is_mark(byte)
                && !byte.is_ascii_whitespace()
                && !matches!(byte, b'#' | b'"' | b'\\' | 0)
        });
        match word.is_ascii() && !word.is_empty() {
            true => Ok(Token::Name(String::from_utf8_lossy(word).into_owned())),
            false => Err(self.error("a key")),
        }
    }

    fn word(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        let length = rest.iter().position(|byte| !belongs(*byte));
        let word = &rest[..length.unwrap_or(rest.len())];
        self.offset += word.len();
        word
    }

    fn decoded(&mut self, bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap_or_else(|cause| {
            self.lossy = true;
            String::from_utf8_lossy(cause.as_bytes()).into_owned()
        })
    }
}
