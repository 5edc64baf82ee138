//! Reads calls, responses and single values.

use super::token::{Tag, Token, Tokens};
use super::{Call, Response};
use crate::wire::{self, Error, Limits};
use crate::{Failure, Value, date};
use base64::Engine as _;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Reads a method call.
///
/// # Errors
/// [`Error`] when a limit is exceeded or the body is no `<methodCall>` with a name and `<params>`.
pub fn parse_call(body: &[u8], limits: &Limits) -> Result<Call, Error> {
    let mut parser = Parser::new(body, limits)?;
    parser.open(Tag::MethodCall, "<methodCall>")?;
    parser.open(Tag::MethodName, "<methodName>")?;
    let method = parser.text("a method name")?.trim_ascii().to_owned();
    let params = parser.params()?;
    parser.close("</methodCall>")?;
    parser.end()?;
    Ok(Call { method, params })
}

/// Reads a method response and opens its envelope.
///
/// # Errors
/// [`Error`] when a limit is exceeded or the body is no `<methodResponse>` with one value or a fault.
pub fn parse_response(body: &[u8], limits: &Limits) -> Result<Response, Error> {
    let mut parser = Parser::new(body, limits)?;
    parser.open(Tag::MethodResponse, "<methodResponse>")?;
    let response = match parser.token()? {
        Token::Open(Tag::Params) => {
            parser.open(Tag::Param, "<param>")?;
            parser.open(Tag::Value, "<value>")?;
            let value = parser.value(0)?;
            parser.close("</param>")?;
            parser.close("</params>")?;
            envelope(value)
                .ok_or_else(|| parser.unexpected("Status with Value or ErrorDescription"))?
        }
        Token::Open(Tag::Fault) => {
            parser.open(Tag::Value, "<value>")?;
            let value = parser.value(0)?;
            parser.close("</fault>")?;
            fault(&value).ok_or_else(|| parser.unexpected("faultCode and faultString"))?
        }
        _ => return Err(parser.unexpected("<params> or <fault>")),
    };
    parser.close("</methodResponse>")?;
    parser.end()?;
    Ok(response)
}

/// Reads a single `<value>`, as the `result` of a task holds it; the empty text is the void result.
///
/// # Errors
/// [`Error`] as for a response.
pub fn parse_value(text: &str, limits: &Limits) -> Result<Value, Error> {
    if text.is_empty() {
        return Ok(Value::Nil);
    }
    let mut parser = Parser::new(text.as_bytes(), limits)?;
    parser.open(Tag::Value, "<value>")?;
    let value = parser.value(0)?;
    parser.end()?;
    Ok(value)
}

/// Opens the envelope; nothing when there is one and it is wrong.
fn envelope(value: Value) -> Option<Response> {
    let mut fields = match value {
        Value::Struct(fields) if fields.contains_key("Status") => fields,
        bare => return Some(Response::Bare(bare)),
    };
    match fields.get("Status")?.as_str()? {
        "Success" => Some(Response::Success(
            fields.remove("Value").unwrap_or(Value::Nil),
        )),
        "Failure" => {
            let mut description = Vec::new();
            for text in fields.get("ErrorDescription")?.as_array()? {
                description.push(text.as_str()?.to_owned());
            }
            if description.is_empty() {
                return None;
            }
            let code = description.remove(0);
            Some(Response::Failure(Failure {
                code,
                params: description,
            }))
        }
        _ => None,
    }
}

fn fault(value: &Value) -> Option<Response> {
    let fields = value.as_struct()?;
    let code = match fields.get("faultCode")? {
        Value::String(text) => text.trim_ascii().parse().ok()?,
        value => value.as_int()?,
    };
    Some(Response::Fault {
        code,
        message: fields.get("faultString")?.as_str()?.to_owned(),
    })
}

/// A pull parser over one body. The tokens are paired, so a [`Token::Close`] needs no name.
struct Parser<'a> {
    tokens: Tokens<'a>,
    limits: Limits,
    values: usize,
}

impl<'a> Parser<'a> {
    fn new(body: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        Ok(Parser {
            tokens: Tokens::new(wire::text(body, limits)?),
            limits: *limits,
            values: 0,
        })
    }

    fn offset(&self) -> u64 {
        self.tokens.offset()
    }

    fn unexpected(&self, expected: &'static str) -> Error {
        Error::Unexpected {
            offset: self.offset(),
            expected,
        }
    }

    fn malformed(&self, expected: &'static str) -> Error {
        Error::Malformed {
            offset: self.offset(),
            expected,
        }
    }

    /// The next token; text has its line ends as XML demands, and only characters that XML can carry.
    fn raw(&mut self) -> Result<Token<'a>, Error> {
        match self.tokens.next()? {
            Token::Text(text) => legal(normalised(text)).map(Token::Text),
            token => Ok(token),
        }
    }

    /// The next token between elements, where only white space may stand.
    fn token(&mut self) -> Result<Token<'a>, Error> {
        loop {
            match self.raw()? {
                Token::Text(text) if blank(&text) => {}
                Token::Text(_) => return Err(self.unexpected("no text between elements")),
                token => return Ok(token),
            }
        }
    }

    fn open(&mut self, tag: Tag, expected: &'static str) -> Result<(), Error> {
        match self.token()? {
            Token::Open(found) if found == tag => Ok(()),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn close(&mut self, expected: &'static str) -> Result<(), Error> {
        match self.token()? {
            Token::Close => Ok(()),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.token()? {
            Token::End => Ok(()),
            _ => Err(self.unexpected("the end of the body")),
        }
    }

    /// Reads text up to the closing tag of the element that was just opened.
    fn text(&mut self, expected: &'static str) -> Result<Cow<'a, str>, Error> {
        let mut text = Cow::Borrowed("");
        loop {
            match self.raw()? {
                Token::Text(more) => append(&mut text, more),
                Token::Close => return Ok(text),
                _ => return Err(self.unexpected(expected)),
            }
        }
    }

    fn params(&mut self) -> Result<Vec<Value>, Error> {
        self.open(Tag::Params, "<params>")?;
        let mut params = Vec::new();
        loop {
            match self.token()? {
                Token::Open(Tag::Param) => {
                    self.open(Tag::Value, "<value>")?;
                    params.push(self.value(0)?);
                    self.close("</param>")?;
                }
                Token::Close => return Ok(params),
                _ => return Err(self.unexpected("<param>")),
            }
        }
    }

    /// Reads a value whose `<value>` was just opened, with its closing tag.
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Error::TooManyValues {
                limit: self.limits.values,
            });
        }
        let mut text = Cow::Borrowed("");
        loop {
            match self.raw()? {
                Token::Text(more) => append(&mut text, more),
                Token::Close => return Ok(Value::String(text.into_owned())),
                Token::Open(tag) if blank(&text) => {
                    let value = self.typed(tag, depth)?;
                    self.close("</value>")?;
                    return Ok(value);
                }
                _ => return Err(self.unexpected("text or one typed value")),
            }
        }
    }

    fn typed(&mut self, tag: Tag, depth: usize) -> Result<Value, Error> {
        Ok(match tag {
            Tag::String => Value::String(self.text("text")?.into_owned()),
            Tag::Int => {
                let text = self.text("digits")?;
                Value::Int(
                    text.trim_ascii()
                        .parse()
                        .map_err(|_| self.malformed("64-bit integer"))?,
                )
            }
            Tag::Boolean => match self.text("0 or 1")?.trim_ascii() {
                "0" | "false" => Value::Bool(false),
                "1" | "true" => Value::Bool(true),
                _ => return Err(self.malformed("boolean")),
            },
            Tag::Double => {
                let text = self.text("a number")?;
                Value::Float(
                    text.trim_ascii()
                        .parse()
                        .map_err(|_| self.malformed("double"))?,
                )
            }
            Tag::DateTime => {
                let text = self.text("a date")?;
                Value::DateTime(date::parse(&text).ok_or_else(|| self.malformed("date"))?)
            }
            Tag::Base64 => Value::String(self.base64()?),
            Tag::Nil => {
                self.close("</nil>")?;
                Value::Nil
            }
            Tag::Struct => Value::Struct(self.members(self.deeper(depth)?)?),
            Tag::Array => Value::Array(self.elements(self.deeper(depth)?)?),
            _ => return Err(self.unexpected("a type of XML-RPC")),
        })
    }

    fn deeper(&self, depth: usize) -> Result<usize, Error> {
        if depth >= self.limits.depth {
            return Err(Error::TooDeep {
                limit: self.limits.depth,
            });
        }
        Ok(depth + 1)
    }

    fn base64(&mut self) -> Result<String, Error> {
        let mut text = self.text("base64")?.into_owned();
        text.retain(|character| !character.is_ascii_whitespace());
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|_| self.malformed("base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| self.malformed("base64 of UTF-8 text"))?;
        legal(Cow::Owned(text)).map(Cow::into_owned)
    }

    fn members(&mut self, depth: usize) -> Result<BTreeMap<String, Value>, Error> {
        let mut members = BTreeMap::new();
        loop {
            match self.token()? {
                Token::Open(Tag::Member) => {
                    self.open(Tag::Name, "<name>")?;
                    let name = self.text("a name")?.into_owned();
                    self.open(Tag::Value, "<value>")?;
                    let value = self.value(depth)?;
                    self.close("</member>")?;
                    match members.entry(name) {
                        Entry::Vacant(entry) => entry.insert(value),
                        Entry::Occupied(entry) => {
                            return Err(Error::DuplicateMember {
                                name: entry.key().clone(),
                            });
                        }
                    };
                }
                Token::Close => return Ok(members),
                _ => return Err(self.unexpected("<member>")),
            }
        }
    }

    fn elements(&mut self, depth: usize) -> Result<Vec<Value>, Error> {
        self.open(Tag::Data, "<data>")?;
        let mut elements = Vec::new();
        loop {
            match self.token()? {
                Token::Open(Tag::Value) => elements.push(self.value(depth)?),
                Token::Close => {
                    self.close("</array>")?;
                    return Ok(elements);
                }
                _ => return Err(self.unexpected("<value>")),
            }
        }
    }
}

fn blank(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() {
        *text = more;
    } else {
        text.to_mut().push_str(&more);
    }
}

/// Applies XML's rule for line ends: CR LF and CR are read as LF.
fn normalised(text: Cow<'_, str>) -> Cow<'_, str> {
    // Owned text is a character by its number, which is no line end.
    if matches!(text, Cow::Borrowed(_)) && text.as_bytes().contains(&b'\r') {
        return Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"));
    }
    text
}

fn legal(text: Cow<'_, str>) -> Result<Cow<'_, str>, Error> {
    match super::write::illegal_character(&text) {
        None => Ok(text),
        Some(character) => Err(Error::IllegalCharacter { character }),
    }
}
