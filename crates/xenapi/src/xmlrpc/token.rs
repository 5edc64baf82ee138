//! Cuts XML into tokens, for the small part of XML that XML-RPC uses.
//!
//! Elements have no meaning here but their nesting, and no attribute has any. A general tokenizer takes four times as
//! long for a VDI's record, and most of what a pool and its clients do is to read records.

use crate::wire::Error;
use std::borrow::Cow;

/// An element of XML-RPC; a name that is none is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Array,
    Base64,
    Boolean,
    Data,
    DateTime,
    Double,
    Fault,
    Int,
    Member,
    MethodCall,
    MethodName,
    MethodResponse,
    Name,
    Nil,
    Param,
    Params,
    String,
    Struct,
    Value,
}

fn tag(name: &[u8]) -> Option<Tag> {
    Some(match name {
        b"value" => Tag::Value,
        b"member" => Tag::Member,
        b"name" => Tag::Name,
        b"string" => Tag::String,
        b"int" | b"i4" | b"i8" | b"ex:i8" => Tag::Int,
        b"boolean" => Tag::Boolean,
        b"dateTime.iso8601" => Tag::DateTime,
        b"double" => Tag::Double,
        b"struct" => Tag::Struct,
        b"array" => Tag::Array,
        b"data" => Tag::Data,
        b"nil" | b"ex:nil" => Tag::Nil,
        b"base64" => Tag::Base64,
        b"param" => Tag::Param,
        b"params" => Tag::Params,
        b"fault" => Tag::Fault,
        b"methodCall" => Tag::MethodCall,
        b"methodName" => Tag::MethodName,
        b"methodResponse" => Tag::MethodResponse,
        _ => return None,
    })
}

/// A piece of a body. Tags are paired, so a [`Token::Close`] closes the element opened last.
pub(super) enum Token<'a> {
    Open(Tag),
    Close,
    Text(Cow<'a, str>),
    End,
}

/// The tokens of one body.
pub(super) struct Tokens<'a> {
    body: &'a str,
    at: usize,
    /// The names of the open elements.
    open: Vec<&'a [u8]>,
    /// Whether an element without content was just opened.
    empty: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(body: &'a str) -> Self {
        Tokens {
            body,
            at: 0,
            open: Vec::with_capacity(16),
            empty: false,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    fn unexpected(&self, expected: &'static str) -> Error {
        Error::Unexpected {
            offset: self.offset(),
            expected,
        }
    }

    /// The next token; comments and processing instructions are left out, and text is not trimmed.
    pub(super) fn next(&mut self) -> Result<Token<'a>, Error> {
        if self.empty {
            self.empty = false;
            self.open.pop();
            return Ok(Token::Close);
        }
        loop {
            let rest = &self.body[self.at..];
            match rest.as_bytes() {
                [] if self.open.is_empty() => return Ok(Token::End),
                [] => return Err(self.unexpected("a closing tag")),
                [b'<', b'/', ..] => return self.close(rest),
                [b'<', b'?', ..] => {
                    self.skip(rest, 2, "?>", "the end of a processing instruction")?
                }
                [b'<', b'!', ..] if rest.starts_with("<!--") => {
                    self.skip(rest, 4, "-->", "the end of a comment")?
                }
                [b'<', b'!', ..] if rest.starts_with("<![CDATA[") => {
                    let start = self.at + "<![CDATA[".len();
                    self.skip(rest, "<![CDATA[".len(), "]]>", "the end of CDATA")?;
                    return Ok(Token::Text(Cow::Borrowed(
                        &self.body[start..self.at - "]]>".len()],
                    )));
                }
                [b'<', b'!', ..] => {
                    return Err(Error::DocumentType {
                        offset: self.offset(),
                    });
                }
                [b'<', ..] => return self.open(rest),
                [b'&', ..] => return self.reference(rest),
                bytes => {
                    let end = bytes
                        .iter()
                        .position(|byte| matches!(byte, b'<' | b'&'))
                        .unwrap_or(bytes.len());
                    self.at += end;
                    return Ok(Token::Text(Cow::Borrowed(&rest[..end])));
                }
            }
        }
    }

    fn skip(
        &mut self,
        rest: &str,
        start: usize,
        end: &str,
        expected: &'static str,
    ) -> Result<(), Error> {
        let length = rest[start..]
            .find(end)
            .ok_or_else(|| self.unexpected(expected))?;
        self.at += start + length + end.len();
        Ok(())
    }

    fn open(&mut self, rest: &'a str) -> Result<Token<'a>, Error> {
        let bytes = rest.as_bytes();
        let name_end = 1 + bytes[1..]
            .iter()
            .position(|byte| matches!(byte, b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r'))
            .ok_or_else(|| self.unexpected("the end of a tag"))?;
        let name = &bytes[1..name_end];
        let tag = tag(name).ok_or_else(|| self.unexpected("an element of XML-RPC"))?;
        let (mut at, mut quote) = (name_end, None);
        loop {
            match (bytes.get(at), quote) {
                (None, _) => return Err(self.unexpected("the end of a tag")),
                (Some(byte), Some(end)) if *byte == end => quote = None,
                (Some(_), Some(_)) => {}
                (Some(byte @ (b'"' | b'\'')), None) => quote = Some(*byte),
                (Some(b'<'), None) => return Err(self.unexpected("the end of a tag")),
                (Some(b'>'), None) => break,
                (Some(_), None) => {}
            }
            at += 1;
        }
        self.empty = bytes[at - 1] == b'/';
        self.open.push(name);
        self.at += at + 1;
        Ok(Token::Open(tag))
    }

    fn close(&mut self, rest: &'a str) -> Result<Token<'a>, Error> {
        let end = rest
            .find('>')
            .ok_or_else(|| self.unexpected("the end of a tag"))?;
        let name = rest.as_bytes()[2..end].trim_ascii_end();
        if self.open.last() != Some(&name) {
            return Err(self.unexpected("the closing tag of the element opened last"));
        }
        self.open.pop();
        self.at += end + 1;
        Ok(Token::Close)
    }

    /// One of XML's five entities, or a character by its number.
    fn reference(&mut self, rest: &'a str) -> Result<Token<'a>, Error> {
        let unknown = || Error::UnknownEntity {
            offset: self.at as u64,
        };
        // The longest is a character by a number with some leading zeros.
        let end = rest
            .bytes()
            .take(16)
            .position(|byte| byte == b';')
            .ok_or_else(unknown)?;
        let name = &rest[1..end];
        let text = match name {
            "lt" => Cow::Borrowed("<"),
            "gt" => Cow::Borrowed(">"),
            "amp" => Cow::Borrowed("&"),
            "quot" => Cow::Borrowed("\""),
            "apos" => Cow::Borrowed("'"),
            _ => {
                let number = name.strip_prefix('#').ok_or_else(unknown)?;
                let (digits, radix) = number
                    .strip_prefix('x')
                    .map_or((number, 10), |digits| (digits, 16));
                if !digits.chars().all(|digit| digit.is_digit(radix)) {
                    return Err(unknown());
                }
                let number = u32::from_str_radix(digits, radix).map_err(|_| unknown())?;
                Cow::Owned(char::from_u32(number).ok_or_else(unknown)?.to_string())
            }
        };
        self.at += end + 1;
        Ok(Token::Text(text))
    }
}
