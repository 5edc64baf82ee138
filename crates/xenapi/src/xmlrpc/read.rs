//! Reads calls, responses and single values.

use super::{Call, Response};
use crate::wire::{self, Error, Limits};
use crate::{Failure, Value, date};
use base64::Engine as _;
use quick_xml::Reader;
use quick_xml::events::Event;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
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

fn tag(name: &str) -> Option<Tag> {
    Some(match name {
        "value" => Tag::Value,
        "member" => Tag::Member,
        "name" => Tag::Name,
        "string" => Tag::String,
        "int" | "i4" | "i8" | "ex:i8" => Tag::Int,
        "boolean" => Tag::Boolean,
        "dateTime.iso8601" => Tag::DateTime,
        "double" => Tag::Double,
        "struct" => Tag::Struct,
        "array" => Tag::Array,
        "data" => Tag::Data,
        "nil" | "ex:nil" => Tag::Nil,
        "base64" => Tag::Base64,
        "param" => Tag::Param,
        "params" => Tag::Params,
        "fault" => Tag::Fault,
        "methodCall" => Tag::MethodCall,
        "methodName" => Tag::MethodName,
        "methodResponse" => Tag::MethodResponse,
        _ => return None,
    })
}

enum Token<'a> {
    Open(Tag),
    Close,
    Text(Cow<'a, str>),
    End,
}

/// A pull parser over one body. The tokenizer pairs the tags, so a [`Token::Close`] needs no name.
struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    limits: Limits,
    values: usize,
}

impl<'a> Parser<'a> {
    fn new(body: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let mut reader = Reader::from_str(wire::text(body, limits)?);
        reader.config_mut().expand_empty_elements = true;
        Ok(Parser {
            reader,
            limits: *limits,
            values: 0,
        })
    }

    fn offset(&self) -> u64 {
        self.reader.buffer_position()
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

    /// The next token with comments and processing instructions left out; text is not trimmed.
    fn raw(&mut self) -> Result<Token<'a>, Error> {
        loop {
            let event = match self.reader.read_event() {
                Ok(event) => event,
                Err(source) => {
                    return Err(Error::Xml {
                        offset: self.reader.error_position(),
                        source,
                    });
                }
            };
            return match event {
                Event::Start(start) => match tag(start.name().as_ref()) {
                    Some(tag) => Ok(Token::Open(tag)),
                    None => Err(self.unexpected("an element of XML-RPC")),
                },
                Event::End(_) => Ok(Token::Close),
                Event::Text(text) => legal(normalised(text.into_inner())).map(Token::Text),
                Event::CData(text) => legal(normalised(text.into_inner())).map(Token::Text),
                Event::GeneralRef(reference) => self.reference(&reference),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
                Event::DocType(_) => Err(Error::DocumentType {
                    offset: self.offset(),
                }),
                Event::Empty(_) => Err(self.unexpected("an element in two tags")),
                Event::Eof => Ok(Token::End),
            };
        }
    }

    fn reference(&self, reference: &quick_xml::events::BytesRef<'_>) -> Result<Token<'a>, Error> {
        let unknown = || Error::UnknownEntity {
            offset: self.offset(),
        };
        if reference.is_char_ref() {
            let character = reference
                .resolve_char_ref()
                .ok()
                .flatten()
                .ok_or_else(unknown)?;
            return legal(Cow::Owned(character.to_string())).map(Token::Text);
        }
        let text = quick_xml::escape::resolve_xml_entity(reference).ok_or_else(unknown)?;
        Ok(Token::Text(Cow::Borrowed(text)))
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
    if text.as_bytes().contains(&b'\r') {
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
